/*
 * What keyturn-tpm2.so has beyond PKCS#11: its wrap mechanism, and functions
 * that are found by dlsym(3). Plain C over any pkcs11.h that is included before
 * this file, p11-kit's where none is.
 */
#ifndef HSM_TPM2_KEYTURN_TPM2_H
#define HSM_TPM2_KEYTURN_TPM2_H

#ifndef CKM_VENDOR_DEFINED
#include <p11-kit/pkcs11.h>
#endif

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

/* In words, what failed last in the calling thread, or "". Valid until the
 * thread's next call. */
typedef const char *keyturn_tpm2_error_fn(void);
keyturn_tpm2_error_fn keyturn_tpm2_error;

/* What only the TPM's owner can do; before C_InitToken on the same slot, in
 * the same process. Authorisations are at most 32 bytes; NULL says empty for
 * the present ones, "leave it" for the new ones. Checks algorithms, the SRK
 * and free slots before anything is written. */
struct keyturn_tpm2_provision {
	const unsigned char *owner, *new_owner, *lockout, *new_lockout;
	unsigned long owner_len, new_owner_len, lockout_len, new_lockout_len;
	unsigned long pcrs; /* bit n: bind the user PIN to PCR n */
	unsigned long keys; /* slots that must be free; 0: the default */
};

typedef CK_RV keyturn_tpm2_provision_fn(
	CK_SLOT_ID slot, const struct keyturn_tpm2_provision *provision);
keyturn_tpm2_provision_fn keyturn_tpm2_provision;

/* The evidence of the key with this CKA_ID, file by file: of one that is
 * there, certified anew with the nonce (1 to 32 bytes); of a destroyed one,
 * what its destruction left. Stops at the first answer of file that is not
 * CKR_OK and returns it. CKR_KEY_HANDLE_INVALID: no such key, ever. */
typedef CK_RV keyturn_tpm2_file_fn(void *arg, const char *name,
				   const unsigned char *data,
				   unsigned long len);
typedef CK_RV keyturn_tpm2_attest_fn(CK_SESSION_HANDLE session,
				     const unsigned char *id,
				     unsigned long id_len,
				     const unsigned char *nonce,
				     unsigned long nonce_len,
				     keyturn_tpm2_file_fn *file, void *arg);
keyturn_tpm2_attest_fn keyturn_tpm2_attest;

#endif
