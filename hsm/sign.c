/*
 * What the token computes with keys that never leave it, but for wrapping:
 * MACs, signatures, random bytes. Outputs have fixed room; a length that is
 * not the algorithm's is an error. A MAC is computed twice: every row is judged
 * by keys that come from one, and a token that slipped once would make all of
 * them look corrupt.
 */
#include <string.h>

#include "base/secret.h"
#include "hsm/state.h"

#define SIGN_MAX 512
#define MAC_LEN 32

/* What the token gave back; a MAC may be a key. */
struct signature {
	uint8_t bytes[SIGN_MAX];
};

static void signature_done(struct signature *signature)
{
	wipe(signature, sizeof(*signature));
}

struct sign_args {
	CK_OBJECT_CLASS class;
	CK_MECHANISM_TYPE mechanism;
	const struct kt_id *cka_id;
	const void *data;
	size_t len;
	uint8_t *ret;
	size_t ret_len; /* what it must be */
};

static enum kt_err sign(struct session *s, const struct sign_args *args,
			struct signature *ret)
{
	CK_MECHANISM mechanism = {args->mechanism, NULL, 0};
	CK_ULONG len = sizeof(ret->bytes);
	CK_OBJECT_HANDLE key;

	TRY(object_find(s, args->class, args->cka_id, &key));
	TRY(CALL(s, C_SignInit, &mechanism, key));
	TRY(CALL(s, C_Sign, (void *)args->data, args->len, ret->bytes, &len));
	if (len != args->ret_len)
		return err_raise(KT_ERR_TOKEN, "C_Sign: %lu bytes, not %zu",
				 len, args->ret_len);
	return KT_OK;
}

static enum kt_err sign_op(struct session *s, void *arg)
{
	CLEANUP(signature_done) struct signature signature;
	const struct sign_args *args = arg;

	TRY(sign(s, args, &signature));
	memcpy(args->ret, signature.bytes, args->ret_len);
	return KT_OK;
}

static enum kt_err mac_op(struct session *s, void *arg)
{
	CLEANUP(signature_done) struct signature mac, again;
	const struct sign_args *args = arg;

	TRY(sign(s, args, &mac));
	TRY(sign(s, args, &again));
	if (memcmp(mac.bytes, again.bytes, args->ret_len) != 0)
		return err_raise(KT_ERR_TOKEN,
				 "C_Sign: two MACs of the same data differ");
	memcpy(args->ret, mac.bytes, args->ret_len);
	return KT_OK;
}

enum kt_err token_mac(struct token *token, const struct kt_id *cka_id,
		      const void *data, size_t len, uint8_t ret[32])
{
	struct sign_args args = {
		CKO_SECRET_KEY, CKM_SHA256_HMAC, cka_id, data, len, ret,
		MAC_LEN};

	return token_retry(token, mac_op, &args);
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
