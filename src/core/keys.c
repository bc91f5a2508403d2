/*
 * Keys: state from times, rows, and the cache of wrapping keys. The cache is
 * keyed by the ids of the key and of the one it was unwrapped with, which never
 * name another key; what is active is read from the database every time.
 */
#include "core/keys.h"

#include <assert.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/cache.h"

static const char *const role_names[KT_KEY_ROLE_MAX_] = {
	[0] = "none",
	[KT_KEY_MASTER] = "master",
	[KT_KEY_RECOVERY] = "recovery",
	[KT_KEY_PROJECT] = "project",
	[KT_KEY_DEK] = "dek",
	[KT_KEY_ROW_MAC] = "row-mac",
	[KT_KEY_AUDIT] = "audit",
};

static const char *const state_names[KT_KEY_STATE_MAX_] = {
	[KT_KEY_PRE_ACTIVE] = "pre-active",
	[KT_KEY_ACTIVE] = "active",
	[KT_KEY_DEACTIVATED] = "deactivated",
	[KT_KEY_COMPROMISED] = "compromised",
	[KT_KEY_DESTROYED] = "destroyed",
};

static const char *const mech_names[KT_WRAP_MECH_MAX_] = {
	[KT_WRAP_NONE] = "none",
	[KT_WRAP_AES_KW] = "AES-KW",
	[KT_WRAP_AES_KWP] = "AES-KWP",
	[KT_WRAP_AES_PAD_KWP] = "AES-KW-PAD (RFC 5649)",
	[KT_WRAP_AES_PAD_PKCS7] = "AES-KW-PAD (PKCS#7)",
	[KT_WRAP_TPM] = "TPM-WRAP",
};

const char *kt_key_role_name(enum kt_key_role role)
{
	return (unsigned)role < KT_KEY_ROLE_MAX_ ? role_names[role] : "unknown";
}

const char *kt_key_state_name(enum kt_key_state state)
{
	return (unsigned)state < KT_KEY_STATE_MAX_ ? state_names[state]
						   : "unknown";
}

const char *kt_wrap_mech_name(enum kt_wrap_mech mech)
{
	return (unsigned)mech < KT_WRAP_MECH_MAX_ ? mech_names[mech]
						  : "unknown";
}

enum kt_key_state key_state(const struct key_row *key)
{
	if (key->destroyed != 0)
		return KT_KEY_DESTROYED;
	if (key->compromised != 0)
		return KT_KEY_COMPROMISED;
	if (key->deactivated != 0)
		return KT_KEY_DEACTIVATED;
	return key->activated != 0 ? KT_KEY_ACTIVE : KT_KEY_PRE_ACTIVE;
}

/* Not retired yet: what it wraps is read by it, or will be. */
static bool is_live(const struct key_row *key)
{
	return key->proven != 0 && key->deactivated == 0 &&
	       key->destroying == 0 && key->destroyed == 0;
}

/* New keys are wrapped under it: a compromised key only serves readers. */
static bool is_open(const struct key_row *key)
{
	return is_live(key) && key->compromised == 0;
}

int64_t key_closed(const struct key_row *key)
{
	const int64_t ends[] = {key->compromised, key->deactivated,
				key->destroying, key->destroyed};
	int64_t closed = INT64_MAX;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		if (ends[i] != 0 && ends[i] < closed)
			closed = ends[i];
	}
	return closed;
}

static bool serves(const struct key_row *key, enum kt_key_role role)
{
	return key->role == (int64_t)role && is_live(key) &&
	       key->activated != 0;
}

enum kt_err key_active(struct kt_vault *vault, enum kt_key_role role,
		       const struct kt_id *owner, struct key_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key, active = {0};
	enum kt_err err;

	TRY(query_start(vault->store, Q_KEYS_BY_OWNER, &query, "b", owner));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (serves(&key, role) && key.version > active.version)
			active = key;
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	if (active.version == 0)
		return err_raise(KT_ERR_NOT_FOUND, "no %s key is active",
				 kt_key_role_name(role));
	*ret = active;
	return KT_OK;
}

