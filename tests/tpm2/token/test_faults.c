/*
 * What a TPM, its bus and its folder can do to a token: each leaves a token
 * that opens and says what is wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/life.h"
#include "fixture.h"
#include "shim.h"

static CK_RV wrap_it(void)
{
	uint8_t value[32] = {0}, wrap[32 + TPM_WRAP_OVERHEAD];

	return tpm_key_wrap(token, &key.id, NULL, 0, value, sizeof(value),
			    wrap);
}

static void assert_says(const char *words)
{
	if (strstr(kt_err_detail(), words) == NULL)
		fail_msg("'%s' is not in '%s'", words, kt_err_detail());
}

static void test_session_lost(void **state)
{
	const uint32_t codes[] = {TPM2_RC_REFERENCE_S0,
				  TPM2_RC_BAD_AUTH | TPM2_RC_S | TPM2_RC_1};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		shim_reset();
		shim_answer(TPM2_CC_HMAC, 0, 1, codes[i]);
		OK(wrap_it());
		/* One more where the TPM is full of those that it has not
		 * really lost. */
		assert_in_range(shim_count_of(TPM2_CC_StartAuthSession), 1, 2);
		assert_int_equal(shim_count_of(TPM2_CC_HMAC), 1);
		/* For ever: an error, not a loop. */
		shim_answer(TPM2_CC_HMAC, 0, 1000, codes[i]);
		assert_int_equal(wrap_it(), CKR_DEVICE_ERROR);
	}
	shim_reset();
	OK(wrap_it());
}

static void test_tpm_restarted(void **state)
{
	(void)state;
	swtpm_power_cycle(&tpm);
	OK(wrap_it());
}

static void test_tpm_gone(void **state)
{
	struct tpm_token_info info = {0};

	(void)state;
	swtpm_stop(&tpm);
	assert_int_equal(wrap_it(), CKR_DEVICE_REMOVED);
	assert_says("swtpm:path=");
	OK(tpm_token_info(token, &info));
	assert_true(info.initialised && info.user_pin_set);
	assert_false(info.tpm_answers);
	assert_string_equal(info.label, "test");
	assert_int_equal(keys_live_count(token), 1);
	swtpm_start(&tpm);
	OK(wrap_it());
	OK(tpm_token_info(token, &info));
	assert_true(info.tpm_answers);
}

static void test_failure_mode(void **state)
{
	(void)state;
	shim_answer(0, 0, 1000, TPM2_RC_FAILURE);
	assert_int_equal(wrap_it(), CKR_DEVICE_ERROR);
	assert_says("failure mode");
	assert_int_equal(shim_count(), 0);
	OK(tpm_token_logout(token));
	assert_int_equal(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)),
			 CKR_DEVICE_ERROR);
	shim_reset();
	login_user(token);
	OK(wrap_it());
}

static void test_nv_rate(void **state)
{
	struct tpm_key second = {0};

	(void)state;
	shim_answer(TPM2_CC_NV_DefineSpace, 0, 4, TPM2_RC_NV_RATE);
	OK(tpm_key_create(token, TPM_KEY_HMAC, BYTES("2"), &second));
	tpm_key_done(&second);
	/* Longer than anybody waits: nothing is left of the key. */
	shim_answer(TPM2_CC_NV_Increment, 0, 1000, TPM2_RC_NV_RATE);
	assert_int_equal(
		tpm_key_create(token, TPM_KEY_HMAC, BYTES("3"), &second),
		CKR_DEVICE_ERROR);
	assert_says("try again");
	assert_int_equal(keys_live_count(token), 2);
	assert_int_equal(counters_taken(&tpm), 2);
	assert_int_equal(places_taken(&tpm), 2);
}

/* Any command of a creation is answered once with any of these. */
static void test_every_command_fails_once(void **state)
{
	const uint32_t codes[] = {TPM2_RC_FAILURE, TPM2_RC_OBJECT_MEMORY,
				  TPM2_RC_REFERENCE_S0, TPM2_RC_NV_SPACE,
				  TPM2_RC_HANDLE | TPM2_RC_1};
	unsigned failed = 0, done = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		for (unsigned n = 0; n < 45; n++) {
			struct tpm_key fresh = {0};
			CK_RV rv;

			shim_reset();
			shim_answer(0, n, 1, codes[i]);
			rv = tpm_key_create(token, TPM_KEY_EC, BYTES("e"),
					    &fresh);
			shim_reset();
			if (rv == CKR_OK) {
				OK(tpm_key_destroy(token, &fresh.id));
				tpm_key_done(&fresh);
				done++;
			} else {
				assert_string_not_equal(kt_err_detail(), "");
				failed++;
			}
			OK(tpm_token_logout(token));
			login_user(token);
			assert_int_equal(keys_live_count(token), 1);
			assert_int_equal(places_taken(&tpm), 1);
			assert_int_equal(counters_taken(&tpm), 1);
		}
	}
	assert_true(failed > 50 && done > 50);
	OK(wrap_it());
}

