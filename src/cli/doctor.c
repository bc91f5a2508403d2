/*
 * keyturn doctor: every check with its result, and what to do about it.
 */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/table.h"

static const char *result_word(const void *row)
{
	const struct kt_check *check = row;

	switch (check->result) {
	case KT_CHECK_OK:
		return "ok";
	case KT_CHECK_WARN:
		return "warn";
	case KT_CHECK_FAIL:
		return "fail";
	}
	return "unknown";
}

static const char *mark(enum kt_check_result result)
{
	switch (result) {
	case KT_CHECK_OK:
		return "[ ok ]";
	case KT_CHECK_WARN:
		return "[warn]";
	case KT_CHECK_FAIL:
		return "[FAIL]";
	}
	return "[    ]";
}

static const struct column columns[] = {
	{"id", "ID", COLUMN_TEXT, offsetof(struct kt_check, id)},
	{"title", "TITLE", COLUMN_TEXT, offsetof(struct kt_check, title)},
	{"result", "RESULT", COLUMN_WORD, .word = result_word},
	{"detail", "DETAIL", COLUMN_TEXT, offsetof(struct kt_check, detail)},
	{"fix", "FIX", COLUMN_TEXT, offsetof(struct kt_check, fix)},
};

struct report {
	struct table *table; /* NULL: lines of text as they come */
	int count[3];        /* by enum kt_check_result */
};

static enum kt_err print_check(const struct kt_check *check)
{
	char text[2048];
	int len = snprintf(text, sizeof(text), "%s %s %s%s%s\n%s%s%s",
			   mark(check->result), check->id, check->title,
			   check->detail[0] != '\0' ? ": " : "", check->detail,
			   check->fix[0] != '\0' ? "       fix: " : "",
			   check->fix, check->fix[0] != '\0' ? "\n" : "");

	if (len < 0 || (size_t)len >= sizeof(text))
		return err_raise(KT_ERR_FAILED, "check %s says too much",
				 check->id);
	return cli_write(text, (size_t)len);
}

static enum kt_err each(void *arg, const struct kt_check *check)
{
	struct report *report = arg;

	report->count[check->result]++;
	return report->table != NULL ? table_add(report->table, check)
				     : print_check(check);
}

static enum kt_err doctor_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	CLEANUP(table_freep) struct table *table = NULL;
	struct report report = {0};
	const struct kt_params *params;
	struct err_saved saved;

	(void)opts;
	(void)args;
	TRY(cli_operator_only(cli));
	TRY(cli_params(cli, &params));
	if (cli->globals.json)
		TRY(table_new(cli, columns, COLUMNS(columns), &table));
	report.table = table;
	err_save(kt_doctor(params, each, &report), &saved);
	if (table != NULL)
		TRY(table_print(table));
	cli_say(cli, "%d ok, %d warn, %d fail", report.count[0],
		report.count[1], report.count[2]);
	return err_restore(&saved);
}

const struct command doctor_command = {
	.path = "doctor",
	.help = "check token, store and vault; say what to do",
	.details = "Each failed check has a line that says how to fix it.\n"
		   "Exit status 10 when one failed.\n",
	.examples = "keyturn doctor\n"
		    "keyturn doctor --json\n",
	.lists = true,
	.run = doctor_run,
};
