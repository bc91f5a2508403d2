/*
 * The least a program can do to get at a key: load the module, initialise it,
 * find the token, log in, find the wrapping key, unwrap one blob, end. What
 * `keyturn secret get` as a whole process is compared with. Links nothing of
 * keyturn. Arguments: module, label, PIN.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST *p11;

static int failed(const char *what)
{
	fprintf(stderr, "bare: %s failed\n", what);
	return EXIT_FAILURE;
}

static CK_SLOT_ID find_slot(const char *label)
{
	CK_SLOT_ID slots[64];
	CK_ULONG count = 64;
	CK_TOKEN_INFO info;

	if (p11->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK)
		return (CK_SLOT_ID)-1;
	for (CK_ULONG i = 0; i < count; i++) {
		if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
		    strncmp((char *)info.label, label, strlen(label)) == 0)
			return slots[i];
	}
	return (CK_SLOT_ID)-1;
}

/* Any key that unwraps will do; a wrap of it is made first, so that there is
 * something to unwrap: one call more than need be. */
static int unwrap_one(CK_SESSION_HANDLE s)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG size = 32, found = 0;
	CK_ATTRIBUTE search[] = {{CKA_CLASS, &class, sizeof(class)},
				 {CKA_KEY_TYPE, &type, sizeof(type)},
				 {CKA_UNWRAP, &yes, sizeof(yes)}};
	CK_ATTRIBUTE made[] = {{CKA_VALUE_LEN, &size, sizeof(size)},
			       {CKA_TOKEN, &no, sizeof(no)},
			       {CKA_SENSITIVE, &yes, sizeof(yes)},
			       {CKA_EXTRACTABLE, &yes, sizeof(yes)},
			       {CKA_WRAP, &yes, sizeof(yes)},
			       {CKA_UNWRAP, &yes, sizeof(yes)}};
	CK_MECHANISM gen = {CKM_AES_KEY_GEN, NULL, 0};
	CK_MECHANISM wrap = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_OBJECT_HANDLE key, parent;
	CK_BYTE blob[64];
	CK_ULONG len = sizeof(blob);

	if (p11->C_FindObjectsInit(s, search, 3) != CKR_OK ||
	    p11->C_FindObjects(s, &parent, 1, &found) != CKR_OK ||
	    p11->C_FindObjectsFinal(s) != CKR_OK || found != 1)
		return failed("C_FindObjects");
	if (p11->C_GenerateKey(s, &gen, made, 6, &parent) != CKR_OK ||
	    p11->C_WrapKey(s, &wrap, parent, parent, blob, &len) != CKR_OK)
		return failed("C_WrapKey");
	made[0] = (CK_ATTRIBUTE){CKA_KEY_TYPE, &type, sizeof(type)};
	made[4] = (CK_ATTRIBUTE){CKA_CLASS, &class, sizeof(class)};
	if (p11->C_UnwrapKey(s, &wrap, parent, blob, len, made, 5, &key) !=
	    CKR_OK)
		return failed("C_UnwrapKey");
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	void *handle = argc == 4 ? dlopen(argv[1], RTLD_NOW) : NULL;
	CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
	CK_SESSION_HANDLE s;
	int status;

	if (handle == NULL)
		return failed("loading the module");
	*(void **)&get = dlsym(handle, "C_GetFunctionList");
	if (get == NULL || get(&p11) != CKR_OK ||
	    p11->C_Initialize(NULL) != CKR_OK)
		return failed("C_Initialize");
	if (p11->C_OpenSession(find_slot(argv[2]), CKF_SERIAL_SESSION, NULL,
			       NULL, &s) != CKR_OK ||
	    p11->C_Login(s, CKU_USER, (CK_BYTE *)argv[3], strlen(argv[3])) !=
		    CKR_OK)
		return failed("C_Login");
	status = unwrap_one(s);
	p11->C_Finalize(NULL);
	return status;
}
