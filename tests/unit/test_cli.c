/*
 * The frame of the command: options into structs, counts of arguments, "did
 * you mean", where settings come from, the progress line, tables and whole
 * runs over a command table of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/gate.h"
#include "cli/options.h"
#include "cli/progress.h"
#include "cli/settings.h"
#include "cli/suggest.h"
#include "cli/table.h"

struct house_options {
	bool dry_run;
	const char *reason;
	int64_t size, grace;
	int colour;
};

static const char *const colours[] = {"red", "green", NULL};

static const struct option_def house_option[] = {
	{"dry-run", 'n', OPT_FLAG, offsetof(struct house_options, dry_run),
	 NULL, "change nothing"},
	{"reason", 'r', OPT_TEXT, offsetof(struct house_options, reason),
	 "TEXT", "why"},
	{"size", 0, OPT_INT, offsetof(struct house_options, size), "N", "rooms",
	 .min = 1, .max = 9},
	{"grace", 0, OPT_DURATION, offsetof(struct house_options, grace),
	 "TIME", "how long"},
	{"colour", 0, OPT_CHOICE, offsetof(struct house_options, colour),
	 "COLOUR", "paint", .choices = colours},
};

#define ARGV_MAX 8

/* Words, split at spaces, as argv; returns argc. */
static int split(char *line, char *argv[ARGV_MAX + 1])
{
	int argc = 0;
	char *rest = line;
	char *word;

	while ((word = strsep(&rest, " ")) != NULL && argc < ARGV_MAX)
		argv[argc++] = word;
	argv[argc] = NULL;
	return argc;
}

static enum kt_err parse(const char *text, bool stop_at_word,
			 struct house_options *opts, int *ret_first)
{
	const struct option_set set = {
		house_option, sizeof(house_option) / sizeof(house_option[0]),
		opts};
	static char line[256];
	char *argv[ARGV_MAX + 1];
	int argc;

	text_cut(line, sizeof(line), text);
	argc = split(line, argv);
	return options_parse(&set, 1, stop_at_word, argc, argv, ret_first);
}

static void test_every_type(void **state)
{
	struct house_options o = {.size = 3};
	int first = 0;

	(void)state;
	assert_int_equal(parse("x -n --reason=why --grace 24h a --colour green",
			       false, &o, &first),
			 KT_OK);
	assert_true(o.dry_run);
	assert_string_equal(o.reason, "why");
	assert_int_equal(o.size, 3);
	assert_int_equal(o.grace, 86400);
	assert_int_equal(o.colour, 1);
	assert_int_equal(first, 7);
}

static void test_words(void **state)
{
	struct house_options o = {0};
	int first = 0;

	(void)state;
	assert_int_equal(parse("x -n a -r b", true, &o, &first), KT_OK);
	assert_int_equal(first, 2);
	assert_null(o.reason);
	assert_int_equal(parse("x -- -n", false, &o, &first), KT_OK);
	assert_int_equal(first, 2);
	assert_int_equal(parse("x -", false, &o, &first), KT_OK);
	assert_int_equal(first, 1);
}

static void test_bad_options(void **state)
{
	static const struct {
		const char *line, *detail;
	} cases[] = {
		{"x --sise 3", "unknown option '--sise' (did you mean "
			       "'--size'?)"},
		{"x --quux=3", "unknown option '--quux'"},
		{"x -z", "unknown option '-z'"},
		{"x -nz", "unknown option '-z'"},
		{"x --size", "option '--size' needs N"},
		{"x -r", "option '--reason' needs TEXT"},
		{"x --dry-run=1", "option '--dry-run' takes no value"},
		{"x --size 10", "--size: 10 is not between 1 and 9"},
		{"x --size 0x3", "--size: '0x3' is not a whole number"},
		{"x --colour blue", "--colour: 'blue' is none of red, green"},
	};
	struct house_options o = {0};
	int first = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(parse(cases[i].line, false, &o, &first),
				 KT_ERR_USAGE);
		assert_string_equal(kt_err_detail(), cases[i].detail);
		assert_int_equal(first, -1);
	}
}

