/*
 * Making and opening wraps, but for the one step that the TPM does.
 */
#include "hsm/tpm2/wrap.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/bytes.h"
#include "base/secret.h"

#define MAGIC "TPW1"
#define VERSION 1
#define ALGORITHM 1 /* TPM2_HMAC-SHA-256, AES-256-GCM */
#define SIV_LABEL "keyturn tpm siv 1"
#define KEK_LABEL "keyturn tpm wrap 1"

_Static_assert(sizeof(KEK_LABEL) - 1 == WRAP_LABEL_LEN, "length of a label");
_Static_assert(WRAP_HEADER_LEN + WRAP_NONCE_LEN + GCM_TAG_LEN ==
		       TPM_WRAP_OVERHEAD,
	       "length of a wrap");

void wrap_header(const struct kt_id *key, uint8_t ret[WRAP_HEADER_LEN])
{
	memcpy(ret, MAGIC, 4);
	ret[4] = VERSION;
	ret[5] = ALGORITHM;
	ret[6] = 0;
	ret[7] = 0;
	memcpy(ret + 8, key->bytes, KT_ID_LEN);
}

CK_RV wrap_check(const struct kt_id *key, struct span wrap)
{
	uint8_t header[WRAP_HEADER_LEN];

	if (wrap.len <= TPM_WRAP_OVERHEAD ||
	    wrap.len > TPM_WRAP_OVERHEAD + TPM_WRAP_VALUE_MAX)
		return rv_raise(CKR_WRAPPED_KEY_LEN_RANGE,
				"a wrap of %zu bytes", wrap.len);
	wrap_header(key, header);
	if (memcmp(wrap.data, header, 8) != 0)
		return rv_raise(CKR_WRAPPED_KEY_INVALID,
				"not a wrap of this provider");
	if (memcmp(wrap.data, header, sizeof(header)) != 0)
		return rv_raise(CKR_WRAPPED_KEY_INVALID,
				"a wrap of another key");
	return CKR_OK;
}

CK_RV wrap_siv_new(const struct crypto *crypto, struct span object_auth,
		   const struct kt_id *key, struct crypto_mac **ret)
{
	uint8_t info[sizeof(SIV_LABEL) - 1 + KT_ID_LEN], siv[HASH_LEN];
	CK_RV rv;

	memcpy(info, SIV_LABEL, sizeof(SIV_LABEL) - 1);
	memcpy(info + sizeof(SIV_LABEL) - 1, key->bytes, KT_ID_LEN);
	rv = crypto_hkdf(crypto, object_auth, SPAN(info, sizeof(info)), siv);
	if (rv == CKR_OK)
		rv = crypto_mac_new(crypto, SPAN(siv, sizeof(siv)), ret);
	wipe(siv, sizeof(siv));
	return rv;
}

/* Every length first, so that no two sets of parts read the same. */
CK_RV wrap_nonce(struct crypto_mac *siv, const struct kt_id *key,
		 struct span aad, struct span value,
		 uint8_t ret[WRAP_NONCE_LEN])
{
	uint8_t header[WRAP_HEADER_LEN], lengths[24];

	wrap_header(key, header);
	be64_put(lengths, sizeof(header));
	be64_put(lengths + 8, aad.len);
	be64_put(lengths + 16, value.len);
	return crypto_mac(siv,
			  SPANS(SPAN(lengths, sizeof(lengths)),
				SPAN(header, sizeof(header)), aad, value),
			  ret);
}

CK_RV wrap_input(const struct crypto *crypto, const struct kt_id *key,
		 const uint8_t nonce[WRAP_NONCE_LEN], struct span aad,
		 uint8_t ret[WRAP_INPUT_LEN])
{
	uint8_t header[WRAP_HEADER_LEN];
	uint8_t *at = ret;

	be32_put(at, 1);
	at += 4;
	memcpy(at, KEK_LABEL, WRAP_LABEL_LEN);
	at += WRAP_LABEL_LEN;
	memcpy(at, key->bytes, KT_ID_LEN);
	at += KT_ID_LEN;
	memcpy(at, nonce, WRAP_NONCE_LEN);
	at += WRAP_NONCE_LEN;
	wrap_header(key, header);
	RV_TRY(crypto_hash(crypto, SPANS(SPAN(header, sizeof(header)), aad),
			   at));
	be32_put(at + HASH_LEN, HASH_LEN * 8);
	return CKR_OK;
}

CK_RV wrap_seal(const struct crypto *crypto, const uint8_t kek[HASH_LEN],
		const struct kt_id *key, const uint8_t nonce[WRAP_NONCE_LEN],
		struct span aad, struct span value, uint8_t *ret)
{
	wrap_header(key, ret);
	memcpy(ret + WRAP_HEADER_LEN, nonce, WRAP_NONCE_LEN);
	return crypto_seal(crypto, kek, SPANS(SPAN(ret, WRAP_HEADER_LEN), aad),
			   value, ret + WRAP_HEADER_LEN + WRAP_NONCE_LEN);
}

CK_RV wrap_open(const struct crypto *crypto, const uint8_t kek[HASH_LEN],
		struct crypto_mac *siv, const struct kt_id *key,
		struct span aad, struct span wrap, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	const uint8_t *bytes = wrap.data;
	const uint8_t *sealed = bytes + WRAP_HEADER_LEN + WRAP_NONCE_LEN;
	uint8_t nonce[WRAP_NONCE_LEN];

	RV_TRY(rv_of(secret_new(wrap.len - TPM_WRAP_OVERHEAD, &value)));
	RV_TRY(crypto_open(crypto, kek,
			   SPANS(SPAN(bytes, WRAP_HEADER_LEN), aad),
			   SPAN(sealed, value.len + GCM_TAG_LEN), value.data));
	RV_TRY(wrap_nonce(siv, key, aad, SPAN(value.data, value.len), nonce));
	if (CRYPTO_memcmp(nonce, bytes + WRAP_HEADER_LEN, sizeof(nonce)) != 0)
		return rv_raise(CKR_WRAPPED_KEY_INVALID,
				"a wrap that this token did not make");
	*ret = value;
	value = (struct kt_secret){0};
	return CKR_OK;
}
