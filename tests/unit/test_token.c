/*
 * A token from open to close: what is refused and how it says so, keys made,
 * found after a reload and destroyed, and many processes opening at once.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>

#include "base/clock.h"
#include "hsm/state.h"
#include "tests/unit/softhsm.h"

extern char **environ;

static struct softhsm hsm;

static int setup(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	softhsm_stop(&hsm);
	return 0;
}

static struct token *open_token(void)
{
	struct token *token = NULL;

	assert_int_equal(token_open(&hsm.params, &token), KT_OK);
	return token;
}

static void refused(enum kt_err expected, const char *detail, const char *hint)
{
	struct token *token = NULL;

	assert_int_equal(token_open(&hsm.params, &token), expected);
	assert_null(token);
	if (strstr(kt_err_detail(), detail) == NULL)
		print_message("detail: %s\n", kt_err_detail());
	assert_non_null(strstr(kt_err_detail(), detail));
	assert_non_null(strstr(kt_err_hint(), hint));
}

static void a_wrong_pin_says_what_the_token_says(void **state)
{
	(void)state;
	hsm.pin.environment = "4321";
	refused(KT_ERR_PIN,
		"PIN rejected by the token: C_Login: CKR_PIN_INCORRECT",
		"the token says: few tries left");
	assert_null(strstr(kt_err_detail(), "4321"));
	hsm.pin.environment = SOFTHSM_PIN;
	token_close(open_token());
}

/* The PIN is asked for last of all: not for a token that is not there. */
static enum kt_err never_asked(void *arg, const char *label,
			       struct kt_secret *ret)
{
	(void)arg;
	(void)label;
	(void)ret;
	fail_msg("the PIN was asked for");
	return KT_ERR_FAILED;
}

static void what_is_not_there_is_named(void **state)
{
	char missing[128], text[64];
	int fd;

	(void)state;
	hsm.pin.environment = NULL;
	hsm.pin.prompt = never_asked;
	hsm.params.uri = "pkcs11:token=nobody";
	refused(KT_ERR_TOKEN, "no token matches pkcs11:token=nobody",
		"the module shows '" SOFTHSM_LABEL "' (serial ");
	hsm.params.uri = hsm.uri;
	hsm.params.module = "/nowhere/module.so";
	refused(KT_ERR_TOKEN, "/nowhere/module.so: No such file", "");
	snprintf(missing, sizeof(missing), "%s/text.so", hsm.folder);
	fd = open(missing, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, "no library", 10), 10);
	close(fd);
	hsm.params.module = missing;
	refused(KT_ERR_TOKEN, missing, "");
	snprintf(text, sizeof(text), "./libsofthsm2.so");
	hsm.params.module = text;
	refused(KT_ERR_CONFIG, "not an absolute path", "");
	hsm.params.module = "no-such-module";
	refused(KT_ERR_TOKEN, "no module named 'no-such-module'", "p11-kit");
	hsm.params.module = NULL;
	refused(KT_ERR_CONFIG, "no PKCS#11 module is named", "module-path");
	hsm.params.module = SOFTHSM_MODULE;
	hsm.params.uri = "pkcs11:";
	refused(KT_ERR_CONFIG, "names no token", "");
	hsm.params.uri = "pkcs11:token=a?pin-value=1234";
	refused(KT_ERR_CONFIG, "no pin-value here", "");
	assert_null(strstr(kt_err_detail(), "1234"));
}

static void a_label_that_two_tokens_have_is_not_enough(void **state)
{
	char uri[512];
	struct token *token;

	(void)state;
	token = open_token();
	assert_int_equal(token_uri(token, uri, sizeof(uri)), KT_OK);
	token_close(token);
	softhsm_add_token(&hsm, SOFTHSM_LABEL);
	refused(KT_ERR_TOKEN, "2 tokens match", "serial= names one of them");
	hsm.params.uri = uri; /* names it by serial, and the module */
	hsm.params.module = NULL;
	token = open_token();
	token_close(token);
}

