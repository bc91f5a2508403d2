/*
 * The power goes between any two TPM commands, or between a command and its
 * answer. Afterwards the next login finds the folder and the TPM in agreement:
 * a key is whole or gone, and no place in the TPM is lost.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <tss2/tss2_tpm2_types.h>

#include "base/bytes.h"
#include "hsm/tpm2/counter.h"
#include "shim.h"
#include "swtpm.h"

static struct swtpm tpm;

static int setup(void **state)
{
	struct tpm_token *token;

	(void)state;
	shim_reset();
	swtpm_open(&tpm);
	token = swtpm_ready_token(&tpm);
	tpm_token_free(token);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swtpm_close(&tpm);
	return 0;
}

/* The machine is switched on again, and the user logs in. */
static struct tpm_token *come_back(struct tpm_token *token)
{
	tpm_token_free(token);
	shim_reset();
	swtpm_power_cycle(&tpm);
	token = swtpm_token(&tpm);
	login_user(token);
	return token;
}

static struct tpm_token *behind_the_shim(void)
{
	struct tpm_token *token = swtpm_token_by(&tpm, tpm.shim);

	login_user(token);
	return token;
}

static void assert_in_agreement(struct tpm_token *token, unsigned keys)
{
	assert_int_equal(keys_live_count(token), keys);
	assert_int_equal(places_taken(&tpm), keys);
	assert_int_equal(counters_taken(&tpm), keys);
	swtpm_shell(&tpm, "! find state -name '*.new' | grep .");
}

/* One cut; false when the work was done before it came. */
static bool cut_create(unsigned n, enum shim_cut how, enum tpm_kind kind)
{
	struct tpm_token *token = behind_the_shim();
	struct tpm_key key = {0};
	bool cut;
	CK_RV rv;

	shim_cut_at(n, how);
	rv = tpm_key_create(token, kind, BYTES("attributes"), &key);
	cut = shim_was_cut();
	token = come_back(token);
	assert_in_agreement(token, rv == CKR_OK ? 1 : 0);
	if (rv == CKR_OK) {
		if (kind == TPM_KEY_WRAP)
			assert_key_works(token, &key.id);
		OK(tpm_key_destroy(token, &key.id));
		tpm_key_done(&key);
	}
	assert_in_agreement(token, 0);
	tpm_token_free(token);
	return cut;
}

static void every_cut_of(bool (*one)(unsigned n, enum shim_cut how,
				     enum tpm_kind kind),
			 enum shim_cut how, enum tpm_kind kind, unsigned least)
{
	unsigned n = 1;

	while (one(n, how, kind))
		n++;
	/* The loop went through the work, command by command. */
	assert_true(n > least);
}

static void test_create_cut_before_a_command(void **state)
{
	(void)state;
	every_cut_of(cut_create, SHIM_CUT_COMMAND, TPM_KEY_WRAP, 20);
}

static void test_create_cut_before_an_answer(void **state)
{
	(void)state;
	every_cut_of(cut_create, SHIM_CUT_ANSWER, TPM_KEY_EC, 20);
}

static CK_RV note_evidence(const struct tpm_key *key, void *arg)
{
	*(struct kt_id *)arg = key->id;
	return CKR_OK;
}

static void assert_evidence_of(struct tpm_token *token, const struct kt_id *id)
{
	struct tpm_evidence evidence = {0};
	size_t len = 0;

	OK(tpm_key_attest(token, id, BYTES("n"), &evidence));
	assert_non_null(evidence_find(&evidence, "destroyed.attest", &len));
	assert_non_null(evidence_find(&evidence, "destroyed.log", &len));
	assert_null(evidence_find(&evidence, "not-signed", &len));
	tpm_evidence_done(&evidence);
}

