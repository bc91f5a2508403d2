/*
 * What the surface lets keys be and do. Each rule that keeps a key inside is
 * met by an attempt to get round it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/p11_soft.h"
#include "tests/tpm2/fake_token.h"
#include "tests/tpm2/surface.h"

static CK_SESSION_HANDLE s;

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

static CK_RV make(CK_MECHANISM_TYPE type, struct list *list)
{
	CK_OBJECT_HANDLE key;

	return surface_generate(s, type, list, &key);
}

/* One flag, other than in a good template. */
static const struct turn {
	CK_ATTRIBUTE_TYPE type;
	CK_BBOOL value;
	CK_RV token, session;
} turns[] = {
	{CKA_SENSITIVE, CK_FALSE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_EXTRACTABLE, CK_TRUE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_PRIVATE, CK_FALSE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_SIGN, CK_TRUE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_VERIFY, CK_TRUE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_ENCRYPT, CK_TRUE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_DECRYPT, CK_TRUE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_DERIVE, CK_TRUE, CKR_TEMPLATE_INCONSISTENT,
	 CKR_TEMPLATE_INCONSISTENT},
	{CKA_TRUSTED, CK_TRUE, CKR_ATTRIBUTE_READ_ONLY,
	 CKR_ATTRIBUTE_READ_ONLY},
	{CKA_LOCAL, CK_TRUE, CKR_ATTRIBUTE_READ_ONLY, CKR_ATTRIBUTE_READ_ONLY},
	{CKA_ALWAYS_SENSITIVE, CK_TRUE, CKR_ATTRIBUTE_READ_ONLY,
	 CKR_ATTRIBUTE_READ_ONLY},
	{CKA_ALWAYS_AUTHENTICATE, CK_FALSE, CKR_ATTRIBUTE_TYPE_INVALID,
	 CKR_ATTRIBUTE_TYPE_INVALID},
	{CKA_COPYABLE, CK_TRUE, CKR_OK, CKR_OK},
	{CKA_MODIFIABLE, CK_FALSE, CKR_OK, CKR_OK},
};

static void test_wrapping_templates(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(turns) / sizeof(turns[0]); i++) {
		for (int token = 0; token <= 1; token++) {
			struct list list = master_list(token != 0);
			CK_RV want =
				token != 0 ? turns[i].token : turns[i].session;
			CK_RV rv;

			list_flag(&list, turns[i].type,
				  turns[i].value == CK_TRUE);
			rv = make(CKM_GENERIC_SECRET_KEY_GEN, &list);
			if (rv != want)
				fail_msg("0x%lx, token %d: 0x%lx",
					 turns[i].type, token, rv);
		}
	}
}

static void test_other_templates(void **state)
{
	struct list list = master_list(true);

	(void)state;
	list_flag(&list, CKA_WRAP, false);
	list_flag(&list, CKA_UNWRAP, false);
	assert_int_equal(make(CKM_GENERIC_SECRET_KEY_GEN, &list),
			 CKR_TEMPLATE_INCONSISTENT);
	list_flag(&list, CKA_SIGN, true);
	assert_int_equal(make(CKM_GENERIC_SECRET_KEY_GEN, &list), CKR_OK);
	list_number(&list, CKA_VALUE_LEN, 64);
	assert_int_equal(make(CKM_GENERIC_SECRET_KEY_GEN, &list),
			 CKR_KEY_SIZE_RANGE);
	list = master_list(true);
	assert_int_equal(make(CKM_AES_KEY_GEN, &list),
			 CKR_TEMPLATE_INCONSISTENT);
	list_number(&list, CKA_KEY_TYPE, CKK_AES);
	assert_int_equal(make(CKM_AES_KEY_GEN, &list),
			 CKR_TEMPLATE_INCONSISTENT);
	list = dek_list();
	list_number(&list, CKA_VALUE_LEN, 31);
	assert_int_equal(make(CKM_AES_KEY_GEN, &list), CKR_KEY_SIZE_RANGE);
	list = (struct list){0};
	assert_int_equal(make(CKM_AES_KEY_GEN, &list), CKR_TEMPLATE_INCOMPLETE);
	list = dek_list();
	list_bytes(&list, CKA_VALUE, "x", 1);
	assert_int_equal(make(CKM_AES_KEY_GEN, &list), CKR_ATTRIBUTE_READ_ONLY);
	list = dek_list();
	list_bytes(&list, CKA_TOKEN, "xy", 2);
	assert_int_equal(make(CKM_AES_KEY_GEN, &list),
			 CKR_ATTRIBUTE_VALUE_INVALID);
	list = dek_list();
	list_flag(&list, 0x7777, true);
	assert_int_equal(make(CKM_AES_KEY_GEN, &list),
			 CKR_ATTRIBUTE_TYPE_INVALID);
	list = dek_list();
	list.attr[list.n++] = list.attr[0];
	list.kind[list.n - 1] = LIST_NUMBER;
	assert_int_equal(make(CKM_AES_KEY_GEN, &list),
			 CKR_TEMPLATE_INCONSISTENT);
	list = dek_list();
	assert_int_equal(make(CKM_AES_GCM, &list), CKR_MECHANISM_INVALID);
}

/* A key of the token that does not wrap stays inside as well. */
static void test_signing_templates(void **state)
{
	struct list list = master_list(true);

	(void)state;
	list_flag(&list, CKA_WRAP, false);
	list_flag(&list, CKA_UNWRAP, false);
	list_flag(&list, CKA_SIGN, true);
	list_flag(&list, CKA_EXTRACTABLE, true);
	assert_int_equal(make(CKM_GENERIC_SECRET_KEY_GEN, &list),
			 CKR_TEMPLATE_INCONSISTENT);
	list_flag(&list, CKA_EXTRACTABLE, false);
	list_flag(&list, CKA_SENSITIVE, false);
	assert_int_equal(make(CKM_GENERIC_SECRET_KEY_GEN, &list),
			 CKR_TEMPLATE_INCONSISTENT);
	list_flag(&list, CKA_SENSITIVE, true);
	assert_int_equal(make(CKM_GENERIC_SECRET_KEY_GEN, &list), CKR_OK);
}

