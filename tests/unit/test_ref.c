/*
 * References to secrets: what is split where, and what is no reference.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/ref.h"

static void splits(void **state)
{
	static const struct {
		const char *text, *project, *name;
	} cases[] = {
		{"p/n", "p", "n"},
		{"kt://p/n", "p", "n"},
		{"kt://pay.ments/db/password", "pay.ments", "db/password"},
		{"p//n", "p", "/n"},
		{"p/kt://x", "p", "kt://x"},
	};
	struct ref ref;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(ref_parse(cases[i].text, &ref), KT_OK);
		assert_string_equal(ref.project, cases[i].project);
		assert_string_equal(ref.name, cases[i].name);
	}
}

static void refuses(void **state)
{
	static const char *const texts[] = {
		"", "p", "/n", "p/", "kt://", "kt://p", "kt:///n", "kt://p/"};
	struct ref ref = {"untouched", "untouched"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(ref_parse(texts[i], &ref), KT_ERR_USAGE);
		assert_string_equal(ref.project, "untouched");
		assert_string_equal(ref.name, "untouched");
	}
}

/* A project and a name of these lengths. */
static enum kt_err parse_long(size_t project, size_t name, struct ref *ret)
{
	char text[2 * KT_NAME_MAX + 8];

	memset(text, 'x', sizeof(text));
	text[project] = '/';
	text[project + 1 + name] = '\0';
	return ref_parse(text, ret);
}

static void keeps_to_the_bounds(void **state)
{
	struct ref ref;

	(void)state;
	assert_int_equal(parse_long(KT_NAME_MAX, KT_NAME_MAX, &ref), KT_OK);
	assert_int_equal(strlen(ref.project), KT_NAME_MAX);
	assert_int_equal(strlen(ref.name), KT_NAME_MAX);
	assert_int_equal(parse_long(KT_NAME_MAX + 1, 1, &ref), KT_ERR_USAGE);
	assert_int_equal(parse_long(1, KT_NAME_MAX + 1, &ref), KT_ERR_USAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(splits),
		cmocka_unit_test(refuses),
		cmocka_unit_test(keeps_to_the_bounds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
