/*
 * OpenSSL behind crypto.h. The algorithms are fetched once: a fetch costs more
 * than the hash of a command.
 */
#include "hsm/tpm2/crypto.h"

#include <assert.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>

#include "base/bytes.h"
#include "base/secret.h"

struct crypto {
	OSSL_LIB_CTX *lib;
	EVP_MD *sha256;
	EVP_MAC_CTX *hmac; /* with SHA-256, without a key */
	EVP_CIPHER *cfb128, *cfb256, *gcm;
};

struct crypto_mac {
	EVP_MAC_CTX *ctx;
};

DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free)
DEFINE_CLEANUP(EVP_MAC, EVP_MAC_free)
DEFINE_CLEANUP(EVP_MAC_CTX, EVP_MAC_CTX_free)
DEFINE_CLEANUP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(OSSL_PARAM_BLD, OSSL_PARAM_BLD_free)
DEFINE_CLEANUP(OSSL_PARAM, OSSL_PARAM_free)
DEFINE_CLEANUP(BIGNUM, BN_free)

static CK_RV failed(const char *what)
{
	return rv_raise(CKR_FUNCTION_FAILED, "OpenSSL: %s failed", what);
}

void crypto_free(struct crypto *crypto)
{
	if (crypto == NULL)
		return;
	EVP_CIPHER_free(crypto->gcm);
	EVP_CIPHER_free(crypto->cfb256);
	EVP_CIPHER_free(crypto->cfb128);
	EVP_MAC_CTX_free(crypto->hmac);
	EVP_MD_free(crypto->sha256);
	OSSL_LIB_CTX_free(crypto->lib);
	free(crypto);
}

static EVP_MAC_CTX *prepare_hmac(OSSL_LIB_CTX *lib)
{
	CLEANUP(EVP_MAC_freep) EVP_MAC *mac = EVP_MAC_fetch(lib, "HMAC", NULL);
	CLEANUP(EVP_MAC_CTX_freep) EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
						 (char[]){"SHA256"}, 0),
		OSSL_PARAM_construct_end(),
	};

	if (ctx == NULL || EVP_MAC_CTX_set_params(ctx, params) != 1)
		return NULL;
	return TAKE(ctx);
}

CK_RV crypto_new(struct crypto **ret)
{
	CLEANUP(crypto_freep) struct crypto *c = calloc(1, sizeof(*c));

	if (c == NULL || (c->lib = OSSL_LIB_CTX_new()) == NULL)
		return rv_memory();
	c->sha256 = EVP_MD_fetch(c->lib, "SHA256", NULL);
	c->hmac = prepare_hmac(c->lib);
	c->cfb128 = EVP_CIPHER_fetch(c->lib, "AES-128-CFB", NULL);
	c->cfb256 = EVP_CIPHER_fetch(c->lib, "AES-256-CFB", NULL);
	c->gcm = EVP_CIPHER_fetch(c->lib, "AES-256-GCM", NULL);
	if (c->sha256 == NULL || c->hmac == NULL || c->cfb128 == NULL ||
	    c->cfb256 == NULL || c->gcm == NULL)
		return failed("loading the algorithms");
	*ret = TAKE(c);
	return CKR_OK;
}

CK_RV crypto_random(const struct crypto *crypto, uint8_t *ret, size_t len)
{
	if (RAND_priv_bytes_ex(crypto->lib, ret, len, 0) != 1)
		return failed("the random generator");
	return CKR_OK;
}

CK_RV crypto_hash(const struct crypto *crypto, const struct span *parts,
		  size_t count, uint8_t ret[HASH_LEN])
{
	CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	if (ctx == NULL || EVP_DigestInit_ex2(ctx, crypto->sha256, NULL) != 1)
		return failed("SHA-256");
	for (size_t i = 0; i < count; i++) {
		if (EVP_DigestUpdate(ctx, parts[i].data, parts[i].len) != 1)
			return failed("SHA-256");
	}
	if (EVP_DigestFinal_ex(ctx, ret, NULL) != 1)
		return failed("SHA-256");
	return CKR_OK;
}