static void test_history(void **state)
{
	CK_OBJECT_HANDLE master = surface_master(s), dek = surface_dek(s);

	(void)state;
	assert_int_equal(surface_flag(s, master, CKA_LOCAL), CK_TRUE);
	assert_int_equal(surface_flag(s, master, CKA_ALWAYS_SENSITIVE),
			 CK_TRUE);
	assert_int_equal(surface_flag(s, master, CKA_NEVER_EXTRACTABLE),
			 CK_TRUE);
	assert_int_equal(surface_number(s, master, CKA_KEY_GEN_MECHANISM),
			 CKM_GENERIC_SECRET_KEY_GEN);
	assert_int_equal(surface_flag(s, dek, CKA_NEVER_EXTRACTABLE), CK_FALSE);
	assert_int_equal(surface_number(s, dek, CKA_VALUE_LEN), 32);
}

/* Attributes that are there, hidden, unknown and too long, in one call. */
static void test_get_attributes(void **state)
{
	CK_OBJECT_HANDLE master = surface_master(s);
	CK_BYTE value[64], class[4];
	CK_BBOOL wrap = 7;
	CK_ATTRIBUTE list[] = {
		{CKA_VALUE, value, sizeof(value)},
		{CKA_CLASS, class, sizeof(class)},
		{CKA_EC_POINT, value, sizeof(value)},
		{CKA_WRAP, &wrap, sizeof(wrap)},
		{CKA_VALUE_LEN, NULL, 0},
	};
	CK_RV rv = p11->C_GetAttributeValue(s, master, list, 5);

	(void)state;
	assert_true(rv == CKR_ATTRIBUTE_SENSITIVE ||
		    rv == CKR_BUFFER_TOO_SMALL ||
		    rv == CKR_ATTRIBUTE_TYPE_INVALID);
	assert_int_equal(list[0].ulValueLen, CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(list[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(list[2].ulValueLen, CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(wrap, CK_TRUE);
	assert_int_equal(list[4].ulValueLen, sizeof(CK_ULONG));
	assert_int_equal(p11->C_GetAttributeValue(s, master, list, 1),
			 CKR_ATTRIBUTE_SENSITIVE);
	list[1].ulValueLen = sizeof(class);
	assert_int_equal(p11->C_GetAttributeValue(s, master, &list[1], 1),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(p11->C_GetAttributeValue(s, master, &list[2], 1),
			 CKR_ATTRIBUTE_TYPE_INVALID);
}

static CK_RV wrap_with(CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE subject,
		       CK_KEYTURN_TPM_WRAP_PARAMS *params, struct blob *ret)
{
	CK_MECHANISM mechanism = {CKM_KEYTURN_TPM_WRAP, params,
				  params != NULL ? sizeof(*params) : 0};
	CK_ULONG len = sizeof(ret->data);
	CK_RV rv = p11->C_WrapKey(s, &mechanism, key, subject, ret->data, &len);

	ret->len = (uint16_t)(rv == CKR_OK ? len : 0);
	return rv;
}

static CK_RV unwrap_with(CK_OBJECT_HANDLE key, const struct blob *blob,
			 CK_KEYTURN_TPM_WRAP_PARAMS *params, struct list *list,
			 CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {CKM_KEYTURN_TPM_WRAP, params,
				  params != NULL ? sizeof(*params) : 0};

	return p11->C_UnwrapKey(s, &mechanism, key, (CK_BYTE *)blob->data,
				blob->len, list_use(list), list->n, ret);
}

/* Of a key of the token and of one of a session, which serves for trials. */
static void round_trip(CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE other)
{
	CK_BYTE word[] = "row 1";
	CK_KEYTURN_TPM_WRAP_PARAMS aad = {word, 5}, wrong = {word, 4};
	CK_OBJECT_HANDLE dek = surface_dek(s), back;
	struct list list = work_list();
	struct blob blob, again, bound;

	assert_int_equal(wrap_with(key, dek, NULL, &blob), CKR_OK);
	assert_int_equal(blob.len, 104);
	assert_int_equal(wrap_with(key, dek, NULL, &again), CKR_OK);
	assert_true(blob_equal(&blob, &again));
	assert_int_equal(wrap_with(key, dek, &aad, &bound), CKR_OK);
	assert_false(blob_equal(&blob, &bound));
	assert_int_equal(unwrap_with(key, &bound, &wrong, &list, &back),
			 CKR_WRAPPED_KEY_INVALID);
	assert_int_equal(unwrap_with(key, &bound, NULL, &list, &back),
			 CKR_WRAPPED_KEY_INVALID);
	assert_int_equal(unwrap_with(key, &bound, &aad, &list, &back), CKR_OK);
	assert_int_equal(surface_flag(s, back, CKA_LOCAL), CK_FALSE);
	assert_int_equal(surface_flag(s, back, CKA_ALWAYS_SENSITIVE), CK_FALSE);
	assert_int_equal(surface_number(s, back, CKA_KEY_GEN_MECHANISM),
			 CK_UNAVAILABLE_INFORMATION);
	assert_int_equal(surface_number(s, back, CKA_VALUE_LEN), 32);
	assert_int_equal(unwrap_with(other, &blob, NULL, &list, &back),
			 CKR_WRAPPED_KEY_INVALID);
	for (size_t i = 0; i < blob.len; i++) {
		blob.data[i] ^= 0x20;
		assert_int_equal(unwrap_with(key, &blob, NULL, &list, &back),
				 CKR_WRAPPED_KEY_INVALID);
		blob.data[i] ^= 0x20;
	}
	blob.len = 72;
	assert_int_equal(unwrap_with(key, &blob, NULL, &list, &back),
			 CKR_WRAPPED_KEY_LEN_RANGE);
}

static void test_round_trip(void **state)
{
	struct list list = master_list(false);
	CK_OBJECT_HANDLE trial, other;

	(void)state;
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &trial),
		CKR_OK);
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &other),
		CKR_OK);
	round_trip(trial, other);
	round_trip(surface_master(s), other);
}

static void test_wrap_room(void **state)
{
	CK_MECHANISM mechanism = {CKM_KEYTURN_TPM_WRAP, NULL, 0};
	CK_OBJECT_HANDLE master = surface_master(s), dek = surface_dek(s);
	unsigned before = fake_token_commands();
	CK_BYTE out[104];
	CK_ULONG len = 0;

	(void)state;
	assert_int_equal(p11->C_WrapKey(s, &mechanism, master, dek, NULL, &len),
			 CKR_OK);
	assert_int_equal(len, 104);
	len = 103;
	assert_int_equal(p11->C_WrapKey(s, &mechanism, master, dek, out, &len),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(len, 104);
	assert_int_equal(fake_token_commands(), before);
	assert_int_equal(p11->C_WrapKey(s, &mechanism, master, dek, out, &len),
			 CKR_OK);
	assert_int_equal(fake_token_commands(), before + 1);
	mechanism.ulParameterLen = 3;
	assert_int_equal(p11->C_WrapKey(s, &mechanism, master, dek, out, &len),
			 CKR_MECHANISM_PARAM_INVALID);
	mechanism.ulParameterLen = 0;
	fake_token_fail(CKR_DEVICE_REMOVED);
	assert_int_equal(p11->C_WrapKey(s, &mechanism, master, dek, out, &len),
			 CKR_DEVICE_REMOVED);
}

static void test_what_does_not_wrap(void **state)
{
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_MECHANISM cbc = {CKM_AES_CBC_PAD, NULL, 0};
	CK_OBJECT_HANDLE master = surface_master(s), other = surface_master(s);
	CK_OBJECT_HANDLE dek = surface_dek(s), inside;
	struct list list = dek_list();
	CK_BYTE out[200];
	CK_ULONG len = sizeof(out);
	struct blob blob;

	(void)state;
	assert_int_equal(wrap_with(master, other, NULL, &blob),
			 CKR_KEY_UNEXTRACTABLE);
	assert_int_equal(wrap_with(dek, dek, NULL, &blob),
			 CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_int_equal(wrap_with(4711, dek, NULL, &blob),
			 CKR_WRAPPING_KEY_HANDLE_INVALID);
	assert_int_equal(wrap_with(master, 4711, NULL, &blob),
			 CKR_KEY_HANDLE_INVALID);
	assert_int_equal(p11->C_WrapKey(s, &kw, master, dek, out, &len),
			 CKR_WRAPPING_KEY_TYPE_INCONSISTENT);
	assert_int_equal(p11->C_WrapKey(s, &cbc, master, dek, out, &len),
			 CKR_MECHANISM_INVALID);
	list_flag(&list, CKA_EXTRACTABLE, false);
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &inside),
			 CKR_OK);
	assert_int_equal(wrap_with(master, inside, NULL, &blob),
			 CKR_KEY_UNEXTRACTABLE);
	list_flag(&list, CKA_EXTRACTABLE, true);
	list_flag(&list, CKA_WRAP_WITH_TRUSTED, true);
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &inside),
			 CKR_OK);
	assert_int_equal(wrap_with(master, inside, NULL, &blob),
			 CKR_KEY_NOT_WRAPPABLE);
}

