/*
 * Wrapping and unwrapping. What the wrapping key's attributes demand of the
 * keys under it is checked here, before the TPM is asked for anything: its
 * templates, its mechanisms, and that nothing leaves that must not.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/p11_mech.h"
#include "hsm/tpm2/p11_template.h"
#include "hsm/tpm2/p11_trial.h"

/* How one of the two mechanisms goes about it. */
struct wrapping {
	CK_MECHANISM_TYPE mechanism;
	struct bytes aad;
};

static CK_RV wrapping_of(const CK_MECHANISM *mechanism, CK_FLAGS use,
			 struct wrapping *ret)
{
	const CK_KEYTURN_TPM_WRAP_PARAMS *params;

	RV_TRY(mech_check(mechanism, use));
	*ret = (struct wrapping){.mechanism = mechanism->mechanism};
	params = mechanism->pParameter;
	if (params == NULL && mechanism->ulParameterLen == 0)
		return CKR_OK;
	if (params == NULL || mechanism->ulParameterLen != sizeof(*params) ||
	    (params->pAAD == NULL && params->ulAADLen > 0) ||
	    params->ulAADLen > TPM_AAD_MAX)
		return rv_raise(CKR_MECHANISM_PARAM_INVALID,
				"the parameter is not that of the mechanism");
	ret->aad = (struct bytes){params->pAAD, params->ulAADLen};
	return CKR_OK;
}

static CK_RV find_as(struct call *call, const struct session *session,
		     CK_OBJECT_HANDLE handle, CK_RV missing,
		     struct object **ret)
{
	CK_RV rv = object_find(call, session, handle, ret);

	return rv == CKR_OBJECT_HANDLE_INVALID ? missing : rv;
}

/* The token's word for a key that another process destroyed. */
static CK_RV gone_as(CK_RV rv, CK_RV missing)
{
	return rv == CKR_KEY_HANDLE_INVALID ? missing : rv;
}

/* use: CKA_WRAP or CKA_UNWRAP; bad_type: what a key of another type is. */
static CK_RV check_wrapping_key(const struct object *key,
				const struct wrapping *wrapping,
				CK_ATTRIBUTE_TYPE use, CK_RV bad_type)
{
	CK_KEY_TYPE type = wrapping->mechanism == CKM_AES_KEY_WRAP
				   ? CKK_AES
				   : CKK_GENERIC_SECRET;

	if (attrs_number(&key->attrs, CKA_CLASS) != CKO_SECRET_KEY)
		return rv_raise(bad_type, "the key is not a secret key");
	if (!attrs_flag(&key->attrs, use))
		return rv_raise(CKR_KEY_FUNCTION_NOT_PERMITTED,
				"the key is not for wrapping");
	if (!attrs_allow(&key->attrs, wrapping->mechanism))
		return rv_raise(CKR_MECHANISM_INVALID,
				"the key does not allow this mechanism");
	if (attrs_number(&key->attrs, CKA_KEY_TYPE) != type)
		return rv_raise(bad_type, "the mechanism wants another key");
	return CKR_OK;
}

/* A key that somebody knows would come back as one that wraps, and take others
 * out to him: so it is never wrapped at all. */
static CK_RV check_subject(const struct object *subject,
			   const struct object *key)
{
	const struct attrs wanted = attrs_inner(&key->attrs, CKA_WRAP_TEMPLATE);

	if (!attrs_flag(&subject->attrs, CKA_EXTRACTABLE))
		return rv_raise(CKR_KEY_UNEXTRACTABLE,
				"the key is not extractable");
	if (subject->value.data == NULL ||
	    attrs_flag(&subject->attrs, CKA_WRAP_WITH_TRUSTED))
		return rv_raise(CKR_KEY_NOT_WRAPPABLE,
				"the key cannot be wrapped");
	if (subject->known)
		return rv_raise(CKR_KEY_NOT_WRAPPABLE,
				"somebody may know the key");
	if (!attrs_contain(&subject->attrs, &wanted))
		return rv_raise(CKR_KEY_NOT_WRAPPABLE,
				"the key is not what the wrapping key's "
				"template wants");
	return CKR_OK;
}

static CK_ULONG overhead(const struct wrapping *wrapping)
{
	return wrapping->mechanism == CKM_AES_KEY_WRAP ? SOFT_KW_OVERHEAD
						       : TPM_WRAP_OVERHEAD;
}

static CK_RV wrap(const struct object *key, const struct wrapping *wrapping,
		  const struct kt_secret *value, uint8_t *ret)
{
	if (wrapping->mechanism == CKM_AES_KEY_WRAP)
		return soft_kw_wrap(&key->value, value, ret);
	if (!object_on_token(key))
		return trial_wrap(key, wrapping->aad, value, ret);
	return gone_as(tpm_key_wrap(key->slot->token, &key->id,
				    wrapping->aad.data, wrapping->aad.len,
				    value->data, value->len, ret),
		       CKR_WRAPPING_KEY_HANDLE_INVALID);
}

