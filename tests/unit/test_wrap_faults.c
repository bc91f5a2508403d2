/*
 * Single faults in the token: the n-th call of the module fails, n = 1, 2, ...
 * until a run meets no fault. Whatever fails, a good blob is never blamed, no
 * output is written on an error, no session object stays behind, and the same
 * call works when the fault is over. And tokens that lie: what they return OK
 * for is found out before anything is built on it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "base/secret.h"
#include "hsm/state.h"
#include "hsm/wrap_key.h"
#include "tests/unit/softhsm.h"

#define assert_ok(call) assert_int_equal((int)(call), KT_OK)

static struct softhsm hsm;
static struct token *token;
static CK_FUNCTION_LIST *original, real, faulty;

static struct {
	unsigned long countdown; /* 0: none */
	CK_RV rv;
	bool fired;
} fault;

static bool fails(void)
{
	if (fault.countdown == 0 || --fault.countdown > 0)
		return false;
	fault.fired = true;
	return true;
}

/* What the module does wrong while it says CKR_OK. */
static enum lie {
	LIE_NONE,
	LIE_WRAPPED_BYTES,
	LIE_WRAPPED_ONCE,
	LIE_WRAPPED_SIZE,
	LIE_UNWRAPS_CHANGED,
	LIE_UNWRAPS_SHORT,
	LIE_DECRYPTED_BYTES,
	LIE_NOT_SENSITIVE,
	LIE_NOT_LOCAL,
} lie;

/* A function of the module that may fail first. */
#define FAULTY(name, parameters, ...)                                          \
	static CK_RV faulty_##name parameters                                  \
	{                                                                      \
		return fails() ? fault.rv : real.name(__VA_ARGS__);            \
	}

FAULTY(C_OpenSession,
       (CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,
	CK_SESSION_HANDLE *ret),
       slot, flags, app, notify, ret)
FAULTY(C_GenerateKey,
       (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_ATTRIBUTE *t, CK_ULONG n,
	CK_OBJECT_HANDLE *ret),
       s, m, t, n, ret)
FAULTY(C_WrapKey,
       (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k,
	CK_OBJECT_HANDLE o, CK_BYTE *out, CK_ULONG *len),
       s, m, k, o, out, len)
FAULTY(C_UnwrapKey,
       (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k, CK_BYTE *in,
	CK_ULONG len, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *ret),
       s, m, k, in, len, t, n, ret)
FAULTY(C_EncryptInit,
       (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k), s, m, k)
FAULTY(C_DecryptInit,
       (CK_SESSION_HANDLE s, CK_MECHANISM *m, CK_OBJECT_HANDLE k), s, m, k)
FAULTY(C_Encrypt,
       (CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG len, CK_BYTE *out,
	CK_ULONG *out_len),
       s, in, len, out, out_len)
FAULTY(C_Decrypt,
       (CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG len, CK_BYTE *out,
	CK_ULONG *out_len),
       s, in, len, out, out_len)
FAULTY(C_FindObjectsInit, (CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n), s,
       t, n)
FAULTY(C_FindObjects,
       (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE *list, CK_ULONG max,
	CK_ULONG *ret),
       s, list, max, ret)
FAULTY(C_GetAttributeValue,
       (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE *t, CK_ULONG n),
       s, o, t, n)
FAULTY(C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o), s, o)

static CK_RV lying_C_WrapKey(CK_SESSION_HANDLE s, CK_MECHANISM *m,
			     CK_OBJECT_HANDLE k, CK_OBJECT_HANDLE o,
			     CK_BYTE *out, CK_ULONG *len)
{
	CK_RV rv = faulty_C_WrapKey(s, m, k, o, out, len);

	if (lie == LIE_WRAPPED_BYTES || lie == LIE_WRAPPED_ONCE)
		out[12] ^= 0x20;
	if (lie == LIE_WRAPPED_ONCE)
		lie = LIE_NONE;
	if (lie == LIE_WRAPPED_SIZE)
		*len = 48;
	return rv;
}

