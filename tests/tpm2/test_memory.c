/*
 * Every allocation of the surface fails once: the call that met it says so, and
 * the module goes on, or ends, as if it had not been made. Leaks are the
 * sanitizers' to see.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/tpm2/rv.h"
#include "tests/tpm2/fake_token.h"
#include "tests/tpm2/surface.h"

#define RUNS_MAX 5000

/* Counts down to the allocation that fails; 0: none does. */
static unsigned countdown;
static bool met;

static bool fails(void)
{
	if (countdown == 0 || --countdown > 0)
		return false;
	met = true;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
void *__real_CRYPTO_secure_zalloc(size_t size, const char *file, int line);
void *__wrap_CRYPTO_secure_zalloc(size_t size, const char *file, int line);

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(old, n, size);
}

void *__wrap_CRYPTO_secure_zalloc(size_t size, const char *file, int line)
{
	return fails() ? NULL : __real_CRYPTO_secure_zalloc(size, file, line);
}

static CK_RV search(CK_SESSION_HANDLE s)
{
	CK_OBJECT_HANDLE found[8];
	CK_ULONG n;

	RV_TRY(p11->C_FindObjectsInit(s, NULL, 0));
	RV_TRY(p11->C_FindObjects(s, found, 8, &n));
	return p11->C_FindObjectsFinal(s);
}

static CK_RV cipher(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE dek)
{
	CK_BYTE iv[12] = {0}, sealed[64], back[64];
	CK_GCM_PARAMS params = {iv, sizeof(iv), 96, iv, 12, 128};
	CK_MECHANISM gcm = {CKM_AES_GCM, &params, sizeof(params)};
	CK_ULONG len = sizeof(sealed), back_len = sizeof(back);

	RV_TRY(p11->C_EncryptInit(s, &gcm, dek));
	RV_TRY(p11->C_Encrypt(s, iv, sizeof(iv), sealed, &len));
	RV_TRY(p11->C_DecryptInit(s, &gcm, dek));
	return p11->C_Decrypt(s, sealed, len, back, &back_len);
}

static CK_RV wrap_and_back(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE master,
			   CK_OBJECT_HANDLE dek)
{
	CK_MECHANISM mechanism = {CKM_KEYTURN_TPM_WRAP, NULL, 0};
	struct list list = work_list();
	CK_BYTE blob[200];
	CK_ULONG len = sizeof(blob);
	CK_OBJECT_HANDLE back;

	RV_TRY(p11->C_WrapKey(s, &mechanism, master, dek, blob, &len));
	RV_TRY(p11->C_UnwrapKey(s, &mechanism, master, blob, len,
				list_use(&list), list.n, &back));
	RV_TRY(cipher(s, back));
	return p11->C_DestroyObject(s, back);
}

static CK_RV import_and_sign(CK_SESSION_HANDLE s)
{
	CK_MECHANISM hmac = {CKM_SHA256_HMAC, NULL, 0};
	CK_BYTE value[32] = {0}, mac[32];
	CK_ULONG len = sizeof(mac);
	CK_ATTRIBUTE label = {CKA_LABEL, value, 4};
	struct list list = {0};
	CK_OBJECT_HANDLE key;

	list_number(&list, CKA_CLASS, CKO_SECRET_KEY);
	list_number(&list, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
	list_flag(&list, CKA_SIGN, true);
	list_bytes(&list, CKA_VALUE, value, sizeof(value));
	RV_TRY(p11->C_CreateObject(s, list_use(&list), list.n, &key));
	RV_TRY(p11->C_SetAttributeValue(s, key, &label, 1));
	RV_TRY(p11->C_SignInit(s, &hmac, key));
	RV_TRY(p11->C_SignUpdate(s, value, sizeof(value)));
	RV_TRY(p11->C_SignUpdate(s, value, sizeof(value)));
	return p11->C_SignFinal(s, mac, &len);
}

static CK_RV live(void)
{
	struct list master_template = master_list(true), dek_template;
	CK_OBJECT_HANDLE master, dek;
	CK_SESSION_HANDLE s;

	RV_TRY(p11->C_OpenSession(0, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL,
				  NULL, &s));
	RV_TRY(p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN)));
	RV_TRY(surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &master_template,
				&master));
	dek_template = dek_list();
	RV_TRY(surface_generate(s, CKM_AES_KEY_GEN, &dek_template, &dek));
	RV_TRY(search(s));
	RV_TRY(wrap_and_back(s, master, dek));
	RV_TRY(import_and_sign(s));
	RV_TRY(p11->C_DestroyObject(s, master));
	return p11->C_CloseSession(s);
}

static CK_RV whole_life(void)
{
	RV_TRY(p11->C_Initialize(NULL));
	RV_TRY(live());
	return p11->C_Finalize(NULL);
}

static void test_each_allocation(void **state)
{
	unsigned n = 0;

	(void)state;
	surface_start();
	surface_token();
	assert_int_equal(p11->C_Finalize(NULL), CKR_OK);
	do {
		CK_RV rv;

		met = false;
		countdown = ++n;
		rv = whole_life();
		countdown = 0;
		if (met && rv != CKR_HOST_MEMORY)
			fail_msg("allocation %u: 0x%lx", n, rv);
		if (!met && rv != CKR_OK)
			fail_msg("nothing failed, and 0x%lx", rv);
		(void)p11->C_Finalize(NULL);
		fake_token_lose_keys();
	} while (met && n < RUNS_MAX);
	assert_true(n > 50 && n < RUNS_MAX);
	assert_int_equal(p11->C_Initialize(NULL), CKR_OK);
	surface_login();
	surface_stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
