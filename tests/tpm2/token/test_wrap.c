/*
 * Wraps: the bytes against an independent computation, and on a TPM that only
 * the right key, with the right associated data, opens an unchanged one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "hsm/tpm2/wrap.h"
#include "fixture.h"
#include "shim.h"

#include <tss2/tss2_tpm2_types.h>

#define WRAP_LEN (32 + TPM_WRAP_OVERHEAD)

static void count_up(uint8_t *bytes, size_t len, uint8_t first)
{
	for (size_t i = 0; i < len; i++)
		bytes[i] = (uint8_t)(first + i);
}

/* Computed with Python's hmac and hashlib and the AESGCM of "cryptography". */
static void test_known_answers(void **state)
{
	const char *nonce_hex = "d2f5a9a113f06208789413c780e11548"
				"7834fd0c3424f7925d3d99be2acd72b3";
	const char *input_hex = "000000016b65797475726e2074706d20"
				"777261702031404142434445464748494a4b4c4d4e4f"
				"d2f5a9a113f06208789413c780e11548"
				"7834fd0c3424f7925d3d99be2acd72b3"
				"252d798f7e9f5f6110500ee5f131030c"
				"716707c9614c46bea9ff1bf2afbcf69600000100";
	const char *wrap_hex = "5450573101010000"
			       "404142434445464748494a4b4c4d4e4f"
			       "d2f5a9a113f06208789413c780e11548"
			       "7834fd0c3424f7925d3d99be2acd72b3"
			       "1f2dcac045787344fd81ca6844119e53"
			       "b8b8ae81b45fd55773f58f0dac118ac4"
			       "8bd577d88861a5ffc9e77be6055e425c";
	uint8_t auth[32], value[32], kek[32], nonce[32], wrap[WRAP_LEN];
	uint8_t input[WRAP_INPUT_LEN];
	char hex[2 * WRAP_INPUT_LEN + 1];
	struct span aad = SPAN("vault/project", 13);
	struct crypto *crypto = NULL;
	struct crypto_mac *siv = NULL;
	struct kt_secret back = {0};
	struct kt_id id;

	(void)state;
	count_up(auth, sizeof(auth), 0);
	count_up(id.bytes, sizeof(id.bytes), 0x40);
	count_up(value, sizeof(value), 0x80);
	count_up(kek, sizeof(kek), 0xc0);
	OK(crypto_new(&crypto));
	OK(wrap_siv_new(crypto, SPAN(auth, 32), &id, &siv));
	OK(wrap_nonce(siv, &id, aad, SPAN(value, 32), nonce));
	hex_encode(nonce, sizeof(nonce), hex);
	assert_string_equal(hex, nonce_hex);
	OK(wrap_input(crypto, &id, nonce, aad, input));
	hex_encode(input, sizeof(input), hex);
	assert_string_equal(hex, input_hex);
	OK(wrap_seal(crypto, kek, &id, nonce, aad, SPAN(value, 32), wrap));
	hex_encode(wrap, sizeof(wrap), hex);
	assert_string_equal(hex, wrap_hex);
	OK(wrap_open(crypto, kek, siv, &id, aad, SPAN(wrap, sizeof(wrap)),
		     &back));
	assert_memory_equal(back.data, value, sizeof(value));
	kt_secret_done(&back);
	crypto_mac_free(siv);
	crypto_free(crypto);
}

/* Whoever has the one-time key of a wrap, but not the token's authorisation,
 * cannot make another wrap with it that opens. */
static void test_foreign_nonce_is_refused(void **state)
{
	uint8_t auth[32] = {1}, kek[32] = {2}, nonce[32] = {3};
	uint8_t wrap[WRAP_LEN];
	struct crypto *crypto = NULL;
	struct crypto_mac *siv = NULL;
	struct kt_secret back = {0};
	struct kt_id id = {{4}};

	(void)state;
	OK(crypto_new(&crypto));
	OK(wrap_seal(crypto, kek, &id, nonce, SPAN("", 0), SPAN(auth, 32),
		     wrap));
	OK(crypto_mac_new(crypto, SPAN(auth, sizeof(auth)), &siv));
	assert_int_equal(wrap_open(crypto, kek, siv, &id, SPAN("", 0),
				   SPAN(wrap, sizeof(wrap)), &back),
			 CKR_WRAPPED_KEY_INVALID);
	assert_null(back.data);
	crypto_mac_free(siv);
	crypto_free(crypto);
}

static void wrap_it(const char *aad, uint8_t ret[WRAP_LEN])
{
	uint8_t value[32];

	count_up(value, sizeof(value), 7);
	OK(tpm_key_wrap(token, &key.id, BYTES(aad), value, sizeof(value), ret));
}

static CK_RV unwrap_it(const struct kt_id *id, const char *aad,
		       const uint8_t *wrap, size_t len)
{
	struct kt_secret back = {0};
	CK_RV rv = tpm_key_unwrap(token, id, BYTES(aad), wrap, len, &back);

	assert_true((rv == CKR_OK) == (back.data != NULL));
	kt_secret_done(&back);
	return rv;
}

static void test_deterministic(void **state)
{
	uint8_t a[WRAP_LEN], b[WRAP_LEN], c[WRAP_LEN];

	(void)state;
	wrap_it("one", a);
	wrap_it("one", b);
	wrap_it("two", c);
	assert_memory_equal(a, b, sizeof(a));
	/* Nothing in common but the header. */
	assert_memory_equal(a, c, WRAP_HEADER_LEN);
	assert_memory_not_equal(a + 24, c + 24, 32);
	assert_memory_not_equal(a + 56, c + 56, 32);
	assert_int_equal(unwrap_it(&key.id, "one", a, sizeof(a)), CKR_OK);
}