static bool set_key(EVP_MAC_CTX *ctx, struct span key)
{
	/* A NULL key would mean "the one of before". */
	const void *bytes = key.len > 0 ? key.data : "";

	return ctx != NULL && EVP_MAC_init(ctx, bytes, key.len, NULL) == 1;
}

static CK_RV hmac_of(EVP_MAC_CTX *ctx, const struct span *parts, size_t count,
		     uint8_t ret[HASH_LEN])
{
	for (size_t i = 0; i < count; i++) {
		if (EVP_MAC_update(ctx, parts[i].data, parts[i].len) != 1)
			return failed("HMAC");
	}
	if (EVP_MAC_final(ctx, ret, NULL, HASH_LEN) != 1)
		return failed("HMAC");
	return CKR_OK;
}

CK_RV crypto_hmac(const struct crypto *crypto, struct span key,
		  const struct span *parts, size_t count, uint8_t ret[HASH_LEN])
{
	CLEANUP(EVP_MAC_CTX_freep)
	EVP_MAC_CTX *ctx = EVP_MAC_CTX_dup(crypto->hmac);

	if (!set_key(ctx, key))
		return failed("HMAC");
	return hmac_of(ctx, parts, count, ret);
}

void crypto_mac_free(struct crypto_mac *mac)
{
	if (mac == NULL)
		return;
	EVP_MAC_CTX_free(mac->ctx);
	free(mac);
}

CK_RV crypto_mac_new(const struct crypto *crypto, struct span key,
		     struct crypto_mac **ret)
{
	CLEANUP(crypto_mac_freep)
	struct crypto_mac *mac = calloc(1, sizeof(*mac));

	if (mac == NULL)
		return rv_memory();
	mac->ctx = EVP_MAC_CTX_dup(crypto->hmac);
	if (!set_key(mac->ctx, key))
		return failed("HMAC");
	*ret = TAKE(mac);
	return CKR_OK;
}

CK_RV crypto_mac(struct crypto_mac *mac, const struct span *parts, size_t count,
		 uint8_t ret[HASH_LEN])
{
	if (EVP_MAC_init(mac->ctx, NULL, 0, NULL) != 1)
		return failed("HMAC");
	return hmac_of(mac->ctx, parts, count, ret);
}

CK_RV crypto_hkdf(const struct crypto *crypto, struct span key,
		  struct span info, uint8_t ret[HASH_LEN])
{
	static const uint8_t no_salt[HASH_LEN];
	uint8_t prk[HASH_LEN];
	CK_RV rv;

	RV_TRY(crypto_hmac(crypto, SPAN(no_salt, sizeof(no_salt)), &key, 1,
			   prk));
	rv = crypto_hmac(crypto, SPAN(prk, sizeof(prk)),
			 SPANS(info, SPAN("\1", 1)), ret);
	wipe(prk, sizeof(prk));
	return rv;
}

CK_RV crypto_kdfa(const struct crypto *crypto, struct span key,
		  const char *label, struct span u, struct span v,
		  unsigned bits, uint8_t *ret)
{
	uint8_t block[HASH_LEN], number[4], length[4];
	size_t left = bits / 8;

	be32_put(length, bits);
	for (uint32_t i = 1; left > 0; i++) {
		size_t take = left < HASH_LEN ? left : HASH_LEN;

		be32_put(number, i);
		RV_TRY(crypto_hmac(crypto, key,
				   SPANS(SPAN(number, 4),
					 SPAN(label, strlen(label) + 1), u, v,
					 SPAN(length, 4)),
				   block));
		memcpy(ret, block, take);
		ret += take;
		left -= take;
	}
	wipe(block, sizeof(block));
	return CKR_OK;
}

CK_RV crypto_kdfe(const struct crypto *crypto, struct span z, const char *label,
		  struct span u, struct span v, uint8_t ret[HASH_LEN])
{
	static const uint8_t one[4] = {0, 0, 0, 1};

