/*
 * keyturn status: the vault on one screen.
 */
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/gate.h"
#include "cli/screen.h"

#define STATUS(member) offsetof(struct kt_status, member)

static const char *mech_word(const void *row)
{
	const struct kt_status *status = row;

	return kt_wrap_mech_name(status->master.mech);
}

static const char *pin_word(const void *row)
{
	const struct kt_status *status = row;

	if (status->token.pin_locked)
		return "locked";
	if (status->token.pin_final_try)
		return "one try left";
	return status->token.pin_count_low ? "wrong PINs were tried" : "ok";
}

static const struct column vault_columns[] = {
	{"vault", "Vault", COLUMN_ID, STATUS(vault)},
	{"created", "Created", COLUMN_TIME, STATUS(created)},
	{"recovery_wraps", "Recovery wraps", COLUMN_BOOL,
	 STATUS(recovery_wraps)},
	{"projects", "Projects", COLUMN_INT, STATUS(projects)},
	{"secrets", "Secrets", COLUMN_INT, STATUS(secrets)},
	{"access_tokens", "Access tokens", COLUMN_INT, STATUS(access_tokens)},
};

static const struct column gate_columns[] = {
	{"gate", "Gate", COLUMN_CHARS, STATUS(gate)},
};

static const struct column token_columns[] = {
	{"label", "Label", COLUMN_CHARS, STATUS(token.label)},
	{"manufacturer", "Manufacturer", COLUMN_CHARS,
	 STATUS(token.manufacturer)},
	{"model", "Model", COLUMN_CHARS, STATUS(token.model)},
	{"serial", "Serial", COLUMN_CHARS, STATUS(token.serial)},
	{"module", "Module", COLUMN_CHARS, STATUS(token.module)},
	{"library", "Library", COLUMN_CHARS, STATUS(token.library)},
	{"pin", "PIN", COLUMN_WORD, .word = pin_word},
};

static const struct column store_columns[] = {
	{"path", "Path", COLUMN_CHARS, STATUS(store_path)},
	{"library", "Library", COLUMN_CHARS, STATUS(store_library)},
	{"journal_mode", "Journal mode", COLUMN_CHARS, STATUS(journal_mode)},
};

static const struct column master_columns[] = {
	{"version", "Version", COLUMN_INT, STATUS(master.version)},
	{"activated", "Active since", COLUMN_TIME, STATUS(master.activated)},
	{"cka_id", "CKA_ID", COLUMN_HEX, STATUS(master.cka_id)},
	{"mechanism", "Mechanism", COLUMN_WORD, .word = mech_word},
	{"rows", "Wrapped rows", COLUMN_INT, STATUS(master.rows)},
};

/* What people read instead: times as an age, findings counted. */
struct short_row {
	char age[DURATION_TEXT_LEN + 1];
	char gate[512];
};

static const struct column age_columns[] = {
	{"age", "Age", COLUMN_CHARS, offsetof(struct short_row, age)},
};

static const struct column short_gate_columns[] = {
	{"gate", "Gate", COLUMN_CHARS, offsetof(struct short_row, gate)},
};

static const struct column rotation_columns[] = {
	{"id", "Id", COLUMN_ID, STATUS(rotation)},
	{"phase", "Phase", COLUMN_CHARS, STATUS(rotation_phase)},
	{"operator", "Operator", COLUMN_CHARS, STATUS(rotation_operator)},
	{"started", "Started", COLUMN_TIME, STATUS(rotation_started)},
};

static enum kt_err add_vault(const struct cli *cli, struct screen *screen,
			     const struct kt_status *status)
{
	struct short_row row;

	TRY(screen_add(screen, NULL, NULL, vault_columns,
		       COLUMNS(vault_columns), status));
	if (cli->globals.json)
		return screen_add(screen, NULL, NULL, gate_columns,
				  COLUMNS(gate_columns), status);
	gate_summary(status->gate, row.gate, sizeof(row.gate));
	return screen_add(screen, NULL, NULL, short_gate_columns,
			  COLUMNS(short_gate_columns), &row);
}

static enum kt_err add_master(const struct cli *cli, struct screen *screen,
			      const struct kt_status *status)
{
	struct short_row row;

	TRY(screen_add(screen, "master", "Master key", master_columns,
		       COLUMNS(master_columns), status));
	if (cli->globals.json)
		return KT_OK;
	duration_format(clock_now() - status->master.activated, row.age);
	return screen_add(screen, "master", "Master key", age_columns,
			  COLUMNS(age_columns), &row);
}

static enum kt_err add_sections(const struct cli *cli, struct screen *screen,
				const struct kt_status *status)
{
	TRY(add_vault(cli, screen, status));
	TRY(add_master(cli, screen, status));
	TRY(screen_add(screen, "token", "Token", token_columns,
		       COLUMNS(token_columns), status));
	TRY(screen_add(screen, "store", "Store", store_columns,
		       COLUMNS(store_columns), status));
	if (!status->rotation_unfinished)
		return KT_OK;
	return screen_add(screen, "rotation", "Unfinished rotation",
			  rotation_columns, COLUMNS(rotation_columns), status);
}

static enum kt_err status_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	CLEANUP(screen_freep) struct screen *screen = NULL;
	struct kt_vault *vault;
	struct kt_status status;

	(void)opts;
	(void)args;
	TRY(cli_vault(cli, &vault));
	TRY(kt_vault_status(vault, &status));
	TRY(screen_new(cli, &screen));
	TRY(add_sections(cli, screen, &status));
	return screen_print(screen);
}

const struct command status_command = {
	.path = "status",
	.help = "token, store, active master key and running rotation",
	.examples = "keyturn status\n"
		    "keyturn status --json\n",
	.lists = true,
	.run = status_run,
};