static bool cut_destroy(unsigned n, enum shim_cut how, enum tpm_kind kind)
{
	struct tpm_token *token = behind_the_shim();
	struct tpm_key key = {0};
	struct kt_id destroyed = {0};
	bool cut;

	OK(tpm_key_create(token, kind, BYTES("attributes"), &key));
	shim_cut_at(n, how);
	either_way(tpm_key_destroy(token, &key.id));
	cut = shim_was_cut();
	token = come_back(token);
	/* It was marked before the first command: it is finished. */
	assert_in_agreement(token, 0);
	OK(tpm_key_each(token, TPM_KEY_DESTROYED, note_evidence, &destroyed));
	assert_evidence_of(token, &key.id);
	tpm_key_done(&key);
	tpm_token_free(token);
	return cut;
}

static void test_destroy_cut_before_a_command(void **state)
{
	(void)state;
	every_cut_of(cut_destroy, SHIM_CUT_COMMAND, TPM_KEY_WRAP, 10);
}

static void test_destroy_cut_before_an_answer(void **state)
{
	(void)state;
	every_cut_of(cut_destroy, SHIM_CUT_ANSWER, TPM_KEY_WRAP, 10);
}

/* Recovery is cut too, again and again, and converges. */
static void test_recovery_cut_many_times(void **state)
{
	struct tpm_token *token = behind_the_shim();
	struct tpm_key key = {0};
	unsigned n;

	(void)state;
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("a"), &key));
	shim_cut_at(8, SHIM_CUT_ANSWER);
	assert_int_not_equal(tpm_key_destroy(token, &key.id), CKR_OK);
	for (n = 1; n < 40; n++) {
		tpm_token_free(token);
		shim_reset();
		swtpm_power_cycle(&tpm);
		token = swtpm_token_by(&tpm, tpm.shim);
		shim_cut_at(n, SHIM_CUT_ANSWER);
		either_way(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)));
	}
	token = come_back(token);
	assert_in_agreement(token, 0);
	assert_evidence_of(token, &key.id);
	tpm_key_done(&key);
	tpm_token_free(token);
}

static bool evidence_has(struct tpm_token *token, const struct kt_id *id,
			 uint32_t code)
{
	struct tpm_evidence evidence = {0};
	uint8_t bytes[4];
	size_t len = 0;
	const uint8_t *log;
	bool found;

	OK(tpm_key_attest(token, id, BYTES("n"), &evidence));
	log = evidence_find(&evidence, "destroyed.log", &len);
	assert_non_null(log);
	be32_put(bytes, code);
	found = memmem(log, len, bytes, sizeof(bytes)) != NULL;
	tpm_evidence_done(&evidence);
	return found;
}

/* The last word of a destruction is not written: the evidence of the first
 * time, which saw the counter go, stays. */
static void test_destroy_cut_at_its_last_file(void **state)
{
	struct tpm_token *token = behind_the_shim();
	struct tpm_key key = {0};

	(void)state;
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("a"), &key));
	OK(tpm_key_destroy(token, &key.id));
	swtpm_shell(&tpm, "sed -i 's/^stage 4/stage 3/' state/keys/*/meta");
	token = come_back(token);
	swtpm_shell(&tpm, "grep -q '^stage 4' state/keys/*/meta");
	assert_true(evidence_has(token, &key.id, TPM2_CC_NV_UndefineSpace));
	/* Where it was not signed the first time, it is now. */
	swtpm_shell(&tpm, "sed -i 's/^stage 4/stage 3/' state/keys/*/meta &&"
			  "rm state/keys/*/evidence-destroyed.sig");
	token = come_back(token);
	assert_evidence_of(token, &key.id);
	assert_false(evidence_has(token, &key.id, TPM2_CC_NV_UndefineSpace));
	assert_true(evidence_has(token, &key.id, TPM2_CC_GetCapability));
	tpm_key_done(&key);
	tpm_token_free(token);
}

