/*
 * A PKCS#11 client for what the common tools cannot do: the vendor mechanism.
 * client VERB [ARGUMENT...], with the module's path and the PIN from the
 * environment. It says what failed on stdout, as PKCS#11 and in the module's
 * words, and ends with 1.
 *
 *	seal ID FILE	a new key, wrapped under key ID, and a text under it
 *	open ID FILE	unwraps it again and prints the text
 *	tamper ID FILE	every byte of the blob changed, one at a time
 *	leak ID		wraps, then dies without giving anything back
 *	fork ID FILE	a child opens what the parent sealed, then the parent
 *	threads ID N	N threads, each with a session, seal and open
 *	mac ID LEN	the MAC of so many bytes, twice, printed
 *	wait ID FILE	opens at each line of stdin, saying what came of it
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#include "hsm/tpm2/keyturn-tpm2.h"

#define TEXT "opened by the right key"
#define ROUNDS 20

static CK_FUNCTION_LIST *p11;
static keyturn_tpm2_error_fn *error_text;

/* What one seal leaves. */
struct sealed {
	CK_BYTE blob[104];
	CK_BYTE text[sizeof(TEXT) + 16];
};

static CK_BYTE aad_bytes[] = "vault 1, project 7";
static CK_KEYTURN_TPM_WRAP_PARAMS aad = {aad_bytes, sizeof(aad_bytes)};
static CK_MECHANISM tpm_wrap = {CKM_KEYTURN_TPM_WRAP, &aad, sizeof(aad)};

static bool good(CK_RV rv, const char *function)
{
	if (rv != CKR_OK)
		printf("%s: 0x%lx: %s\n", function, rv, error_text());
	return rv == CKR_OK;
}

static void must(CK_RV rv, const char *function)
{
	if (good(rv, function))
		return;
	fflush(stdout);
	_exit(1);
}

static void *symbol(void *module, const char *name)
{
	void *found = dlsym(module, name);

	if (found == NULL)
		exit(2);
	return found;
}

static void load(void)
{
	const char *path = getenv("MODULE");
	void *module = path != NULL ? dlopen(path, RTLD_NOW) : NULL;
	CK_C_GetFunctionList get;

	if (module == NULL)
		exit(2);
	get = (CK_C_GetFunctionList)symbol(module, "C_GetFunctionList");
	error_text =
		(keyturn_tpm2_error_fn *)symbol(module, "keyturn_tpm2_error");
	must(get(&p11), "C_GetFunctionList");
	must(p11->C_Initialize(NULL), "C_Initialize");
}

static CK_SESSION_HANDLE open_session(void)
{
	CK_SESSION_HANDLE s;

	must(p11->C_OpenSession(0, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
				NULL, &s),
	     "C_OpenSession");
	return s;
}

static CK_SESSION_HANDLE login(void)
{
	CK_SESSION_HANDLE s = open_session();
	char *pin = getenv("PIN");

	must(p11->C_Login(s, CKU_USER, (CK_BYTE *)pin, strlen(pin)), "C_Login");
	return s;
}

static CK_OBJECT_HANDLE find(CK_SESSION_HANDLE s, const char *id)
{
	CK_BYTE byte = (CK_BYTE)strtoul(id, NULL, 16);
	CK_ATTRIBUTE attr = {CKA_ID, &byte, 1};
	CK_OBJECT_HANDLE key = CK_INVALID_HANDLE;
	CK_ULONG n;

	must(p11->C_FindObjectsInit(s, &attr, 1), "C_FindObjectsInit");
	must(p11->C_FindObjects(s, &key, 1, &n), "C_FindObjects");
	must(p11->C_FindObjectsFinal(s), "C_FindObjectsFinal");
	if (n == 1)
		return key;
	printf("no key has CKA_ID %s\n", id);
	fflush(stdout);
	_exit(1);
}

