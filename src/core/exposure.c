/*
 * Who was ever wrapped by a key, from the times of the keys' rows.
 */
#include "core/exposure.h"

#include "base/text.h"

static enum kt_err find_version(struct kt_vault *vault, enum kt_key_role role,
				const struct kt_id *owner, int64_t version,
				struct key_row *ret)
{
	return query_one(vault->store, Q_KEY_VERSION, ret, "ibi", (int64_t)role,
			 owner, version);
}

static enum kt_err find_master(struct exposure *e, int64_t version)
{
	static const enum kt_key_role roles[] = {KT_KEY_MASTER,
						 KT_KEY_RECOVERY};
	static const struct kt_id nobody;

	for (size_t i = 0; i < 2; i++) {
		enum kt_err err = find_version(e->vault, roles[i], &nobody,
					       version, &e->key[e->keys]);

		if (err == KT_OK)
			e->keys++;
		else if (err != KT_ERR_NOT_FOUND)
			return err;
	}
	if (e->keys == 0)
		return err_raise(KT_ERR_NOT_FOUND,
				 "there is no master key version %lld",
				 (long long)version);
	return KT_OK;
}

static enum kt_err find_project(struct exposure *e, int64_t version)
{
	enum kt_err err = find_version(e->vault, KT_KEY_PROJECT, &e->project.id,
				       version, &e->key[0]);

	e->keys = 1;
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "the key of '%s' has no version %lld",
				 e->project.name, (long long)version);
	return err;
}

/* An older version that was marked and still exposes values: then it is not
 * clear whether that or the serving one is meant. */
static enum kt_err refuse_ambiguous(const struct exposure *e, int64_t serving)
{
	struct exposure older = *e;
	struct kt_exposure found;

	for (int64_t version = 1; version < serving; version++) {
		older.keys = 0;
		TRY(find_project(&older, version));
		if (older.key[0].compromised == 0)
			continue;
		TRY(exposure_count(&older, &found));
		if (found.values == 0)
			continue;
		return err_hint(
			err_raise(KT_ERR_CONFLICT,
				  "version %lld of the key of '%s' is "
				  "compromised too and still exposes %lld "
				  "values: name the version",
				  (long long)version, e->project.name,
				  (long long)found.values),
			"%lld to go on with that, %lld for the one that serves",
			(long long)version, (long long)serving);
	}
	return KT_OK;
}

static enum kt_err serving_version(const struct exposure *e, int64_t *ret)
{
	bool master = e->kind == KT_ROTATION_MASTER;
	struct key_row key;

	TRY(key_active(e->vault, master ? KT_KEY_MASTER : KT_KEY_PROJECT,
		       &e->project.id, &key));
	if (!master)
		TRY(refuse_ambiguous(e, key.version));
	*ret = key.version;
	return KT_OK;
}

enum kt_err exposure_find(struct kt_vault *vault, const struct kt_key_ref *ref,
			  struct exposure *ret)
{
	struct exposure e = {.vault = vault, .kind = ref->kind};
	int64_t version = ref->version;

	if (ref->kind == KT_ROTATION_PROJECT)
		TRY(project_by_name(vault, ref->project, &e.project));
	if (version == 0)
		TRY(serving_version(&e, &version));
	if (ref->kind == KT_ROTATION_PROJECT)
		TRY(find_project(&e, version));
	else
		TRY(find_master(&e, version));
	*ret = e;
	return KT_OK;
}

