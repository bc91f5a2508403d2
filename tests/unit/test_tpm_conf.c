/*
 * The module's configuration: an entry is added behind what is there, found
 * again, taken back to the byte, and refused where it would not become one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/secret.h"
#include "cli/tpm_conf.h"

static char folder[64];
static char path[128];

static int set_up(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/test_tpm_conf.XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/below/tpm2.yaml", folder);
	return 0;
}

static int tear_down(void **state)
{
	char below[128];

	(void)state;
	unlink(path);
	snprintf(below, sizeof(below), "%s/below", folder);
	rmdir(below);
	return rmdir(folder);
}

static void put(const char *text)
{
	char dir[128];

	assert_int_equal(dir_of(path, dir, sizeof(dir)), KT_OK);
	assert_int_equal(dir_make(dir), KT_OK);
	unlink(path);
	assert_int_equal(file_write_new(path, text, strlen(text)), KT_OK);
}

static void assert_file(const char *text)
{
	CLEANUP(kt_secret_done) struct kt_secret content = {0};

	assert_int_equal(secret_read_file(path, 4096, &content), KT_OK);
	assert_int_equal(content.len, strlen(text));
	assert_memory_equal(content.data, text, content.len);
}

static void the_first_entry_makes_the_file(void **state)
{
	struct tpm_entry entry = {0};
	struct stat st;

	(void)state;
	assert_int_equal(
		tpm_entry_add(path, "device:/dev/tpmrm0", "/var/t", &entry),
		KT_OK);
	assert_int_equal(entry.slot, 0);
	tpm_entry_keep(&entry);
	tpm_entry_done(&entry);
	assert_file("# Tokens of keyturn-tpm2.so; see keyturn-tpm2(7).\n"
		    "tokens:\n"
		    "  - tcti: 'device:/dev/tpmrm0'\n"
		    "    state: '/var/t'\n");
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
}

static void an_entry_that_is_not_kept_goes(void **state)
{
	static const char before[] = "# mine\n"
				     "tokens:\n"
				     "  - tcti: a\n"
				     "    state: /a\n"
				     "    slots: 0x10";
	struct tpm_entry entry = {0};

	(void)state;
	assert_int_equal(tpm_entry_add(path, "b", "/b", &entry), KT_OK);
	tpm_entry_done(&entry);
	assert_false(file_exists(path));
	put(before);
	assert_int_equal(tpm_entry_add(path, "b", "/b", &entry), KT_OK);
	assert_int_equal(entry.slot, 1);
	assert_file("# mine\n"
		    "tokens:\n"
		    "  - tcti: a\n"
		    "    state: /a\n"
		    "    slots: 0x10\n"
		    "  - tcti: 'b'\n"
		    "    state: '/b'\n");
	tpm_entry_done(&entry);
	assert_file(before);
}

static void what_is_there_is_found(void **state)
{
	static const char text[] = "tokens:\n"
				   "- {tcti: a, state: /a}\n"
				   "- {tcti: 'it''s', state: /b}\n";
	struct tpm_entry entry = {0};

	(void)state;
	put(text);
	assert_int_equal(tpm_entry_add(path, "it's", "/b", &entry), KT_OK);
	assert_int_equal(entry.slot, 1);
	tpm_entry_done(&entry);
	assert_file(text);
	assert_int_equal(tpm_entry_add(path, "other", "/a", &entry),
			 KT_ERR_CONFLICT);
	assert_file(text);
}

static void what_would_not_become_an_entry_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		"tokens: []\n",
		"tokens:\n",
		"token: {}\n",
		"tokens:\n- {tcti: a, state: /a}\nmore: 1\n",
		"tokens: [{tcti: a, state: /a}]\n",
		"not yaml: [",
	};
	struct tpm_entry entry = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(texts[i]);
		assert_int_equal(tpm_entry_add(path, "b", "/b", &entry),
				 KT_ERR_CONFIG);
		assert_file(texts[i]);
	}
	unlink(path);
	assert_int_equal(tpm_entry_add(path, "b\nc", "/b", &entry),
			 KT_ERR_USAGE);
	assert_false(file_exists(path));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_entry_makes_the_file,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_entry_that_is_not_kept_goes,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_there_is_found, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			what_would_not_become_an_entry_is_refused, set_up,
			tear_down),
	};

	secret_heap_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
