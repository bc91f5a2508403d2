/*
 * keyturn master: the versions of the master key, their rotation and their
 * end.
 */
#include <inttypes.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/evidence.h"
#include "cli/keyview.h"
#include "cli/rotate.h"
#include "cli/screen.h"
#include "cli/settings.h"
#include "cli/table.h"

#define KEY(member) offsetof(struct key_view, key.member)

static const struct column list_columns[] = {
	{"version", "VERSION", COLUMN_INT, KEY(version)},
	{"role", "ROLE", COLUMN_WORD, .word = key_role_word},
	{"state", "STATE", COLUMN_WORD, .word = key_state_word},
	{"rows", "ROWS", COLUMN_INT, KEY(rows)},
	{"mechanism", NULL, COLUMN_WORD, .word = key_mech_word},
	{"token_serial", NULL, COLUMN_CHARS, KEY(token_serial)},
	{"cka_id", NULL, COLUMN_CHARS, offsetof(struct key_view, cka_id)},
	{"created", NULL, COLUMN_TIME, KEY(created)},
	{"activated", "ACTIVATED", COLUMN_TIME, KEY(activated)},
	{"deactivated", "DEACTIVATED", COLUMN_TIME, KEY(deactivated)},
	{"compromised", NULL, COLUMN_TIME, KEY(compromised)},
	{"destroyed", NULL, COLUMN_TIME, KEY(destroyed)},
};

static enum kt_err add_key(void *arg, const struct kt_key *key)
{
	struct key_view view;

	key_view_make(key, &view);
	return table_add(arg, &view);
}

static enum kt_err fill_keys(struct kt_vault *vault, const void *arg,
			     struct table *table)
{
	(void)arg;
	return kt_master_list(vault, add_key, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	(void)opts;
	(void)args;
	return table_list(cli, list_columns, COLUMNS(list_columns), fill_keys,
			  NULL);
}

const struct command master_list_command = {
	.path = "master list",
	.help = "list the versions of the master key and what is under them",
	.examples = "keyturn master list\n"
		    "keyturn master list --json\n",
	.lists = true,
	.run = list_run,
};

/* The two keys of a version become two sections. */
struct show {
	struct screen *screen;
	int64_t version;
	bool found;
};

static enum kt_err show_key(void *arg, const struct kt_key *key)
{
	struct show *show = arg;
	bool recovery = key->role == KT_KEY_RECOVERY;

	if (key->version != show->version)
		return KT_OK;
	show->found = true;
	return key_section(show->screen, recovery ? "recovery" : "master",
			   recovery ? "Recovery key" : "Wrapping key", key);
}

static enum kt_err show_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	CLEANUP(screen_freep) struct screen *screen = NULL;
	struct show show = {0};
	struct kt_vault *vault;

	(void)opts;
	TRY(key_version_parse(args[0], &show.version));
	TRY(cli_vault(cli, &vault));
	TRY(screen_new(cli, &screen));
	show.screen = screen;
	TRY(kt_master_list(vault, show_key, &show));
	if (!show.found)
		return err_raise(KT_ERR_NOT_FOUND,
				 "the master key has no version %" PRId64,
				 show.version);
	return screen_print(screen);
}

const struct command master_show_command = {
	.path = "master show",
	.arguments = "VERSION",
	.help = "show one version of the master key as the token has it",
	.examples = "keyturn master show 1\n"
		    "keyturn master show 2 --json\n",
	.lists = true,
	.run = show_run,
};

struct master_rotate_options {
	struct rotate_flags rotate;
	const char *backup;
};

static const struct option_def rotate_option[] = {
	ROTATE_OPTIONS(struct master_rotate_options, rotate, "24h"),
	{"backup", 0, OPT_FILE, offsetof(struct master_rotate_options, backup),
	 "FILE", "copy the database to a new FILE first"},
};

static enum kt_err make_backup(struct cli *cli, const char *file)
{
	struct kt_backup backup;
	struct kt_vault *vault;
	char path[PATH_MAX];

