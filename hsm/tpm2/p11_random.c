/*
 * Random bytes, from the TPM's generator.
 */
#include "hsm/tpm2/p11_module.h"

CK_RV C_SeedRandom(CK_SESSION_HANDLE handle, CK_BYTE *seed, CK_ULONG len)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;

	(void)seed;
	(void)len;
	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	return rv_raise(CKR_RANDOM_SEED_NOT_SUPPORTED,
			"the TPM's generator needs no seed");
}

CK_RV C_GenerateRandom(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;
	struct slot *slot;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	if (data == NULL && len > 0)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the bytes");
	slot = session->slot;
	call_unlock(&call);
	return tpm_token_random(slot->token, data, len);
}
