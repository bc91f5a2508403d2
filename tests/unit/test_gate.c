/*
 * The gate on SoftHSM: it passes where the policy is enforced, and each attempt
 * notices a key to which the policy was not applied.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/probe.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;
static struct token *token;

#define assert_ok(call) assert_int_equal((int)(call), KT_OK)
#define assert_err(call, err) assert_int_equal((int)(call), (err))

/* "name=result ..." of a report with every finding named once. */
static void print_report(const struct gate_report *report)
{
	for (size_t i = 0; i < report->count; i++)
		print_message("%-24s %d %s\n", report->finding[i].name,
			      (int)report->finding[i].result,
			      report->finding[i].detail);
}

static const struct gate_finding *finding(const struct gate_report *report,
					  const char *name)
{
	for (size_t i = 0; i < report->count; i++) {
		if (strcmp(report->finding[i].name, name) == 0)
			return &report->finding[i];
	}
	return NULL;
}

static void passes(const struct gate_report *report, size_t count)
{
	print_report(report);
	assert_int_equal(report->count, count);
	assert_int_equal(report->failed, 0);
	for (size_t i = 0; i < report->count; i++) {
		const struct gate_finding *f = &report->finding[i];
		bool known = strcmp(f->name, "known-key-wrap") == 0;

		assert_ptr_equal(finding(report, f->name), f);
		assert_int_equal(f->result, known ? GATE_KNOWN : GATE_PASS);
		assert_true(strlen(f->detail) > 0);
	}
	assert_ok(gate_judge(report, KT_GATE_STRICT));
}

static void test_token(void **state)
{
	struct gate_report report;

	(void)state;
	assert_ok(gate_token(token, KT_WRAP_AES_KW, &report));
	passes(&report, 29);
	assert_ok(gate_token(token, KT_WRAP_AES_PAD_KWP, &report));
	passes(&report, 29);
}

static void key_passes(enum kt_key_role role)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	struct wrap_key_spec spec = {role, {{0}}, KT_WRAP_AES_KW, {0}};
	struct gate_report report;

	assert_ok(id_random(&spec.cka_id));
	assert_ok(token_generate(token, role, KT_WRAP_AES_KW, &spec.cka_id,
				 "gate"));
	assert_ok(wrap_key_find(token, &spec, &key));
	assert_ok(wrap_new(&key, 1, &spec.canary));
	assert_ok(gate_key(token, role, &spec.cka_id, spec.mech, &spec.canary,
			   &report));
	passes(&report, 24);

	spec.canary.data[7] ^= 0x01;
	assert_int_not_equal(gate_key(token, role, &spec.cka_id, spec.mech,
				      &spec.canary, &report),
			     KT_OK);
}

static void test_key(void **state)
{
	(void)state;
	key_passes(KT_KEY_MASTER);
	key_passes(KT_KEY_RECOVERY);
}

static void test_key_missing(void **state)
{
	struct kt_id id;
	struct blob canary = {.len = 40};
	struct gate_report report;

	(void)state;
	assert_ok(id_random(&id));
	assert_err(gate_key(token, KT_KEY_MASTER, &id, KT_WRAP_AES_KW, &canary,
			    &report),
		   KT_ERR_NOT_FOUND);
}

/* A session key that may do everything, posing as a wrapping key. */
static struct wrap_key *make_lax(enum kt_key_role role)
{
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ULONG len = 32;
	CK_ATTRIBUTE t[] = {
		{CKA_TOKEN, &no, 1},     {CKA_PRIVATE, &yes, 1},
		{CKA_SENSITIVE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1},
		{CKA_WRAP, &yes, 1},     {CKA_UNWRAP, &yes, 1},
		{CKA_ENCRYPT, &yes, 1},  {CKA_DECRYPT, &yes, 1},
		{CKA_DERIVE, &yes, 1},   {CKA_VALUE_LEN, &len, sizeof(len)}};
	struct wrap_key *key = calloc(1, sizeof(*key));

