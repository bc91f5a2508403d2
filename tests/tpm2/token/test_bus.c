/*
 * Everything that crosses the bus in a token's life is written down: no PIN,
 * no authorisation, no key and nothing wrapped is in it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hsm/tpm2/state.h"
#include "hsm/tpm2/wrap.h"
#include "shim.h"
#include "swtpm.h"

#define OWNER "owner-auth-secret"
#define LOCKOUT "lockout-auth-secret"
#define NEW_PIN "another-user-pin"

static struct swtpm tpm;

static int setup(void **state)
{
	(void)state;
	shim_reset();
	swtpm_open(&tpm);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swtpm_close(&tpm);
	return 0;
}

static void provision(struct tpm_token *token)
{
	const struct tpm_provision p = {
		.new_owner = (const uint8_t *)OWNER,
		.new_owner_len = strlen(OWNER),
		.new_lockout = (const uint8_t *)LOCKOUT,
		.new_lockout_len = strlen(LOCKOUT),
	};

	OK(tpm_token_provision(token, &p));
}

static void assert_hidden(const void *bytes, size_t len)
{
	assert_true(len >= 4);
	assert_false(shim_saw(bytes, len));
}

/* The wrap's one-time key, asked of the TPM past the shim. */
static void kek_of(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t *wrap, uint8_t ret[HASH_LEN])
{
	struct tpm *owner = owner_open(&tpm);
	struct cmd cmd = CMD(HMAC);
	struct tpm_session *main = NULL;
	const struct held_key *held = NULL;
	uint8_t input[WRAP_INPUT_LEN];

	OK(keys_hold(token, id, &held));
	OK(wrap_input(owner->crypto, id, wrap + WRAP_HEADER_LEN, SPAN("", 0),
		      input));
	OK(session_main(owner, &main));
	cmd_handle(&cmd, &held->object);
	cmd_auth(&cmd, main, &held->object, CMD_SECRET | CMD_ANSWER_SECRET);
	cmd_put_2b(&cmd, SPAN(input, sizeof(input)));
	cmd_put_u16(&cmd, TPM2_ALG_SHA256);
	OK(cmd_run(owner, &cmd));
	memcpy(ret, cmd_get_2b(&cmd).data, HASH_LEN);
	tpm_free(owner);
}

static void test_nothing_in_the_clear(void **state)
{
	struct tpm_token *token = swtpm_token_by(&tpm, tpm.shim);
	uint8_t dek[32], wrap[32 + TPM_WRAP_OVERHEAD], kek[HASH_LEN];
	uint8_t mac[TPM_MAC_LEN], random[32];
	struct kt_secret back = {0};
	struct tpm_key key = {0}, hmac = {0};

	(void)state;
	for (uint8_t i = 0; i < sizeof(dek); i++)
		dek[i] = (uint8_t)(0xd0 ^ i * 7);
	provision(token);
	OK(tpm_token_init(token, BYTES(SO_PIN), "bus"));
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_init_pin(token, BYTES(USER_PIN)));
	OK(tpm_token_logout(token));
	login_user(token);
	OK(tpm_token_set_pin(token, BYTES(USER_PIN), BYTES(NEW_PIN)));
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("a"), &key));
	OK(tpm_key_create(token, TPM_KEY_HMAC, BYTES("b"), &hmac));
	OK(tpm_key_wrap(token, &key.id, NULL, 0, dek, sizeof(dek), wrap));
	OK(tpm_key_unwrap(token, &key.id, NULL, 0, wrap, sizeof(wrap), &back));
	OK(tpm_key_hmac(token, &hmac.id, BYTES("a text to sign"), mac));
	OK(tpm_token_random(token, random, sizeof(random)));
	kek_of(token, &key.id, wrap, kek);

	assert_hidden(BYTES(SO_PIN));
	assert_hidden(BYTES(USER_PIN));
	assert_hidden(BYTES(NEW_PIN));
	assert_hidden(BYTES(OWNER));
	assert_hidden(BYTES(LOCKOUT));
	assert_hidden(token->object_auth.data, token->object_auth.len);
	assert_hidden(dek, sizeof(dek));
	assert_hidden(kek, sizeof(kek));
	assert_hidden(mac, sizeof(mac));
	assert_hidden(random, sizeof(random));
	assert_hidden(BYTES("a text to sign"));
	assert_hidden(BYTES("keyturn tpm wrap 1"));
	/* That the key is the wrap's, and that the spy does see: */
	assert_int_equal(back.len, sizeof(dek));
	assert_true(shim_saw(token->tpm->srk_public.data + 8, 32));
	assert_true(shim_saw(key.id.bytes, sizeof(key.id.bytes)));
	assert_true(shim_logged() > 10000);
	OK(tpm_key_destroy(token, &key.id));
	assert_hidden(BYTES(OWNER));
	kt_secret_done(&back);
	tpm_key_done(&key);
	tpm_key_done(&hmac);
	tpm_token_free(token);
}

