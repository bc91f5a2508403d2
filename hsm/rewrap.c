/*
 * The parent of the workers: hands batches out, takes answers in any order and
 * gives them back in the order of submission. A batch is never given up
 * because a worker died, and never tried more than twice. A PIN that a worker
 * finds wrong ends everything: workers start one after the other, so that it
 * costs one try at the token however many workers there are.
 */
#include "hsm/rewrap.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "hsm/child.h"

#define ITEMS_PER_WORKER 100000 /* then it is replaced: modules leak */
#define QUEUE_MAX 2             /* one in work, one on its way */

/* A token this slow is taken for dead. */
#define BATCH_MS 60000
#define ITEM_MS 1000

enum job_state { JOB_WAITING, JOB_GIVEN, JOB_DONE };

struct job {
	struct rewrap_batch *batch;
	uint64_t number;
	enum job_state state;
	bool again;               /* it failed once */
	struct err_saved outcome; /* of JOB_DONE */
};

struct worker {
	struct child child;
	struct job *queue[QUEUE_MAX]; /* the first is in work */
	size_t queued;
	size_t items; /* given to it since it was started */
	int64_t deadline;
};

struct rewrap {
	const struct kt_secret *pin;
	const char *program;
	struct worker_hello hello;
	struct work work; /* in the caller's process */
	struct worker *workers;
	size_t processes;
	struct job *jobs; /* a ring */
	size_t depth, first, count;
	uint64_t last_number;
	struct err_saved stop; /* its err is KT_OK while work goes on */
};

static struct job *job_at(const struct rewrap *r, size_t i)
{
	return &r->jobs[(r->first + i) % r->depth];
}

static void job_done(struct job *job, enum kt_err err)
{
	job->state = JOB_DONE;
	if (err == KT_OK)
		job->outcome.err = KT_OK;
	else
		err_save(err, &job->outcome);
}

/* All of them are told first, then waited for. */
static void end_workers(struct rewrap *r)
{
	int64_t deadline = clock_monotonic_ms() + CHILD_GRACE_MS;

	for (size_t i = 0; i < r->processes; i++)
		child_hang_up(&r->workers[i].child);
	for (size_t i = 0; i < r->processes; i++) {
		child_stop(&r->workers[i].child, deadline);
		r->workers[i].queued = 0;
	}
}

/* For good. No worker may go on, for the batches go back to their owner. */
static void stop_for(struct rewrap *r, enum kt_err err)
{
	err_save(err, &r->stop);
	end_workers(r);
}

/* A second try may help against a sick worker or token, nothing else. */
static void job_failed(struct rewrap *r, struct job *job, enum kt_err err)
{
	if (err == KT_ERR_PIN) {
		stop_for(r, err);
		return;
	}
	if ((err == KT_ERR_TOKEN || err == KT_ERR_SESSION) && !job->again) {
		job->again = true;
		job->state = JOB_WAITING;
		return;
	}
	job_done(job, err);
}

static void clock_start(struct worker *w)
{
	if (w->queued > 0)
		w->deadline = clock_monotonic_ms() + BATCH_MS +
			      (int64_t)w->queue[0]->batch->count * ITEM_MS;
}

/* The batch in work has failed once more; the one behind it was not begun. */
static void worker_failed(struct rewrap *r, struct worker *w, enum kt_err err)
{
	struct job *failed = w->queued > 0 ? w->queue[0] : NULL;

	for (size_t i = 1; i < w->queued; i++)
		w->queue[i]->state = JOB_WAITING;
	w->queued = 0;
	if (failed != NULL)
		job_failed(r, failed, err);
}

static void worker_lost(struct rewrap *r, struct worker *w)
{
	worker_failed(r, w, child_lost(&w->child));
}

static bool worker_runs(const struct worker *w)
{
	return w->child.pid > 0;
}

static bool worker_spent(const struct worker *w)
{
	return w->items >= ITEMS_PER_WORKER;
}

static enum kt_err worker_start(struct rewrap *r, struct worker *w)
{
	w->items = 0;
	return child_start(&w->child, r->program, r->pin, &r->hello);
}

static void worker_retire(struct worker *w)
{
	if (w->queued > 0 || !worker_spent(w))
		return;
	child_stop(&w->child, clock_monotonic_ms() + CHILD_GRACE_MS);
	w->items = 0;
}

/* The worker with the least to do; NULL when all have enough. */
static struct worker *worker_choose(struct rewrap *r)
{
	struct worker *best = NULL;

