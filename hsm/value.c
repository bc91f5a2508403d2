/*
 * Values sealed inside the token with AES-256-GCM under a data key that is
 * used once. What is handed out was opened again through every wrap first. GCM
 * is done in one call each way, since multi-part GCM is broken in places, with
 * the six-field parameters of PKCS#11 2.40 errata first and the five fields of
 * 2.40 after them.
 */
#include "hsm/wrap.h"

#include <stdlib.h>
#include <string.h>

#include "base/secret.h"
#include "hsm/wrap_key.h"

/* PKCS#11 2.40 as first published: no count of bits. */
struct gcm_params_short {
	CK_BYTE *iv;
	CK_ULONG iv_len;
	CK_BYTE *aad;
	CK_ULONG aad_len;
	CK_ULONG tag_bits;
};

/* Both forms over the same nonce and AAD. They must outlive the operation:
 * some tokens write their own nonce into it. */
struct gcm {
	CK_GCM_PARAMS params;
	struct gcm_params_short params_short;
};

static void gcm_init(struct gcm *gcm, uint8_t *nonce, const void *aad,
		     size_t aad_len)
{
	*gcm = (struct gcm){
		.params =
			{
				.iv_ptr = nonce,
				.iv_len = VALUE_NONCE_LEN,
				.iv_bits = VALUE_NONCE_LEN * 8,
				.aad_ptr = (CK_BYTE *)aad,
				.aad_len = aad_len,
				.tag_bits = VALUE_TAG_LEN * 8,
			},
		.params_short =
			{
				.iv = nonce,
				.iv_len = VALUE_NONCE_LEN,
				.aad = (CK_BYTE *)aad,
				.aad_len = aad_len,
				.tag_bits = VALUE_TAG_LEN * 8,
			},
	};
}

/* init: C_EncryptInit or C_DecryptInit; both have one shape. */
static enum kt_err gcm_start(struct session *s, CK_C_EncryptInit init,
			     const char *function, CK_OBJECT_HANDLE key,
			     struct gcm *gcm)
{
	CK_MECHANISM mechanism = {CKM_AES_GCM, &gcm->params,
				  sizeof(gcm->params)};
	CK_RV rv = init(s->handle, &mechanism, key);

	if (rv == CKR_ARGUMENTS_BAD || rv == CKR_MECHANISM_PARAM_INVALID) {
		mechanism.pParameter = &gcm->params_short;
		mechanism.ulParameterLen = sizeof(gcm->params_short);
		rv = init(s->handle, &mechanism, key);
	}
	return p11_result(s, function, rv);
}

void sealed_value_done(struct sealed_value *value)
{
	if (value == NULL)
		return;
	free(value->data);
	*value = (struct sealed_value){0};
}

static enum kt_err encrypt(struct session *s, CK_OBJECT_HANDLE key,
			   const void *aad, size_t aad_len,
			   const struct kt_secret *value,
			   struct sealed_value *ret)
{
	CLEANUP(sealed_value_done) struct sealed_value sealed = {0};
	CK_ULONG len = value->len + VALUE_TAG_LEN;
	struct gcm gcm;

	sealed.data = malloc(len);
	if (sealed.data == NULL)
		return err_memory();
	TRY(random_bytes(sealed.nonce, sizeof(sealed.nonce)));
	gcm_init(&gcm, sealed.nonce, aad, aad_len);
	TRY(gcm_start(s, s->p11->C_EncryptInit, "C_EncryptInit", key, &gcm));
	TRY(CALL(s, C_Encrypt, value->data, value->len, sealed.data, &len));
	if (len != value->len + VALUE_TAG_LEN)
		return err_raise(KT_ERR_TOKEN, "AES-GCM makes %lu bytes of %zu",
				 len, value->len);
	sealed.len = len;
	*ret = sealed;
	sealed.data = NULL;
	return KT_OK;
}

static enum kt_err decrypt(struct session *s, CK_OBJECT_HANDLE key,
			   const void *aad, size_t aad_len,
			   const struct sealed_value *sealed,
			   struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	uint8_t nonce[VALUE_NONCE_LEN];
	CK_ULONG len = sealed->len;
	struct gcm gcm;

	/* Room for the tag too: some modules ask for it. */
	TRY(secret_new(sealed->len, &value));
	memcpy(nonce, sealed->nonce, sizeof(nonce));
	gcm_init(&gcm, nonce, aad, aad_len);
	TRY(gcm_start(s, s->p11->C_DecryptInit, "C_DecryptInit", key, &gcm));
	TRY(CALL(s, C_Decrypt, sealed->data, sealed->len, value.data, &len));
	if (len != sealed->len - VALUE_TAG_LEN)
		return err_raise(KT_ERR_TOKEN, "AES-GCM makes %lu bytes of %zu",
				 len, sealed->len);
	secret_shrink(&value, len);
	*ret = value;
	value = (struct kt_secret){0};
	return KT_OK;
}

struct open_op {
	struct wrap_key *key;
	const struct blob *blob;
	const void *aad;
	size_t aad_len;
	const struct sealed_value *sealed;
	struct kt_secret value;
};

static enum kt_err open_once(struct session *s, struct open_op *op)
{
	CLEANUP(object_drop) struct object dek = {0};

