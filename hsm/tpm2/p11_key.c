/*
 * New keys. A key of the token is born in the TPM and has one use there; a key
 * of a session is random bytes in secret memory.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/p11_mech.h"
#include "hsm/tpm2/p11_template.h"

#define TOKEN_SECRET_LEN 32

static CK_RV inconsistent(const char *why)
{
	return rv_raise(CKR_TEMPLATE_INCONSISTENT, "%s", why);
}

/* The TPM computes HMACs with it, for itself or for the caller, never both:
 * a caller's MAC could be the key of a wrap. */
static CK_RV kind_of_secret(const struct attrs *attrs, enum tpm_kind *ret)
{
	bool wraps =
		attrs_flag(attrs, CKA_WRAP) || attrs_flag(attrs, CKA_UNWRAP);
	bool signs =
		attrs_flag(attrs, CKA_SIGN) || attrs_flag(attrs, CKA_VERIFY);

	if (attrs_number(attrs, CKA_KEY_TYPE) != CKK_GENERIC_SECRET)
		return inconsistent("a secret key of the token is a generic "
				    "secret");
	if (attrs_flag(attrs, CKA_ENCRYPT) || attrs_flag(attrs, CKA_DECRYPT) ||
	    attrs_flag(attrs, CKA_DERIVE))
		return inconsistent("a secret key of the token wraps or signs");
	if (wraps == signs)
		return inconsistent("a secret key of the token either wraps "
				    "or signs");
	*ret = wraps ? TPM_KEY_WRAP : TPM_KEY_HMAC;
	return CKR_OK;
}

static CK_RV check_token_key(const struct attrs *attrs)
{
	if (!attrs_flag(attrs, CKA_SENSITIVE) ||
	    attrs_flag(attrs, CKA_EXTRACTABLE))
		return inconsistent("a key of the token is sensitive and not "
				    "extractable");
	return CKR_OK;
}

/* Of the session again, since the locks were waited for. */
static CK_RV may_make(struct call *call, CK_SESSION_HANDLE handle)
{
	struct session *session;

	RV_TRY(call_user_session(call, handle, &session));
	return session->read_write ? CKR_OK
				   : rv_raise(CKR_SESSION_READ_ONLY,
					      "the session is read-only");
}

static CK_RV make_in_tpm(struct call *call, CK_SESSION_HANDLE handle,
			 struct slot *slot, enum tpm_kind kind,
			 const struct attrs *stored, CK_OBJECT_HANDLE *ret,
			 CK_OBJECT_HANDLE *ret_public)
{
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct tpm_key key;
	CK_RV rv;

	RV_TRY(may_make(call, handle));
	admin = slot_lock_admin(call, slot);
	RV_TRY(may_make(call, handle));
	call_unlock(call);
	rv = tpm_key_create(slot->token, kind, stored->data, stored->len, &key);
	call_lock(call);
	RV_TRY(rv);
	rv = object_adopt(call, slot, &key, ret, ret_public);
	tpm_key_done(&key);
	return rv;
}

static CK_RV make_token_secret(struct call *call, CK_SESSION_HANDLE handle,
			       struct slot *slot, const struct attrs *attrs,
			       CK_OBJECT_HANDLE *ret)
{
	CLEANUP(attrs_done) struct attrs stored = {0};
	enum tpm_kind kind;

	RV_TRY(kind_of_secret(attrs, &kind));
	RV_TRY(check_token_key(attrs));
	if (attrs_number(attrs, CKA_VALUE_LEN) != TOKEN_SECRET_LEN)
		return rv_raise(CKR_KEY_SIZE_RANGE,
				"a secret key of the token has %d bytes",
				TOKEN_SECRET_LEN);
	RV_TRY(stored_pack(attrs, NULL, &stored));
	return make_in_tpm(call, handle, slot, kind, &stored, ret, NULL);
}

static CK_RV make_session_secret(struct call *call, CK_SESSION_HANDLE handle,
				 struct slot *slot, struct attrs *attrs,
				 CK_OBJECT_HANDLE *ret)
{
	CLEANUP(object_releasep) struct object *object = NULL;
	CLEANUP(kt_secret_done) struct kt_secret value = {0};

	RV_TRY(rv_of(secret_new(attrs_number(attrs, CKA_VALUE_LEN), &value)));
	RV_TRY(rv_of(random_bytes(value.data, value.len)));
	RV_TRY(object_new(slot, attrs, &value, &object));
	object->known = !attrs_flag(&object->attrs, CKA_SENSITIVE);
	return object_publish(call, handle, object, ret);
}

