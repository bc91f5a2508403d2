/*
 * What the engine asks of a token beyond keys that wrap: that it be made, in a
 * TPM, and evidence of its keys. Giving evidence changes nothing, but who asked
 * for it stands in the audit trail.
 */
#include <keyturn/token.h>

#include "base/secret.h"
#include "core/audit.h"
#include "core/keys.h"
#include "hsm/tpm.h"

enum kt_err kt_tpm_set_up(const struct kt_tpm_setup *setup,
			  struct kt_token_info *ret)
{
	secret_heap_init();
	return tpm_set_up(setup, ret);
}

static enum kt_err find_version(struct kt_vault *vault, enum kt_key_role role,
				int64_t version, struct key_row *ret)
{
	static const struct kt_id nobody;
	enum kt_err err;

	if (version == 0)
		return key_active(vault, role, &nobody, ret);
	err = query_one(vault->store, Q_KEY_VERSION, ret, "ibi", (int64_t)role,
			&nobody, version);
	if (err != KT_ERR_NOT_FOUND)
		return err;
	return err_raise(KT_ERR_NOT_FOUND, "there is no %s key version %lld",
			 kt_key_role_name(role), (long long)version);
}

static enum kt_err record(struct kt_vault *vault, const struct key_row *key)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&key->cka_id, id);
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(audit_append(vault, "token.attest", id, "%s key version %lld",
			 kt_key_role_name((enum kt_key_role)key->role),
			 (long long)key->version));
	return store_commit(&tx);
}

enum kt_err kt_token_attest(struct kt_vault *vault, enum kt_key_role role,
			    int64_t version, const uint8_t *nonce,
			    size_t nonce_len,
			    enum kt_err (*each)(void *arg,
						const struct kt_evidence *file),
			    void *arg)
{
	struct key_row key;

	TRY(require_operator(vault));
	if (nonce_len == 0 || nonce_len > KT_NONCE_MAX)
		return err_raise(KT_ERR_USAGE,
				 "a nonce has 1 to %d bytes, not %zu",
				 KT_NONCE_MAX, nonce_len);
	TRY(find_version(vault, role, version, &key));
	TRY(record(vault, &key));
	return token_attest(vault->token, &key.cka_id, nonce, nonce_len, each,
			    arg);
}
