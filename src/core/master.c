/*
 * Master key versions: the list, and the one irreversible act. A version is
 * destroyed only when the rows, recounted in the transaction that commits the
 * intent, show that nothing needs it; it counts as destroyed only when the
 * token, loaded afresh, no longer has it.
 */
#include <keyturn/rotation.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/backup.h"
#include "core/keys.h"
#include "core/rotation_state.h"

static enum kt_err list_role(
	struct kt_vault *vault, int64_t version, enum kt_key_role role,
	enum kt_err (*each)(void *arg, const struct kt_key *key), void *arg)
{
	struct key_row row;
	struct kt_key key;
	enum kt_err err = query_one(vault->store, Q_KEY_VERSION, &row, "ibi",
				    (int64_t)role, &(struct kt_id){0}, version);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	TRY(key_describe(vault, &row, &key));
	return each(arg, &key);
}

static enum kt_err latest_version(struct kt_vault *vault, int64_t *ret)
{
	struct key_row row;

	TRY(query_one(vault->store, Q_KEY_LATEST, &row, "ib",
		      (int64_t)KT_KEY_MASTER, &(struct kt_id){0}));
	*ret = row.version;
	return KT_OK;
}

enum kt_err kt_master_list(struct kt_vault *vault,
			   enum kt_err (*each)(void *arg,
					       const struct kt_key *key),
			   void *arg)
{
	int64_t latest;

	TRY(require_operator(vault));
	TRY(latest_version(vault, &latest));
	for (int64_t version = 1; version <= latest; version++) {
		TRY(list_role(vault, version, KT_KEY_MASTER, each, arg));
		TRY(list_role(vault, version, KT_KEY_RECOVERY, each, arg));
	}
	return KT_OK;
}

/* The keys of one version: the wrapping key and, perhaps, the recovery key. */
struct version_keys {
	size_t count;
	struct key_row key[2];
};

static enum kt_err read_version(struct kt_vault *vault, int64_t version,
				struct version_keys *ret)
{
	static const enum kt_key_role roles[] = {KT_KEY_MASTER,
						 KT_KEY_RECOVERY};
	struct version_keys keys = {0};

	for (size_t i = 0; i < 2; i++) {
		enum kt_err err = query_one(
			vault->store, Q_KEY_VERSION, &keys.key[keys.count],
			"ibi", (int64_t)roles[i], &(struct kt_id){0}, version);

		if (err == KT_OK)
			keys.count++;
		else if (err != KT_ERR_NOT_FOUND)
			return err;
	}
	if (keys.count == 0)
		return err_raise(KT_ERR_NOT_FOUND,
				 "there is no master key version %lld",
				 (long long)version);
	*ret = keys;
	return KT_OK;
}

/* Flags and cursors have no vote: the rows are counted here and now. */
static enum kt_err refuse_needed(struct kt_vault *vault,
				 const struct key_row *key)
{
	struct count_row rows;

	TRY(query_one(vault->store, Q_WRAP_COUNT, &rows, "b", &key->id));
	if (rows.n > 0)
		return err_raise(
			KT_ERR_CONFLICT, "%s %s key version %lld",
			text_counted(rows.n, "row needs", "rows need").text,
			kt_key_role_name((enum kt_key_role)key->role),
			(long long)key->version);
	if (key->deactivated == 0)
		return err_raise(KT_ERR_CONFLICT, "%s key version %lld is %s",
				 kt_key_role_name((enum kt_key_role)key->role),
				 (long long)key->version,
				 kt_key_state_name(key_state(key)));
	return KT_OK;
}

/* The leg of a rotation that has this key as its old or new one;
 * KT_ERR_NOT_FOUND when none has. */
static enum kt_err find_leg(struct kt_vault *vault,
			    const struct kt_id *rotation,
			    const struct kt_id *key, struct leg_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct leg_row leg;
	enum kt_err err;

	TRY(query_start(vault->store, Q_LEGS, &query, "b", rotation));
	while ((err = query_next(query, &leg)) == KT_OK) {
		if (!id_equal(&leg.old_key, key) &&
		    !id_equal(&leg.new_key, key))
			continue;
		*ret = leg;
		return KT_OK;
	}
	return err;
}