static void test_arguments(void **state)
{
	(void)state;
	assert_int_equal(arguments_check(NULL, 0), KT_OK);
	assert_int_equal(arguments_check(NULL, 1), KT_ERR_USAGE);
	assert_int_equal(arguments_check("NAME", 1), KT_OK);
	assert_int_equal(arguments_check("NAME", 0), KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(), "NAME is missing");
	assert_int_equal(arguments_check("NAME FILE", 1), KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(), "FILE is missing");
	assert_int_equal(arguments_check("NAME [FILE]", 1), KT_OK);
	assert_int_equal(arguments_check("NAME [FILE]", 2), KT_OK);
	assert_int_equal(arguments_check("NAME [FILE]", 4), KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(), "2 arguments too many");
	assert_int_equal(arguments_check("[WORD...]", 0), KT_OK);
	assert_int_equal(arguments_check("[WORD...]", 50), KT_OK);
	assert_int_equal(arguments_check("WORD...", 0), KT_ERR_USAGE);
}

static const char *nearest(const char *word)
{
	static const char *const words[] = {"rotation", "rotate", "store",
					    "gate", "list"};
	struct suggest suggest = {.word = word};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		suggest_offer(&suggest, words[i]);
	return suggest.best;
}

static void test_suggestions(void **state)
{
	(void)state;
	assert_string_equal(nearest("rotaton"), "rotation");
	assert_string_equal(nearest("roatte"), "rotate");
	assert_string_equal(nearest("sotre"), "store");
	assert_string_equal(nearest("lst"), "list");
	assert_null(nearest("xyz"));
	assert_null(nearest(""));
	assert_null(nearest("averyveryveryveryveryveryveryveryveryverylongword"
			    "indeed"));
}

static const struct globals no_flags = {.pin_fd = -1, .access_token_fd = -1};

static void test_flags_win(void **state)
{
	struct globals flags = no_flags;
	struct environment env = {.token = "pkcs11:token=env",
				  .store = "/env.db",
				  .sudo_user = "eve",
				  .worker = "/w",
				  .pin = "1234",
				  .home = "/h"};
	struct config config = {.store = (char *)(uintptr_t) "/file.db",
				.token.uri =
					(char *)(uintptr_t) "pkcs11:token=file",
				.token.gate = KT_GATE_WARN};
	CLEANUP(freep) struct settings *s = NULL;

	(void)state;
	flags.token = "pkcs11:token=flag";
	assert_int_equal(settings_resolve(&flags, &env, &config, &s), KT_OK);
	assert_string_equal(s->params.token_uri, "pkcs11:token=flag");
	assert_string_equal(s->params.store_path, "/env.db");
	assert_int_equal(s->params.gate, KT_GATE_WARN);
	assert_string_equal(s->params.worker, "/w");
	assert_int_equal(strncmp(s->params.operator_name, "eve@", 4), 0);
	assert_null(s->params.pin.environment); /* not allowed */
	assert_int_equal(s->params.pin.fd, -1);
}

static void test_settings_of_the_file(void **state)
{
	struct globals flags = no_flags;
	struct environment env = {.pin = "1234", .home = "/h"};
	struct config config = {.token.uri =
					(char *)(uintptr_t) "pkcs11:token=file",
				.pin.allow_environment = true};
	CLEANUP(freep) struct settings *s = NULL;

	(void)state;
	flags.operator_name = "ci";
	assert_int_equal(settings_resolve(&flags, &env, &config, &s), KT_OK);
	assert_string_equal(s->params.token_uri, "pkcs11:token=file");
	assert_string_equal(s->params.store_path,
			    geteuid() == 0
				    ? "/var/lib/keyturn/keyturn.db"
				    : "/h/.local/state/keyturn/keyturn.db");
	assert_string_equal(s->params.operator_name, "ci");
	assert_string_equal(s->params.pin.environment, "1234");
}

static void test_refused_settings(void **state)
{
	struct globals flags = no_flags;
	const struct environment env = {.home = "/h"};
	struct config config = {0};
	struct settings *s = NULL;
	char dir[] = "/tmp/keyturn-test-XXXXXX";

	(void)state;
	flags.token = "pkcs11:token=a?pin-value=1234";
	assert_int_equal(settings_resolve(&flags, &env, &config, &s),
			 KT_ERR_CONFIG);
	assert_null(strstr(kt_err_detail(), "1234"));
	flags.token = "file:a";
	assert_int_equal(settings_resolve(&flags, &env, &config, &s),
			 KT_ERR_CONFIG);
	flags = no_flags;
	flags.operator_name = "a\nb";
	assert_int_equal(settings_resolve(&flags, &env, &config, &s),
			 KT_ERR_USAGE);
	flags = no_flags;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(chmod(dir, 0755), 0);
	config.runtime_dir = dir;
	assert_int_equal(settings_resolve(&flags, &env, &config, &s),
			 KT_ERR_CONFIG);
	assert_null(s);
	rmdir(dir);
}

