/*
 * Raising the provider's errors.
 */
#include "hsm/tpm2/rv.h"

#include <stdarg.h>
#include <stdio.h>

CK_RV rv_raise(CK_RV rv, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	(void)err_raise(KT_ERR_FAILED, "%s", text);
	return rv;
}

CK_RV rv_memory(void)
{
	return rv_raise(CKR_HOST_MEMORY, "out of memory");
}

CK_RV rv_of(enum kt_err err)
{
	if (err == KT_OK)
		return CKR_OK;
	return err == KT_ERR_MEMORY ? CKR_HOST_MEMORY : CKR_GENERAL_ERROR;
}
