/*
 * The wrap mechanisms that keyturn uses, as a table. Everything that is not in
 * it is not used: CBC, ECB and PKCS#1 v1.5 have no place here.
 */
#include "hsm/mech.h"

#include <stdlib.h>

static const struct mech mechs[KT_WRAP_MECH_MAX_] = {
	[KT_WRAP_AES_KW] = {CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP", 40, true},
	[KT_WRAP_AES_KWP] = {CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP", 40,
			     true},
	[KT_WRAP_AES_PAD_KWP] = {CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD",
				 40, true},
	/* 32 bytes and a whole block of padding, wrapped by RFC 3394. */
	[KT_WRAP_AES_PAD_PKCS7] = {CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD",
				   48, true},
};

const struct mech *mech_of(enum kt_wrap_mech mech)
{
	/* A wrong number here would wrap a key by an unknown mechanism. */
	if ((unsigned)mech >= KT_WRAP_MECH_MAX_ || mechs[mech].name == NULL)
		abort();
	return &mechs[mech];
}