static CK_BYTE iv[12];
static CK_GCM_PARAMS gcm_params = {iv, sizeof(iv), 96, iv, 12, 128};
static CK_MECHANISM gcm = {CKM_AES_GCM, &gcm_params, sizeof(gcm_params)};

static void seal(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key, struct sealed *ret)
{
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ULONG value_len = 32, len = sizeof(ret->blob);
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE template[] = {
		{CKA_VALUE_LEN, &value_len, sizeof(value_len)},
		{CKA_EXTRACTABLE, &yes, 1},
		{CKA_ENCRYPT, &yes, 1},
	};
	CK_OBJECT_HANDLE dek;

	must(p11->C_GenerateKey(s, &mechanism, template, 3, &dek),
	     "C_GenerateKey");
	must(p11->C_WrapKey(s, &tpm_wrap, key, dek, ret->blob, &len),
	     "C_WrapKey");
	must(p11->C_EncryptInit(s, &gcm, dek), "C_EncryptInit");
	len = sizeof(ret->text);
	must(p11->C_Encrypt(s, (CK_BYTE *)(uintptr_t)TEXT, sizeof(TEXT),
			    ret->text, &len),
	     "C_Encrypt");
	must(p11->C_DestroyObject(s, dek), "C_DestroyObject");
}

static CK_RV unwrap(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key,
		    const struct sealed *sealed, CK_OBJECT_HANDLE *ret)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_KEY_TYPE, &type, sizeof(type)},
		{CKA_DECRYPT, &yes, 1},
	};

	return p11->C_UnwrapKey(s, &tpm_wrap, key, (CK_BYTE *)sealed->blob,
				sizeof(sealed->blob), template, 3, ret);
}

static bool opens(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE key,
		  const struct sealed *sealed)
{
	CK_BYTE text[sizeof(sealed->text)];
	CK_ULONG len = sizeof(text);
	CK_OBJECT_HANDLE dek;

	return good(unwrap(s, key, sealed, &dek), "C_UnwrapKey") &&
	       good(p11->C_DecryptInit(s, &gcm, dek), "C_DecryptInit") &&
	       good(p11->C_Decrypt(s, (CK_BYTE *)sealed->text,
				   sizeof(sealed->text), text, &len),
		    "C_Decrypt") &&
	       good(p11->C_DestroyObject(s, dek), "C_DestroyObject") &&
	       memcmp(text, TEXT, sizeof(TEXT)) == 0;
}

static void save(const char *path, const struct sealed *sealed)
{
	FILE *f = fopen(path, "wb");

	if (f == NULL || fwrite(sealed, sizeof(*sealed), 1, f) != 1 ||
	    fclose(f) != 0)
		exit(2);
}

static struct sealed read_back(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct sealed sealed;

	if (f == NULL || fread(&sealed, sizeof(sealed), 1, f) != 1)
		exit(2);
	fclose(f);
	return sealed;
}

static int run_seal(char **args)
{
	CK_SESSION_HANDLE s = login();
	struct sealed sealed;

	seal(s, find(s, args[0]), &sealed);
	save(args[1], &sealed);
	return 0;
}

static int run_open(char **args)
{
	struct sealed sealed = read_back(args[1]);
	CK_SESSION_HANDLE s = login();

	if (!opens(s, find(s, args[0]), &sealed))
		return 1;
	printf("%s\n", TEXT);
	return 0;
}

static int run_tamper(char **args)
{
	struct sealed sealed = read_back(args[1]);
	CK_SESSION_HANDLE s = login();
	CK_OBJECT_HANDLE key = find(s, args[0]), dek;
	size_t refused = 0;

	for (size_t i = 0; i < sizeof(sealed.blob); i++) {
		sealed.blob[i] ^= 0x01;
		refused += unwrap(s, key, &sealed, &dek) ==
			   CKR_WRAPPED_KEY_INVALID;
		sealed.blob[i] ^= 0x01;
	}
	printf("%zu of %zu refused\n", refused, sizeof(sealed.blob));
	return opens(s, key, &sealed) ? 0 : 1;
}

