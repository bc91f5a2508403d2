/*
 * The functions of PKCS#11 2.40 as a table, for macros that make something of
 * each: X(name, parameters, arguments, output). The output is what a rule may
 * damage: a buffer with its length, a list with its count, or a struct or
 * handle of fixed size. C_GetFunctionList is missing, for it is the module's
 * own.
 */
#ifndef P11FAULT_FUNCTIONS_H
#define P11FAULT_FUNCTIONS_H

#include <stddef.h>

#include <p11-kit/pkcs11.h>

struct output {
	void *data;
	CK_ULONG *count; /* of units; NULL: one, always */
	size_t unit;
};

#define NO_OUTPUT ((struct output){NULL, NULL, 0})
#define BUFFER(data, len) ((struct output){(data), (len), 1})
#define LIST(data, count) ((struct output){(data), (count), sizeof(*(data))})
#define FIXED(data) ((struct output){(data), NULL, sizeof(*(data))})

/* Shapes that several functions have. */
#define BEGINS(X, name)                                                        \
	X(name, (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE key), \
	  (s, m, key), NO_OUTPUT)
#define TURNS(X, name)                                                         \
	X(name,                                                                \
	  (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len, CK_BYTE * out,  \
	   CK_ULONG * len),                                                    \
	  (s, in, in_len, out, len), BUFFER(out, len))
#define TAKES_IN(X, name)                                                      \
	X(name, (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len),          \
	  (s, in, in_len), NO_OUTPUT)
#define GIVES_OUT(X, name)                                                     \
	X(name, (CK_SESSION_HANDLE s, CK_BYTE * out, CK_ULONG * len),          \
	  (s, out, len), BUFFER(out, len))
#define HAS_SESSION(X, name) X(name, (CK_SESSION_HANDLE s), (s), NO_OUTPUT)

#define GENERAL_FUNCTIONS(X)                                                   \
	X(C_Initialize, (void *init), (init), NO_OUTPUT)                       \
	X(C_Finalize, (void *reserved), (reserved), NO_OUTPUT)                 \
	X(C_GetInfo, (CK_INFO * info), (info), FIXED(info))                    \
	X(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID * slots, CK_ULONG * n), \
	  (present, slots, n), LIST(slots, n))                                 \
	X(C_GetSlotInfo, (CK_SLOT_ID slot, CK_SLOT_INFO * info), (slot, info), \
	  FIXED(info))                                                         \
	X(C_WaitForSlotEvent, (CK_FLAGS flags, CK_SLOT_ID * slot, void *p),    \
	  (flags, slot, p), FIXED(slot))

#define TOKEN_FUNCTIONS(X)                                                     \
	X(C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO * info),             \
	  (slot, info), FIXED(info))                                           \
	X(C_GetMechanismList,                                                  \
	  (CK_SLOT_ID slot, CK_MECHANISM_TYPE * types, CK_ULONG * n),          \
	  (slot, types, n), LIST(types, n))                                    \
	X(C_GetMechanismInfo,                                                  \
	  (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO * info), \
	  (slot, type, info), FIXED(info))                                     \
	X(C_InitToken,                                                         \
	  (CK_SLOT_ID slot, CK_BYTE * pin, CK_ULONG len, CK_BYTE * label),     \
	  (slot, pin, len, label), NO_OUTPUT)                                  \
	X(C_InitPIN, (CK_SESSION_HANDLE s, CK_BYTE * pin, CK_ULONG len),       \
	  (s, pin, len), NO_OUTPUT)                                            \
	X(C_SetPIN,                                                            \
	  (CK_SESSION_HANDLE s, CK_BYTE * old, CK_ULONG old_len,               \
	   CK_BYTE * pin, CK_ULONG len),                                       \
	  (s, old, old_len, pin, len), NO_OUTPUT)

#define SESSION_FUNCTIONS(X)                                                   \
	X(C_OpenSession,                                                       \
	  (CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,       \
	   CK_SESSION_HANDLE *session),                                        \
	  (slot, flags, app, notify, session), FIXED(session))                 \
	HAS_SESSION(X, C_CloseSession)                                         \
	X(C_CloseAllSessions, (CK_SLOT_ID slot), (slot), NO_OUTPUT)            \
	X(C_GetSessionInfo, (CK_SESSION_HANDLE s, CK_SESSION_INFO * info),     \
	  (s, info), FIXED(info))                                              \
	GIVES_OUT(X, C_GetOperationState)                                      \
	X(C_SetOperationState,                                                 \
	  (CK_SESSION_HANDLE s, CK_BYTE * state, CK_ULONG len,                 \
	   CK_OBJECT_HANDLE encrypts, CK_OBJECT_HANDLE signs),                 \
	  (s, state, len, encrypts, signs), NO_OUTPUT)                         \
	X(C_Login,                                                             \
	  (CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_BYTE * pin,              \
	   CK_ULONG len),                                                      \
	  (s, user, pin, len), NO_OUTPUT)                                      \
	HAS_SESSION(X, C_Logout)                                               \
	HAS_SESSION(X, C_GetFunctionStatus)                                    \
	HAS_SESSION(X, C_CancelFunction)

