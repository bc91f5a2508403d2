/*
 * Sending commands and proving their answers. The parameters stay in the clear
 * in cmd->params and are encrypted in cmd->wire, so that a command can be sent
 * again with fresh nonces when the TPM asks for it.
 */
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/command.h"
#include "hsm/tpm2/session.h"

#define HEADER_LEN 10
#define PAUSE_FIRST_MS 10
#define PAUSES_MAX 9 /* doubling: about five seconds in all */

/* Places in cmd->wire, which is as large as the largest command. */
struct cursor {
	uint8_t *at;
	size_t left;
	bool full;
};

static void write_bytes(struct cursor *to, struct span bytes)
{
	if (to->full || bytes.len > to->left) {
		to->full = true;
		return;
	}
	if (bytes.len > 0)
		memcpy(to->at, bytes.data, bytes.len);
	to->at += bytes.len;
	to->left -= bytes.len;
}

static void write_number(struct cursor *to, uint32_t value, size_t width)
{
	uint8_t bytes[4];

	be32_put(bytes, value);
	write_bytes(to, SPAN(bytes + 4 - width, width));
}

static void write_2b(struct cursor *to, struct span bytes)
{
	write_number(to, (uint32_t)bytes.len, 2);
	write_bytes(to, bytes);
}

/* SHA-256(code || Names || parameters as sent): part 1, section 16.7. */
static CK_RV digest_command(const struct tpm *tpm, struct cmd *cmd,
			    struct span params)
{
	struct span parts[1 + CMD_HANDLES_MAX + 1];
	uint8_t code[4];
	size_t count = 0;

	be32_put(code, cmd->code);
	parts[count++] = SPAN(code, sizeof(code));
	for (size_t i = 0; i < cmd->handle_count; i++)
		parts[count++] =
			SPAN(cmd->handles[i]->name, cmd->handles[i]->name_len);
	parts[count++] = params;
	return crypto_hash(tpm->crypto, parts, count, cmd->command_digest);
}

/* Nonces of the sessions that encrypt, where they are not the first: the
 * first session's HMAC covers them too. */
static struct span further_nonces(const struct cmd *cmd,
				  uint8_t room[2 * HASH_LEN])
{
	static const uint8_t ways[] = {CMD_SECRET, CMD_ANSWER_SECRET};
	const struct cmd_auth *used = NULL;
	size_t len = 0;

	for (size_t way = 0; way < 2; way++) {
		for (size_t i = 1; i < cmd->auth_count; i++) {
			const struct cmd_auth *auth = &cmd->auths[i];

			if ((auth->flags & ways[way]) == 0 || auth == used)
				continue;
			memcpy(room + len, auth->session->nonce, HASH_LEN);
			len += HASH_LEN;
			used = auth;
		}
	}
	return SPAN(room, len);
}

static CK_RV write_auth(const struct tpm *tpm, struct cmd *cmd, size_t index,
			struct cursor *to)
{
	struct cmd_auth *auth = &cmd->auths[index];
	uint8_t flags = auth->flags | TPMA_SESSION_CONTINUESESSION;
	uint8_t mac[HASH_LEN], room[2 * HASH_LEN];
	struct span others = SPAN(room, 0);
	size_t mac_len = 0;

	if (auth->session == NULL) {
		write_number(to, TPM2_RS_PW, 4);
		write_2b(to, SPAN(NULL, 0));
		write_number(to, TPMA_SESSION_CONTINUESESSION, 1);
		write_2b(to, SPAN(NULL, 0));
		return CKR_OK;
	}
	if (index == 0)
		others = further_nonces(cmd, room);
	RV_TRY(session_hmac(tpm, auth, cmd->command_digest,
			    SPAN(auth->nonce, HASH_LEN),
			    SPAN(auth->session->nonce, HASH_LEN), others, flags,
			    mac, &mac_len));
	write_number(to, auth->session->handle, 4);
	write_2b(to, SPAN(auth->nonce, HASH_LEN));
	write_number(to, flags, 1);
	write_2b(to, SPAN(mac, mac_len));
	return CKR_OK;
}

static CK_RV write_auths(const struct tpm *tpm, struct cmd *cmd,
			 struct cursor *to)
{
	uint8_t *size = to->at;