static int run_leak(char **args)
{
	CK_SESSION_HANDLE s = login();
	struct sealed sealed;

	seal(s, find(s, args[0]), &sealed);
	fflush(stdout);
	_exit(0);
}

static int run_fork(char **args)
{
	CK_SESSION_HANDLE s = login();
	CK_OBJECT_HANDLE key = find(s, args[0]);
	struct sealed sealed;
	int status = -1;
	pid_t child;

	seal(s, key, &sealed);
	save(args[1], &sealed);
	child = fork();
	if (child == 0) {
		if (p11->C_CloseSession(s) != CKR_CRYPTOKI_NOT_INITIALIZED)
			_exit(3);
		must(p11->C_Initialize(NULL), "C_Initialize");
		status = run_open(args);
		fflush(stdout);
		_exit(status);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		return 1;
	return opens(s, key, &sealed) ? 0 : 1;
}

static void *seal_and_open(void *arg)
{
	CK_SESSION_HANDLE s = open_session();
	CK_OBJECT_HANDLE key = find(s, arg);
	struct sealed sealed;

	for (int i = 0; i < ROUNDS; i++) {
		seal(s, key, &sealed);
		if (!opens(s, key, &sealed))
			return NULL;
	}
	must(p11->C_CloseSession(s), "C_CloseSession");
	return arg;
}

static int run_threads(char **args)
{
	size_t n = strtoul(args[1], NULL, 10), ended = 0;
	pthread_t threads[16];

	login();
	for (size_t i = 0; i < n && i < 16; i++) {
		if (pthread_create(&threads[i], NULL, seal_and_open, args[0]))
			return 2;
	}
	for (size_t i = 0; i < n && i < 16; i++) {
		void *result = NULL;

		pthread_join(threads[i], &result);
		ended += result != NULL;
	}
	printf("%zu threads\n", ended);
	return ended == n ? 0 : 1;
}

static int run_mac(char **args)
{
	CK_MECHANISM hmac = {CKM_SHA256_HMAC, NULL, 0};
	size_t len = strtoul(args[1], NULL, 10);
	CK_SESSION_HANDLE s = login();
	CK_OBJECT_HANDLE key = find(s, args[0]);
	CK_BYTE *data = calloc(len + 1, 1), macs[2][32];

	if (data == NULL)
		return 2;
	for (int i = 0; i < 2; i++) {
		CK_ULONG room = 32;

		must(p11->C_SignInit(s, &hmac, key), "C_SignInit");
		must(p11->C_Sign(s, data, len, macs[i], &room), "C_Sign");
	}
	free(data);
	for (int i = 0; i < 32; i++)
		printf("%02x", macs[0][i]);
	printf("\n");
	return memcmp(macs[0], macs[1], 32) == 0 ? 0 : 1;
}

static int run_wait(char **args)
{
	struct sealed sealed = read_back(args[1]);
	CK_SESSION_HANDLE s = login();
	CK_OBJECT_HANDLE key = find(s, args[0]);
	char line[16];

	while (fgets(line, sizeof(line), stdin) != NULL) {
		if (opens(s, key, &sealed))
			printf("%s\n", TEXT);
		fflush(stdout);
	}
	return 0;
}

static const struct {
	const char *name;
	int args;
	int (*run)(char **args);
} verbs[] = {
	{"seal", 2, run_seal},     {"open", 2, run_open},
	{"tamper", 2, run_tamper}, {"leak", 1, run_leak},
	{"fork", 2, run_fork},     {"threads", 2, run_threads},
	{"mac", 2, run_mac},       {"wait", 2, run_wait},
};

int main(int argc, char **argv)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		int status;

		if (argc != verbs[i].args + 2 ||
		    strcmp(argv[1], verbs[i].name) != 0)
			continue;
		load();
		status = verbs[i].run(argv + 2);
		must(p11->C_Finalize(NULL), "C_Finalize");
		return status;
	}
	return 2;
}
