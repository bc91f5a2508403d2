/*
 * The connection, and the one place where response codes become errors of
 * PKCS#11.
 */
#include "hsm/tpm2/tpm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tss2/tss2_tctildr.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/session.h"

CK_RV tpm_new(const char *tcti, struct tpm **ret)
{
	CLEANUP(tpm_freep) struct tpm *tpm = calloc(1, sizeof(*tpm));

	if (tpm == NULL || (tpm->tcti_name = strdup(tcti)) == NULL)
		return rv_memory();
	RV_TRY(crypto_new(&tpm->crypto));
	*ret = TAKE(tpm);
	return CKR_OK;
}

void tpm_free(struct tpm *tpm)
{
	if (tpm == NULL)
		return;
	tpm_disconnect(tpm);
	crypto_free(tpm->crypto);
	free(tpm->tcti_name);
	free(tpm);
}

/* The parent's TCTI has sockets that it shares with us: closing it may say
 * goodbye for both, so its memory is left alone. */
static void forget(struct tpm *tpm)
{
	tpm->tcti = NULL;
	session_wipe(&tpm->session);
}

void tpm_disconnect(struct tpm *tpm)
{
	if (tpm->tcti != NULL && tpm->pid != getpid())
		forget(tpm);
	session_end(tpm, &tpm->session);
	if (tpm->tcti != NULL)
		Tss2_TctiLdr_Finalize(&tpm->tcti);
	tpm->gone = false;
	tpm->session_lost = false;
}

CK_RV tpm_connect(struct tpm *tpm)
{
	TSS2_RC rc;

	if (tpm->gone || (tpm->tcti != NULL && tpm->pid != getpid()))
		tpm_disconnect(tpm);
	if (tpm->tcti != NULL)
		return CKR_OK;
	rc = Tss2_TctiLdr_Initialize(tpm->tcti_name, &tpm->tcti);
	if (rc != TSS2_RC_SUCCESS) {
		tpm->tcti = NULL;
		return rv_raise(CKR_DEVICE_REMOVED,
				"no TPM answers at '%s' (0x%x)", tpm->tcti_name,
				rc);
	}
	tpm->pid = getpid();
	return CKR_OK;
}

CK_RV tpm_public_name(const struct tpm *tpm, const struct tpm_public *public,
		      struct tpm_object *ret)
{
	uint8_t digest[HASH_LEN];

	if (public->len < 4 || be16_get(public->data + 2) != TPM2_ALG_SHA256)
		return rv_raise(CKR_DEVICE_ERROR,
				"a public area is not named by SHA-256");
	RV_TRY(crypto_hash(tpm->crypto, SPANS(SPAN(public->data, public->len)),
			   digest));
	be16_put(ret->name, TPM2_ALG_SHA256);
	memcpy(ret->name + 2, digest, HASH_LEN);
	ret->name_len = 2 + HASH_LEN;
	return CKR_OK;
}

CK_RV tpm_pin_srk(struct tpm *tpm, uint32_t handle,
		  const struct tpm_public *public)
{
	struct tpm_object srk = {.handle = handle};

	RV_TRY(tpm_public_name(tpm, public, &srk));
	tpm->srk = srk;
	tpm->srk_public = *public;
	return CKR_OK;
}

struct tpm_object tpm_permanent(uint32_t handle, struct span auth)
{
	struct tpm_object object = {
		.handle = handle, .name_len = 4, .auth = auth};

	be32_put(object.name, handle);
	return object;
}

enum effect { EFFECT_NONE, EFFECT_SESSION, EFFECT_FULL };

/* Response codes that mean something of their own; format-one codes are here
 * without the handle, session or parameter they blame. */