	if (cmd->auth_count == 0)
		return CKR_OK;
	write_number(to, 0, 4);
	for (size_t i = 0; i < cmd->auth_count; i++)
		RV_TRY(write_auth(tpm, cmd, i, to));
	if (!to->full)
		be32_put(size, (uint32_t)(to->at - size - 4));
	return CKR_OK;
}

/* Fresh nonces, and the first parameter encrypted in params. */
static CK_RV protect(const struct tpm *tpm, struct cmd *cmd, uint8_t *params)
{
	for (size_t i = 0; i < cmd->auth_count; i++) {
		struct cmd_auth *auth = &cmd->auths[i];

		if (auth->session == NULL)
			continue;
		RV_TRY(crypto_random(tpm->crypto, auth->nonce, HASH_LEN));
		if ((auth->flags & CMD_SECRET) != 0)
			RV_TRY(session_encrypt(tpm, auth, params + 2,
					       be16_get(params)));
	}
	return digest_command(tpm, cmd, SPAN(params, cmd->len));
}

static CK_RV too_long(const struct cmd *cmd)
{
	return rv_raise(CKR_DATA_LEN_RANGE, "%s: too long", cmd->name);
}

static CK_RV build(const struct tpm *tpm, struct cmd *cmd, size_t *ret_len)
{
	struct cursor to = {cmd->wire, sizeof(cmd->wire), false};
	uint8_t params[CMD_SIZE_MAX];
	CK_RV rv;

	/* The size that its first parameter names may not be there. */
	if (cmd->broken)
		return too_long(cmd);
	memcpy(params, cmd->params, cmd->len);
	rv = protect(tpm, cmd, params);
	write_number(&to,
		     cmd->auth_count > 0 ? TPM2_ST_SESSIONS
					 : TPM2_ST_NO_SESSIONS,
		     2);
	write_number(&to, 0, 4);
	write_number(&to, cmd->code, 4);
	for (size_t i = 0; i < cmd->handle_count; i++)
		write_number(&to, cmd->handles[i]->handle, 4);
	if (rv == CKR_OK)
		rv = write_auths(tpm, cmd, &to);
	write_bytes(&to, SPAN(params, cmd->len));
	wipe(params, sizeof(params));
	RV_TRY(rv);
	if (to.full)
		return too_long(cmd);
	*ret_len = (size_t)(to.at - cmd->wire);
	be32_put(cmd->wire + 2, (uint32_t)*ret_len);
	return CKR_OK;
}

static CK_RV exchange(struct tpm *tpm, struct cmd *cmd, size_t *ret_len)
{
	size_t len = 0;
	TSS2_RC rc;

	RV_TRY(build(tpm, cmd, &len));
	tpm->commands++;
	rc = Tss2_Tcti_Transmit(tpm->tcti, len, cmd->wire);
	if (rc == TSS2_RC_SUCCESS) {
		len = sizeof(cmd->wire);
		rc = Tss2_Tcti_Receive(tpm->tcti, &len, cmd->wire,
				       TSS2_TCTI_TIMEOUT_BLOCK);
	}
	if (rc != TSS2_RC_SUCCESS)
		return tpm_failed(tpm, cmd->name, rc);
	if (len < HEADER_LEN || len > sizeof(cmd->wire) ||
	    be32_get(cmd->wire + 2) != len)
		return cmd_garbled(cmd);
	*ret_len = len;
	return CKR_OK;
}

/* The TPM did not begin and wants to be asked again. NV_RATE guards its flash
 * memory and lasts longest. */
static bool wants_again(TSS2_RC rc)
{
	return rc == TPM2_RC_RETRY || rc == TPM2_RC_YIELDED ||
	       rc == TPM2_RC_TESTING || rc == TPM2_RC_NV_RATE;
}