	for (size_t i = 0; i < r->processes; i++) {
		struct worker *w = &r->workers[i];

		worker_retire(w);
		if (w->queued == QUEUE_MAX || worker_spent(w))
			continue;
		if (best == NULL || w->queued < best->queued)
			best = w;
	}
	return best;
}

static struct job *job_choose(const struct rewrap *r)
{
	for (size_t i = 0; i < r->count && r->stop.err == KT_OK; i++) {
		if (job_at(r, i)->state == JOB_WAITING)
			return job_at(r, i);
	}
	return NULL;
}

static void give(struct rewrap *r, struct worker *w, struct job *job)
{
	enum kt_err err = worker_runs(w) ? KT_OK : worker_start(r, w);

	if (err == KT_OK)
		err = worker_put_batch(&w->child.out, job->number, job->batch);
	if (err != KT_OK) {
		job_failed(r, job, err);
		return;
	}
	job->state = JOB_GIVEN;
	w->items += job->batch->count;
	w->queue[w->queued++] = job;
	if (w->queued == 1)
		clock_start(w);
}

/* What the worker said of its batch; an error says that this is nothing that
 * could be understood. */
static enum kt_err answer_read(struct worker *w, enum kt_err *ret_told)
{
	struct wire *in = &w->child.in;
	struct job *job;

	if (w->queued == 0)
		return err_raise(KT_ERR_IO, "an answer without a question");
	job = w->queue[0];
	if (wire_type(in) == WIRE_ERROR)
		return worker_get_error(in, job->number, ret_told);
	*ret_told = KT_OK;
	return worker_get_result(in, job->number, job->batch);
}

static void answer(struct rewrap *r, struct worker *w)
{
	enum kt_err told = KT_OK;
	struct job *job;

	if (answer_read(w, &told) != KT_OK) {
		worker_lost(r, w);
		return;
	}
	wire_clear(&w->child.in);
	if (told == KT_ERR_TOKEN || told == KT_ERR_SESSION) {
		struct err_saved saved;

		err_save(told, &saved);
		child_stop(&w->child, clock_monotonic_ms() + CHILD_GRACE_MS);
		worker_failed(r, w, err_restore(&saved));
		return;
	}
	job = w->queue[0];
	w->queue[0] = w->queue[1];
	w->queued--;
	clock_start(w);
	if (told == KT_OK)
		job_done(job, KT_OK);
	else
		job_failed(r, job, told);
}

/* Sends and receives what goes without waiting. */
static void serve(struct rewrap *r, struct worker *w)
{
	bool whole = true;

	while (whole && worker_runs(w)) {
		if (child_transfer(&w->child, &whole) != KT_OK)
			worker_lost(r, w);
		else if (whole)
			answer(r, w);
	}
}

static void dispatch(struct rewrap *r)
{
	struct job *job;
	struct worker *w;

	while ((job = job_choose(r)) != NULL &&
	       (w = worker_choose(r)) != NULL) {
		give(r, w, job);
		serve(r, w);
	}
}

/* Milliseconds to the first deadline of a worker that has work. */
static int patience(const struct rewrap *r)
{
	int64_t now = clock_monotonic_ms();
	int64_t least = INT_MAX;

	for (size_t i = 0; i < r->processes; i++) {
		const struct worker *w = &r->workers[i];

		if (w->queued > 0 && w->deadline - now < least)
			least = w->deadline > now ? w->deadline - now : 0;
	}
	return (int)least;
}

static void check_deadline(struct rewrap *r, struct worker *w)
{
	if (!worker_runs(w) || w->queued == 0 ||
	    clock_monotonic_ms() < w->deadline)
		return;
	(void)err_raise(KT_ERR_TOKEN, "no answer to a batch of %zu keys",
			w->queue[0]->batch->count);
	worker_lost(r, w);
}

/* Waits until a worker has something to say or takes more. */
static enum kt_err wait_workers(struct rewrap *r)
{
	struct pollfd fds[REWRAP_PROCESSES_MAX];

	for (size_t i = 0; i < r->processes; i++) {
		const struct child *child = &r->workers[i].child;

		fds[i] = (struct pollfd){child->fd, child_events(child), 0};
	}
	if (poll(fds, r->processes, patience(r)) < 0 && errno != EINTR)
		return err_errno("poll");
	for (size_t i = 0; i < r->processes; i++) {
		serve(r, &r->workers[i]);
		check_deadline(r, &r->workers[i]);
	}
	return KT_OK;
}

static enum kt_err hello_fill(const struct rewrap_params *params,
			      struct worker_hello *ret)
{
	const struct token_params *token = params->token_params;
	const char *module = token->module != NULL ? token->module : "";

