/*
 * For tests of the surface over the fake token: a module that is initialised,
 * with a token in its one slot, and short words for what tests do all the
 * time. A step that must work ends the test program when it does not.
 */
#ifndef TESTS_TPM2_SURFACE_H
#define TESTS_TPM2_SURFACE_H

#include <stdbool.h>

#include <p11-kit/pkcs11.h>

#include "hsm/tpm2/keyturn-tpm2.h"

#define SURFACE_PIN "1234"
#define SURFACE_SO_PIN "5678"

#define BYTES_OF(text) (CK_BYTE *)(uintptr_t)(text), sizeof(text) - 1

extern CK_FUNCTION_LIST *p11;

/* The configuration and C_Initialize, without a token yet. */
void surface_configure(void);
void surface_start(void);
void surface_stop(void); /* and forgets the token */

/* An initialised token with both PINs. */
void surface_token(void);

CK_SESSION_HANDLE surface_session(CK_FLAGS flags);

/* A read-write session with the user logged in. */
CK_SESSION_HANDLE surface_login(void);

/* A template that grows; numbers and flags are kept in it. */
enum list_kind { LIST_BYTES, LIST_FLAG, LIST_NUMBER };

struct list {
	CK_ATTRIBUTE attr[40];
	enum list_kind kind[40];
	CK_ULONG number[40];
	CK_BBOOL flag[40];
	CK_ULONG n;
};

void list_flag(struct list *list, CK_ATTRIBUTE_TYPE type, bool value);
void list_number(struct list *list, CK_ATTRIBUTE_TYPE type, CK_ULONG value);
void list_bytes(struct list *list, CK_ATTRIBUTE_TYPE type, const void *value,
		CK_ULONG len);

/* The template, with its pointers set: the list may have been copied. */
CK_ATTRIBUTE *list_use(struct list *list);

/* Templates that make what their name says. */
struct list master_list(bool token);
struct list dek_list(void);
struct list work_list(void);

CK_RV surface_generate(CK_SESSION_HANDLE s, CK_MECHANISM_TYPE type,
		       struct list *list, CK_OBJECT_HANDLE *ret);
CK_OBJECT_HANDLE surface_master(CK_SESSION_HANDLE s);
CK_OBJECT_HANDLE surface_dek(CK_SESSION_HANDLE s);

CK_ULONG surface_count(CK_SESSION_HANDLE s, CK_ATTRIBUTE *attr, CK_ULONG n);

CK_BBOOL surface_flag(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key,
		      CK_ATTRIBUTE_TYPE type);
CK_ULONG surface_number(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key,
			CK_ATTRIBUTE_TYPE type);

#endif
