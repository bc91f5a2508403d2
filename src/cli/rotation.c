/*
 * keyturn rotation: the records of all rotations, as an auditor wants them,
 * and the verbs that work on whatever rotation is unfinished.
 */
#include <string.h>

#include "cli/commands.h"
#include "cli/keyview.h"
#include "cli/rotate.h"
#include "cli/screen.h"
#include "cli/table.h"

static const char *kind_word(const void *row)
{
	switch (((const struct kt_rotation *)row)->kind) {
	case KT_ROTATION_MASTER:
		return "master";
	case KT_ROTATION_PROJECT:
		return "project";
	}
	return "unknown";
}

static const char *phase_word(const void *row)
{
	return kt_rotation_phase_name(((const struct kt_rotation *)row)->phase);
}

#define ROTATION(member) offsetof(struct kt_rotation, member)

static const struct column list_columns[] = {
	{"id", "ID", COLUMN_ID, ROTATION(id)},
	{"kind", "KIND", COLUMN_WORD, .word = kind_word},
	{"project", "PROJECT", COLUMN_CHARS, ROTATION(project)},
	{"old_version", "OLD", COLUMN_INT, ROTATION(leg[0].old_key.version)},
	{"new_version", "NEW", COLUMN_INT, ROTATION(leg[0].new_key.version)},
	{"phase", "PHASE", COLUMN_WORD, .word = phase_word},
	{"rows_failed", "FAILED", COLUMN_INT, ROTATION(rows_failed)},
	{"planned", "BEGUN", COLUMN_TIME, ROTATION(planned)},
	{"operator", "OPERATOR", COLUMN_CHARS, ROTATION(operator_name)},
	{"reason", "REASON", COLUMN_CHARS, ROTATION(reason)},
};

static enum kt_err add_rotation(void *arg, const struct kt_rotation *r)
{
	return table_add(arg, r);
}

static enum kt_err fill_rotations(struct kt_vault *vault, const void *arg,
				  struct table *table)
{
	(void)arg;
	return kt_rotation_list(vault, add_rotation, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	(void)opts;
	(void)args;
	return table_list(cli, list_columns, COLUMNS(list_columns),
			  fill_rotations, NULL);
}

const struct command rotation_list_command = {
	.path = "rotation list",
	.help = "list all rotations, the newest first",
	.examples = "keyturn rotation list\n"
		    "keyturn rotation list --json\n",
	.lists = true,
	.run = list_run,
};

static const struct column show_columns[] = {
	{"id", "Id", COLUMN_ID, ROTATION(id)},
	{"kind", "Kind", COLUMN_WORD, .word = kind_word},
	{"project", "Project", COLUMN_CHARS, ROTATION(project)},
	{"phase", "Phase", COLUMN_WORD, .word = phase_word},
	{"operator", "Operator", COLUMN_CHARS, ROTATION(operator_name)},
	{"reason", "Reason", COLUMN_CHARS, ROTATION(reason)},
	{"grace", "Grace (s)", COLUMN_INT, ROTATION(grace)},
	{"resumed", "Resumed", COLUMN_INT, ROTATION(resumed)},
	{"rows_failed", "Rows failed", COLUMN_INT, ROTATION(rows_failed)},
	{"planned", "Planned", COLUMN_TIME, ROTATION(planned)},
	{"keyed", "Keyed", COLUMN_TIME, ROTATION(keyed)},
	{"staged", "Staged", COLUMN_TIME, ROTATION(staged)},
	{"verified", "Verified", COLUMN_TIME, ROTATION(verified)},
	{"activated", "Activated", COLUMN_TIME, ROTATION(activated)},
	{"contracting", "Contracting", COLUMN_TIME, ROTATION(contracting)},
	{"contracted", "Contracted", COLUMN_TIME, ROTATION(contracted)},
	{"destroyed", "Destroyed", COLUMN_TIME, ROTATION(destroyed)},
	{"rollback_started", "Rollback began", COLUMN_TIME,
	 ROTATION(rollback_started)},
	{"rolled_back", "Rolled back", COLUMN_TIME, ROTATION(rolled_back)},
	{"values_reencrypted", "Encrypted again", COLUMN_INT,
	 ROTATION(values_reencrypted)},
	{"reencrypted", "Exposes nothing", COLUMN_TIME, ROTATION(reencrypted)},
};

#define LEG(member) offsetof(struct kt_rotation_leg, member)

static const struct column leg_columns[] = {
	{"total", "Total", COLUMN_INT, LEG(rows_total)},
	{"rewrapped", "Rewrapped", COLUMN_INT, LEG(rows_rewrapped)},
	{"verified", "Verified", COLUMN_INT, LEG(rows_verified)},
	{"contracted", "Contracted", COLUMN_INT, LEG(rows_contracted)},
};

/* The sections of a leg, by what its keys do. */
static const struct leg_text {
	enum kt_key_role role;
	const char *rows, *rows_heading;
	const char *old_key, *old_heading;
	const char *new_key, *new_heading;
} leg_texts[] = {
	{KT_KEY_MASTER, "master_rows", "Rows under the wrapping key",
	 "master_old", "Old wrapping key", "master_new", "New wrapping key"},
	{KT_KEY_RECOVERY, "recovery_rows", "Rows under the recovery key",
	 "recovery_old", "Old recovery key", "recovery_new",
	 "New recovery key"},
	{KT_KEY_PROJECT, "project_rows", "Rows under the project key",
	 "project_old", "Old project key", "project_new", "New project key"},
};

static enum kt_err show_leg(struct screen *screen,
			    const struct kt_rotation_leg *leg)
{
	const struct leg_text *text = leg_texts;

	for (size_t i = 0; i < COLUMNS(leg_texts); i++) {
		if (leg_texts[i].role == leg->old_key.role)
			text = &leg_texts[i];
	}
	TRY(screen_add(screen, text->rows, text->rows_heading, leg_columns,
		       COLUMNS(leg_columns), leg));
	TRY(key_section(screen, text->old_key, text->old_heading,
			&leg->old_key));
	return key_section(screen, text->new_key, text->new_heading,
			   &leg->new_key);
}

static enum kt_err show_fault(void *arg, const char *text)
{
	return screen_item(arg, "quarantined", "Quarantined rows", text);
}

struct newest {
	struct kt_rotation *ret;
	bool found;
};

/* An error is the way to end a list; it is not looked at then. */
static enum kt_err keep_first(void *arg, const struct kt_rotation *r)
{
	struct newest *newest = arg;