/* Somebody else took the counter's index while the power was away. */
static void test_foreign_counter_stays(void **state)
{
	struct tpm_object rh = tpm_permanent(TPM2_RH_OWNER, SPAN(NULL, 0));
	struct tpm_token *token = behind_the_shim();
	const struct kt_id somebody = {{1, 2, 3}};
	enum counter_state found = COUNTER_NONE;
	struct counter foreign;
	struct tpm_key key = {0};
	struct tpm *owner;

	(void)state;
	/* Two looks for room, twice two for free places, NV_DefineSpace. */
	shim_cut_at(7, SHIM_CUT_COMMAND);
	assert_int_not_equal(
		tpm_key_create(token, TPM_KEY_WRAP, BYTES("a"), &key), CKR_OK);
	tpm_token_free(token);
	shim_reset();
	swtpm_power_cycle(&tpm);
	swtpm_shell(&tpm, "grep -q '^stage 1' state/keys/*/meta");
	assert_int_equal(counters_taken(&tpm), 0);
	owner = owner_open(&tpm);
	OK(counter_init(owner, 0x01804b00, &somebody, 0, &foreign));
	OK(counter_define(owner, &rh, &foreign));
	token = swtpm_token(&tpm);
	login_user(token);
	swtpm_shell(&tpm, "test -z \"$(ls state/keys)\"");
	OK(counter_look(owner, &foreign, &found));
	assert_int_equal(found, COUNTER_OURS);
	/* And the next key goes round it. */
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("b"), &key));
	assert_int_equal(counters_taken(&tpm), 2);
	tpm_key_done(&key);
	tpm_token_free(token);
	tpm_free(owner);
}

/* Folders of keys that never began, or are all undone. */
static void test_empty_folders_go(void **state)
{
	struct tpm_token *token;

	(void)state;
	swtpm_shell(
		&tpm,
		"mkdir state/keys/00112233445566778899aabbccddeeff &&"
		"mkdir state/keys/ffeeddccbbaa99887766554433221100 &&"
		"touch state/keys/ffeeddccbbaa99887766554433221100/meta.new");
	token = behind_the_shim();
	swtpm_shell(&tpm, "test -z \"$(ls state/keys)\"");
	tpm_token_free(token);
}

/* A change of the PIN is one file: the old one or the new one opens. */
static void test_set_pin_cut(void **state)
{
	bool cut = true;

	(void)state;
	for (unsigned n = 1; cut; n++) {
		struct tpm_token *token = behind_the_shim();
		CK_RV rv;

		shim_cut_at(n, SHIM_CUT_ANSWER);
		rv = tpm_token_set_pin(token, BYTES(USER_PIN), BYTES("fresh"));
		cut = shim_was_cut();
		tpm_token_free(token);
		shim_reset();
		swtpm_power_cycle(&tpm);
		token = swtpm_token(&tpm);
		if (rv == CKR_OK) {
			OK(tpm_token_login(token, TPM_USER, BYTES("fresh")));
			OK(tpm_token_set_pin(token, BYTES("fresh"),
					     BYTES(USER_PIN)));
		} else {
			login_user(token);
		}
		tpm_token_free(token);
	}
}

/* A new token over an old one, cut anywhere: the old one with its SO PIN, or
 * none, and in both cases another try makes it. */
static void test_init_cut(void **state)
{
	bool cut = true;

	(void)state;
	for (unsigned n = 1; cut; n += 3) {
		struct tpm_token *token = behind_the_shim();
		struct tpm_key key = {0};

		OK(tpm_key_create(token, TPM_KEY_HMAC, BYTES("a"), &key));
		tpm_key_done(&key);
		OK(tpm_token_logout(token));
		shim_cut_at(n, SHIM_CUT_ANSWER);
		either_way(tpm_token_init(token, BYTES(SO_PIN), "anew"));
		cut = shim_was_cut();
		tpm_token_free(token);
		shim_reset();
		swtpm_power_cycle(&tpm);
		token = swtpm_ready_token(&tpm);
		assert_in_agreement(token, 0);
		tpm_token_free(token);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
			test_create_cut_before_a_command, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_create_cut_before_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_destroy_cut_before_a_command, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_destroy_cut_before_an_answer, setup, teardown),
		cmocka_unit_test_setup_teardown(test_recovery_cut_many_times,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_destroy_cut_at_its_last_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_foreign_counter_stays,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_empty_folders_go, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_set_pin_cut, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_init_cut, setup, teardown),
	};

	return cmocka_run_group_tests_name("tpm2/power", tests, NULL, NULL);
}
