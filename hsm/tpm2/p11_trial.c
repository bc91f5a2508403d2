/*
 * The layout of a blob: magic (4 bytes), version, algorithm, two of zero, the
 * key's id (16), a synthetic nonce (32), the ciphertext and its tag (16). The
 * nonce is a MAC over all that is wrapped, so equal input makes an equal blob,
 * and opening one proves it again. The ciphertext is AES-256-GCM under a key
 * that only this nonce and this associated data give.
 */
#include "hsm/tpm2/p11_trial.h"

#include <assert.h>
#include <string.h>

#include <openssl/crypto.h>

#include "base/bytes.h"
#include "base/secret.h"

#define HEADER_LEN 24
#define NONCE_LEN SOFT_MAC_LEN
#define TAG_LEN 16
#define BODY (HEADER_LEN + NONCE_LEN)

static_assert(BODY + TAG_LEN == TPM_WRAP_OVERHEAD, "the TPM's blobs");

static void put_header(const struct object *key, uint8_t ret[HEADER_LEN])
{
	static const uint8_t lead[] = {'T', 'P', 'W', '1', 1, 1, 0, 0};

	memcpy(ret, lead, sizeof(lead));
	memcpy(ret + sizeof(lead), key->id.bytes, KT_ID_LEN);
}

/* HMAC under the key over a purpose and the parts, each led by its length. */
static CK_RV mac(const struct object *key, const char *purpose,
		 const struct bytes *parts, size_t n, uint8_t ret[SOFT_MAC_LEN])
{
	CLEANUP(kt_secret_done) struct kt_secret all = {0};
	size_t len = strlen(purpose) + 1, at;

	for (size_t i = 0; i < n; i++)
		len += 8 + parts[i].len;
	RV_TRY(rv_of(secret_new(len, &all)));
	at = strlen(purpose) + 1;
	memcpy(all.data, purpose, at);
	for (size_t i = 0; i < n; i++) {
		be64_put(all.data + at, parts[i].len);
		at += 8;
		if (parts[i].len > 0)
			memcpy(all.data + at, parts[i].data, parts[i].len);
		at += parts[i].len;
	}
	return soft_hmac(&key->value, (struct bytes){all.data, all.len}, ret);
}

static CK_RV nonce_of(const struct object *key, struct bytes header,
		      struct bytes aad, const struct kt_secret *value,
		      uint8_t ret[NONCE_LEN])
{
	const struct bytes parts[] = {header, aad, {value->data, value->len}};

	return mac(key, "keyturn trial nonce 1", parts, 3, ret);
}

/* The one-time key, and the associated data of its one use. */
struct sealing {
	struct kt_secret key, aad;
	struct soft_gcm gcm;
};

static void sealing_done(struct sealing *sealing)
{
	kt_secret_done(&sealing->key);
	kt_secret_done(&sealing->aad);
}

static CK_RV sealing_init(const struct object *key, struct bytes header,
			  struct bytes nonce, struct bytes aad,
			  struct sealing *ret)
{
	const struct bytes parts[] = {header, nonce, aad};

	RV_TRY(rv_of(secret_new(SOFT_MAC_LEN, &ret->key)));
	RV_TRY(mac(key, "keyturn trial key 1", parts, 3, ret->key.data));
	RV_TRY(rv_of(secret_new(header.len + aad.len, &ret->aad)));
	memcpy(ret->aad.data, header.data, header.len);
	if (aad.len > 0)
		memcpy(ret->aad.data + header.len, aad.data, aad.len);
	ret->gcm = (struct soft_gcm){.iv_len = 12,
				     .aad = ret->aad.data,
				     .aad_len = ret->aad.len,
				     .tag_len = TAG_LEN};
	return CKR_OK;
}

CK_RV trial_wrap(const struct object *key, struct bytes aad,
		 const struct kt_secret *value, uint8_t *ret)
{
	CLEANUP(sealing_done) struct sealing sealing = {0};
	uint8_t head[BODY];
	const struct bytes header = {head, HEADER_LEN};
	const struct bytes nonce = {head + HEADER_LEN, NONCE_LEN};

	if (value->len > TPM_WRAP_VALUE_MAX)
		return rv_raise(CKR_KEY_SIZE_RANGE, "a key of %zu bytes",
				value->len);
	put_header(key, head);
	RV_TRY(nonce_of(key, header, aad, value, head + HEADER_LEN));
	RV_TRY(sealing_init(key, header, nonce, aad, &sealing));
	RV_TRY(soft_gcm_encrypt(&sealing.key, &sealing.gcm,
				(struct bytes){value->data, value->len},
				ret + BODY));
	memcpy(ret, head, BODY);
	return CKR_OK;
}

static CK_RV invalid(void)
{
	return rv_raise(CKR_WRAPPED_KEY_INVALID, "the blob is not of this key");
}

static CK_RV check_blob(const struct object *key, struct bytes blob)
{
	uint8_t header[HEADER_LEN];

	if (blob.len <= TPM_WRAP_OVERHEAD ||
	    blob.len > TPM_WRAP_OVERHEAD + TPM_WRAP_VALUE_MAX)
		return rv_raise(CKR_WRAPPED_KEY_LEN_RANGE,
				"a blob of %zu bytes", blob.len);
	put_header(key, header);
	return memcmp(header, blob.data, HEADER_LEN) == 0 ? CKR_OK : invalid();
}

CK_RV trial_unwrap(const struct object *key, struct bytes aad,
		   struct bytes blob, struct kt_secret *ret)
{
	CLEANUP(sealing_done) struct sealing sealing = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	const struct bytes header = {blob.data, HEADER_LEN};
	const struct bytes nonce = {blob.data + HEADER_LEN, NONCE_LEN};
	uint8_t again[NONCE_LEN];
	CK_RV rv;

	RV_TRY(check_blob(key, blob));
	RV_TRY(sealing_init(key, header, nonce, aad, &sealing));
	RV_TRY(rv_of(secret_new(blob.len - TPM_WRAP_OVERHEAD, &value)));
	rv = soft_gcm_decrypt(&sealing.key, &sealing.gcm,
			      (struct bytes){blob.data + BODY, blob.len - BODY},
			      value.data);
	if (rv == CKR_ENCRYPTED_DATA_INVALID)
		return invalid();
	RV_TRY(rv);
	RV_TRY(nonce_of(key, header, aad, &value, again));
	if (CRYPTO_memcmp(again, nonce.data, NONCE_LEN) != 0)
		return invalid();
	*ret = value;
	value = (struct kt_secret){0};
	return CKR_OK;
}
