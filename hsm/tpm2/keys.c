/*
 * The keys of a token, by their files.
 */
#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/state.h"
#include "hsm/tpm2/wrap.h"

void tpm_key_done(struct tpm_key *key)
{
	free(key->attributes);
	*key = (struct tpm_key){0};
}

struct walk {
	struct tpm_token *token;
	CK_RV (*fn)(struct tpm_token *token, struct key_file *file, void *arg);
	void *arg;
};

/* A folder without a meta is what is left of a key that never began. */
static CK_RV visit(const char *name, void *arg)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	const struct walk *walk = arg;
	struct kt_id id;
	CK_RV rv;

	if (!hex_decode(name, id.bytes, sizeof(id.bytes)))
		return CKR_OK;
	rv = key_file_load(&walk->token->folder, &id, &file);
	if (rv == CKR_DATA_INVALID)
		return CKR_OK;
	RV_TRY(rv);
	return walk->fn(walk->token, &file, walk->arg);
}

CK_RV keys_each(struct tpm_token *token,
		CK_RV (*fn)(struct tpm_token *token, struct key_file *file,
			    void *arg),
		void *arg)
{
	struct walk walk = {token, fn, arg};

	return folder_each(&token->folder, "keys", visit, &walk);
}

struct list {
	enum tpm_key_state state;
	CK_RV (*fn)(const struct tpm_key *key, void *arg);
	void *arg;
};

static CK_RV list_one(struct tpm_token *token, struct key_file *file, void *arg)
{
	const struct list *list = arg;
	enum key_stage wanted =
		list->state == TPM_KEY_LIVE ? KEY_LIVE : KEY_DESTROYED;

	(void)token;
	return file->stage == wanted ? list->fn(&file->key, list->arg) : CKR_OK;
}

static CK_RV list_all(struct tpm_token *token, void *arg)
{
	return keys_each(token, list_one, arg);
}

CK_RV tpm_key_each(struct tpm_token *token, enum tpm_key_state state,
		   CK_RV (*fn)(const struct tpm_key *key, void *arg), void *arg)
{
	struct list list = {state, fn, arg};

	return token_locked(token, list_all, &list);
}

const struct held_key *keys_held(const struct tpm_token *token,
				 const struct kt_id *id)
{
	for (const struct held_key *key = token->keys; key != NULL;
	     key = key->next) {
		if (id_equal(&key->id, id))
			return key;
	}
	return NULL;
}

CK_RV keys_object(struct tpm_token *token, const struct key_file *file,
		  struct tpm_object *ret)
{
	struct tpm_object object = {.handle = file->handle};
	struct object_blob blob = {0};

	RV_TRY(blob_load(&token->folder, key_path(&file->key.id, "master").text,
			 &blob));
	RV_TRY(tpm_public_name(token->tpm, &blob.public, &object));
	object.auth = SPAN(token->object_auth.data, token->object_auth.len);
	*ret = object;
	return CKR_OK;
}

static CK_RV no_such_key(void)
{
	return rv_raise(CKR_KEY_HANDLE_INVALID, "there is no such key");
}

static CK_RV load_live(struct tpm_token *token, const struct kt_id *id,
		       struct key_file *ret)
{
	CK_RV rv = key_file_load(&token->folder, id, ret);

	if (rv == CKR_DATA_INVALID || (rv == CKR_OK && ret->stage != KEY_LIVE))
		return no_such_key();
	return rv;
}

CK_RV keys_live(struct tpm_token *token, const struct kt_id *id,
		struct key_file *ret)
{
	CLEANUP(key_file_done) struct key_file file = {0};

	RV_TRY(load_live(token, id, &file));
	*ret = file;
	file = (struct key_file){0};
	return CKR_OK;
}

static void held_free(struct held_key *key)
{
	if (key == NULL)
		return;
	crypto_mac_free(key->siv);
	free(key);
}

DEFINE_CLEANUP(struct held_key, held_free)

void token_forget_keys(struct tpm_token *token)
{
	while (token->keys != NULL) {
		struct held_key *key = token->keys;

		token->keys = key->next;
		held_free(key);
	}
}

CK_RV keys_hold(struct tpm_token *token, const struct kt_id *id,
		const struct held_key **ret)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	CLEANUP(held_freep) struct held_key *key = NULL;

	*ret = keys_held(token, id);
	if (*ret != NULL)
		return CKR_OK;
	RV_TRY(load_live(token, id, &file));
	key = calloc(1, sizeof(*key));
	if (key == NULL)
		return rv_memory();
	RV_TRY(keys_object(token, &file, &key->object));
	RV_TRY(wrap_siv_new(token->tpm->crypto, key->object.auth, id,
			    &key->siv));
	key->id = *id;
	key->kind = file.key.kind;
	key->next = token->keys;
	token->keys = key;
	*ret = TAKE(key);
	return CKR_OK;
}

/* Somebody put another object there, and only the pinned Name showed it. */
static CK_RV check_place(struct tpm_token *token,
			 const struct tpm_object *object)
{
	struct tpm_object there = {0};
	struct tpm_public public = {0};

	RV_TRY(object_read_public(token->tpm, object->handle, &public));
	RV_TRY(tpm_public_name(token->tpm, &public, &there));
	if (memcmp(there.name, object->name, object->name_len) == 0)
		return CKR_OK;
	token->tpm->session_lost = false;
	return rv_raise(CKR_DEVICE_ERROR,
			"at 0x%x there is another object than the key that "
			"was made there",
			object->handle);
}

/* After a command with a key failed: whether it was destroyed by another
 * process, lost its place, or was swapped. CKR_OK: it has its place again. */
CK_RV keys_after_failure(struct tpm_token *token, const struct kt_id *id,
			 CK_RV failure)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	struct tpm_object object = {0};
	TSS2_RC rc = token->tpm->last;
	struct err_saved saved;
	bool there = false;

	err_save(KT_ERR_FAILED, &saved);
	token_forget_keys(token);
	RV_TRY(load_live(token, id, &file));
	RV_TRY(keys_object(token, &file, &object));
	if (rc == (TPM2_RC_HANDLE | TPM2_RC_1)) {
		RV_TRY(caps_handle_there(token->tpm, object.handle, &there));
		if (!there)
			return life_restore(token, &file);
	}
	if (tpm_refused(token->tpm))
		RV_TRY(check_place(token, &object));
	(void)err_restore(&saved);
	return failure;
}
