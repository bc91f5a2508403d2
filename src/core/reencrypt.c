/*
 * Encrypting again what a compromised key exposed. A value keeps its version
 * number, its times and its bytes; it gets a data key that was never under
 * that key, and the old data key and ciphertext are gone. There is no cursor:
 * a value with a new data key is not exposed any more, so the work that is left
 * is what exposure.h counts.
 *
 * As in writing, the token's work is done between two looks at the database;
 * values that were deleted meanwhile are left out.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/exposure.h"
#include "core/rotation.h"
#include "core/secrets.h"

#define BATCH 32 /* values are up to 1 MiB: memory, not speed */

/* A clock that is further behind than this was set back. */
#define CLOCK_SLACK 5

struct item {
	struct reading old;
	struct kt_id dek; /* the new one */
	struct sealed_value sealed;
	struct blob blobs[WRAP_SET_MAX];
};

struct again {
	struct kt_vault *vault;
	struct exposure exposure;
	const struct kt_rotate_options *options;
	struct kt_progress progress;
	void (*fault)(void *arg, const char *text);
	void *fault_arg;
	struct kt_id record; /* of the rotation away from the key; zero: none */
	bool stamped;        /* it says that nothing is exposed */
	struct project_row project; /* the one at work */
	struct wrap_set keys;
	struct item item[BATCH];
	size_t count;
	int64_t done, total, faults;
};

static void clear_batch(struct again *a)
{
	for (size_t i = 0; i < a->count; i++) {
		reading_done(&a->item[i].old);
		sealed_value_done(&a->item[i].sealed);
	}
	memset(a->item, 0, sizeof(a->item));
	a->count = 0;
}

static void again_free(struct again *a)
{
	if (a == NULL)
		return;
	clear_batch(a);
	free(a);
}
DEFINE_CLEANUP(struct again, again_free)

/* Integrity is one value's trouble: named, and left as it is. */
static enum kt_err note(struct again *a, enum kt_err err)
{
	if (err != KT_ERR_INTEGRITY)
		return err;
	a->faults++;
	if (a->fault != NULL)
		a->fault(a->fault_arg, kt_err_detail());
	return KT_OK;
}

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

static enum kt_err leave_key(struct again *a, const struct project_row *project,
			     const struct kt_id *id)
{
	struct kt_key_ref ref = {KT_ROTATION_PROJECT, project->name, 0};
	struct kt_rotate_options options = {0};
	struct kt_rotation rotation;
	struct key_row key;
	char reason[128];

	TRY(query_one(a->vault->store, Q_KEY, &key, "b", id));
	ref.version = key.version;
	TRY(text_format(reason, sizeof(reason),
			"was under master key version %lld, which is "
			"compromised",
			(long long)a->exposure.key[0].version));
	if (a->options != NULL)
		options = *a->options;
	options.reason = reason;
	TRY(kt_compromise_mark(a->vault, &ref, reason));
	return kt_compromise_rotate(a->vault, &ref, &options, &a->progress,
				    &rotation);
}

/* Whoever had the master key has the project keys that were under it. */
static enum kt_err leave_project_keys(struct again *a, const struct kt_id *id)
{
	CLEANUP(id_list_done) struct id_list keys = {0};
	struct project_row project;

	TRY(query_one(a->vault->store, Q_PROJECT, &project, "b", id));
	if (project.deleted != 0)
		return KT_OK;
	TRY(exposure_undestroyed(&a->exposure, id, &keys));
	for (size_t i = 0; i < keys.count; i++)
		TRY(leave_key(a, &project, &keys.ids[i]));
	return KT_OK;
}

static enum kt_err seal_item(struct again *a, struct item *item)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	const struct reading *old = &item->old;
	uint8_t aad[VALUE_AAD_LEN];

	TRY(reading_open(a->vault, old, &value));
	TRY(id_new(&item->dek));
	value_aad(&a->vault->row.id, &old->head, old->version.version,
		  &item->dek, aad);
	return value_seal(a->keys.key, a->keys.count, aad, sizeof(aad), &value,
			  item->blobs, &item->sealed);
}