/* A wrapping key with these two templates and one mechanism. */
static CK_OBJECT_HANDLE strict_master(void)
{
	static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	static CK_MECHANISM_TYPE allowed = CKM_KEYTURN_TPM_WRAP;
	static const CK_ATTRIBUTE inner[] = {
		{CKA_DECRYPT, &no, 1},
		{CKA_ENCRYPT, &no, 1},
		{CKA_PRIVATE, &yes, 1},
	};
	static const CK_ATTRIBUTE subject[] = {{CKA_DECRYPT, &no, 1}};
	struct list list = master_list(true);
	CK_OBJECT_HANDLE key;

	list_bytes(&list, CKA_UNWRAP_TEMPLATE, inner, sizeof(inner));
	list_bytes(&list, CKA_WRAP_TEMPLATE, subject, sizeof(subject));
	list_bytes(&list, CKA_ALLOWED_MECHANISMS, &allowed, sizeof(allowed));
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &key),
		CKR_OK);
	return key;
}

static void test_templates_of_a_key(void **state)
{
	CK_OBJECT_HANDLE master = strict_master(), dek = surface_dek(s), back;
	struct list list = dek_list();
	struct blob blob;

	(void)state;
	assert_int_equal(wrap_with(master, dek, NULL, &blob),
			 CKR_KEY_NOT_WRAPPABLE);
	list_flag(&list, CKA_ENCRYPT, false);
	list_flag(&list, CKA_DECRYPT, false);
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &dek),
			 CKR_OK);
	assert_int_equal(wrap_with(master, dek, NULL, &blob), CKR_OK);
	list = work_list();
	assert_int_equal(unwrap_with(master, &blob, NULL, &list, &back),
			 CKR_TEMPLATE_INCONSISTENT);
	list_flag(&list, CKA_ENCRYPT, false);
	list.n--; /* and nothing said of CKA_DECRYPT */
	assert_int_equal(list.attr[list.n].type, CKA_DECRYPT);
	assert_int_equal(unwrap_with(master, &blob, NULL, &list, &back),
			 CKR_OK);
	assert_int_equal(surface_flag(s, back, CKA_DECRYPT), CK_FALSE);
}

