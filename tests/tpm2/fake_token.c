/*
 * Keys and PINs in memory. Each function that would ask a TPM counts as one
 * command and can be made to fail.
 */
#include "tests/tpm2/fake_token.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/p11_trial.h"

#define KEYS_MAX 32
#define TRIES_MAX 3

struct fake_key {
	struct tpm_key key;
	uint8_t value[32];
	EVP_PKEY *pair;
	bool live;
};

/* The one token there is. */
static struct store {
	pthread_mutex_t lock;
	bool initialised;
	char label[TPM_LABEL_MAX + 1];
	uint8_t pin[TPM_USER + 1][TPM_PIN_MAX];
	size_t pin_len[TPM_USER + 1];
	int wrong;
	struct fake_key keys[KEYS_MAX];
	unsigned commands, double_logins;
	CK_RV next;
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct tpm_token {
	enum tpm_role role;
};

void tpm_key_done(struct tpm_key *key)
{
	free(key->attributes);
	*key = (struct tpm_key){0};
}

static void key_drop(struct fake_key *key)
{
	tpm_key_done(&key->key);
	EVP_PKEY_free(key->pair);
	*key = (struct fake_key){0};
}

void fake_token_lose_keys(void)
{
	for (size_t i = 0; i < KEYS_MAX; i++)
		key_drop(&store.keys[i]);
}

void fake_token_forget(void)
{
	fake_token_lose_keys();
	store = (struct store){.lock = PTHREAD_MUTEX_INITIALIZER};
}

unsigned fake_token_commands(void)
{
	return store.commands;
}

unsigned fake_token_double_logins(void)
{
	return store.double_logins;
}

void fake_token_fail(CK_RV rv)
{
	store.next = rv;
}

static void unlock(struct store **held)
{
	pthread_mutex_unlock(&(*held)->lock);
}

#define LOCKED                                                                 \
	[[maybe_unused]] CLEANUP(unlock) struct store *held =                  \
		(pthread_mutex_lock(&store.lock), &store)

static CK_RV command(void)
{
	CK_RV rv = store.next;

	store.commands++;
	store.next = CKR_OK;
	return rv;
}

CK_RV tpm_token_new(const struct tpm_config *config, struct tpm_token **ret)
{
	struct tpm_token *token = calloc(1, sizeof(*token));

	(void)config;
	if (token == NULL)
		return rv_memory();
	*ret = token;
	return CKR_OK;
}

void tpm_token_free(struct tpm_token *token)
{
	free(token);
}

CK_RV tpm_token_info(struct tpm_token *token, struct tpm_token_info *ret)
{
	LOCKED;

	(void)token;
	*ret = (struct tpm_token_info){
		.serial = "0123456789abcdef",
		.initialised = store.initialised,
		.user_pin_set = store.pin_len[TPM_USER] > 0,
		.tpm_answers = true,
		.count_low = store.wrong > 0,
		.final_try = store.wrong == TRIES_MAX - 1,
		.locked = store.wrong >= TRIES_MAX,
	};
	memcpy(ret->label, store.label, sizeof(ret->label));
	return CKR_OK;
}

static CK_RV prove(enum tpm_role role, const uint8_t *pin, size_t len)
{
	RV_TRY(command());
	if (store.wrong >= TRIES_MAX)
		return CKR_PIN_LOCKED;
	if (len != store.pin_len[role] ||
	    memcmp(pin, store.pin[role], len) != 0) {
		store.wrong++;
		return CKR_PIN_INCORRECT;
	}
	store.wrong = 0;
	return CKR_OK;
}

static void set_pin(enum tpm_role role, const uint8_t *pin, size_t len)
{
	memcpy(store.pin[role], pin, len);
	store.pin_len[role] = len;
}

CK_RV tpm_token_init(struct tpm_token *token, const uint8_t *pin,
		     size_t pin_len, const char *label)
{
	LOCKED;

	if (store.initialised)
		RV_TRY(prove(TPM_SO, pin, pin_len));
	fake_token_lose_keys();
	set_pin(TPM_SO, pin, pin_len);
	store.pin_len[TPM_USER] = 0;
	store.initialised = true;
	memcpy(store.label, label, strlen(label) + 1);
	token->role = TPM_NOBODY;
	return CKR_OK;
}

CK_RV tpm_token_provision(struct tpm_token *token,
			  const struct tpm_provision *provision)
{
	LOCKED;

	(void)token;
	RV_TRY(command());
	return provision->keys > KEYS_MAX ? CKR_DEVICE_MEMORY : CKR_OK;
}

CK_RV tpm_token_login(struct tpm_token *token, enum tpm_role role,
		      const uint8_t *pin, size_t pin_len)
{
	LOCKED;

	if (role == TPM_USER && store.pin_len[TPM_USER] == 0)
		return CKR_USER_PIN_NOT_INITIALIZED;
	if (token->role != TPM_NOBODY) {
		store.double_logins++;
		return CKR_USER_ALREADY_LOGGED_IN;
	}
	RV_TRY(prove(role, pin, pin_len));
	token->role = role;
	return CKR_OK;
}

CK_RV tpm_token_logout(struct tpm_token *token)
{
	LOCKED;

	token->role = TPM_NOBODY;
	return CKR_OK;
}

CK_RV tpm_token_init_pin(struct tpm_token *token, const uint8_t *pin,
			 size_t pin_len)
{
	LOCKED;

	if (token->role != TPM_SO)
		return CKR_USER_NOT_LOGGED_IN;
	set_pin(TPM_USER, pin, pin_len);
	return CKR_OK;
}

CK_RV tpm_token_set_pin(struct tpm_token *token, const uint8_t *old,
			size_t old_len, const uint8_t *new, size_t new_len)
{
	enum tpm_role role = token->role == TPM_SO ? TPM_SO : TPM_USER;
	LOCKED;

	RV_TRY(prove(role, old, old_len));
	set_pin(role, new, new_len);
	return CKR_OK;
}

CK_RV tpm_token_random(struct tpm_token *token, uint8_t *ret, size_t len)
{
	LOCKED;

	(void)token;
	RV_TRY(command());
	return rv_of(random_bytes(ret, len));
}

static CK_RV make_pair(struct fake_key *key)
{
	size_t len = 0;

	key->pair = EVP_EC_gen("P-256");
	if (key->pair == NULL ||
	    EVP_PKEY_get_octet_string_param(key->pair, "pub", key->key.point,
					    TPM_POINT_LEN, &len) != 1 ||
	    len != TPM_POINT_LEN)
		return CKR_DEVICE_ERROR;
	return CKR_OK;
}

static CK_RV copy_key(const struct tpm_key *from, struct tpm_key *ret)
{
	uint8_t *attributes = malloc(from->attributes_len + 1);

	if (attributes == NULL)
		return rv_memory();
	memcpy(attributes, from->attributes, from->attributes_len);
	*ret = *from;
	ret->attributes = attributes;
	return CKR_OK;
}

static CK_RV make_key(struct fake_key *key, enum tpm_kind kind,
		      const uint8_t *attributes, size_t len)
{
	struct tpm_key given = {.attributes = (uint8_t *)attributes,
				.attributes_len = len,
				.kind = kind};

	RV_TRY(copy_key(&given, &key->key));
	RV_TRY(rv_of(id_random(&key->key.id)));
	RV_TRY(rv_of(random_bytes(key->value, sizeof(key->value))));
	key->live = true;
	return kind == TPM_KEY_EC ? make_pair(key) : CKR_OK;
}

CK_RV tpm_key_create(struct tpm_token *token, enum tpm_kind kind,
		     const uint8_t *attributes, size_t attributes_len,
		     struct tpm_key *ret)
{
	struct fake_key *key = store.keys;
	LOCKED;

