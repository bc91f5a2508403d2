/*
 * keyturn backup: copies of the database, the proof that one is good, and the
 * way back from one. Keys of the token are not in them.
 */
#include "base/text.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/screen.h"
#include "cli/settings.h"
#include "cli/table.h"

#define BACKUP(member) offsetof(struct kt_backup, member)

static const struct column columns[] = {
	{"id", "ID", COLUMN_ID, BACKUP(id)},
	{"created", NULL, COLUMN_TIME, BACKUP(created)},
	{"expires", "EXPIRES", COLUMN_TIME, BACKUP(expires)},
	{"versions", "MASTER", COLUMN_CHARS, BACKUP(versions)},
	{"size", NULL, COLUMN_INT, BACKUP(size)},
	{"sha256", NULL, COLUMN_CHARS, BACKUP(sha256)},
	{"file", "FILE", COLUMN_CHARS, BACKUP(file)},
};

static const struct column one_columns[] = {
	{"id", "ID", COLUMN_ID, BACKUP(id)},
	{"file", "File", COLUMN_CHARS, BACKUP(file)},
	{"created", "Created", COLUMN_TIME, BACKUP(created)},
	{"expires", "Expires", COLUMN_TIME, BACKUP(expires)},
	{"versions", "Master key versions", COLUMN_CHARS, BACKUP(versions)},
	{"size", "Bytes", COLUMN_INT, BACKUP(size)},
	{"sha256", "SHA-256", COLUMN_CHARS, BACKUP(sha256)},
};

struct create_options {
	int64_t expires;
};

static const struct option_def create_option[] = {
	{"expires", 0, OPT_DURATION, offsetof(struct create_options, expires),
	 "TIME", "when it may be lost (default: never)"},
};

static enum kt_err create_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct create_options *o = opts;
	struct kt_backup backup;
	struct kt_vault *vault;
	char path[PATH_MAX];

	TRY(settings_whole_path(args[0], path));
	TRY(cli_vault(cli, &vault));
	TRY(kt_backup_create(vault, path, o->expires, &backup));
	return screen_show(cli, one_columns, COLUMNS(one_columns), &backup);
}

const struct command backup_create_command = {
	.path = "backup create",
	.arguments = "FILE",
	.help = "copy the database to a new file while it is in use",
	.details = "The copy opens only with the token whose master key wraps\n"
		   "it: back that up by your token's own means. Until it\n"
		   "expires or is forgotten, the master key versions that it\n"
		   "needs are not destroyed.\n",
	.examples = "keyturn backup create /backup/keyturn-$(date +%F).db "
		    "--expires 90d\n",
	OPTIONS(create_option, struct create_options, (.expires = 0)),
	.lists = true,
	.run = create_run,
};

static enum kt_err add_backup(void *arg, const struct kt_backup *backup)
{
	return table_add(arg, backup);
}

static enum kt_err fill_backups(struct kt_vault *vault, const void *arg,
				struct table *table)
{
	(void)arg;
	return kt_backup_list(vault, add_backup, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	(void)opts;
	(void)args;
	return table_list(cli, columns, COLUMNS(columns), fill_backups, NULL);
}

const struct command backup_list_command = {
	.path = "backup list",
	.help = "list the backups that were made, expired ones too",
	.examples = "keyturn backup list\n"
		    "keyturn backup list --json\n",
	.lists = true,
	.run = list_run,
};

struct forget_options {
	const char *confirm;
};

static const struct option_def forget_option[] = {
	{"confirm", 0, OPT_TEXT, offsetof(struct forget_options, confirm), "ID",
	 "the id again, instead of the question"},
};

static enum kt_err forget_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct forget_options *o = opts;
	struct kt_vault *vault;
	struct kt_id id;

	TRY(kt_id_parse(args[0], &id));
	TRY(cli_vault(cli, &vault));
	TRY(ask_name(cli, o->confirm, args[0]));
	TRY(kt_backup_forget(vault, &id));
	cli_say(cli, "backup %s is forgotten", args[0]);
	return KT_OK;
}

const struct command backup_forget_command = {
	.path = "backup forget",
	.arguments = "ID",
	.help = "say that the file of a backup is gone",
	.details = "It no longer keeps a master key version from being "
		   "destroyed.\nThe file itself is not touched.\n",
	.examples = "keyturn backup forget "
		    "0197a3c8-77f0-7d11-8b8e-2f1f6d2f7a10\n"
		    "keyturn backup list\n",
	OPTIONS(forget_option, struct forget_options, (.confirm = NULL)),
	.run = forget_run,
};

#define REPORT(member) offsetof(struct kt_backup_report, member)

static const struct column report_columns[] = {
	{"vault", "Vault", COLUMN_ID, REPORT(vault)},
	{"recorded", "Recorded as", COLUMN_ID, REPORT(recorded)},
	{"versions", "Master key versions", COLUMN_CHARS, REPORT(versions)},
	{"rows", "Rows", COLUMN_INT, REPORT(rows)},
	{"wraps", "Wraps proven", COLUMN_INT, REPORT(wraps)},
	{"faults", "Faults", COLUMN_INT, REPORT(faults)},
	{"audit_entries", "Audit entries", COLUMN_INT, REPORT(audit_entries)},
	{"audit_checkpoints", "Audit checkpoints", COLUMN_INT,
	 REPORT(audit_checkpoints)},
	{"audit_head", "Audit head", COLUMN_CHARS, REPORT(audit_head)},
	{"size", "Bytes", COLUMN_INT, REPORT(size)},
	{"sha256", "SHA-256", COLUMN_CHARS, REPORT(sha256)},
};

