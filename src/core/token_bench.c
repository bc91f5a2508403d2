/*
 * The token measured by what a rotation does with it, through the same workers.
 * A key is wrapped again by the key that wraps it already: the calls are those
 * of staging, and the outcome is known, so that a token that is fast but wrong
 * is found out.
 */
#include <keyturn/bench.h>

#include <stdlib.h>

#include "base/clock.h"
#include "core/rotation.h"
#include "core/sweep.h"
#include "hsm/gate.h"

#define SAMPLES 16
#define BATCH_MAX_ROWS 1000
#define BATCH_US 100000 /* of work: many batches in the time there is */
#define BATCHES_MIN 3
#define WORTH_IT 1.25 /* as hsm/pace.c */

struct bench {
	struct kt_vault *vault;
	struct key_row key_row; /* the wrapping key with the most rows */
	struct rewrap_key key;
	struct blob samples[SAMPLES];
	unsigned sessions; /* of a process, at most */
	int64_t us;        /* to measure for */
	size_t legs;
	double key_s; /* for a new key */

	/* Of the measurement under way. */
	struct rewrap *rewrap;
	struct rewrap_batch *slot;
	size_t depth, size; /* size: rows of the next batch */
	uint64_t sent, done;
	int64_t rows, since_us;
};

static void bench_end(struct bench *b)
{
	rewrap_stop(TAKE(b->rewrap));
	for (size_t i = 0; b->slot != NULL && i < b->depth; i++)
		free(b->slot[i].items);
	free(TAKE(b->slot));
}

static enum kt_err bench_begin(struct bench *b, int jobs)
{
	struct rewrap_params params = {
		.token = b->vault->token,
		.token_params = &b->vault->token_params,
		.worker = b->vault->params.worker,
		.jobs = (unsigned)jobs,
		.sessions = b->sessions,
		.old_key = b->key,
		.new_key = b->key,
	};

	b->sent = b->done = 0;
	b->rows = 0;
	b->size = 4 * (size_t)jobs;
	TRY(rewrap_start(&params, &b->rewrap));
	b->depth = rewrap_depth(b->rewrap);
	b->slot = calloc(b->depth, sizeof(*b->slot));
	if (b->slot == NULL)
		return err_memory();
	for (size_t i = 0; i < b->depth; i++) {
		b->slot[i].items =
			calloc(BATCH_MAX_ROWS, sizeof(*b->slot[i].items));
		if (b->slot[i].items == NULL)
			return err_memory();
	}
	return KT_OK;
}

static enum kt_err send(struct bench *b)
{
	struct rewrap_batch *batch = &b->slot[b->sent++ % b->depth];

	batch->op = REWRAP_COPY;
	batch->count = b->size;
	for (size_t i = 0; i < b->size; i++)
		batch->items[i].in = b->samples[i % SAMPLES];
	return rewrap_submit(b->rewrap, batch);
}

static enum kt_err check(const struct rewrap_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		const struct rewrap_item *item = &batch->items[i];

		if (item->err != KT_OK)
			return err_raise(KT_ERR_TOKEN,
					 "a key made a moment "
					 "ago: %s",
					 item->reason);
		if (!blob_equal(&item->in, &item->out))
			return err_raise(KT_ERR_TOKEN,
					 "C_WrapKey: two wraps of one key "
					 "differ");
	}
	return KT_OK;
}

/* The first batch only starts the clock: until then workers were idle. */
static enum kt_err receive(struct bench *b, int64_t *ret_elapsed)
{
	struct rewrap_batch *batch;
	int64_t now;

	TRY(rewrap_collect(b->rewrap, &batch));
	TRY(check(batch));
	now = clock_monotonic_us();
	if (b->done++ == 0)
		b->since_us = now;
	else
		b->rows += (int64_t)batch->count;
	*ret_elapsed = now - b->since_us;
	return KT_OK;
}

static size_t fitting(const struct bench *b, int64_t elapsed, size_t least)
{
	double size = (double)b->rows * BATCH_US / (double)(elapsed + 1);

	return size > BATCH_MAX_ROWS  ? BATCH_MAX_ROWS
	       : size < (double)least ? least
				      : (size_t)size;
}

static enum kt_err work(struct bench *b, int64_t *ret_elapsed)
{
	const size_t least = b->size;
	int64_t elapsed = 0;

	while (b->done <= BATCHES_MIN || elapsed < b->us) {
		while (b->sent < b->done + b->depth)
			TRY(send(b));
		TRY(receive(b, &elapsed));
		b->size = fitting(b, elapsed, least);
	}
	*ret_elapsed = elapsed;
	return KT_OK;
}