static void test_read_templates(void **state)
{
	CK_OBJECT_HANDLE master = strict_master();
	CK_MECHANISM_TYPE types[2] = {0};
	CK_BBOOL flags[3] = {7, 7, 7};
	CK_ATTRIBUTE inner[3] = {
		{0, &flags[0], 1}, {0, &flags[1], 1}, {0, &flags[2], 1}};
	CK_ATTRIBUTE list[] = {
		{CKA_UNWRAP_TEMPLATE, NULL, 0},
		{CKA_ALLOWED_MECHANISMS, types, sizeof(types)},
	};

	(void)state;
	assert_int_equal(p11->C_GetAttributeValue(s, master, list, 2), CKR_OK);
	assert_int_equal(list[0].ulValueLen, sizeof(inner));
	assert_int_equal(list[1].ulValueLen, sizeof(types[0]));
	assert_int_equal(types[0], CKM_KEYTURN_TPM_WRAP);
	list[0].pValue = inner;
	assert_int_equal(p11->C_GetAttributeValue(s, master, list, 1), CKR_OK);
	assert_int_equal(inner[0].type, CKA_DECRYPT);
	assert_int_equal(flags[0], CK_FALSE);
	assert_int_equal(inner[2].type, CKA_PRIVATE);
	assert_int_equal(flags[2], CK_TRUE);
	inner[1].ulValueLen = 0;
	assert_int_equal(p11->C_GetAttributeValue(s, master, list, 1),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(inner[1].ulValueLen, CK_UNAVAILABLE_INFORMATION);
}

/* Ways in for a key that somebody knows, and ways out for one that nobody
 * should. */
static void test_escapes(void **state)
{
	CK_OBJECT_HANDLE master = surface_master(s), dek = surface_dek(s), key;
	struct list list = work_list();
	CK_BYTE value[32] = {0};
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE change = {CKA_DECRYPT, &yes, 1};
	struct blob blob;

	(void)state;
	assert_int_equal(wrap_with(master, dek, NULL, &blob), CKR_OK);
	list_flag(&list, CKA_SENSITIVE, false);
	assert_int_equal(unwrap_with(master, &blob, NULL, &list, &key),
			 CKR_TEMPLATE_INCONSISTENT);
	list = work_list();
	list_flag(&list, CKA_TOKEN, true);
	assert_int_equal(unwrap_with(master, &blob, NULL, &list, &key),
			 CKR_TEMPLATE_INCONSISTENT);
	list = work_list();
	list_number(&list, CKA_VALUE_LEN, 16);
	assert_int_equal(unwrap_with(master, &blob, NULL, &list, &key),
			 CKR_TEMPLATE_INCONSISTENT);
	list = work_list();
	list_bytes(&list, CKA_VALUE, value, sizeof(value));
	assert_int_equal(p11->C_CreateObject(s, list_use(&list), list.n, &key),
			 CKR_OK);
	list_flag(&list, CKA_ENCRYPT, false);
	list_flag(&list, CKA_DECRYPT, false);
	list_flag(&list, CKA_UNWRAP, true);
	assert_int_equal(p11->C_CreateObject(s, list_use(&list), list.n, &key),
			 CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(p11->C_SetAttributeValue(s, dek, &change, 1),
			 CKR_ATTRIBUTE_READ_ONLY);
	assert_int_equal(p11->C_SetAttributeValue(s, master, &change, 1),
			 CKR_ACTION_PROHIBITED);
	change = (CK_ATTRIBUTE){CKA_SENSITIVE, &no, 1};
	assert_int_equal(p11->C_SetAttributeValue(s, dek, &change, 1),
			 CKR_ATTRIBUTE_READ_ONLY);
	change = (CK_ATTRIBUTE){CKA_EXTRACTABLE, &no, 1};
	assert_int_equal(p11->C_SetAttributeValue(s, dek, &change, 1), CKR_OK);
	assert_int_equal(wrap_with(master, dek, NULL, &blob),
			 CKR_KEY_UNEXTRACTABLE);
	assert_int_equal(p11->C_CopyObject(s, dek, NULL, 0, &key),
			 CKR_FUNCTION_NOT_SUPPORTED);
}

/* A known key must not come back through a wrap as one that wraps. */
static void test_known_keys(void **state)
{
	CK_OBJECT_HANDLE master = surface_master(s), key;
	struct list list = dek_list();
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE change = {CKA_SENSITIVE, &yes, 1};
	CK_BYTE value[32] = {0};
	struct blob blob;

	(void)state;
	list_flag(&list, CKA_SENSITIVE, false);
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &key),
			 CKR_OK);
	assert_int_equal(wrap_with(master, key, NULL, &blob),
			 CKR_KEY_NOT_WRAPPABLE);
	assert_int_equal(p11->C_SetAttributeValue(s, key, &change, 1), CKR_OK);
	assert_int_equal(wrap_with(master, key, NULL, &blob),
			 CKR_KEY_NOT_WRAPPABLE);
	list = work_list();
	list_flag(&list, CKA_EXTRACTABLE, true);
	list_bytes(&list, CKA_VALUE, value, sizeof(value));
	assert_int_equal(p11->C_CreateObject(s, list_use(&list), list.n, &key),
			 CKR_OK);
	assert_int_equal(wrap_with(master, key, NULL, &blob),
			 CKR_KEY_NOT_WRAPPABLE);
}

/* Only what says that it is neither sensitive nor kept in can be read. */
static void test_readable(void **state)
{
	struct list list = dek_list();
	CK_BYTE value[32];
	CK_ATTRIBUTE attr = {CKA_VALUE, value, sizeof(value)};
	CK_OBJECT_HANDLE key;

	(void)state;
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &key),
			 CKR_OK);
	assert_int_equal(p11->C_GetAttributeValue(s, key, &attr, 1),
			 CKR_ATTRIBUTE_SENSITIVE);
	list_flag(&list, CKA_SENSITIVE, false);
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &key),
			 CKR_OK);
	attr.ulValueLen = sizeof(value);
	assert_int_equal(p11->C_GetAttributeValue(s, key, &attr, 1), CKR_OK);
	assert_int_equal(attr.ulValueLen, 32);
}

static CK_OBJECT_HANDLE mac_key(void)
{
	struct list list = master_list(true);
	CK_OBJECT_HANDLE key;

	list_flag(&list, CKA_WRAP, false);
	list_flag(&list, CKA_UNWRAP, false);
	list_flag(&list, CKA_SIGN, true);
	list_flag(&list, CKA_VERIFY, true);
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &key),
		CKR_OK);
	return key;
}

