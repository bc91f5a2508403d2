/*
 * The configuration file: what it gives, what it refuses and the line it names,
 * and that what init writes and conf/ shows is read back.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "cli/config.h"

static enum kt_err parse(const char *text, struct config **ret)
{
	return config_parse("k.yaml", text, strlen(text), ret);
}

static void test_every_key(void **state)
{
	CLEANUP(config_freep) struct config *config = NULL;

	(void)state;
	assert_int_equal(
		parse("store: /var/lib/k.db\n"
		      "runtime-dir: '/run/k'\n"
		      "token:\n"
		      "  uri: pkcs11:token=a;serial=1\n"
		      "  module: \"p11-kit-name\"\n"
		      "  gate: warn\n"
		      "pin: {file: /etc/pin, allow-environment: true}\n"
		      "rotation:\n"
		      "  batch-size: 10000\n"
		      "  jobs: 4\n"
		      "  sessions: 64\n"
		      "  grace: 7d\n"
		      "  lease: 5m\n",
		      &config),
		KT_OK);
	assert_string_equal(config->store, "/var/lib/k.db");
	assert_string_equal(config->runtime_dir, "/run/k");
	assert_string_equal(config->token.uri, "pkcs11:token=a;serial=1");
	assert_string_equal(config->token.module, "p11-kit-name");
	assert_int_equal(config->token.gate, KT_GATE_WARN);
	assert_string_equal(config->pin.file, "/etc/pin");
	assert_true(config->pin.allow_environment);
	assert_int_equal(config->rotation.batch_size, 10000);
	assert_int_equal(config->rotation.jobs, 4);
	assert_int_equal(config->rotation.sessions, 64);
	assert_int_equal(config->rotation.grace, 7 * 86400);
	assert_int_equal(config->rotation.lease, 300);
}

static void check_defaults(const char *text)
{
	CLEANUP(config_freep) struct config *config = NULL;

	assert_int_equal(parse(text, &config), KT_OK);
	assert_null(config->store);
	assert_null(config->runtime_dir);
	assert_null(config->token.uri);
	assert_null(config->token.module);
	assert_int_equal(config->token.gate, KT_GATE_STRICT);
	assert_null(config->pin.file);
	assert_false(config->pin.allow_environment);
	assert_int_equal(config->rotation.batch_size, 0);
	assert_int_equal(config->rotation.jobs, 0);
	assert_int_equal(config->rotation.sessions, 0);
	assert_int_equal(config->rotation.grace, -1);
	assert_int_equal(config->rotation.lease, 0);
}

static void test_defaults(void **state)
{
	(void)state;
	check_defaults("");
	check_defaults("# nothing\n");
	check_defaults("---\ntoken: {}\n");
	check_defaults("token: {}\n");
}

static void test_refusals(void **state)
{
	static const struct {
		const char *text, *detail;
	} cases[] = {
		{"store: /a\nrotaton:\n  jobs: 1\n",
		 "k.yaml:2: unknown key 'rotaton' (did you mean 'rotation'?)"},
		{"store: /a\ntoken:\n  uri: pkcs11:a\n  # note\n  gaet: "
		 "strict\n",
		 "k.yaml:5: unknown key 'gaet' (did you mean 'gate'?)"},
		{"qqqqqqqq: 1\n", "k.yaml:1: unknown key 'qqqqqqqq'"},
		{"store: /a\ntoken:\n  uri: x\nstore: /b\n",
		 "k.yaml:4: key 'store' is there twice"},
		{"token:\n  uri: x\n\n  gate: lax\n",
		 "k.yaml:4: gate: 'lax' is neither strict nor warn"},
		{"pin:\n  allow-environment: nope\n",
		 "k.yaml:2: allow-environment: 'nope' is neither true nor "
		 "false"},
		{"rotation:\n  batch-size: four\n",
		 "k.yaml:2: batch-size: value: 'four' is not a whole number"},
		{"rotation:\n  batch-size: 0\n",
		 "k.yaml:2: batch-size: value: 0 is not between 1 and 10000"},
		{"rotation:\n  jobs: 99999999999999999999\n",
		 "k.yaml:2: jobs: value: '99999999999999999999' is not a "
		 "whole number"},
		{"rotation:\n  grace: 5\n",
		 "k.yaml:2: grace: value: '5' is not a duration like 90s, "
		 "15m, 24h or 30d"},
		{"rotation:\n  lease: 0\n",
		 "k.yaml:2: lease: '0' is not between 1s and 24h"},
		{"rotation:\n  lease: 2d\n",
		 "k.yaml:2: lease: '2d' is not between 1s and 24h"},
		{"\nstore: k.db\n",
		 "k.yaml:2: store: 'k.db' is not an absolute path"},
		{"token: x\n", "k.yaml:1: 'token' is not usable: Expecting "
			       "MAPPING, got event: SCALAR"},
		{"- store\n", "k.yaml: not a mapping of keys to values"},
		{"store:\n", "k.yaml:1: 'store' has no value"},
		{"store: /a\n---\nstore: /b\n", "k.yaml:2: a second document"},
		{"store: /a\n\ttoken:\n",
		 "k.yaml:2: not YAML: found a tab character that violates "
		 "indentation"},
		{"store: /a\nrotation:\n  jobs: \xff\n",
		 "k.yaml:3: not YAML: invalid leading UTF-8 octet"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CLEANUP(config_freep) struct config *config = NULL;

		assert_int_equal(parse(cases[i].text, &config), KT_ERR_CONFIG);
		assert_string_equal(kt_err_detail(), cases[i].detail);
		assert_null(config);
	}
}

static void test_written_is_read(void **state)
{
	const struct config_values values = {
		.store = "/a b/it's: #1.db",
		.uri = "pkcs11:token=x;serial='%20'",
		.module = "/usr/lib/m.so",
		.pin_file = "/etc/\"pin\"",
		.runtime_dir = "/run/k",
		.gate = KT_GATE_WARN,
	};
	CLEANUP(config_freep) struct config *config = NULL;
	CLEANUP(freep) char *text = NULL;

	(void)state;
	assert_int_equal(config_text(&values, &text), KT_OK);
	assert_int_equal(parse(text, &config), KT_OK);
	assert_string_equal(config->store, values.store);
	assert_string_equal(config->token.uri, values.uri);
	assert_string_equal(config->token.module, values.module);
	assert_string_equal(config->pin.file, values.pin_file);
	assert_string_equal(config->runtime_dir, values.runtime_dir);
	assert_int_equal(config->token.gate, KT_GATE_WARN);
	assert_int_equal(config->rotation.grace, 86400);
}

static void test_line_breaks_are_not_written(void **state)
{
	const struct config_values values = {.store = "/a\npin: {}"};
	CLEANUP(freep) char *text = NULL;

	(void)state;
	assert_int_equal(config_text(&values, &text), KT_ERR_USAGE);
	assert_null(text);
}

/* Made by `keyturn __config`; the test says when that is due again. */
static void test_example_is_current(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret file = {0};
	CLEANUP(config_freep) struct config *config = NULL;
	CLEANUP(freep) char *text = NULL;

	(void)state;
	assert_int_equal(config_text(&(struct config_values){0}, &text), KT_OK);
	assert_int_equal(secret_read_file("conf/keyturn.yaml", 65536, &file),
			 KT_OK);
	assert_int_equal(file.len, strlen(text));
	assert_memory_equal(file.data, text, file.len);
	assert_int_equal(parse(text, &config), KT_OK);
}

