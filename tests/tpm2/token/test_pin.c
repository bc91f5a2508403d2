/*
 * PINs and the TPM's protection against guessing, PCRs, and what a token tells
 * of itself.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hsm/tpm2/state.h"
#include "shim.h"
#include "swtpm.h"

static struct swtpm tpm;
static struct tpm_token *token;

static int setup(void **state)
{
	(void)state;
	shim_reset();
	swtpm_open(&tpm);
	token = swtpm_token_by(&tpm, tpm.shim);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tpm_token_free(token);
	swtpm_close(&tpm);
	return 0;
}

static void make_token(void)
{
	tpm_token_free(swtpm_ready_token(&tpm));
}

static CK_RV try_user(const char *pin)
{
	return tpm_token_login(token, TPM_USER, BYTES(pin));
}

static struct tpm_token_info info(void)
{
	struct tpm_token_info info = {0};

	OK(tpm_token_info(token, &info));
	return info;
}

static void test_life_of_a_token(void **state)
{
	uint8_t bytes[100] = {0};
	struct tpm_token_info i = info();

	(void)state;
	assert_false(i.initialised || i.user_pin_set);
	/* Nothing was asked of the TPM for that. */
	assert_int_equal(shim_count(), 0);
	assert_int_equal(try_user(USER_PIN), CKR_TOKEN_NOT_RECOGNIZED);
	OK(tpm_token_random(token, bytes, sizeof(bytes)));
	assert_memory_not_equal(bytes, bytes + 50, 50);
	assert_int_equal(tpm_token_init(token, BYTES("123"), "x"),
			 CKR_PIN_LEN_RANGE);
	OK(tpm_token_init(token, BYTES(SO_PIN), "a token"));
	i = info();
	assert_true(i.initialised && !i.user_pin_set && i.tpm_answers);
	assert_string_equal(i.label, "a token");
	assert_int_equal(strlen(i.serial), TPM_SERIAL_LEN);
	assert_string_equal(i.manufacturer, "IBM");
	assert_int_equal(try_user(USER_PIN), CKR_USER_PIN_NOT_INITIALIZED);
	assert_int_equal(tpm_token_init_pin(token, BYTES(USER_PIN)),
			 CKR_USER_NOT_LOGGED_IN);
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	assert_int_equal(tpm_token_role(token), TPM_SO);
	assert_int_equal(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)),
			 CKR_USER_ALREADY_LOGGED_IN);
	OK(tpm_token_init_pin(token, BYTES(USER_PIN)));
	assert_int_equal(try_user(USER_PIN),
			 CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
	OK(tpm_token_logout(token));
	assert_int_equal(tpm_token_logout(token), CKR_USER_NOT_LOGGED_IN);
	OK(try_user(USER_PIN));
	assert_true(info().user_pin_set);
}

/* The SO has no business with keys. */
static void test_so_uses_no_keys(void **state)
{
	struct tpm_key key = {0};

	(void)state;
	make_token();
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	assert_int_equal(tpm_key_create(token, TPM_KEY_WRAP, BYTES("x"), &key),
			 CKR_USER_NOT_LOGGED_IN);
}

static void test_wrong_until_locked(void **state)
{
	struct tpm_key key = {0};
	struct tpm_token *running;

	(void)state;
	running = swtpm_ready_token(&tpm);
	OK(tpm_key_create(running, TPM_KEY_WRAP, BYTES("x"), &key));
	assert_false(info().count_low || info().final_try || info().locked);
	/* One try each, whatever happens: swtpm allows three. */
	shim_reset();
	assert_int_equal(try_user("wrong"), CKR_PIN_INCORRECT);
	assert_int_equal(shim_count_of(TPM2_CC_Unseal), 1);
	assert_true(info().count_low && !info().final_try);
	assert_int_equal(try_user("wrong"), CKR_PIN_INCORRECT);
	assert_true(info().final_try && !info().locked);
	/* A PIN that cannot be one costs no try. */
	assert_int_equal(try_user("abc"), CKR_PIN_INCORRECT);
	assert_true(info().final_try);
	assert_int_equal(tpm_token_login(token, TPM_SO, BYTES("wrong")),
			 CKR_PIN_INCORRECT);
	assert_true(info().locked && !info().final_try);
	assert_int_equal(try_user(USER_PIN), CKR_PIN_LOCKED);
	/* Who is logged in goes on. */
	assert_key_works(running, &key.id);
	swtpm_forgive(&tpm);
	OK(try_user(USER_PIN));
	assert_key_works(token, &key.id);
	assert_false(info().count_low || info().locked);
	tpm_key_done(&key);
	tpm_token_free(running);
}

static void test_change(void **state)
{
	struct tpm_key key = {0};

	(void)state;
	make_token();
	OK(try_user(USER_PIN));
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("x"), &key));
	assert_int_equal(
		tpm_token_set_pin(token, BYTES("wrong"), BYTES("new-pin")),
		CKR_PIN_INCORRECT);
	assert_int_equal(
		tpm_token_set_pin(token, BYTES(USER_PIN), BYTES("new")),
		CKR_PIN_LEN_RANGE);
	OK(tpm_token_set_pin(token, BYTES(USER_PIN), BYTES("new-pin")));
	assert_key_works(token, &key.id);
	OK(tpm_token_logout(token));
	assert_int_equal(try_user(USER_PIN), CKR_PIN_INCORRECT);
	/* Without a login, and the SO's. */
	OK(tpm_token_set_pin(token, BYTES("new-pin"), BYTES("newer-pin")));
	assert_int_equal(tpm_token_role(token), TPM_NOBODY);
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_set_pin(token, BYTES(SO_PIN), BYTES("new-so-pin")));
	OK(tpm_token_logout(token));
	OK(tpm_token_login(token, TPM_SO, BYTES("new-so-pin")));
	OK(tpm_token_logout(token));
	OK(try_user("newer-pin"));
	assert_key_works(token, &key.id);
	tpm_key_done(&key);
}

