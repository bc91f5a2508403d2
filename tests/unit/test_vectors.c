/*
 * Published vectors through a test token: RFC 3394 and RFC 5649 from the tree,
 * Wycheproof's and NIST's from the folder KEYTURN_TEST_DATA or ../shared/data;
 * where that is absent one line says so. Keys are imported as session objects,
 * which keyturn itself never does. Every count is asserted, so that no vector
 * is left out unseen.
 *
 * SoftHSM 2.6.1 wraps by RFC 5649 wrongly where the key's length is no multiple
 * of eight. keyturn wraps 32-byte keys only; those vectors are counted apart.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "hsm/p11.h"
#include "tests/unit/softhsm.h"
#include "tests/unit/vectors_rfc3394.h"
#include "tests/unit/vectors_rfc5649.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static struct softhsm hsm;
static struct token *token;

struct bytes {
	CK_BYTE data[2048];
	CK_ULONG len;
};

static struct bytes from_hex(const char *hex)
{
	struct bytes bytes = {.len = strlen(hex) / 2};

	assert_true(bytes.len <= sizeof(bytes.data));
	assert_true(hex_decode(hex, bytes.data, bytes.len));
	return bytes;
}

static struct bytes from_octets(const struct octets *octets)
{
	struct bytes bytes = {.len = octets->len};

	memcpy(bytes.data, octets->data, octets->len);
	return bytes;
}

static bool same(const struct bytes *a, const struct bytes *b)
{
	return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* A session of each vector's own, closed after it. */
static struct session *lease(void)
{
	struct session *s;

	assert_int_equal(session_open_own(token, &s), KT_OK);
	return s;
}

static CK_RV import(struct session *s, CK_KEY_TYPE type,
		    const struct bytes *value, CK_ATTRIBUTE_TYPE use,
		    CK_ATTRIBUTE_TYPE other_use, CK_OBJECT_HANDLE *ret)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof(class)},
			    {CKA_KEY_TYPE, &type, sizeof(type)},
			    {CKA_TOKEN, &no, sizeof(no)},
			    {CKA_EXTRACTABLE, &yes, sizeof(yes)},
			    {use, &yes, sizeof(yes)},
			    {other_use, &yes, sizeof(yes)},
			    {CKA_VALUE, (void *)value->data, value->len}};

	return s->p11->C_CreateObject(s->handle, t, COUNT(t), ret);
}

static CK_OBJECT_HANDLE import_kek(struct session *s, const struct bytes *kek)
{
	CK_OBJECT_HANDLE handle;

	assert_int_equal(import(s, CKK_AES, kek, CKA_WRAP, CKA_UNWRAP, &handle),
			 CKR_OK);
	return handle;
}

static CK_RV wrap(CK_MECHANISM_TYPE type, const struct bytes *kek,
		  const struct bytes *key, struct bytes *ret)
{
	CLEANUP(session_releasep) struct session *s = lease();
	CK_MECHANISM mechanism = {type, NULL, 0};
	CK_OBJECT_HANDLE subject;
	CK_RV rv = import(s, CKK_GENERIC_SECRET, key, CKA_SIGN, CKA_VERIFY,
			  &subject);

	if (rv != CKR_OK)
		return rv;
	ret->len = sizeof(ret->data);
	return s->p11->C_WrapKey(s->handle, &mechanism, import_kek(s, kek),
				 subject, ret->data, &ret->len);
}

