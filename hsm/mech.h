/*
 * What a wrap mechanism is to a token and what it makes of a 32-byte key.
 */
#ifndef HSM_MECH_H
#define HSM_MECH_H

#include "hsm/p11.h"

struct mech {
	CK_MECHANISM_TYPE type;
	const char *name;   /* "CKM_AES_KEY_WRAP" */
	CK_ULONG size;      /* of a wrapped 32-byte key */
	bool deterministic; /* the same key gives the same bytes */

	/* Keys that wrap by it, and what makes them. */
	CK_KEY_TYPE key_type;
	CK_MECHANISM_TYPE generator;
};

/* Project keys are AES keys, whatever their master is. */
bool mech_is_for_projects(enum kt_wrap_mech mech);

/* Static; never NULL. KT_WRAP_NONE is not a mechanism: a programming error. */
const struct mech *mech_of(enum kt_wrap_mech mech);

#endif