static enum kt_err refuse_rotating(struct kt_vault *vault,
				   const struct key_row *key)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_row row;
	struct leg_row leg;
	char id[KT_ID_TEXT_LEN + 1];
	enum kt_err err;

	TRY(query_start(vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (!rotation_is_unfinished(&row))
			continue;
		err = find_leg(vault, &row.id, &key->id, &leg);
		if (err == KT_ERR_NOT_FOUND)
			continue;
		TRY(err);
		kt_id_format(&row.id, id);
		return err_raise(KT_ERR_CONFLICT,
				 "the unfinished rotation %s needs it", id);
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* The recount and the intent are one transaction; after it the key is
 * deactivated and destroying, so that no new row can name it. */
static enum kt_err commit_intent(struct kt_vault *vault, int64_t version,
				 bool ignore_backups, struct version_keys *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct version_keys keys;
	char id[KT_ID_TEXT_LEN + 1];

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(read_version(vault, version, &keys));
	TRY(backup_allow_destroy(vault, version, ignore_backups));
	for (size_t i = 0; i < keys.count; i++) {
		struct key_row *key = &keys.key[i];

		if (key->destroyed != 0)
			return err_raise(KT_ERR_CONFLICT,
					 "master key version %lld is destroyed",
					 (long long)version);
		TRY(refuse_needed(vault, key));
		TRY(refuse_rotating(vault, key));
		CRASH_POINT("destroy.recounted");
		key->destroying = clock_now();
		TRY(store_update(vault->store, ROW_KEY, key));
		kt_id_format(&key->cka_id, id);
		TRY(audit_append(vault, "master.destroy.intent", id,
				 "%s key version %lld, 0 rows need it",
				 kt_key_role_name((enum kt_key_role)key->role),
				 (long long)version));
	}
	TRY(store_commit(&tx));
	*ret = keys;
	return KT_OK;
}

/* What a reload does not find is gone. */
static enum kt_err destroy_objects(struct kt_vault *vault,
				   const struct version_keys *keys)
{
	for (size_t i = 0; i < keys->count; i++) {
		TRY(token_destroy(vault->token, &keys->key[i].cka_id));
		CRASH_POINT("destroy.object");
	}
	TRY(token_reload(vault->token));
	for (size_t i = 0; i < keys->count; i++) {
		size_t count;

		TRY(token_count(vault->token, &keys->key[i].cka_id, &count));
		if (count != 0)
			return err_raise(KT_ERR_TOKEN,
					 "the token still has the key after "
					 "C_DestroyObject and a reload");
	}
	return KT_OK;
}

/* The contracted rotation that replaced this key ends with it. */
static enum kt_err stamp_rotation(struct kt_vault *vault,
				  const struct key_row *key)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_row row;
	struct leg_row leg;
	enum kt_err err;

	TRY(query_start(vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		err = find_leg(vault, &row.id, &key->id, &leg);
		if (err != KT_OK && err != KT_ERR_NOT_FOUND)
			return err;
		if (err != KT_OK || !id_equal(&leg.old_key, &key->id) ||
		    rotation_phase(&row) != KT_ROTATION_CONTRACTED)
			continue;
		TRY(rotation_apply(&row, EVENT_DESTROYED, clock_now()));
		return store_update(vault->store, ROW_ROTATION, &row);
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err commit_outcome(struct kt_vault *vault,
				  struct version_keys *keys)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	char id[KT_ID_TEXT_LEN + 1];

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	for (size_t i = 0; i < keys->count; i++) {
		struct key_row *key = &keys->key[i];

		key->destroyed = clock_now();
		TRY(store_update(vault->store, ROW_KEY, key));
		kt_id_format(&key->cka_id, id);
		TRY(audit_append(
			vault, "master.destroyed", id,
			"%s key version %lld: not on the token after a "
			"reload",
			kt_key_role_name((enum kt_key_role)key->role),
			(long long)key->version));
	}
	TRY(stamp_rotation(vault, &keys->key[0]));
	CRASH_POINT("destroy.stamped");
	TRY(audit_checkpoint(vault));
	return store_commit(&tx);
}

enum kt_err kt_master_destroy(struct kt_vault *vault, int64_t version,
			      bool ignore_backups)
{
	struct version_keys keys;

	TRY(require_operator(vault));
	TRY(commit_intent(vault, version, ignore_backups, &keys));
	CRASH_POINT("destroy.intended");
	TRY(destroy_objects(vault, &keys));
	CRASH_POINT("destroy.proven");
	return commit_outcome(vault, &keys);
}