	TRY(subject_unwrap(op->key, s, op->blob, USE_WORK, op->key->mech,
			   &dek));
	return decrypt(s, dek.handle, op->aad, op->aad_len, op->sealed,
		       &op->value);
}

/* C_Decrypt gave a code that could be the value or the token. The value is at
 * fault when the canary works and the value fails once more. */
static enum kt_err open_again(struct open_op *op)
{
	CLEANUP(session_releasep) struct session *fresh = NULL;
	struct err_saved saved;
	enum kt_err err;

	err_save(KT_ERR_TOKEN, &saved);
	if (!wrap_key_canary_works(op->key))
		return err_restore(&saved);
	TRY(session_open_own(op->key->token, &fresh));
	err = open_once(fresh, op);
	return err == KT_ERR_TOKEN && fresh->ambiguous ? KT_ERR_INTEGRITY : err;
}

static enum kt_err open_in(struct session *s, void *arg)
{
	struct open_op *op = arg;
	enum kt_err err = open_once(s, op);

	if (err == KT_ERR_TOKEN && s->ambiguous)
		err = open_again(op);
	return err == KT_ERR_INTEGRITY
		       ? err_prefix(err, "the value does not open")
		       : err;
}

static enum kt_err check_aad(size_t aad_len)
{
	if (aad_len == 0)
		return err_raise(KT_ERR_USAGE, "a value is never sealed "
					       "without associated data");
	return KT_OK;
}

enum kt_err value_open(struct wrap_key *key, const struct blob *blob,
		       const void *aad, size_t aad_len,
		       const struct sealed_value *sealed, struct kt_secret *ret)
{
	struct open_op op = {key, blob, aad, aad_len, sealed, {0}};

	TRY(check_aad(aad_len));
	if (wrap_key_subject(key) != KT_KEY_DEK)
		return err_raise(KT_ERR_POLICY,
				 "a key of role %d has no "
				 "values under it",
				 (int)key->role);
	if (sealed->len < VALUE_TAG_LEN ||
	    sealed->len > KT_VALUE_MAX + VALUE_TAG_LEN)
		return err_raise(KT_ERR_INTEGRITY,
				 "a sealed value of %zu "
				 "bytes",
				 sealed->len);
	TRY(token_retry(key->token, open_in, &op));
	*ret = op.value;
	return KT_OK;
}

struct seal_op {
	struct wrap_key *const *keys;
	size_t n;
	const void *aad;
	size_t aad_len;
	const struct kt_secret *value;
	struct blob blobs[WRAP_KEYS_MAX];
	struct sealed_value sealed;
};

/* The value as a reader will get it, through each wrap. */
static enum kt_err read_back(struct session *s, const struct seal_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		struct open_op again = {op->keys[i], &op->blobs[i], op->aad,
					op->aad_len, &op->sealed,   {0}};
		bool equal;

		TRY(open_once(s, &again));
		equal = secret_equal(&again.value, op->value);
		kt_secret_done(&again.value);
		if (!equal)
			return err_raise(KT_ERR_TOKEN,
					 "a value read back differs");
	}
	return KT_OK;
}

static enum kt_err seal_once(struct session *s, struct seal_op *op)
{
	CLEANUP(object_drop) struct object dek = {0};

	TRY(subject_generate(op->keys[0], s, &dek));
	TRY(encrypt(s, dek.handle, op->aad, op->aad_len, op->value,
		    &op->sealed));
	for (size_t i = 0; i < op->n; i++)
		TRY(subject_wrap(op->keys[i], s, dek.handle, &op->blobs[i]));
	return read_back(s, op);
}

/* No stored row is at fault when this fails: all of it is a moment old. */
static enum kt_err seal_in(struct session *s, void *arg)
{
	struct seal_op *op = arg;
	enum kt_err err;

	sealed_value_done(&op->sealed);
	err = seal_once(s, op);
	return err == KT_ERR_INTEGRITY ? err_prefix(KT_ERR_TOKEN, "a new value")
				       : err;
}

enum kt_err value_seal(struct wrap_key *const *keys, size_t n, const void *aad,
		       size_t aad_len, const struct kt_secret *value,
		       struct blob *ret_blobs, struct sealed_value *ret)
{
	struct seal_op op = {
		.keys = keys,
		.n = n,
		.aad = aad,
		.aad_len = aad_len,
		.value = value,
	};
	enum kt_err err;

	TRY(check_aad(aad_len));
	TRY(wrap_keys_check(keys, n));
	if (wrap_key_subject(keys[0]) != KT_KEY_DEK)
		return err_raise(KT_ERR_POLICY,
				 "a key of role %d wraps no "
				 "data keys",
				 (int)keys[0]->role);
	if (value->len > KT_VALUE_MAX)
		return err_raise(KT_ERR_USAGE,
				 "a value of %zu bytes: the most "
				 "is %d",
				 value->len, KT_VALUE_MAX);
	err = token_retry(keys[0]->token, seal_in, &op);
	if (err != KT_OK) {
		sealed_value_done(&op.sealed);
		return err;
	}
	memcpy(ret_blobs, op.blobs, n * sizeof(op.blobs[0]));
	*ret = op.sealed;
	return KT_OK;
}
