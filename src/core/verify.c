/*
 * Proofs of rows at any time, beside whatever else is going on: they take no
 * lease and write nothing. Every row under a key is unwrapped on the token;
 * where its subject has a row under another key, the two are proven to hold
 * the same key.
 */
#include <keyturn/rotation.h>

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "core/id_list.h"
#include "core/sweep.h"

struct verify {
	struct rotation_run run; /* pace and progress; there is no rotation */
	enum kt_err (*each)(void *arg, const struct kt_verification *v);
	void (*fault)(void *arg, const char *text);
	void *arg;
	struct kt_verification now; /* of the key that is looked at */
	struct id_list bad;         /* its rows that do not unwrap, sorted */
	int64_t faults;             /* of all keys */
};

static void verify_done(struct verify *v)
{
	id_list_done(&v->bad);
}

static int compare_ids(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct kt_id));
}

static void tell(struct verify *v, const char *text)
{
	v->faults++;
	v->now.faults++;
	if (v->fault != NULL)
		v->fault(v->arg, text);
}

static void tell_fault(struct verify *v, const struct sweep_fault *fault)
{
	char text[512];

	fault_text(&fault->wrapping_key, &fault->subject, fault->reason, text,
		   sizeof(text));
	tell(v, text);
}

/* A row that was bad when it was read is not among the batch's items. */
static enum kt_err count_unwrapped(struct sweep *sweep,
				   struct sweep_batch *batch)
{
	struct verify *v = sweep->arg;

	for (size_t i = 0; i < batch->fault_count; i++) {
		tell_fault(v, &batch->faults[i]);
		TRY(id_list_add(&v->bad, &batch->faults[i].subject));
	}
	v->now.rows += (int64_t)batch->fault_count;
	for (size_t i = 0; i < batch->rewrap.count; i++)
		v->now.rows += batch->rewrap.items[i].err == KT_OK;
	return KT_OK;
}

/* It is named already. */
static bool is_told(const struct verify *v, const struct sweep_fault *fault)
{
	return v->bad.count > 0 &&
	       id_equal(&fault->wrapping_key, &v->now.key.id) &&
	       bsearch(&fault->subject, v->bad.ids, v->bad.count,
		       sizeof(*v->bad.ids), compare_ids) != NULL;
}

static enum kt_err count_compared(struct sweep *sweep,
				  struct sweep_batch *batch)
{
	struct verify *v = sweep->arg;

	for (size_t i = 0; i < batch->fault_count; i++) {
		if (!is_told(v, &batch->faults[i]))
			tell_fault(v, &batch->faults[i]);
	}
	v->now.twins += (int64_t)batch->rewrap.count;
	return KT_OK;
}

/* A wrapping key that cannot be had is one fault, not the end. */
static enum kt_err end_sweep(struct verify *v, const struct key_row *key,
			     enum kt_err err)
{
	char text[512], id[KT_ID_TEXT_LEN + 1];

	if (err != KT_ERR_INTEGRITY)
		return err;
	kt_id_format(&key->id, id);
	if (text_format(text, sizeof(text), "key %s: %s", id,
			kt_err_detail()) != KT_OK)
		text_cut(text, sizeof(text), kt_err_detail());
	tell(v, text);
	return KT_OK;
}

static enum kt_err count_rows(struct verify *v, const struct key_row *key,
			      int64_t *ret)
{
	struct count_row rows;

	TRY(query_one(v->run.vault->store, Q_WRAP_COUNT, &rows, "b", &key->id));
	*ret = rows.n;
	return KT_OK;
}

static enum kt_err unwrap_all(struct verify *v, const struct key_row *key)
{
	struct rotation_leg leg = {.old_key = *key};
	struct sweep sweep = {
		.run = &v->run,
		.leg = &leg,
		.step = "unwrap",
		.op = REWRAP_TRY,
		.proven_in = 1,
		.query = Q_WRAPS_AFTER,
		.commit = count_unwrapped,
		.arg = v,
	};

	TRY(count_rows(v, key, &sweep.total));
	if (sweep.total == 0)
		return KT_OK;
	return end_sweep(v, key, sweep_run(&sweep));
}

/* Proves the rows under key equal to those under other, where both are. */
static enum kt_err compare(struct verify *v, const struct key_row *key,
			   const struct key_row *other)
{
	struct rotation_leg leg = {.old_key = *other, .new_key = *key};
	struct sweep sweep = {
		.run = &v->run,
		.leg = &leg,
		.step = "compare",
		.op = REWRAP_PROVE,
		.query = Q_WRAPS_TWINS,
		.commit = count_compared,
		.arg = v,
	};
	struct count_row missing;
	int64_t rows;

	TRY(count_rows(v, other, &rows));
	TRY(count_rows(v, key, &sweep.total));
	TRY(query_one(v->run.vault->store, Q_WRAP_MISSING_COUNT, &missing, "bb",
		      &key->id, &other->id));
	sweep.total -= missing.n;
	if (rows == 0 || sweep.total <= 0)
		return KT_OK;
	return end_sweep(v, other, sweep_run(&sweep));
}