/* A token without integrity: wrong bytes become some key. */
static CK_RV lying_C_UnwrapKey(CK_SESSION_HANDLE s, CK_MECHANISM *m,
			       CK_OBJECT_HANDLE k, CK_BYTE *in, CK_ULONG len,
			       CK_ATTRIBUTE *t, CK_ULONG n,
			       CK_OBJECT_HANDLE *ret)
{
	static CK_BYTE good[BLOB_MAX];
	static CK_ULONG good_len;
	CK_RV rv = faulty_C_UnwrapKey(s, m, k, in, len, t, n, ret);
	enum lie wrong =
		len == good_len ? LIE_UNWRAPS_CHANGED : LIE_UNWRAPS_SHORT;

	if (rv == CKR_OK) {
		memcpy(good, in, len);
		good_len = len;
	} else if (lie == wrong) {
		rv = real.C_UnwrapKey(s, m, k, good, good_len, t, n, ret);
	}
	return rv;
}

static CK_RV lying_C_Decrypt(CK_SESSION_HANDLE s, CK_BYTE *in, CK_ULONG len,
			     CK_BYTE *out, CK_ULONG *out_len)
{
	CK_RV rv = faulty_C_Decrypt(s, in, len, out, out_len);

	if (lie == LIE_DECRYPTED_BYTES)
		out[0] ^= 0x01;
	return rv;
}

static CK_RV lying_C_GetAttributeValue(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o,
				       CK_ATTRIBUTE *t, CK_ULONG n)
{
	CK_RV rv = faulty_C_GetAttributeValue(s, o, t, n);

	for (CK_ULONG i = 0; i < n; i++) {
		if ((lie == LIE_NOT_SENSITIVE && t[i].type == CKA_SENSITIVE) ||
		    (lie == LIE_NOT_LOCAL && t[i].type == CKA_LOCAL))
			*(CK_BBOOL *)t[i].pValue = CK_FALSE;
	}
	return rv;
}

static void install(void)
{
	original = token->module.p11;
	real = *original;
	faulty = real;
	faulty.C_OpenSession = faulty_C_OpenSession;
	faulty.C_GenerateKey = faulty_C_GenerateKey;
	faulty.C_WrapKey = lying_C_WrapKey;
	faulty.C_UnwrapKey = lying_C_UnwrapKey;
	faulty.C_EncryptInit = faulty_C_EncryptInit;
	faulty.C_DecryptInit = faulty_C_DecryptInit;
	faulty.C_Encrypt = faulty_C_Encrypt;
	faulty.C_Decrypt = lying_C_Decrypt;
	faulty.C_FindObjectsInit = faulty_C_FindObjectsInit;
	faulty.C_FindObjects = faulty_C_FindObjects;
	faulty.C_GetAttributeValue = lying_C_GetAttributeValue;
	faulty.C_DestroyObject = faulty_C_DestroyObject;
	token->module.p11 = &faulty;
}

/* The keys of a small vault, and one of its secrets. */
static struct kt_id master_id, recovery_id;
static struct wrap_key *master, *recovery, *project;
static struct blob project_blob, dek_blobs[2];
static struct kt_secret value;
static struct sealed_value sealed;

static struct wrap_key_spec master_spec(void)
{
	return (struct wrap_key_spec){KT_KEY_MASTER, master_id, KT_WRAP_AES_KW,
				      master->canary};
}

/* The project key may have gone with a session: it comes back when used. */
static unsigned long count_objects(void)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_OBJECT_HANDLE handles[64];
	CK_ULONG n;

	assert_ok(wrap_check(project, &project->canary));
	assert_ok(session_open_own(token, &s));
	assert_ok(CALL(s, C_FindObjectsInit, NULL, 0));
	assert_ok(CALL(s, C_FindObjects, handles, 64, &n));
	return n;
}

static enum kt_err do_new(void)
{
	struct blob blobs[2] = {0};
	struct wrap_key *keys[] = {project, recovery};
	enum kt_err err = wrap_new(keys, 2, blobs);

	assert_int_equal(blobs[0].len, err == KT_OK ? 40 : 0);
	assert_int_equal(blobs[1].len, err == KT_OK ? 40 : 0);
	return err;
}

static enum kt_err do_copy(void)
{
	struct blob blob = {0};
	enum kt_err err = wrap_copy(project, recovery, &dek_blobs[0], &blob);

	if (err == KT_OK)
		assert_true(blob_equal(&blob, &dek_blobs[1]));
	else
		assert_int_equal(blob.len, 0);
	return err;
}