	TRY(settings_whole_path(file, path));
	TRY(cli_vault(cli, &vault));
	TRY(kt_backup_create(vault, path, 0, &backup));
	cli_say(cli, "backup %s: %lld bytes, SHA-256 %s", path,
		(long long)backup.size, backup.sha256);
	return KT_OK;
}

/* Beside the database, with the time in its name. */
static enum kt_err offer_backup(struct cli *cli)
{
	const struct kt_params *params;
	char path[4096], now[TIME_TEXT_LEN + 1];
	bool wanted;

	if (cli->globals.yes || !ask_possible(cli))
		return KT_OK;
	TRY(cli_params(cli, &params));
	time_format(clock_now(), now);
	TRY(text_format(path, sizeof(path), "%s.%s.backup", params->store_path,
			now));
	TRY(ask_choice(cli, true, &wanted, "Back up to %s first?", path));
	return wanted ? make_backup(cli, path) : KT_OK;
}

/* The flag, then the file, then a day: the master is everybody's key. */
static enum kt_err master_options(struct cli *cli,
				  const struct rotate_flags *flags,
				  struct kt_rotate_options *ret)
{
	const struct config *config;

	TRY(cli_config(cli, &config));
	TRY(rotate_options(cli, flags, ret));
	if (ret->grace < 0)
		ret->grace = config->rotation.grace;
	if (ret->grace < 0)
		ret->grace = 86400;
	return KT_OK;
}

static enum kt_err rotate_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	static const struct rotate_target master = {KT_ROTATION_MASTER, NULL};
	const struct master_rotate_options *o = opts;
	struct kt_rotate_options options;
	struct kt_rotation r;

	(void)args;
	TRY(master_options(cli, &o->rotate, &options));
	if (o->rotate.dry_run)
		return rotate_dry_run(cli, &master, &options);
	TRY(rotate_ask(cli, &master, &options));
	if (o->backup != NULL)
		TRY(make_backup(cli, o->backup));
	else
		TRY(offer_backup(cli));
	return rotate_start(cli, &master, &options, &r);
}

const struct command master_rotate_command = {
	.path = "master rotate",
	.help = "make a new master key and rewrap everything under it",
	.details = "A key is born in the token, every row is rewrapped and "
		   "proven, then the new key\nbecomes the active one. The old "
		   "rows stay for the grace time, in which rollback\ncosts one "
		   "command. Stopped at any moment, it goes on with keyturn "
		   "master resume.\nThe configuration may set --batch-size, "
		   "--jobs and --grace.\n",
	.examples = "keyturn master rotate -n\n"
		    "keyturn master rotate --yes --reason CHG-1812 "
		    "--backup before.db\n",
	OPTIONS(rotate_option, struct master_rotate_options,
		(.rotate = {.grace = -1})),
	.run = rotate_run,
};

static const struct option_def resume_option[] = {
	ROTATE_PACE_OPTIONS(struct resume_options, rotate),
	ROTATE_SKIP_OPTION(struct resume_options, rotate)};

static enum kt_err resume_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	return resume_command(cli, KT_ROTATION_MASTER, args[0], opts);
}

const struct command master_resume_command = {
	.path = "master resume",
	.arguments = "[ID]",
	.help = "go on with an interrupted rotation of the master key",
	.examples = "keyturn master resume\n"
		    "keyturn master resume --jobs 4\n",
	OPTIONS(resume_option, struct resume_options, (.rotate = {0})),
	.run = resume_run,
};

static enum kt_err rollback_run(struct cli *cli, const void *opts,
				const char *const *args)
{
	(void)opts;
	return rollback_command(cli, KT_ROTATION_MASTER, args[0]);
}

const struct command master_rollback_command = {
	.path = "master rollback",
	.arguments = "[ID]",
	.help = "go back to the old master key",
	.details = "Possible until the old rows are deleted. They were never "
		   "touched.\n",
	.examples = "keyturn master rollback\n"
		    "keyturn master rollback --yes\n",
	.run = rollback_run,
};

