/*
 * The pipeline of a sweep. Slots are used round robin, since batches come back
 * in the order they went.
 */
#include "core/sweep.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"

#define ROWS_ALONE 100

/* Of work in a batch: its end renews the lease, and is what a stop waits for.
 */
#define BATCH_US 1000000
#define OF_LATE_US (4 * BATCH_US)
#define BATCH_LEAST 32 /* so that all workers have some; the first, too */

struct pipe {
	struct sweep *sweep;
	struct rewrap *rewrap;
	size_t depth;
	struct sweep_batch *slot;
	size_t filled, collected; /* counts; modulo depth is the slot */
	struct kt_id after;       /* where reading goes on */
	bool at_end;
	int64_t size;            /* rows of the next batch */
	int64_t rows, waited_us; /* collected of late, waiting so long */
	int64_t chosen;          /* rows that were looked at, which to prove */
};

static void batch_done(struct sweep_batch *batch)
{
	free(batch->rewrap.items);
	free(batch->rows);
	free(batch->faults);
}

/* The workers stop first: they hold pointers into the slots. */
static void pipe_done(struct pipe *pipe)
{
	rewrap_stop(pipe->rewrap);
	for (size_t i = 0; pipe->slot != NULL && i < pipe->depth; i++)
		batch_done(&pipe->slot[i]);
	free(pipe->slot);
}

static enum kt_err batch_init(struct sweep_batch *batch, size_t size)
{
	batch->rewrap.items = calloc(size, sizeof(*batch->rewrap.items));
	batch->rows = calloc(size, sizeof(*batch->rows));
	batch->faults = calloc(size, sizeof(*batch->faults));
	if (batch->rewrap.items == NULL || batch->rows == NULL ||
	    batch->faults == NULL)
		return err_memory();
	return KT_OK;
}

/* For a few rows it is not worth starting a process, however slow the token. */
static unsigned jobs_for(const struct sweep *sweep)
{
	if (sweep->total <= sweep->run->batch_size &&
	    sweep->total <= ROWS_ALONE)
		return 0;
	return (unsigned)sweep->run->jobs;
}

static enum kt_err on_token(const struct key_row *key,
			    struct wrap_key_spec *ret)
{
	ret->role = (enum kt_key_role)key->role;
	ret->cka_id = key->cka_id;
	ret->mech = (enum kt_wrap_mech)key->mech;
	ret->canary = key->canary;
	return KT_OK;
}

enum kt_err sweep_rewrap_key(struct kt_vault *vault, const struct key_row *key,
			     struct rewrap_key *ret)
{
	struct rewrap_key about = {0};
	struct key_row master;
	struct wrap_row wrap;

	if (key->role != KT_KEY_PROJECT) {
		TRY(on_token(key, &about.token_key));
		*ret = about;
		return KT_OK;
	}
	TRY(key_active(vault, KT_KEY_MASTER, &(struct kt_id){0}, &master));
	TRY(query_one(vault->store, Q_WRAP, &wrap, "bb", &master.id, &key->id));
	TRY(on_token(&master, &about.token_key));
	about.wrapped = true;
	about.blob = wrap.blob;
	about.mech = (enum kt_wrap_mech)key->mech;
	about.canary = key->canary;
	*ret = about;
	return KT_OK;
}

static enum kt_err start_workers(struct pipe *pipe)
{
	struct sweep *sweep = pipe->sweep;
	struct kt_vault *vault = sweep->run->vault;
	struct rewrap_params params = {
		.token = vault->token,
		.token_params = &vault->token_params,
		.worker = vault->params.worker,
		.jobs = jobs_for(sweep),
		.sessions = (unsigned)sweep->run->sessions,
	};
	enum kt_err err;

	if (params.jobs > 0)
		params.jobs_max = (unsigned)sweep->run->jobs_max;
	TRY(sweep_rewrap_key(vault, &sweep->leg->old_key, &params.old_key));
	if (sweep->op == REWRAP_TRY) {
		params.new_key = params.old_key;
		params.new_key.temporary = true;
	} else {
		TRY(sweep_rewrap_key(vault, &sweep->leg->new_key,
				     &params.new_key));
	}
	err = rewrap_start(&params, &pipe->rewrap);
	if (err == KT_ERR_NOT_FOUND) /* its row is there: the token lacks it */
		return err_prefix(KT_ERR_TOKEN, "rewrap");
	return err;
}

int64_t sweep_batch_size(int64_t rows, int64_t took_us, int64_t most)
{
	double fits = (double)rows * BATCH_US / ((double)took_us + 1);

	if (fits < BATCH_LEAST)
		fits = BATCH_LEAST;
	return fits < (double)most ? (int64_t)fits : most;
}