static void test_find(void **state)
{
	CK_OBJECT_CLASS secret = CKO_SECRET_KEY, data = CKO_DATA;
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE token[] = {{CKA_CLASS, &secret, sizeof(secret)},
				{CKA_TOKEN, &yes, sizeof(yes)}};
	CK_ATTRIBUTE none = {CKA_CLASS, &data, sizeof(data)};
	CK_ATTRIBUTE strange = {CKA_OBJECT_ID, &data, sizeof(data)};
	CK_OBJECT_HANDLE found[3];
	CK_ULONG n;

	(void)state;
	surface_master(s);
	surface_master(s);
	surface_dek(s);
	assert_int_equal(surface_count(s, NULL, 0), 3);
	assert_int_equal(surface_count(s, token, 2), 2);
	assert_int_equal(surface_count(s, &none, 1), 0);
	assert_int_equal(surface_count(s, &strange, 1), 0);
	assert_int_equal(p11->C_FindObjects(s, found, 3, &n),
			 CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(p11->C_FindObjectsInit(s, NULL, 0), CKR_OK);
	assert_int_equal(p11->C_FindObjectsInit(s, NULL, 0),
			 CKR_OPERATION_ACTIVE);
	assert_int_equal(p11->C_FindObjects(s, found, 2, &n), CKR_OK);
	assert_int_equal(n, 2);
	assert_int_equal(p11->C_FindObjects(s, found, 3, &n), CKR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(p11->C_FindObjects(s, found, 3, &n), CKR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(p11->C_FindObjectsFinal(s), CKR_OK);
}

static void test_destroy(void **state)
{
	CK_OBJECT_HANDLE master = surface_master(s), keep;
	CK_SESSION_HANDLE ro = surface_session(0);
	struct list list = master_list(true);

	(void)state;
	assert_int_equal(p11->C_DestroyObject(ro, master),
			 CKR_SESSION_READ_ONLY);
	fake_token_fail(CKR_DEVICE_ERROR);
	assert_int_equal(p11->C_DestroyObject(s, master), CKR_DEVICE_ERROR);
	assert_int_equal(p11->C_DestroyObject(s, master), CKR_OK);
	assert_int_equal(p11->C_DestroyObject(s, master),
			 CKR_OBJECT_HANDLE_INVALID);
	assert_int_equal(surface_count(s, NULL, 0), 0);
	list_flag(&list, CKA_DESTROYABLE, false);
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &keep),
		CKR_OK);
	assert_int_equal(p11->C_DestroyObject(s, keep), CKR_ACTION_PROHIBITED);
	fake_token_lose_keys();
	assert_int_equal(surface_count(s, NULL, 0), 0);
	assert_int_equal(p11->C_DestroyObject(s, keep),
			 CKR_OBJECT_HANDLE_INVALID);
}

/* Another process destroyed the key, and this one did not look since. */
static void test_destroyed_elsewhere(void **state)
{
	CK_OBJECT_HANDLE master = surface_master(s), dek = surface_dek(s), back;
	CK_MECHANISM hmac = {CKM_SHA256_HMAC, NULL, 0};
	CK_OBJECT_HANDLE mac = mac_key();
	struct list list = work_list();
	CK_BYTE out[32];
	CK_ULONG len = sizeof(out);
	struct blob blob, again;

	(void)state;
	assert_int_equal(wrap_with(master, dek, NULL, &blob), CKR_OK);
	fake_token_lose_keys();
	assert_int_equal(wrap_with(master, dek, NULL, &again),
			 CKR_WRAPPING_KEY_HANDLE_INVALID);
	assert_int_equal(unwrap_with(master, &blob, NULL, &list, &back),
			 CKR_UNWRAPPING_KEY_HANDLE_INVALID);
	assert_int_equal(p11->C_SignInit(s, &hmac, mac), CKR_OK);
	assert_int_equal(p11->C_Sign(s, out, 1, out, &len),
			 CKR_KEY_HANDLE_INVALID);
	assert_int_equal(p11->C_DestroyObject(s, master),
			 CKR_OBJECT_HANDLE_INVALID);
	assert_int_equal(p11->C_DestroyObject(s, master),
			 CKR_OBJECT_HANDLE_INVALID);
}

/* PKCS#11 2.40 as first published: no count of bits. */
struct gcm_short {
	CK_BYTE *iv;
	CK_ULONG iv_len;
	CK_BYTE *aad;
	CK_ULONG aad_len, tag_bits;
};

static void test_gcm(void **state)
{
	CK_BYTE iv[12] = {1}, aad[] = "aad", text[] = "some text", out[64];
	CK_BYTE back[64];
	CK_GCM_PARAMS params = {iv, sizeof(iv), 96, aad, 3, 128};
	struct gcm_short brief = {iv, sizeof(iv), aad, 3, 128};
	CK_MECHANISM six = {CKM_AES_GCM, &params, sizeof(params)};
	CK_MECHANISM five = {CKM_AES_GCM, &brief, sizeof(brief)};
	CK_OBJECT_HANDLE dek = surface_dek(s);
	CK_ULONG len = 0, back_len = sizeof(back);

	(void)state;
	assert_int_equal(p11->C_Encrypt(s, text, 9, out, &len),
			 CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(p11->C_EncryptInit(s, &six, dek), CKR_OK);
	assert_int_equal(p11->C_EncryptInit(s, &six, dek),
			 CKR_OPERATION_ACTIVE);
	assert_int_equal(p11->C_Encrypt(s, text, 9, NULL, &len), CKR_OK);
	assert_int_equal(len, 25);
	len = 24;
	assert_int_equal(p11->C_Encrypt(s, text, 9, out, &len),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(p11->C_Encrypt(s, text, 9, out, &len), CKR_OK);
	assert_int_equal(p11->C_DecryptInit(s, &five, dek), CKR_OK);
	assert_int_equal(p11->C_Decrypt(s, out, 25, back, &back_len), CKR_OK);
	assert_int_equal(back_len, 9);
	assert_memory_equal(back, text, 9);
	memset(back, 0, sizeof(back));
	out[3] ^= 1;
	assert_int_equal(p11->C_DecryptInit(s, &six, dek), CKR_OK);
	assert_int_equal(p11->C_Decrypt(s, out, 25, back, &back_len),
			 CKR_ENCRYPTED_DATA_INVALID);
	assert_int_equal(back[0], 0);
	out[3] ^= 1;
	params.aad_len = 2;
	assert_int_equal(p11->C_DecryptInit(s, &six, dek), CKR_OK);
	back_len = sizeof(back);
	assert_int_equal(p11->C_Decrypt(s, out, 25, back, &back_len),
			 CKR_ENCRYPTED_DATA_INVALID);
	assert_int_equal(p11->C_DecryptInit(s, &six, dek), CKR_OK);
	assert_int_equal(p11->C_Decrypt(s, out, 15, back, &back_len),
			 CKR_ENCRYPTED_DATA_LEN_RANGE);
	assert_int_equal(p11->C_EncryptInit(s, &five, dek), CKR_OK);
	assert_int_equal(p11->C_EncryptUpdate(s, text, 9, out, &len),
			 CKR_FUNCTION_NOT_SUPPORTED);
	assert_int_equal(p11->C_Encrypt(s, text, 9, out, &len),
			 CKR_OPERATION_NOT_INITIALIZED);
}

static void bad_params(CK_OBJECT_HANDLE dek, CK_GCM_PARAMS params)
{
	CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof(params)};

	assert_int_equal(p11->C_EncryptInit(s, &mechanism, dek),
			 CKR_MECHANISM_PARAM_INVALID);
}

static void test_gcm_refusals(void **state)
{
	CK_BYTE iv[12] = {1};
	CK_GCM_PARAMS params = {iv, 12, 96, NULL, 0, 128};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &params, sizeof(params)};
	CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
	CK_OBJECT_HANDLE master = surface_master(s), dek = surface_dek(s);

	(void)state;
	bad_params(dek, (CK_GCM_PARAMS){NULL, 12, 96, NULL, 0, 128});
	bad_params(dek, (CK_GCM_PARAMS){iv, 12, 95, NULL, 0, 128});
	bad_params(dek, (CK_GCM_PARAMS){iv, 0, 0, NULL, 0, 128});
	bad_params(dek, (CK_GCM_PARAMS){iv, 12, 96, NULL, 1, 128});
	bad_params(dek, (CK_GCM_PARAMS){iv, 12, 96, NULL, 0, 32});
	mechanism.ulParameterLen = 3;
	assert_int_equal(p11->C_EncryptInit(s, &mechanism, dek),
			 CKR_MECHANISM_PARAM_INVALID);
	mechanism.ulParameterLen = sizeof(params);
	assert_int_equal(p11->C_EncryptInit(s, &mechanism, master),
			 CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_int_equal(p11->C_EncryptInit(s, &ecb, dek),
			 CKR_MECHANISM_INVALID);
	assert_int_equal(p11->C_EncryptInit(s, &mechanism, 4711),
			 CKR_KEY_HANDLE_INVALID);
	/* What was begun is over with the logout. */
	assert_int_equal(p11->C_EncryptInit(s, &mechanism, dek), CKR_OK);
	assert_int_equal(p11->C_Logout(s), CKR_OK);
	assert_int_equal(p11->C_Encrypt(s, iv, 12, NULL, &(CK_ULONG){0}),
			 CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(p11->C_EncryptInit(s, &mechanism, dek),
			 CKR_USER_NOT_LOGGED_IN);
}

/* A project key, which wraps by AES key wrap in its session. */
static void test_aes_key_wrap(void **state)
{
	CK_MECHANISM kw = {CKM_AES_KEY_WRAP, NULL, 0};
	struct list list = work_list();
	CK_OBJECT_HANDLE project, dek = surface_dek(s), back;
	CK_BYTE blob[64], again[64];
	CK_ULONG len = sizeof(blob), again_len = sizeof(again);

	(void)state;
	list_flag(&list, CKA_ENCRYPT, false);
	list_flag(&list, CKA_DECRYPT, false);
	list_flag(&list, CKA_WRAP, true);
	list_flag(&list, CKA_UNWRAP, true);
	list_number(&list, CKA_VALUE_LEN, 32);
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &list, &project),
			 CKR_OK);
	assert_int_equal(p11->C_WrapKey(s, &kw, project, dek, blob, &len),
			 CKR_OK);
	assert_int_equal(len, 40);
	assert_int_equal(
		p11->C_WrapKey(s, &kw, project, dek, again, &again_len),
		CKR_OK);
	assert_memory_equal(blob, again, 40);
	list = work_list();
	assert_int_equal(p11->C_UnwrapKey(s, &kw, project, blob, len,
					  list_use(&list), list.n, &back),
			 CKR_OK);
	blob[7] ^= 1;
	assert_int_equal(p11->C_UnwrapKey(s, &kw, project, blob, len,
					  list_use(&list), list.n, &back),
			 CKR_WRAPPED_KEY_INVALID);
	assert_int_equal(p11->C_UnwrapKey(s, &kw, project, blob, len - 1,
					  list_use(&list), list.n, &back),
			 CKR_WRAPPED_KEY_LEN_RANGE);
	assert_int_equal(p11->C_UnwrapKey(s, &kw, dek, blob, len,
					  list_use(&list), list.n, &back),
			 CKR_KEY_FUNCTION_NOT_PERMITTED);
}

/* Keys that their attributes would let do it, but for another mechanism. */
static void test_allowed_mechanisms(void **state)
{
	static CK_MECHANISM_TYPE other = CKM_AES_KEY_GEN;
	CK_BYTE iv[12] = {0};
	CK_GCM_PARAMS params = {iv, sizeof(iv), 96, NULL, 0, 128};
	CK_MECHANISM gcm = {CKM_AES_GCM, &params, sizeof(params)};
	CK_MECHANISM hmac = {CKM_SHA256_HMAC, NULL, 0};
	struct list master = master_list(true), mac = master_list(false);
	struct list dek = dek_list();
	CK_OBJECT_HANDLE key;
	struct blob blob;

	(void)state;
	list_bytes(&master, CKA_ALLOWED_MECHANISMS, &other, sizeof(other));
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &master, &key),
		CKR_OK);
	assert_int_equal(wrap_with(key, surface_dek(s), NULL, &blob),
			 CKR_MECHANISM_INVALID);
	list_bytes(&dek, CKA_ALLOWED_MECHANISMS, &other, sizeof(other));
	assert_int_equal(surface_generate(s, CKM_AES_KEY_GEN, &dek, &key),
			 CKR_OK);
	assert_int_equal(p11->C_EncryptInit(s, &gcm, key),
			 CKR_MECHANISM_INVALID);
	list_flag(&mac, CKA_WRAP, false);
	list_flag(&mac, CKA_UNWRAP, false);
	list_flag(&mac, CKA_SIGN, true);
	list_bytes(&mac, CKA_ALLOWED_MECHANISMS, &other, sizeof(other));
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &mac, &key),
		CKR_OK);
	assert_int_equal(p11->C_SignInit(s, &hmac, key), CKR_MECHANISM_INVALID);
}