static CK_RV unwrap(CK_MECHANISM_TYPE type, const struct bytes *kek,
		    const struct bytes *wrapped, struct bytes *ret)
{
	CLEANUP(session_releasep) struct session *s = lease();
	CK_MECHANISM mechanism = {type, NULL, 0};
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE key_type = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof(class)},
			    {CKA_KEY_TYPE, &key_type, sizeof(key_type)},
			    {CKA_TOKEN, &no, sizeof(no)},
			    {CKA_SENSITIVE, &no, sizeof(no)},
			    {CKA_EXTRACTABLE, &yes, sizeof(yes)}};
	CK_ATTRIBUTE value = {CKA_VALUE, ret->data, sizeof(ret->data)};
	CK_OBJECT_HANDLE object;
	CK_RV rv = s->p11->C_UnwrapKey(
		s->handle, &mechanism, import_kek(s, kek),
		(CK_BYTE *)wrapped->data, wrapped->len, t, COUNT(t), &object);

	if (rv != CKR_OK)
		return rv;
	rv = s->p11->C_GetAttributeValue(s->handle, object, &value, 1);
	ret->len = value.ulValueLen;
	return rv;
}

/* What became of the vectors of one source. */
struct tally {
	unsigned wrapped;   /* C_WrapKey gave the expected bytes */
	unsigned unwrapped; /* C_UnwrapKey gave the expected key */
	unsigned refused;   /* C_UnwrapKey refused what it must */
	unsigned odd;   /* RFC 5649, length no multiple of eight: left out */
	unsigned wrong; /* anything else */
};

static void tally_print(const char *source, const struct tally *tally)
{
	print_message("%s: %u wrapped, %u unwrapped, %u refused, %u left "
		      "out, %u wrong\n",
		      source, tally->wrapped, tally->unwrapped, tally->refused,
		      tally->odd, tally->wrong);
}

static void tally_equals(const char *source, const struct tally *got,
			 struct tally expected)
{
	tally_print(source, got);
	assert_int_equal(got->wrapped, expected.wrapped);
	assert_int_equal(got->unwrapped, expected.unwrapped);
	assert_int_equal(got->refused, expected.refused);
	assert_int_equal(got->odd, expected.odd);
	assert_int_equal(got->wrong, expected.wrong);
}

static void try_wrap(CK_MECHANISM_TYPE type, const struct bytes *kek,
		     const struct bytes *key, const struct bytes *wrapped,
		     struct tally *tally)
{
	struct bytes out;

	if (wrap(type, kek, key, &out) == CKR_OK && same(&out, wrapped))
		tally->wrapped++;
	else
		tally->wrong++;
}

static void try_unwrap(CK_MECHANISM_TYPE type, const struct bytes *kek,
		       const struct bytes *key, const struct bytes *wrapped,
		       struct tally *tally)
{
	struct bytes out;

	if (unwrap(type, kek, wrapped, &out) == CKR_OK && same(&out, key))
		tally->unwrapped++;
	else
		tally->wrong++;
}

static void try_refuse(CK_MECHANISM_TYPE type, const struct bytes *kek,
		       const struct bytes *wrapped, struct tally *tally)
{
	struct bytes out;

	if (unwrap(type, kek, wrapped, &out) != CKR_OK)
		tally->refused++;
	else
		tally->wrong++;
}

static void try_both(CK_MECHANISM_TYPE type, const struct bytes *kek,
		     const struct bytes *key, const struct bytes *wrapped,
		     struct tally *tally)
{
	if (type == CKM_AES_KEY_WRAP_PAD && key->len % 8 != 0) {
		tally->odd++;
		return;
	}
	try_wrap(type, kek, key, wrapped, tally);
	try_unwrap(type, kek, key, wrapped, tally);
}

static void try_rfc(CK_MECHANISM_TYPE type,
		    const struct key_wrap_vector *vectors, size_t count,
		    struct tally *tally)
{
	for (size_t i = 0; i < count; i++) {
		struct bytes kek = from_octets(&vectors[i].kek);
		struct bytes key = from_octets(&vectors[i].key);
		struct bytes wrapped = from_octets(&vectors[i].wrapped);

		try_both(type, &kek, &key, &wrapped, tally);
		wrapped.data[i] ^= 0x80;
		try_refuse(type, &kek, &wrapped, tally);
	}
}

static void test_rfc3394(void **state)
{
	struct tally tally = {0};

	(void)state;
	try_rfc(CKM_AES_KEY_WRAP, rfc3394, COUNT(rfc3394), &tally);
	tally_equals(
		"RFC 3394", &tally,
		(struct tally){.wrapped = 6, .unwrapped = 6, .refused = 6});
}