static void resize(struct pipe *pipe)
{
	pipe->size = sweep_batch_size(pipe->rows, pipe->waited_us,
				      pipe->sweep->run->batch_size);
}

static enum kt_err pipe_init(struct sweep *sweep, struct pipe *pipe)
{
	*pipe = (struct pipe){.sweep = sweep, .after = sweep->after};
	TRY(start_workers(pipe));
	pipe->depth = rewrap_depth(pipe->rewrap);
	pipe->slot = calloc(pipe->depth, sizeof(*pipe->slot));
	if (pipe->slot == NULL)
		return err_memory();
	for (size_t i = 0; i < pipe->depth; i++)
		TRY(batch_init(&pipe->slot[i], (size_t)sweep->run->batch_size));
	resize(pipe);
	return KT_OK;
}

static void add_fault(struct sweep_batch *batch, const struct wrap_row *row,
		      const char *reason)
{
	struct sweep_fault *fault = &batch->faults[batch->fault_count++];

	fault->wrapping_key = row->wrapping_key;
	fault->subject = row->subject;
	text_cut(fault->reason, sizeof(fault->reason), reason);
}

/* Reads on in the rows under the old key, which a proof compares with. Both
 * queries give the same subjects, in one view of the database. */
static enum kt_err next_twin(struct query *twins, const struct wrap_row *row,
			     struct wrap_row *ret)
{
	enum kt_err err = query_next(twins, ret);

	if (err == KT_ERR_NOT_FOUND ||
	    (err == KT_OK && !id_equal(&ret->subject, &row->subject)))
		return err_raise(KT_ERR_FAILED,
				 "the rows under two keys do not pair");
	return err;
}

static void add_item(struct sweep_batch *batch, const struct wrap_row *row,
		     const struct blob *in, const struct blob *out)
{
	struct rewrap_item *item = &batch->rewrap.items[batch->rewrap.count];

	batch->rows[batch->rewrap.count++] = *row;
	item->subject = row->subject;
	item->in = *in;
	item->out.len = 0;
	if (out != NULL)
		item->out = *out;
	item->err = KT_OK;
	item->reason[0] = '\0';
}

/* A row that was read, with what came of its check. */
static enum kt_err add_row(struct sweep_batch *batch, struct query *twins,
			   const struct wrap_row *row, enum kt_err checked)
{
	struct wrap_row twin = {0};
	enum kt_err err;

	if (checked != KT_OK)
		add_fault(batch, row, kt_err_detail());
	if (twins == NULL) {
		if (checked == KT_OK)
			add_item(batch, row, &row->blob, NULL);
		return KT_OK;
	}
	err = next_twin(twins, row, &twin);
	if (err == KT_OK && checked == KT_OK)
		add_item(batch, row, &twin.blob, &row->blob);
	if (err != KT_ERR_INTEGRITY || checked != KT_OK)
		return err == KT_ERR_INTEGRITY ? KT_OK : err;
	add_fault(batch, &twin, kt_err_detail());
	return KT_OK;
}

static enum kt_err start_query(struct pipe *pipe, struct query **ret)
{
	struct sweep *sweep = pipe->sweep;
	struct store *store = sweep->run->vault->store;

	if (sweep->query == Q_WRAPS_AFTER)
		return query_start(store, sweep->query, ret, "bbi",
				   &sweep->leg->old_key.id, &pipe->after,
				   pipe->size);
	return query_start(store, sweep->query, ret, "bbbi",
			   &sweep->leg->old_key.id, &sweep->leg->new_key.id,
			   &pipe->after, pipe->size);
}

static enum kt_err start_twins(struct pipe *pipe, struct query **ret)
{
	struct sweep *sweep = pipe->sweep;

	if (sweep->op != REWRAP_PROVE)
		return KT_OK;
	return query_start(sweep->run->vault->store, Q_WRAPS_TWINNED, ret,
			   "bbbi", &sweep->leg->old_key.id,
			   &sweep->leg->new_key.id, &pipe->after, pipe->size);
}

static enum kt_err read_changes(const struct sweep *sweep, int64_t *ret)
{
	struct count_row changes;

	TRY(query_one(sweep->run->vault->store, Q_CHANGES, &changes, ""));
	*ret = changes.n;
	return KT_OK;
}

enum kt_err sweep_batch_stands(const struct sweep *sweep,
			       const struct sweep_batch *batch, bool *ret)
{
	int64_t changes;

	TRY(read_changes(sweep, &changes));
	*ret = changes == batch->changes;
	return KT_OK;
}