/* kek_of() is worth something only if it opens the wrap. */
static void test_the_kek_is_the_wraps(void **state)
{
	struct tpm_token *token = swtpm_ready_token(&tpm);
	uint8_t dek[32] = {9, 8, 7}, wrap[32 + TPM_WRAP_OVERHEAD],
		kek[HASH_LEN];
	const struct held_key *held = NULL;
	struct kt_secret back = {0};
	struct tpm_key key = {0};

	(void)state;
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("a"), &key));
	OK(tpm_key_wrap(token, &key.id, NULL, 0, dek, sizeof(dek), wrap));
	kek_of(token, &key.id, wrap, kek);
	OK(keys_hold(token, &key.id, &held));
	OK(wrap_open(token->tpm->crypto, kek, held->siv, &key.id, SPAN("", 0),
		     SPAN(wrap, sizeof(wrap)), &back));
	assert_memory_equal(back.data, dek, sizeof(dek));
	kt_secret_done(&back);
	tpm_key_done(&key);
	tpm_token_free(token);
}

/* The owner's authorisation is needed from then on, and is in the token. */
static void test_owner_authorisation(void **state)
{
	struct tpm_token *token = swtpm_token_by(&tpm, tpm.shim);
	struct tpm_provision p = {.owner = (const uint8_t *)"wrong",
				  .owner_len = 5};
	struct tpm_key key = {0};

	(void)state;
	provision(token);
	tpm_token_free(token);
	token = swtpm_token_by(&tpm, tpm.shim);
	assert_int_equal(tpm_token_init(token, BYTES(SO_PIN), "x"),
			 CKR_FUNCTION_REJECTED);
	assert_non_null(strstr(kt_err_detail(), "owner"));
	assert_int_equal(tpm_token_provision(token, &p), CKR_FUNCTION_REJECTED);
	p.owner = (const uint8_t *)OWNER;
	p.owner_len = strlen(OWNER);
	OK(tpm_token_provision(token, &p));
	OK(tpm_token_init(token, BYTES(SO_PIN), "owned"));
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_init_pin(token, BYTES(USER_PIN)));
	tpm_token_free(token);
	/* Another process knows the PIN only. */
	token = swtpm_token(&tpm);
	login_user(token);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("a"), &key));
	OK(tpm_key_destroy(token, &key.id));
	tpm_key_done(&key);
	tpm_token_free(token);
}

/* A TPM drops zeros at the end of an authorisation, and so do we. */
static void test_authorisation_with_zeros(void **state)
{
	const uint8_t zeros[] = {'a', 0, 'b', 0, 0};
	struct tpm_token *token = swtpm_token(&tpm);
	struct tpm_provision p = {.new_owner = zeros,
				  .new_owner_len = sizeof(zeros)};
	struct tpm_key key = {0};

	(void)state;
	OK(tpm_token_provision(token, &p));
	tpm_token_free(token);
	token = swtpm_token(&tpm);
	p = (struct tpm_provision){.owner = zeros, .owner_len = 3};
	OK(tpm_token_provision(token, &p));
	p.owner_len = sizeof(zeros);
	OK(tpm_token_provision(token, &p));
	tpm_token_free(token);
	token = swtpm_token(&tpm);
	OK(tpm_token_provision(token, &p));
	OK(tpm_token_init(token, BYTES(SO_PIN), "zeros"));
	OK(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)));
	OK(tpm_token_init_pin(token, BYTES(USER_PIN)));
	OK(tpm_token_logout(token));
	login_user(token);
	OK(tpm_key_create(token, TPM_KEY_EC, BYTES("a"), &key));
	tpm_key_done(&key);
	tpm_token_free(token);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_nothing_in_the_clear,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_kek_is_the_wraps,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_owner_authorisation, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_authorisation_with_zeros,
						setup, teardown),
	};

	return cmocka_run_group_tests_name("tpm2/bus", tests, NULL, NULL);
}
