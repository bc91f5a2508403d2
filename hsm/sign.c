/*
 * What the token computes with keys that never leave it, but for wrapping:
 * MACs, signatures, random bytes. Outputs have fixed room; a length that is
 * not the algorithm's is an error.
 */
#include <string.h>

#include "hsm/state.h"

#define SIGN_MAX 512

struct sign_args {
	CK_OBJECT_CLASS class;
	CK_MECHANISM_TYPE mechanism;
	const struct kt_id *cka_id;
	const void *data;
	size_t len;
	uint8_t *ret;
	size_t ret_len; /* what it must be */
};

static enum kt_err sign_op(struct session *s, void *arg)
{
	const struct sign_args *args = arg;
	CK_MECHANISM mechanism = {args->mechanism, NULL, 0};
	uint8_t room[SIGN_MAX];
	CK_ULONG len = sizeof(room);
	CK_OBJECT_HANDLE key;

	TRY(object_find(s, args->class, args->cka_id, &key));
	TRY(CALL(s, C_SignInit, &mechanism, key));
	TRY(CALL(s, C_Sign, (void *)args->data, args->len, room, &len));
	if (len != args->ret_len)
		return err_raise(KT_ERR_TOKEN, "C_Sign: %lu bytes, not %zu",
				 len, args->ret_len);
	memcpy(args->ret, room, len);
	return KT_OK;
}

enum kt_err token_mac(struct token *token, const struct kt_id *cka_id,
		      const void *data, size_t len, uint8_t ret[32])
{
	struct sign_args args = {
		CKO_SECRET_KEY, CKM_SHA256_HMAC, cka_id, data, len, ret, 32};

	return token_retry(token, sign_op, &args);
}

enum kt_err token_sign(struct token *token, const struct kt_id *cka_id,
		       const uint8_t digest[32], struct blob *ret)
{
	uint8_t signature[64];
	struct sign_args args = {CKO_PRIVATE_KEY, CKM_ECDSA, cka_id, digest, 32,
				 signature,       64};

	TRY(token_retry(token, sign_op, &args));
	return blob_set(ret, signature, sizeof(signature));
}

struct random_args {
	void *data;
	size_t len;
};

static enum kt_err random_op(struct session *s, void *arg)
{
	const struct random_args *args = arg;

	return CALL(s, C_GenerateRandom, args->data, args->len);
}

enum kt_err token_random(struct token *token, void *data, size_t len)
{
	struct random_args args = {data, len};

	return token_retry(token, random_op, &args);
}
