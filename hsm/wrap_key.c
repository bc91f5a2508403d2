/*
 * Wrapping keys and the keys under them. A handle is believed only for the
 * login it came from. Keys on the token are found again by CKA_ID; project
 * keys are unwrapped again into the nursery of their parent, one session for
 * all of them, so that a vault of hundreds of projects does not need hundreds
 * of sessions.
 *
 * The full policy of an unwrapped key (26 attributes) is read back for the
 * first key of each use under each wrapping key: the template and the code
 * path of the token are the same for all that follow, and a read-back for
 * every row would cost more than the rows.
 */
#include "hsm/wrap_key.h"

static enum kt_err unwrap_once(struct wrap_key *key, struct session *s,
			       const struct blob *blob, enum key_use use,
			       enum kt_wrap_mech mech, CK_OBJECT_HANDLE handle,
			       struct object *ret)
{
	CK_MECHANISM mechanism = {mech_of(key->mech)->type, NULL, 0};
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	struct template t;

	template_fill(&t, wrap_key_subject(key), use, mech);
	TRY(CALL(s, C_UnwrapKey, &mechanism, handle, (CK_BYTE *)blob->data,
		 blob->len, t.attr, t.count, &object));
	*ret = (struct object){s, object};
	return KT_OK;
}

bool subject_unwraps(struct wrap_key *key, const struct blob *blob)
{
	CLEANUP(session_releasep) struct session *fresh = NULL;
	CLEANUP(object_drop) struct object object = {0};
	CK_OBJECT_HANDLE handle;

	if (session_open_own(key->token, &fresh) != KT_OK ||
	    wrap_key_handle(key, fresh, &handle) != KT_OK)
		return false;
	return unwrap_once(key, fresh, blob, USE_REWRAP, key->mech, handle,
			   &object) == KT_OK;
}

bool wrap_key_canary_works(struct wrap_key *key)
{
	return key->canary.len > 0 && subject_unwraps(key, &key->canary);
}

/* C_UnwrapKey failed: is it the blob or the token? */
static enum kt_err judge(struct wrap_key *key, const struct session *s,
			 const struct blob *blob, enum kt_err err)
{
	struct err_saved saved;

	if (err == KT_ERR_TOKEN && s->ambiguous) {
		err_save(err, &saved);
		if (!wrap_key_canary_works(key))
			return err_restore(&saved);
		/* The canary may have met a token that is well again. */
		saved.err = subject_unwraps(key, blob) ? KT_ERR_SESSION
						       : KT_ERR_INTEGRITY;
		err = err_restore(&saved);
	}
	if (err == KT_ERR_INTEGRITY)
		return err_prefix(err, "the wrapped key does not unwrap");
	return err;
}

static enum kt_err read_back(struct wrap_key *key, struct session *s,
			     CK_OBJECT_HANDLE object, enum key_use use,
			     enum kt_wrap_mech mech)
{
	if (key->checked[use])
		return KT_OK;
	TRY(policy_check(s, object, wrap_key_subject(key), use, mech, NULL, 0));
	key->checked[use] = true;
	return KT_OK;
}

enum kt_err subject_unwrap(struct wrap_key *key, struct session *s,
			   const struct blob *blob, enum key_use use,
			   enum kt_wrap_mech mech, struct object *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	CK_ULONG size = mech_of(key->mech)->size;
	CK_OBJECT_HANDLE handle;
	enum kt_err err;

	if (blob->len != size)
		return err_raise(KT_ERR_INTEGRITY,
				 "a wrapped key of %u bytes, not %lu",
				 blob->len, size);
	TRY(wrap_key_handle(key, s, &handle));
	err = unwrap_once(key, s, blob, use, mech, handle, &object);
	if (err != KT_OK)
		return judge(key, s, blob, err);
	TRY(read_back(key, s, object.handle, use, mech));
	*ret = object;
	object = (struct object){0};
	return KT_OK;
}

