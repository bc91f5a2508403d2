/*
 * One TPM command: built piece by piece, run, its answer read piece by piece.
 *
 *	CLEANUP(cmd_done) struct cmd cmd = CMD(Unseal);
 *	cmd_handle(&cmd, &object);
 *	cmd_auth(&cmd, session, &object, CMD_ANSWER_SECRET);
 *	RV_TRY(cmd_run(tpm, &cmd));
 *	cmd_get_2b(&cmd, &data);
 *	return cmd_end(&cmd);
 *
 * What does not fit, or is not there, is remembered and comes out of cmd_run()
 * or cmd_end(); the pieces in between need no checks.
 */
#ifndef HSM_TPM2_COMMAND_H
#define HSM_TPM2_COMMAND_H

#include "hsm/tpm2/tpm.h"

#define CMD_SIZE_MAX 4096
#define CMD_HANDLES_MAX 3
#define CMD_AUTHS_MAX 3

/* Beside "continue", which every session of ours has. */
#define CMD_PLAIN 0
#define CMD_SECRET TPMA_SESSION_DECRYPT        /* the first parameter */
#define CMD_ANSWER_SECRET TPMA_SESSION_ENCRYPT /* of the answer */
#define CMD_AUDIT TPMA_SESSION_AUDIT

struct cmd_auth {
	struct tpm_session *session; /* NULL: the empty password */
	const struct tpm_object *of; /* NULL: for no handle */
	uint8_t flags;
	uint8_t nonce[HASH_LEN]; /* ours */
};

struct cmd {
	const char *name;
	uint32_t code;
	const struct tpm_object *handles[CMD_HANDLES_MAX];
	size_t handle_count;
	struct cmd_auth auths[CMD_AUTHS_MAX];
	size_t auth_count;
	/* Authorises the answer in the place of auths[0].of, when the command
	 * changed its authorisation. */
	const struct tpm_object *answer_of;
	bool gets_handle; /* the answer begins with a handle */
	uint32_t handle;
	bool broken;
	uint8_t params[CMD_SIZE_MAX];
	size_t len;
	uint8_t wire[CMD_SIZE_MAX]; /* as sent, then as received */
	const uint8_t *answer;      /* parameters, decrypted */
	size_t left;
	/* What an audit session digests, of the last run. */
	uint8_t command_digest[HASH_LEN], answer_digest[HASH_LEN];
};

#define CMD(what)                                                              \
	{                                                                      \
		.name = "TPM2_" #what, .code = TPM2_CC_##what                  \
	}

/* For CLEANUP: wipes. */
void cmd_done(struct cmd *cmd);

/* object lives until the command has run. */
void cmd_handle(struct cmd *cmd, const struct tpm_object *object);
void cmd_auth(struct cmd *cmd, struct tpm_session *session,
	      const struct tpm_object *of, uint8_t flags);

void cmd_put_u8(struct cmd *cmd, uint8_t value);
void cmd_put_u16(struct cmd *cmd, uint16_t value);
void cmd_put_u32(struct cmd *cmd, uint32_t value);
void cmd_put_u64(struct cmd *cmd, uint64_t value);
void cmd_put(struct cmd *cmd, struct span bytes);
void cmd_put_2b(struct cmd *cmd, struct span bytes); /* with its size */

/* Waits and sends again where the TPM asks for that. */
CK_RV cmd_run(struct tpm *tpm, struct cmd *cmd);

uint8_t cmd_get_u8(struct cmd *cmd);
uint16_t cmd_get_u16(struct cmd *cmd);
uint32_t cmd_get_u32(struct cmd *cmd);
uint64_t cmd_get_u64(struct cmd *cmd);
struct span cmd_get(struct cmd *cmd, size_t len); /* lives as cmd does */
struct span cmd_get_2b(struct cmd *cmd);

/* TPMT_SIGNATURE by ECDSA P-256 with SHA-256, as r || s. */
CK_RV cmd_get_signature(struct cmd *cmd, uint8_t ret[TPM_SIGNATURE_LEN]);

/* CKR_DEVICE_ERROR when the answer was shorter than what was read. */
CK_RV cmd_end(struct cmd *cmd);

/* That error. */
CK_RV cmd_garbled(const struct cmd *cmd);

#endif