/* What a process leaves that died without a resource manager. */
static void leave_behind(unsigned sessions, unsigned objects)
{
	struct tpm *owner = owner_open(&tpm);
	struct tpm_object null = tpm_permanent(TPM2_RH_NULL, SPAN(NULL, 0));

	for (unsigned i = 0; i < sessions; i++) {
		struct tpm_session session = {0};

		OK(session_start(owner, SESSION_HMAC, NULL, NULL, &session));
	}
	for (unsigned i = 0; i < objects; i++) {
		struct tpm_object object = {0};
		struct tpm_public public = {0};

		OK(object_create_primary(owner, &null, NULL, OBJECT_SRK,
					 &object, &public));
	}
	tpm_free(owner);
}

static void test_slots_full_of_leftovers(void **state)
{
	struct tpm_key fresh = {0};

	(void)state;
	leave_behind(2, 3);
	OK(tpm_key_create(token, TPM_KEY_EC, BYTES("e"), &fresh));
	tpm_key_done(&fresh);
	OK(tpm_token_logout(token));
	leave_behind(3, 3);
	login_user(token);
	OK(wrap_it());
}

/* Another process may flush its session while we flush all of them. */
static void test_leftover_that_goes_by_itself(void **state)
{
	(void)state;
	OK(tpm_token_logout(token));
	leave_behind(3, 0);
	shim_answer(TPM2_CC_FlushContext, 0, 1, TPM2_RC_HANDLE);
	login_user(token);
	OK(wrap_it());
}

static void test_no_slot_left(void **state)
{
	struct tpm_config config = {
		.tcti = tpm.shim, .state = tpm.state, .slots = 1};
	struct tpm_key fresh = {0};

	(void)state;
	tpm_token_free(token);
	OK(tpm_token_new(&config, &token));
	login_user(token);
	shim_reset();
	assert_int_equal(tpm_key_create(token, TPM_KEY_EC, BYTES("e"), &fresh),
			 CKR_DEVICE_MEMORY);
	assert_says("taken");
	assert_int_equal(shim_count_of(TPM2_CC_NV_DefineSpace), 0);
	assert_int_equal(shim_count_of(TPM2_CC_Create), 0);
	swtpm_shell(&tpm, "test $(ls state/keys | wc -l) -eq 1");
	OK(wrap_it());
}

static void test_provision_counts_first(void **state)
{
	struct tpm_provision provision = {.keys = 300};

	(void)state;
	assert_int_equal(tpm_token_provision(token, &provision),
			 CKR_USER_ALREADY_LOGGED_IN);
	OK(tpm_token_logout(token));
	shim_reset();
	assert_int_equal(tpm_token_provision(token, &provision),
			 CKR_DEVICE_MEMORY);
	assert_says("room for 300 keys");
	assert_int_equal(shim_count_of(TPM2_CC_HierarchyChangeAuth), 0);
}

static unsigned sessions_taken(void)
{
	struct tpm *owner = owner_open(&tpm);
	unsigned count = 0;

	for (uint32_t i = 0; i < 3; i++) {
		bool there = false;

		OK(caps_handle_there(owner, 0x02000000 + i, &there));
		count += there;
	}
	tpm_free(owner);
	return count;
}

/* What the TPM made is given back where its answer cannot be read. */
static void test_start_that_cannot_be_read(void **state)
{
	const size_t nonce_size_at = 14;

	(void)state;
	assert_int_equal(sessions_taken(), 1);
	OK(tpm_token_logout(token));
	shim_garble(TPM2_CC_StartAuthSession, nonce_size_at);
	assert_int_equal(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)),
			 CKR_DEVICE_ERROR);
	assert_int_equal(sessions_taken(), 0);
	login_user(token);
}

static CK_RV put_in_its_place(struct tpm_token *t, void *arg)
{
	struct key_file file = {0};
	const struct kt_id *id = arg;

	OK(keys_live(t, id, &file));
	file.handle = 0x81024b00;
	OK(life_restore(t, &file));
	key_file_done(&file);
	return CKR_OK;
}

