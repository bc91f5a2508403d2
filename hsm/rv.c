/*
 * What a return code means: one table from PKCS#11's codes to ours. Nothing
 * else in the tree decides by a CK_RV.
 */
#include "hsm/state.h"

#include <stdio.h>
#include <string.h>

/* PKCS#11 2.40 and 3.0 names that p11-kit 0.24 has not. */
#ifndef CKR_COPY_PROHIBITED
#define CKR_COPY_PROHIBITED 0x1AUL
#endif
#ifndef CKR_AEAD_DECRYPT_FAILED
#define CKR_AEAD_DECRYPT_FAILED 0x42UL
#endif
#ifndef CKR_OPERATION_CANCEL_FAILED
#define CKR_OPERATION_CANCEL_FAILED 0x202UL
#endif
#ifndef CKR_KEY_EXHAUSTED
#define CKR_KEY_EXHAUSTED 0x203UL
#endif

/* Who or what a code is about. */
enum rv_class {
	RV_LOST,    /* session, login or handle: have them again, retry once */
	RV_DEVICE,  /* token or module */
	RV_UNCLEAR, /* token or blob: SoftHSM says so of both */
	RV_PIN,     /* never a second try */
	RV_BLOB,    /* this blob, ciphertext or signature */
	RV_MEMORY,
	RV_POLICY, /* the token refuses what we ask of it */
};

static const enum kt_err class_err[] = {
	[RV_LOST] = KT_ERR_SESSION,   [RV_DEVICE] = KT_ERR_TOKEN,
	[RV_UNCLEAR] = KT_ERR_TOKEN,  [RV_PIN] = KT_ERR_PIN,
	[RV_BLOB] = KT_ERR_INTEGRITY, [RV_MEMORY] = KT_ERR_MEMORY,
	[RV_POLICY] = KT_ERR_POLICY,
};

#define RV(name, class)                                                        \
	{                                                                      \
		CKR_##name, "CKR_" #name, RV_##class                           \
	}

