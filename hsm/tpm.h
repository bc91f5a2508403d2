/*
 * What keyturn-tpm2.so can beyond PKCS#11, found by name in the module that
 * p11-kit loaded.
 */
#ifndef HSM_TPM_H
#define HSM_TPM_H

#include <keyturn/token.h>

#include "hsm/token.h"

/* As kt_tpm_set_up(). */
enum kt_err tpm_set_up(const struct kt_tpm_setup *setup,
		       struct kt_token_info *ret);

/* Evidence of the key with this CKA_ID; the rest as kt_token_attest(). */
enum kt_err token_attest(struct token *token, const struct kt_id *cka_id,
			 const uint8_t *nonce, size_t nonce_len,
			 enum kt_err (*each)(void *arg,
					     const struct kt_evidence *file),
			 void *arg);

#endif
