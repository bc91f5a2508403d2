/*
 * The actions of a rotation that fill the new key: stage and verify. Each batch
 * is one transaction that checks the fence; what counts at the end is what the
 * rows themselves say, recounted in the transaction that stamps it.
 */
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/sweep.h"

enum kt_err rotation_count(struct kt_vault *vault, enum store_query which,
			   const struct kt_id *a, const struct kt_id *b,
			   int64_t *ret)
{
	struct count_row count;

	if (b != NULL)
		TRY(query_one(vault->store, which, &count, "bb", a, b));
	else
		TRY(query_one(vault->store, which, &count, "b", a));
	*ret = count.n;
	return KT_OK;
}

enum kt_err rotation_missing(struct rotation_run *run, int64_t *ret)
{
	int64_t sum = 0;
	int64_t n;

	for (size_t i = 0; i < run->legs; i++) {
		TRY(rotation_count(run->vault, Q_WRAP_MISSING_COUNT,
				   &run->leg[i].old_key.id,
				   &run->leg[i].new_key.id, &n));
		sum += n;
	}
	*ret = sum;
	return KT_OK;
}

/* A row may be quarantined a second time. */
static enum kt_err store_fault(struct rotation_run *run,
			       const struct sweep_fault *fault)
{
	struct fault_row row = {
		.rotation = run->row.id,
		.wrapping_key = fault->wrapping_key,
		.subject = fault->subject,
		.found = clock_now(),
	};
	enum kt_err err;

	text_cut(row.reason, sizeof(row.reason), fault->reason);
	err = store_insert(run->vault->store, ROW_FAULT, &row);
	return err == KT_ERR_EXISTS ? KT_OK : err;
}

static enum kt_err store_faults(struct sweep *sweep,
				const struct sweep_batch *batch)
{
	for (size_t i = 0; i < batch->fault_count; i++)
		TRY(store_fault(sweep->run, &batch->faults[i]));
	return KT_OK;
}

/* The old row must still be the one that was rewrapped: its secret may have
 * been deleted while the workers had it. */
static enum kt_err is_unchanged(struct store *store,
				const struct wrap_row *before, bool *ret)
{
	struct wrap_row now;
	enum kt_err err = query_one(store, Q_WRAP, &now, "bb",
				    &before->wrapping_key, &before->subject);

	if (err != KT_OK && err != KT_ERR_NOT_FOUND)
		return err;
	*ret = err == KT_OK && blob_equal(&now.blob, &before->blob);
	return KT_OK;
}

/* unchanged: it is known that the row is as it was read. */
static enum kt_err store_twin(struct sweep *sweep, const struct wrap_row *row,
			      const struct rewrap_item *item, bool unchanged)
{
	struct store *store = sweep->run->vault->store;
	struct wrap_row twin = {
		.wrapping_key = sweep->leg->new_key.id,
		.subject = row->subject,
		.blob = item->out,
	};

	if (!unchanged)
		TRY(is_unchanged(store, row, &unchanged));
	if (!unchanged)
		return KT_OK;
	CRASH_POINT("stage.row");
	sweep->leg->row.rows_rewrapped++;
	return store_insert(store, ROW_WRAP, &twin);
}

static enum kt_err commit_staged(struct sweep *sweep, struct sweep_batch *batch)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	bool stands = false;

	TRY(run_begin(sweep->run, &tx));
	TRY(run_refuse_compromised(sweep->run));
	CRASH_POINT("stage.begun");
	TRY(sweep_batch_stands(sweep, batch, &stands));
	for (size_t i = 0; i < batch->rewrap.count; i++) {
		if (batch->rewrap.items[i].err == KT_OK)
			TRY(store_twin(sweep, &batch->rows[i],
				       &batch->rewrap.items[i], stands));
	}
	TRY(store_faults(sweep, batch));
	sweep->leg->row.stage_cursor = batch->last;
	TRY(store_update(sweep->run->vault->store, ROW_LEG, &sweep->leg->row));
	CRASH_POINT("stage.cursor");
	return store_commit(&tx);
}

/* Rows under the old key, and those of them without a twin. To look each of
 * them up costs as much as to stage some: not where there is no twin at all. */
