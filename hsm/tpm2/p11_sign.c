/*
 * MACs and signatures. A key of the token computes in the TPM; a session's in
 * software. A MAC is verified by computing it again, compared in constant
 * time; a signature with the public half, in software.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/secret.h"
#include "hsm/tpm2/p11_mech.h"

#define DIGEST_LEN 32
#define UPDATES_MAX ((size_t)1 << 20) /* kept until the end comes */

static CK_RV wrong_type(void)
{
	return rv_raise(CKR_KEY_TYPE_INCONSISTENT,
			"the mechanism wants another key");
}

/* MACs have one key; of a pair, each half does one of the two. */
static CK_RV check_key(const struct object *key, CK_MECHANISM_TYPE mechanism,
		       enum operation_kind kind)
{
	CK_OBJECT_CLASS class = attrs_number(&key->attrs, CKA_CLASS);
	bool signs = kind == OP_SIGN;

	if (mechanism == CKM_SHA256_HMAC
		    ? class != CKO_SECRET_KEY ||
			      attrs_number(&key->attrs, CKA_KEY_TYPE) !=
				      CKK_GENERIC_SECRET
		    : class != (signs ? CKO_PRIVATE_KEY : CKO_PUBLIC_KEY))
		return wrong_type();
	if (!attrs_flag(&key->attrs, signs ? CKA_SIGN : CKA_VERIFY))
		return rv_raise(CKR_KEY_FUNCTION_NOT_PERMITTED,
				"the key is not for this");
	if (!attrs_allow(&key->attrs, mechanism))
		return rv_raise(CKR_MECHANISM_INVALID,
				"the key does not allow this mechanism");
	return CKR_OK;
}

static CK_RV start(CK_SESSION_HANDLE handle, const CK_MECHANISM *mechanism,
		   CK_OBJECT_HANDLE key_handle, enum operation_kind kind)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *key = NULL;
	struct operation *operation;
	struct session *session;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	RV_TRY(mech_check(mechanism, kind == OP_SIGN ? CKF_SIGN : CKF_VERIFY));
	operation = &session->operations[kind];
	if (operation->active)
		return rv_raise(CKR_OPERATION_ACTIVE,
				"an operation is under way");
	rv = object_find(&call, session, key_handle, &key);
	if (rv == CKR_OBJECT_HANDLE_INVALID)
		return CKR_KEY_HANDLE_INVALID;
	RV_TRY(rv);
	RV_TRY(check_key(key, mechanism->mechanism, kind));
	*operation = (struct operation){.active = true,
					.mechanism = mechanism->mechanism,
					.key = TAKE(key)};
	return CKR_OK;
}

CK_RV C_SignInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		 CK_OBJECT_HANDLE key)
{
	return start(handle, mechanism, key, OP_SIGN);
}

CK_RV C_VerifyInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		   CK_OBJECT_HANDLE key)
{
	return start(handle, mechanism, key, OP_VERIFY);
}

/* At least twice the room, with what is in it; the old is wiped. */
static CK_RV grow(struct operation *operation, size_t need)
{
	CLEANUP(kt_secret_done) struct kt_secret larger = {0};
	struct kt_secret before = operation->room;
	size_t len = before.len * 2 > need ? before.len * 2 : need;

	RV_TRY(rv_of(secret_new(len, &larger)));
	if (operation->used > 0)
		memcpy(larger.data, before.data, operation->used);
	operation->room = larger;
	larger = before;
	return CKR_OK;
}

static CK_RV append(struct operation *operation, struct bytes part)
{
	if (part.len > UPDATES_MAX - operation->used)
		return rv_raise(CKR_DATA_LEN_RANGE, "more than %zu bytes",
				UPDATES_MAX);
	if (part.len > operation->room.len - operation->used)
		RV_TRY(grow(operation, operation->used + part.len));
	if (part.len > 0)
		memcpy(operation->room.data + operation->used, part.data,
		       part.len);
	operation->used += part.len;
	return CKR_OK;
}

/* The operation that Init began. */
static CK_RV active(struct call *call, CK_SESSION_HANDLE handle,
		    enum operation_kind kind, struct operation **ret)
{
	struct session *session;

	RV_TRY(call_session(call, handle, &session));
	*ret = &session->operations[kind];
	if (!(*ret)->active)
		return rv_raise(CKR_OPERATION_NOT_INITIALIZED,
				"no operation is under way");
	return CKR_OK;
}

static CK_RV add_part(struct operation *operation, struct bytes part)
{
	if (operation->mechanism != CKM_SHA256_HMAC)
		return rv_raise(CKR_FUNCTION_NOT_SUPPORTED,
				"the mechanism takes its data at once");
	if (part.data == NULL && part.len > 0)
		return rv_raise(CKR_ARGUMENTS_BAD, "no data");
	operation->begun = true;
	return append(operation, part);
}

/* An error ends the operation (PKCS#11 2.40 section 5.2). */
static CK_RV update(CK_SESSION_HANDLE handle, struct bytes part,
		    enum operation_kind kind)
{
	CLEANUP(call_end) struct call call = {0};
	struct operation *operation;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(active(&call, handle, kind, &operation));
	rv = add_part(operation, part);
	if (rv != CKR_OK)
		operation_done(operation);
	return rv;
}

CK_RV C_SignUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len)
{
	return update(handle, (struct bytes){part, len}, OP_SIGN);
}

CK_RV C_VerifyUpdate(CK_SESSION_HANDLE handle, CK_BYTE *part, CK_ULONG len)
{
	return update(handle, (struct bytes){part, len}, OP_VERIFY);
}