static void pin_and_module_from_the_uri(void **state)
{
	char uri[512], path[128];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/pin", hsm.folder);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write(fd, SOFTHSM_PIN "\n", 5), 5);
	close(fd);
	snprintf(uri, sizeof(uri),
		 "pkcs11:token=%s?module-path=%s&pin-source=file:%s",
		 SOFTHSM_LABEL, SOFTHSM_MODULE, path);
	hsm.params.uri = uri;
	hsm.params.module = NULL;
	hsm.pin.environment = NULL;
	token_close(open_token());
}

static void a_module_by_its_p11_kit_name(void **state)
{
	char uri[512], path[PATH_MAX], known[PATH_MAX];
	struct token *token;

	(void)state;
	hsm.params.module = "softhsm2";
	token = open_token();
	assert_int_equal(token_uri(token, uri, sizeof(uri)), KT_OK);
	assert_non_null(strstr(uri, "module-name=softhsm2"));
	/* The same module by its path must meet the same lock. */
	assert_string_equal(realpath(token->module.path, path),
			    realpath(SOFTHSM_MODULE, known));
	token_close(token);
}

static void info_is_of_the_token(void **state)
{
	struct token *token = open_token();
	struct kt_token_info info;
	char uri[512];

	(void)state;
	assert_int_equal(token_info(token, &info), KT_OK);
	assert_string_equal(info.label, SOFTHSM_LABEL);
	assert_string_equal(info.model, "SoftHSM v2");
	assert_int_equal(strlen(info.serial), 16);
	assert_string_equal(info.module, SOFTHSM_MODULE);
	assert_non_null(strstr(info.library, "2."));
	assert_false(info.pin_count_low || info.pin_final_try ||
		     info.pin_locked);
	assert_int_equal(token_uri(token, uri, sizeof(uri)), KT_OK);
	assert_non_null(strstr(uri, info.serial));
	assert_null(strstr(uri, SOFTHSM_PIN "&"));
	assert_int_equal(token_pin(token)->len, strlen(SOFTHSM_PIN));
	token_close(token);
}

static struct kt_id generate(struct token *token, enum kt_key_role role,
			     enum kt_wrap_mech mech)
{
	struct kt_id id;

	assert_int_equal(id_random(&id), KT_OK);
	assert_int_equal(token_generate(token, role, mech, &id, "a label"),
			 KT_OK);
	return id;
}

static size_t count(struct token *token, const struct kt_id *id)
{
	size_t n = 99;

	assert_int_equal(token_count(token, id, &n), KT_OK);
	return n;
}

static void keys_are_found_after_a_reload(void **state)
{
	static const struct {
		enum kt_key_role role;
		enum kt_wrap_mech mech;
		const char *text;
	} rows[] = {
		{KT_KEY_MASTER, KT_WRAP_AES_KW, "decrypt=false sign=false"},
		{KT_KEY_RECOVERY, KT_WRAP_AES_KW, "unwrap=false sign=false"},
		{KT_KEY_ROW_MAC, KT_WRAP_NONE, "key-type=generic-secret"},
		{KT_KEY_AUDIT, KT_WRAP_NONE, "class=private-key key-type=ec"},
	};
	struct token *token = open_token();
	struct key_facts facts;
	struct kt_id id[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		id[i] = generate(token, rows[i].role, rows[i].mech);
	assert_int_equal(token_reload(token), KT_OK);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(count(token, &id[i]), 1);
		assert_int_equal(token_key_facts(token, rows[i].role,
						 rows[i].mech, &id[i], &facts),
				 KT_OK);
		assert_non_null(strstr(facts.attributes, rows[i].text));
		assert_non_null(strstr(facts.attributes, "local=true"));
		assert_true(strlen(facts.attributes) <
			    sizeof(facts.attributes) - 1);
		assert_int_equal(facts.public_key.len, i == 3 ? 65 : 0);
	}
	token_close(token);
}

