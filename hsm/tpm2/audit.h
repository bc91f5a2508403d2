/*
 * An audit session: the TPM digests the commands that run in it and their
 * answers, and signs the digest at the end. What was digested is kept, so that
 * an auditor can compute the digest and read what it says.
 */
#ifndef HSM_TPM2_AUDIT_H
#define HSM_TPM2_AUDIT_H

#include "hsm/tpm2/session.h"

#define AUDIT_LOG_MAX 2048

struct audit {
	struct tpm_session session;
	uint8_t log[AUDIT_LOG_MAX];
	size_t len;
	bool full;
};

CK_RV audit_start(struct tpm *tpm, struct audit *ret);
void audit_end(struct tpm *tpm, struct audit *audit);

/* Adds the session to a command that is otherwise complete. */
void audit_command(struct audit *audit, struct cmd *cmd);

/* Logs a command that ran: two records, each a 4-byte length and the bytes of
 * which the TPM digested the SHA-256. */
void audit_log(struct audit *audit, const struct cmd *cmd);

/* Shows in the audited session that nothing is at handle. */
CK_RV audit_absence(struct tpm *tpm, struct audit *audit, uint32_t handle,
		    bool *ret_absent);

#endif
