/*
 * The wrap mechanisms that keyturn uses, as a table. Everything that is not in
 * it is not used: CBC, ECB and PKCS#1 v1.5 have no place here.
 */
#include "hsm/mech.h"

#include <stdlib.h>

#include "hsm/tpm2/keyturn-tpm2.h"

#define AES CKK_AES, CKM_AES_KEY_GEN
#define SECRET CKK_GENERIC_SECRET, CKM_GENERIC_SECRET_KEY_GEN

static const struct mech mechs[KT_WRAP_MECH_MAX_] = {
	[KT_WRAP_AES_KW] = {CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP", 40, true,
			    AES},
	[KT_WRAP_AES_KWP] = {CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP", 40,
			     true, AES},
	[KT_WRAP_AES_PAD_KWP] = {CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD",
				 40, true, AES},
	/* 32 bytes and a whole block of padding, wrapped by RFC 3394. */
	[KT_WRAP_AES_PAD_PKCS7] = {CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD",
				   48, true, AES},
	/* Its key derives a key for every wrap, inside the TPM. */
	[KT_WRAP_TPM] = {CKM_KEYTURN_TPM_WRAP, "CKM_KEYTURN_TPM_WRAP", 104,
			 true, SECRET},
};

const struct mech *mech_of(enum kt_wrap_mech mech)
{
	/* A wrong number here would wrap a key by an unknown mechanism. */
	if ((unsigned)mech >= KT_WRAP_MECH_MAX_ || mechs[mech].name == NULL)
		abort();
	return &mechs[mech];
}

bool mech_is_for_projects(enum kt_wrap_mech mech)
{
	return mech_of(mech)->key_type == CKK_AES;
}