static void facts_of_another_role_are_refused(void **state)
{
	struct token *token = open_token();
	struct kt_id id = generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW);
	struct key_facts facts = {.attributes = "-"};

	(void)state;
	assert_int_equal(token_key_facts(token, KT_KEY_RECOVERY, KT_WRAP_AES_KW,
					 &id, &facts),
			 KT_ERR_POLICY);
	assert_int_equal(token_key_facts(token, KT_KEY_MASTER, KT_WRAP_AES_KWP,
					 &id, &facts),
			 KT_ERR_POLICY);
	assert_int_equal(
		token_key_facts(token, KT_KEY_AUDIT, KT_WRAP_NONE, &id, &facts),
		KT_ERR_NOT_FOUND);
	id.bytes[0] ^= 1;
	assert_int_equal(token_key_facts(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
					 &id, &facts),
			 KT_ERR_NOT_FOUND);
	assert_string_equal(facts.attributes, "-");
	token_close(token);
}

static void a_taken_id_is_not_used_again(void **state)
{
	struct token *token = open_token();
	struct kt_id id = generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW);

	(void)state;
	assert_int_equal(token_generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
					&id, "another"),
			 KT_ERR_CONFLICT);
	assert_int_equal(token_generate(token, KT_KEY_AUDIT, KT_WRAP_NONE, &id,
					"another"),
			 KT_ERR_CONFLICT);
	assert_int_equal(count(token, &id), 1);
	token_close(token);
}

/* What only somebody else could do: a second key under a taken CKA_ID. */
static void plant(struct token *token, struct kt_id *id)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ULONG size = 32;
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE attr[] = {
		{CKA_VALUE_LEN, &size, sizeof(size)},
		{CKA_TOKEN, &yes, sizeof(yes)},
		{CKA_ID, id->bytes, KT_ID_LEN},
	};
	CK_OBJECT_HANDLE key;

	assert_int_equal(session_lease_rw(token, &s), KT_OK);
	assert_int_equal(CALL(s, C_GenerateKey, &mechanism, attr, 3, &key),
			 KT_OK);
}

static void a_second_key_of_one_id_is_a_conflict(void **state)
{
	struct token *token = open_token();
	struct kt_id id = generate(token, KT_KEY_ROW_MAC, KT_WRAP_NONE);
	struct key_facts facts;
	uint8_t mac[32];

	(void)state;
	assert_int_equal(token_mac(token, &id, "x", 1, mac), KT_OK);
	plant(token, &id);
	assert_int_equal(count(token, &id), 2);
	assert_int_equal(token_key_facts(token, KT_KEY_ROW_MAC, KT_WRAP_NONE,
					 &id, &facts),
			 KT_ERR_CONFLICT);
	assert_int_equal(token_mac(token, &id, "x", 1, mac), KT_ERR_CONFLICT);
	token_close(token);
}

static void destroyed_is_gone_after_a_reload(void **state)
{
	struct token *token = open_token();
	struct kt_id master = generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW);
	struct kt_id audit = generate(token, KT_KEY_AUDIT, KT_WRAP_NONE);
	struct kt_id kept = generate(token, KT_KEY_ROW_MAC, KT_WRAP_NONE);

	(void)state;
	assert_int_equal(token_destroy(token, &master), KT_OK);
	assert_int_equal(token_destroy(token, &audit), KT_OK);
	assert_int_equal(token_reload(token), KT_OK);
	assert_int_equal(count(token, &master), 0);
	assert_int_equal(count(token, &audit), 0);
	assert_int_equal(count(token, &kept), 1);
	assert_int_equal(token_destroy(token, &master), KT_OK);
	token_close(token);
}

struct seen {
	size_t all, secret, pairs_half;
	struct kt_id last;
};