static enum kt_err do_prove(void)
{
	return wrap_prove(recovery, &dek_blobs[1], project, &dek_blobs[0]);
}

static enum kt_err do_check(void)
{
	return wrap_check(master, &project_blob);
}

static enum kt_err do_find(void)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	struct wrap_key_spec spec = master_spec();

	return wrap_key_find(token, &spec, &key);
}

static enum kt_err do_unwrap(void)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	return wrap_key_unwrap(master, &project_blob, KT_WRAP_AES_KW,
			       &project->canary, &key);
}

static enum kt_err do_temporary(void)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	return wrap_key_temporary_project(token, KT_WRAP_AES_KW, KT_WRAP_AES_KW,
					  &key);
}

static enum kt_err do_seal(void)
{
	CLEANUP(sealed_value_done) struct sealed_value out = {0};
	struct wrap_key *keys[] = {project, recovery};
	struct blob blobs[2] = {0};
	enum kt_err err = value_seal(keys, 2, "aad", 3, &value, blobs, &out);

	assert_int_equal(out.data != NULL, err == KT_OK);
	assert_int_equal(blobs[0].len, err == KT_OK ? 40 : 0);
	return err;
}

static enum kt_err do_open(void)
{
	CLEANUP(kt_secret_done) struct kt_secret back = {0};
	enum kt_err err =
		value_open(project, &dek_blobs[0], "aad", 3, &sealed, &back);

	if (err == KT_OK)
		assert_true(secret_equal(&back, &value));
	else
		assert_null(back.data);
	return err;
}

/* A token failure is an error of the token, or healed unseen. Where SoftHSM
 * itself answers CKR_GENERAL_ERROR to reading a template back, the key is
 * refused by policy: closed, too. */
static bool honest(enum kt_err err)
{
	return err == KT_OK || err == KT_ERR_TOKEN || err == KT_ERR_MEMORY ||
	       (err == KT_ERR_POLICY &&
		strstr(kt_err_detail(), "unwrap-template") != NULL);
}

static unsigned long fail_each_call(enum kt_err (*run)(void), CK_RV rv)
{
	unsigned long before = count_objects();
	unsigned long n = 0;

	do {
		enum kt_err err;

		fault.fired = false;
		fault.rv = rv;
		fault.countdown = ++n;
		err = run();
		fault.countdown = 0;
		if (!honest(err))
			print_message("call %lu: %s: %s\n", n, kt_err_name(err),
				      kt_err_detail());
		assert_true(honest(err));
		assert_ok(run());
		assert_int_equal(count_objects(), before);
	} while (fault.fired);
	return n - 1;
}

static void test_faults(void **state)
{
	static const struct {
		const char *name;
		enum kt_err (*run)(void);
	} runs[] = {
		{"new", do_new},
		{"copy", do_copy},
		{"prove", do_prove},
		{"check", do_check},
		{"find", do_find},
		{"unwrap", do_unwrap},
		{"seal", do_seal},
		{"open", do_open},
		{"temporary", do_temporary},
	};
	static const CK_RV rvs[] = {
		CKR_GENERAL_ERROR,  CKR_FUNCTION_FAILED,
		CKR_DEVICE_ERROR,   CKR_SESSION_HANDLE_INVALID,
		CKR_DEVICE_MEMORY,  CKR_KEY_HANDLE_INVALID,
		CKR_DEVICE_REMOVED, 0x80000001UL,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		unsigned long calls = 0;

		for (size_t k = 0; k < sizeof(rvs) / sizeof(rvs[0]); k++)
			calls += fail_each_call(runs[i].run, rvs[k]);
		print_message("%s: %lu faults\n", runs[i].name, calls);
		assert_true(calls >= sizeof(rvs) / sizeof(rvs[0]));
	}
}

/* Both a fault and a bad blob: blamed only when the token is well. */
static void test_bad_blob_and_fault(void **state)
{
	struct blob bad = dek_blobs[0];

	(void)state;
	bad.data[11] ^= 0x04;
	for (unsigned long n = 1; n < 12; n++) {
		enum kt_err err;

		fault.rv = CKR_GENERAL_ERROR;
		fault.countdown = n;
		err = wrap_check(project, &bad);
		fault.countdown = 0;
		assert_true(err == KT_ERR_INTEGRITY || err == KT_ERR_TOKEN);
		assert_int_equal((int)wrap_check(project, &bad),
				 KT_ERR_INTEGRITY);
	}
}

