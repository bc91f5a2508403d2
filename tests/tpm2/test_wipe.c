/*
 * Nothing of a key is left in the process after the logout, nor of a key that
 * was destroyed or whose session was closed: all writable memory is searched.
 * The test itself remembers the key's complement only.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/secret.h"
#include "tests/tpm2/copies.h"
#include "tests/tpm2/surface.h"

static CK_SESSION_HANDLE s;
static uint8_t complement[COPY_LEN];

static int setup(void **state)
{
	(void)state;
	surface_start();
	surface_token();
	s = surface_login();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	surface_stop();
	return 0;
}

static size_t copies(void)
{
	return copies_of(complement);
}

/* A key that may be read, so that the test knows what to look for. */
static CK_OBJECT_HANDLE known_key(CK_SESSION_HANDLE owner)
{
	struct list list = dek_list();
	uint8_t value[COPY_LEN];
	CK_ATTRIBUTE attr = {CKA_VALUE, value, sizeof(value)};
	CK_OBJECT_HANDLE key;

	list_flag(&list, CKA_SENSITIVE, false);
	assert_int_equal(surface_generate(owner, CKM_AES_KEY_GEN, &list, &key),
			 CKR_OK);
	assert_int_equal(p11->C_GetAttributeValue(owner, key, &attr, 1),
			 CKR_OK);
	for (size_t i = 0; i < COPY_LEN; i++)
		complement[i] = (uint8_t)~value[i];
	wipe(value, sizeof(value));
	return key;
}

/* A cipher could leave copies, and one that was begun holds its key. */
static void use(CK_OBJECT_HANDLE key)
{
	CK_BYTE iv[12] = {0}, out[200];
	CK_GCM_PARAMS params = {iv, sizeof(iv), 96, NULL, 0, 128};
	CK_MECHANISM gcm = {CKM_AES_GCM, &params, sizeof(params)};
	CK_ULONG len = sizeof(out);

	assert_int_equal(p11->C_EncryptInit(s, &gcm, key), CKR_OK);
	assert_int_equal(p11->C_Encrypt(s, iv, sizeof(iv), out, &len), CKR_OK);
	assert_int_equal(p11->C_DecryptInit(s, &gcm, key), CKR_OK);
}

static void test_logout(void **state)
{
	(void)state;
	use(known_key(s));
	assert_int_equal(copies(), 1);
	assert_int_equal(p11->C_Logout(s), CKR_OK);
	assert_int_equal(copies(), 0);
}

static void test_destroy(void **state)
{
	CK_OBJECT_HANDLE key = known_key(s);

	(void)state;
	assert_int_equal(copies(), 1);
	assert_int_equal(p11->C_DestroyObject(s, key), CKR_OK);
	assert_int_equal(copies(), 0);
}

static void test_close(void **state)
{
	CK_SESSION_HANDLE other = surface_session(0);

	(void)state;
	known_key(other);
	assert_int_equal(copies(), 1);
	assert_int_equal(p11->C_CloseSession(other), CKR_OK);
	assert_int_equal(copies(), 0);
}

static void test_finalize(void **state)
{
	(void)state;
	known_key(s);
	assert_int_equal(copies(), 1);
	assert_int_equal(p11->C_Finalize(NULL), CKR_OK);
	assert_int_equal(copies(), 0);
	assert_int_equal(p11->C_Initialize(NULL), CKR_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_logout, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_close, setup, teardown),
		cmocka_unit_test_setup_teardown(test_finalize, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