/* The good ones move together, so that what is stored is one run of them. */
static enum kt_err seal_batch(struct again *a)
{
	size_t kept = 0;

	for (size_t i = 0; i < a->count; i++) {
		enum kt_err err;

		sealed_value_done(&a->item[i].sealed);
		err = seal_item(a, &a->item[i]);
		if (err == KT_OK) {
			struct item other = a->item[kept];

			a->item[kept++] = a->item[i];
			a->item[i] = other;
		} else {
			TRY(note(a, err));
		}
	}
	while (a->count > kept) {
		reading_done(&a->item[--a->count].old);
		sealed_value_done(&a->item[a->count].sealed);
	}
	return KT_OK;
}

/* The row of the old data key gives its place to the new one's. */
static enum kt_err replace_key(struct again *a, const struct item *item,
			       struct key_row *old)
{
	struct store *store = a->vault->store;
	struct key_row key;
	int64_t wraps;

	TRY(store_exec(store, S_WRAPS_DELETE_SUBJECT, &wraps, "b", &old->id));
	TRY(store_remove(store, ROW_KEY, old));
	TRY(key_row_new(KT_KEY_DEK, &old->owner, old->version, &key));
	key.id = item->dek;
	key.proven = key.activated = key.created;
	TRY(store_insert(store, ROW_KEY, &key));
	return wrap_set_store(a->vault, &a->keys, &key.id, item->blobs);
}

/* While a version's data key is there, the version is as it was read. */
static enum kt_err replace_item(struct again *a, const struct item *item,
				int64_t *done)
{
	struct version_row version = item->old.version;
	struct key_row old;
	enum kt_err err =
		query_one(a->vault->store, Q_KEY, &old, "b", &version.dek);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	if (old.destroyed != 0)
		return KT_OK;
	TRY(replace_key(a, item, &old));
	CRASH_POINT("reencrypt.key");
	version.dek = item->dek;
	version.ciphertext.data = item->sealed.data;
	version.ciphertext.len = item->sealed.len;
	TRY(blob_set(&version.nonce, item->sealed.nonce, VALUE_NONCE_LEN));
	TRY(store_update(a->vault->store, ROW_VERSION, &version));
	(*done)++;
	return KT_OK;
}

static enum kt_err add_to_record(struct again *a, int64_t values)
{
	struct store *store = a->vault->store;
	struct rotation_row row;

	if (id_is_zero(&a->record))
		return KT_OK;
	TRY(query_one(store, Q_ROTATION, &row, "b", &a->record));
	row.values_reencrypted += values;
	return store_update(store, ROW_ROTATION, &row);
}

/* The second look: the keys that the values were sealed for are still those
 * that new values need. */
static enum kt_err commit_batch(struct again *a)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct wrap_set keys;
	int64_t done = 0;

	TRY(store_begin(a->vault->store, STORE_WRITE, &tx));
	TRY(wrap_set_read(a->vault, KT_KEY_DEK, &a->project.id, &keys));
	if (!wrap_set_equal(&keys, &a->keys))
		return err_raise(KT_ERR_CONFLICT,
				 "the keys of project '%s' changed meanwhile",
				 a->project.name);
	for (size_t i = 0; i < a->count; i++)
		TRY(replace_item(a, &a->item[i], &done));
	TRY(add_to_record(a, done));
	TRY(audit_append(
		a->vault, "secret.reencrypt", a->project.name,
		"values=%lld, exposed by %s key version %lld", (long long)done,
		kt_key_role_name((enum kt_key_role)a->exposure.key[0].role),
		(long long)a->exposure.key[0].version));
	CRASH_POINT("reencrypt.batch");
	TRY(store_commit(&tx));
	a->done += done;
	return KT_OK;
}

