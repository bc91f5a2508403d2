/*
 * The cryptography that the host does for the TPM: the two key derivations of
 * the TPM library specification (part 1, section 11.4.10), session salts,
 * parameter encryption, and the AES-GCM of wraps. All of it in an OpenSSL
 * library context of our own: the host's default one may hold a provider that
 * comes back to this module.
 */
#ifndef HSM_TPM2_CRYPTO_H
#define HSM_TPM2_CRYPTO_H

#include <keyturn/types.h>

#include "base/cleanup.h"
#include "hsm/tpm2/rv.h"

#define HASH_LEN 32 /* SHA-256 everywhere */
#define GCM_TAG_LEN 16

struct crypto;
struct crypto_mac;

/* What is hashed or authenticated, in pieces. */
struct span {
	const void *data;
	size_t len;
};

#define SPAN(data, len) ((struct span){(data), (len)})
#define SPANS(...)                                                             \
	((const struct span[]){__VA_ARGS__}),                                  \
		sizeof((const struct span[]){__VA_ARGS__}) /                   \
			sizeof(struct span)

CK_RV crypto_new(struct crypto **ret);
void crypto_free(struct crypto *crypto);
DEFINE_CLEANUP(struct crypto, crypto_free)

/* From OpenSSL's generator. */
CK_RV crypto_random(const struct crypto *crypto, uint8_t *ret, size_t len);

CK_RV crypto_hash(const struct crypto *crypto, const struct span *parts,
		  size_t count, uint8_t ret[HASH_LEN]);

CK_RV crypto_hmac(const struct crypto *crypto, struct span key,
		  const struct span *parts, size_t count,
		  uint8_t ret[HASH_LEN]);

/* The same under a key that many texts are authenticated with. Not for two
 * threads at once; the key is wiped with it. */
CK_RV crypto_mac_new(const struct crypto *crypto, struct span key,
		     struct crypto_mac **ret);
void crypto_mac_free(struct crypto_mac *mac);
DEFINE_CLEANUP(struct crypto_mac, crypto_mac_free)
CK_RV crypto_mac(struct crypto_mac *mac, const struct span *parts, size_t count,
		 uint8_t ret[HASH_LEN]);

/* HKDF-SHA-256 (RFC 5869) without salt, one block. */
CK_RV crypto_hkdf(const struct crypto *crypto, struct span key,
		  struct span info, uint8_t ret[HASH_LEN]);

/* KDFa with SHA-256: bits is a multiple of 8. */
CK_RV crypto_kdfa(const struct crypto *crypto, struct span key,
		  const char *label, struct span u, struct span v,
		  unsigned bits, uint8_t *ret);

/* KDFe with SHA-256, 256 bits. */
CK_RV crypto_kdfe(const struct crypto *crypto, struct span z, const char *label,
		  struct span u, struct span v, uint8_t ret[HASH_LEN]);

/* AES-CFB in place; bits 128 or 256. */
enum crypto_way { CRYPTO_DECRYPT, CRYPTO_ENCRYPT };
CK_RV crypto_cfb(const struct crypto *crypto, enum crypto_way way,
		 unsigned bits, const uint8_t *key, const uint8_t iv[16],
		 uint8_t *data, size_t len);

/* AES-256-GCM under a key that is used once: the IV is zero. sealed is
 * ciphertext, then tag. */
CK_RV crypto_seal(const struct crypto *crypto, const uint8_t key[32],
		  const struct span *aad, size_t count, struct span value,
		  uint8_t *ret);

/* ret has room for sealed.len - GCM_TAG_LEN; CKR_WRAPPED_KEY_INVALID. */
CK_RV crypto_open(const struct crypto *crypto, const uint8_t key[32],
		  const struct span *aad, size_t count, struct span sealed,
		  uint8_t *ret);

/* A fresh key pair against the P-256 point (x, y): both x coordinates for
 * KDFe, and our point to be sent. */
struct crypto_shared {
	uint8_t z[32];
	uint8_t x[32], y[32];
};

CK_RV crypto_ecdh(const struct crypto *crypto, const uint8_t x[32],
		  const uint8_t y[32], struct crypto_shared *ret);

/* RSA-OAEP with SHA-256 and a label, NUL included; ret has room for the
 * modulus. The public exponent is 65537. */
CK_RV crypto_oaep(const struct crypto *crypto, struct span modulus,
		  const char *label, struct span value, uint8_t *ret);

#endif