static void test_every_bit_counts(void **state)
{
	uint8_t wrap[WRAP_LEN];

	(void)state;
	wrap_it("aad", wrap);
	for (size_t i = 0; i < 8 * sizeof(wrap); i += i < 8 * 56 ? 1 : 3) {
		wrap[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(unwrap_it(&key.id, "aad", wrap, sizeof(wrap)),
				 CKR_WRAPPED_KEY_INVALID);
		wrap[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	assert_int_equal(unwrap_it(&key.id, "aad", wrap, sizeof(wrap)), CKR_OK);
}

static void test_lengths(void **state)
{
	uint8_t wrap[TPM_WRAP_VALUE_MAX + TPM_WRAP_OVERHEAD + 1];
	uint8_t value[TPM_WRAP_VALUE_MAX + 1] = {0};
	const size_t good[] = {1, 16, 24, 32, 64, 256, TPM_WRAP_VALUE_MAX};
	struct kt_secret back = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		size_t len = good[i] + TPM_WRAP_OVERHEAD;

		OK(tpm_key_wrap(token, &key.id, NULL, 0, value, good[i], wrap));
		OK(tpm_key_unwrap(token, &key.id, NULL, 0, wrap, len, &back));
		assert_int_equal(back.len, good[i]);
		kt_secret_done(&back);
		assert_int_equal(unwrap_it(&key.id, "", wrap, len - 1),
				 good[i] == 1 ? CKR_WRAPPED_KEY_LEN_RANGE
					      : CKR_WRAPPED_KEY_INVALID);
	}
	assert_int_equal(unwrap_it(&key.id, "", wrap, 0),
			 CKR_WRAPPED_KEY_LEN_RANGE);
	assert_int_equal(unwrap_it(&key.id, "", wrap, sizeof(wrap)),
			 CKR_WRAPPED_KEY_LEN_RANGE);
	assert_int_equal(tpm_key_wrap(token, &key.id, NULL, 0, value, 0, wrap),
			 CKR_KEY_SIZE_RANGE);
	assert_int_equal(tpm_key_wrap(token, &key.id, NULL, 0, value,
				      sizeof(value), wrap),
			 CKR_KEY_SIZE_RANGE);
}

static void test_other_aad_and_other_key(void **state)
{
	uint8_t wrap[WRAP_LEN];
	struct tpm_key other = {0};
	uint8_t mac[TPM_MAC_LEN];

	(void)state;
	wrap_it("project 1", wrap);
	assert_int_equal(unwrap_it(&key.id, "project 2", wrap, sizeof(wrap)),
			 CKR_WRAPPED_KEY_INVALID);
	assert_int_equal(unwrap_it(&key.id, "", wrap, sizeof(wrap)),
			 CKR_WRAPPED_KEY_INVALID);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("other"), &other));
	assert_int_equal(unwrap_it(&other.id, "project 1", wrap, sizeof(wrap)),
			 CKR_WRAPPED_KEY_INVALID);
	/* Even when the header names the other one. */
	memcpy(wrap + 8, other.id.bytes, sizeof(other.id.bytes));
	assert_int_equal(unwrap_it(&other.id, "project 1", wrap, sizeof(wrap)),
			 CKR_WRAPPED_KEY_INVALID);
	tpm_key_done(&other);
	/* A wrapping key never signs: that would be every wrap's key. */
	assert_int_equal(tpm_key_hmac(token, &key.id, BYTES("text"), mac),
			 CKR_KEY_TYPE_INCONSISTENT);
}

static void test_one_command_each(void **state)
{
	uint8_t wrap[WRAP_LEN];

	(void)state;
	wrap_it("aad", wrap);
	shim_reset();
	for (int i = 0; i < 10; i++)
		wrap_it("aad", wrap);
	assert_int_equal(shim_count(), 10);
	assert_int_equal(shim_count_of(TPM2_CC_HMAC), 10);
	for (int i = 0; i < 10; i++)
		assert_int_equal(unwrap_it(&key.id, "aad", wrap, sizeof(wrap)),
				 CKR_OK);
	assert_int_equal(shim_count(), 20);
	assert_int_equal(shim_count_of(TPM2_CC_HMAC), 20);
	/* What cannot be a wrap costs none. */
	assert_int_equal(unwrap_it(&key.id, "aad", wrap, 72),
			 CKR_WRAPPED_KEY_LEN_RANGE);
	wrap[8] ^= 1;
	assert_int_equal(unwrap_it(&key.id, "aad", wrap, sizeof(wrap)),
			 CKR_WRAPPED_KEY_INVALID);
	assert_int_equal(shim_count(), 20);
}

/* Another process, after a restart of the TPM, opens the same wrap. */
static void test_wrap_survives(void **state)
{
	uint8_t wrap[WRAP_LEN];

	(void)state;
	wrap_it("aad", wrap);
	tpm_token_free(token);
	swtpm_power_cycle(&tpm);
	token = swtpm_token_by(&tpm, tpm.shim);
	assert_int_equal(unwrap_it(&key.id, "aad", wrap, sizeof(wrap)),
			 CKR_USER_NOT_LOGGED_IN);
	login_user(token);
	assert_int_equal(unwrap_it(&key.id, "aad", wrap, sizeof(wrap)), CKR_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_known_answers),
		cmocka_unit_test(test_foreign_nonce_is_refused),
		cmocka_unit_test_setup_teardown(test_deterministic,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_every_bit_counts,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_lengths, setup_shimmed,
						teardown),
		cmocka_unit_test_setup_teardown(test_other_aad_and_other_key,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_one_command_each,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_wrap_survives,
						setup_shimmed, teardown),
	};

	return cmocka_run_group_tests_name("tpm2/wrap", tests, NULL, NULL);
}
