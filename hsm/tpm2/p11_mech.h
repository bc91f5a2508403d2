/*
 * The mechanisms as a table: what each does, for which keys, and whether it is
 * the TPM that does it.
 */
#ifndef HSM_TPM2_P11_MECH_H
#define HSM_TPM2_P11_MECH_H

#include <stdbool.h>
#include <stddef.h>

#include "hsm/tpm2/rv.h"

#include "hsm/tpm2/keyturn-tpm2.h"

struct mech {
	CK_MECHANISM_TYPE type;
	CK_MECHANISM_INFO info;
	bool parameter; /* it takes one */
};

extern const struct mech mechs[];
extern const size_t mechs_count;

/* CKR_MECHANISM_INVALID unless it is known and does this (CKF_WRAP ...);
 * CKR_MECHANISM_PARAM_INVALID when it has a parameter and takes none. */
CK_RV mech_check(const CK_MECHANISM *mechanism, CK_FLAGS use);

#endif
