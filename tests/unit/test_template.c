/*
 * The attribute policy: the shape of every template, the separation of roles,
 * and what a real token makes of it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/template.h"
#include "hsm/tpm2/keyturn-tpm2.h"
#include "tests/unit/softhsm.h"

static const struct made {
	enum kt_key_role role;
	enum key_use use;
} all[] = {
	{KT_KEY_MASTER, USE_TOKEN},    {KT_KEY_MASTER, USE_STANDIN},
	{KT_KEY_RECOVERY, USE_TOKEN},  {KT_KEY_RECOVERY, USE_STANDIN},
	{KT_KEY_PROJECT, USE_NEW},     {KT_KEY_PROJECT, USE_WORK},
	{KT_KEY_PROJECT, USE_REWRAP},  {KT_KEY_PROJECT, USE_STANDIN},
	{KT_KEY_DEK, USE_NEW},         {KT_KEY_DEK, USE_WORK},
	{KT_KEY_DEK, USE_REWRAP},      {KT_KEY_ROW_MAC, USE_TOKEN},
	{KT_KEY_ROW_MAC, USE_STANDIN}, {KT_KEY_AUDIT, USE_TOKEN},
};

#define ALL (sizeof(all) / sizeof(all[0]))

static const CK_ATTRIBUTE *attr_in(const CK_ATTRIBUTE *list, CK_ULONG n,
				   CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *found = NULL;

	for (CK_ULONG i = 0; i < n; i++) {
		if (list[i].type != type)
			continue;
		assert_null(found); /* none stands twice */
		found = &list[i];
	}
	return found;
}

static bool flag_in(const struct template *t, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *attr = attr_in(t->attr, t->count, type);

	return attr != NULL && *(CK_BBOOL *)attr->pValue == CK_TRUE;
}

/* 1, 0, or -1 where the unwrap template does not say. */
static int inner_flag(const struct template *t, CK_ATTRIBUTE_TYPE type)
{
	const CK_ATTRIBUTE *attr = attr_in(t->nested, t->nested_count, type);

	return attr == NULL ? -1 : *(CK_BBOOL *)attr->pValue;
}

static void every_flag_is_said_and_modifiable_is_last(void **state)
{
	static const CK_ATTRIBUTE_TYPE flags[] = {
		CKA_TOKEN,       CKA_PRIVATE, CKA_SENSITIVE,
		CKA_EXTRACTABLE, CKA_DECRYPT, CKA_UNWRAP,
		CKA_SIGN,        CKA_DERIVE,  CKA_COPYABLE};
	struct template t;

	(void)state;
	for (size_t i = 0; i < ALL; i++) {
		template_fill(&t, all[i].role, all[i].use, KT_WRAP_AES_KW);
		assert_true(t.count <= TEMPLATE_MAX);
		assert_int_equal(t.attr[t.count - 1].type, CKA_MODIFIABLE);
		assert_false(flag_in(&t, CKA_MODIFIABLE));
		for (size_t f = 0; f < sizeof(flags) / sizeof(flags[0]); f++)
			assert_non_null(attr_in(t.attr, t.count, flags[f]));
		assert_true(flag_in(&t, CKA_PRIVATE));
		assert_true(flag_in(&t, CKA_SENSITIVE));
		assert_false(flag_in(&t, CKA_DERIVE));
		assert_false(flag_in(&t, CKA_COPYABLE));
		assert_null(attr_in(t.attr, t.count, CKA_DESTROYABLE));
		assert_int_equal(flag_in(&t, CKA_TOKEN),
				 all[i].use == USE_TOKEN);
		assert_int_equal(flag_in(&t, CKA_EXTRACTABLE),
				 all[i].use == USE_NEW ||
					 all[i].use == USE_REWRAP);
	}
}

static void no_key_both_wraps_and_deciphers(void **state)
{
	struct template t;

	(void)state;
	for (size_t i = 0; i < ALL; i++) {
		bool wraps, ciphers, signs;

		template_fill(&t, all[i].role, all[i].use, KT_WRAP_AES_KW);
		wraps = flag_in(&t, CKA_WRAP) || flag_in(&t, CKA_UNWRAP);
		ciphers = flag_in(&t, CKA_ENCRYPT) || flag_in(&t, CKA_DECRYPT);
		signs = flag_in(&t, CKA_SIGN) || flag_in(&t, CKA_VERIFY);
		assert_true(wraps + ciphers + signs <= 1);
		if (all[i].use == USE_REWRAP)
			assert_int_equal(wraps + ciphers + signs, 0);
		/* What unwraps says what may come back. */
		assert_int_equal(wraps, t.nested_count > 0);
	}
}