enum kt_err key_describe(struct kt_vault *vault, const struct key_row *key,
			 struct kt_key *ret)
{
	struct count_row rows = {0};
	struct kt_key about = {
		.id = key->id,
		.role = (enum kt_key_role)key->role,
		.version = key->version,
		.state = key_state(key),
		.mech = (enum kt_wrap_mech)key->mech,
		.cka_id = key->cka_id,
		.created = key->created,
		.proven = key->proven,
		.activated = key->activated,
		.deactivated = key->deactivated,
		.compromised = key->compromised,
		.destroyed = key->destroyed,
	};

	TRY(query_one(vault->store, Q_WRAP_COUNT, &rows, "b", &key->id));
	about.rows = rows.n;
	text_cut(about.token_serial, sizeof(about.token_serial),
		 key->token_serial);
	text_cut(about.attributes, sizeof(about.attributes), key->attributes);
	*ret = about;
	return KT_OK;
}

static bool on_token(enum kt_key_role role)
{
	return role != KT_KEY_PROJECT && role != KT_KEY_DEK;
}

enum kt_err key_row_new(enum kt_key_role role, const struct kt_id *owner,
			int64_t version, struct key_row *ret)
{
	struct key_row key = {
		.role = role,
		.version = version,
		.created = clock_now(),
	};

	if (owner != NULL)
		key.owner = *owner;
	TRY(id_new(&key.id));
	if (on_token(role))
		TRY(id_random(&key.cka_id));
	*ret = key;
	return KT_OK;
}

/* The mechanism comes from the MACed row; a number we do not know is not
 * guessed at. */
static enum kt_err known_mech(const struct key_row *key, enum kt_wrap_mech *ret)
{
	if (key->mech <= KT_WRAP_NONE || key->mech >= KT_WRAP_MECH_MAX_)
		return err_raise(KT_ERR_INTEGRITY,
				 "key row names unknown wrap mechanism %lld",
				 (long long)key->mech);
	*ret = (enum kt_wrap_mech)key->mech;
	return KT_OK;
}

static enum kt_err find_on_token(struct kt_vault *vault,
				 const struct key_row *key,
				 struct wrap_key **ret)
{
	struct wrap_key_spec spec = {
		.role = (enum kt_key_role)key->role,
		.cka_id = key->cka_id,
		.canary = key->canary,
	};
	enum kt_err err;

	TRY(known_mech(key, &spec.mech));
	err = wrap_key_find(vault->token, &spec, ret);
	if (err == KT_OK)
		return KT_OK;
	return err_prefix(err == KT_ERR_NOT_FOUND ? KT_ERR_TOKEN : err,
			  "%s key version %lld", kt_key_role_name(spec.role),
			  (long long)key->version);
}

static enum kt_err active_master(struct kt_vault *vault, struct key_row *ret)
{
	enum kt_err err =
		key_active(vault, KT_KEY_MASTER, &(struct kt_id){0}, ret);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY, "no master key is active");
	return err;
}

/* The wraps row of a key under the active master. */
static enum kt_err active_wrap(struct kt_vault *vault,
			       const struct key_row *key,
			       const struct key_row *master,
			       struct wrap_row *ret)
{
	char id[KT_ID_TEXT_LEN + 1];
	enum kt_err err = query_one(vault->store, Q_WRAP, ret, "bb",
				    &master->id, &key->id);

	if (err != KT_ERR_NOT_FOUND)
		return err;
	kt_id_format(&key->id, id);
	return err_raise(KT_ERR_INTEGRITY,
			 "project key %s has no wrap under the master key", id);
}

static enum kt_err unwrap_project_key(struct kt_vault *vault,
				      const struct key_row *key,
				      const struct key_row *master,
				      struct wrap_key **ret)
{
	struct wrap_row wrap;
	struct wrap_key *parent;
	enum kt_wrap_mech mech;
	char name[KT_ID_TEXT_LEN + 1];
	enum kt_err err;

