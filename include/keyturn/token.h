/*
 * Tokens beyond PKCS#11: preparing one in a TPM, through keyturn's own module
 * keyturn-tpm2.so, and the evidence that such a token gives of its keys.
 */
#ifndef KEYTURN_TOKEN_H
#define KEYTURN_TOKEN_H

#include <keyturn/vault.h>

#define KT_NONCE_MAX 32

/* Files hold an authorisation of the TPM, at most 32 bytes; NULL says empty
 * for the present ones and "leave it" for the new ones. */
struct kt_tpm_setup {
	const char *module; /* path or p11-kit name; NULL: keyturn-tpm2 */
	size_t slot;       /* its place in the module's configuration, from 0 */
	const char *label; /* 1 to 32 bytes */
	uint32_t pcrs;     /* bit n: the user PIN works in this state of PCR n
			    * only */
	struct kt_pin_source so_pin, pin;
	const char *owner_file, *new_owner_file;
	const char *lockout_file, *new_lockout_file;
};

/* Checks the TPM, sets its authorisations, makes the token and its PINs, and
 * proves the user's by a login. KT_ERR_EXISTS where a token stands already;
 * nothing is written to a TPM that has too few slots. */
enum kt_err kt_tpm_set_up(const struct kt_tpm_setup *setup,
			  struct kt_token_info *ret);

/* One file of evidence: "certify.attest" ... Borrowed for the call. */
struct kt_evidence {
	const char *name;
	const uint8_t *data;
	size_t len;
};

/* What shows an auditor that a key on the token was born in its TPM, signed
 * over the nonce (1 to KT_NONCE_MAX bytes); of a destroyed key the certificate
 * of its destruction. version 0: the active one. KT_ERR_NOT_FOUND: no such key;
 * KT_ERR_TOKEN: a token that gives no evidence. */
enum kt_err kt_token_attest(struct kt_vault *vault, enum kt_key_role role,
			    int64_t version, const uint8_t *nonce,
			    size_t nonce_len,
			    enum kt_err (*each)(void *arg,
						const struct kt_evidence *file),
			    void *arg);

#endif