/* A row whose MAC is wrong becomes a fault, the rest go on. */
static enum kt_err read_rows(struct pipe *pipe, struct sweep_batch *batch,
			     size_t *ret_read)
{
	CLEANUP(query_donep) struct query *query = NULL;
	CLEANUP(query_donep) struct query *twins = NULL;
	struct wrap_row row = {0};
	enum kt_err err;

	TRY(start_query(pipe, &query));
	TRY(start_twins(pipe, &twins));
	while ((err = query_next(query, &row)) == KT_OK ||
	       err == KT_ERR_INTEGRITY) {
		if (memcmp(&row.subject, &pipe->after, KT_ID_LEN) <= 0)
			return err_raise(KT_ERR_INTEGRITY,
					 "rows of wraps are out of order");
		pipe->after = batch->last = row.subject;
		TRY(add_row(batch, twins, &row, err));
		++*ret_read;
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* Counted over the sweep, so that it does not matter how it is cut. */
static void choose_proven(struct pipe *pipe, struct sweep_batch *batch)
{
	for (size_t i = 0; i < batch->rewrap.count; i++)
		batch->rewrap.items[i].proven =
			pipe->chosen++ % pipe->sweep->proven_in == 0;
}

/* Reads the next batch, all of it in one view of the database. */
static enum kt_err fill(struct pipe *pipe, struct sweep_batch *batch)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct sweep *sweep = pipe->sweep;
	size_t read = 0;

	batch->rewrap.count = batch->fault_count = 0;
	batch->rewrap.op = sweep->op;
	batch->rewrap.user = batch;
	TRY(store_begin(sweep->run->vault->store, STORE_READ, &tx));
	TRY(read_changes(sweep, &batch->changes));
	TRY(read_rows(pipe, batch, &read));
	if (sweep->op == REWRAP_TRY)
		choose_proven(pipe, batch);
	CRASH_POINT("sweep.read");
	pipe->at_end = read < (size_t)pipe->size;
	return KT_OK;
}

static enum kt_err feed(struct pipe *pipe)
{
	while (!pipe->at_end && pipe->filled - pipe->collected < pipe->depth) {
		struct sweep_batch *batch =
			&pipe->slot[pipe->filled % pipe->depth];

		TRY(fill(pipe, batch));
		if (batch->rewrap.count + batch->fault_count == 0)
			continue;
		TRY(rewrap_submit(pipe->rewrap, &batch->rewrap));
		pipe->filled++;
	}
	return KT_OK;
}

/* The time of a commit does not count: on a slow disk smaller batches would
 * make it worse. */
static enum kt_err wait_for_oldest(struct pipe *pipe, struct sweep_batch **ret)
{
	struct rewrap_batch *done = NULL;
	int64_t begun = clock_monotonic_us();

	TRY(rewrap_collect(pipe->rewrap, &done));
	pipe->waited_us += clock_monotonic_us() - begun;
	pipe->rows += (int64_t)done->count;
	resize(pipe);
	if (pipe->waited_us > OF_LATE_US) {
		pipe->rows /= 2;
		pipe->waited_us /= 2;
	}
	*ret = done->user;
	return KT_OK;
}

static enum kt_err collect(struct pipe *pipe)
{
	struct sweep *sweep = pipe->sweep;
	struct sweep_batch *batch;

	TRY(wait_for_oldest(pipe, &batch));
	CRASH_POINT("sweep.collected");
	pipe->collected++;
	for (size_t i = 0; i < batch->rewrap.count; i++) {
		if (batch->rewrap.items[i].err != KT_OK)
			add_fault(batch, &batch->rows[i],
				  batch->rewrap.items[i].reason);
	}
	TRY(sweep->commit(sweep, batch));
	CRASH_POINT("sweep.committed");
	sweep->done += (int64_t)batch->rewrap.count;
	run_report(sweep->run, sweep->step, sweep->done, sweep->total);
	return KT_OK;
}

/* When asked to stop, no more is read; what the workers have is committed. Who
 * says so once is not asked again: the rows that were not read would pass for
 * done. */
enum kt_err sweep_run(struct sweep *sweep)
{
	CLEANUP(pipe_done) struct pipe pipe = {0};
	struct err_saved stopped = {.err = KT_OK};

	assert(sweep->op != REWRAP_TRY || sweep->proven_in > 0);
	TRY(pipe_init(sweep, &pipe));
	for (;;) {
		if (stopped.err == KT_OK)
			err_save(run_check_stop(sweep->run), &stopped);
		if (stopped.err != KT_OK)
			pipe.at_end = true;
		TRY(feed(&pipe));
		if (pipe.filled == pipe.collected)
			break;
		TRY(collect(&pipe));
	}
	return err_restore(&stopped);
}
