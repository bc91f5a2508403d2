/*
 * The readers of dotenv and JSON: what they take is taken byte for byte, and
 * what they refuse is refused with its place and without its value.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "cli/import.h"
#include "cli/import_dotenv.h"
#include "cli/import_json.h"

typedef enum kt_err reader(const char *file, const struct kt_secret *text,
			   struct import_set *ret);

static enum kt_err read_bytes(reader *read, const char *text, size_t len,
			      struct import_set *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret secret = {0};

	TRY(kt_secret_copy(text, len, &secret));
	return read("app.env", &secret, ret);
}

struct taken {
	const char *text, *name, *value;
};

static void check_taken(reader *read, const struct taken *t)
{
	CLEANUP(import_done) struct import_set set = {0};

	if (read_bytes(read, t->text, strlen(t->text), &set) != KT_OK)
		fail_msg("%s: %s", t->text, kt_err_detail());
	assert_int_equal(set.count, 1);
	assert_string_equal(set.items[0].name, t->name);
	assert_int_equal(set.items[0].value.len, strlen(t->value));
	assert_memory_equal(set.items[0].value.data, t->value,
			    strlen(t->value));
}

static void takes_dotenv(void **state)
{
	static const struct taken cases[] = {
		{"A=b", "A", "b"},
		{"A=b\n", "A", "b"},
		{"A=b\r\n", "A", "b"},
		{"A=", "A", ""},
		{"A=\n", "A", ""},
		{"A=''\n", "A", ""},
		{"A=\"\"\n", "A", ""},
		{"\n  \n# A=1\n\t# x\nA=b", "A", "b"},
		{"  A = b c \t\n", "A", "b c"},
		{"export A=b", "A", "b"},
		{"export\t A=b", "A", "b"},
		{"export=1", "export", "1"},
		{"exports=1", "exports", "1"},
		{"_a.B-9=x", "_a.B-9", "x"},
		{"A=b#c", "A", "b#c"},
		{"A=#c", "A", "#c"},
		{"A=b # c", "A", "b"},
		{"A= # c", "A", ""},
		{"A=b=c==", "A", "b=c=="},
		{"A=b'c\"d", "A", "b'c\"d"},
		{"A=\\n$HOME", "A", "\\n$HOME"},
		{"A='b # c'", "A", "b # c"},
		{"A='b' # c", "A", "b"},
		{"A = ' b ' \r\n", "A", " b "},
		{"A='\\n\"$x\\'", "A", "\\n\"$x\\"},
		{"A='b\r\n\nc'", "A", "b\r\n\nc"},
		{"A=\"b\nc\"\n", "A", "b\nc"},
		{"A=\"\\n\\t\\r\\\"\\\\\\$\"", "A", "\n\t\r\"\\$"},
		{"A=\"\\\\\"", "A", "\\"},
		{"A=\"$x 'y'\"", "A", "$x 'y'"},
		{"A=\xc3\xa4\xff", "A", "\xc3\xa4\xff"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_taken(import_dotenv, &cases[i]);
}

static void takes_json(void **state)
{
	static const struct taken cases[] = {
		{"{\"A\":\"b\"}", "A", "b"},
		{" {\n \"a/b.C-d_1\" : \"\" } \n", "a/b.C-d_1", ""},
		{"{\"A\":\"\\n\\t\\\"\\\\\\u00e4\"}", "A", "\n\t\"\\\xc3\xa4"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_taken(import_json, &cases[i]);
}

struct refused {
	const char *text, *detail;
};

/* Every bad text holds the word "hunter2" where a value is. */
static void check_refused(reader *read, const struct refused *r)
{
	struct import_set set = {0};

	assert_int_equal(read_bytes(read, r->text, strlen(r->text), &set),
			 KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(), r->detail);
	assert_null(strstr(kt_err_detail(), "hunter2"));
	assert_null(set.items);
	assert_int_equal(set.count, 0);
}

