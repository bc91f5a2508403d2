/*
 * Sessions (TPM library specification, part 1, sections 17 to 19): HMAC over
 * every command and answer, and encryption of the first parameter either way.
 */
#ifndef HSM_TPM2_SESSION_H
#define HSM_TPM2_SESSION_H

#include "hsm/tpm2/command.h"

/* For CLEANUP: wipes memory; the TPM's side is flushed by session_end(). */
void session_wipe(struct tpm_session *session);

enum session_kind { SESSION_HMAC, SESSION_POLICY };

/* Salted to key, so that a listener on the bus cannot try PINs at home. key
 * NULL: no salt, for policies that carry no authorisation. */
CK_RV session_start(struct tpm *tpm, enum session_kind kind,
		    const struct tpm_object *key,
		    const struct tpm_public *public, struct tpm_session *ret);

/* Flushes, if there is something to flush, and wipes. Raises nothing. */
void session_end(struct tpm *tpm, struct tpm_session *session);

/* The connection's own session, started where there is none. */
CK_RV session_main(struct tpm *tpm, struct tpm_session **ret);

/* Encrypts the first parameter, which is at data, for the TPM. */
CK_RV session_encrypt(const struct tpm *tpm, const struct cmd_auth *auth,
		      uint8_t *data, size_t len);
CK_RV session_decrypt(const struct tpm *tpm, const struct cmd_auth *auth,
		      uint8_t *data, size_t len);

/* The HMAC of a command or an answer; *ret_len is 0 for a session without any
 * key. others: nonces of further sessions that encrypt. */
CK_RV session_hmac(const struct tpm *tpm, const struct cmd_auth *auth,
		   const uint8_t digest[HASH_LEN], struct span newer,
		   struct span older, struct span others, uint8_t flags,
		   uint8_t ret[HASH_LEN], size_t *ret_len);

#endif