static void unwrap_templates_part_the_two_kinds(void **state)
{
	static const CK_ATTRIBUTE_TYPE never[] = {CKA_TOKEN, CKA_SIGN,
						  CKA_VERIFY, CKA_DERIVE};
	struct template t;

	(void)state;
	for (size_t i = 0; i < ALL; i++) {
		bool master = all[i].role == KT_KEY_MASTER;

		template_fill(&t, all[i].role, all[i].use, KT_WRAP_AES_KW);
		if (t.nested_count == 0)
			continue;
		for (size_t f = 0; f < 4; f++)
			assert_int_equal(inner_flag(&t, never[f]), 0);
		assert_int_equal(inner_flag(&t, CKA_PRIVATE), 1);
		assert_int_equal(inner_flag(&t, CKA_SENSITIVE), 1);
		assert_int_equal(inner_flag(&t, CKA_EXTRACTABLE), -1);
		assert_int_equal(inner_flag(&t, CKA_DECRYPT), master ? 0 : -1);
		assert_int_equal(inner_flag(&t, CKA_ENCRYPT), master ? 0 : -1);
		assert_int_equal(inner_flag(&t, CKA_UNWRAP), master ? -1 : 0);
		assert_int_equal(inner_flag(&t, CKA_WRAP), master ? -1 : 0);
	}
}

static void lengths_and_mechanisms(void **state)
{
	struct template t;
	const CK_ATTRIBUTE *attr;

	(void)state;
	template_fill(&t, KT_KEY_MASTER, USE_TOKEN, KT_WRAP_AES_KWP);
	attr = attr_in(t.attr, t.count, CKA_ALLOWED_MECHANISMS);
	assert_int_equal(attr->ulValueLen, sizeof(CK_MECHANISM_TYPE));
	assert_int_equal(*(CK_MECHANISM_TYPE *)attr->pValue,
			 CKM_AES_KEY_WRAP_KWP);
	attr = attr_in(t.attr, t.count, CKA_VALUE_LEN);
	assert_int_equal(*(CK_ULONG *)attr->pValue, 32);
	template_fill(&t, KT_KEY_DEK, USE_WORK, KT_WRAP_NONE);
	assert_null(attr_in(t.attr, t.count, CKA_VALUE_LEN));
	attr = attr_in(t.attr, t.count, CKA_ALLOWED_MECHANISMS);
	assert_int_equal(*(CK_MECHANISM_TYPE *)attr->pValue, CKM_AES_GCM);
	assert_int_equal(template_generator(KT_KEY_ROW_MAC, KT_WRAP_NONE),
			 CKM_GENERIC_SECRET_KEY_GEN);
	assert_int_equal(template_generator(KT_KEY_DEK, KT_WRAP_NONE),
			 CKM_AES_KEY_GEN);
}

/* A TPM derives from a secret and has no AES; what comes out of its wraps is
 * an AES key like any other. */
static void a_tpm_master_is_a_generic_secret(void **state)
{
	static const enum key_use uses[] = {USE_TOKEN, USE_STANDIN};
	struct template t;
	const CK_ATTRIBUTE *attr;

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		template_fill(&t, KT_KEY_MASTER, uses[i], KT_WRAP_TPM);
		attr = attr_in(t.attr, t.count, CKA_KEY_TYPE);
		assert_int_equal(*(CK_ULONG *)attr->pValue, CKK_GENERIC_SECRET);
		attr = attr_in(t.attr, t.count, CKA_ALLOWED_MECHANISMS);
		assert_int_equal(*(CK_MECHANISM_TYPE *)attr->pValue,
				 CKM_KEYTURN_TPM_WRAP);
		template_add_history(&t, KT_KEY_MASTER, uses[i], KT_WRAP_TPM);
		attr = attr_in(t.attr, t.count, CKA_KEY_GEN_MECHANISM);
		assert_int_equal(*(CK_ULONG *)attr->pValue,
				 CKM_GENERIC_SECRET_KEY_GEN);
	}
	assert_int_equal(template_generator(KT_KEY_RECOVERY, KT_WRAP_TPM),
			 CKM_GENERIC_SECRET_KEY_GEN);
	assert_int_equal(template_generator(KT_KEY_PROJECT, KT_WRAP_TPM),
			 CKM_AES_KEY_GEN);
	template_fill(&t, KT_KEY_PROJECT, USE_NEW, KT_WRAP_TPM);
	attr = attr_in(t.attr, t.count, CKA_KEY_TYPE);
	assert_int_equal(*(CK_ULONG *)attr->pValue, CKK_AES);
}