static enum kt_err look(void *arg, const struct token_object *o)
{
	struct seen *seen = arg;

	assert_string_equal(o->label, "a label");
	assert_true(o->private_object && o->local && !o->extractable);
	seen->all++;
	if (strcmp(o->class_name, "secret-key") == 0) {
		seen->secret++;
		assert_true(o->sensitive && o->wrap && o->unwrap &&
			    !o->encrypt && !o->decrypt && !o->sign);
	} else {
		seen->pairs_half++;
	}
	seen->last = o->cka_id;
	return KT_OK;
}

static enum kt_err stop_at_once(void *arg, const struct token_object *o)
{
	(void)o;
	++*(int *)arg;
	return err_raise(KT_ERR_INTERRUPTED, "stop");
}

static void objects_are_listed(void **state)
{
	struct token *token = open_token();
	struct seen seen = {0};
	int calls = 0;

	(void)state;
	assert_int_equal(token_objects(token, look, &seen), KT_OK);
	assert_int_equal(seen.all, 0);
	(void)generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW);
	(void)generate(token, KT_KEY_AUDIT, KT_WRAP_NONE);
	assert_int_equal(token_objects(token, look, &seen), KT_OK);
	assert_int_equal(seen.secret, 1);
	assert_int_equal(seen.pairs_half, 2);
	assert_false(id_is_zero(&seen.last));
	assert_int_equal(token_objects(token, stop_at_once, &calls),
			 KT_ERR_INTERRUPTED);
	assert_int_equal(calls, 1);
	token_close(token);
}

static EVP_PKEY *public_key(const struct blob *point)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;
	char group[] = "prime256v1";
	uint8_t bytes[65];
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME,
						 group, 0),
		OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY,
						  bytes, sizeof(bytes)),
		OSSL_PARAM_construct_end(),
	};

	memcpy(bytes, point->data, sizeof(bytes));
	assert_int_equal(EVP_PKEY_fromdata_init(ctx), 1);
	assert_int_equal(
		EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params), 1);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* OpenSSL wants r and s in DER. */
static int verify(EVP_PKEY *key, const struct blob *raw, const uint8_t *digest)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	uint8_t *der = NULL;
	int len, result;

	ECDSA_SIG_set0(sig, BN_bin2bn(raw->data, 32, NULL),
		       BN_bin2bn(raw->data + 32, 32, NULL));
	len = i2d_ECDSA_SIG(sig, &der);
	assert_true(len > 0);
	assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
	result = EVP_PKEY_verify(ctx, der, (size_t)len, digest, 32);
	OPENSSL_free(der);
	EVP_PKEY_CTX_free(ctx);
	ECDSA_SIG_free(sig);
	return result;
}

static void signatures_verify_with_the_public_half(void **state)
{
	struct token *token = open_token();
	struct kt_id id = generate(token, KT_KEY_AUDIT, KT_WRAP_NONE);
	uint8_t digest[32] = {1, 2, 3};
	struct key_facts facts;
	struct blob signature;
	EVP_PKEY *key;

	(void)state;
	assert_int_equal(
		token_key_facts(token, KT_KEY_AUDIT, KT_WRAP_NONE, &id, &facts),
		KT_OK);
	assert_int_equal(token_sign(token, &id, digest, &signature), KT_OK);
	assert_int_equal(signature.len, 64);
	key = public_key(&facts.public_key);
	assert_int_equal(verify(key, &signature, digest), 1);
	digest[0] ^= 1;
	assert_int_equal(verify(key, &signature, digest), 0);
	EVP_PKEY_free(key);
	token_close(token);
}