static void pause_before(unsigned again)
{
	long ms = (long)PAUSE_FIRST_MS << again;
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

/* Until the TPM says something else than "again". */
static CK_RV converse(struct tpm *tpm, struct cmd *cmd, size_t *ret_len)
{
	TSS2_RC rc = TSS2_RC_SUCCESS;

	for (unsigned again = 0; again < PAUSES_MAX; again++) {
		RV_TRY(exchange(tpm, cmd, ret_len));
		rc = be32_get(cmd->wire + 6);
		if (!wants_again(rc))
			break;
		pause_before(again);
	}
	if (rc != TSS2_RC_SUCCESS)
		return tpm_failed(tpm, cmd->name, rc);
	tpm->last = rc;
	return CKR_OK;
}

/* SHA-256(0 || code || parameters as received): part 1, section 16.8. */
static CK_RV digest_answer(const struct tpm *tpm, struct cmd *cmd)
{
	uint8_t head[8] = {0};

	be32_put(head + 4, cmd->code);
	return crypto_hash(
		tpm->crypto,
		SPANS(SPAN(head, sizeof(head)), SPAN(cmd->answer, cmd->left)),
		cmd->answer_digest);
}

/* One session's part of the answer. */
static CK_RV check_auth(const struct tpm *tpm, struct cmd *cmd,
			const struct cmd_auth *auth)
{
	struct span nonce = cmd_get_2b(cmd);
	uint8_t flags = cmd_get_u8(cmd);
	struct span mac = cmd_get_2b(cmd);
	uint8_t expected[HASH_LEN];
	size_t len = 0;

	if (auth->session == NULL)
		return CKR_OK;
	if (nonce.len != HASH_LEN)
		return cmd_garbled(cmd);
	RV_TRY(session_hmac(tpm, auth, cmd->answer_digest, nonce,
			    SPAN(auth->nonce, HASH_LEN), SPAN(NULL, 0), flags,
			    expected, &len));
	if (mac.len != len || CRYPTO_memcmp(mac.data, expected, len) != 0)
		return rv_raise(CKR_DEVICE_ERROR,
				"%s: the answer is not the TPM's: somebody "
				"changes what is on its bus",
				cmd->name);
	memcpy(auth->session->nonce, nonce.data, HASH_LEN);
	return CKR_OK;
}

/* They stand behind the parameters, and are read first. */
static CK_RV check_auths(const struct tpm *tpm, struct cmd *cmd,
			 struct span auths)
{
	struct span params = SPAN(cmd->answer, cmd->left);

	RV_TRY(digest_answer(tpm, cmd));
	if (cmd->answer_of != NULL)
		cmd->auths[0].of = cmd->answer_of;
	cmd->answer = auths.data;
	cmd->left = auths.len;
	for (size_t i = 0; i < cmd->auth_count; i++)
		RV_TRY(check_auth(tpm, cmd, &cmd->auths[i]));
	cmd->answer = params.data;
	cmd->left = params.len;
	return cmd_end(cmd);
}

static CK_RV reveal(const struct tpm *tpm, struct cmd *cmd)
{
	uint8_t *params = cmd->wire + (cmd->answer - cmd->wire);

	for (size_t i = 0; i < cmd->auth_count; i++) {
		if ((cmd->auths[i].flags & CMD_ANSWER_SECRET) == 0)
			continue;
		if (cmd->left < 2 || be16_get(params) > cmd->left - 2)
			return cmd_garbled(cmd);
		RV_TRY(session_decrypt(tpm, &cmd->auths[i], params + 2,
				       be16_get(params)));
	}
	return CKR_OK;
}

static CK_RV read_answer(const struct tpm *tpm, struct cmd *cmd, size_t len)
{
	size_t params;

	cmd->answer = cmd->wire + HEADER_LEN;
	cmd->left = len - HEADER_LEN;
	if (cmd->gets_handle)
		cmd->handle = cmd_get_u32(cmd);
	if (cmd->auth_count == 0)
		return cmd_end(cmd);
	params = cmd_get_u32(cmd);
	if (cmd->broken || params > cmd->left)
		return cmd_garbled(cmd);
	len = cmd->left - params;
	cmd->left = params;
	RV_TRY(check_auths(tpm, cmd, SPAN(cmd->answer + params, len)));
	return reveal(tpm, cmd);
}

CK_RV cmd_run(struct tpm *tpm, struct cmd *cmd)
{
	size_t len = 0;

	RV_TRY(converse(tpm, cmd, &len));
	return read_answer(tpm, cmd, len);
}