enum kt_err subject_wrap(struct wrap_key *key, struct session *s,
			 CK_OBJECT_HANDLE subject, struct blob *ret)
{
	const struct mech *mech = mech_of(key->mech);
	CK_MECHANISM mechanism = {mech->type, NULL, 0};
	struct blob blob = {0};
	CK_ULONG len = sizeof(blob.data);
	CK_OBJECT_HANDLE handle;

	TRY(wrap_key_handle(key, s, &handle));
	TRY(CALL(s, C_WrapKey, &mechanism, handle, subject, blob.data, &len));
	if (len != mech->size)
		return err_raise(KT_ERR_TOKEN,
				 "%s makes %lu bytes of a 32-byte key, not %lu",
				 mech->name, len, mech->size);
	blob.len = (uint16_t)len;
	*ret = blob;
	return KT_OK;
}

static enum kt_err generate(struct session *s, enum kt_key_role role,
			    enum key_use use, enum kt_wrap_mech mech,
			    struct object *ret)
{
	CK_MECHANISM mechanism = {template_generator(role, mech), NULL, 0};
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	struct template t;

	template_fill(&t, role, use, mech);
	TRY(CALL(s, C_GenerateKey, &mechanism, t.attr, t.count, &object));
	*ret = (struct object){s, object};
	return KT_OK;
}

enum kt_err subject_generate(struct wrap_key *key, struct session *s,
			     struct object *ret)
{
	CLEANUP(object_drop) struct object object = {0};

	TRY(generate(s, wrap_key_subject(key), USE_NEW, key->mech, &object));
	TRY(read_back(key, s, object.handle, USE_NEW, key->mech));
	*ret = object;
	object = (struct object){0};
	return KT_OK;
}

/* The session for the keys under this one. A nursery that broke takes all its
 * keys with it: the new epoch tells them. */
static enum kt_err nursery_open(struct wrap_key *key)
{
	struct session *s = key->nursery;

	if (s != NULL && !s->broken &&
	    s->generation == token_generation(key->token))
		return KT_OK;
	session_release(s);
	key->nursery = NULL;
	key->nursery_epoch++;
	return session_open_own(key->token, &key->nursery);
}

static enum kt_err unwrap_again(struct wrap_key *key)
{
	struct wrap_key *parent = key->parent;
	struct object object = {0};

	TRY(nursery_open(parent));
	TRY(subject_unwrap(parent, parent->nursery, &key->blob, USE_WORK,
			   key->mech, &object));
	key->handle = object.handle;
	key->generation = parent->nursery->generation;
	key->epoch = parent->nursery_epoch;
	return KT_OK;
}

/* Whoever asked for a project or a blob must not hear "not found" when it is
 * the wrapping key that is gone. */
static enum kt_err find_again(struct wrap_key *key, struct session *s)
{
	CK_OBJECT_HANDLE handle;
	enum kt_err err;

	err = object_find(s, CKO_SECRET_KEY, &key->cka_id, &handle);
	if (err == KT_ERR_NOT_FOUND)
		return err_prefix(KT_ERR_TOKEN, "wrapping key");
	TRY(err);
	key->handle = handle;
	key->generation = s->generation;
	return KT_OK;
}

static bool handle_is_valid(const struct wrap_key *key)
{
	return key->handle != CK_INVALID_HANDLE &&
	       key->generation == token_generation(key->token) &&
	       (key->parent == NULL ||
		key->epoch == key->parent->nursery_epoch);
}

enum kt_err wrap_key_handle(struct wrap_key *key, struct session *s,
			    CK_OBJECT_HANDLE *ret)
{
	if (!handle_is_valid(key)) {
		if (key->home != NULL)
			return err_raise(KT_ERR_TOKEN, "a temporary key was "
						       "lost with its session");
		TRY(key->parent != NULL ? unwrap_again(key)
					: find_again(key, s));
	}
	*ret = key->handle;
	return KT_OK;
}

static enum kt_err key_new(struct token *token, enum kt_key_role role,
			   enum kt_wrap_mech mech, struct wrap_key **ret)
{
	struct wrap_key *key;

	if (mech <= KT_WRAP_NONE || mech >= KT_WRAP_MECH_MAX_)
		return err_raise(KT_ERR_POLICY, "wrap mechanism %d is unknown",
				 (int)mech);
	if (role == KT_KEY_PROJECT && !mech_is_for_projects(mech))
		return err_raise(KT_ERR_POLICY, "no project key wraps by %s",
				 mech_of(mech)->name);
	key = calloc(1, sizeof(*key));
	if (key == NULL)
		return err_memory();
	key->token = token;
	key->role = role;
	key->mech = mech;
	*ret = key;
	return KT_OK;
}