/* RFC 3394 section 4.6. */
static void test_rfc3394(void **state)
{
	uint8_t key[32], value[32], blob[40];
	const struct kt_secret k = {key, 32}, v = {value, 32};
	struct kt_secret back;

	(void)state;
	assert_true(hex_decode("000102030405060708090a0b0c0d0e0f"
			       "101112131415161718191a1b1c1d1e1f",
			       key, 32));
	assert_true(hex_decode("00112233445566778899aabbccddeeff"
			       "000102030405060708090a0b0c0d0e0f",
			       value, 32));
	assert_int_equal(soft_kw_wrap(&k, &v, blob), CKR_OK);
	{
		uint8_t want[40];

		assert_true(hex_decode("28c9f404c4b810f4cbccb35cfb87f826"
				       "3f5786e2d80ed326cbc7f0e71a99f43b"
				       "fb988b9b7a02dd21",
				       want, 40));
		assert_memory_equal(blob, want, 40);
	}
	assert_int_equal(soft_kw_unwrap(&k, (struct bytes){blob, 40}, &back),
			 CKR_OK);
	assert_true(secret_equal(&back, &v));
	kt_secret_done(&back);
}

static void test_mac(void **state)
{
	CK_MECHANISM hmac = {CKM_SHA256_HMAC, NULL, 0};
	CK_OBJECT_HANDLE key = mac_key(), master = surface_master(s);
	CK_BYTE data[3000] = {1, 2, 3}, mac[32], parts[32];
	CK_ULONG len = 31;

	(void)state;
	assert_int_equal(p11->C_SignInit(s, &hmac, master),
			 CKR_KEY_FUNCTION_NOT_PERMITTED);
	assert_int_equal(p11->C_SignInit(s, &hmac, surface_dek(s)),
			 CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(p11->C_SignInit(s, &hmac, key), CKR_OK);
	assert_int_equal(p11->C_Sign(s, data, 3000, mac, &len),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(len, 32);
	assert_int_equal(p11->C_Sign(s, data, 3000, mac, &len), CKR_OK);
	assert_int_equal(p11->C_Sign(s, data, 3000, mac, &len),
			 CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(p11->C_SignInit(s, &hmac, key), CKR_OK);
	assert_int_equal(p11->C_SignUpdate(s, data, 1000), CKR_OK);
	assert_int_equal(p11->C_SignUpdate(s, data + 1000, 2000), CKR_OK);
	assert_int_equal(p11->C_SignFinal(s, parts, &len), CKR_OK);
	assert_memory_equal(mac, parts, 32);
	assert_int_equal(p11->C_SignInit(s, &hmac, key), CKR_OK);
	for (size_t i = 0; i < sizeof(data); i += 3)
		assert_int_equal(p11->C_SignUpdate(s, data + i, 3), CKR_OK);
	assert_int_equal(p11->C_Sign(s, data, 1, parts, &len),
			 CKR_OPERATION_ACTIVE);
	assert_int_equal(p11->C_SignInit(s, &hmac, key), CKR_OK);
	for (size_t i = 0; i < sizeof(data); i += 3)
		assert_int_equal(p11->C_SignUpdate(s, data + i, 3), CKR_OK);
	assert_int_equal(p11->C_SignFinal(s, parts, &len), CKR_OK);
	assert_memory_equal(mac, parts, 32);
	assert_int_equal(p11->C_VerifyInit(s, &hmac, key), CKR_OK);
	assert_int_equal(p11->C_Verify(s, data, 3000, mac, 32), CKR_OK);
	mac[31] ^= 1;
	assert_int_equal(p11->C_VerifyInit(s, &hmac, key), CKR_OK);
	assert_int_equal(p11->C_VerifyUpdate(s, data, 3000), CKR_OK);
	assert_int_equal(p11->C_VerifyFinal(s, mac, 32), CKR_SIGNATURE_INVALID);
	assert_int_equal(p11->C_VerifyInit(s, &hmac, key), CKR_OK);
	assert_int_equal(p11->C_Verify(s, data, 3000, mac, 31),
			 CKR_SIGNATURE_LEN_RANGE);
}

/* RFC 4231 section 4.2, with a key that was brought in. */
static void test_rfc4231(void **state)
{
	CK_MECHANISM hmac = {CKM_SHA256_HMAC, NULL, 0};
	struct list list = {0};
	CK_BYTE mac[32], want[32], key[20];
	CK_ULONG len = sizeof(mac);
	CK_OBJECT_HANDLE object;

	(void)state;
	memset(key, 0x0b, sizeof(key));
	list_number(&list, CKA_CLASS, CKO_SECRET_KEY);
	list_number(&list, CKA_KEY_TYPE, CKK_GENERIC_SECRET);
	list_flag(&list, CKA_SIGN, true);
	list_bytes(&list, CKA_VALUE, key, sizeof(key));
	assert_int_equal(
		p11->C_CreateObject(s, list_use(&list), list.n, &object),
		CKR_OK);
	assert_int_equal(p11->C_SignInit(s, &hmac, object), CKR_OK);
	assert_int_equal(p11->C_Sign(s, BYTES_OF("Hi There"), mac, &len),
			 CKR_OK);
	assert_true(hex_decode("b0344c61d8db38535ca8afceaf0bf12b"
			       "881dc200c9833da726e9376c2e32cff7",
			       want, 32));
	assert_memory_equal(mac, want, 32);
}

static const CK_BYTE p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48,
			       0xce, 0x3d, 0x03, 0x01, 0x07};
static const CK_BYTE p384[] = {0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22};

static CK_RV make_pair(const CK_BYTE *curve, CK_ULONG curve_len,
		       CK_ATTRIBUTE_TYPE wrong, CK_OBJECT_HANDLE *ret_public,
		       CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	struct list public_list = {0}, private_list = {0};

	list_flag(&public_list, CKA_TOKEN, true);
	list_flag(&public_list, CKA_VERIFY, true);
	list_bytes(&public_list, CKA_EC_PARAMS, curve, curve_len);
	list_flag(&private_list, CKA_TOKEN, true);
	list_flag(&private_list, CKA_SIGN, true);
	if (wrong != 0)
		list_flag(&private_list, wrong, wrong != CKA_SENSITIVE);
	return p11->C_GenerateKeyPair(s, &mechanism, list_use(&public_list),
				      public_list.n, list_use(&private_list),
				      private_list.n, ret_public, ret);
}

static void test_pair(void **state)
{
	const CK_ATTRIBUTE_TYPE wrong[] = {CKA_DERIVE, CKA_EXTRACTABLE,
					   CKA_SENSITIVE,
					   CKA_ALWAYS_AUTHENTICATE};
	CK_MECHANISM ecdsa = {CKM_ECDSA, NULL, 0};
	CK_OBJECT_HANDLE public_key, key;
	CK_BYTE digest[32] = {1}, signature[64], point[80];
	CK_ATTRIBUTE attr = {CKA_EC_POINT, point, sizeof(point)};
	CK_ULONG len = sizeof(signature);

	(void)state;
	assert_int_equal(make_pair(p384, sizeof(p384), 0, &public_key, &key),
			 CKR_CURVE_NOT_SUPPORTED);
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(make_pair(p256, sizeof(p256), wrong[i],
					   &public_key, &key),
				 CKR_TEMPLATE_INCONSISTENT);
	assert_int_equal(make_pair(p256, sizeof(p256), 0, &public_key, &key),
			 CKR_OK);
	assert_int_equal(p11->C_GetAttributeValue(s, public_key, &attr, 1),
			 CKR_OK);
	assert_int_equal(attr.ulValueLen, 67);
	assert_int_equal(point[0], 0x04);
	assert_int_equal(surface_flag(s, key, CKA_SENSITIVE), CK_TRUE);
	assert_int_equal(p11->C_SignInit(s, &ecdsa, public_key),
			 CKR_KEY_TYPE_INCONSISTENT);
	assert_int_equal(p11->C_SignInit(s, &ecdsa, key), CKR_OK);
	assert_int_equal(p11->C_Sign(s, digest, 31, signature, &len),
			 CKR_DATA_LEN_RANGE);
	assert_int_equal(p11->C_SignInit(s, &ecdsa, key), CKR_OK);
	assert_int_equal(p11->C_Sign(s, digest, 32, signature, &len), CKR_OK);
	assert_int_equal(len, 64);
	assert_int_equal(p11->C_VerifyInit(s, &ecdsa, public_key), CKR_OK);
	assert_int_equal(p11->C_Verify(s, digest, 32, signature, 64), CKR_OK);
	digest[31] ^= 1;
	assert_int_equal(p11->C_VerifyInit(s, &ecdsa, public_key), CKR_OK);
	assert_int_equal(p11->C_Verify(s, digest, 32, signature, 64),
			 CKR_SIGNATURE_INVALID);
	assert_int_equal(p11->C_SignInit(s, &ecdsa, key), CKR_OK);
	assert_int_equal(p11->C_SignUpdate(s, digest, 32),
			 CKR_FUNCTION_NOT_SUPPORTED);
	assert_int_equal(p11->C_DestroyObject(s, public_key),
			 CKR_ACTION_PROHIBITED);
	assert_int_equal(p11->C_DestroyObject(s, key), CKR_OK);
	assert_int_equal(p11->C_DestroyObject(s, public_key), CKR_OK);
	assert_int_equal(surface_count(s, NULL, 0), 0);
}

struct seen {
	char name[32];
	CK_BYTE data[32];
	CK_ULONG len;
};

static CK_RV see(void *arg, const char *name, const unsigned char *data,
		 unsigned long len)
{
	struct seen *seen = arg;

	memcpy(seen->name, name, strlen(name) + 1);
	memcpy(seen->data, data, len);
	seen->len = len;
	return CKR_OK;
}

static void test_attest(void **state)
{
	struct list list = master_list(true);
	struct seen seen = {0};
	CK_OBJECT_HANDLE key;

	(void)state;
	surface_master(s);
	list_bytes(&list, CKA_ID, "key 2", 5);
	assert_int_equal(
		surface_generate(s, CKM_GENERIC_SECRET_KEY_GEN, &list, &key),
		CKR_OK);
	assert_int_equal(keyturn_tpm2_attest(s, BYTES_OF("key 3"),
					     BYTES_OF("nonce"), see, &seen),
			 CKR_KEY_HANDLE_INVALID);
	assert_int_equal(
		keyturn_tpm2_attest(s, BYTES_OF("key 2"), NULL, 1, see, &seen),
		CKR_ARGUMENTS_BAD);
	assert_int_equal(keyturn_tpm2_attest(s, BYTES_OF("key 2"),
					     BYTES_OF("nonce"), see, &seen),
			 CKR_OK);
	assert_int_equal(seen.len, 5);
	assert_memory_equal(seen.data, "nonce", 5);
}

static void test_provision(void **state)
{
	const struct keyturn_tpm2_provision good = {.keys = 2},
					    greedy = {.keys = 1000};

	(void)state;
	assert_int_equal(keyturn_tpm2_provision(0, &good), CKR_SESSION_EXISTS);
	assert_int_equal(p11->C_CloseAllSessions(0), CKR_OK);
	assert_int_equal(keyturn_tpm2_provision(0, NULL), CKR_ARGUMENTS_BAD);
	assert_int_equal(keyturn_tpm2_provision(1, &good), CKR_SLOT_ID_INVALID);
	assert_non_null(strstr(keyturn_tpm2_error(), "no slot 1"));
	assert_int_equal(keyturn_tpm2_provision(0, &greedy), CKR_DEVICE_MEMORY);
	assert_int_equal(keyturn_tpm2_provision(0, &good), CKR_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_wrapping_templates),
		TEST(test_other_templates),
		TEST(test_signing_templates),
		TEST(test_history),
		TEST(test_get_attributes),
		TEST(test_round_trip),
		TEST(test_wrap_room),
		TEST(test_what_does_not_wrap),
		TEST(test_templates_of_a_key),
		TEST(test_read_templates),
		TEST(test_escapes),
		TEST(test_known_keys),
		TEST(test_readable),
		TEST(test_find),
		TEST(test_destroy),
		TEST(test_destroyed_elsewhere),
		TEST(test_gcm),
		TEST(test_gcm_refusals),
		TEST(test_aes_key_wrap),
		TEST(test_allowed_mechanisms),
		cmocka_unit_test(test_rfc3394),
		TEST(test_mac),
		TEST(test_rfc4231),
		TEST(test_pair),
		TEST(test_attest),
		TEST(test_provision),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