	return crypto_hash(
		crypto,
		SPANS(SPAN(one, 4), z, SPAN(label, strlen(label) + 1), u, v),
		ret);
}

CK_RV crypto_cfb(const struct crypto *crypto, enum crypto_way way,
		 unsigned bits, const uint8_t *key, const uint8_t iv[16],
		 uint8_t *data, size_t len)
{
	CLEANUP(EVP_CIPHER_CTX_freep)
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	const EVP_CIPHER *cipher =
		bits == 256 ? crypto->cfb256 : crypto->cfb128;
	int done = 0;

	if (ctx == NULL ||
	    EVP_CipherInit_ex2(ctx, cipher, key, iv, way == CRYPTO_ENCRYPT,
			       NULL) != 1 ||
	    EVP_CipherUpdate(ctx, data, &done, data, (int)len) != 1 ||
	    (size_t)done != len)
		return failed("AES-CFB");
	return CKR_OK;
}

static bool gcm_begin(const struct crypto *crypto, EVP_CIPHER_CTX *ctx,
		      enum crypto_way way, const uint8_t key[32],
		      const struct span *aad, size_t count)
{
	static const uint8_t iv[12];
	int done;

	if (ctx == NULL || EVP_CipherInit_ex2(ctx, crypto->gcm, key, iv,
					      way == CRYPTO_ENCRYPT, NULL) != 1)
		return false;
	for (size_t i = 0; i < count; i++) {
		if (aad[i].len > 0 &&
		    EVP_CipherUpdate(ctx, NULL, &done, aad[i].data,
				     (int)aad[i].len) != 1)
			return false;
	}
	return true;
}

CK_RV crypto_seal(const struct crypto *crypto, const uint8_t key[32],
		  const struct span *aad, size_t count, struct span value,
		  uint8_t *ret)
{
	CLEANUP(EVP_CIPHER_CTX_freep)
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int done = 0, rest = 0;

	if (!gcm_begin(crypto, ctx, CRYPTO_ENCRYPT, key, aad, count) ||
	    EVP_CipherUpdate(ctx, ret, &done, value.data, (int)value.len) !=
		    1 ||
	    EVP_CipherFinal_ex(ctx, ret + done, &rest) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, GCM_TAG_LEN,
				ret + value.len) != 1)
		return failed("AES-GCM");
	return CKR_OK;
}

CK_RV crypto_open(const struct crypto *crypto, const uint8_t key[32],
		  const struct span *aad, size_t count, struct span sealed,
		  uint8_t *ret)
{
	CLEANUP(EVP_CIPHER_CTX_freep)
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	size_t len = sealed.len - GCM_TAG_LEN;
	uint8_t tag[GCM_TAG_LEN];
	int done = 0, rest = 0;

	assert(sealed.len >= GCM_TAG_LEN);
	memcpy(tag, (const uint8_t *)sealed.data + len, sizeof(tag));
	if (!gcm_begin(crypto, ctx, CRYPTO_DECRYPT, key, aad, count) ||
	    EVP_CipherUpdate(ctx, ret, &done, sealed.data, (int)len) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, sizeof(tag), tag) !=
		    1)
		return failed("AES-GCM");
	if (EVP_CipherFinal_ex(ctx, ret + done, &rest) == 1)
		return CKR_OK;
	wipe(ret, len);
	return rv_raise(CKR_WRAPPED_KEY_INVALID, "the wrap does not open");
}

