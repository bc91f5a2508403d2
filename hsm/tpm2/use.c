/*
 * Keys at work: one TPM command for a wrap, an unwrap, a MAC of a short text
 * or a signature. That command is sent at once where all that it needs is in
 * memory, and where it fails, again under the lock of the folder, which says
 * what happened meanwhile: the token begun anew, the key destroyed, our session
 * flushed by another process.
 */
#include <string.h>

#include "base/secret.h"
#include "hsm/tpm2/command.h"
#include "hsm/tpm2/state.h"
#include "hsm/tpm2/wrap.h"

#define BUFFER_MAX 1024 /* of TPM2B_MAX_BUFFER, on every TPM */

struct use;

typedef CK_RV use_op(struct tpm_token *token, const struct held_key *key,
		     const struct use *use);

struct use {
	const struct kt_id *id;
	enum tpm_kind kind;
	struct span aad, in;
	uint8_t *ret;
	struct kt_secret *ret_secret;
	use_op *with;
	bool settled;
};

static CK_RV with_key(struct tpm_token *token, const struct held_key *key,
		      const struct use *use)
{
	if (key->kind != use->kind)
		return rv_raise(CKR_KEY_TYPE_INCONSISTENT,
				"the key is of another kind");
	return use->with(token, key, use);
}

/* What is wrong with a wrap or an argument is not asked of the TPM again. */
static bool is_settled(const struct tpm_token *token, CK_RV rv)
{
	return rv == CKR_OK || token->tpm->last == TSS2_RC_SUCCESS;
}

static CK_RV at_once(struct tpm_token *token, void *arg)
{
	struct use *use = arg;
	const struct held_key *key = keys_held(token, use->id);
	CK_RV rv;

	if (key == NULL || use->in.len > BUFFER_MAX)
		return CKR_OK;
	token->tpm->last = TSS2_RC_SUCCESS;
	rv = with_key(token, key, use);
	use->settled = is_settled(token, rv);
	return rv;
}

static CK_RV once(struct tpm_token *token, const struct use *use)
{
	const struct held_key *key = NULL;

	RV_TRY(keys_hold(token, use->id, &key));
	return with_key(token, key, use);
}

static CK_RV under_lock(struct tpm_token *token, void *arg)
{
	const struct use *use = arg;
	CK_RV rv;

	token->tpm->last = TSS2_RC_SUCCESS;
	rv = once(token, use);
	if (is_settled(token, rv))
		return rv;
	RV_TRY(keys_after_failure(token, use->id, rv));
	return once(token, use);
}

static CK_RV run(struct tpm_token *token, struct use *use)
{
	CK_RV rv = token_try(token, at_once, use);

	return use->settled ? rv : token_run_user(token, under_lock, use);
}

static CK_RV get_mac(struct cmd *cmd, uint8_t ret[HASH_LEN])
{
	struct span mac = cmd_get_2b(cmd);

	RV_TRY(cmd_end(cmd));
	if (mac.len != HASH_LEN)
		return rv_raise(CKR_DEVICE_ERROR, "a MAC of %zu bytes",
				mac.len);
	memcpy(ret, mac.data, HASH_LEN);
	return CKR_OK;
}

static CK_RV hmac_short(struct tpm *tpm, const struct tpm_object *key,
			struct span data, uint8_t ret[HASH_LEN])
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(HMAC);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, key);
	cmd_auth(&cmd, main, key, CMD_SECRET | CMD_ANSWER_SECRET);
	cmd_put_2b(&cmd, data);
	cmd_put_u16(&cmd, TPM2_ALG_SHA256);
	RV_TRY(cmd_run(tpm, &cmd));
	return get_mac(&cmd, ret);
}

static CK_RV kek_of(struct tpm_token *token, const struct held_key *key,
		    const struct use *use, const uint8_t nonce[WRAP_NONCE_LEN],
		    uint8_t ret[HASH_LEN])
{
	uint8_t input[WRAP_INPUT_LEN];

	RV_TRY(wrap_input(token->tpm->crypto, use->id, nonce, use->aad, input));
	return hmac_short(token->tpm, &key->object, SPAN(input, sizeof(input)),
			  ret);
}

static CK_RV wrap(struct tpm_token *token, const struct held_key *key,
		  const struct use *use)
{
	const struct crypto *crypto = token->tpm->crypto;
	uint8_t nonce[WRAP_NONCE_LEN], kek[HASH_LEN];
	CK_RV rv;

	RV_TRY(wrap_nonce(key->siv, use->id, use->aad, use->in, nonce));
	rv = kek_of(token, key, use, nonce, kek);
	if (rv == CKR_OK)
		rv = wrap_seal(crypto, kek, use->id, nonce, use->aad, use->in,
			       use->ret);
	wipe(kek, sizeof(kek));
	return rv;
}

static CK_RV unwrap(struct tpm_token *token, const struct held_key *key,
		    const struct use *use)
{
	const uint8_t *bytes = use->in.data;
	uint8_t kek[HASH_LEN];
	CK_RV rv;

	RV_TRY(wrap_check(use->id, use->in));
	rv = kek_of(token, key, use, bytes + WRAP_HEADER_LEN, kek);
	if (rv == CKR_OK)
		rv = wrap_open(token->tpm->crypto, kek, key->siv, use->id,
			       use->aad, use->in, use->ret_secret);
	wipe(kek, sizeof(kek));
	return rv;
}

