/*
 * A key is born: counter, gate, key, place, evidence, in this order, after its
 * folder says that it is being made. Until the folder says that it lives, the
 * next login takes everything away again.
 */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/life.h"
#include "hsm/tpm2/state.h"

struct create {
	enum tpm_kind kind;
	struct span attributes;
	struct key_file file;
};

static CK_RV copy_attributes(struct span attributes, struct tpm_key *key)
{
	key->attributes = malloc(attributes.len > 0 ? attributes.len : 1);
	if (key->attributes == NULL)
		return rv_memory();
	if (attributes.len > 0)
		memcpy(key->attributes, attributes.data, attributes.len);
	key->attributes_len = attributes.len;
	return CKR_OK;
}

/* Its places are chosen among what is free now; whatever comes between only
 * makes a later step fail. */
static CK_RV plan(struct tpm_token *token, const struct create *create,
		  struct key_file *file)
{
	const struct tpm_config *config = &token->config;

	file->stage = KEY_MAKING;
	file->key.kind = create->kind;
	RV_TRY(slots_check(token, 1));
	RV_TRY(caps_handle_free(token->tpm, config->handles, config->slots,
				&file->handle));
	RV_TRY(caps_handle_free(token->tpm, config->counters, config->slots,
				&file->counter));
	RV_TRY(crypto_random(token->tpm->crypto, file->key.id.bytes,
			     sizeof(file->key.id.bytes)));
	RV_TRY(copy_attributes(create->attributes, &file->key));
	return key_file_save(&token->folder, file);
}

/* A symmetric storage key is made in no time; TPMs that lack them get an
 * elliptic curve. */
static CK_RV make_gate(struct tpm_token *token, const struct counter *counter,
		       const struct kt_id *id, struct object_blob *ret)
{
	struct object_parent srk = token_srk(token);
	uint8_t policy[HASH_LEN];
	struct object_wish wish = {.form = OBJECT_GATE,
				   .policy = SPAN(policy, sizeof(policy))};

	RV_TRY(counter_policy(token->tpm, counter, policy));
	if (object_create(token->tpm, &srk, &wish, ret, NULL) != CKR_OK) {
		if (token->tpm->gone || token->tpm->slots_full)
			return CKR_DEVICE_ERROR;
		wish.form = OBJECT_GATE_ECC;
		RV_TRY(object_create(token->tpm, &srk, &wish, ret, NULL));
	}
	return blob_save(&token->folder, key_path(id, "gate").text, ret);
}

static CK_RV make_master(struct tpm_token *token, struct gate *gate,
			 const struct key_file *file, struct object_blob *ret)
{
	const struct kt_id *id = &file->key.id;
	struct object_creation creation = {0};
	struct object_parent parent = {0};
	struct object_wish wish = {
		.form = file->key.kind == TPM_KEY_EC ? OBJECT_EC : OBJECT_HMAC,
		.auth = SPAN(token->object_auth.data, token->object_auth.len),
		.outside = SPAN(id->bytes, sizeof(id->bytes)),
	};

	RV_TRY(life_pass_gate(token, gate, &parent));
	RV_TRY(object_create(token->tpm, &parent, &wish, ret, &creation));
	RV_TRY(creation_save(&token->folder, id, &creation));
	return blob_save(&token->folder, key_path(id, "master").text, ret);
}

static CK_RV make_below(struct tpm_token *token, struct gate *gate,
			const struct key_file *file)
{
	struct object_blob blob = {0};

	RV_TRY(make_master(token, gate, file, &blob));
	RV_TRY(life_place(token, gate, &blob, file->handle));
	return attest_birth(token, file, &gate->object);
}

static CK_RV make(struct tpm_token *token, struct key_file *file)
{
	struct tpm_object owner = token_owner(token);
	struct object_blob gate_blob = {0};
	struct counter counter;
	struct gate gate = {0};
	CK_RV rv;

	RV_TRY(life_counter(token, file, &counter));
	RV_TRY(counter_define(token->tpm, &owner, &counter));
	file->value = counter.value;
	RV_TRY(make_gate(token, &counter, &file->key.id, &gate_blob));
	RV_TRY(life_open_gate(token, &counter, &gate_blob, &gate));
	rv = make_below(token, &gate, file);
	life_close_gate(token, &gate);
	RV_TRY(rv);
	file->stage = KEY_LIVE;
	return key_file_save(&token->folder, file);
}

/* Whoever cannot be reached now is undone at the next login. */
static void undo(struct tpm_token *token, const struct key_file *file)
{
	struct tpm *tpm = token->tpm;
	bool lost = tpm->session_lost, full = tpm->slots_full;
	struct err_saved saved;

	err_save(KT_ERR_FAILED, &saved);
	if (lost)
		session_wipe(&tpm->session);
	if (tpm_connect(tpm) == CKR_OK)
		(void)life_undo(token, file);
	tpm->session_lost = lost;
	tpm->slots_full = full;
	(void)err_restore(&saved);
}

static CK_RV create(struct tpm_token *token, void *arg)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	struct create *create = arg;
	CK_RV rv;

	RV_TRY(life_recover(token));
	RV_TRY(plan(token, create, &file));
	rv = make(token, &file);
	if (rv != CKR_OK) {
		undo(token, &file);
		return rv;
	}
	return keys_live(token, &file.key.id, &create->file);
}

CK_RV tpm_key_create(struct tpm_token *token, enum tpm_kind kind,
		     const uint8_t *attributes, size_t attributes_len,
		     struct tpm_key *ret)
{
	struct create args = {.kind = kind,
			      .attributes = SPAN(attributes, attributes_len)};

	if (attributes_len > TPM_ATTRIBUTES_MAX)
		return rv_raise(CKR_DATA_LEN_RANGE,
				"the attributes are longer than %d bytes",
				TPM_ATTRIBUTES_MAX);
	RV_TRY(token_run_user(token, create, &args));
	*ret = args.file.key;
	return CKR_OK;
}

static CK_RV destroy(struct tpm_token *token, void *arg)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	CK_RV rv = key_file_load(&token->folder, arg, &file);

	if (rv == CKR_DATA_INVALID || (rv == CKR_OK && file.stage != KEY_LIVE &&
				       file.stage != KEY_DESTROYING))
		return rv_raise(CKR_KEY_HANDLE_INVALID, "there is no such key");
	RV_TRY(rv);
	return life_destroy(token, &file);
}

CK_RV tpm_key_destroy(struct tpm_token *token, const struct kt_id *id)
{
	return token_run_user(token, destroy, (void *)id);
}
