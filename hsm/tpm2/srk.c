/*
 * The storage root key. It belongs to the machine, not to us: one that is
 * there is used, one that is missing is made by the TCG's template and stays.
 * Its public area goes into token.conf, and salts go to that one ever after.
 */
#include <string.h>

#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/state.h"

static CK_RV pin_present(struct tpm_token *token, uint32_t handle,
			 struct tpm_public *ret)
{
	RV_TRY(object_read_public(token->tpm, handle, ret));
	if (!object_is(ret, OBJECT_SRK))
		return rv_raise(CKR_DEVICE_ERROR,
				"what is at 0x%x is not a storage root key of "
				"the usual kind",
				handle);
	return tpm_pin_srk(token->tpm, handle, ret);
}

/* The owner's authorisation must not cross in the clear, and there is no
 * storage root yet to salt a session with: a key below no hierarchy does that
 * and is flushed. */
static CK_RV make_with(struct tpm_token *token, struct tpm_session *session,
		       uint32_t handle)
{
	struct tpm_object owner = token_owner(token), root = {0};
	struct tpm *tpm = token->tpm;
	struct tpm_public public = {0};
	CK_RV rv;

	RV_TRY(object_create_primary(tpm, &owner, session, OBJECT_SRK, &root,
				     &public));
	/* From now on the main session can be salted with it. */
	rv = tpm_pin_srk(tpm, root.handle, &public);
	if (rv == CKR_OK)
		rv = object_evict(tpm, &owner, &root, handle, NULL);
	session_end(tpm, &tpm->session);
	object_flush(tpm, &root);
	if (rv != CKR_OK)
		tpm->srk_public.len = 0;
	return rv;
}

static CK_RV make(struct tpm_token *token, uint32_t handle)
{
	struct tpm_object none = tpm_permanent(TPM2_RH_NULL, SPAN(NULL, 0));
	struct tpm_object helper = {0};
	struct tpm_session session = {0};
	struct tpm_public public = {0};
	struct tpm *tpm = token->tpm;
	CK_RV rv;

	RV_TRY(object_create_primary(tpm, &none, NULL, OBJECT_SRK, &helper,
				     &public));
	rv = session_start(tpm, SESSION_HMAC, &helper, &public, &session);
	object_flush(tpm, &helper);
	if (rv == CKR_OK)
		rv = make_with(token, &session, handle);
	session_end(tpm, &session);
	return rv;
}

/* Only so that the message is right: what protects is that sessions are salted
 * with the key on disk, whatever answers here. */
CK_RV srk_check(struct tpm_token *token)
{
	const struct tpm_public *pinned = &token->tpm->srk_public;
	struct tpm_public now = {0};
	bool there = false;

	RV_TRY(caps_handle_there(token->tpm, token->tpm->srk.handle, &there));
	if (there)
		RV_TRY(object_read_public(token->tpm, token->tpm->srk.handle,
					  &now));
	if (now.len == pinned->len &&
	    memcmp(now.data, pinned->data, now.len) == 0)
		return CKR_OK;
	return rv_raise(CKR_DEVICE_ERROR,
			"the TPM does not have the storage root key that this "
			"token was made with: it was cleared, or it is another "
			"TPM; its keys are gone, and a new token needs another "
			"state folder");
}

CK_RV srk_find(struct tpm_token *token, struct conf *conf)
{
	uint32_t handle = token->config.srk;
	bool there = false;

	session_end(token->tpm, &token->tpm->session);
	RV_TRY(caps_handle_there(token->tpm, handle, &there));
	if (!there)
		RV_TRY(make(token, handle));
	conf->srk = handle;
	return pin_present(token, handle, &conf->srk_public);
}
