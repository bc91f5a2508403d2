/*
 * The wrap: what stands in it and how it is derived. The nonce is synthetic,
 * an HMAC of all that goes in, so that wrapping is deterministic as AES-KW is
 * and a wrap can be proven by making it again; the key of AES-256-GCM is the
 * TPM's HMAC of the nonce and of all but the value, so that it serves one wrap.
 *
 *	0  "TPW1"  4 version  5 algorithm  6 zero, 2 bytes  8 key id, 16 bytes
 *	24 nonce, 32 bytes  56 ciphertext, as long as the value  then tag, 16
 */
#ifndef HSM_TPM2_WRAP_H
#define HSM_TPM2_WRAP_H

#include "hsm/tpm2/crypto.h"
#include "hsm/tpm2/token.h"

#define WRAP_HEADER_LEN 24
#define WRAP_NONCE_LEN 32
#define WRAP_LABEL_LEN 18
#define WRAP_INPUT_LEN                                                         \
	(4 + WRAP_LABEL_LEN + KT_ID_LEN + WRAP_NONCE_LEN + HASH_LEN + 4)

void wrap_header(const struct kt_id *key, uint8_t ret[WRAP_HEADER_LEN]);

/* CKR_WRAPPED_KEY_LEN_RANGE, CKR_WRAPPED_KEY_INVALID. */
CK_RV wrap_check(const struct kt_id *key, struct span wrap);

/* The key of nonces, from the random authorisation that only a login has. */
CK_RV wrap_siv_new(const struct crypto *crypto, struct span object_auth,
		   const struct kt_id *key, struct crypto_mac **ret);

CK_RV wrap_nonce(struct crypto_mac *siv, const struct kt_id *key,
		 struct span aad, struct span value,
		 uint8_t ret[WRAP_NONCE_LEN]);

/* What the TPM makes the key of by its HMAC: the input of a key derivation in
 * counter mode (NIST SP 800-108). It is longer than a digest and begins with
 * what no signature of ours begins with. */
CK_RV wrap_input(const struct crypto *crypto, const struct kt_id *key,
		 const uint8_t nonce[WRAP_NONCE_LEN], struct span aad,
		 uint8_t ret[WRAP_INPUT_LEN]);

/* ret has room for value.len + TPM_WRAP_OVERHEAD. */
CK_RV wrap_seal(const struct crypto *crypto, const uint8_t kek[HASH_LEN],
		const struct kt_id *key, const uint8_t nonce[WRAP_NONCE_LEN],
		struct span aad, struct span value, uint8_t *ret);

/* wrap has passed wrap_check(). */
CK_RV wrap_open(const struct crypto *crypto, const uint8_t kek[HASH_LEN],
		struct crypto_mac *siv, const struct kt_id *key,
		struct span aad, struct span wrap, struct kt_secret *ret);

#endif