static void say_fault(void *arg, const char *text)
{
	cli_say(arg, "bad: %s", text);
}

static enum kt_err verify(struct cli *cli, const char *file,
			  struct kt_backup_report *ret)
{
	CLEANUP(progress_end) struct progress progress;
	const struct kt_params *params;

	TRY(cli_params(cli, &params));
	progress_begin(&progress, cli);
	return kt_backup_verify(params, file, &progress.port, say_fault, cli,
				ret);
}

static enum kt_err verify_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	struct kt_backup_report report = {0};
	struct err_saved saved;
	enum kt_err err;

	(void)opts;
	TRY(cli_operator_only(cli));
	err = verify(cli, args[0], &report);
	if (err != KT_OK && report.faults == 0)
		return err;
	err_save(err, &saved);
	if (report.unread[0] != '\0')
		cli_say(cli, "not compared with the vault: %s", report.unread);
	TRY(screen_show(cli, report_columns, COLUMNS(report_columns), &report));
	return err == KT_OK ? KT_OK : err_restore(&saved);
}

const struct command backup_verify_command = {
	.path = "backup verify",
	.arguments = "FILE",
	.help = "prove every row of a backup, on the token",
	.details = "Changes neither the file nor the vault, and works without "
		   "the vault's database.\n",
	.examples = "keyturn backup verify /backup/keyturn.db\n"
		    "keyturn backup verify /backup/keyturn.db --json\n",
	.lists = true,
	.run = verify_run,
};

struct restore_options {
	bool replace_newer;
};

static const struct option_def restore_option[] = {
	{"replace-newer", 0, OPT_FLAG,
	 offsetof(struct restore_options, replace_newer), NULL,
	 "also over a database that has more"},
};

static void say_plan(const struct cli *cli, const struct kt_restore_plan *plan)
{
	cli_say(cli, "the backup is proven: %s, %s, audit trail of %s",
		text_counted(plan->backup.rows, "row", "rows").text,
		text_counted(plan->backup.wraps, "wrap", "wraps").text,
		text_counted(plan->backup.audit_entries, "entry", "entries")
			.text);
	if (plan->damage[0] != '\0')
		cli_say(cli, "the present database cannot be read: %s",
			plan->damage);
	else if (plan->present)
		cli_say(cli,
			"the present database has an audit trail of %s%s%s%s",
			text_counted(plan->present_entries, "entry", "entries")
				.text,
			plan->newer ? ": newer" : "",
			plan->lacking[0] != '\0' ? ", and the backup lacks "
						 : "",
			plan->lacking);
}

/* The progress of the proof ends before the question. */
struct restoring {
	struct cli *cli;
	struct progress progress;
	bool shown;
};

static void restoring_hush(struct restoring *r)
{
	if (r->shown)
		progress_end(&r->progress);
	r->shown = false;
}

static void say_bad_row(void *arg, const char *text)
{
	const struct restoring *r = arg;

	say_fault(r->cli, text);
}

/* Where nothing is lost nobody is asked. */
static enum kt_err ask_restore(void *arg, const struct kt_restore_plan *plan)
{
	struct restoring *r = arg;
	struct cli *cli = r->cli;

	restoring_hush(r);
	say_plan(cli, plan);
	if (!plan->present)
		return KT_OK;
	cli_say(cli, "it is kept as %s", plan->kept);
	if (plan->newer)
		return ask_confirm(cli, "What was done since the backup is "
					"undone. Replace the newer database?");
	return ask_confirm(cli, "Replace the database?");
}

static enum kt_err restore_run(struct cli *cli, const void *opts,
			       const char *const *args)
{
	CLEANUP(restoring_hush) struct restoring r = {.cli = cli};
	const struct restore_options *o = opts;
	const struct kt_restore_options options = {
		.replace_newer = o->replace_newer,
		.confirm = ask_restore,
		.fault = say_bad_row,
		.arg = &r,
	};
	const struct kt_params *params;
	struct kt_restore_plan done;

	TRY(cli_operator_only(cli));
	TRY(cli_params(cli, &params));
	progress_begin(&r.progress, cli);
	r.shown = true;
	TRY(kt_backup_restore(params, args[0], &options, &r.progress.port,
			      &done));
	cli_say(cli, "restored from %s%s%s", args[0],
		done.kept[0] != '\0' ? "; the database of before is " : "",
		done.kept);
	return KT_OK;
}

const struct command backup_restore_command = {
	.path = "backup restore",
	.arguments = "FILE",
	.help = "put a backup in the place of the database",
	.details = "Every row of it is proven first. The database of before is "
		   "kept beside; a newer\none is replaced with "
		   "--replace-newer only. Access tokens that were revoked "
		   "since\nstay revoked.\n",
	.examples = "keyturn backup restore /backup/keyturn.db\n"
		    "keyturn backup restore /backup/keyturn.db "
		    "--replace-newer --yes\n",
	OPTIONS(restore_option, struct restore_options,
		(.replace_newer = false)),
	.run = restore_run,
};