static void test_rfc5649(void **state)
{
	struct tally tally = {0};

	(void)state;
	try_rfc(CKM_AES_KEY_WRAP_PAD, rfc5649, COUNT(rfc5649), &tally);
	tally_equals("RFC 5649", &tally,
		     (struct tally){.odd = 2, .refused = 2});
}

/* The path of a data file, or false where the folder is not there. */
static bool data_path(const char *name, char *ret, size_t size)
{
	const char *folder = getenv("KEYTURN_TEST_DATA");
	FILE *f;

	snprintf(ret, size, "%s/%s", folder != NULL ? folder : "../shared/data",
		 name);
	f = fopen(ret, "r");
	if (f == NULL) {
		print_message("%s is not here: vectors left out\n", ret);
		return false;
	}
	fclose(f);
	return true;
}

static struct bytes member(json_t *vector, const char *name)
{
	const char *hex = json_string_value(json_object_get(vector, name));

	assert_non_null(hex);
	return from_hex(hex);
}

static bool is_result(json_t *vector, const char *result)
{
	const char *text = json_string_value(json_object_get(vector, "result"));

	assert_non_null(text);
	return strcmp(text, result) == 0;
}

/* Calls each vector of a Wycheproof file. */
static bool wycheproof(const char *name,
		       void (*each)(json_t *group, json_t *vector, void *arg),
		       void *arg)
{
	char path[512];
	json_t *root, *group, *vector;
	size_t i, k;

	if (!data_path(name, path, sizeof(path)))
		return false;
	root = json_load_file(path, 0, NULL);
	assert_non_null(root);
	json_array_foreach(json_object_get(root, "testGroups"), i, group)
		json_array_foreach(json_object_get(group, "tests"), k, vector)
			each(group, vector, arg);
	json_decref(root);
	return true;
}

struct wrap_run {
	CK_MECHANISM_TYPE type;
	struct tally tally;
};

/* "acceptable" is an 8-byte key, which RFC 3394 does not know: a token either
 * refuses it (as SoftHSM does) or does it right. */
static void each_wrap(json_t *group, json_t *vector, void *arg)
{
	struct wrap_run *run = arg;
	struct bytes kek = member(vector, "key");
	struct bytes key = member(vector, "msg");
	struct bytes wrapped = member(vector, "ct");
	struct bytes out;

	(void)group;
	if (is_result(vector, "invalid") ||
	    (is_result(vector, "acceptable") &&
	     wrap(run->type, &kek, &key, &out) != CKR_OK))
		try_refuse(run->type, &kek, &wrapped, &run->tally);
	else
		try_both(run->type, &kek, &key, &wrapped, &run->tally);
}

static void test_wycheproof_wrap(void **state)
{
	struct wrap_run run = {CKM_AES_KEY_WRAP, {0}};

	(void)state;
	if (wycheproof("wycheproof/aes_wrap_test.json", each_wrap, &run))
		tally_equals("Wycheproof AES-KW", &run.tally,
			     (struct tally){.wrapped = 36,
					    .unwrapped = 36,
					    .refused = 129});
}

static void test_wycheproof_kwp(void **state)
{
	struct wrap_run run = {CKM_AES_KEY_WRAP_PAD, {0}};

	(void)state;
	if (wycheproof("wycheproof/aes_kwp_test.json", each_wrap, &run))
		tally_equals("Wycheproof AES-KWP", &run.tally,
			     (struct tally){.wrapped = 33,
					    .unwrapped = 33,
					    .odd = 44,
					    .refused = 177});
}

struct crypt_run {
	unsigned right, refused, left_out, wrong;
};