static enum kt_err measure(struct bench *b, int jobs, struct kt_bench *ret)
{
	int64_t begin = clock_monotonic_us();
	int64_t started, elapsed = 0;
	enum kt_err err = bench_begin(b, jobs);

	started = clock_monotonic_us();
	if (err == KT_OK)
		err = work(b, &elapsed);
	bench_end(b);
	if (err != KT_OK)
		return err;
	*ret = (struct kt_bench){
		.jobs = jobs,
		.rows = b->rows,
		.rows_per_s = (double)b->rows * 1e6 / (double)elapsed,
		.row_ms = (double)elapsed * jobs / (double)b->rows / 1e3,
		.start_s = (double)(started - begin) / 1e6,
	};
	return KT_OK;
}

/* Under which most rows stand: DEKs where there are recovery wraps, else
 * project keys. */
static enum kt_err prepare(struct bench *b, int64_t *ret_rows)
{
	struct key_row keys[KT_ROTATION_LEGS_MAX];
	struct project_row nobody;
	struct wrap_key *key;
	int64_t rows = 0;
	size_t count;

	TRY(rotation_old_keys(b->vault, KT_ROTATION_MASTER, NULL, keys, &count,
			      &nobody));
	for (size_t i = 0; i < count; i++) {
		struct count_row under;

		TRY(query_one(b->vault->store, Q_WRAP_COUNT, &under, "b",
			      &keys[i].id));
		rows += under.n;
	}
	b->legs = count;
	b->key_row = keys[count - 1];
	TRY(sweep_rewrap_key(b->vault, &b->key_row, &b->key));
	TRY(key_wrapper(b->vault, &b->key_row, &key));
	for (size_t i = 0; i < SAMPLES; i++)
		TRY(wrap_new(&key, 1, &b->samples[i]));
	*ret_rows = rows;
	return KT_OK;
}

/* What a new key takes: its proof makes about half the calls with which the
 * gate tries a token. */
static enum kt_err measure_key(struct bench *b)
{
	int64_t begin = clock_monotonic_us();
	struct gate_report report;

	TRY(gate_token(b->vault->token, b->key.token_key.mech, &report));
	b->key_s = (double)(clock_monotonic_us() - begin) / 2e6;
	return KT_OK;
}

/* Workers start for the staging and again for the proof. */
static void forecast(const struct bench *b, const struct kt_bench *bench,
		     struct kt_forecast *ret)
{
	ret->jobs = bench->jobs;
	ret->seconds = 2 * (double)ret->rows / bench->rows_per_s +
		       2 * bench->start_s + (double)b->legs * b->key_s;
}

typedef enum kt_err each_bench(void *arg, const struct kt_bench *bench);

/* 1, as many as a rotation begins with, and twice that while it pays. */
static enum kt_err search(struct bench *b, const struct rotation_run *run,
			  each_bench *each, void *arg, struct kt_forecast *ret)
{
	struct kt_bench best = {0}, now;

	if (run->jobs > 1) {
		TRY(measure(b, 1, &now));
		TRY(each(arg, &now));
	}
	for (int jobs = run->jobs; jobs <= run->jobs_max; jobs *= 2) {
		TRY(measure(b, jobs, &now));
		TRY(each(arg, &now));
		if (now.rows_per_s < best.rows_per_s * WORTH_IT)
			break;
		best = now;
	}
	forecast(b, &best, ret);
	return KT_OK;
}

enum kt_err kt_token_bench(struct kt_vault *vault,
			   const struct kt_bench_options *options,
			   enum kt_err (*each)(void *arg,
					       const struct kt_bench *bench),
			   void *arg, struct kt_forecast *ret)
{
	struct kt_rotate_options pace = {.jobs = options->jobs,
					 .sessions = options->sessions};
	struct bench bench = {.vault = vault,
			      .us = 1000 * options->milliseconds};
	struct rotation_run run = {.vault = vault};
	struct kt_forecast now = {0};

	TRY(require_operator(vault));
	TRY(rotation_options(&pace, &run));
	if (options->milliseconds < 0)
		return err_raise(KT_ERR_USAGE, "negative time");
	bench.sessions = (unsigned)run.sessions;
	if (bench.us == 0)
		bench.us = 1000000;
	TRY(prepare(&bench, &now.rows));
	TRY(measure_key(&bench));
	TRY(search(&bench, &run, each, arg, &now));
	*ret = now;
	return KT_OK;
}