static CK_RV check_aad(size_t len)
{
	if (len > TPM_AAD_MAX)
		return rv_raise(CKR_MECHANISM_PARAM_INVALID,
				"associated data of more than %d bytes",
				TPM_AAD_MAX);
	return CKR_OK;
}

CK_RV tpm_key_wrap(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t *aad, size_t aad_len, const uint8_t *value,
		   size_t len, uint8_t *ret)
{
	struct use use = {.id = id,
			  .kind = TPM_KEY_WRAP,
			  .aad = SPAN(aad, aad_len),
			  .in = SPAN(value, len),
			  .ret = ret,
			  .with = wrap};

	RV_TRY(check_aad(aad_len));
	if (len == 0 || len > TPM_WRAP_VALUE_MAX)
		return rv_raise(CKR_KEY_SIZE_RANGE,
				"a wrapped key has 1 to %d bytes",
				TPM_WRAP_VALUE_MAX);
	return run(token, &use);
}

CK_RV tpm_key_unwrap(struct tpm_token *token, const struct kt_id *id,
		     const uint8_t *aad, size_t aad_len, const uint8_t *bytes,
		     size_t len, struct kt_secret *ret)
{
	struct use use = {.id = id,
			  .kind = TPM_KEY_WRAP,
			  .aad = SPAN(aad, aad_len),
			  .in = SPAN(bytes, len),
			  .ret_secret = ret,
			  .with = unwrap};

	RV_TRY(check_aad(aad_len));
	return run(token, &use);
}

/* A sequence object holds the HMAC of a text that is too long for one
 * command; its authorisation is empty, as it dies with its last command. */
static CK_RV sequence_start(struct tpm *tpm, const struct tpm_object *key,
			    struct tpm_object *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(HMAC_Start);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, key);
	cmd_auth(&cmd, main, key, CMD_SECRET);
	cmd_put_2b(&cmd, SPAN(NULL, 0));
	cmd_put_u16(&cmd, TPM2_ALG_SHA256);
	cmd.gets_handle = true;
	RV_TRY(cmd_run(tpm, &cmd));
	/* Sequence objects have the Empty Buffer for a Name. */
	*ret = (struct tpm_object){.handle = cmd.handle};
	return CKR_OK;
}

static CK_RV sequence_update(struct tpm *tpm, const struct tpm_object *sequence,
			     struct span part)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(SequenceUpdate);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, sequence);
	cmd_auth(&cmd, main, sequence, CMD_SECRET);
	cmd_put_2b(&cmd, part);
	return cmd_run(tpm, &cmd);
}

static CK_RV sequence_complete(struct tpm *tpm,
			       const struct tpm_object *sequence,
			       struct span part, uint8_t ret[HASH_LEN])
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(SequenceComplete);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, sequence);
	cmd_auth(&cmd, main, sequence, CMD_SECRET | CMD_ANSWER_SECRET);
	cmd_put_2b(&cmd, part);
	cmd_put_u32(&cmd, TPM2_RH_NULL);
	RV_TRY(cmd_run(tpm, &cmd));
	return get_mac(&cmd, ret);
}

static CK_RV sequence(struct tpm *tpm, const struct tpm_object *object,
		      struct span data, uint8_t ret[HASH_LEN])
{
	const uint8_t *at = data.data;

	for (; data.len > BUFFER_MAX; data.len -= BUFFER_MAX) {
		RV_TRY(sequence_update(tpm, object, SPAN(at, BUFFER_MAX)));
		at += BUFFER_MAX;
	}
	return sequence_complete(tpm, object, SPAN(at, data.len), ret);
}

static CK_RV hmac(struct tpm_token *token, const struct held_key *key,
		  const struct use *use)
{
	struct tpm_object object = {0};
	CK_RV rv;

	if (use->in.len <= BUFFER_MAX)
		return hmac_short(token->tpm, &key->object, use->in, use->ret);
	RV_TRY(sequence_start(token->tpm, &key->object, &object));
	rv = sequence(token->tpm, &object, use->in, use->ret);
	if (rv != CKR_OK)
		object_flush(token->tpm, &object);
	return rv;
}

CK_RV tpm_key_hmac(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t *data, size_t len, uint8_t ret[TPM_MAC_LEN])
{
	struct use use = {.id = id,
			  .kind = TPM_KEY_HMAC,
			  .in = SPAN(data, len),
			  .ret = ret,
			  .with = hmac};

	return run(token, &use);
}

/* TPMT_SIG_SCHEME and, as the key is not restricted, no proof that the TPM
 * made the digest: a null ticket. */
static CK_RV sign(struct tpm_token *token, const struct held_key *key,
		  const struct use *use)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(Sign);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(token->tpm, &main));
	cmd_handle(&cmd, &key->object);
	cmd_auth(&cmd, main, &key->object, CMD_SECRET);
	cmd_put_2b(&cmd, use->in);
	cmd_put_u16(&cmd, TPM2_ALG_NULL);
	cmd_put_u16(&cmd, TPM2_ST_HASHCHECK);
	cmd_put_u32(&cmd, TPM2_RH_NULL);
	cmd_put_u16(&cmd, 0);
	RV_TRY(cmd_run(token->tpm, &cmd));
	return cmd_get_signature(&cmd, use->ret);
}

CK_RV tpm_key_sign(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t digest[TPM_DIGEST_LEN],
		   uint8_t ret[TPM_SIGNATURE_LEN])
{
	struct use use = {.id = id,
			  .kind = TPM_KEY_EC,
			  .in = SPAN(digest, TPM_DIGEST_LEN),
			  .ret = ret,
			  .with = sign};

	return run(token, &use);
}