#define OBJECT_FUNCTIONS(X)                                                    \
	X(C_CreateObject,                                                      \
	  (CK_SESSION_HANDLE s, CK_ATTRIBUTE * t, CK_ULONG n,                  \
	   CK_OBJECT_HANDLE * object),                                         \
	  (s, t, n, object), FIXED(object))                                    \
	X(C_CopyObject,                                                        \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE from, CK_ATTRIBUTE * t,       \
	   CK_ULONG n, CK_OBJECT_HANDLE * object),                             \
	  (s, from, t, n, object), FIXED(object))                              \
	X(C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object),     \
	  (s, object), NO_OUTPUT)                                              \
	X(C_GetObjectSize,                                                     \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object, CK_ULONG * size),     \
	  (s, object, size), FIXED(size))                                      \
	X(C_GetAttributeValue,                                                 \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object, CK_ATTRIBUTE * t,     \
	   CK_ULONG n),                                                        \
	  (s, object, t, n),                                                   \
	  n > 0 ? BUFFER(t->pValue, &t->ulValueLen) : NO_OUTPUT)               \
	X(C_SetAttributeValue,                                                 \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object, CK_ATTRIBUTE * t,     \
	   CK_ULONG n),                                                        \
	  (s, object, t, n), NO_OUTPUT)                                        \
	X(C_FindObjectsInit,                                                   \
	  (CK_SESSION_HANDLE s, CK_ATTRIBUTE * t, CK_ULONG n), (s, t, n),      \
	  NO_OUTPUT)                                                           \
	X(C_FindObjects,                                                       \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE * objects, CK_ULONG max,      \
	   CK_ULONG * n),                                                      \
	  (s, objects, max, n), LIST(objects, n))                              \
	HAS_SESSION(X, C_FindObjectsFinal)

#define CRYPTO_FUNCTIONS(X)                                                    \
	BEGINS(X, C_EncryptInit)                                               \
	TURNS(X, C_Encrypt)                                                    \
	TURNS(X, C_EncryptUpdate)                                              \
	GIVES_OUT(X, C_EncryptFinal)                                           \
	BEGINS(X, C_DecryptInit)                                               \
	TURNS(X, C_Decrypt)                                                    \
	TURNS(X, C_DecryptUpdate)                                              \
	GIVES_OUT(X, C_DecryptFinal)                                           \
	X(C_DigestInit, (CK_SESSION_HANDLE s, CK_MECHANISM * m), (s, m),       \
	  NO_OUTPUT)                                                           \
	TURNS(X, C_Digest)                                                     \
	TAKES_IN(X, C_DigestUpdate)                                            \
	X(C_DigestKey, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key), (s, key),  \
	  NO_OUTPUT)                                                           \
	GIVES_OUT(X, C_DigestFinal)                                            \
	BEGINS(X, C_SignInit)                                                  \
	TURNS(X, C_Sign)                                                       \
	TAKES_IN(X, C_SignUpdate)                                              \
	GIVES_OUT(X, C_SignFinal)                                              \
	BEGINS(X, C_SignRecoverInit)                                           \
	TURNS(X, C_SignRecover)                                                \
	BEGINS(X, C_VerifyInit)                                                \
	X(C_Verify,                                                            \
	  (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len,                 \
	   CK_BYTE * signature, CK_ULONG len),                                 \
	  (s, in, in_len, signature, len), NO_OUTPUT)                          \
	TAKES_IN(X, C_VerifyUpdate)                                            \
	TAKES_IN(X, C_VerifyFinal)                                             \
	BEGINS(X, C_VerifyRecoverInit)                                         \
	TURNS(X, C_VerifyRecover)                                              \
	TURNS(X, C_DigestEncryptUpdate)                                        \
	TURNS(X, C_DecryptDigestUpdate)                                        \
	TURNS(X, C_SignEncryptUpdate)                                          \
	TURNS(X, C_DecryptVerifyUpdate)

#define KEY_FUNCTIONS(X)                                                       \
	X(C_GenerateKey,                                                       \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_ATTRIBUTE * t,            \
	   CK_ULONG n, CK_OBJECT_HANDLE * key),                                \
	  (s, m, t, n, key), FIXED(key))                                       \
	X(C_GenerateKeyPair,                                                   \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_ATTRIBUTE * pub,          \
	   CK_ULONG pub_n, CK_ATTRIBUTE * priv, CK_ULONG priv_n,               \
	   CK_OBJECT_HANDLE * pub_key, CK_OBJECT_HANDLE * priv_key),           \
	  (s, m, pub, pub_n, priv, priv_n, pub_key, priv_key),                 \
	  FIXED(priv_key))                                                     \
	X(C_WrapKey,                                                           \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE wrapping,   \
	   CK_OBJECT_HANDLE key, CK_BYTE * out, CK_ULONG * len),               \
	  (s, m, wrapping, key, out, len), BUFFER(out, len))                   \
	X(C_UnwrapKey,                                                         \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE unwrapping, \
	   CK_BYTE * in, CK_ULONG in_len, CK_ATTRIBUTE * t, CK_ULONG n,        \
	   CK_OBJECT_HANDLE * key),                                            \
	  (s, m, unwrapping, in, in_len, t, n, key), FIXED(key))               \
	X(C_DeriveKey,                                                         \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE base,       \
	   CK_ATTRIBUTE * t, CK_ULONG n, CK_OBJECT_HANDLE * key),              \
	  (s, m, base, t, n, key), FIXED(key))                                 \
	TAKES_IN(X, C_SeedRandom)                                              \
	X(C_GenerateRandom,                                                    \
	  (CK_SESSION_HANDLE s, CK_BYTE * out, CK_ULONG len), (s, out, len),   \
	  ((struct output){out, NULL, len}))

#define FUNCTIONS(X)                                                           \
	GENERAL_FUNCTIONS(X)                                                   \
	TOKEN_FUNCTIONS(X)                                                     \
	SESSION_FUNCTIONS(X)                                                   \
	OBJECT_FUNCTIONS(X)                                                    \
	CRYPTO_FUNCTIONS(X)                                                    \
	KEY_FUNCTIONS(X)

#define ENUMERATOR(name, ...) FN_##name,
enum function { FUNCTIONS(ENUMERATOR) FN_MAX_ };

#endif
