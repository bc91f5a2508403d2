/*
 * ECDSA P-256 by OpenSSL. PKCS#11 writes a signature as two plain numbers and
 * OpenSSL reads it as DER; the translation stands here.
 */
#include "core/p256.h"

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/cleanup.h"

#define POINT_LEN 65
#define NUMBER_LEN 32
#define DER_MAX 72

DEFINE_CLEANUP(BIGNUM, BN_free)
DEFINE_CLEANUP(ECDSA_SIG, ECDSA_SIG_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)

/* NULL when the point is not on the curve. */
static EVP_PKEY *key_of(const struct blob *point)
{
	CLEANUP(EVP_PKEY_CTX_freep)
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	struct blob copy = *point;
	char group[] = "prime256v1";
	EVP_PKEY *key = NULL;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
						 group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
						  copy.data, copy.len),
		OSSL_PARAM_construct_end(),
	};

	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return NULL;
	return key;
}

/* ret has room for DER_MAX; 0 when memory ran out. */
static size_t der_of(const struct blob *signature, uint8_t *ret)
{
	CLEANUP(ECDSA_SIG_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
	CLEANUP(BN_freep)
	BIGNUM *r = BN_bin2bn(signature->data, NUMBER_LEN, NULL);
	CLEANUP(BN_freep)
	BIGNUM *s = BN_bin2bn(signature->data + NUMBER_LEN, NUMBER_LEN, NULL);
	int len;

	if (sig == NULL || r == NULL || s == NULL ||
	    ECDSA_SIG_set0(sig, r, s) != 1)
		return 0;
	r = s = NULL;
	len = i2d_ECDSA_SIG(sig, &ret);
	return len > 0 ? (size_t)len : 0;
}

enum kt_err p256_verify(const struct blob *point, const uint8_t digest[32],
			const struct blob *signature)
{
	CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	CLEANUP(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = NULL;
	uint8_t der[DER_MAX];
	size_t len;

	/* OpenSSL takes hybrid points too, a second spelling of the same. */
	if (signature->len != 2 * NUMBER_LEN || point->len != POINT_LEN ||
	    point->data[0] != 4)
		return err_raise(KT_ERR_INTEGRITY,
				 "key or signature of a wrong shape");
	key = key_of(point);
	if (key == NULL)
		return err_raise(KT_ERR_INTEGRITY, "not a P-256 public key");
	ctx = EVP_PKEY_CTX_new(key, NULL);
	len = der_of(signature, der);
	if (ctx == NULL || len == 0 || EVP_PKEY_verify_init(ctx) != 1 ||
	    EVP_PKEY_CTX_set_signature_md(ctx, EVP_sha256()) != 1)
		return err_memory();
	if (EVP_PKEY_verify(ctx, der, len, digest, 32) != 1)
		return err_raise(KT_ERR_INTEGRITY,
				 "the signature does not verify");
	return KT_OK;
}
