/*
 * Sessions of our own making. What is derived here follows part 1 of the TPM
 * library specification: session keys and salts 19.6, HMAC 19.4.3 and 19.6.5,
 * parameter encryption 21.3.
 */
#include "hsm/tpm2/session.h"

#include <string.h>

#include <tss2/tss2_mu.h>

#include "base/bytes.h"
#include "base/secret.h"

#define VALUE_MAX (HASH_LEN + 64)

void session_wipe(struct tpm_session *session)
{
	kt_secret_done(&session->key);
	wipe(session, sizeof(*session));
}

/* A TPM drops zeros at the end of an authorisation before it uses it. */
static size_t without_zeros(struct span auth)
{
	const uint8_t *bytes = auth.data;

	while (auth.len > 0 && bytes[auth.len - 1] == 0)
		auth.len--;
	return auth.len;
}

/* Session key, then the authorisation of what is authorised. */
static size_t session_value(const struct cmd_auth *auth, bool with_auth,
			    uint8_t ret[VALUE_MAX])
{
	size_t len = auth->session->key.len;

	if (len > 0)
		memcpy(ret, auth->session->key.data, len);
	if (with_auth && auth->of != NULL) {
		size_t extra = without_zeros(auth->of->auth);

		if (extra > 0)
			memcpy(ret + len, auth->of->auth.data, extra);
		len += extra;
	}
	return len;
}

CK_RV session_hmac(const struct tpm *tpm, const struct cmd_auth *auth,
		   const uint8_t digest[HASH_LEN], struct span newer,
		   struct span older, struct span others, uint8_t flags,
		   uint8_t ret[HASH_LEN], size_t *ret_len)
{
	const struct tpm_session *session = auth->session;
	uint8_t key[VALUE_MAX];
	size_t len = session_value(
		auth, !session->policy || session->auth_value, key);
	CK_RV rv;

	if (len == 0 && session->policy) {
		*ret_len = 0;
		return CKR_OK;
	}
	rv = crypto_hmac(tpm->crypto, SPAN(key, len),
			 SPANS(SPAN(digest, HASH_LEN), newer, older, others,
			       SPAN(&flags, 1)),
			 ret);
	wipe(key, sizeof(key));
	if (rv == CKR_OK)
		*ret_len = HASH_LEN;
	return rv;
}

static CK_RV cipher(const struct tpm *tpm, const struct cmd_auth *auth,
		    enum crypto_way way, struct span newer, struct span older,
		    uint8_t *data, size_t len)
{
	unsigned bits = auth->session->bits;
	uint8_t value[VALUE_MAX], material[32 + 16];
	size_t value_len = session_value(auth, true, value);
	CK_RV rv;

	rv = crypto_kdfa(tpm->crypto, SPAN(value, value_len), "CFB", newer,
			 older, bits + 128, material);
	if (rv == CKR_OK)
		rv = crypto_cfb(tpm->crypto, way, bits, material,
				material + bits / 8, data, len);
	wipe(value, sizeof(value));
	wipe(material, sizeof(material));
	return rv;
}

CK_RV session_encrypt(const struct tpm *tpm, const struct cmd_auth *auth,
		      uint8_t *data, size_t len)
{
	return cipher(tpm, auth, CRYPTO_ENCRYPT, SPAN(auth->nonce, HASH_LEN),
		      SPAN(auth->session->nonce, HASH_LEN), data, len);
}

CK_RV session_decrypt(const struct tpm *tpm, const struct cmd_auth *auth,
		      uint8_t *data, size_t len)
{
	return cipher(tpm, auth, CRYPTO_DECRYPT,
		      SPAN(auth->session->nonce, HASH_LEN),
		      SPAN(auth->nonce, HASH_LEN), data, len);
}

/* What StartAuthSession carries: the salt for us, its cipher for the TPM. */
struct salt {
	uint8_t salt[HASH_LEN];
	uint8_t sealed[TPM_PUBLIC_MAX];
	size_t len;
	unsigned bits;
};

static CK_RV salt_by_ecdh(const struct tpm *tpm, const TPMS_ECC_POINT *point,
			  struct salt *ret)
{
	uint8_t x[32] = {0}, y[32] = {0};
	struct crypto_shared shared;
	CK_RV rv;

	if (point->x.size > 32 || point->y.size > 32)
		return rv_raise(CKR_DEVICE_ERROR, "SRK: not on P-256");
	memcpy(x + 32 - point->x.size, point->x.buffer, point->x.size);
	memcpy(y + 32 - point->y.size, point->y.buffer, point->y.size);
	RV_TRY(crypto_ecdh(tpm->crypto, x, y, &shared));
	rv = crypto_kdfe(tpm->crypto, SPAN(shared.z, 32), "SECRET",
			 SPAN(shared.x, 32), SPAN(x, 32), ret->salt);
	wipe(shared.z, sizeof(shared.z));
	be16_put(ret->sealed, 32);
	memcpy(ret->sealed + 2, shared.x, 32);
	be16_put(ret->sealed + 34, 32);
	memcpy(ret->sealed + 36, shared.y, 32);
	ret->len = 68;
	return rv;
}

static CK_RV salt_by_rsa(const struct tpm *tpm,
			 const TPM2B_PUBLIC_KEY_RSA *modulus, struct salt *ret)
{
	if (modulus->size > sizeof(ret->sealed))
		return rv_raise(CKR_DEVICE_ERROR, "SRK: RSA key too large");
	RV_TRY(crypto_random(tpm->crypto, ret->salt, sizeof(ret->salt)));
	ret->len = modulus->size;
	return crypto_oaep(tpm->crypto, SPAN(modulus->buffer, modulus->size),
			   "SECRET", SPAN(ret->salt, sizeof(ret->salt)),
			   ret->sealed);
}

