/*
 * Opening and closing a vault: the token first (one login), then the database,
 * then the row-MAC key, after which no row is read unchecked.
 */
#include "core/vault.h"

#include <stdlib.h>
#include <string.h>

#include "base/crash.h"
#include "base/secret.h"
#include "base/text.h"
#include "core/cache.h"
#include "core/open.h"

const char *kt_version(void)
{
	return KEYTURN_VERSION;
}

void kt_vault_close(struct kt_vault *vault)
{
	if (vault == NULL)
		return;
	cache_free(vault->cache);
	store_close(vault->store);
	rowmac_free(vault->rowmac);
	kt_secret_done(&vault->access_mac_key);
	token_close(vault->token);
	free(vault);
}

struct token_params token_params_of(const struct kt_params *params)
{
	return (struct token_params){
		.uri = params->token_uri,
		.module = params->module,
		.runtime_dir = params->runtime_dir,
		.pin = &params->pin,
	};
}

enum kt_err vault_new(const struct kt_params *params, struct kt_vault **ret)
{
	CLEANUP(kt_vault_closep)
	struct kt_vault *vault = calloc(1, sizeof(*vault));

	if (vault == NULL)
		return err_memory();
	secret_heap_init();
	vault->params = *params;
	vault->token_params = token_params_of(&vault->params);
	TRY(text_copy(vault->actor.name, sizeof(vault->actor.name),
		      params->operator_name, "operator name"));
	TRY(cache_new(&vault->cache));
	*ret = TAKE(vault);
	return KT_OK;
}

/* HMAC on the token over purpose and vault id, into secure memory. */
static enum kt_err derive(struct kt_vault *vault, const struct kt_id *cka_id,
			  const char *purpose, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret key = {0};
	uint8_t input[64];
	size_t len = strlen(purpose);

	memcpy(input, purpose, len);
	memcpy(input + len, vault->row.id.bytes, KT_ID_LEN);
	TRY(secret_new(MAC_LEN, &key));
	TRY(token_mac(vault->token, cka_id, input, len + KT_ID_LEN, key.data));
	*ret = key;
	key = (struct kt_secret){0};
	return KT_OK;
}

enum kt_err vault_derive_keys(struct kt_vault *vault,
			      const struct kt_id *row_mac_cka_id)
{
	CLEANUP(kt_secret_done) struct kt_secret key = {0};

	TRY(derive(vault, row_mac_cka_id, "keyturn row mac 1", &key));
	TRY(rowmac_new(&vault->row.id, &key, &vault->rowmac));
	TRY(derive(vault, row_mac_cka_id, "keyturn access 1",
		   &vault->access_mac_key));
	if (secret_equal(&key, &vault->access_mac_key))
		return err_raise(KT_ERR_TOKEN,
				 "the token's MACs do not depend on the data");
	store_set_sealer(vault->store, rowmac_sealer(vault->rowmac));
	return KT_OK;
}

/* A wrong token would compute wrong MACs: say so before every row seems
 * corrupt. */
static enum kt_err right_token(struct kt_vault *vault)
{
	struct kt_token_info info;

	TRY(token_info(vault->token, &info));
	if (strcmp(info.serial, vault->row.token_serial) != 0)
		return err_raise(KT_ERR_TOKEN,
				 "this vault belongs to the token with serial "
				 "%s, not to %s (\"%s\")",
				 vault->row.token_serial, info.serial,
				 info.label);
	return KT_OK;
}

/* A key that every vault has from its init on. */
static enum kt_err vault_key(struct kt_vault *vault, enum kt_key_role role,
			     struct key_row *ret)
{
	enum kt_err err = query_one(vault->store, Q_KEY_LATEST, ret, "ib",
				    (int64_t)role, &(struct kt_id){0});

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY,
				 "keys: the %s key is missing",
				 kt_key_role_name(role));
	return err;
}

/* The row-MAC key row is read once unchecked, to have the key that then checks
 * it, and everything else, by reading again. */
static enum kt_err unlock_rows(struct kt_vault *vault)
{
	struct key_row key;
	enum kt_err err;

	TRY(vault_key(vault, KT_KEY_ROW_MAC, &key));
	err = vault_derive_keys(vault, &key.cka_id);
	if (err == KT_ERR_NOT_FOUND)
		return err_prefix(KT_ERR_TOKEN, "the row-MAC key");
	TRY(err);
	TRY(query_one(vault->store, Q_VAULT, &vault->row, ""));
	TRY(vault_key(vault, KT_KEY_ROW_MAC, &key));
	return vault_key(vault, KT_KEY_AUDIT, &vault->audit_key);
}

/* An init that was killed leaves a first master key that was never activated.
 */
static enum kt_err whole(struct kt_vault *vault)
{
	struct key_row key;
	enum kt_err err;

	TRY(vault_key(vault, KT_KEY_MASTER, &key));
	if (key.version > 1 || key.activated != 0)
		return KT_OK;
	err = err_raise(KT_ERR_SCHEMA, "%s: its init was interrupted",
			vault->params.store_path);
	return err_hint(err, "nothing is in it: remove the file and run "
			     "'keyturn init' again");
}

/* Only a database without a key may be called empty: another one holds secrets,
 * whatever became of its vault row. */
static enum kt_err no_vault(struct kt_vault *vault)
{
	struct key_row key;
	enum kt_err key_err =
		query_one(vault->store, Q_KEY_LATEST, &key, "ib",
			  (int64_t)KT_KEY_MASTER, &(struct kt_id){0});
	enum kt_err err = err_raise(KT_ERR_SCHEMA, "%s: no vault in it",
				    vault->params.store_path);

	if (key_err != KT_ERR_NOT_FOUND)
		return err;
	return err_hint(err, "it is empty, as an interrupted init leaves it: "
			     "remove it and run 'keyturn init' again");
}

enum kt_err vault_open_store(struct kt_vault *vault)
{
	struct store_params params = {.path = vault->params.store_path};
	enum kt_err err;

	TRY(store_open(&params, &vault->store));
	err = query_one(vault->store, Q_VAULT, &vault->row, "");
	return err == KT_ERR_NOT_FOUND ? no_vault(vault) : err;
}

enum kt_err vault_unlock(struct kt_vault *vault)
{
	TRY(right_token(vault));
	TRY(unlock_rows(vault));
	return whole(vault);
}

enum kt_err kt_vault_open(const struct kt_params *params, struct kt_vault **ret)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;

	TRY(vault_new(params, &vault));
	TRY(vault_open_store(vault));
	CRASH_POINT("open.store");
	TRY(token_open(&vault->token_params, &vault->token));
	TRY(vault_unlock(vault));
	CRASH_POINT("open.unlocked");
	*ret = TAKE(vault);
	return KT_OK;
}