	assert_non_null(key);
	key->token = token;
	key->role = role;
	key->mech = KT_WRAP_AES_KW;
	assert_ok(session_open_own(token, &key->home));
	assert_ok(CALL(key->home, C_GenerateKey, &mechanism, t, 10,
		       &key->handle));
	key->generation = key->home->generation;
	assert_ok(wrap_new(&key, 1, &key->canary));
	return key;
}

struct attempt {
	const struct gate *gate;
	const struct probe *probe;
	struct gate_finding finding;
};

static enum kt_err attempt_in(struct session *s, void *arg)
{
	struct attempt *a = arg;

	return a->probe->run(a->gate, a->probe, s, &a->finding);
}

/* What SoftHSM itself refuses, whatever the key's attributes are, and what is
 * no question of attributes. */
static bool holds_anyway(const char *name)
{
	static const char *const names[] = {
		"unwrapped-work-policy",
		"unwrapped-rewrap-policy",
		"wrap-work-key",
		"corrupt-blob",
		"short-blob",
		"foreign-blob",
		"rewrap-identical",
		"wrapped-size",
		"wrap-cbc-pad",
		"wrap-ecb",
		"unwrap-cbc",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static void lax_fails(enum kt_key_role role)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = make_lax(role);
	CLEANUP(wrap_key_freep) struct wrap_key *other = make_lax(role);
	struct gate gate = {key, other, KT_WRAP_AES_KW};
	size_t count;
	const struct probe *probe = probe_table(&count);

	for (; count > 0; count--, probe++) {
		struct attempt a = {&gate, probe, {.name = probe->name}};
		enum gate_result expected =
			holds_anyway(probe->name) ? GATE_PASS : GATE_FAIL;

		if (probe->only != 0 && probe->only != role)
			continue;
		if (strcmp(probe->name, "known-key-wrap") == 0)
			expected = GATE_KNOWN;
		assert_ok(token_retry(token, attempt_in, &a));
		print_message("%-24s %d %s\n", probe->name,
			      (int)a.finding.result, a.finding.detail);
		assert_int_equal(a.finding.result, expected);
	}
}

static void test_lax_key(void **state)
{
	(void)state;
	lax_fails(KT_KEY_MASTER);
	lax_fails(KT_KEY_RECOVERY);
	lax_fails(KT_KEY_PROJECT);
}

static const struct gate_report three = {
	.count = 3,
	.failed = 1,
	.finding = {{"wrap-out", GATE_PASS, "C_WrapKey: CKR_X"},
		    {"copy-decrypt", GATE_FAIL, "C_CopyObject: CKR_OK"},
		    {"known-key-wrap", GATE_KNOWN, "C_WrapKey: CKR_OK"}},
};

static void test_judge(void **state)
{
	(void)state;
	assert_ok(gate_judge(&three, KT_GATE_WARN));
	assert_err(gate_judge(&three, KT_GATE_STRICT), KT_ERR_POLICY);
	assert_non_null(
		strstr(kt_err_detail(), "copy-decrypt (C_CopyObject: CKR_OK)"));
}

static void test_text(void **state)
{
	char text[128], cut[20];

	(void)state;
	gate_text(&three, text, sizeof(text));
	assert_string_equal(
		text, "wrap-out=pass copy-decrypt=fail known-key-wrap=known");
	gate_text(&three, cut, sizeof(cut));
	assert_string_equal(cut, "wrap-out=pass copy-");
	gate_text(&(struct gate_report){0}, text, sizeof(text));
	assert_string_equal(text, "");
	gate_brief(&three, text, sizeof(text));
	assert_string_equal(
		text, "1 pass, known: known-key-wrap, fail: copy-decrypt");
	gate_brief(&three, cut, sizeof(cut));
	assert_string_equal(cut, "1 pass, known: know");
	gate_brief(&(struct gate_report){0}, text, sizeof(text));
	assert_string_equal(text, "0 pass");
}

static int start(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	hsm.params.max_sessions = 1; /* no attempt may need two at once */
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
		cmocka_unit_test(test_token),
		cmocka_unit_test(test_key),
		cmocka_unit_test(test_key_missing),
		cmocka_unit_test(test_lax_key),
		cmocka_unit_test(test_judge),
		cmocka_unit_test(test_text),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