static void what_is_added_stands_before_modifiable(void **state)
{
	struct kt_id id = {{1, 2, 3}};
	struct template t;
	const CK_ATTRIBUTE *attr;

	(void)state;
	template_fill(&t, KT_KEY_MASTER, USE_TOKEN, KT_WRAP_AES_KW);
	template_add_id(&t, &id);
	template_add_label(&t, "a label");
	assert_int_equal(t.attr[t.count - 1].type, CKA_MODIFIABLE);
	assert_false(flag_in(&t, CKA_MODIFIABLE));
	attr = attr_in(t.attr, t.count, CKA_ID);
	assert_memory_equal(attr->pValue, id.bytes, KT_ID_LEN);
	attr = attr_in(t.attr, t.count, CKA_LABEL);
	assert_int_equal(attr->ulValueLen, strlen("a label"));
}

/* On a token. */

static struct softhsm hsm;
static struct token *token;

static int open_token(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	return token_open(&hsm.params, &token) == KT_OK ? 0 : -1;
}

static int close_token(void **state)
{
	(void)state;
	token_close(token);
	softhsm_stop(&hsm);
	return 0;
}

static enum kt_err make(struct session *s, enum kt_key_role role,
			enum key_use use, CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {template_generator(role, KT_WRAP_AES_KW),
				  NULL, 0};
	struct template t;

	template_fill(&t, role, use, KT_WRAP_AES_KW);
	return CALL(s, C_GenerateKey, &mechanism, t.attr, t.count, ret);
}

static enum kt_err bring_back(struct session *s, CK_OBJECT_HANDLE by,
			      CK_OBJECT_HANDLE subject, enum kt_key_role role,
			      enum key_use use, CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP, NULL, 0};
	uint8_t blob[64];
	CK_ULONG len = sizeof(blob);
	struct template t;

	TRY(CALL(s, C_WrapKey, &mechanism, by, subject, blob, &len));
	template_fill(&t, role, use, KT_WRAP_AES_KW);
	return CALL(s, C_UnwrapKey, &mechanism, by, blob, len, t.attr, t.count,
		    ret);
}

static void holds(struct session *s, CK_OBJECT_HANDLE object,
		  enum kt_key_role role, enum key_use use)
{
	char text[1024];

	assert_int_equal(policy_check(s, object, role, use, KT_WRAP_AES_KW,
				      text, sizeof(text)),
			 KT_OK);
	assert_non_null(strstr(text, "sensitive=true"));
	assert_non_null(strstr(text, "modifiable=false"));
}

/* A wrapper that unwraps its kind for each use; and refuses the other kind. */
static void admits(enum kt_key_role wrapper, enum kt_key_role subject,
		   enum kt_key_role foreign)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_OBJECT_HANDLE by, key, back;

	assert_int_equal(session_lease(token, &s), KT_OK);
	assert_int_equal(make(s, wrapper, USE_STANDIN, &by), KT_OK);
	holds(s, by, wrapper, USE_STANDIN);
	assert_int_equal(make(s, subject, USE_NEW, &key), KT_OK);
	holds(s, key, subject, USE_NEW);
	assert_int_equal(bring_back(s, by, key, subject, USE_WORK, &back),
			 KT_OK);
	holds(s, back, subject, USE_WORK);
	assert_int_equal(bring_back(s, by, key, subject, USE_REWRAP, &back),
			 KT_OK);
	holds(s, back, subject, USE_REWRAP);
	assert_int_equal(bring_back(s, by, key, foreign, USE_WORK, &back),
			 KT_ERR_POLICY);
	assert_non_null(strstr(kt_err_detail(),
			       "C_UnwrapKey: CKR_TEMPLATE_INCONSISTENT"));
}

static void the_token_enforces_the_unwrap_templates(void **state)
{
	(void)state;
	admits(KT_KEY_MASTER, KT_KEY_PROJECT, KT_KEY_DEK);
	admits(KT_KEY_RECOVERY, KT_KEY_DEK, KT_KEY_PROJECT);
	admits(KT_KEY_PROJECT, KT_KEY_DEK, KT_KEY_PROJECT);
}