static void test_progress_line(void **state)
{
	struct progress p = {.step = "staging", .started = 1000};
	char line[256];

	(void)state;
	progress_line(&p, 1000, 200, line, sizeof(line));
	assert_string_equal(line, "staging ...");
	p.done = 500;
	p.base = 100;
	p.total = 1000;
	progress_line(&p, 3000, 200, line, sizeof(line));
	assert_string_equal(line,
			    "staging [###############...............]  50%  "
			    "500/1000, 200 rows/s, 0:02 left");
	progress_line(&p, 3000, 20, line, sizeof(line));
	assert_int_equal(strlen(line), 20);
	p.total = 10000000;
	progress_line(&p, 3000, 200, line, sizeof(line));
	assert_non_null(strstr(line, "0%  500/10000000, 200 rows/s, 13:53:"));
	/* The bar is what gives way, down to a few characters. */
	progress_line(&p, 3000, 70, line, sizeof(line));
	assert_int_equal(strlen(line), 70);
	assert_non_null(strstr(line, " left"));
	progress_line(&p, 3000, 50, line, sizeof(line));
	assert_non_null(strstr(line, "staging [.....]"));
}

static void test_gate_summary(void **state)
{
	char text[64];

	(void)state;
	gate_summary("a=pass b=pass", text, sizeof(text));
	assert_string_equal(text, "2 pass");
	gate_summary("a=pass b=fail c=known d=fail", text, sizeof(text));
	assert_string_equal(text, "1 pass, known: c, fail: b d");
	gate_summary("", text, sizeof(text));
	assert_string_equal(text, "0 pass");
}

/* A whole run over a table of one command, with stdout and stderr caught. */

struct row {
	char name[16];
	int64_t count, time;
	bool open;
	const char *note;
	struct kt_id id;
};

static const char *row_word(const void *row)
{
	return ((const struct row *)row)->open ? "open" : NULL;
}

static const struct column row_columns[] = {
	{"name", "NAME", COLUMN_CHARS, offsetof(struct row, name)},
	{"count", "COUNT", COLUMN_INT, offsetof(struct row, count)},
	{"time", "TIME", COLUMN_TIME, offsetof(struct row, time)},
	{"open", "OPEN", COLUMN_BOOL, offsetof(struct row, open)},
	{"note", "NOTE", COLUMN_TEXT, offsetof(struct row, note)},
	{"id", "ID", COLUMN_ID, offsetof(struct row, id)},
	{"word", "WORD", COLUMN_WORD, .word = row_word},
};

static enum kt_err house_list_run(struct cli *cli, const void *opts,
				  const char *const *args)
{
	const struct house_options *o = opts;
	const struct row rows[] = {
		{"a", 5, 1790000000, true, "n\xff", {{1}}},
		{"b\033[1m", -12, 0, false, NULL, {{0}}},
	};
	CLEANUP(table_freep) struct table *table = NULL;

	if (args[0] != NULL && strcmp(args[0], "none") == 0)
		return err_hint(err_raise(KT_ERR_NOT_FOUND, "no 'none\033'"),
				"try another");
	if (o->dry_run)
		return ask_confirm(cli, "Really?");
	TRY(table_new(cli, row_columns, COLUMNS(row_columns), &table));
	for (int64_t i = 0; i < o->size; i++)
		TRY(table_add(table, &rows[i]));
	cli_say(cli, "%lld rows", (long long)o->size);
	return table_print(table);
}

static const struct command house_list = {
	.path = "house list",
	.arguments = "[NAME]",
	.help = "list the houses",
	OPTIONS(house_option, struct house_options, (.size = 2)),
	.lists = true,
	.run = house_list_run,
};

static const struct command *const commands[] = {&house_list, NULL};
static const struct noun nouns[] = {{"house", "houses"}, {NULL, NULL}};

struct caught {
	int status;
	char out[2048], err[1024];
};

/* Sends a standard descriptor into a new file; returns what it was. */
static int divert(int fd, FILE *into)
{
	int old = dup(fd);

	assert_true(old >= 0);
	assert_int_equal(dup2(fileno(into), fd), fd);
	return old;
}

static void give_back(int fd, int old, FILE *from, char *ret, size_t size)
{
	size_t len;

	assert_int_equal(dup2(old, fd), fd);
	close(old);
	rewind(from);
	len = fread(ret, 1, size - 1, from);
	ret[len] = '\0';
	fclose(from);
}