static bool role_is_token_wrapper(enum kt_key_role role)
{
	return role == KT_KEY_MASTER || role == KT_KEY_RECOVERY;
}

static enum kt_err find_op(struct session *s, void *arg)
{
	CK_OBJECT_HANDLE handle;

	return wrap_key_handle(arg, s, &handle);
}

enum kt_err wrap_key_find(struct token *token, const struct wrap_key_spec *spec,
			  struct wrap_key **ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	struct key_facts facts;

	if (!role_is_token_wrapper(spec->role))
		return err_raise(KT_ERR_POLICY,
				 "a key of role %d does not wrap on the token",
				 (int)spec->role);
	TRY(key_new(token, spec->role, spec->mech, &key));
	TRY(token_key_facts(token, spec->role, spec->mech, &spec->cka_id,
			    &facts));
	key->cka_id = spec->cka_id;
	key->canary = spec->canary;
	TRY(token_retry(token, find_op, key));
	*ret = TAKE(key);
	return KT_OK;
}

enum kt_err wrap_key_unwrap(struct wrap_key *parent, const struct blob *blob,
			    enum kt_wrap_mech mech, const struct blob *canary,
			    struct wrap_key **ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	if (wrap_key_subject(parent) != KT_KEY_PROJECT)
		return err_raise(
			KT_ERR_POLICY,
			"a key of role %d has no project keys under it",
			(int)parent->role);
	TRY(key_new(parent->token, KT_KEY_PROJECT, mech, &key));
	key->parent = parent;
	key->blob = *blob;
	if (canary != NULL)
		key->canary = *canary;
	TRY(token_retry(parent->token, find_op, key));
	*ret = TAKE(key);
	return KT_OK;
}

static enum kt_err temporary_op(struct session *s, void *arg)
{
	struct wrap_key *key = arg;
	struct object object = {0};

	(void)s; /* its life is too short */
	session_release(TAKE(key->home));
	TRY(session_open_own(key->token, &key->home));
	TRY(generate(key->home, key->role, USE_STANDIN, key->mech, &object));
	TRY(policy_check(key->home, object.handle, key->role, USE_STANDIN,
			 key->mech, NULL, 0));
	key->handle = object.handle;
	key->generation = key->home->generation;
	return KT_OK;
}

enum kt_err wrap_key_temporary(struct token *token, enum kt_key_role role,
			       enum kt_wrap_mech mech, struct wrap_key **ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	if (!role_is_token_wrapper(role))
		return err_raise(KT_ERR_POLICY, "no temporary key has role %d",
				 (int)role);
	TRY(key_new(token, role, mech, &key));
	TRY(token_retry(token, temporary_op, key));
	TRY(wrap_new(&key, 1, &key->canary));
	*ret = TAKE(key);
	return KT_OK;
}

enum kt_err wrap_key_temporary_project(struct token *token,
				       enum kt_wrap_mech master,
				       enum kt_wrap_mech mech,
				       struct wrap_key **ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *parent = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	struct blob blob;

	TRY(wrap_key_temporary(token, KT_KEY_MASTER, master, &parent));
	TRY(wrap_new(&parent, 1, &blob));
	TRY(wrap_key_unwrap(parent, &blob, mech, NULL, &key));
	TAKE(parent);
	key->owns_parent = true;
	TRY(wrap_new(&key, 1, &key->canary));
	*ret = TAKE(key);
	return KT_OK;
}

/* A project key would otherwise live on in its parent's nursery. */
static void forget(struct wrap_key *key)
{
	struct object object = {0};

	if (key->parent == NULL || !handle_is_valid(key))
		return;
	object = (struct object){key->parent->nursery, key->handle};
	object_drop(&object);
}

void wrap_key_free(struct wrap_key *key)
{
	if (key == NULL)
		return;
	forget(key);
	session_release(key->nursery);
	session_release(key->home);
	if (key->owns_parent)
		wrap_key_free(key->parent);
	free(key);
}

enum kt_key_role wrap_key_subject(const struct wrap_key *key)
{
	return key->role == KT_KEY_MASTER ? KT_KEY_PROJECT : KT_KEY_DEK;
}