static CK_RV try_wrap(struct tpm_token *with, const struct kt_id *id)
{
	uint8_t value[32] = {0}, wrap[32 + TPM_WRAP_OVERHEAD];

	return tpm_key_wrap(with, id, NULL, 0, value, sizeof(value), wrap);
}

static void test_begun_anew(void **state)
{
	struct tpm_key key = {0};
	struct tpm_token *other;
	char serial[TPM_SERIAL_LEN + 1];

	(void)state;
	other = swtpm_ready_token(&tpm);
	OK(tpm_key_create(other, TPM_KEY_WRAP, BYTES("x"), &key));
	memcpy(serial, info().serial, sizeof(serial));
	assert_int_equal(tpm_token_init(token, BYTES("not the SO"), "y"),
			 CKR_PIN_INCORRECT);
	assert_key_works(other, &key.id);
	OK(tpm_token_init(token, BYTES(SO_PIN), "y"));
	assert_string_not_equal(info().serial, serial);
	assert_int_equal(counters_taken(&tpm), 0);
	assert_int_equal(places_taken(&tpm), 0);
	/* The other process finds a token that it is not logged in to. */
	assert_int_equal(try_wrap(other, &key.id), CKR_USER_NOT_LOGGED_IN);
	assert_int_equal(tpm_key_destroy(other, &key.id),
			 CKR_USER_NOT_LOGGED_IN);
	assert_int_equal(tpm_token_role(other), TPM_NOBODY);
	assert_int_equal(try_user(USER_PIN), CKR_USER_PIN_NOT_INITIALIZED);
	tpm_key_done(&key);
	tpm_token_free(other);
}

/* TPM2_PCR_Extend, as a changed boot does. */
static void extend(unsigned pcr)
{
	struct cmd cmd = CMD(PCR_Extend);
	struct tpm_object object = tpm_permanent(pcr, SPAN(NULL, 0));
	struct tpm *owner = owner_open(&tpm);
	uint8_t digest[32] = {1};

	cmd_handle(&cmd, &object);
	cmd_auth(&cmd, NULL, &object, CMD_PLAIN);
	cmd_put_u32(&cmd, 1);
	cmd_put_u16(&cmd, TPM2_ALG_SHA256);
	cmd_put(&cmd, SPAN(digest, sizeof(digest)));
	OK(cmd_run(owner, &cmd));
	tpm_free(owner);
}

static void make_bound_token(void)
{
	const struct tpm_provision p = {.pcrs = 1 << 7 | 1 << 11 | 1 << 23};

	OK(tpm_token_provision(token, &p));
	OK(tpm_token_init(token, BYTES(SO_PIN), "bound"));
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_init_pin(token, BYTES(USER_PIN)));
	OK(tpm_token_logout(token));
}

static void test_bound_to_pcrs(void **state)
{
	(void)state;
	make_bound_token();
	/* fixedTPM and fixedParent: no userWithAuth that would go round the
	 * policy, no noDA. The SO's has userWithAuth. */
	swtpm_shell(&tpm, "grep -q '^public 0008000b00000012' state/pin-user");
	swtpm_shell(&tpm, "grep -q '^public 0008000b00000052' state/pin-so");
	OK(try_user(USER_PIN));
	OK(tpm_token_logout(token));
	extend(8); /* not one of ours */
	OK(try_user(USER_PIN));
	OK(tpm_token_logout(token));
	assert_int_equal(try_user("wrong"), CKR_PIN_INCORRECT);
	assert_true(info().count_low);
	swtpm_forgive(&tpm);
	extend(11);
	assert_int_equal(try_user(USER_PIN), CKR_ACTION_PROHIBITED);
	assert_non_null(strstr(kt_err_detail(), "PCR 11 differs"));
	/* The right PIN in the wrong state is no failure to count. */
	assert_false(info().count_low);
	extend(23);
	assert_int_equal(try_user(USER_PIN), CKR_ACTION_PROHIBITED);
	assert_non_null(strstr(kt_err_detail(), "PCR 11, 23 differs"));
	/* The SO is not bound, and binds the user to the state of now. */
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_init_pin(token, BYTES("fresh-pin")));
	OK(tpm_token_logout(token));
	OK(try_user("fresh-pin"));
	OK(tpm_token_set_pin(token, BYTES("fresh-pin"), BYTES(USER_PIN)));
	OK(tpm_token_logout(token));
	OK(try_user(USER_PIN));
}

/* It is the TPM that refuses, not only the values in our file. */
static void test_pcrs_are_the_tpms(void **state)
{
	(void)state;
	make_bound_token();
	extend(11);
	/* As the values are in the file, so they are in the TPM now. */
	swtpm_shell(&tpm, "cp state/pin-user pin-old");
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_init_pin(token, BYTES(USER_PIN)));
	OK(tpm_token_logout(token));
	swtpm_shell(&tpm, "grep pcr-values state/pin-user > values &&"
			  "grep -v pcr-values pin-old > state/pin-user &&"
			  "cat values >> state/pin-user && rm values pin-old");
	assert_int_equal(try_user(USER_PIN), CKR_DEVICE_ERROR);
	assert_non_null(strstr(kt_err_detail(), "policy"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life_of_a_token, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_so_uses_no_keys, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_wrong_until_locked, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_begun_anew, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_bound_to_pcrs, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_pcrs_are_the_tpms, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("tpm2/pin", tests, NULL, NULL);
}
