/*
 * What keyturn-tpm2.so has beyond PKCS#11: its wrap mechanism, and functions
 * that are found by dlsym(3). Plain C over any pkcs11.h, which is included
 * before this file.
 */
#ifndef HSM_TPM2_KEYTURN_TPM2_H
#define HSM_TPM2_KEYTURN_TPM2_H

/* Wraps and unwraps secret keys with a generic secret of 32 bytes that lives
 * in the TPM (or, for trials, in a session). The blob has 72 bytes more than
 * the key. The same key, associated data and value give the same blob. The
 * parameter is NULL, or a struct ck_keyturn_tpm_wrap_params. */
#define CKM_KEYTURN_TPM_WRAP (CKM_VENDOR_DEFINED | 0x54504D01UL)

struct ck_keyturn_tpm_wrap_params {
	unsigned char *pAAD;
	unsigned long ulAADLen;
};

typedef struct ck_keyturn_tpm_wrap_params CK_KEYTURN_TPM_WRAP_PARAMS;

#endif