	RV_TRY(command());
	if (token->role != TPM_USER)
		return CKR_USER_NOT_LOGGED_IN;
	while (key < store.keys + KEYS_MAX && key->live)
		key++;
	if (key == store.keys + KEYS_MAX)
		return CKR_DEVICE_MEMORY;
	RV_TRY(make_key(key, kind, attributes, attributes_len));
	return copy_key(&key->key, ret);
}

CK_RV tpm_key_each(struct tpm_token *token, enum tpm_key_state state,
		   CK_RV (*fn)(const struct tpm_key *key, void *arg), void *arg)
{
	LOCKED;

	(void)token;
	for (size_t i = 0; i < KEYS_MAX; i++) {
		if (store.keys[i].live && state == TPM_KEY_LIVE)
			RV_TRY(fn(&store.keys[i].key, arg));
	}
	return CKR_OK;
}

static CK_RV find(const struct tpm_token *token, const struct kt_id *id,
		  struct fake_key **ret)
{
	struct fake_key *key = store.keys;

	RV_TRY(command());
	if (token->role != TPM_USER)
		return CKR_USER_NOT_LOGGED_IN;
	while (key < store.keys + KEYS_MAX &&
	       (!key->live || !id_equal(&key->key.id, id)))
		key++;
	if (key == store.keys + KEYS_MAX)
		return CKR_KEY_HANDLE_INVALID;
	*ret = key;
	return CKR_OK;
}

CK_RV tpm_key_destroy(struct tpm_token *token, const struct kt_id *id)
{
	struct fake_key *key;
	LOCKED;

	RV_TRY(find(token, id, &key));
	key_drop(key);
	return CKR_OK;
}

/* The trial's blobs serve for the TPM's. */
static CK_RV as_object(const struct fake_key *key, struct object *ret)
{
	*ret = (struct object){.id = key->key.id};
	return rv_of(
		kt_secret_copy(key->value, sizeof(key->value), &ret->value));
}

CK_RV tpm_key_wrap(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t *aad, size_t aad_len, const uint8_t *value,
		   size_t len, uint8_t *ret)
{
	const struct kt_secret secret = {(uint8_t *)value, len};
	struct fake_key *key;
	struct object object;
	CK_RV rv;
	LOCKED;

	RV_TRY(find(token, id, &key));
	RV_TRY(as_object(key, &object));
	rv = trial_wrap(&object, (struct bytes){aad, aad_len}, &secret, ret);
	kt_secret_done(&object.value);
	return rv;
}

CK_RV tpm_key_unwrap(struct tpm_token *token, const struct kt_id *id,
		     const uint8_t *aad, size_t aad_len, const uint8_t *wrap,
		     size_t len, struct kt_secret *ret)
{
	struct fake_key *key;
	struct object object;
	CK_RV rv;
	LOCKED;

	RV_TRY(find(token, id, &key));
	RV_TRY(as_object(key, &object));
	rv = trial_unwrap(&object, (struct bytes){aad, aad_len},
			  (struct bytes){wrap, len}, ret);
	kt_secret_done(&object.value);
	return rv;
}

CK_RV tpm_key_hmac(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t *data, size_t len, uint8_t ret[TPM_MAC_LEN])
{
	struct fake_key *key;
	LOCKED;

	RV_TRY(find(token, id, &key));
	return soft_hmac(&(struct kt_secret){key->value, sizeof(key->value)},
			 (struct bytes){data, len}, ret);
}

/* From DER to r || s. */
static CK_RV raw_signature(const uint8_t *der, size_t len,
			   uint8_t ret[TPM_SIGNATURE_LEN])
{
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);