static CK_RV make_salt(const struct tpm *tpm, const struct tpm_public *public,
		       struct salt *ret)
{
	TPMT_PUBLIC key = {0};
	size_t at = 0;

	if (Tss2_MU_TPMT_PUBLIC_Unmarshal(public->data, public->len, &at,
					  &key) != TSS2_RC_SUCCESS)
		return rv_raise(CKR_DEVICE_ERROR, "SRK: not a public area");
	if (key.type == TPM2_ALG_ECC) {
		ret->bits = key.parameters.eccDetail.symmetric.keyBits.aes;
		return salt_by_ecdh(tpm, &key.unique.ecc, ret);
	}
	ret->bits = key.parameters.rsaDetail.symmetric.keyBits.aes;
	return salt_by_rsa(tpm, &key.unique.rsa, ret);
}

static void put_start(struct cmd *cmd, enum session_kind kind,
		      const uint8_t nonce[HASH_LEN], const struct salt *salt)
{
	cmd_put_2b(cmd, SPAN(nonce, HASH_LEN));
	cmd_put_2b(cmd, SPAN(salt->sealed, salt->len));
	cmd_put_u8(cmd, kind == SESSION_POLICY ? TPM2_SE_POLICY : TPM2_SE_HMAC);
	if (salt->bits == 0) {
		cmd_put_u16(cmd, TPM2_ALG_NULL);
	} else {
		cmd_put_u16(cmd, TPM2_ALG_AES);
		cmd_put_u16(cmd, (uint16_t)salt->bits);
		cmd_put_u16(cmd, TPM2_ALG_CFB);
	}
	cmd_put_u16(cmd, TPM2_ALG_SHA256);
}

static CK_RV derive_key(const struct tpm *tpm, const struct salt *salt,
			const uint8_t ours[HASH_LEN],
			struct tpm_session *session)
{
	if (salt->len == 0)
		return CKR_OK;
	RV_TRY(rv_of(secret_new(HASH_LEN, &session->key)));
	session->bits = salt->bits;
	return crypto_kdfa(tpm->crypto, SPAN(salt->salt, HASH_LEN), "ATH",
			   SPAN(session->nonce, HASH_LEN), SPAN(ours, HASH_LEN),
			   HASH_LEN * 8, session->key.data);
}

static CK_RV read_start(struct tpm *tpm, struct cmd *cmd,
			const struct salt *salt, const uint8_t ours[HASH_LEN],
			struct tpm_session *session)
{
	struct span theirs = cmd_get_2b(cmd);

	RV_TRY(cmd_end(cmd));
	if (theirs.len != HASH_LEN)
		return rv_raise(CKR_DEVICE_ERROR, "%s: wrong nonce", cmd->name);
	memcpy(session->nonce, theirs.data, HASH_LEN);
	return derive_key(tpm, salt, ours, session);
}

static CK_RV begin(struct tpm *tpm, struct cmd *cmd, const struct salt *salt,
		   enum session_kind kind, struct tpm_session *ret)
{
	CLEANUP(session_wipe) struct tpm_session session = {0};
	uint8_t nonce[HASH_LEN];
	CK_RV rv;

	RV_TRY(crypto_random(tpm->crypto, nonce, sizeof(nonce)));
	put_start(cmd, kind, nonce, salt);
	cmd->gets_handle = true;
	RV_TRY(cmd_run(tpm, cmd));
	session.handle = cmd->handle;
	session.policy = kind == SESSION_POLICY;
	rv = read_start(tpm, cmd, salt, nonce, &session);
	if (rv != CKR_OK) {
		session_end(tpm, &session);
		return rv;
	}
	*ret = session;
	session = (struct tpm_session){0};
	return CKR_OK;
}

CK_RV session_start(struct tpm *tpm, enum session_kind kind,
		    const struct tpm_object *key,
		    const struct tpm_public *public, struct tpm_session *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(StartAuthSession);
	struct tpm_object none = tpm_permanent(TPM2_RH_NULL, SPAN(NULL, 0));
	struct salt salt = {0};
	CK_RV rv;

	if (key != NULL)
		RV_TRY(make_salt(tpm, public, &salt));
	cmd_handle(&cmd, key != NULL ? key : &none);
	cmd_handle(&cmd, &none);
	rv = begin(tpm, &cmd, &salt, kind, ret);
	wipe(&salt, sizeof(salt));
	return rv;
}

/* The answer is of no use: a session that is gone is what we want. */
void session_end(struct tpm *tpm, struct tpm_session *session)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(FlushContext);
	TSS2_RC last = tpm->last;

	if (session->handle != 0 && tpm->tcti != NULL && !tpm->gone) {
		struct err_saved saved;

		err_save(KT_ERR_FAILED, &saved);
		cmd_put_u32(&cmd, session->handle);
		(void)cmd_run(tpm, &cmd);
		(void)err_restore(&saved);
		tpm->last = last;
	}
	session_wipe(session);
}

CK_RV session_main(struct tpm *tpm, struct tpm_session **ret)
{
	if (tpm->session.handle == 0)
		RV_TRY(session_start(tpm, SESSION_HMAC, &tpm->srk,
				     &tpm->srk_public, &tpm->session));
	*ret = &tpm->session;
	return CKR_OK;
}