/* One call of C_Encrypt or C_Decrypt. */
static CK_RV gcm(bool encrypting, const struct bytes *key,
		 const struct bytes *iv, const struct bytes *aad,
		 const struct bytes *in, struct bytes *out)
{
	CLEANUP(session_releasep) struct session *s = lease();
	CK_GCM_PARAMS params = {(CK_BYTE *)iv->data,  iv->len,  iv->len * 8,
				(CK_BYTE *)aad->data, aad->len, 128};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof(params)};
	CK_OBJECT_HANDLE handle;
	CK_RV rv = import(s, CKK_AES, key, CKA_ENCRYPT, CKA_DECRYPT, &handle);

	out->len = sizeof(out->data);
	if (rv != CKR_OK)
		return rv;
	rv = encrypting ? s->p11->C_EncryptInit(s->handle, &mechanism, handle)
			: s->p11->C_DecryptInit(s->handle, &mechanism, handle);
	if (rv != CKR_OK)
		return rv;
	if (encrypting)
		return s->p11->C_Encrypt(s->handle, (CK_BYTE *)in->data,
					 in->len, out->data, &out->len);
	return s->p11->C_Decrypt(s->handle, (CK_BYTE *)in->data, in->len,
				 out->data, &out->len);
}

/* keyturn uses nonces of 12 bytes only. */
static void each_gcm(json_t *group, json_t *vector, void *arg)
{
	struct crypt_run *run = arg;
	struct bytes key = member(vector, "key"), iv = member(vector, "iv");
	struct bytes aad = member(vector, "aad"), msg = member(vector, "msg");
	struct bytes ct = member(vector, "ct"), tag = member(vector, "tag");
	struct bytes out;

	(void)group;
	memcpy(ct.data + ct.len, tag.data, tag.len);
	ct.len += tag.len;
	if (iv.len != 12) {
		run->left_out++;
	} else if (is_result(vector, "invalid")) {
		bool ok = gcm(false, &key, &iv, &aad, &ct, &out) != CKR_OK;

		*(ok ? &run->refused : &run->wrong) += 1;
	} else {
		bool ok = gcm(true, &key, &iv, &aad, &msg, &out) == CKR_OK &&
			  same(&out, &ct) &&
			  gcm(false, &key, &iv, &aad, &ct, &out) == CKR_OK &&
			  same(&out, &msg);

		*(ok ? &run->right : &run->wrong) += 1;
	}
}

static void crypt_equals(const char *source, const struct crypt_run *got,
			 struct crypt_run expected)
{
	print_message("%s: %u right, %u refused, %u left out, %u wrong\n",
		      source, got->right, got->refused, got->left_out,
		      got->wrong);
	assert_int_equal(got->right, expected.right);
	assert_int_equal(got->refused, expected.refused);
	assert_int_equal(got->left_out, expected.left_out);
	assert_int_equal(got->wrong, expected.wrong);
}

static void test_wycheproof_gcm(void **state)
{
	struct crypt_run run = {0};

	(void)state;
	if (wycheproof("wycheproof/aes_gcm_test.json", each_gcm, &run))
		crypt_equals("Wycheproof AES-GCM", &run,
			     (struct crypt_run){.right = 116,
						.refused = 81,
						.left_out = 119});
}

/* MACs are compared here, not by C_Verify: so does keyturn. */
static CK_RV sign(const struct bytes *key, const struct bytes *msg,
		  struct bytes *out)
{
	CLEANUP(session_releasep) struct session *s = lease();
	CK_MECHANISM mechanism = {CKM_SHA256_HMAC, NULL, 0};
	CK_OBJECT_HANDLE handle;
	CK_RV rv = import(s, CKK_GENERIC_SECRET, key, CKA_SIGN, CKA_VERIFY,
			  &handle);

	if (rv == CKR_OK)
		rv = s->p11->C_SignInit(s->handle, &mechanism, handle);
	if (rv != CKR_OK)
		return rv;
	out->len = sizeof(out->data);
	return s->p11->C_Sign(s->handle, (CK_BYTE *)msg->data, msg->len,
			      out->data, &out->len);
}