static enum kt_err flush_once(struct again *a)
{
	TRY(wrap_set_read(a->vault, KT_KEY_DEK, &a->project.id, &a->keys));
	TRY(seal_batch(a));
	return a->count > 0 ? commit_batch(a) : KT_OK;
}

static enum kt_err check_stop(const struct again *a)
{
	if (a->progress.stop == NULL || !a->progress.stop(a->progress.arg))
		return KT_OK;
	return err_raise(KT_ERR_INTERRUPTED, "stopped at a batch edge");
}

static enum kt_err flush(struct again *a)
{
	enum kt_err err = KT_ERR_CONFLICT;

	for (int i = 0; i < WRITE_ATTEMPTS && err == KT_ERR_CONFLICT; i++)
		err = flush_once(a);
	clear_batch(a);
	TRY(err);
	CRASH_POINT("reencrypt.committed");
	if (a->progress.report != NULL)
		a->progress.report(a->progress.arg, "encrypt again", a->done,
				   a->total);
	return check_stop(a);
}

/* Reads the version that a data key belongs to. A secret that was deleted
 * since has none. */
static enum kt_err read_item(struct again *a, const struct secret_row *head,
			     const struct kt_id *dek, struct reading *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct reading reading = {.head = *head};
	struct key_row key;
	struct way way;
	enum kt_err err;

	TRY(store_begin(a->vault->store, STORE_READ, &tx));
	TRY(query_one(a->vault->store, Q_KEY, &key, "b", dek));
	TRY(way_find(a->vault, &a->project.id, &way));
	err = reading_fill(a->vault, &reading, key.version, &way);
	if (err == KT_OK)
		*ret = reading;
	else
		reading_done(&reading);
	return err;
}

static enum kt_err add_value(struct again *a, const struct secret_row *head,
			     const struct kt_id *dek)
{
	struct reading *reading = &a->item[a->count].old;
	enum kt_err err = read_item(a, head, dek, reading);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	if (err != KT_OK)
		return note(a, err);
	a->count++;
	return a->count == BATCH ? flush(a) : KT_OK;
}

/* The secret after this name; KT_ERR_NOT_FOUND behind the last one. */
static enum kt_err next_secret(struct again *a, const char *after,
			       struct secret_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;

	TRY(query_start(a->vault->store, Q_SECRETS, &query, "bsi",
			&a->project.id, after, (int64_t)1));
	return query_next(query, ret);
}