static size_t signature_len(const struct operation *operation)
{
	return operation->mechanism == CKM_ECDSA ? TPM_SIGNATURE_LEN
						 : TPM_MAC_LEN;
}

static CK_RV mac(const struct object *key, struct bytes data,
		 uint8_t ret[TPM_MAC_LEN])
{
	if (!object_on_token(key))
		return soft_hmac(&key->value, data, ret);
	return tpm_key_hmac(key->slot->token, &key->id, data.data, data.len,
			    ret);
}

static CK_RV check_digest(struct bytes data)
{
	return data.len == DIGEST_LEN
		       ? CKR_OK
		       : rv_raise(CKR_DATA_LEN_RANGE,
				  "ECDSA over %zu bytes: the key signs "
				  "SHA-256 digests",
				  data.len);
}

static CK_RV sign(const struct operation *operation, struct bytes data,
		  uint8_t *ret)
{
	const struct object *key = operation->key;

	if (operation->mechanism == CKM_SHA256_HMAC)
		return mac(key, data, ret);
	RV_TRY(check_digest(data));
	return tpm_key_sign(key->slot->token, &key->id, data.data, ret);
}

static CK_RV verify_mac(const struct operation *operation, struct bytes data,
			const uint8_t *signature)
{
	uint8_t again[TPM_MAC_LEN];
	CK_RV rv = mac(operation->key, data, again);

	if (rv == CKR_OK && CRYPTO_memcmp(again, signature, sizeof(again)) != 0)
		rv = rv_raise(CKR_SIGNATURE_INVALID, "the MAC differs");
	wipe(again, sizeof(again));
	return rv;
}

/* The point behind the two bytes of its OCTET STRING. */
static CK_RV verify_signature(const struct operation *operation,
			      struct bytes data, const uint8_t *signature)
{
	size_t len = 0;
	const uint8_t *point =
		attrs_bytes(&operation->key->attrs, CKA_EC_POINT, &len);

	RV_TRY(check_digest(data));
	if (point == NULL || len != SOFT_POINT_LEN + 2)
		return wrong_type();
	return soft_verify(point + 2, data, signature);
}

static CK_RV verify(const struct operation *operation, struct bytes data,
		    struct bytes signature)
{
	if (signature.len != signature_len(operation))
		return rv_raise(CKR_SIGNATURE_LEN_RANGE,
				"a signature of %zu bytes", signature.len);
	if (operation->mechanism == CKM_SHA256_HMAC)
		return verify_mac(operation, data, signature.data);
	return verify_signature(operation, data, signature.data);
}

/* Out of its session, which may close while it runs. data NULL: what the
 * updates gathered. */
static CK_RV take(struct operation *from, const struct bytes *data,
		  struct operation *ret)
{
	bool misused = data != NULL && from->begun;

	*ret = *from;
	*from = (struct operation){0};
	return misused ? rv_raise(CKR_OPERATION_ACTIVE,
				  "the operation goes by updates")
		       : CKR_OK;
}

static struct bytes data_of(const struct operation *operation,
			    const struct bytes *data)
{
	if (data != NULL)
		return *data;
	return (struct bytes){operation->room.data, operation->used};
}

static CK_RV finish_sign(CK_SESSION_HANDLE handle, const struct bytes *data,
			 CK_BYTE *ret, CK_ULONG *ret_len)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(operation_done) struct operation running = {0};
	struct operation *operation;
	CK_ULONG room;

	RV_TRY(call_begin(&call));
	RV_TRY(active(&call, handle, OP_SIGN, &operation));
	if (ret_len == NULL ||
	    (data != NULL && data->data == NULL && data->len > 0)) {
		operation_done(operation);
		return rv_raise(CKR_ARGUMENTS_BAD, "no data or no room");
	}
	room = *ret_len;
	*ret_len = signature_len(operation);
	if (ret == NULL)
		return CKR_OK;
	if (room < *ret_len)
		return rv_raise(CKR_BUFFER_TOO_SMALL, "%lu bytes are needed",
				*ret_len);
	RV_TRY(take(operation, data, &running));
	call_unlock(&call);
	return sign(&running, data_of(&running, data), ret);
}

CK_RV C_Sign(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len,
	     CK_BYTE *signature, CK_ULONG *signature_len_)
{
	return finish_sign(handle, &(struct bytes){data, len}, signature,
			   signature_len_);
}

CK_RV C_SignFinal(CK_SESSION_HANDLE handle, CK_BYTE *signature,
		  CK_ULONG *signature_len_)
{
	return finish_sign(handle, NULL, signature, signature_len_);
}

static CK_RV finish_verify(CK_SESSION_HANDLE handle, const struct bytes *data,
			   struct bytes signature)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(operation_done) struct operation running = {0};
	struct operation *operation;

	RV_TRY(call_begin(&call));
	RV_TRY(active(&call, handle, OP_VERIFY, &operation));
	RV_TRY(take(operation, data, &running));
	if (signature.data == NULL ||
	    (data != NULL && data->data == NULL && data->len > 0))
		return rv_raise(CKR_ARGUMENTS_BAD, "no data or no signature");
	call_unlock(&call);
	return verify(&running, data_of(&running, data), signature);
}

CK_RV C_Verify(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len,
	       CK_BYTE *signature, CK_ULONG signature_len_)
{
	return finish_verify(handle, &(struct bytes){data, len},
			     (struct bytes){signature, signature_len_});
}

CK_RV C_VerifyFinal(CK_SESSION_HANDLE handle, CK_BYTE *signature,
		    CK_ULONG signature_len_)
{
	return finish_verify(handle, NULL,
			     (struct bytes){signature, signature_len_});
}
