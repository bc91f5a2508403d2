/*
 * The provider's errors. A PKCS#11 module answers with a CK_RV; the text that
 * says why waits in base/err's detail of the calling thread, and whoever
 * loaded the module reads it with keyturn_tpm2_error().
 */
#ifndef HSM_TPM2_RV_H
#define HSM_TPM2_RV_H

#include <p11-kit/pkcs11.h>

#include "base/err.h"

#define RV_TRY(call)                                                           \
	do {                                                                   \
		CK_RV try_ = (call);                                           \
		if (try_ != CKR_OK)                                            \
			return try_;                                           \
	} while (0)

/* Sets the text, returns rv. */
CK_RV rv_raise(CK_RV rv, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* CKR_HOST_MEMORY with its text. */
CK_RV rv_memory(void);

/* What an error of the base layer is to PKCS#11; its text stays. */
CK_RV rv_of(enum kt_err err);

#endif