	if (sig == NULL)
		return CKR_DEVICE_ERROR;
	BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret + 32, 32);
	ECDSA_SIG_free(sig);
	return CKR_OK;
}

CK_RV tpm_key_sign(struct tpm_token *token, const struct kt_id *id,
		   const uint8_t digest[TPM_DIGEST_LEN],
		   uint8_t ret[TPM_SIGNATURE_LEN])
{
	uint8_t der[128];
	size_t len = sizeof(der);
	struct fake_key *key;
	EVP_PKEY_CTX *ctx;
	int made;
	LOCKED;

	RV_TRY(find(token, id, &key));
	ctx = EVP_PKEY_CTX_new(key->pair, NULL);
	made = ctx != NULL && EVP_PKEY_sign_init(ctx) == 1 &&
	       EVP_PKEY_sign(ctx, der, &len, digest, TPM_DIGEST_LEN) == 1;
	EVP_PKEY_CTX_free(ctx);
	return made ? raw_signature(der, len, ret) : CKR_DEVICE_ERROR;
}

void tpm_evidence_done(struct tpm_evidence *evidence)
{
	for (size_t i = 0; i < evidence->count; i++)
		free(evidence->files[i].data);
	*evidence = (struct tpm_evidence){0};
}

/* One file: the nonce. */
CK_RV tpm_key_attest(struct tpm_token *token, const struct kt_id *id,
		     const uint8_t *nonce, size_t nonce_len,
		     struct tpm_evidence *ret)
{
	struct fake_key *key;
	LOCKED;

	RV_TRY(find(token, id, &key));
	*ret = (struct tpm_evidence){.count = 1};
	memcpy(ret->files[0].name, "nonce", sizeof("nonce"));
	ret->files[0].data = malloc(nonce_len + 1);
	if (ret->files[0].data == NULL)
		return rv_memory();
	memcpy(ret->files[0].data, nonce, nonce_len);
	ret->files[0].len = nonce_len;
	return CKR_OK;
}
