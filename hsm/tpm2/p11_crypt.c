/*
 * AES-GCM with keys of a session, each in one call: no plaintext leaves before
 * its tag is known to be right, and there is nothing to do by parts.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include "base/secret.h"
#include "hsm/tpm2/p11_mech.h"

#define TAG_BITS_MIN 96
#define TAG_BITS_MAX 128
#define DATA_MAX ((CK_ULONG)4 << 20)
#define AAD_MAX ((CK_ULONG)1 << 20)

/* PKCS#11 2.40 as first published: no count of bits. */
struct gcm_params_short {
	CK_BYTE *iv;
	CK_ULONG iv_len;
	CK_BYTE *aad;
	CK_ULONG aad_len;
	CK_ULONG tag_bits;
};

static CK_RV bad_parameter(const char *what)
{
	return rv_raise(CKR_MECHANISM_PARAM_INVALID, "AES-GCM: %s", what);
}

/* Both forms of the parameter are met in the field; their lengths differ. */
static CK_RV read_params(const CK_MECHANISM *mechanism, CK_GCM_PARAMS *ret)
{
	const struct gcm_params_short *brief = mechanism->pParameter;

	if (mechanism->pParameter == NULL)
		return bad_parameter("no parameter");
	if (mechanism->ulParameterLen == sizeof(*ret)) {
		memcpy(ret, mechanism->pParameter, sizeof(*ret));
		return CKR_OK;
	}
	if (mechanism->ulParameterLen != sizeof(*brief))
		return bad_parameter("a parameter of a wrong length");
	*ret = (CK_GCM_PARAMS){.iv_ptr = brief->iv,
			       .iv_len = brief->iv_len,
			       .aad_ptr = brief->aad,
			       .aad_len = brief->aad_len,
			       .tag_bits = brief->tag_bits};
	return CKR_OK;
}

static CK_RV check_params(const CK_GCM_PARAMS *params)
{
	if (params->iv_ptr == NULL || params->iv_len == 0 ||
	    params->iv_len > SOFT_GCM_IV_MAX)
		return bad_parameter("no IV, or one that is too long");
	if (params->iv_bits != 0 && params->iv_bits != params->iv_len * 8)
		return bad_parameter("the IV's two lengths differ");
	if ((params->aad_ptr == NULL && params->aad_len > 0) ||
	    params->aad_len > AAD_MAX)
		return bad_parameter("no associated data, or too much");
	if (params->tag_bits < TAG_BITS_MIN ||
	    params->tag_bits > TAG_BITS_MAX || params->tag_bits % 8 != 0)
		return bad_parameter("the length of the tag");
	return CKR_OK;
}

/* The caller's memory is his again when Init returns. */
static CK_RV copy_params(const CK_GCM_PARAMS *params, struct soft_gcm *ret)
{
	ret->aad = malloc(params->aad_len + 1);
	if (ret->aad == NULL)
		return rv_memory();
	if (params->aad_len > 0)
		memcpy(ret->aad, params->aad_ptr, params->aad_len);
	ret->aad_len = params->aad_len;
	memcpy(ret->iv, params->iv_ptr, params->iv_len);
	ret->iv_len = params->iv_len;
	ret->tag_len = params->tag_bits / 8;
	return CKR_OK;
}

static CK_RV check_key(const struct object *key, enum operation_kind kind)
{
	if (!attrs_flag(&key->attrs,
			kind == OP_ENCRYPT ? CKA_ENCRYPT : CKA_DECRYPT))
		return rv_raise(CKR_KEY_FUNCTION_NOT_PERMITTED,
				"the key is not for this");
	if (!attrs_allow(&key->attrs, CKM_AES_GCM))
		return rv_raise(CKR_MECHANISM_INVALID,
				"the key does not allow this mechanism");
	if (attrs_number(&key->attrs, CKA_KEY_TYPE) != CKK_AES ||
	    key->value.data == NULL)
		return rv_raise(CKR_KEY_TYPE_INCONSISTENT,
				"the mechanism wants another key");
	return CKR_OK;
}

static CK_RV find_key(struct call *call, const struct session *session,
		      CK_OBJECT_HANDLE handle, enum operation_kind kind,
		      struct object **ret)
{
	CK_RV rv = object_find(call, session, handle, ret);

	if (rv == CKR_OBJECT_HANDLE_INVALID)
		return CKR_KEY_HANDLE_INVALID;
	return rv != CKR_OK ? rv : check_key(*ret, kind);
}