static void macs_and_random_bytes(void **state)
{
	struct token *token = open_token();
	struct kt_id id = generate(token, KT_KEY_ROW_MAC, KT_WRAP_NONE);
	uint8_t a[32], b[32], c[32];

	(void)state;
	assert_int_equal(token_mac(token, &id, "one", 3, a), KT_OK);
	assert_int_equal(token_reload(token), KT_OK);
	assert_int_equal(token_mac(token, &id, "one", 3, b), KT_OK);
	assert_int_equal(token_mac(token, &id, "two", 3, c), KT_OK);
	assert_memory_equal(a, b, 32);
	assert_memory_not_equal(a, c, 32);
	assert_int_equal(token_random(token, a, 32), KT_OK);
	assert_int_equal(token_random(token, b, 32), KT_OK);
	assert_memory_not_equal(a, b, 32);
	token_close(token);
}

static void two_handles_in_one_process(void **state)
{
	struct token *first = open_token();
	struct token *second = open_token();
	struct kt_id id = generate(first, KT_KEY_ROW_MAC, KT_WRAP_NONE);
	uint8_t a[32], b[32];

	(void)state;
	assert_int_equal(token_mac(second, &id, "x", 1, a), KT_OK);
	token_close(first);
	assert_int_equal(token_mac(second, &id, "x", 1, b), KT_OK);
	assert_memory_equal(a, b, 32);
	token_close(second);
}

/* SoftHSM 2.6.1 breaks when processes log in at once (its issue
 * 757). This is what the lock is for. */
#define PROCESSES 8
#define ROUNDS 20

static int open_many_times(const char *runtime_dir)
{
	struct kt_pin_source pin = {.fd = -1, .environment = SOFTHSM_PIN};
	struct token_params params = {
		.uri = "pkcs11:token=" SOFTHSM_LABEL,
		.module = SOFTHSM_MODULE,
		.runtime_dir = runtime_dir,
		.pin = &pin,
	};
	uint8_t data[8];

	for (int i = 0; i < ROUNDS; i++) {
		CLEANUP(token_closep) struct token *token = NULL;

		if (token_open(&params, &token) != KT_OK ||
		    token_random(token, data, sizeof(data)) != KT_OK ||
		    (i % 4 == 0 && token_reload(token) != KT_OK)) {
			fprintf(stderr, "round %d: %s\n", i, kt_err_detail());
			return 1;
		}
	}
	return 0;
}

static void many_processes_open_at_once(void **state)
{
	char self[] = "/proc/self/exe", mode[] = "--open-many-times";
	char *const argv[] = {self, mode, hsm.runtime_dir, NULL};
	pid_t pid[PROCESSES];
	int status, failed = 0;

	(void)state;
	for (size_t i = 0; i < PROCESSES; i++)
		assert_int_equal(
			posix_spawn(&pid[i], self, NULL, NULL, argv, environ),
			0);
	for (size_t i = 0; i < PROCESSES; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		failed += status != 0;
	}
	assert_int_equal(failed, 0);
}

#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH_TOKEN(a_wrong_pin_says_what_the_token_says),
		WITH_TOKEN(what_is_not_there_is_named),
		WITH_TOKEN(a_label_that_two_tokens_have_is_not_enough),
		WITH_TOKEN(pin_and_module_from_the_uri),
		WITH_TOKEN(a_module_by_its_p11_kit_name),
		WITH_TOKEN(info_is_of_the_token),
		WITH_TOKEN(keys_are_found_after_a_reload),
		WITH_TOKEN(facts_of_another_role_are_refused),
		WITH_TOKEN(a_taken_id_is_not_used_again),
		WITH_TOKEN(a_second_key_of_one_id_is_a_conflict),
		WITH_TOKEN(destroyed_is_gone_after_a_reload),
		WITH_TOKEN(objects_are_listed),
		WITH_TOKEN(signatures_verify_with_the_public_half),
		WITH_TOKEN(macs_and_random_bytes),
		WITH_TOKEN(two_handles_in_one_process),
		WITH_TOKEN(many_processes_open_at_once),
	};

	if (argc == 3 && strcmp(argv[1], "--open-many-times") == 0)
		return open_many_times(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