static const struct option_def finish_option[] = {
	{"now", 0, OPT_FLAG, offsetof(struct finish_options, now), NULL,
	 "do not wait for the end of the grace time"},
};

static enum kt_err finish_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	return finish_command(cli, KT_ROTATION_MASTER, args[0], opts);
}

const struct command master_finish_command = {
	.path = "master finish",
	.arguments = "[ID]",
	.help = "delete the rows under the old master key",
	.details = "After the grace time; then there is no way back.\n",
	.examples = "keyturn master finish\n"
		    "keyturn master finish --now --yes\n",
	OPTIONS(finish_option, struct finish_options, (.now = false)),
	.run = finish_run,
};

struct destroy_options {
	const char *confirm, *evidence;
	bool ignore_backups;
};

static const struct option_def destroy_option[] = {
	{"confirm", 0, OPT_TEXT, offsetof(struct destroy_options, confirm),
	 "VERSION", "the version again, instead of the question"},
	{"ignore-backups", 0, OPT_FLAG,
	 offsetof(struct destroy_options, ignore_backups), NULL,
	 "lose the backups that need it"},
	{"evidence", 0, OPT_FILE, offsetof(struct destroy_options, evidence),
	 "DIR", "write the TPM's certificate of its destruction"},
};

struct doomed {
	const struct cli *cli;
	int64_t count;
};

static enum kt_err say_doomed(void *arg, const struct kt_backup *backup)
{
	struct doomed *doomed = arg;
	char id[KT_ID_TEXT_LEN + 1], created[TIME_TEXT_LEN + 1];

	kt_id_format(&backup->id, id);
	time_format(backup->created, created);
	cli_say(doomed->cli, "backup %s of %s needs it: %s", id, created,
		backup->file);
	doomed->count++;
	return KT_OK;
}

/* A question of its own: it is about other data than the version's name. */
static enum kt_err ask_backups(struct cli *cli, struct kt_vault *vault,
			       int64_t version)
{
	struct doomed doomed = {.cli = cli};

	TRY(kt_backup_needing(vault, version, say_doomed, &doomed));
	if (doomed.count == 0)
		return KT_OK;
	return ask_confirm(cli,
			   "Nobody can read %" PRId64 " backups afterwards. "
			   "Go on?",
			   doomed.count);
}

static enum kt_err destroy_run(struct cli *cli, const void *opts,
			       const char *const *args)
{
	const struct destroy_options *o = opts;
	struct kt_vault *vault;
	char name[24];
	int64_t version;

	TRY(key_version_parse(args[0], &version));
	TRY(text_format(name, sizeof(name), "%" PRId64, version));
	TRY(cli_vault(cli, &vault));
	TRY(ask_name(cli, o->confirm, name));
	if (o->ignore_backups)
		TRY(ask_backups(cli, vault, version));
	if (o->evidence != NULL)
		TRY(evidence_prepare(vault, version, o->evidence));
	TRY(kt_master_destroy(vault, version, o->ignore_backups));
	cli_say(cli, "version %s of the master key is destroyed", name);
	if (o->evidence != NULL)
		return evidence_write_version(vault, version, o->evidence);
	return KT_OK;
}

const struct command master_destroy_command = {
	.path = "master destroy",
	.arguments = "VERSION",
	.help = "destroy a master key version that nothing needs any more",
	.details = "Every row that could need it is counted again first; one "
		   "is enough to refuse.\nSo is a backup that needs it: see "
		   "`keyturn "
		   "backup list`. With --ignore-backups\nnobody can read "
		   "those backups afterwards; a second question asks for it.\n",
	.examples = "keyturn master destroy 1\n"
		    "keyturn master destroy 1 --confirm 1\n"
		    "keyturn master destroy 1 --ignore-backups\n"
		    "keyturn master destroy 1 --evidence destroyed\n",
	OPTIONS(destroy_option, struct destroy_options, (.confirm = NULL)),
	.run = destroy_run,
};
