/*
 * keyturn master verify and project verify: the proof, at any time, that
 * every row under a key holds.
 */
#include "cli/commands.h"
#include "cli/keyview.h"
#include "cli/progress.h"
#include "cli/rotate.h"
#include "cli/table.h"

static const char *role_word(const void *row)
{
	return kt_key_role_name(
		((const struct kt_verification *)row)->key.role);
}

static const char *state_word(const void *row)
{
	return kt_key_state_name(
		((const struct kt_verification *)row)->key.state);
}

#define VERIFICATION(member) offsetof(struct kt_verification, member)

static const struct column columns[] = {
	{"role", "ROLE", COLUMN_WORD, .word = role_word},
	{"version", "VERSION", COLUMN_INT, VERIFICATION(key.version)},
	{"state", "STATE", COLUMN_WORD, .word = state_word},
	{"rows", "ROWS", COLUMN_INT, VERIFICATION(rows)},
	{"compared", "COMPARED", COLUMN_INT, VERIFICATION(twins)},
	{"bad", "BAD", COLUMN_INT, VERIFICATION(faults)},
};

struct result {
	const struct cli *cli;
	struct table *table;
	bool bad;
};

static enum kt_err add_key(void *arg, const struct kt_verification *v)
{
	struct result *result = arg;

	return table_add(result->table, v);
}

static void name_fault(void *arg, const char *text)
{
	struct result *result = arg;

	result->bad = true;
	cli_say(result->cli, "bad: %s", text);
}

struct verify_options {
	struct rotate_flags rotate;
};

static const struct option_def verify_option[] = {
	ROTATE_PACE_OPTIONS(struct verify_options, rotate)};

static enum kt_err prove(struct cli *cli, const char *project, int64_t version,
			 const struct verify_options *o, struct result *result)
{
	CLEANUP(progress_end) struct progress progress;
	struct kt_rotate_options options;
	struct kt_vault *vault;

	progress_begin(&progress, cli);
	TRY(rotate_options(cli, &o->rotate, &options));
	options.grace = 0;
	TRY(cli_vault(cli, &vault));
	if (project != NULL)
		return kt_project_verify(vault, project, &options,
					 &progress.port, add_key, name_fault,
					 result);
	return kt_master_verify(vault, version, &options, &progress.port,
				add_key, name_fault, result);
}

/* The counts are shown whether rows are bad or not. */
static enum kt_err verify(struct cli *cli, const char *project, int64_t version,
			  const struct verify_options *o)
{
	CLEANUP(table_freep) struct table *table = NULL;
	struct result result = {.cli = cli};
	struct err_saved saved;
	enum kt_err err;

	TRY(table_new(cli, columns, COLUMNS(columns), &table));
	result.table = table;
	err = prove(cli, project, version, o, &result);
	if (err != KT_OK && !result.bad)
		return err;
	err_save(err, &saved);
	TRY(table_print(table));
	return err == KT_OK ? KT_OK : err_restore(&saved);
}

static enum kt_err master_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	int64_t version = 0;

	if (args[0] != NULL)
		TRY(key_version_parse(args[0], &version));
	return verify(cli, NULL, version, opts);
}

const struct command master_verify_command = {
	.path = "master verify",
	.arguments = "[VERSION]",
	.help = "prove every row under a version of the master key",
	.details = "Every row is unwrapped on the token; where its key has a "
		   "row under another key\ntoo, both are proven to hold the "
		   "same. Nothing is changed; a rotation may run\nbeside it. "
		   "Bad rows are named, and the exit status is 9.\n",
	.examples = "keyturn master verify\n"
		    "keyturn master verify 2 --jobs 4 --json\n",
	OPTIONS(verify_option, struct verify_options, (.rotate = {0})),
	.lists = true,
	.run = master_run,
};

static enum kt_err project_run(struct cli *cli, const void *opts,
			       const char *const *args)
{
	return verify(cli, args[0], 0, opts);
}

const struct command project_verify_command = {
	.path = "project verify",
	.arguments = "NAME",
	.help = "prove every row under the keys of a project",
	.details = "As keyturn master verify does it.\n",
	.examples = "keyturn project verify payments\n"
		    "keyturn project verify payments --json\n",
	OPTIONS(verify_option, struct verify_options, (.rotate = {0})),
	.lists = true,
	.run = project_run,
};