/* Switches one setting of the example on by taking its '# ' away. */
static void check_commented(const char *comment)
{
	CLEANUP(config_freep) struct config *config = NULL;
	CLEANUP(freep) char *text = NULL;
	char *at;

	assert_int_equal(config_text(&(struct config_values){0}, &text), KT_OK);
	at = strstr(text, comment);
	assert_non_null(at);
	memmove(at, at + 2, strlen(at + 2) + 1);
	if (parse(text, &config) != KT_OK)
		fail_msg("%s: %s", comment, kt_err_detail());
}

static void test_example_comments_work(void **state)
{
	static const char *const comments[] = {
		"# store: ", "# uri: ",   "# module: ",     "# file: ",
		"# jobs: ",  "# lease: ", "# runtime-dir: "};

	(void)state;
	for (size_t i = 0; i < sizeof(comments) / sizeof(comments[0]); i++)
		check_commented(comments[i]);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	(void)unlink(path);
	assert_int_equal(file_write_new(path, text, strlen(text)), KT_OK);
	assert_int_equal(chmod(path, mode), 0);
}

static void test_file_rights(void **state)
{
	char dir[] = "/tmp/keyturn-test-XXXXXX";
	char path[64];
	struct config *config = NULL;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/k.yaml", dir);
	assert_int_equal(config_load(path, &config), KT_ERR_NOT_FOUND);
	write_file(path, "store: /a\n", 0644);
	assert_int_equal(config_load(path, &config), KT_OK);
	assert_string_equal(config->store, "/a");
	config_free(config);
	config = NULL;
	write_file(path, "store: /a\n", 0660);
	assert_int_equal(config_load(path, &config), KT_ERR_CONFIG);
	assert_non_null(strstr(kt_err_detail(), "others can write it"));
	assert_non_null(strstr(kt_err_hint(), "chmod go-w"));
	write_file(path, "store: /a\n", 0602);
	assert_int_equal(config_load(path, &config), KT_ERR_CONFIG);
	assert_int_equal(config_load(dir, &config), KT_ERR_CONFIG);
	assert_null(config);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_key),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_refusals),
		cmocka_unit_test(test_written_is_read),
		cmocka_unit_test(test_line_breaks_are_not_written),
		cmocka_unit_test(test_example_is_current),
		cmocka_unit_test(test_example_comments_work),
		cmocka_unit_test(test_file_rights),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
