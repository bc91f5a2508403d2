/*
 * What this provider does not do. Each function is there, and says so to a
 * session that is open; a NULL in the list would be a crash of the host.
 */
#include "hsm/tpm2/p11_module.h"

static CK_RV unsupported(CK_SESSION_HANDLE handle)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	return rv_raise(CKR_FUNCTION_NOT_SUPPORTED,
			"this provider does not do that");
}

/* Left over from a time when functions could run in parallel. */
static CK_RV not_parallel(CK_SESSION_HANDLE handle)
{
	CK_RV rv = unsupported(handle);

	return rv == CKR_FUNCTION_NOT_SUPPORTED ? CKR_FUNCTION_NOT_PARALLEL
						: rv;
}

CK_RV C_GetOperationState(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_SetOperationState(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG,
			  CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)
{
	return unsupported(handle);
}

CK_RV C_DigestInit(CK_SESSION_HANDLE handle, CK_MECHANISM *)
{
	return unsupported(handle);
}

CK_RV C_Digest(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG, CK_BYTE *,
	       CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_DigestUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG)
{
	return unsupported(handle);
}

CK_RV C_DigestKey(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE)
{
	return unsupported(handle);
}

CK_RV C_DigestFinal(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_SignRecoverInit(CK_SESSION_HANDLE handle, CK_MECHANISM *,
			CK_OBJECT_HANDLE)
{
	return unsupported(handle);
}

CK_RV C_SignRecover(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG, CK_BYTE *,
		    CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_VerifyRecoverInit(CK_SESSION_HANDLE handle, CK_MECHANISM *,
			  CK_OBJECT_HANDLE)
{
	return unsupported(handle);
}

CK_RV C_VerifyRecover(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG, CK_BYTE *,
		      CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_DigestEncryptUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG,
			    CK_BYTE *, CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_DecryptDigestUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG,
			    CK_BYTE *, CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_SignEncryptUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG,
			  CK_BYTE *, CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_DecryptVerifyUpdate(CK_SESSION_HANDLE handle, CK_BYTE *, CK_ULONG,
			    CK_BYTE *, CK_ULONG *)
{
	return unsupported(handle);
}

CK_RV C_DeriveKey(CK_SESSION_HANDLE handle, CK_MECHANISM *, CK_OBJECT_HANDLE,
		  CK_ATTRIBUTE *, CK_ULONG, CK_OBJECT_HANDLE *)
{
	return unsupported(handle);
}

CK_RV C_GetFunctionStatus(CK_SESSION_HANDLE handle)
{
	return not_parallel(handle);
}

CK_RV C_CancelFunction(CK_SESSION_HANDLE handle)
{
	return not_parallel(handle);
}
