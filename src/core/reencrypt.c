/*
 * Encrypting again what a compromised key exposed. A value keeps its version
 * number, its times and its bytes; it gets a data key that was never under
 * that key, and the old data key and ciphertext are gone. There is no cursor:
 * a value with a new data key is not exposed any more, so the work that is left
 * is what exposure.h counts.
 */
#include "core/reencrypt.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/rotation.h"

/* A clock that is further behind than this was set back. */
#define CLOCK_SLACK 5

static void reencryption_free(struct reencryption *r)
{
	if (r == NULL)
		return;
	reencrypt_clear(r);
	free(r);
}
DEFINE_CLEANUP(struct reencryption, reencryption_free)

/* Times are whole seconds: a key made in the second in which the old one was
 * closed would count as exposed. */
static enum kt_err wait_past(int64_t time)
{
	const struct timespec pause = {.tv_nsec = 50000000};
	int64_t now;

	while ((now = clock_now()) <= time) {
		if (time - now > CLOCK_SLACK)
			return err_raise(KT_ERR_FAILED,
					 "the clock is behind the time at "
					 "which the key was retired");
		nanosleep(&pause, NULL);
	}
	return KT_OK;
}

static enum kt_err leave_key(struct reencryption *r,
			     const struct project_row *project,
			     const struct kt_id *id)
{
	struct kt_key_ref ref = {KT_ROTATION_PROJECT, project->name, 0};
	struct kt_rotate_options options = {0};
	struct kt_rotation rotation;
	struct key_row key;
	char reason[128];

	TRY(query_one(r->vault->store, Q_KEY, &key, "b", id));
	ref.version = key.version;
	TRY(text_format(reason, sizeof(reason),
			"was under master key version %lld, which is "
			"compromised",
			(long long)r->exposure.key[0].version));
	if (r->options != NULL)
		options = *r->options;
	options.reason = reason;
	TRY(kt_compromise_mark(r->vault, &ref, reason));
	return kt_compromise_rotate(r->vault, &ref, &options, &r->progress,
				    &rotation);
}

/* Whoever had the master key has the project keys that were under it. */
static enum kt_err leave_project_keys(struct reencryption *r,
				      const struct kt_id *id)
{
	CLEANUP(id_list_done) struct id_list keys = {0};
	struct project_row project;

	TRY(query_one(r->vault->store, Q_PROJECT, &project, "b", id));
	if (project.deleted != 0)
		return KT_OK;
	TRY(exposure_undestroyed(&r->exposure, id, &keys));
	for (size_t i = 0; i < keys.count; i++)
		TRY(leave_key(r, &project, &keys.ids[i]));
	return KT_OK;
}

/* The secret after this name; KT_ERR_NOT_FOUND behind the last one. */
static enum kt_err next_secret(struct reencryption *r, const char *after,
			       struct secret_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;

	TRY(query_start(r->vault->store, Q_SECRETS, &query, "bsi",
			&r->project.id, after, (int64_t)1));
	return query_next(query, ret);
}

static enum kt_err reencrypt_secret(struct reencryption *r,
				    const struct secret_row *head,
				    int64_t until)
{
	CLEANUP(id_list_done) struct id_list keys = {0};

	TRY(exposure_keys(r->vault, &head->id, until, &keys));
	for (size_t i = 0; i < keys.count; i++)
		TRY(reencrypt_add(r, head, &keys.ids[i]));
	return KT_OK;
}

/* A damaged row may carry a damaged name, which must not turn the walk back. */
static bool advance(char *after, const char *name)
{
	if (strcmp(name, after) <= 0)
		return false;
	text_cut(after, KT_NAME_MAX + 1, name);
	return true;
}

static enum kt_err reencrypt_project(struct reencryption *r,
				     const struct kt_id *id)
{
	char after[KT_NAME_MAX + 1] = "";
	struct secret_row head;
	int64_t until;
	enum kt_err err;

	TRY(query_one(r->vault->store, Q_PROJECT, &r->project, "b", id));
	TRY(exposure_until(&r->exposure, id, &until));
	if (r->project.deleted != 0 || until == 0)
		return KT_OK;
	TRY(wait_past(until));
	while ((err = next_secret(r, after, &head)) == KT_OK ||
	       err == KT_ERR_INTEGRITY) {
		if (err == KT_OK)
			err = reencrypt_secret(r, &head, until);
		TRY(reencrypt_note(r, err));
		if (!advance(after, head.name))
			break;
	}
	if (err != KT_ERR_NOT_FOUND && err != KT_ERR_INTEGRITY)
		TRY(err);
	return r->count > 0 ? reencrypt_note(r, reencrypt_flush(r)) : KT_OK;
}

