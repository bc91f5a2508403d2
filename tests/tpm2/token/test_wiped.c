/*
 * After the logout nothing is left in the process of what the login had: not
 * the authorisation of the keys, nor the key of the nonces, nor the session's
 * key; and nothing of a key that was wrapped and unwrapped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/secret.h"
#include "hsm/tpm2/state.h"
#include "swtpm.h"
#include "tests/tpm2/copies.h"

struct sought {
	uint8_t complement[COPY_LEN];
};

static struct sought sought_of(const uint8_t secret[COPY_LEN])
{
	struct sought sought;

	for (size_t i = 0; i < COPY_LEN; i++)
		sought.complement[i] = (uint8_t)~secret[i];
	return sought;
}

/* As docs/tpm.md has it. */
static struct sought nonce_key(const struct tpm_token *token,
			       const struct kt_id *id)
{
	uint8_t info[18 + KT_ID_LEN] = "keyturn tpm siv 1", siv[HASH_LEN];
	struct sought sought;

	memcpy(info + 17, id->bytes, KT_ID_LEN);
	OK(crypto_hkdf(token->tpm->crypto,
		       SPAN(token->object_auth.data, OBJECT_AUTH_LEN),
		       SPAN(info, 17 + KT_ID_LEN), siv));
	sought = sought_of(siv);
	wipe(siv, sizeof(siv));
	return sought;
}

/* Wraps a fresh key and takes it back; what to look for is all that stays. */
static struct sought use(struct tpm_token *token, const struct kt_id *id)
{
	uint8_t wrap[32 + TPM_WRAP_OVERHEAD], value[32];
	struct kt_secret back = {0};
	struct sought sought;

	OK(crypto_random(token->tpm->crypto, value, sizeof(value)));
	OK(tpm_key_wrap(token, id, BYTES("aad"), value, sizeof(value), wrap));
	OK(tpm_key_unwrap(token, id, BYTES("aad"), wrap, sizeof(wrap), &back));
	assert_memory_equal(back.data, value, sizeof(value));
	sought = sought_of(value);
	wipe(value, sizeof(value));
	kt_secret_done(&back);
	return sought;
}

static void test_logout(void **state)
{
	static struct swtpm tpm;
	struct tpm_key key = {0};
	struct sought auth, siv, session, value;
	struct tpm_token *token;

	(void)state;
	swtpm_open(&tpm);
	token = swtpm_ready_token(&tpm);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("wrap"), &key));
	auth = sought_of(token->object_auth.data);
	session = sought_of(token->tpm->session.key.data);
	siv = nonce_key(token, &key.id);
	value = use(token, &key.id);
	assert_int_equal(copies_of(auth.complement), 1);
	assert_int_equal(copies_of(session.complement), 1);
	assert_int_equal(copies_of(siv.complement), 1);
	assert_int_equal(copies_of(value.complement), 0);
	OK(tpm_token_logout(token));
	assert_int_equal(copies_of(auth.complement), 0);
	assert_int_equal(copies_of(session.complement), 0);
	assert_int_equal(copies_of(siv.complement), 0);
	tpm_key_done(&key);
	tpm_token_free(token);
	swtpm_close(&tpm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_logout)};

	return cmocka_run_group_tests_name("tpm2/wiped", tests, NULL, NULL);
}
