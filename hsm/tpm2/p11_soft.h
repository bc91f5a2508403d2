/*
 * Cryptography in software, for keys that live in a session: OpenSSL in a
 * library context of this module's own, so that no provider of the host's, an
 * OpenSSL engine over PKCS#11 least of all, is ever asked.
 */
#ifndef HSM_TPM2_P11_SOFT_H
#define HSM_TPM2_P11_SOFT_H

#include <keyturn/types.h>

#include "hsm/tpm2/rv.h"

#define SOFT_GCM_IV_MAX 128
#define SOFT_KW_OVERHEAD 8 /* RFC 3394 */
#define SOFT_MAC_LEN 32
#define SOFT_POINT_LEN 65 /* P-256, 04 || x || y */
#define SOFT_SIGNATURE_LEN 64

struct bytes {
	const uint8_t *data;
	size_t len;
};

struct soft_gcm {
	uint8_t iv[SOFT_GCM_IV_MAX];
	size_t iv_len;
	uint8_t *aad; /* the operation's own */
	size_t aad_len;
	size_t tag_len;
};

/* ret has room for in.len + tag_len; ciphertext, then tag. */
CK_RV soft_gcm_encrypt(const struct kt_secret *key, const struct soft_gcm *gcm,
		       struct bytes in, uint8_t *ret);

/* in.len is at least tag_len. CKR_ENCRYPTED_DATA_INVALID when it does not
 * open; nothing of the plaintext is written then. */
CK_RV soft_gcm_decrypt(const struct kt_secret *key, const struct soft_gcm *gcm,
		       struct bytes in, uint8_t *ret);

/* AES key wrap, RFC 3394. ret has room for in->len + SOFT_KW_OVERHEAD.
 * CKR_KEY_SIZE_RANGE: not whole blocks of 8 bytes, or fewer than two. */
CK_RV soft_kw_wrap(const struct kt_secret *key, const struct kt_secret *in,
		   uint8_t *ret);

/* CKR_WRAPPED_KEY_INVALID, CKR_WRAPPED_KEY_LEN_RANGE. */
CK_RV soft_kw_unwrap(const struct kt_secret *key, struct bytes in,
		     struct kt_secret *ret);

CK_RV soft_hmac(const struct kt_secret *key, struct bytes in,
		uint8_t ret[SOFT_MAC_LEN]);

/* ECDSA on P-256 over a digest; CKR_SIGNATURE_INVALID. */
CK_RV soft_verify(const uint8_t point[SOFT_POINT_LEN], struct bytes digest,
		  const uint8_t signature[SOFT_SIGNATURE_LEN]);

#endif