static enum kt_err reencrypt_secret(struct again *a,
				    const struct secret_row *head,
				    int64_t until)
{
	CLEANUP(id_list_done) struct id_list keys = {0};

	TRY(exposure_keys(a->vault, &head->id, until, &keys));
	for (size_t i = 0; i < keys.count; i++)
		TRY(add_value(a, head, &keys.ids[i]));
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

static enum kt_err reencrypt_project(struct again *a, const struct kt_id *id)
{
	char after[KT_NAME_MAX + 1] = "";
	struct secret_row head;
	int64_t until;
	enum kt_err err;

	TRY(query_one(a->vault->store, Q_PROJECT, &a->project, "b", id));
	TRY(exposure_until(&a->exposure, id, &until));
	if (a->project.deleted != 0 || until == 0)
		return KT_OK;
	TRY(wait_past(until));
	while ((err = next_secret(a, after, &head)) == KT_OK ||
	       err == KT_ERR_INTEGRITY) {
		if (err == KT_OK)
			err = reencrypt_secret(a, &head, until);
		TRY(note(a, err));
		if (!advance(after, head.name))
			break;
	}
	if (err != KT_ERR_NOT_FOUND && err != KT_ERR_INTEGRITY)
		TRY(err);
	return a->count > 0 ? note(a, flush(a)) : KT_OK;
}

/* The rotation that led away from the key, or, where a new key was marked, the
 * one that was rolled back. */
static enum kt_err find_record(struct again *a)
{
	CLEANUP(query_donep) struct query *query = NULL;
	const struct kt_id *key = &a->exposure.key[0].id;
	struct rotation_row row;
	enum kt_err err;

	TRY(query_start(a->vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		struct rotation_run run = {0};
		bool from, to;

		TRY(rotation_load(a->vault, &row.id, &run));
		from = id_equal(&run.leg[0].old_key.id, key);
		to = id_equal(&run.leg[0].new_key.id, key);
		if ((!from || row.rolled_back != 0) &&
		    (!to || row.rolled_back == 0))
			continue;
		a->record = row.id;
		a->stamped = row.reencrypted != 0;
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err stamp_record(struct again *a)
{
	struct store *store = a->vault->store;
	struct rotation_row row;

	if (id_is_zero(&a->record))
		return KT_OK;
	TRY(query_one(store, Q_ROTATION, &row, "b", &a->record));
	row.reencrypted = clock_now();
	return store_update(store, ROW_ROTATION, &row);
}

/* In the stamping transaction: the rows have the last word. */
static enum kt_err stamp_done(struct again *a)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	bool master = a->exposure.kind == KT_ROTATION_MASTER;
	struct kt_exposure left;
	char id[KT_ID_TEXT_LEN + 1];

	TRY(store_begin(a->vault->store, STORE_WRITE, &tx));
	TRY(exposure_count(&a->exposure, &left));
	if (left.values != 0)
		return err_raise(
			KT_ERR_CONFLICT, "%s exposed still: once more",
			text_counted(left.values, "value is", "values are")
				.text);
	TRY(stamp_record(a));
	kt_id_format(&a->exposure.key[0].id, id);
	TRY(audit_append(a->vault,
			 master ? "master.reencrypted" : "project.reencrypted",
			 master ? id : a->exposure.project.name,
			 "key version %lld exposes no value any more",
			 (long long)a->exposure.key[0].version));
	TRY(audit_checkpoint(a->vault));
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

static enum kt_err count_work(struct again *a)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_exposure counts;

	TRY(store_begin(a->vault->store, STORE_READ, &tx));
	TRY(exposure_count(&a->exposure, &counts));
	a->total = counts.values;
	return KT_OK;
}

static enum kt_err run(struct again *a)
{
	CLEANUP(id_list_done) struct id_list projects = {0};

	TRY(require_retired(&a->exposure));
	TRY(wait_past(key_closed(&a->exposure.key[0])));
	TRY(exposure_projects(&a->exposure, &projects));
	TRY(find_record(a));
	for (size_t i = 0; i < projects.count; i++) {
		if (a->exposure.kind == KT_ROTATION_MASTER)
			TRY(leave_project_keys(a, &projects.ids[i]));
	}
	TRY(count_work(a));
	if (a->total == 0 && a->stamped)
		return KT_OK;
	for (size_t i = 0; i < projects.count; i++)
		TRY(reencrypt_project(a, &projects.ids[i]));
	if (a->faults > 0)
		return err_raise(
			KT_ERR_INTEGRITY, "%s could not be encrypted again",
			text_counted(a->faults, "value", "values").text);
	return stamp_done(a);
}

enum kt_err kt_reencrypt(struct kt_vault *vault, const struct kt_key_ref *ref,
			 const struct kt_rotate_options *options,
			 const struct kt_progress *progress,
			 void (*fault)(void *arg, const char *text),
			 void *fault_arg, int64_t *ret_values)
{
	CLEANUP(again_freep) struct again *a = NULL;
	enum kt_err err;

	*ret_values = 0;
	TRY(require_operator(vault));
	a = calloc(1, sizeof(*a));
	if (a == NULL)
		return err_memory();
	a->vault = vault;
	a->options = options;
	a->fault = fault;
	a->fault_arg = fault_arg;
	if (progress != NULL)
		a->progress = *progress;
	TRY(exposure_find(vault, ref, &a->exposure));
	err = run(a);
	*ret_values = a->done;
	return err;
}