/* Another TPM answers, or this one after TPM2_Clear; and none of it counts as
 * a wrong PIN. */
static void test_cleared(void **state)
{
	struct tpm_provision anew = {.keys = 1};
	struct tpm_config elsewhere = {.tcti = tpm.tcti};
	struct tpm_token *other = NULL;
	char path[128];

	(void)state;
	OK(tpm_token_logout(token));
	swtpm_stop(&tpm);
	swtpm_shell(&tpm, "rm -rf tpm && mkdir tpm");
	swtpm_start(&tpm);
	assert_int_equal(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)),
			 CKR_DEVICE_ERROR);
	assert_says("cleared");
	/* Somebody makes a new storage root in it. */
	snprintf(path, sizeof(path), "%s/saved", tpm.dir);
	elsewhere.state = path;
	OK(tpm_token_new(&elsewhere, &other));
	OK(tpm_token_provision(other, &anew));
	tpm_token_free(other);
	assert_int_equal(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)),
			 CKR_DEVICE_ERROR);
	assert_says("cleared");
}

/* A storage root of another program's making: RSA, and without noDA. */
static void test_rsa_storage_root(void **state)
{
	struct tpm_key fresh = {0};

	(void)state;
	tpm_token_free(token);
	swtpm_stop(&tpm);
	swtpm_shell(&tpm, "rm -rf tpm state && mkdir tpm");
	swtpm_start(&tpm);
	swtpm_shell(&tpm, "export TPM2TOOLS_TCTI=swtpm:path=$PWD/sock;"
			  "tpm2_createprimary -Q -C o -G rsa2048 -c srk &&"
			  "tpm2_evictcontrol -Q -C o -c srk 0x81000001 &&"
			  "tpm2_flushcontext -t && rm srk");
	tpm_token_free(swtpm_ready_token(&tpm));
	token = swtpm_token_by(&tpm, tpm.shim);
	login_user(token);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("rsa"), &fresh));
	assert_key_works(token, &fresh.id);
	tpm_key_done(&fresh);
}

/* A TPM without symmetric storage keys: the gate is an elliptic curve. */
static void test_gate_of_a_curve(void **state)
{
	struct tpm_evidence evidence = {0};
	struct tpm_key fresh = {0};
	const uint8_t *gate;
	size_t len = 0;

	(void)state;
	shim_answer(TPM2_CC_Create, 0, 1, TPM2_RC_TYPE | TPM2_RC_P | TPM2_RC_2);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("ecc"), &fresh));
	OK(tpm_key_attest(token, &fresh.id, BYTES("n"), &evidence));
	gate = evidence_find(&evidence, "gate.public", &len);
	assert_non_null(gate);
	assert_int_equal(be16_get(gate), TPM2_ALG_ECC);
	assert_key_works(token, &fresh.id);
	OK(tpm_key_destroy(token, &fresh.id));
	tpm_evidence_done(&evidence);
	tpm_key_done(&fresh);
}

/* A key with the same authorisation, at the place of another. */
static void test_swapped_object(void **state)
{
	struct tpm_object rh = tpm_permanent(TPM2_RH_OWNER, SPAN(NULL, 0));
	struct tpm_object object = {.handle = 0x81024b00};
	struct tpm *owner = owner_open(&tpm);
	struct tpm_public public = {0};
	struct tpm_key second = {0};

	(void)state;
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("2"), &second));
	OK(object_read_public(owner, object.handle, &public));
	OK(tpm_public_name(owner, &public, &object));
	OK(object_evict(owner, &rh, &object, object.handle, NULL));
	tpm_free(owner);
	OK(token_run_user(token, put_in_its_place, &second.id));
	assert_int_equal(wrap_it(), CKR_DEVICE_ERROR);
	assert_says("another object");
	assert_key_works(token, &second.id);
	/* And it is not evicted for the key that was there. */
	OK(tpm_key_destroy(token, &key.id));
	assert_int_equal(places_taken(&tpm), 2);
	tpm_key_done(&second);
}

static void test_somebody_on_the_bus(void **state)
{
	(void)state;
	for (size_t offset = 14; offset < 60; offset += 9) {
		shim_garble(TPM2_CC_HMAC, offset);
		assert_int_equal(wrap_it(), CKR_DEVICE_ERROR);
		OK(wrap_it());
	}
	shim_garble(TPM2_CC_HMAC, 20);
	assert_int_equal(wrap_it(), CKR_DEVICE_ERROR);
	assert_says("bus");
}