static enum kt_err count_leg(struct rotation_run *run,
			     const struct rotation_leg *leg, int64_t *ret_total,
			     int64_t *ret_missing)
{
	int64_t total, twins, missing;

	TRY(rotation_count(run->vault, Q_WRAP_COUNT, &leg->old_key.id, NULL,
			   &total));
	TRY(rotation_count(run->vault, Q_WRAP_COUNT, &leg->new_key.id, NULL,
			   &twins));
	missing = total;
	if (twins > 0)
		TRY(rotation_count(run->vault, Q_WRAP_MISSING_COUNT,
				   &leg->old_key.id, &leg->new_key.id,
				   &missing));
	*ret_total = total;
	*ret_missing = missing;
	return KT_OK;
}

static enum kt_err stage_leg(struct rotation_run *run, struct rotation_leg *leg,
			     const struct kt_id *after)
{
	struct sweep sweep = {
		.run = run,
		.leg = leg,
		.step = "rewrap",
		.op = REWRAP_COPY,
		.query = Q_WRAPS_MISSING,
		.after = *after,
		.commit = commit_staged,
	};
	int64_t missing;

	TRY(count_leg(run, leg, &sweep.total, &missing));
	if (missing == 0)
		return KT_OK;
	sweep.done = sweep.total - missing;
	return sweep_run(&sweep);
}

static void prove_anew(struct leg_row *row)
{
	memset(&row->verify_cursor, 0, sizeof(row->verify_cursor));
	row->rows_verified = 0;
}

/* Forgets what was quarantined: each run looks at those rows again. Cursors
 * have passed them and begin anew. */
static enum kt_err clear_faults(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	int64_t cleared;

	TRY(run_begin(run, &tx));
	TRY(store_exec(run->vault->store, S_FAULTS_DELETE, &cleared, "b",
		       &run->row.id));
	for (size_t i = 0; cleared > 0 && i < run->legs; i++) {
		struct leg_row *row = &run->leg[i].row;

		memset(&row->stage_cursor, 0, sizeof(row->stage_cursor));
		prove_anew(row);
		TRY(store_update(run->vault->store, ROW_LEG, row));
	}
	return store_commit(&tx);
}

static enum kt_err refuse_faults(struct rotation_run *run)
{
	char id[KT_ID_TEXT_LEN + 1];
	int64_t faults;
	enum kt_err err;

	TRY(rotation_count(run->vault, Q_FAULT_COUNT, &run->row.id, NULL,
			   &faults));
	if (faults == 0)
		return KT_OK;
	kt_id_format(&run->row.id, id);
	err = err_raise(KT_ERR_INTEGRITY,
			"%s quarantined: the rotation cannot go on",
			text_counted(faults, "row is", "rows are").text);
	return err_hint(err,
			"'keyturn rotation show %s' names them; 'keyturn "
			"rotation rollback' goes back, 'keyturn rotation "
			"resume' tries again",
			id);
}

enum kt_err rotation_remove_row(struct store *store, const struct kt_id *key,
				const struct kt_id *subject)
{
	int64_t removed;

	return store_exec(store, S_WRAP_DELETE, &removed, "bb", key, subject);
}

/* A new row that does not hold the same key, or whose MAC is wrong, is taken
 * away, so that a resume stages it again from the old one, which was never
 * touched. */
static enum kt_err drop_bad_twins(struct sweep *sweep,
				  const struct sweep_batch *batch)
{
	for (size_t i = 0; i < batch->fault_count; i++) {
		const struct sweep_fault *fault = &batch->faults[i];

		if (!id_equal(&fault->wrapping_key, &sweep->leg->new_key.id))
			continue;
		TRY(rotation_remove_row(sweep->run->vault->store,
					&fault->wrapping_key, &fault->subject));
	}
	return KT_OK;
}