enum kt_err exposure_projects(const struct exposure *e, struct id_list *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct project_row row;
	enum kt_err err;

	if (e->kind == KT_ROTATION_PROJECT)
		return id_list_add(ret, &e->project.id);
	TRY(query_start(e->vault->store, Q_PROJECTS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK ||
	       err == KT_ERR_INTEGRITY)
		TRY(id_list_add(ret, &row.id));
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* Whether this project key is exposed by what is compromised. One that was
 * never proven never had a wrap. */
static bool exposes(const struct exposure *e, const struct key_row *key)
{
	if (key->role != KT_KEY_PROJECT || key->proven == 0)
		return false;
	if (e->kind == KT_ROTATION_PROJECT)
		return id_equal(&key->id, &e->key[0].id);
	return e->key[0].role == KT_KEY_MASTER &&
	       key->created <= key_closed(&e->key[0]);
}

/* Every data key that is under the recovery key is under a project key too, so
 * project keys say it all. */
enum kt_err exposure_until(const struct exposure *e,
			   const struct kt_id *project, int64_t *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	int64_t until = 0;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(e->vault->store, Q_KEYS_BY_OWNER, &query, "b",
			project));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (exposes(e, &key) && key_closed(&key) > until)
			until = key_closed(&key);
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	*ret = until;
	return KT_OK;
}

/* Exposed project keys that are not destroyed; retired: also those that are no
 * longer in use. */
static enum kt_err add_keys(const struct exposure *e,
			    const struct kt_id *project, bool retired,
			    struct id_list *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(e->vault->store, Q_KEYS_BY_OWNER, &query, "b",
			project));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (exposes(e, &key) && key.destroyed == 0 &&
		    (retired || key.deactivated == 0))
			TRY(id_list_add(ret, &key.id));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

enum kt_err exposure_undestroyed(const struct exposure *e,
				 const struct kt_id *project,
				 struct id_list *ret)
{
	return add_keys(e, project, true, ret);
}

enum kt_err exposure_keys(struct kt_vault *vault, const struct kt_id *secret,
			  int64_t until, struct id_list *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(vault->store, Q_KEYS_BY_OWNER, &query, "b", secret));
	while ((err = query_next(query, &key)) == KT_OK ||
	       err == KT_ERR_INTEGRITY) {
		if (err == KT_ERR_INTEGRITY ||
		    (key.destroyed == 0 && key.created <= until))
			TRY(id_list_add(ret, &key.id));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err count_secret(const struct exposure *e,
				const struct kt_id *secret, int64_t until,
				struct kt_exposure *counts)
{
	CLEANUP(id_list_done) struct id_list keys = {0};

	TRY(exposure_keys(e->vault, secret, until, &keys));
	counts->values += (int64_t)keys.count;
	counts->secrets += keys.count > 0;
	return KT_OK;
}

static enum kt_err count_project(const struct exposure *e,
				 const struct kt_id *project,
				 struct kt_exposure *counts)
{
	CLEANUP(query_donep) struct query *query = NULL;
	CLEANUP(id_list_done) struct id_list keys = {0};
	struct secret_row secret;
	int64_t until;
	enum kt_err err;

	TRY(exposure_until(e, project, &until));
	TRY(add_keys(e, project, false, &keys));
	if (e->kind == KT_ROTATION_MASTER)
		counts->project_keys += (int64_t)keys.count;
	TRY(query_start(e->vault->store, Q_SECRETS, &query, "bsi", project, "",
			INT64_MAX));
	while ((err = query_next(query, &secret)) == KT_OK ||
	       err == KT_ERR_INTEGRITY)
		TRY(count_secret(e, &secret.id, until, counts));
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

enum kt_err exposure_count(const struct exposure *e, struct kt_exposure *ret)
{
	CLEANUP(id_list_done) struct id_list projects = {0};
	struct kt_exposure counts = {
		.version = e->key[0].version,
		.state = key_state(&e->key[0]),
		.compromised = e->key[0].compromised,
		.retired = e->key[0].deactivated != 0,
	};

	text_cut(counts.project, sizeof(counts.project), e->project.name);
	TRY(exposure_projects(e, &projects));
	for (size_t i = 0; i < projects.count; i++)
		TRY(count_project(e, &projects.ids[i], &counts));
	*ret = counts;
	return KT_OK;
}

enum kt_err kt_exposure_get(struct kt_vault *vault,
			    const struct kt_key_ref *ref,
			    struct kt_exposure *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct exposure e;

	TRY(require_operator(vault));
	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(exposure_find(vault, ref, &e));
	return exposure_count(&e, ret);
}
