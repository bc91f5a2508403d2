/*
 * Which names are taken, byte by byte.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <keyturn/types.h>

#include "core/names.h"

typedef enum kt_err (*check_fn)(const char *name);

/* The bytes that may stand first, or after an 'a', as one string. */
static void accepted(check_fn check, bool first, char ret[256])
{
	size_t count = 0;

	for (int byte = 1; byte < 256; byte++) {
		char name[3] = {'a', (char)byte, '\0'};

		if (check(first ? name + 1 : name) == KT_OK)
			ret[count++] = (char)byte;
	}
	ret[count] = '\0';
}

static void each_byte_of_a_project_name(void **state)
{
	char bytes[256];

	(void)state;
	accepted(project_name_check, true, bytes);
	assert_string_equal(bytes, "0123456789abcdefghijklmnopqrstuvwxyz");
	accepted(project_name_check, false, bytes);
	assert_string_equal(bytes, "-.0123456789_abcdefghijklmnopqrstuvwxyz");
}

static void each_byte_of_a_secret_name(void **state)
{
	char bytes[256];

	(void)state;
	accepted(secret_name_check, true, bytes);
	assert_string_equal(bytes, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
				   "abcdefghijklmnopqrstuvwxyz");
	accepted(secret_name_check, false, bytes);
	assert_string_equal(bytes, "-./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_"
				   "abcdefghijklmnopqrstuvwxyz");
}

static void lengths_are_1_to_255(void **state)
{
	char name[KT_NAME_MAX + 2];

	(void)state;
	memset(name, 'a', sizeof(name));
	name[KT_NAME_MAX + 1] = '\0';
	assert_int_equal(project_name_check(name), KT_ERR_USAGE);
	assert_int_equal(secret_name_check(name), KT_ERR_USAGE);
	assert_int_equal(label_check(name), KT_ERR_USAGE);
	name[KT_NAME_MAX] = '\0';
	assert_int_equal(project_name_check(name), KT_OK);
	assert_int_equal(secret_name_check(name), KT_OK);
	assert_int_equal(label_check(name), KT_OK);
	assert_int_equal(project_name_check(""), KT_ERR_USAGE);
	assert_int_equal(secret_name_check(""), KT_ERR_USAGE);
	assert_int_equal(label_check(""), KT_OK);
}

static void labels_are_printable(void **state)
{
	(void)state;
	assert_int_equal(label_check("CI runner #3, \"blue\""), KT_OK);
	assert_int_equal(label_check("two\nlines"), KT_ERR_USAGE);
	assert_int_equal(label_check("\x1b[31m"), KT_ERR_USAGE);
	assert_int_equal(label_check("\x7f"), KT_ERR_USAGE);
	assert_int_equal(label_check("\xc3\xa4"), KT_ERR_USAGE);
}

/* What is refused is shown, but cannot bring a second line along. */
static void refusals_are_one_line(void **state)
{
	(void)state;
	assert_int_equal(secret_name_check("a\nb"), KT_ERR_USAGE);
	assert_non_null(strstr(kt_err_detail(), "'a?b' cannot name a secret"));
	assert_null(strchr(kt_err_detail(), '\n'));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_byte_of_a_project_name),
		cmocka_unit_test(each_byte_of_a_secret_name),
		cmocka_unit_test(lengths_are_1_to_255),
		cmocka_unit_test(labels_are_printable),
		cmocka_unit_test(refusals_are_one_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
