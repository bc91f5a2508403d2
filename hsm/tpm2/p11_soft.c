/*
 * OpenSSL's EVP in a private library context. The context is made at first use
 * and lives as long as the process: operations of other threads may hold on to
 * it when a module is finalised.
 */
#include "hsm/tpm2/p11_soft.h"

#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include "base/cleanup.h"
#include "base/secret.h"

DEFINE_CLEANUP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
DEFINE_CLEANUP(EVP_CIPHER, EVP_CIPHER_free)
DEFINE_CLEANUP(EVP_MAC_CTX, EVP_MAC_CTX_free)
DEFINE_CLEANUP(EVP_MAC, EVP_MAC_free)
DEFINE_CLEANUP(EVP_PKEY_CTX, EVP_PKEY_CTX_free)
DEFINE_CLEANUP(EVP_PKEY, EVP_PKEY_free)
DEFINE_CLEANUP(ECDSA_SIG, ECDSA_SIG_free)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static OSSL_LIB_CTX *library;

static void make_library(void)
{
	library = OSSL_LIB_CTX_new();
}

static OSSL_LIB_CTX *soft_library(void)
{
	pthread_once(&once, make_library);
	return library;
}

static CK_RV failed(const char *what)
{
	return rv_raise(CKR_FUNCTION_FAILED, "OpenSSL: %s failed", what);
}

static CK_RV cipher_fetch(const char *mode, size_t key_len, EVP_CIPHER **ret)
{
	char name[32];

	if (key_len != 16 && key_len != 24 && key_len != 32)
		return rv_raise(CKR_KEY_SIZE_RANGE, "an AES key of %zu bytes",
				key_len);
	snprintf(name, sizeof(name), "AES-%zu-%s", key_len * 8, mode);
	if (soft_library() == NULL)
		return rv_memory();
	*ret = EVP_CIPHER_fetch(library, name, NULL);
	return *ret != NULL ? CKR_OK : failed(name);
}

/* enc: 1 encrypts, 0 decrypts, as OpenSSL has it. */
static CK_RV gcm_start(const struct kt_secret *key, const struct soft_gcm *gcm,
		       int enc, EVP_CIPHER_CTX *ctx)
{
	CLEANUP(EVP_CIPHER_freep) EVP_CIPHER *cipher = NULL;
	OSSL_PARAM params[2] = {OSSL_PARAM_END, OSSL_PARAM_END};
	size_t iv_len = gcm->iv_len;
	int len;

	RV_TRY(cipher_fetch("GCM", key->len, &cipher));
	params[0] = OSSL_PARAM_construct_size_t(OSSL_CIPHER_PARAM_AEAD_IVLEN,
						&iv_len);
	if (EVP_CipherInit_ex2(ctx, cipher, NULL, NULL, enc, params) != 1 ||
	    EVP_CipherInit_ex2(ctx, NULL, key->data, gcm->iv, enc, NULL) != 1)
		return failed("AES-GCM");
	if (gcm->aad_len > 0 &&
	    EVP_CipherUpdate(ctx, NULL, &len, gcm->aad, (int)gcm->aad_len) != 1)
		return failed("AES-GCM");
	return CKR_OK;
}

CK_RV soft_gcm_encrypt(const struct kt_secret *key, const struct soft_gcm *gcm,
		       struct bytes in, uint8_t *ret)
{
	CLEANUP(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = NULL;
	int len = 0, last = 0;

	ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL)
		return rv_memory();
	RV_TRY(gcm_start(key, gcm, 1, ctx));
	if ((in.len > 0 &&
	     EVP_EncryptUpdate(ctx, ret, &len, in.data, (int)in.len) != 1) ||
	    EVP_EncryptFinal_ex(ctx, ret + len, &last) != 1 ||
	    EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, (int)gcm->tag_len,
				ret + in.len) != 1)
		return failed("AES-GCM");
	return CKR_OK;
}

/* The plaintext waits in secret memory until its tag is known to be right. */
CK_RV soft_gcm_decrypt(const struct kt_secret *key, const struct soft_gcm *gcm,
		       struct bytes in, uint8_t *ret)
{
	CLEANUP(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = NULL;
	CLEANUP(kt_secret_done) struct kt_secret plain = {0};
	size_t text_len = in.len - gcm->tag_len;
	int len = 0, last = 0;

	ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL || secret_new(text_len, &plain) != KT_OK)
		return rv_memory();
	RV_TRY(gcm_start(key, gcm, 0, ctx));
	if (text_len > 0 && EVP_DecryptUpdate(ctx, plain.data, &len, in.data,
					      (int)text_len) != 1)
		return failed("AES-GCM");
	if (EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, (int)gcm->tag_len,
				(void *)(in.data + text_len)) != 1)
		return failed("AES-GCM");
	if (EVP_DecryptFinal_ex(ctx, plain.data + len, &last) != 1)
		return rv_raise(CKR_ENCRYPTED_DATA_INVALID,
				"AES-GCM: the tag is wrong");
	if (text_len > 0)
		memcpy(ret, plain.data, text_len);
	return CKR_OK;
}

static CK_RV kw_start(const struct kt_secret *key, int enc, EVP_CIPHER_CTX *ctx)
{
	CLEANUP(EVP_CIPHER_freep) EVP_CIPHER *cipher = NULL;

	RV_TRY(cipher_fetch("WRAP", key->len, &cipher));
	EVP_CIPHER_CTX_set_flags(ctx, EVP_CIPHER_CTX_FLAG_WRAP_ALLOW);
	if (EVP_CipherInit_ex2(ctx, cipher, key->data, NULL, enc, NULL) != 1)
		return failed("AES key wrap");
	return CKR_OK;
}