static const struct rv {
	CK_RV rv;
	const char *name;
	enum rv_class class;
} rvs[] = {
	RV(CANCEL, DEVICE),
	RV(HOST_MEMORY, MEMORY),
	RV(SLOT_ID_INVALID, DEVICE),
	RV(GENERAL_ERROR, UNCLEAR),
	RV(FUNCTION_FAILED, UNCLEAR),
	RV(ARGUMENTS_BAD, POLICY),
	RV(NO_EVENT, DEVICE),
	RV(NEED_TO_CREATE_THREADS, DEVICE),
	RV(CANT_LOCK, DEVICE),
	RV(ATTRIBUTE_READ_ONLY, POLICY),
	RV(ATTRIBUTE_SENSITIVE, POLICY),
	RV(ATTRIBUTE_TYPE_INVALID, POLICY),
	RV(ATTRIBUTE_VALUE_INVALID, POLICY),
	RV(COPY_PROHIBITED, POLICY),
	RV(ACTION_PROHIBITED, POLICY),
	RV(DATA_INVALID, BLOB),
	RV(DATA_LEN_RANGE, BLOB),
	RV(DEVICE_ERROR, DEVICE),
	RV(DEVICE_MEMORY, MEMORY),
	RV(DEVICE_REMOVED, DEVICE),
	RV(ENCRYPTED_DATA_INVALID, BLOB),
	RV(ENCRYPTED_DATA_LEN_RANGE, BLOB),
	RV(AEAD_DECRYPT_FAILED, BLOB),
	RV(FUNCTION_CANCELED, LOST),
	RV(FUNCTION_NOT_PARALLEL, POLICY),
	RV(FUNCTION_NOT_SUPPORTED, POLICY),
	RV(KEY_HANDLE_INVALID, LOST),
	RV(KEY_SIZE_RANGE, POLICY),
	RV(KEY_TYPE_INCONSISTENT, POLICY),
	RV(KEY_NOT_NEEDED, POLICY),
	RV(KEY_CHANGED, DEVICE),
	RV(KEY_NEEDED, POLICY),
	RV(KEY_INDIGESTIBLE, POLICY),
	RV(KEY_FUNCTION_NOT_PERMITTED, POLICY),
	RV(KEY_NOT_WRAPPABLE, POLICY),
	RV(KEY_UNEXTRACTABLE, POLICY),
	RV(MECHANISM_INVALID, POLICY),
	RV(MECHANISM_PARAM_INVALID, POLICY),
	RV(OBJECT_HANDLE_INVALID, LOST),
	RV(OPERATION_ACTIVE, LOST),
	RV(OPERATION_NOT_INITIALIZED, LOST),
	RV(PIN_INCORRECT, PIN),
	RV(PIN_INVALID, PIN),
	RV(PIN_LEN_RANGE, PIN),
	RV(PIN_EXPIRED, PIN),
	RV(PIN_LOCKED, PIN),
	RV(SESSION_CLOSED, LOST),
	RV(SESSION_COUNT, MEMORY),
	RV(SESSION_HANDLE_INVALID, LOST),
	RV(SESSION_PARALLEL_NOT_SUPPORTED, POLICY),
	RV(SESSION_READ_ONLY, POLICY),
	RV(SESSION_EXISTS, DEVICE),
	RV(SESSION_READ_ONLY_EXISTS, DEVICE),
	RV(SESSION_READ_WRITE_SO_EXISTS, DEVICE),
	RV(SIGNATURE_INVALID, BLOB),
	RV(SIGNATURE_LEN_RANGE, BLOB),
	RV(TEMPLATE_INCOMPLETE, POLICY),
	RV(TEMPLATE_INCONSISTENT, POLICY),
	RV(TOKEN_NOT_PRESENT, DEVICE),
	RV(TOKEN_NOT_RECOGNIZED, DEVICE),
	RV(TOKEN_WRITE_PROTECTED, DEVICE),
	RV(UNWRAPPING_KEY_HANDLE_INVALID, LOST),
	RV(UNWRAPPING_KEY_SIZE_RANGE, POLICY),
	RV(UNWRAPPING_KEY_TYPE_INCONSISTENT, POLICY),
	RV(USER_ALREADY_LOGGED_IN, DEVICE),
	RV(USER_NOT_LOGGED_IN, LOST),
	RV(USER_PIN_NOT_INITIALIZED, PIN),
	RV(USER_TYPE_INVALID, DEVICE),
	RV(USER_ANOTHER_ALREADY_LOGGED_IN, DEVICE),
	RV(USER_TOO_MANY_TYPES, DEVICE),
	RV(WRAPPED_KEY_INVALID, BLOB),
	RV(WRAPPED_KEY_LEN_RANGE, BLOB),
	RV(WRAPPING_KEY_HANDLE_INVALID, LOST),
	RV(WRAPPING_KEY_SIZE_RANGE, POLICY),
	RV(WRAPPING_KEY_TYPE_INCONSISTENT, POLICY),
	RV(RANDOM_SEED_NOT_SUPPORTED, DEVICE),
	RV(RANDOM_NO_RNG, DEVICE),
	RV(DOMAIN_PARAMS_INVALID, POLICY),
	RV(CURVE_NOT_SUPPORTED, POLICY),
	RV(BUFFER_TOO_SMALL, POLICY),
	RV(SAVED_STATE_INVALID, DEVICE),
	RV(INFORMATION_SENSITIVE, POLICY),
	RV(STATE_UNSAVEABLE, DEVICE),
	RV(CRYPTOKI_NOT_INITIALIZED, DEVICE),
	RV(CRYPTOKI_ALREADY_INITIALIZED, DEVICE),
	RV(MUTEX_BAD, DEVICE),
	RV(MUTEX_NOT_LOCKED, DEVICE),
	RV(NEW_PIN_MODE, DEVICE),
	RV(NEXT_OTP, DEVICE),
	RV(EXCEEDED_MAX_ITERATIONS, DEVICE),
	RV(FIPS_SELF_TEST_FAILED, DEVICE),
	RV(LIBRARY_LOAD_FAILED, DEVICE),
	RV(PIN_TOO_WEAK, PIN),
	RV(PUBLIC_KEY_INVALID, POLICY),
	RV(FUNCTION_REJECTED, DEVICE),
	RV(OPERATION_CANCEL_FAILED, DEVICE),
	RV(KEY_EXHAUSTED, POLICY),
};

static const struct rv *find(CK_RV rv)
{
	for (size_t i = 0; i < sizeof(rvs) / sizeof(rvs[0]); i++) {
		if (rvs[i].rv == rv)
			return &rvs[i];
	}
	return NULL;
}

const char *p11_rv_name(CK_RV rv)
{
	static _Thread_local char vendor[32];
	const struct rv *known = find(rv);

	if (rv == CKR_OK)
		return "CKR_OK";
	if (known != NULL)
		return known->name;
	snprintf(vendor, sizeof(vendor), "CKR 0x%08lx", rv);
	return vendor;
}

/* What a vendor means by a code of its own, nobody knows: ask the canary. */
static enum rv_class classify(CK_RV rv)
{
	const struct rv *known = find(rv);

	return known != NULL ? known->class : RV_UNCLEAR;
}

/* Only these are given a blob or ciphertext of ours that may be bad. */
static bool takes_blob(const char *function)
{
	return strcmp(function, "C_UnwrapKey") == 0 ||
	       strcmp(function, "C_Decrypt") == 0;
}

enum kt_err p11_explain(const char *(*words)(void), enum kt_err err)
{
	const char *said = err != KT_OK && words != NULL ? words() : "";

	return said[0] != '\0' ? err_hint(err, "%s", said) : err;
}

enum kt_err p11_result(struct session *session, const char *function, CK_RV rv)
{
	enum rv_class class;
	enum kt_err err;

	if (rv == CKR_OK)
		return KT_OK;
	class = classify(rv);
	if (class == RV_BLOB && !takes_blob(function))
		class = RV_DEVICE;
	if (session != NULL) {
		session->broken = true;
		session->ambiguous = class == RV_UNCLEAR;
	}
	err = err_raise(class_err[class], "%s: %s", function, p11_rv_name(rv));
	if (session == NULL || session->token == NULL)
		return err;
	return p11_explain(session->token->module.words, err);
}