/* The caller's room, by the rule of PKCS#11 2.40 section 5.2. *ret: he only
 * asked for the length. */
static CK_RV check_room(const void *room, CK_ULONG *len, CK_ULONG need,
			bool *ret)
{
	CK_ULONG has = *len;

	*len = need;
	*ret = room == NULL;
	if (room != NULL && has < need)
		return rv_raise(CKR_BUFFER_TOO_SMALL, "%lu bytes are needed",
				need);
	return CKR_OK;
}

CK_RV C_WrapKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		CK_OBJECT_HANDLE wrapping_key, CK_OBJECT_HANDLE subject_key,
		CK_BYTE *out, CK_ULONG *out_len)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *key = NULL;
	CLEANUP(object_releasep) struct object *subject = NULL;
	struct wrapping wrapping;
	struct session *session;
	bool only_length;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	RV_TRY(wrapping_of(mechanism, CKF_WRAP, &wrapping));
	RV_TRY(find_as(&call, session, wrapping_key,
		       CKR_WRAPPING_KEY_HANDLE_INVALID, &key));
	RV_TRY(find_as(&call, session, subject_key, CKR_KEY_HANDLE_INVALID,
		       &subject));
	RV_TRY(check_wrapping_key(key, &wrapping, CKA_WRAP,
				  CKR_WRAPPING_KEY_TYPE_INCONSISTENT));
	RV_TRY(check_subject(subject, key));
	if (out_len == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the length");
	RV_TRY(check_room(out, out_len,
			  subject->value.len + overhead(&wrapping),
			  &only_length));
	call_unlock(&call);
	return only_length ? CKR_OK
			   : wrap(key, &wrapping, &subject->value, out);
}

static CK_RV unwrap(const struct object *key, const struct wrapping *wrapping,
		    struct bytes blob, struct kt_secret *ret)
{
	if (wrapping->mechanism == CKM_AES_KEY_WRAP)
		return soft_kw_unwrap(&key->value, blob, ret);
	if (!object_on_token(key))
		return trial_unwrap(key, wrapping->aad, blob, ret);
	return gone_as(tpm_key_unwrap(key->slot->token, &key->id,
				      wrapping->aad.data, wrapping->aad.len,
				      blob.data, blob.len, ret),
		       CKR_UNWRAPPING_KEY_HANDLE_INVALID);
}

static CK_RV complete(const struct object *key, const CK_ATTRIBUTE *given,
		      CK_ULONG n, struct attrs *ret)
{
	const struct attrs imposed =
		attrs_inner(&key->attrs, CKA_UNWRAP_TEMPLATE);
	const struct making making = {ORIGIN_UNWRAPPED, CKO_SECRET_KEY,
				      CK_UNAVAILABLE_INFORMATION, 0, &imposed};

	RV_TRY(template_complete(&making, given, n, ret));
	if (attrs_flag(ret, CKA_TOKEN))
		return rv_raise(CKR_TEMPLATE_INCONSISTENT,
				"keys of the token are born in it");
	return CKR_OK;
}

/* A blob that opens to a key of an impossible length is no key of ours. */
static CK_RV fit(struct attrs *attrs, const struct kt_secret *value)
{
	CK_RV rv = template_length(attrs, value->len);

	return rv == CKR_KEY_SIZE_RANGE ? CKR_WRAPPED_KEY_INVALID : rv;
}

CK_RV C_UnwrapKey(CK_SESSION_HANDLE handle, CK_MECHANISM *mechanism,
		  CK_OBJECT_HANDLE unwrapping_key, CK_BYTE *blob,
		  CK_ULONG blob_len, CK_ATTRIBUTE *given, CK_ULONG n,
		  CK_OBJECT_HANDLE *ret)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *key = NULL;
	CLEANUP(object_releasep) struct object *object = NULL;
	CLEANUP(attrs_done) struct attrs attrs = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct wrapping wrapping;
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	RV_TRY(wrapping_of(mechanism, CKF_UNWRAP, &wrapping));
	RV_TRY(find_as(&call, session, unwrapping_key,
		       CKR_UNWRAPPING_KEY_HANDLE_INVALID, &key));
	RV_TRY(check_wrapping_key(key, &wrapping, CKA_UNWRAP,
				  CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT));
	if (blob == NULL || ret == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no blob or no room");
	RV_TRY(complete(key, given, n, &attrs));
	call_unlock(&call);
	RV_TRY(unwrap(key, &wrapping, (struct bytes){blob, blob_len}, &value));
	call_lock(&call);
	RV_TRY(fit(&attrs, &value));
	RV_TRY(object_new(key->slot, &attrs, &value, &object));
	return object_publish(&call, handle, object, ret);
}
