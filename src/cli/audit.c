/*
 * keyturn audit: the trail, and the proof that it is whole.
 */
#include "cli/commands.h"
#include "cli/screen.h"
#include "cli/table.h"

#define ENTRY(member) offsetof(struct kt_audit_entry, member)
#define SUMMARY(member) offsetof(struct kt_audit_summary, member)

struct list_options {
	int64_t first, limit;
};

static const struct option_def list_option[] = {
	{"first", 0, OPT_INT, offsetof(struct list_options, first), "N",
	 "begin with entry N (default 1)", .min = 1, .max = INT64_MAX},
	{"limit", 0, OPT_INT, offsetof(struct list_options, limit), "N",
	 "at most N entries (default: all)", .min = 1, .max = INT64_MAX},
};

static const struct column list_columns[] = {
	{"seq", "SEQ", COLUMN_INT, ENTRY(seq)},
	{"time", "TIME", COLUMN_TIME, ENTRY(time)},
	{"actor", "ACTOR", COLUMN_CHARS, ENTRY(actor)},
	{"action", "ACTION", COLUMN_CHARS, ENTRY(action)},
	{"object", "OBJECT", COLUMN_CHARS, ENTRY(object)},
	{"detail", "DETAIL", COLUMN_CHARS, ENTRY(detail)},
	{"hash", "HASH", COLUMN_CHARS, ENTRY(hash)},
};

static enum kt_err each(void *arg, const struct kt_audit_entry *entry)
{
	return table_add(arg, entry);
}

static enum kt_err fill_entries(struct kt_vault *vault, const void *arg,
				struct table *table)
{
	const struct list_options *o = arg;

	return kt_audit_list(vault, o->first, o->limit, each, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	/* 64 digits a line are for programs. */
	size_t count = COLUMNS(list_columns) - (cli->globals.json ? 0 : 1);

	(void)args;
	return table_list(cli, list_columns, count, fill_entries, opts);
}

const struct command audit_list_command = {
	.path = "audit list",
	.help = "list the audit trail, oldest first",
	.examples = "keyturn audit list --limit 20\n"
		    "keyturn audit list --first 1000 --json\n",
	OPTIONS(list_option, struct list_options, (.first = 1)),
	.lists = true,
	.run = list_run,
};

static const struct column summary_columns[] = {
	{"entries", "Entries", COLUMN_INT, SUMMARY(entries)},
	{"checkpoints", "Checkpoints", COLUMN_INT, SUMMARY(checkpoints)},
	{"last_time", "Last entry", COLUMN_TIME, SUMMARY(last_time)},
	{"head", "Head", COLUMN_CHARS, SUMMARY(head)},
};

static enum kt_err verify_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	struct kt_audit_summary summary;
	struct kt_vault *vault;

	(void)opts;
	(void)args;
	TRY(cli_vault(cli, &vault));
	TRY(kt_audit_verify(vault, &summary));
	TRY(screen_show(cli, summary_columns, COLUMNS(summary_columns),
			&summary));
	cli_say(cli, "The audit trail is whole.");
	return KT_OK;
}

const struct command audit_verify_command = {
	.path = "audit verify",
	.help = "verify every hash, MAC and checkpoint of the audit trail",
	.details = "Keep the head: a trail that was cut off and one that was\n"
		   "not are told apart by it. Exit status 9 names the first\n"
		   "bad entry.\n",
	.examples = "keyturn audit verify\n"
		    "keyturn audit verify --json\n",
	.lists = true,
	.run = verify_run,
};
