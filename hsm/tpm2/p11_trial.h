/*
 * CKM_KEYTURN_TPM_WRAP with a key of a session, in software: what a program
 * tries the mechanism and its rules with before it trusts a TPM's slots to a
 * key. The blob is built as the TPM's are and opens with no key but its own.
 */
#ifndef HSM_TPM2_P11_TRIAL_H
#define HSM_TPM2_P11_TRIAL_H

#include "hsm/tpm2/p11_module.h"

/* ret has room for value->len + TPM_WRAP_OVERHEAD. */
CK_RV trial_wrap(const struct object *key, struct bytes aad,
		 const struct kt_secret *value, uint8_t *ret);

/* CKR_WRAPPED_KEY_INVALID, CKR_WRAPPED_KEY_LEN_RANGE. */
CK_RV trial_unwrap(const struct object *key, struct bytes aad,
		   struct bytes blob, struct kt_secret *ret);

#endif
