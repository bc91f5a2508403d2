/*
 * What the module can beyond PKCS#11: say in words what failed, do what only
 * the TPM's owner can, and show where a key was born.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include "hsm/tpm2/keyturn-tpm2.h"

const char *keyturn_tpm2_error(void)
{
	return kt_err_detail();
}

CK_RV keyturn_tpm2_provision(CK_SLOT_ID slot_id,
			     const struct keyturn_tpm2_provision *from)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct tpm_provision provision;
	struct slot *slot;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	if (from == NULL || from->pcrs > UINT32_MAX || from->keys > UINT32_MAX)
		return rv_raise(CKR_ARGUMENTS_BAD, "nothing to provision with");
	admin = slot_lock_admin(&call, slot);
	if (slot_sessions(call.module, slot, false) > 0)
		return rv_raise(CKR_SESSION_EXISTS, "the token has sessions");
	provision = (struct tpm_provision){
		.owner = from->owner,
		.owner_len = from->owner_len,
		.new_owner = from->new_owner,
		.new_owner_len = from->new_owner_len,
		.lockout = from->lockout,
		.lockout_len = from->lockout_len,
		.new_lockout = from->new_lockout,
		.new_lockout_len = from->new_lockout_len,
		.pcrs = (uint32_t)from->pcrs,
		.keys = (unsigned)from->keys,
	};
	call_unlock(&call);
	return tpm_token_provision(admin->token, &provision);
}

/* A key by the CKA_ID in its attributes. */
struct search {
	const uint8_t *id;
	size_t id_len;
	struct kt_id found;
	bool is_found;
};

static CK_RV look_at(const struct tpm_key *key, void *arg)
{
	CLEANUP(attrs_done) struct attrs attrs = {0};
	struct search *search = arg;
	const uint8_t *id;
	size_t len = 0;

	RV_TRY(stored_attrs(key, &attrs));
	id = attrs_bytes(&attrs, CKA_ID, &len);
	if (id == NULL || len != search->id_len ||
	    memcmp(id, search->id, len) != 0)
		return CKR_OK;
	search->found = key->id;
	search->is_found = true;
	return CKR_OK;
}

/* A live one before one that is no more. */
static CK_RV find_key(struct tpm_token *token, const uint8_t *id, size_t id_len,
		      struct kt_id *ret)
{
	struct search search = {.id = id, .id_len = id_len};

	RV_TRY(tpm_key_each(token, TPM_KEY_LIVE, look_at, &search));
	if (!search.is_found)
		RV_TRY(tpm_key_each(token, TPM_KEY_DESTROYED, look_at,
				    &search));
	if (!search.is_found)
		return rv_raise(CKR_KEY_HANDLE_INVALID,
				"no key had this CKA_ID");
	*ret = search.found;
	return CKR_OK;
}

static CK_RV attest(struct tpm_token *token, const struct kt_id *id,
		    const uint8_t *nonce, size_t nonce_len,
		    keyturn_tpm2_file_fn *file, void *arg)
{
	CLEANUP(tpm_evidence_done) struct tpm_evidence evidence = {0};

	RV_TRY(tpm_key_attest(token, id, nonce, nonce_len, &evidence));
	for (size_t i = 0; i < evidence.count; i++)
		RV_TRY(file(arg, evidence.files[i].name, evidence.files[i].data,
			    evidence.files[i].len));
	return CKR_OK;
}

CK_RV keyturn_tpm2_attest(CK_SESSION_HANDLE handle, const unsigned char *id,
			  unsigned long id_len, const unsigned char *nonce,
			  unsigned long nonce_len, keyturn_tpm2_file_fn *file,
			  void *arg)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct session *session;
	struct kt_id key;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	if (id == NULL || id_len == 0 || file == NULL ||
	    (nonce == NULL && nonce_len > 0) || nonce_len > TPM_NONCE_MAX)
		return rv_raise(CKR_ARGUMENTS_BAD, "no CKA_ID or no nonce");
	admin = slot_lock_admin(&call, session->slot);
	call_unlock(&call);
	RV_TRY(find_key(admin->token, id, id_len, &key));
	return attest(admin->token, &key, nonce, nonce_len, file, arg);
}