	*newest->ret = *r;
	newest->found = true;
	return KT_ERR_EXISTS;
}

static enum kt_err find(struct kt_vault *vault, const char *text,
			struct kt_rotation *ret)
{
	struct newest newest = {ret, false};
	struct kt_id id;
	enum kt_err err;

	if (strcmp(text, "last") != 0) {
		TRY(kt_id_parse(text, &id));
		return kt_rotation_get(vault, &id, ret);
	}
	err = kt_rotation_list(vault, keep_first, &newest);
	if (newest.found)
		return KT_OK;
	TRY(err);
	return err_raise(KT_ERR_NOT_FOUND, "there was no rotation yet");
}

static enum kt_err show_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	CLEANUP(screen_freep) struct screen *screen = NULL;
	struct kt_rotation r;
	struct kt_vault *vault;

	(void)opts;
	TRY(cli_vault(cli, &vault));
	TRY(find(vault, args[0], &r));
	TRY(screen_new(cli, &screen));
	TRY(screen_add(screen, NULL, NULL, show_columns, COLUMNS(show_columns),
		       &r));
	for (size_t i = 0; i < r.legs; i++)
		TRY(show_leg(screen, &r.leg[i]));
	TRY(kt_rotation_faults(vault, &r.id, show_fault, screen));
	return screen_print(screen);
}

const struct command rotation_show_command = {
	.path = "rotation show",
	.arguments = "ID",
	.help = "show the record of a rotation; `last` is the newest",
	.details = "Who, when and why; the old and the new key as read back "
		   "from the token; how\nmany rows; the time of every phase; "
		   "the rows in quarantine.\n",
	.examples = "keyturn rotation show last\n"
		    "keyturn rotation show last --json\n",
	.lists = true,
	.run = show_run,
};

static const struct option_def resume_option[] = {
	ROTATE_PACE_OPTIONS(struct resume_options, rotate),
	ROTATE_SKIP_OPTION(struct resume_options, rotate)};

static enum kt_err resume_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	return resume_command(cli, 0, args[0], opts);
}

const struct command rotation_resume_command = {
	.path = "rotation resume",
	.arguments = "[ID]",
	.help = "go on with an interrupted rotation, by default the newest",
	.examples = "keyturn rotation resume\n"
		    "keyturn rotation resume --jobs 1\n",
	OPTIONS(resume_option, struct resume_options, (.rotate = {0})),
	.run = resume_run,
};

static enum kt_err rollback_run(struct cli *cli, const void *opts,
				const char *const *args)
{
	(void)opts;
	return rollback_command(cli, 0, args[0]);
}

const struct command rotation_rollback_command = {
	.path = "rotation rollback",
	.arguments = "[ID]",
	.help = "go back to the old key of an unfinished rotation",
	.details = "Access tokens that a project's cut-over revoked stay "
		   "revoked.\n",
	.examples = "keyturn rotation rollback\n"
		    "keyturn rotation rollback --yes\n",
	.run = rollback_run,
};

static const struct option_def finish_option[] = {
	{"now", 0, OPT_FLAG, offsetof(struct finish_options, now), NULL,
	 "do not wait for the end of the grace time"},
};

static enum kt_err finish_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	return finish_command(cli, 0, args[0], opts);
}

const struct command rotation_finish_command = {
	.path = "rotation finish",
	.arguments = "[ID]",
	.help = "delete the rows under the old key of a rotation",
	.details = "After the grace time; then there is no way back.\n",
	.examples = "keyturn rotation finish\n"
		    "keyturn rotation finish --now --yes\n",
	OPTIONS(finish_option, struct finish_options, (.now = false)),
	.run = finish_run,
};