static enum kt_err list_role(struct kt_vault *vault, enum kt_key_role role,
			     struct id_list *list)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(vault->store, Q_KEYS_BY_ROLE, &query, "i",
			(int64_t)role));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (key.destroyed == 0)
			TRY(id_list_add(list, &key.id));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* A project key that was destroyed since has no rows to compare with. */
static enum kt_err compare_with_role(struct verify *v,
				     const struct key_row *key,
				     enum kt_key_role role)
{
	CLEANUP(id_list_done) struct id_list keys = {0};
	struct key_row other;

	TRY(list_role(v->run.vault, role, &keys));
	for (size_t i = 0; i < keys.count; i++) {
		if (id_equal(&keys.ids[i], &key->id))
			continue;
		TRY(query_one(v->run.vault->store, Q_KEY, &other, "b",
			      &keys.ids[i]));
		if (other.destroyed == 0)
			TRY(compare(v, key, &other));
	}
	return KT_OK;
}

/* Project keys have rows under master keys, data keys under recovery and
 * project keys. */
static enum kt_err compare_all(struct verify *v, const struct key_row *key)
{
	if (key->role == KT_KEY_MASTER)
		return compare_with_role(v, key, KT_KEY_MASTER);
	TRY(compare_with_role(v, key, KT_KEY_RECOVERY));
	return compare_with_role(v, key, KT_KEY_PROJECT);
}

static enum kt_err verify_key(struct verify *v, const struct key_row *key)
{
	v->now = (struct kt_verification){0};
	id_list_done(&v->bad);
	TRY(key_describe(v->run.vault, key, &v->now.key));
	TRY(unwrap_all(v, key));
	if (v->bad.count > 0)
		qsort(v->bad.ids, v->bad.count, sizeof(*v->bad.ids),
		      compare_ids);
	TRY(compare_all(v, key));
	return v->each(v->arg, &v->now);
}

static enum kt_err begin(struct verify *v, struct kt_vault *vault,
			 const struct kt_rotate_options *options,
			 const struct kt_progress *progress)
{
	TRY(require_operator(vault));
	TRY(rotation_options(options, &v->run));
	v->run.vault = vault;
	if (progress != NULL)
		v->run.progress = *progress;
	return KT_OK;
}

static enum kt_err outcome(const struct verify *v)
{
	if (v->faults == 0)
		return KT_OK;
	return err_raise(
		KT_ERR_INTEGRITY, "%s",
		text_counted(v->faults, "row does not hold", "rows do not hold")
			.text);
}

static enum kt_err verify_role(struct verify *v, int64_t version,
			       enum kt_key_role role, bool *found)
{
	struct key_row key;
	enum kt_err err =
		query_one(v->run.vault->store, Q_KEY_VERSION, &key, "ibi",
			  (int64_t)role, &(struct kt_id){0}, version);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	*found = true;
	return verify_key(v, &key);
}

static enum kt_err serving_version(struct kt_vault *vault, int64_t *ret)
{
	struct key_row key;

	TRY(key_active(vault, KT_KEY_MASTER, &(struct kt_id){0}, &key));
	*ret = key.version;
	return KT_OK;
}

enum kt_err kt_master_verify(
	struct kt_vault *vault, int64_t version,
	const struct kt_rotate_options *options,
	const struct kt_progress *progress,
	enum kt_err (*each)(void *arg, const struct kt_verification *v),
	void (*fault)(void *arg, const char *text), void *arg)
{
	CLEANUP(verify_done)
	struct verify v = {.each = each, .fault = fault, .arg = arg};
	bool found = false;

	TRY(begin(&v, vault, options, progress));
	if (version == 0)
		TRY(serving_version(vault, &version));
	TRY(verify_role(&v, version, KT_KEY_MASTER, &found));
	TRY(verify_role(&v, version, KT_KEY_RECOVERY, &found));
	if (!found)
		return err_raise(KT_ERR_NOT_FOUND,
				 "there is no master key version %lld",
				 (long long)version);
	return outcome(&v);
}

enum kt_err kt_project_verify(
	struct kt_vault *vault, const char *project,
	const struct kt_rotate_options *options,
	const struct kt_progress *progress,
	enum kt_err (*each)(void *arg, const struct kt_verification *v),
	void (*fault)(void *arg, const char *text), void *arg)
{
	CLEANUP(id_list_done) struct id_list keys = {0};
	CLEANUP(verify_done)
	struct verify v = {.each = each, .fault = fault, .arg = arg};
	struct project_row row;
	struct key_row key;

	TRY(begin(&v, vault, options, progress));
	TRY(project_by_name(vault, project, &row));
	TRY(id_list_keys(&keys, vault->store, &row.id));
	for (size_t i = 0; i < keys.count; i++) {
		TRY(query_one(vault->store, Q_KEY, &key, "b", &keys.ids[i]));
		if (key.destroyed == 0)
			TRY(verify_key(&v, &key));
	}
	return outcome(&v);
}