static void run(const char *text, struct caught *ret)
{
	const struct environment env = {.home = "/nonexistent"};
	FILE *out = tmpfile();
	FILE *err = tmpfile();
	char line[256];
	char *argv[ARGV_MAX + 1];
	int old_out, old_err, argc;

	assert_non_null(out);
	assert_non_null(err);
	text_cut(line, sizeof(line), text);
	argc = split(line, argv);
	fflush(NULL);
	old_out = divert(STDOUT_FILENO, out);
	old_err = divert(STDERR_FILENO, err);
	ret->status = cli_main(commands, nouns, &env, argc, argv);
	fflush(NULL);
	give_back(STDOUT_FILENO, old_out, out, ret->out, sizeof(ret->out));
	give_back(STDERR_FILENO, old_err, err, ret->err, sizeof(ret->err));
}

static void test_table_text(void **state)
{
	struct caught c;

	(void)state;
	run("keyturn house list", &c);
	assert_int_equal(c.status, 0);
	assert_string_equal(c.err, "2 rows\n");
	assert_non_null(strstr(c.out, "NAME"));
	assert_non_null(strstr(c.out, "2026-09-21T14:13:20Z yes"));
	assert_non_null(strstr(c.out, "01000000-0000-0000-0000-000000000000"));
	assert_null(strchr(c.out, '\033'));
	run("keyturn house list --size 1 -q", &c);
	assert_string_equal(c.err, "");
}

static void test_table_json(void **state)
{
	struct caught c;

	(void)state;
	run("keyturn --json house list", &c);
	assert_int_equal(c.status, 0);
	assert_string_equal(
		c.out, "[\n"
		       "  {\"name\": \"a\", \"count\": 5, "
		       "\"time\": \"2026-09-21T14:13:20Z\", \"open\": true, "
		       "\"note\": \"n?\", "
		       "\"id\": \"01000000-0000-0000-0000-000000000000\", "
		       "\"word\": \"open\"},\n"
		       "  {\"name\": \"b\\u001B[1m\", \"count\": -12, "
		       "\"time\": null, \"open\": false, \"note\": null, "
		       "\"id\": null, \"word\": null}\n"
		       "]\n");
}

static void test_runs_that_fail(void **state)
{
	static const struct {
		const char *line;
		int status;
		const char *err;
	} cases[] = {
		{"keyturn hose list", 2,
		 "keyturn: unknown command 'hose' (did you mean 'house'?)\n"},
		{"keyturn house lsit", 2,
		 "keyturn: unknown command 'house lsit' (did you mean "
		 "'list'?)\n"},
		{"keyturn house", 2,
		 "keyturn: house: a command is missing; keyturn house --help "
		 "lists them\n"},
		{"keyturn house list a b", 2,
		 "keyturn: house list: 1 argument too many\n"},
		{"keyturn house list none", 3,
		 "keyturn: house list: no 'none?'\n"
		 "keyturn: hint: try another\n"},
		{"keyturn house list -n", 2,
		 "keyturn: house list: needs --yes without a terminal\n"},
		{"keyturn house list --access-token-fd 3 --access-token-file x",
		 2,
		 "keyturn: house list: --access-token-file and "
		 "--access-token-fd exclude each other\n"},
	};
	struct caught c;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		run(cases[i].line, &c);
		assert_string_equal(c.err, cases[i].err);
		assert_int_equal(c.status, cases[i].status);
		assert_string_equal(c.out, "");
	}
	run("keyturn house list -n -y", &c);
	assert_int_equal(c.status, 0);
}

static void test_help(void **state)
{
	struct caught c;

	(void)state;
	run("keyturn", &c);
	assert_int_equal(c.status, 0);
	assert_non_null(strstr(c.out, "  house  "));
	run("keyturn house -h", &c);
	assert_non_null(strstr(c.out, "  list [NAME]  "));
	run("keyturn house list --help", &c);
	assert_int_equal(c.status, 0);
	assert_non_null(strstr(c.out, "  -n, --dry-run"));
	assert_non_null(strstr(c.out, "      --size N"));
	assert_string_equal(c.err, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_type),
		cmocka_unit_test(test_words),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_arguments),
		cmocka_unit_test(test_suggestions),
		cmocka_unit_test(test_flags_win),
		cmocka_unit_test(test_settings_of_the_file),
		cmocka_unit_test(test_refused_settings),
		cmocka_unit_test(test_progress_line),
		cmocka_unit_test(test_gate_summary),
		cmocka_unit_test(test_table_text),
		cmocka_unit_test(test_table_json),
		cmocka_unit_test(test_runs_that_fail),
		cmocka_unit_test(test_help),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
