/*
 * Making a vault. The row-MAC key comes first, because every row is sealed by
 * it; then the database with the ids of the other keys (intent), then those
 * keys on the token, then a reload that proves them, then the rows that say
 * so. A failed init takes back what it made.
 */
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/key_birth.h"
#include "core/open.h"
#include "hsm/gate.h"

#define INIT_KEYS_MAX 4

struct init {
	struct kt_vault *vault;
	enum kt_wrap_mech mech;
	size_t keys;
	struct key_row key[INIT_KEYS_MAX]; /* the row-MAC key is the first */
	bool done;
};

static enum kt_err refuse_existing(const char *path)
{
	enum kt_err err;

	if (!file_exists(path))
		return KT_OK;
	err = err_raise(KT_ERR_EXISTS, "%s exists", path);
	return err_hint(err,
			"init never touches what is there; choose "
			"another --store, or see what it is: "
			"keyturn status --store %s --token URI",
			path);
}

/* A TPM has few slots for keys, and answers tens of calls a second. */
static bool wants_recovery(const struct kt_init_options *options,
			   enum kt_wrap_mech mech)
{
	if (options->recovery_wraps == KT_RECOVERY_BY_TOKEN)
		return mech != KT_WRAP_TPM;
	return options->recovery_wraps == KT_RECOVERY_ON;
}

static enum kt_err choose_keys(struct init *init)
{
	static const enum kt_key_role roles[] = {
		KT_KEY_ROW_MAC, KT_KEY_AUDIT, KT_KEY_MASTER, KT_KEY_RECOVERY};

	for (size_t i = 0; i < INIT_KEYS_MAX; i++) {
		if (roles[i] == KT_KEY_RECOVERY &&
		    !init->vault->row.recovery_wraps)
			continue;
		TRY(key_row_new(roles[i], NULL, 1, &init->key[init->keys]));
		init->keys++;
	}
	return KT_OK;
}

static enum kt_err probe(struct init *init)
{
	struct kt_vault *vault = init->vault;
	struct gate_report report;

	TRY(wrap_mech_choose(vault->token, &init->mech));
	TRY(gate_token(vault->token, init->mech, &report));
	gate_text(&report, vault->row.gate_report,
		  sizeof(vault->row.gate_report));
	return gate_judge(&report, vault->params.gate);
}

static enum kt_err describe_vault(const struct kt_init_options *options,
				  const struct init *init)
{
	struct kt_vault *vault = init->vault;
	struct vault_row *row = &vault->row;
	struct kt_token_info info;

	TRY(token_info(vault->token, &info));
	TRY(id_new(&row->id));
	row->created = clock_now();
	row->recovery_wraps = wants_recovery(options, init->mech);
	row->gate_level = vault->params.gate;
	text_cut(row->token_label, sizeof(row->token_label), info.label);
	text_cut(row->token_serial, sizeof(row->token_serial), info.serial);
	text_cut(row->token_model, sizeof(row->token_model), info.model);
	text_cut(row->token_manufacturer, sizeof(row->token_manufacturer),
		 info.manufacturer);
	return KT_OK;
}

/* Commits the ids of all keys before one but the row-MAC key exists. */
static enum kt_err commit_intent(struct init *init)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_vault *vault = init->vault;
	struct audit_head_row head = {.id = 1};
	struct lease_row lease = {.id = 1};

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(store_insert(vault->store, ROW_VAULT, &vault->row));
	TRY(store_insert(vault->store, ROW_AUDIT_HEAD, &head));
	TRY(store_insert(vault->store, ROW_LEASE, &lease));
	for (size_t i = 0; i < init->keys; i++)
		TRY(store_insert(vault->store, ROW_KEY, &init->key[i]));
	TRY(audit_append(vault, "init.intent", vault->row.token_label,
			 "%zu keys chosen on token serial %s", init->keys,
			 vault->row.token_serial));
	return store_commit(&tx);
}

static enum kt_err make_row_mac_key(struct init *init)
{
	struct kt_vault *vault = init->vault;

