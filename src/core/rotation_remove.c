/*
 * The actions of a rotation that empty a key: contract takes the rows under the
 * old one away, unstage those under the new one. A row goes only where its twin
 * has a right MAC; what counts at the end is recounted in the transaction that
 * stamps it.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/rotation.h"

struct removal {
	struct rotation_run *run;
	const struct kt_id *goes, *stays; /* wrapping keys */
	struct kt_id after;               /* last subject looked at */
	struct kt_id *subjects;           /* a batch of them */
	int64_t removed;
	bool at_end;
};

static void removal_done(struct removal *removal)
{
	free(removal->subjects);
}

/* Reads a batch of subjects whose row that stays has a right MAC, and so is
 * bit for bit the one that was proven. */
static enum kt_err read_removable(struct removal *removal, size_t *ret_count)
{
	CLEANUP(query_donep) struct query *query = NULL;
	int64_t read = 0;
	size_t count = 0;
	struct wrap_row row;
	enum kt_err err;

	TRY(query_start(removal->run->vault->store, Q_WRAPS_TWINS, &query,
			"bbbi", removal->goes, removal->stays, &removal->after,
			removal->run->batch_size));
	while ((err = query_next(query, &row)) == KT_OK ||
	       err == KT_ERR_INTEGRITY) {
		removal->after = row.subject;
		read++;
		if (err == KT_OK)
			removal->subjects[count++] = row.subject;
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	removal->at_end = read < removal->run->batch_size;
	*ret_count = count;
	return KT_OK;
}

static enum kt_err remove_batch(struct removal *removal, struct leg_row *leg)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct store *store = removal->run->vault->store;
	size_t count;

	TRY(run_begin(removal->run, &tx));
	TRY(read_removable(removal, &count));
	for (size_t i = 0; i < count; i++)
		TRY(rotation_remove_row(store, removal->goes,
					&removal->subjects[i]));
	removal->removed += (int64_t)count;
	CRASH_POINT("remove.rows");
	if (leg != NULL) {
		leg->rows_contracted += (int64_t)count;
		TRY(store_update(store, ROW_LEG, leg));
	}
	return store_commit(&tx);
}

/* Deletes the rows under one key whose subject has a good row under the other,
 * a batch a transaction. leg, when given, counts them. */
static enum kt_err remove_twins(struct rotation_run *run, const char *step,
				const struct kt_id *goes,
				const struct kt_id *stays, struct leg_row *leg)
{
	CLEANUP(removal_done)
	struct removal removal = {
		.run = run,
		.goes = goes,
		.stays = stays,
	};
	int64_t total;

	removal.subjects =
		calloc((size_t)run->batch_size, sizeof(*removal.subjects));
	if (removal.subjects == NULL)
		return err_memory();
	TRY(rotation_count(run->vault, Q_WRAP_COUNT, goes, NULL, &total));
	while (!removal.at_end) {
		TRY(run_check_stop(run));
		TRY(remove_batch(&removal, leg));
		CRASH_POINT("remove.committed");
		run_report(run, step, removal.removed, total);
	}
	return KT_OK;
}

/* In the stamping transaction: nothing may be left under the key. */
static enum kt_err refuse_rest(struct rotation_run *run,
			       const struct key_row *key)
{
	int64_t rest;

	TRY(rotation_count(run->vault, Q_WRAP_COUNT, &key->id, NULL, &rest));
	if (rest == 0)
		return KT_OK;
	return err_raise(KT_ERR_INTEGRITY,
			 "%s under %s key version %lld kept: no good row under "
			 "the other key",
			 text_counted(rest, "row", "rows").text,
			 kt_key_role_name((enum kt_key_role)key->role),
			 (long long)key->version);
}

/* A project key is only a blob: it is destroyed with its rows, by deleting
 * what wraps it. */
static enum kt_err destroy_project_key(struct rotation_run *run,
				       struct key_row *key)
{
	int64_t deleted;

	TRY(store_exec(run->vault->store, S_WRAPS_DELETE_SUBJECT, &deleted, "b",
		       &key->id));
	key->destroyed = clock_now();
	return store_update(run->vault->store, ROW_KEY, key);
}

static enum kt_err stamp_contracted(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(run_begin(run, &tx));
	for (size_t i = 0; i < run->legs; i++)
		TRY(refuse_rest(run, &run->leg[i].old_key));
	TRY(run_stamp(run, EVENT_CONTRACTED));
	CRASH_POINT("contracted.stamped");
	if (run->row.kind == KT_ROTATION_PROJECT) {
		TRY(destroy_project_key(run, &run->leg[0].old_key));
		TRY(run_stamp(run, EVENT_DESTROYED));
	}
	TRY(audit_checkpoint(run->vault));
	return store_commit(&tx);
}

enum kt_err rotation_contract(struct rotation_run *run)
{
	for (size_t i = 0; i < run->legs; i++) {
		struct rotation_leg *leg = &run->leg[i];

		TRY(remove_twins(run, "contract", &leg->old_key.id,
				 &leg->new_key.id, &leg->row));
	}
	return stamp_contracted(run);
}

static enum kt_err stamp_rolled_back(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	int64_t cleared;

	TRY(run_begin(run, &tx));
	for (size_t i = 0; i < run->legs; i++)
		TRY(refuse_rest(run, &run->leg[i].new_key));
	if (run->row.kind == KT_ROTATION_PROJECT)
		TRY(destroy_project_key(run, &run->leg[0].new_key));
	TRY(store_exec(run->vault->store, S_FAULTS_DELETE, &cleared, "b",
		       &run->row.id));
	TRY(run_stamp(run, EVENT_ROLLED_BACK));
	CRASH_POINT("rolled-back.stamped");
	TRY(audit_checkpoint(run->vault));
	return store_commit(&tx);
}

enum kt_err rotation_unstage(struct rotation_run *run)
{
	for (size_t i = 0; i < run->legs; i++) {
		struct rotation_leg *leg = &run->leg[i];

		TRY(remove_twins(run, "roll back", &leg->new_key.id,
				 &leg->old_key.id, NULL));
	}
	return stamp_rolled_back(run);
}