/* A key does not pass for destroyed because somebody says that its counter,
 * or its place, is empty or another's; and then it can be destroyed. */
static void test_lies_about_a_destroyed_key(void **state)
{
	static const struct {
		uint32_t code;
		size_t offset;
	} lies[] = {
		{TPM2_CC_GetCapability, 18}, /* no counter, one handle less */
		{TPM2_CC_NV_ReadPublic, 70}, /* in the counter's Name */
		{TPM2_CC_ReadPublic, 80},    /* in the key's Name */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		shim_garble(lies[i].code, lies[i].offset);
		assert_int_equal(tpm_key_destroy(token, &key.id),
				 CKR_DEVICE_ERROR);
		assert_says("still has");
		OK(tpm_key_destroy(token, &key.id));
		assert_int_equal(counters_taken(&tpm), 0);
		assert_int_equal(places_taken(&tpm), 0);
		tpm_key_done(&key);
		OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("x"), &key));
	}
}

/* A first parameter that did not fit is not encrypted, as it is not there. */
static void test_too_long(void **state)
{
	static const uint8_t bytes[CMD_SIZE_MAX];
	struct cmd cmd = CMD(HMAC);
	struct tpm *owner = owner_open(&tpm);
	struct tpm_session *main = NULL;

	(void)state;
	OK(session_main(owner, &main));
	cmd_auth(&cmd, main, NULL, CMD_SECRET);
	cmd_put_2b(&cmd, SPAN(bytes, sizeof(bytes)));
	assert_int_equal(cmd_run(owner, &cmd), CKR_DATA_LEN_RANGE);
	tpm_free(owner);
}

static void reopen(void)
{
	tpm_token_free(token);
	token = swtpm_token_by(&tpm, tpm.shim);
}

static void test_damaged_files(void **state)
{
	struct tpm_token_info info = {0};

	(void)state;
	tpm_token_free(token);
	token = NULL;
	swtpm_shell(&tpm, "cp -a state saved && echo x >> state/token.conf");
	reopen();
	assert_int_equal(tpm_token_info(token, &info), CKR_DEVICE_ERROR);
	assert_says("token.conf");
	swtpm_shell(&tpm, "cp saved/token.conf state &&"
			  "sed -i s/salt/pepper/ state/pin-user");
	reopen();
	assert_int_equal(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)),
			 CKR_DEVICE_ERROR);
	assert_says("pin-user");
	swtpm_shell(&tpm, "cp saved/pin-user state &&"
			  "truncate -s -1 state/keys/*/meta");
	reopen();
	login_user(token);
	assert_int_equal(wrap_it(), CKR_DEVICE_ERROR);
	assert_says("meta");
	swtpm_shell(&tpm, "rm -rf state && cp -a saved state");
	reopen();
	login_user(token);
	OK(wrap_it());
}

static void test_conf_lost(void **state)
{
	(void)state;
	swtpm_shell(&tpm, "mv state/token.conf saved");
	assert_int_equal(tpm_token_init(token, BYTES(SO_PIN), "x"),
			 CKR_DEVICE_ERROR);
	assert_says("backup");
	swtpm_shell(&tpm, "mv saved state/token.conf");
	reopen();
	login_user(token);
	OK(wrap_it());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_session_lost,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_tpm_restarted,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_tpm_gone, setup_shimmed,
						teardown),
		cmocka_unit_test_setup_teardown(test_failure_mode,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_nv_rate, setup_shimmed,
						teardown),
		cmocka_unit_test_setup_teardown(test_every_command_fails_once,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_slots_full_of_leftovers,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(
			test_leftover_that_goes_by_itself, setup_shimmed,
			teardown),
		cmocka_unit_test_setup_teardown(test_no_slot_left,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_provision_counts_first,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_start_that_cannot_be_read,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_cleared, setup_shimmed,
						teardown),
		cmocka_unit_test_setup_teardown(test_rsa_storage_root,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_gate_of_a_curve,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_swapped_object,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_somebody_on_the_bus,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_lies_about_a_destroyed_key,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_too_long, setup_shimmed,
						teardown),
		cmocka_unit_test_setup_teardown(test_damaged_files,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_conf_lost, setup_shimmed,
						teardown),
	};

	return cmocka_run_group_tests_name("tpm2/faults", tests, NULL, NULL);
}