	TRY(key_generate(vault, init->mech, &init->key[0]));
	TRY(token_reload(vault->token));
	TRY(key_prove(vault, init->mech, &init->key[0]));
	return vault_derive_keys(vault, &init->key[0].cka_id);
}

static enum kt_err make_other_keys(struct init *init)
{
	for (size_t i = 1; i < init->keys; i++) {
		TRY(key_generate(init->vault, init->mech, &init->key[i]));
		CRASH_POINT("init.generated");
	}
	TRY(token_reload(init->vault->token));
	for (size_t i = 1; i < init->keys; i++)
		TRY(key_prove(init->vault, init->mech, &init->key[i]));
	return KT_OK;
}

static enum kt_err commit_outcome(struct init *init)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_vault *vault = init->vault;

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	for (size_t i = 0; i < init->keys; i++) {
		init->key[i].activated = clock_now();
		TRY(store_update(vault->store, ROW_KEY, &init->key[i]));
		if (init->key[i].role == KT_KEY_AUDIT)
			vault->audit_key = init->key[i];
	}
	TRY(audit_append(vault, "init", vault->row.token_label,
			 "mechanism %s, recovery wraps %s, gate: %.700s",
			 kt_wrap_mech_name(init->mech),
			 vault->row.recovery_wraps ? "on" : "off",
			 vault->row.gate_report));
	TRY(audit_checkpoint(vault));
	return store_commit(&tx);
}

/* The CKA_IDs of what could not be destroyed, one after the other. */
static void destroy_keys(struct init *init, char *ret, size_t size)
{
	char id[2 * KT_ID_LEN + 1];
	size_t used = 0;

	*ret = '\0';
	for (size_t i = 0; init->vault->token != NULL && i < init->keys; i++) {
		const struct kt_id *cka_id = &init->key[i].cka_id;

		if (token_destroy(init->vault->token, cka_id) == KT_OK)
			continue;
		hex_encode(cka_id->bytes, KT_ID_LEN, id);
		if (text_format(ret + used, size - used, " %s", id) == KT_OK)
			used = strlen(ret);
	}
}

/* Takes back a failed init; what cannot be destroyed is named. */
static void undo(struct init *init)
{
	struct err_saved cause;
	char left[INIT_KEYS_MAX * (2 * KT_ID_LEN + 1) + 1];

	if (init->done || init->vault == NULL)
		return;
	err_save(KT_ERR_FAILED, &cause);
	store_discard(TAKE(init->vault->store));
	destroy_keys(init, left, sizeof(left));
	if (left[0] != '\0')
		(void)text_format(cause.hint, sizeof(cause.hint),
				  "the token may still hold unused objects "
				  "with CKA_ID%s",
				  left);
	(void)err_restore(&cause);
	kt_vault_close(init->vault);
}

static enum kt_err run(struct init *init, const struct kt_params *params,
		       const struct kt_init_options *options)
{
	struct store_params store = {.path = params->store_path};
	struct kt_vault *vault;

	TRY(vault_new(params, &init->vault));
	vault = init->vault;
	TRY(token_open(&vault->token_params, &vault->token));
	TRY(probe(init));
	TRY(describe_vault(options, init));
	TRY(store_create(&store, &vault->store));
	CRASH_POINT("init.created");
	TRY(choose_keys(init));
	TRY(make_row_mac_key(init));
	CRASH_POINT("init.row-mac");
	TRY(commit_intent(init));
	CRASH_POINT("init.intended");
	TRY(make_other_keys(init));
	CRASH_POINT("init.proven");
	return commit_outcome(init);
}

enum kt_err kt_vault_init(const struct kt_params *params,
			  const struct kt_init_options *options,
			  struct kt_status *ret)
{
	CLEANUP(undo) struct init init = {0};
	struct kt_status status;

	TRY(refuse_existing(params->store_path));
	TRY(run(&init, params, options));
	TRY(kt_vault_status(init.vault, &status));
	init.done = true;
	kt_vault_close(init.vault);
	*ret = status;
	return KT_OK;
}