/* The rotation that led away from the key, or, where a new key was marked, the
 * one that was rolled back. */
static enum kt_err find_record(struct reencryption *r)
{
	CLEANUP(query_donep) struct query *query = NULL;
	const struct kt_id *key = &r->exposure.key[0].id;
	struct rotation_row row;
	enum kt_err err;

	TRY(query_start(r->vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		struct rotation_run run = {0};
		bool from, to;

		TRY(rotation_load(r->vault, &row.id, &run));
		from = id_equal(&run.leg[0].old_key.id, key);
		to = id_equal(&run.leg[0].new_key.id, key);
		if ((!from || row.rolled_back != 0) &&
		    (!to || row.rolled_back == 0))
			continue;
		r->record = row.id;
		r->stamped = row.reencrypted != 0;
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err stamp_record(struct reencryption *r)
{
	struct store *store = r->vault->store;
	struct rotation_row row;

	if (id_is_zero(&r->record))
		return KT_OK;
	TRY(query_one(store, Q_ROTATION, &row, "b", &r->record));
	row.reencrypted = clock_now();
	return store_update(store, ROW_ROTATION, &row);
}

/* In the stamping transaction: the rows have the last word. */
static enum kt_err stamp_done(struct reencryption *r)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	bool master = r->exposure.kind == KT_ROTATION_MASTER;
	struct kt_exposure left;
	char id[KT_ID_TEXT_LEN + 1];

	TRY(store_begin(r->vault->store, STORE_WRITE, &tx));
	TRY(exposure_count(&r->exposure, &left));
	if (left.values != 0)
		return err_raise(
			KT_ERR_CONFLICT, "%s exposed still: once more",
			text_counted(left.values, "value is", "values are")
				.text);
	TRY(stamp_record(r));
	kt_id_format(&r->exposure.key[0].id, id);
	TRY(audit_append(r->vault,
			 master ? "master.reencrypted" : "project.reencrypted",
			 master ? id : r->exposure.project.name,
			 "key version %lld exposes no value any more",
			 (long long)r->exposure.key[0].version));
	TRY(audit_checkpoint(r->vault));
	return store_commit(&tx);
}

static enum kt_err require_retired(const struct exposure *e)
{
	if (e->key[0].compromised == 0)
		return err_raise(KT_ERR_CONFLICT,
				 "the key is not marked as compromised");
	if (e->key[0].deactivated == 0)
		return err_raise(KT_ERR_CONFLICT,
				 "the key serves still: its rotation must end "
				 "first");
	return KT_OK;
}

static enum kt_err count_work(struct reencryption *r)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_exposure counts;

	TRY(store_begin(r->vault->store, STORE_READ, &tx));
	TRY(exposure_count(&r->exposure, &counts));
	r->total = counts.values;
	return KT_OK;
}

static enum kt_err run(struct reencryption *r)
{
	CLEANUP(id_list_done) struct id_list projects = {0};

	TRY(require_retired(&r->exposure));
	TRY(wait_past(key_closed(&r->exposure.key[0])));
	TRY(exposure_projects(&r->exposure, &projects));
	TRY(find_record(r));
	for (size_t i = 0; i < projects.count; i++) {
		if (r->exposure.kind == KT_ROTATION_MASTER)
			TRY(leave_project_keys(r, &projects.ids[i]));
	}
	TRY(count_work(r));
	if (r->total == 0 && r->stamped)
		return KT_OK;
	for (size_t i = 0; i < projects.count; i++)
		TRY(reencrypt_project(r, &projects.ids[i]));
	if (r->faults > 0)
		return err_raise(
			KT_ERR_INTEGRITY, "%s could not be encrypted again",
			text_counted(r->faults, "value", "values").text);
	return stamp_done(r);
}

enum kt_err kt_reencrypt(struct kt_vault *vault, const struct kt_key_ref *ref,
			 const struct kt_rotate_options *options,
			 const struct kt_progress *progress,
			 void (*fault)(void *arg, const char *text),
			 void *fault_arg, int64_t *ret_values)
{
	CLEANUP(reencryption_freep) struct reencryption *r = NULL;
	enum kt_err err;

	*ret_values = 0;
	TRY(require_operator(vault));
	r = calloc(1, sizeof(*r));
	if (r == NULL)
		return err_memory();
	r->vault = vault;
	r->options = options;
	r->fault = fault;
	r->fault_arg = fault_arg;
	if (progress != NULL)
		r->progress = *progress;
	TRY(exposure_find(vault, ref, &r->exposure));
	err = run(r);
	*ret_values = r->done;
	return err;
}