/* A public key from its parameters. */
static EVP_PKEY *key_from(const struct crypto *crypto, const char *type,
			  OSSL_PARAM_BLD *build)
{
	CLEANUP(OSSL_PARAM_freep)
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	CLEANUP(EVP_PKEY_CTX_freep)
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(crypto->lib, type, NULL);
	EVP_PKEY *key = NULL;

	if (params == NULL || ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return key;
}

static EVP_PKEY *point_key(const struct crypto *crypto, const uint8_t x[32],
			   const uint8_t y[32])
{
	CLEANUP(OSSL_PARAM_BLD_freep)
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	uint8_t point[65] = {4};

	memcpy(point + 1, x, 32);
	memcpy(point + 33, y, 32);
	if (build == NULL ||
	    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME,
					    "P-256", 0) != 1 ||
	    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY,
					     point, sizeof(point)) != 1)
		return NULL;
	return key_from(crypto, "EC", build);
}

/* Checks that the point is on the curve, as a TPM on a bus may say anything. */
static bool derive(const struct crypto *crypto, EVP_PKEY *ours, EVP_PKEY *peer,
		   uint8_t ret[32])
{
	CLEANUP(EVP_PKEY_CTX_freep)
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(crypto->lib, ours, NULL);
	size_t len = 32;

	return ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
	       EVP_PKEY_derive_set_peer_ex(ctx, peer, 1) == 1 &&
	       EVP_PKEY_derive(ctx, ret, &len) == 1 && len == 32;
}

CK_RV crypto_ecdh(const struct crypto *crypto, const uint8_t x[32],
		  const uint8_t y[32], struct crypto_shared *ret)
{
	CLEANUP(EVP_PKEY_freep) EVP_PKEY *peer = point_key(crypto, x, y);
	CLEANUP(EVP_PKEY_freep)
	EVP_PKEY *ours = EVP_PKEY_Q_keygen(crypto->lib, NULL, "EC", "P-256");
	uint8_t point[65];
	size_t len = 0;

	if (peer == NULL || ours == NULL ||
	    EVP_PKEY_get_octet_string_param(ours, OSSL_PKEY_PARAM_PUB_KEY,
					    point, sizeof(point), &len) != 1 ||
	    len != sizeof(point) || !derive(crypto, ours, peer, ret->z))
		return failed("ECDH");
	memcpy(ret->x, point + 1, 32);
	memcpy(ret->y, point + 33, 32);
	return CKR_OK;
}

static EVP_PKEY *modulus_key(const struct crypto *crypto, struct span modulus)
{
	CLEANUP(OSSL_PARAM_BLD_freep)
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	CLEANUP(BN_freep)
	BIGNUM *n = BN_bin2bn(modulus.data, (int)modulus.len, NULL);
	CLEANUP(BN_freep) BIGNUM *e = BN_new();

	if (build == NULL || n == NULL || e == NULL ||
	    BN_set_word(e, 65537) != 1 ||
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) != 1 ||
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) != 1)
		return NULL;
	return key_from(crypto, "RSA", build);
}

CK_RV crypto_oaep(const struct crypto *crypto, struct span modulus,
		  const char *label, struct span value, uint8_t *ret)
{
	CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = modulus_key(crypto, modulus);
	CLEANUP(EVP_PKEY_CTX_freep)
	EVP_PKEY_CTX *ctx =
		key == NULL
			? NULL
			: EVP_PKEY_CTX_new_from_pkey(crypto->lib, key, NULL);
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(
			OSSL_ASYM_CIPHER_PARAM_PAD_MODE, (char[]){"oaep"}, 0),
		OSSL_PARAM_construct_utf8_string(
			OSSL_ASYM_CIPHER_PARAM_OAEP_DIGEST, (char[]){"SHA256"},
			0),
		OSSL_PARAM_construct_octet_string(
			OSSL_ASYM_CIPHER_PARAM_OAEP_LABEL, (void *)label,
			strlen(label) + 1),
		OSSL_PARAM_construct_end(),
	};
	size_t len = modulus.len;

	if (ctx == NULL || EVP_PKEY_encrypt_init_ex(ctx, params) != 1 ||
	    EVP_PKEY_encrypt(ctx, ret, &len, value.data, value.len) != 1 ||
	    len != modulus.len)
		return failed("RSA-OAEP");
	return CKR_OK;
}