	TRY(token_uri(params->token, ret->uri, sizeof(ret->uri)));
	TRY(text_copy(ret->module, sizeof(ret->module), module, "module"));
	TRY(text_copy(ret->runtime_dir, sizeof(ret->runtime_dir),
		      token->runtime_dir, "runtime directory"));
	ret->max_sessions = (uint32_t)token->max_sessions;
	ret->last_try = token->pin->last_try;
	ret->old_key = params->old_key;
	ret->new_key = params->new_key;
	return KT_OK;
}

static enum kt_err start_workers(struct rewrap *r,
				 const struct rewrap_params *params)
{
	TRY(hello_fill(params, &r->hello));
	r->pin = token_pin(params->token);
	r->program = params->worker;
	r->workers = calloc(params->processes, sizeof(*r->workers));
	if (r->workers == NULL)
		return err_memory();
	r->processes = params->processes;
	for (size_t i = 0; i < r->processes; i++)
		r->workers[i].child = CHILD_INIT;
	for (size_t i = 0; i < r->processes; i++)
		TRY(worker_start(r, &r->workers[i]));
	return KT_OK;
}

enum kt_err rewrap_start(const struct rewrap_params *params,
			 struct rewrap **ret)
{
	CLEANUP(rewrap_stopp) struct rewrap *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return err_memory();
	if (params->processes > REWRAP_PROCESSES_MAX)
		return err_raise(KT_ERR_USAGE, "more than %d workers",
				 REWRAP_PROCESSES_MAX);
	r->depth = params->processes > 0 ? QUEUE_MAX * params->processes : 1;
	r->jobs = calloc(r->depth, sizeof(*r->jobs));
	if (r->jobs == NULL)
		return err_memory();
	if (params->processes > 0)
		TRY(start_workers(r, params));
	else
		TRY(work_open(params->token, &params->old_key, &params->new_key,
			      &r->work));
	*ret = TAKE(r);
	return KT_OK;
}

size_t rewrap_depth(const struct rewrap *rewrap)
{
	return rewrap->depth;
}

enum kt_err rewrap_submit(struct rewrap *rewrap, struct rewrap_batch *batch)
{
	struct job *job;

	assert(rewrap->count < rewrap->depth);
	if (rewrap->stop.err != KT_OK)
		return err_restore(&rewrap->stop);
	if (batch->count > REWRAP_ITEMS_MAX)
		return err_raise(KT_ERR_USAGE, "a batch of more than %d keys",
				 REWRAP_ITEMS_MAX);
	job = job_at(rewrap, rewrap->count++);
	*job = (struct job){.batch = batch, .number = ++rewrap->last_number};
	for (size_t i = 0; i < rewrap->processes; i++)
		serve(rewrap, &rewrap->workers[i]);
	dispatch(rewrap);
	return KT_OK;
}

static void work_here(struct rewrap *r, struct job *job)
{
	enum kt_err err = work_batch(&r->work, job->batch);

	job_done(job, err);
	if (err == KT_ERR_PIN)
		r->stop = job->outcome;
}

/* KT_OK when the oldest job is done, whatever came of it. */
static enum kt_err finish_oldest(struct rewrap *r)
{
	struct job *job = job_at(r, 0);

	if (r->processes == 0 && r->stop.err == KT_OK)
		work_here(r, job);
	dispatch(r);
	while (job->state != JOB_DONE && r->stop.err == KT_OK) {
		TRY(wait_workers(r));
		dispatch(r);
	}
	return KT_OK;
}

enum kt_err rewrap_collect(struct rewrap *rewrap, struct rewrap_batch **ret)
{
	struct job *job = job_at(rewrap, 0);

	assert(rewrap->count > 0);
	TRY(finish_oldest(rewrap));
	rewrap->first = (rewrap->first + 1) % rewrap->depth;
	rewrap->count--;
	if (rewrap->stop.err != KT_OK)
		return err_restore(&rewrap->stop);
	if (job->outcome.err != KT_OK)
		return err_restore(&job->outcome);
	*ret = job->batch;
	return KT_OK;
}

void rewrap_stop(struct rewrap *rewrap)
{
	if (rewrap == NULL)
		return;
	end_workers(rewrap);
	for (size_t i = 0; i < rewrap->processes; i++)
		child_done(&rewrap->workers[i].child);
	work_done(&rewrap->work);
	free(rewrap->workers);
	free(rewrap->jobs);
	free(rewrap);
}