/* SoftHSM takes HMAC-SHA-256 keys from 32 bytes on; a truncated tag is the
 * front of the whole one. */
static void each_hmac(json_t *group, json_t *vector, void *arg)
{
	struct crypt_run *run = arg;
	struct bytes key = member(vector, "key"), msg = member(vector, "msg");
	struct bytes tag = member(vector, "tag");
	struct bytes out;

	(void)group;
	if (key.len < 32) {
		run->left_out++;
		return;
	}
	assert_int_equal(sign(&key, &msg, &out), CKR_OK);
	assert_int_equal(out.len, 32);
	out.len = tag.len;
	if (same(&out, &tag) == is_result(vector, "invalid"))
		run->wrong++;
	else if (is_result(vector, "invalid"))
		run->refused++;
	else
		run->right++;
}

static void test_wycheproof_hmac(void **state)
{
	struct crypt_run run = {0};

	(void)state;
	if (wycheproof("wycheproof/hmac_sha256_test.json", each_hmac, &run))
		crypt_equals("Wycheproof HMAC-SHA-256", &run,
			     (struct crypt_run){.right = 60,
						.refused = 108,
						.left_out = 6});
}

/* "K = 00ff..." into ret when the line names this member. */
static bool nist_member(const char *line, char name, struct bytes *ret)
{
	char hex[4097];

	if (line[0] != name || sscanf(line + 1, " = %4096[0-9a-f]", hex) != 1)
		return false;
	*ret = from_hex(hex);
	return true;
}

/* A vector is complete with its C (authenticated encryption), or with its P
 * or FAIL (decryption). */
static void nist_line(const char *line, bool encrypting, struct bytes *k,
		      struct bytes *p, struct bytes *c, struct tally *tally)
{
	if (nist_member(line, 'K', k))
		return;
	if (nist_member(line, 'C', c)) {
		if (encrypting)
			try_wrap(CKM_AES_KEY_WRAP, k, p, c, tally);
	} else if (nist_member(line, 'P', p)) {
		if (!encrypting)
			try_unwrap(CKM_AES_KEY_WRAP, k, p, c, tally);
	} else if (strncmp(line, "FAIL", 4) == 0) {
		try_refuse(CKM_AES_KEY_WRAP, k, c, tally);
	}
}

static bool nist(const char *name, bool encrypting, struct tally *tally)
{
	struct bytes k = {0}, p = {0}, c = {0};
	char path[512];
	char line[8192];
	FILE *f;

	if (!data_path(name, path, sizeof(path)))
		return false;
	f = fopen(path, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		nist_line(line, encrypting, &k, &p, &c, tally);
	fclose(f);
	return true;
}

static void test_nist_wrap(void **state)
{
	struct tally tally = {0};

	(void)state;
	if (nist("nist-kw/KW_AE_128.txt", true, &tally) &&
	    nist("nist-kw/KW_AE_256.txt", true, &tally))
		tally_equals("NIST KW-AE", &tally,
			     (struct tally){.wrapped = 1000});
}

static void test_nist_unwrap(void **state)
{
	struct tally tally = {0};

	(void)state;
	if (nist("nist-kw/KW_AD_128.txt", false, &tally) &&
	    nist("nist-kw/KW_AD_256.txt", false, &tally))
		tally_equals("NIST KW-AD", &tally,
			     (struct tally){.unwrapped = 800, .refused = 200});
}

static int start(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	return token_open(&hsm.params, &token) == KT_OK ? 0 : -1;
}

static int stop(void **state)
{
	(void)state;
	token_close(token);
	softhsm_stop(&hsm);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc3394),
		cmocka_unit_test(test_rfc5649),
		cmocka_unit_test(test_wycheproof_wrap),
		cmocka_unit_test(test_wycheproof_kwp),
		cmocka_unit_test(test_wycheproof_gcm),
		cmocka_unit_test(test_wycheproof_hmac),
		cmocka_unit_test(test_nist_wrap),
		cmocka_unit_test(test_nist_unwrap),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