static void refuses_dotenv(void **state)
{
	static const char escape[] =
		"app.env:3: unknown escape in double quotes (known: \\n \\t "
		"\\r \\\" \\\\ \\$)";
	static const struct refused cases[] = {
		{"hunter2", "app.env:1: not NAME=VALUE"},
		{"A=1\nhunter2\n", "app.env:2: not NAME=VALUE"},
		{"A=1\n\n9A=hunter2", "app.env:3: not NAME=VALUE"},
		{"=hunter2", "app.env:1: not NAME=VALUE"},
		{"A B=hunter2", "app.env:1: not NAME=VALUE"},
		{"export hunter2", "app.env:1: not NAME=VALUE"},
		{"A:=hunter2", "app.env:1: not NAME=VALUE"},
		{"A='x\ny'\nB='hunter2\n\n",
		 "app.env:3: the quote that opens here is never closed"},
		{"A=\"hunter2\\\"",
		 "app.env:1: the quote that opens here is never closed"},
		{"A='hunter2'x", "app.env:1: text behind the closing quote"},
		{"A='hunter2'#x", "app.env:1: text behind the closing quote"},
		{"A=\"hunter2\n\" \"b\"",
		 "app.env:2: text behind the closing quote"},
		{"A=1\nB=\"x\nhunter2\\q\"", escape},
		{"A=hunter2\nB=2\nA=3",
		 "app.env:3: 'A' was set in line 1 already"},
		{"A='x\n'\nA=hunter2",
		 "app.env:3: 'A' was set in line 1 already"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_refused(import_dotenv, &cases[i]);
}

static void refuses_json(void **state)
{
	static const struct refused cases[] = {
		{"", "app.env:1:0: the file ends too early"},
		{"{\"A\":\"hunter2\"", "app.env:1:14: the file ends too early"},
		{"{\"A\":hunter2}", "app.env:1:11: not valid JSON"},
		{"{\"A\":\n\"hunter2\" \"x\"}", "app.env:2:13: not valid JSON"},
		{"{\"A\":\"1\",\"A\":\"hunter2\"}",
		 "app.env:1:12: a name stands twice"},
		{"{\"A\":\"hunter2\"} x",
		 "app.env:1:17: text after the end of the object"},
		{"{\"A\":\"hunter2\\u0000\"}",
		 "app.env:1:20: a NUL byte in a value"},
		{"[\"hunter2\"]",
		 "app.env: an array, not an object of strings"},
		{"{\"A\":7}",
		 "app.env: the value of 'A' is a number, not a string"},
		{"{\"A\":1.5}",
		 "app.env: the value of 'A' is a number, not a string"},
		{"{\"A\":true}",
		 "app.env: the value of 'A' is a boolean, not a string"},
		{"{\"A\":null}",
		 "app.env: the value of 'A' is null, not a string"},
		{"{\"A\":{\"B\":\"hunter2\"}}",
		 "app.env: the value of 'A' is an object, not a string"},
		{"{\"A\":[\"hunter2\"]}",
		 "app.env: the value of 'A' is an array, not a string"},
		{"{\"a b\":\"hunter2\"}",
		 "app.env: 'a b' is not a name for a secret"},
		{"{\"\":\"hunter2\"}",
		 "app.env: '' is not a name for a secret"},
		{"{\"-a\":\"hunter2\"}",
		 "app.env: '-a' is not a name for a secret"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		check_refused(import_json, &cases[i]);
}

static void refuses_nul(void **state)
{
	static const char text[] = "A=1\nB='x\nhunter2\0'\n";
	struct import_set set = {0};

	(void)state;
	assert_int_equal(
		read_bytes(import_dotenv, text, sizeof(text) - 1, &set),
		KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(), "app.env:3: a NUL byte");
}

/* NAME=xxx... with a value of len bytes, or a name of len bytes. */
static enum kt_err read_long(bool name, size_t len, struct import_set *ret)
{
	CLEANUP(freep) char *text = malloc(len + 2);

	assert_non_null(text);
	memset(text, 'x', len + 2);
	text[name ? len : 1] = '=';
	return read_bytes(import_dotenv, text, len + 2, ret);
}

static void keeps_to_the_bounds(void **state)
{
	CLEANUP(import_done) struct import_set longest = {0};
	CLEANUP(import_done) struct import_set largest = {0};
	struct import_set set = {0};

	(void)state;
	assert_int_equal(read_long(true, KT_NAME_MAX, &longest), KT_OK);
	assert_int_equal(strlen(longest.items[0].name), KT_NAME_MAX);
	assert_int_equal(read_long(false, KT_VALUE_MAX, &largest), KT_OK);
	assert_int_equal(largest.items[0].value.len, KT_VALUE_MAX);
	assert_int_equal(read_long(true, KT_NAME_MAX + 1, &set), KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(),
			    "app.env:1: the name is longer than 255 bytes");
	assert_int_equal(read_long(false, KT_VALUE_MAX + 1, &set),
			 KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(),
			    "app.env:1: 'x' has a value over 1 MiB");
}

static void keeps_the_order(void **state)
{
	CLEANUP(import_done) struct import_set set = {0};
	char text[8192];
	size_t len = 0;

	(void)state;
	for (int i = 999; i >= 500; i--)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"K%d=v%d\n", i, i);
	assert_int_equal(read_bytes(import_dotenv, text, len, &set), KT_OK);
	assert_int_equal(set.count, 500);
	assert_string_equal(set.items[0].name, "K999");
	assert_string_equal(set.items[499].name, "K500");
	assert_memory_equal(set.items[499].value.data, "v500", 4);
	assert_int_equal(set.lines[499], 500);
}

struct file_case {
	const char *name;
	enum import_format format;
	enum kt_err err;
};

static void chooses_by_name(void **state)
{
	static const struct file_case cases[] = {
		{"a.env", IMPORT_BY_NAME, KT_OK},
		{".env", IMPORT_BY_NAME, KT_OK},
		{".env.local", IMPORT_BY_NAME, KT_OK},
		{"a.json", IMPORT_BY_NAME, KT_ERR_USAGE},
		{"a.json", IMPORT_DOTENV, KT_OK},
		{"a.txt", IMPORT_BY_NAME, KT_ERR_USAGE},
		{"env", IMPORT_BY_NAME, KT_ERR_USAGE},
		{"-", IMPORT_BY_NAME, KT_ERR_USAGE},
		{"none.env", IMPORT_DOTENV, KT_ERR_NOT_FOUND},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CLEANUP(import_done) struct import_set set = {0};
		const struct file_case *c = &cases[i];

		if (c->err != KT_ERR_NOT_FOUND && strcmp(c->name, "-") != 0 &&
		    !file_exists(c->name))
			assert_int_equal(file_write_new(c->name, "A=b\n", 4),
					 KT_OK);
		assert_int_equal(import_load(c->name, c->format, &set), c->err);
		assert_int_equal(set.count, c->err == KT_OK);
	}
}

static void refuses_an_empty_file(void **state)
{
	CLEANUP(import_done) struct import_set set = {0};

	(void)state;
	assert_int_equal(file_write_new("empty.env", "# x\n", 4), KT_OK);
	assert_int_equal(import_load("empty.env", IMPORT_BY_NAME, &set),
			 KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(), "empty.env: no value in it");
}

static int enter_folder(void **state)
{
	static char folder[] = "/tmp/test_import.XXXXXX";

	*state = mkdtemp(folder);
	return *state != NULL ? chdir(folder) : -1;
}

static int leave_folder(void **state)
{
	static const char *const files[] = {"a.env",    ".env",  ".env.local",
					    "a.json",   "a.txt", "env",
					    "empty.env"};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		unlink(files[i]);
	return chdir("/") == 0 ? rmdir(*state) : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_dotenv),
		cmocka_unit_test(takes_json),
		cmocka_unit_test(refuses_dotenv),
		cmocka_unit_test(refuses_json),
		cmocka_unit_test(refuses_nul),
		cmocka_unit_test(keeps_to_the_bounds),
		cmocka_unit_test(keeps_the_order),
		cmocka_unit_test(chooses_by_name),
		cmocka_unit_test(refuses_an_empty_file),
	};

	return cmocka_run_group_tests(tests, enter_folder, leave_folder);
}