	TRY(known_mech(key, &mech));
	TRY(active_wrap(vault, key, master, &wrap));
	TRY(key_wrapper(vault, master, &parent));
	err = wrap_key_unwrap(parent, &wrap.blob, mech, &key->canary, ret);
	kt_id_format(&key->id, name);
	return err == KT_OK ? KT_OK : err_prefix(err, "project key %s", name);
}

enum kt_err key_wrapper(struct kt_vault *vault, const struct key_row *key,
			struct wrap_key **ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *made = NULL;
	struct key_row master = {0}; /* nobody's, where key is on the token */
	struct wrap_key *cached;

	if (key->role == KT_KEY_PROJECT)
		TRY(active_master(vault, &master));
	cached = cache_get(vault->cache, &key->id, &master.id);
	if (cached != NULL) {
		*ret = cached;
		return KT_OK;
	}
	if (key->role == KT_KEY_PROJECT)
		TRY(unwrap_project_key(vault, key, &master, &made));
	else
		TRY(find_on_token(vault, key, &made));
	TRY(cache_put(vault->cache, &key->id, &master.id, made));
	*ret = TAKE(made);
	return KT_OK;
}

/* Readers use the key that serves, so what is wrapped only under another could
 * not be read: while a compromised key serves, nothing new is made. */
static enum kt_err refuse_compromised(const struct key_row *serving)
{
	const char *role = kt_key_role_name((enum kt_key_role)serving->role);
	enum kt_err err;

	if (serving->compromised == 0)
		return KT_OK;
	err = err_raise(KT_ERR_CONFLICT,
			"%s key version %lld is compromised: nothing new is "
			"wrapped under it",
			role, (long long)serving->version);
	return err_hint(err, "try again when its rotation has switched to the "
			     "new key ('keyturn rotation list')");
}

/* Adds the open keys of a role and owner to the set. */
static enum kt_err add_open(struct kt_vault *vault, enum kt_key_role role,
			    const struct kt_id *owner, struct wrap_set *set)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key, serving = {0};
	enum kt_err err;

	TRY(query_start(vault->store, Q_KEYS_BY_OWNER, &query, "b", owner));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (serves(&key, role) && key.version > serving.version)
			serving = key;
		if (key.role != (int64_t)role || !is_open(&key))
			continue;
		if (set->count == WRAP_SET_MAX)
			return err_raise(KT_ERR_FAILED,
					 "more than %d wrapping keys are open",
					 WRAP_SET_MAX);
		set->id[set->count] = key.id;
		TRY(key_wrapper(vault, &key, &set->key[set->count]));
		set->count++;
	}
	return err == KT_ERR_NOT_FOUND ? refuse_compromised(&serving) : err;
}

enum kt_err wrap_set_read(struct kt_vault *vault, enum kt_key_role subject,
			  const struct kt_id *project, struct wrap_set *ret)
{
	static const struct kt_id nobody;
	struct wrap_set set = {0};

	assert(subject == KT_KEY_PROJECT || subject == KT_KEY_DEK);
	if (subject == KT_KEY_PROJECT) {
		TRY(add_open(vault, KT_KEY_MASTER, &nobody, &set));
	} else {
		TRY(add_open(vault, KT_KEY_PROJECT, project, &set));
		TRY(add_open(vault, KT_KEY_RECOVERY, &nobody, &set));
	}
	if (set.count == 0)
		return err_raise(KT_ERR_FAILED, "no wrapping key is open");
	*ret = set;
	return KT_OK;
}

bool wrap_set_equal(const struct wrap_set *a, const struct wrap_set *b)
{
	return a->count == b->count &&
	       memcmp(a->id, b->id, a->count * sizeof(a->id[0])) == 0;
}

enum kt_err wrap_set_store(struct kt_vault *vault, const struct wrap_set *set,
			   const struct kt_id *subject,
			   const struct blob *blobs)
{
	for (size_t i = 0; i < set->count; i++) {
		struct wrap_row row = {
			.wrapping_key = set->id[i],
			.subject = *subject,
			.blob = blobs[i],
		};

		TRY(store_insert(vault->store, ROW_WRAP, &row));
	}
	return KT_OK;
}