static CK_RV start(CK_SESSION_HANDLE handle, const CK_MECHANISM *mechanism,
		   CK_OBJECT_HANDLE key_handle, enum operation_kind kind)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *key = NULL;
	struct operation operation = {.active = true};
	CK_GCM_PARAMS params = {0};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	if (session->operations[kind].active)
		return rv_raise(CKR_OPERATION_ACTIVE,
				"an operation is under way");
	/* The key first: what it must not do is no matter of parameters. */
	if (mechanism == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no mechanism");
	RV_TRY(find_key(&call, session, key_handle, kind, &key));
	RV_TRY(mech_check(mechanism,
			  kind == OP_ENCRYPT ? CKF_ENCRYPT : CKF_DECRYPT));
	RV_TRY(read_params(mechanism, &params));
	RV_TRY(check_params(&params));
	RV_TRY(copy_params(&params, &operation.gcm));
	operation.mechanism = mechanism->mechanism;
	operation.key = TAKE(key);
	session->operations[kind] = operation;
	return CKR_OK;
}

CK_RV C_EncryptInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		    CK_OBJECT_HANDLE key)
{
	return start(handle, mechanism, key, OP_ENCRYPT);
}

CK_RV C_DecryptInit(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		    CK_OBJECT_HANDLE key)
{
	return start(handle, mechanism, key, OP_DECRYPT);
}

static CK_RV check_data(const struct operation *operation,
			enum operation_kind kind, struct bytes in,
			const CK_ULONG *ret_len, CK_ULONG *ret_need)
{
	size_t tag_len = operation->gcm.tag_len;

	if (ret_len == NULL || (in.data == NULL && in.len > 0))
		return rv_raise(CKR_ARGUMENTS_BAD, "no data or no room");
	if (kind == OP_ENCRYPT) {
		*ret_need = in.len + tag_len;
		return in.len <= DATA_MAX
			       ? CKR_OK
			       : rv_raise(CKR_DATA_LEN_RANGE,
					  "more than %lu bytes", DATA_MAX);
	}
	if (in.len < tag_len || in.len > DATA_MAX + tag_len)
		return rv_raise(CKR_ENCRYPTED_DATA_LEN_RANGE,
				"a ciphertext of %zu bytes", in.len);
	*ret_need = in.len - tag_len;
	return CKR_OK;
}

/* What is asked of the session: CKR_OK with *ret_running active when the work
 * is to be done, not active when only the length was asked for. */
static CK_RV prepare(struct operation *operation, enum operation_kind kind,
		     struct bytes in, const uint8_t *out, CK_ULONG *out_len,
		     struct operation *ret_running)
{
	CK_ULONG need = 0, room;
	CK_RV rv = check_data(operation, kind, in, out_len, &need);

	if (rv != CKR_OK) {
		operation_done(operation);
		return rv;
	}
	room = *out_len;
	*out_len = need;
	if (out == NULL)
		return CKR_OK;
	if (room < need)
		return rv_raise(CKR_BUFFER_TOO_SMALL, "%lu bytes are needed",
				need);
	*ret_running = *operation;
	*operation = (struct operation){0};
	return CKR_OK;
}

static CK_RV finish(CK_SESSION_HANDLE handle, enum operation_kind kind,
		    struct bytes in, uint8_t *out, CK_ULONG *out_len)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(operation_done) struct operation running = {0};
	struct operation *operation;
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	operation = &session->operations[kind];
	if (!operation->active)
		return rv_raise(CKR_OPERATION_NOT_INITIALIZED,
				"no operation is under way");
	RV_TRY(prepare(operation, kind, in, out, out_len, &running));
	call_unlock(&call);
	if (!running.active)
		return CKR_OK;
	if (kind == OP_ENCRYPT)
		return soft_gcm_encrypt(&running.key->value, &running.gcm, in,
					out);
	return soft_gcm_decrypt(&running.key->value, &running.gcm, in, out);
}

CK_RV C_Encrypt(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len,
		CK_BYTE *out, CK_ULONG *out_len)
{
	return finish(handle, OP_ENCRYPT, (struct bytes){data, len}, out,
		      out_len);
}

CK_RV C_Decrypt(CK_SESSION_HANDLE handle, CK_BYTE *data, CK_ULONG len,
		CK_BYTE *out, CK_ULONG *out_len)
{
	return finish(handle, OP_DECRYPT, (struct bytes){data, len}, out,
		      out_len);
}

/* An error ends the operation (PKCS#11 2.40 section 5.2). */
static CK_RV by_parts(CK_SESSION_HANDLE handle, enum operation_kind kind)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	if (!session->operations[kind].active)
		return rv_raise(CKR_OPERATION_NOT_INITIALIZED,
				"no operation is under way");
	operation_done(&session->operations[kind]);
	return rv_raise(CKR_FUNCTION_NOT_SUPPORTED,
			"AES-GCM is done in one call");
}

CK_RV C_EncryptUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG, CK_BYTE *,
		      CK_ULONG *)
{
	return by_parts(handle, OP_ENCRYPT);
}

CK_RV C_EncryptFinal(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG *)
{
	return by_parts(handle, OP_ENCRYPT);
}

CK_RV C_DecryptUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG, CK_BYTE *,
		      CK_ULONG *)
{
	return by_parts(handle, OP_DECRYPT);
}

CK_RV C_DecryptFinal(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG *)
{
	return by_parts(handle, OP_DECRYPT);
}