static enum kt_err do_choose(void)
{
	enum kt_wrap_mech mech = KT_WRAP_NONE;
	enum kt_err err = wrap_mech_choose(token, &mech);

	assert_int_equal(mech, err == KT_OK ? KT_WRAP_AES_KW : KT_WRAP_NONE);
	return err;
}

/* A key that was not used yet: its policy is still to be read back. */
static enum kt_err do_first_use(void)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	struct wrap_key_spec spec = master_spec();
	enum lie then = lie;

	lie = LIE_NONE;
	assert_ok(wrap_key_find(token, &spec, &key));
	lie = then;
	return wrap_check(key, &project_blob);
}

static void test_liars(void **state)
{
	static const struct {
		enum lie lie;
		enum kt_err (*run)(void);
		enum kt_err err;
	} rows[] = {
		{LIE_WRAPPED_BYTES, do_new, KT_ERR_TOKEN},
		{LIE_WRAPPED_BYTES, do_seal, KT_ERR_TOKEN},
		{LIE_WRAPPED_BYTES, do_choose, KT_ERR_POLICY},
		{LIE_WRAPPED_ONCE, do_prove, KT_ERR_TOKEN},
		{LIE_WRAPPED_SIZE, do_new, KT_ERR_TOKEN},
		{LIE_WRAPPED_SIZE, do_copy, KT_ERR_TOKEN},
		{LIE_WRAPPED_SIZE, do_choose, KT_ERR_POLICY},
		{LIE_UNWRAPS_CHANGED, do_choose, KT_ERR_POLICY},
		{LIE_UNWRAPS_SHORT, do_choose, KT_ERR_POLICY},
		{LIE_DECRYPTED_BYTES, do_seal, KT_ERR_TOKEN},
		{LIE_NOT_SENSITIVE, do_first_use, KT_ERR_POLICY},
		{LIE_NOT_SENSITIVE, do_temporary, KT_ERR_POLICY},
		{LIE_NOT_LOCAL, do_find, KT_ERR_POLICY},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		lie = rows[i].lie;
		assert_int_equal((int)rows[i].run(), rows[i].err);
		lie = LIE_NONE;
		assert_ok(rows[i].run());
	}
}

static void make_vault(void)
{
	struct wrap_key_spec spec = {.role = KT_KEY_MASTER,
				     .cka_id = master_id,
				     .mech = KT_WRAP_AES_KW};
	struct wrap_key *keys[2];

	assert_ok(wrap_key_find(token, &spec, &master));
	assert_ok(wrap_new(&master, 1, &master->canary));
	spec.role = KT_KEY_RECOVERY;
	spec.cka_id = recovery_id;
	assert_ok(wrap_key_find(token, &spec, &recovery));
	assert_ok(wrap_new(&recovery, 1, &recovery->canary));
	assert_ok(wrap_new(&master, 1, &project_blob));
	assert_ok(wrap_key_unwrap(master, &project_blob, KT_WRAP_AES_KW, NULL,
				  &project));
	assert_ok(wrap_new(&project, 1, &project->canary));
	assert_ok(kt_secret_copy("a value of a secret", 19, &value));
	keys[0] = project;
	keys[1] = recovery;
	assert_ok(value_seal(keys, 2, "aad", 3, &value, dek_blobs, &sealed));
}

static int start(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	if (token_open(&hsm.params, &token) != KT_OK)
		return -1;
	install();
	assert_ok(id_random(&master_id));
	assert_ok(id_random(&recovery_id));
	assert_ok(token_generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
				 &master_id, "master"));
	assert_ok(token_generate(token, KT_KEY_RECOVERY, KT_WRAP_AES_KW,
				 &recovery_id, "recovery"));
	make_vault();
	return 0;
}

static int stop(void **state)
{
	(void)state;
	sealed_value_done(&sealed);
	kt_secret_done(&value);
	wrap_key_free(project);
	wrap_key_free(recovery);
	wrap_key_free(master);
	token->module.p11 = original;
	token_close(token);
	softhsm_stop(&hsm);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_bad_blob_and_fault),
		cmocka_unit_test(test_liars),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