CK_RV C_GenerateKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		    CK_ATTRIBUTE *given, CK_ULONG n, CK_OBJECT_HANDLE *ret)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(attrs_done) struct attrs attrs = {0};
	struct making making = {ORIGIN_GENERATED, CKO_SECRET_KEY, CKK_AES, 0,
				NULL};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	RV_TRY(mech_check(mechanism, CKF_GENERATE));
	if (ret == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the handle");
	making.mechanism = mechanism->mechanism;
	if (mechanism->mechanism == CKM_GENERIC_SECRET_KEY_GEN)
		making.type = CKK_GENERIC_SECRET;
	RV_TRY(template_complete(&making, given, n, &attrs));
	if (!attrs_has(&attrs, CKA_VALUE_LEN))
		return rv_raise(CKR_TEMPLATE_INCOMPLETE,
				"CKA_VALUE_LEN is missing");
	RV_TRY(template_length(&attrs, attrs_number(&attrs, CKA_VALUE_LEN)));
	if (attrs_flag(&attrs, CKA_TOKEN))
		return make_token_secret(&call, handle, session->slot, &attrs,
					 ret);
	return make_session_secret(&call, handle, session->slot, &attrs, ret);
}

static CK_RV check_pair(const struct attrs *private_half,
			const struct attrs *public_half)
{
	static const CK_ATTRIBUTE_TYPE others[] = {
		CKA_DECRYPT, CKA_UNWRAP, CKA_DERIVE,         CKA_SIGN_RECOVER,
		CKA_ENCRYPT, CKA_WRAP,   CKA_VERIFY_RECOVER,
	};

	if (!attrs_flag(private_half, CKA_TOKEN) ||
	    !attrs_flag(public_half, CKA_TOKEN))
		return inconsistent("a key pair lives on the token");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (attrs_flag(private_half, others[i]) ||
		    attrs_flag(public_half, others[i]))
			return inconsistent("a key pair signs and verifies");
	}
	return check_token_key(private_half);
}

/* The curve may stand in either half; both halves tell it. */
static CK_RV settle_curve(struct attrs *private_half, struct attrs *public_half)
{
	if (!attrs_has(public_half, CKA_EC_PARAMS))
		return rv_raise(CKR_TEMPLATE_INCOMPLETE,
				"CKA_EC_PARAMS is missing");
	return attrs_set_bytes(private_half, CKA_EC_PARAMS, p256_params,
			       P256_PARAMS_LEN);
}

struct pair_template {
	const CK_ATTRIBUTE *given;
	CK_ULONG n;
};

static CK_RV complete_pair(const CK_MECHANISM *mechanism,
			   const struct pair_template *public_given,
			   const struct pair_template *private_given,
			   struct attrs *ret_stored)
{
	CLEANUP(attrs_done) struct attrs private_half = {0}, public_half = {0};
	struct making making = {ORIGIN_GENERATED, CKO_PUBLIC_KEY, CKK_EC,
				mechanism->mechanism, NULL};

	RV_TRY(template_complete(&making, public_given->given, public_given->n,
				 &public_half));
	making.class = CKO_PRIVATE_KEY;
	RV_TRY(template_complete(&making, private_given->given,
				 private_given->n, &private_half));
	RV_TRY(check_pair(&private_half, &public_half));
	RV_TRY(settle_curve(&private_half, &public_half));
	return stored_pack(&private_half, &public_half, ret_stored);
}

CK_RV C_GenerateKeyPair(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
			CK_ATTRIBUTE *public_given, CK_ULONG public_n,
			CK_ATTRIBUTE *private_given, CK_ULONG private_n,
			CK_OBJECT_HANDLE *ret_public, CK_OBJECT_HANDLE *ret)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(attrs_done) struct attrs stored = {0};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	RV_TRY(mech_check(mechanism, CKF_GENERATE_KEY_PAIR));
	if (ret == NULL || ret_public == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the handles");
	RV_TRY(complete_pair(
		mechanism, &(struct pair_template){public_given, public_n},
		&(struct pair_template){private_given, private_n}, &stored));
	return make_in_tpm(&call, handle, session->slot, TPM_KEY_EC, &stored,
			   ret, ret_public);
}