static const struct {
	TSS2_RC rc;
	CK_RV rv;
	enum effect effect;
	const char *text;
} codes[] = {
	{TPM2_RC_INITIALIZE, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM has not been started up"},
	{TPM2_RC_FAILURE, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM is in failure mode; only a restart of it helps"},
	{TPM2_RC_AUTH_TYPE, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM does not allow this way of authorisation"},
	{TPM2_RC_POLICY, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the key's counter says that it is retired"},
	{TPM2_RC_NV_UNINITIALIZED, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the key's counter is not the one it was made with"},
	{TPM2_RC_PCR_CHANGED, CKR_ACTION_PROHIBITED, EFFECT_NONE,
	 "a PCR changed meanwhile"},
	{TPM2_RC_COMMAND_CODE, CKR_FUNCTION_NOT_SUPPORTED, EFFECT_NONE,
	 "the TPM does not have this command"},
	{TPM2_RC_NV_AUTHORIZATION, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM refuses this to anybody but its owner"},
	{TPM2_RC_NV_SPACE, CKR_DEVICE_MEMORY, EFFECT_NONE,
	 "the TPM has no room left for keys or counters"},
	{TPM2_RC_NV_DEFINED, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "somebody else took this handle meanwhile"},
	{TPM2_RC_CONTEXT_GAP, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "the session is too old"},
	{TPM2_RC_OBJECT_MEMORY, CKR_DEVICE_MEMORY, EFFECT_FULL,
	 "the TPM's slots for objects are full"},
	{TPM2_RC_SESSION_MEMORY, CKR_DEVICE_MEMORY, EFFECT_FULL,
	 "the TPM's slots for sessions are full"},
	{TPM2_RC_MEMORY, CKR_DEVICE_MEMORY, EFFECT_FULL,
	 "the TPM's slots are full"},
	{TPM2_RC_SESSION_HANDLES, CKR_DEVICE_MEMORY, EFFECT_FULL,
	 "the TPM's handles for sessions are used up"},
	{TPM2_RC_OBJECT_HANDLES, CKR_DEVICE_MEMORY, EFFECT_FULL,
	 "the TPM's handles for objects are used up"},
	{TPM2_RC_REFERENCE_H0, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "an object or session is no longer in the TPM"},
	{TPM2_RC_REFERENCE_H1, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "an object or session is no longer in the TPM"},
	{TPM2_RC_REFERENCE_S0, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "the session is no longer in the TPM"},
	{TPM2_RC_REFERENCE_S1, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "the session is no longer in the TPM"},
	{TPM2_RC_REFERENCE_S2, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "the session is no longer in the TPM"},
	{TPM2_RC_NV_RATE, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM limits how often it is written to; try again in a minute"},
	{TPM2_RC_LOCKOUT, CKR_PIN_LOCKED, EFFECT_NONE,
	 "the TPM is locked after too many wrong PINs, by whichever program; "
	 "it unlocks with time or by its lockout authorisation"},
	{TPM2_RC_NV_UNAVAILABLE, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM cannot write just now"},
	{TPM2_RC_HANDLE, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "there is nothing at this handle in the TPM"},
	{TPM2_RC_HIERARCHY, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "this hierarchy of the TPM is switched off"},
	{TPM2_RC_INTEGRITY, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the file is damaged, or of another TPM"},
	{TPM2_RC_POLICY_FAIL, CKR_DEVICE_ERROR, EFFECT_NONE,
	 "the TPM's policy does not allow it"},
	/* Of a session whose number somebody else's has now. */
	{TPM2_RC_AUTH_FAIL, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "the TPM does not accept the authorisation"},
	{TPM2_RC_BAD_AUTH, CKR_DEVICE_ERROR, EFFECT_SESSION,
	 "the TPM does not accept the authorisation"},
};

static TSS2_RC base_code(TSS2_RC rc)
{
	return (rc & TPM2_RC_FMT1) != 0 ? rc & 0xBF : rc;
}

bool tpm_refused(const struct tpm *tpm)
{
	TSS2_RC code = base_code(tpm->last);

	return (tpm->last & TPM2_RC_FMT1) != 0 &&
	       (code == TPM2_RC_AUTH_FAIL || code == TPM2_RC_BAD_AUTH);
}

/* The transport's own trouble: whatever it was, begin anew. */
static CK_RV transport_failed(struct tpm *tpm, const char *command, TSS2_RC rc)
{
	tpm->gone = true;
	return rv_raise(CKR_DEVICE_REMOVED,
			"%s: the TPM at '%s' is not there any more (0x%x)",
			command, tpm->tcti_name, rc);
}

CK_RV tpm_failed(struct tpm *tpm, const char *command, TSS2_RC rc)
{
	tpm->last = rc;
	if ((rc & TSS2_RC_LAYER_MASK) == TSS2_TCTI_RC_LAYER)
		return transport_failed(tpm, command, rc);
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].rc != base_code(rc))
			continue;
		tpm->session_lost |= codes[i].effect == EFFECT_SESSION;
		tpm->slots_full |= codes[i].effect == EFFECT_FULL;
		return rv_raise(codes[i].rv, "%s: %s (0x%x)", command,
				codes[i].text, rc);
	}
	return rv_raise(CKR_DEVICE_ERROR, "%s: the TPM says 0x%x", command, rc);
}
