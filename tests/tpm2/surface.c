/*
 * The configuration names a TPM that is not there: the token is the fake one.
 */
#include "tests/tpm2/surface.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/tpm2/fake_token.h"

CK_FUNCTION_LIST *p11;

static char path[64];

static void must(CK_RV rv, const char *what)
{
	if (rv == CKR_OK)
		return;
	fprintf(stderr, "surface: %s: 0x%lx %s\n", what, rv, kt_err_detail());
	abort();
}

void surface_configure(void)
{
	FILE *f;

	snprintf(path, sizeof(path), "/tmp/keyturn-tpm2-%ld.yaml",
		 (long)getpid());
	f = fopen(path, "w");
	if (f == NULL ||
	    fputs("tokens:\n- tcti: none\n  state: /nowhere\n", f) < 0 ||
	    fclose(f) != 0 || setenv("KEYTURN_TPM2_CONF", path, 1) != 0)
		abort();
	must(C_GetFunctionList(&p11), "C_GetFunctionList");
}

void surface_start(void)
{
	surface_configure();
	must(p11->C_Initialize(NULL), "C_Initialize");
}

void surface_stop(void)
{
	must(p11->C_Finalize(NULL), "C_Finalize");
	fake_token_forget();
	unlink(path);
}

void surface_token(void)
{
	CK_UTF8CHAR label[32];
	CK_SESSION_HANDLE s;

	memset(label, ' ', sizeof(label));
	memcpy(label, "test", 4);
	must(p11->C_InitToken(0, BYTES_OF(SURFACE_SO_PIN), label),
	     "C_InitToken");
	s = surface_session(CKF_RW_SESSION);
	must(p11->C_Login(s, CKU_SO, BYTES_OF(SURFACE_SO_PIN)), "C_Login");
	must(p11->C_InitPIN(s, BYTES_OF(SURFACE_PIN)), "C_InitPIN");
	must(p11->C_CloseSession(s), "C_CloseSession");
}

CK_SESSION_HANDLE surface_session(CK_FLAGS flags)
{
	CK_SESSION_HANDLE s;

	must(p11->C_OpenSession(0, flags | CKF_SERIAL_SESSION, NULL, NULL, &s),
	     "C_OpenSession");
	return s;
}

CK_SESSION_HANDLE surface_login(void)
{
	CK_SESSION_HANDLE s = surface_session(CKF_RW_SESSION);

	must(p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN)), "C_Login");
	return s;
}

CK_ATTRIBUTE *list_use(struct list *list)
{
	for (CK_ULONG i = 0; i < list->n; i++) {
		if (list->kind[i] == LIST_FLAG)
			list->attr[i].pValue = &list->flag[i];
		if (list->kind[i] == LIST_NUMBER)
			list->attr[i].pValue = &list->number[i];
	}
	return list->attr;
}

static CK_ULONG place(const struct list *list, CK_ATTRIBUTE_TYPE type)
{
	CK_ULONG i = 0;

	while (i < list->n && list->attr[i].type != type)
		i++;
	return i;
}

static void put(struct list *list, CK_ULONG at, enum list_kind kind,
		CK_ATTRIBUTE attr)
{
	list->attr[at] = attr;
	list->kind[at] = kind;
	if (at == list->n)
		list->n++;
}

void list_flag(struct list *list, CK_ATTRIBUTE_TYPE type, bool value)
{
	CK_ULONG at = place(list, type);

	list->flag[at] = value ? CK_TRUE : CK_FALSE;
	put(list, at, LIST_FLAG, (CK_ATTRIBUTE){type, NULL, sizeof(CK_BBOOL)});
}

void list_number(struct list *list, CK_ATTRIBUTE_TYPE type, CK_ULONG value)
{
	CK_ULONG at = place(list, type);

	list->number[at] = value;
	put(list, at, LIST_NUMBER,
	    (CK_ATTRIBUTE){type, NULL, sizeof(CK_ULONG)});
}

void list_bytes(struct list *list, CK_ATTRIBUTE_TYPE type, const void *value,
		CK_ULONG len)
{
	put(list, place(list, type), LIST_BYTES,
	    (CK_ATTRIBUTE){type, (void *)value, len});
}

struct list master_list(bool token)
{
	struct list list = {0};

	list_number(&list, CKA_CLASS, CKO_SECRET_KEY);
	list_number(&list, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
	list_number(&list, CKA_VALUE_LEN, 32);
	list_flag(&list, CKA_TOKEN, token);
	list_flag(&list, CKA_SENSITIVE, true);
	list_flag(&list, CKA_EXTRACTABLE, false);
	list_flag(&list, CKA_WRAP, true);
	list_flag(&list, CKA_UNWRAP, true);
	return list;
}

struct list dek_list(void)
{
	struct list list = {0};

	list_number(&list, CKA_VALUE_LEN, 32);
	list_flag(&list, CKA_EXTRACTABLE, true);
	list_flag(&list, CKA_ENCRYPT, true);
	list_flag(&list, CKA_DECRYPT, true);
	return list;
}

struct list work_list(void)
{
	struct list list = {0};

	list_number(&list, CKA_CLASS, CKO_SECRET_KEY);
	list_number(&list, CKA_KEY_TYPE, CKK_AES);
	list_flag(&list, CKA_ENCRYPT, true);
	list_flag(&list, CKA_DECRYPT, true);
	return list;
}

CK_RV surface_generate(CK_SESSION_HANDLE s, CK_MECHANISM_TYPE type,
		       struct list *list, CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {type, NULL, 0};

	return p11->C_GenerateKey(s, &mechanism, list_use(list), list->n, ret);
}

CK_OBJECT_HANDLE surface_master(CK_SESSION_HANDLE s)
{
	struct list list = master_list(true);
	CK_OBJECT_HANDLE key;

	must(surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &key),
	     "a master");
	return key;
}

CK_OBJECT_HANDLE surface_dek(CK_SESSION_HANDLE s)
{
	struct list list = dek_list();
	CK_OBJECT_HANDLE key;

	must(surface_generate(s, CKM_AES_KEY_GEN, &list, &key), "a data key");
	return key;
}

CK_ULONG surface_count(CK_SESSION_HANDLE s, CK_ATTRIBUTE *attr, CK_ULONG n)
{
	CK_OBJECT_HANDLE found[64];
	CK_ULONG count;

	must(p11->C_FindObjectsInit(s, attr, n), "C_FindObjectsInit");
	must(p11->C_FindObjects(s, found, 64, &count), "C_FindObjects");
	must(p11->C_FindObjectsFinal(s), "C_FindObjectsFinal");
	return count;
}

CK_BBOOL surface_flag(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key,
		      CK_ATTRIBUTE_TYPE type)
{
	CK_BBOOL value = 7;
	CK_ATTRIBUTE attr = {type, &value, sizeof(value)};

	must(p11->C_GetAttributeValue(s, key, &attr, 1), "a flag");
	return value;
}

CK_ULONG surface_number(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key,
			CK_ATTRIBUTE_TYPE type)
{
	CK_ULONG value = 7;
	CK_ATTRIBUTE attr = {type, &value, sizeof(value)};

	must(p11->C_GetAttributeValue(s, key, &attr, 1), "a number");
	return value;
}