static enum kt_err commit_verified(struct sweep *sweep,
				   struct sweep_batch *batch)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(run_begin(sweep->run, &tx));
	TRY(drop_bad_twins(sweep, batch));
	TRY(store_faults(sweep, batch));
	for (size_t i = 0; i < batch->rewrap.count; i++)
		sweep->leg->row.rows_verified +=
			batch->rewrap.items[i].err == KT_OK;
	sweep->leg->row.verify_cursor = batch->last;
	TRY(store_update(sweep->run->vault->store, ROW_LEG, &sweep->leg->row));
	CRASH_POINT("verify.cursor");
	return store_commit(&tx);
}

static enum kt_err verify_leg(struct rotation_run *run,
			      struct rotation_leg *leg)
{
	struct sweep sweep = {
		.run = run,
		.leg = leg,
		.step = "verify",
		.op = REWRAP_PROVE,
		.query = Q_WRAPS_TWINS,
		.after = leg->row.verify_cursor,
		.done = leg->row.rows_verified,
		.commit = commit_verified,
	};

	TRY(rotation_count(run->vault, Q_WRAP_COUNT, &leg->new_key.id, NULL,
			   &sweep.total));
	return sweep_run(&sweep);
}

/* What can be done beside bad rows, so that nothing else is found bad when they
 * are mended. It does not count as `verified`: the next run clears the faults
 * and with them the cursor. */
static enum kt_err prove_beside_faults(struct rotation_run *run)
{
	int64_t faults;

	TRY(rotation_count(run->vault, Q_FAULT_COUNT, &run->row.id, NULL,
			   &faults));
	for (size_t i = 0; faults > 0 && i < run->legs; i++)
		TRY(verify_leg(run, &run->leg[i]));
	return KT_OK;
}

/* Wraps what has no twin, from the cursor on. */
static enum kt_err stage_on(struct rotation_run *run)
{
	for (size_t i = 0; i < run->legs; i++)
		TRY(stage_leg(run, &run->leg[i],
			      &run->leg[i].row.stage_cursor));
	return run->skip_quarantined ? KT_OK : refuse_faults(run);
}

/* From the beginning, should rows have come before the cursor. */
static enum kt_err stage_again(struct rotation_run *run)
{
	static const struct kt_id start;

	for (size_t i = 0; i < run->legs; i++)
		TRY(stage_leg(run, &run->leg[i], &start));
	if (run->skip_quarantined)
		TRY(prove_beside_faults(run));
	return refuse_faults(run);
}

/* In the stamping transaction: the rows have the last word. */
static enum kt_err refuse_missing(struct rotation_run *run)
{
	int64_t missing;

	TRY(rotation_missing(run, &missing));
	if (missing == 0)
		return KT_OK;
	return err_raise(KT_ERR_CONFLICT,
			 "%s not under the new key yet: resume",
			 text_counted(missing, "row is", "rows are").text);
}

static enum kt_err stamp_complete(struct rotation_run *run,
				  enum rotation_event event)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	CRASH_POINT("complete.begin");
	TRY(run_begin(run, &tx));
	TRY(refuse_faults(run));
	TRY(refuse_missing(run));
	CRASH_POINT("complete.counted");
	TRY(run_stamp(run, event));
	return store_commit(&tx);
}

enum kt_err rotation_stage(struct rotation_run *run)
{
	enum kt_err err = KT_ERR_CONFLICT;

	TRY(clear_faults(run));
	TRY(stage_on(run));
	if (!run->skip_quarantined)
		err = stamp_complete(run, EVENT_STAGED);
	if (err != KT_ERR_CONFLICT)
		return err;
	TRY(stage_again(run));
	return stamp_complete(run, EVENT_STAGED);
}

/* A row that lost its twin may come before the cursor, and its new twin is to
 * be proven like any other. */
static enum kt_err stage_lost(struct rotation_run *run)
{
	int64_t missing;

	TRY(rotation_missing(run, &missing));
	if (missing == 0)
		return KT_OK;
	for (size_t i = 0; i < run->legs; i++)
		prove_anew(&run->leg[i].row);
	TRY(stage_on(run));
	return stage_again(run);
}

enum kt_err rotation_verify(struct rotation_run *run)
{
	TRY(clear_faults(run));
	TRY(stage_lost(run));
	for (size_t i = 0; i < run->legs; i++)
		TRY(verify_leg(run, &run->leg[i]));
	return stamp_complete(run, EVENT_VERIFIED);
}