static void the_token_enforces_the_allowed_mechanisms(void **state)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_MECHANISM ecb = {CKM_AES_ECB, NULL, 0};
	CK_OBJECT_HANDLE by, key, back;

	(void)state;
	assert_int_equal(session_lease(token, &s), KT_OK);
	assert_int_equal(make(s, KT_KEY_RECOVERY, USE_STANDIN, &by), KT_OK);
	assert_int_equal(make(s, KT_KEY_DEK, USE_NEW, &key), KT_OK);
	assert_int_equal(bring_back(s, by, key, KT_KEY_DEK, USE_WORK, &back),
			 KT_OK);
	assert_int_equal(CALL(s, C_EncryptInit, &ecb, back), KT_ERR_POLICY);
	assert_string_equal(kt_err_detail(),
			    "C_EncryptInit: CKR_MECHANISM_INVALID");
}

static void differs(CK_OBJECT_HANDLE object, struct session *s,
		    enum kt_key_role role, enum key_use use,
		    enum kt_wrap_mech mech, const char *text)
{
	char untouched[4] = "-";

	assert_int_equal(policy_check(s, object, role, use, mech, untouched,
				      sizeof(untouched)),
			 KT_ERR_POLICY);
	assert_non_null(strstr(kt_err_detail(), text));
	assert_string_equal(untouched, "-");
}

static void a_difference_is_named(void **state)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_OBJECT_HANDLE master, project;

	(void)state;
	assert_int_equal(session_lease(token, &s), KT_OK);
	assert_int_equal(make(s, KT_KEY_PROJECT, USE_NEW, &project), KT_OK);
	differs(project, s, KT_KEY_PROJECT, USE_WORK, KT_WRAP_AES_KW,
		"attribute extractable reads true, not false");
	differs(project, s, KT_KEY_DEK, USE_NEW, KT_WRAP_AES_KW,
		"attribute encrypt reads false, not true");
	differs(project, s, KT_KEY_ROW_MAC, USE_STANDIN, KT_WRAP_NONE,
		"attribute key-type reads aes, not generic-secret");
	assert_int_equal(make(s, KT_KEY_MASTER, USE_STANDIN, &master), KT_OK);
	differs(master, s, KT_KEY_MASTER, USE_STANDIN, KT_WRAP_AES_KWP,
		"attribute allowed-mechanisms reads aes-key-wrap, not "
		"aes-key-wrap-kwp");
	differs(master, s, KT_KEY_RECOVERY, USE_STANDIN, KT_WRAP_AES_KW,
		"attribute unwrap-template does not read as it was set");
}

/* An unwrapped key was not born here: a key that only looks right is not. */
static void the_past_of_a_key_is_compared(void **state)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_MECHANISM mechanism = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_OBJECT_HANDLE by, key, back;
	struct template t;
	uint8_t blob[64];
	CK_ULONG len = sizeof(blob);

	(void)state;
	assert_int_equal(session_lease(token, &s), KT_OK);
	assert_int_equal(make(s, KT_KEY_MASTER, USE_STANDIN, &by), KT_OK);
	assert_int_equal(make(s, KT_KEY_PROJECT, USE_NEW, &key), KT_OK);
	assert_int_equal(CALL(s, C_WrapKey, &mechanism, by, key, blob, &len),
			 KT_OK);
	template_fill(&t, KT_KEY_PROJECT, USE_WORK, KT_WRAP_AES_KW);
	assert_int_equal(CALL(s, C_UnwrapKey, &mechanism, by, blob, len, t.attr,
			      t.count, &back),
			 KT_OK);
	template_add_history(&t, KT_KEY_PROJECT, USE_STANDIN, KT_WRAP_AES_KW);
	assert_int_equal(template_compare(&t, s, back, NULL, 0), KT_ERR_POLICY);
	assert_string_equal(kt_err_detail(),
			    "attribute local reads false, not true");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_flag_is_said_and_modifiable_is_last),
		cmocka_unit_test(no_key_both_wraps_and_deciphers),
		cmocka_unit_test(unwrap_templates_part_the_two_kinds),
		cmocka_unit_test(lengths_and_mechanisms),
		cmocka_unit_test(a_tpm_master_is_a_generic_secret),
		cmocka_unit_test(what_is_added_stands_before_modifiable),
		cmocka_unit_test(the_token_enforces_the_unwrap_templates),
		cmocka_unit_test(the_token_enforces_the_allowed_mechanisms),
		cmocka_unit_test(a_difference_is_named),
		cmocka_unit_test(the_past_of_a_key_is_compared),
	};

	return cmocka_run_group_tests(tests, open_token, close_token);
}