CK_RV soft_kw_wrap(const struct kt_secret *key, const struct kt_secret *in,
		   uint8_t *ret)
{
	CLEANUP(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = NULL;
	int len = 0;

	if (in->len < 16 || in->len % 8 != 0)
		return rv_raise(CKR_KEY_SIZE_RANGE,
				"AES key wrap of a key of %zu bytes", in->len);
	ctx = EVP_CIPHER_CTX_new();
	if (ctx == NULL)
		return rv_memory();
	RV_TRY(kw_start(key, 1, ctx));
	if (EVP_CipherUpdate(ctx, ret, &len, in->data, (int)in->len) != 1 ||
	    (size_t)len != in->len + SOFT_KW_OVERHEAD)
		return failed("AES key wrap");
	return CKR_OK;
}

CK_RV soft_kw_unwrap(const struct kt_secret *key, struct bytes in,
		     struct kt_secret *ret)
{
	CLEANUP(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *ctx = NULL;
	CLEANUP(kt_secret_done) struct kt_secret plain = {0};
	int len = 0;

	if (in.len < 24 || in.len % 8 != 0)
		return rv_raise(CKR_WRAPPED_KEY_LEN_RANGE,
				"AES key wrap: a blob of %zu bytes", in.len);
	ctx = EVP_CIPHER_CTX_new();
	/* OpenSSL wants room for the blob and writes 8 bytes less. */
	if (ctx == NULL || secret_new(in.len, &plain) != KT_OK)
		return rv_memory();
	RV_TRY(kw_start(key, 0, ctx));
	if (EVP_CipherUpdate(ctx, plain.data, &len, in.data, (int)in.len) != 1)
		return rv_raise(CKR_WRAPPED_KEY_INVALID,
				"AES key wrap: the blob is not of this key");
	if ((size_t)len != in.len - SOFT_KW_OVERHEAD)
		return failed("AES key wrap");
	secret_shrink(&plain, (size_t)len);
	*ret = plain;
	plain = (struct kt_secret){0};
	return CKR_OK;
}

CK_RV soft_hmac(const struct kt_secret *key, struct bytes in,
		uint8_t ret[SOFT_MAC_LEN])
{
	CLEANUP(EVP_MAC_freep) EVP_MAC *mac = NULL;
	CLEANUP(EVP_MAC_CTX_freep) EVP_MAC_CTX *ctx = NULL;
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest,
						 0),
		OSSL_PARAM_END,
	};
	size_t len;

	mac = EVP_MAC_fetch(soft_library(), "HMAC", NULL);
	ctx = mac != NULL ? EVP_MAC_CTX_new(mac) : NULL;
	if (ctx == NULL)
		return rv_memory();
	if (EVP_MAC_init(ctx, key->data, key->len, params) != 1 ||
	    EVP_MAC_update(ctx, in.data, in.len) != 1 ||
	    EVP_MAC_final(ctx, ret, &len, SOFT_MAC_LEN) != 1 ||
	    len != SOFT_MAC_LEN)
		return failed("HMAC-SHA-256");
	return CKR_OK;
}

static CK_RV public_key(const uint8_t point[SOFT_POINT_LEN], EVP_PKEY **ret)
{
	CLEANUP(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = NULL;
	char group[] = "P-256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
						 group, 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_PKEY_PARAM_PUB_KEY, (void *)point, SOFT_POINT_LEN),
		OSSL_PARAM_END,
	};

	ctx = EVP_PKEY_CTX_new_from_name(soft_library(), "EC", NULL);
	if (ctx == NULL)
		return rv_memory();
	if (EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, ret, EVP_PKEY_PUBLIC_KEY, params) != 1)
		return failed("the public key");
	return CKR_OK;
}

/* r || s to DER; *ret is the caller's to free. */
static int signature_der(const uint8_t signature[SOFT_SIGNATURE_LEN],
			 uint8_t **ret)
{
	CLEANUP(ECDSA_SIG_freep) ECDSA_SIG *sig = ECDSA_SIG_new();
	BIGNUM *r = BN_bin2bn(signature, SOFT_SIGNATURE_LEN / 2, NULL);
	BIGNUM *s = BN_bin2bn(signature + SOFT_SIGNATURE_LEN / 2,
			      SOFT_SIGNATURE_LEN / 2, NULL);

	if (sig == NULL || r == NULL || s == NULL ||
	    ECDSA_SIG_set0(sig, r, s) != 1) {
		BN_free(r);
		BN_free(s);
		return -1;
	}
	return i2d_ECDSA_SIG(sig, ret);
}

CK_RV soft_verify(const uint8_t point[SOFT_POINT_LEN], struct bytes digest,
		  const uint8_t signature[SOFT_SIGNATURE_LEN])
{
	CLEANUP(EVP_PKEY_freep) EVP_PKEY *key = NULL;
	CLEANUP(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = NULL;
	uint8_t *der = NULL;
	int len, verdict;

	RV_TRY(public_key(point, &key));
	ctx = EVP_PKEY_CTX_new_from_pkey(soft_library(), key, NULL);
	len = signature_der(signature, &der);
	if (ctx == NULL || len < 0)
		return rv_memory();
	verdict = EVP_PKEY_verify_init(ctx);
	if (verdict == 1)
		verdict = EVP_PKEY_verify(ctx, der, (size_t)len, digest.data,
					  digest.len);
	OPENSSL_free(der);
	return verdict == 1 ? CKR_OK
			    : rv_raise(CKR_SIGNATURE_INVALID,
				       "the signature is not of this key");
}
