/*
 * The parent of the workers: hands pieces of batches out, takes answers in any
 * order and gives batches back in the order of submission. A piece is never
 * given up because a worker died, and never tried more than twice. A PIN that a
 * worker finds wrong ends everything: workers start one after the other, so
 * that it costs one try at the token however many workers there are.
 */
#include "hsm/rewrap.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"
#include "hsm/pace.h"
#include "hsm/rewrap_worker.h"

#define DEPTH 4 /* batches under way, however many workers */

struct rewrap {
	const struct kt_secret *pin;
	const char *program;
	struct worker_hello hello;
	struct work work; /* in the caller's process */
	struct worker *workers;
	size_t processes; /* there is room for */
	size_t wanted;    /* that there are at least */
	struct pace pace; /* so many are used, by so many sessions */
	struct pieces pieces;
	struct err_saved stop; /* its err is KT_OK while work goes on */
};

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

static void failed(struct rewrap *r, struct piece *piece, enum kt_err err)
{
	if (err == KT_ERR_PIN)
		stop_for(r, err);
	else
		piece_fail(&r->pieces, piece, err);
}

/* The piece in work has failed once more; the one behind it was not begun. */
static void worker_failed(struct rewrap *r, struct worker *w, enum kt_err err)
{
	struct piece *first = w->queued > 0 ? w->queue[0] : NULL;
	struct err_saved saved;

	err_save(err, &saved);
	for (size_t i = 1; i < w->queued; i++)
		piece_return(w->queue[i]);
	w->queued = 0;
	if (first != NULL)
		failed(r, first, err_restore(&saved));
}

static void worker_lost(struct rewrap *r, struct worker *w)
{
	worker_failed(r, w, child_lost(&w->child));
}

static enum kt_err worker_start(struct rewrap *r, struct worker *w)
{
	w->keys = 0;
	return child_start(&w->child, r->program, r->pin, &r->hello);
}

/* The worker with the least to do; NULL when all have enough. */
static struct worker *worker_choose(struct rewrap *r)
{
	struct worker *best = NULL;

	for (size_t i = 0; i < r->pace.processes; i++) {
		struct worker *w = &r->workers[i];

		if (worker_spent(w))
			worker_retire(w);
		if (w->queued == QUEUE_MAX || worker_spent(w))
			continue;
		if (best == NULL || w->queued < best->queued)
			best = w;
	}
	return best;
}

static size_t sessions_of(const struct rewrap *r, const struct worker *w)
{
	return pace_sessions(&r->pace, (size_t)(w - r->workers));
}

/* Work goes on without it: a token may have no more sessions. */
static bool is_extra(const struct rewrap *r, const struct worker *w)
{
	return (size_t)(w - r->workers) >= r->wanted &&
	       r->pace.processes > r->wanted;
}

static void give(struct rewrap *r, struct worker *w, struct piece *piece)
{
	enum kt_err err = worker_runs(w) ? KT_OK : worker_start(r, w);

	if (err != KT_OK && err != KT_ERR_PIN && is_extra(r, w)) {
		pace_refuse(&r->pace);
		piece_return(piece);
		return;
	}
	piece->part.sessions = (uint32_t)sessions_of(r, w);
	if (err == KT_OK)
		err = worker_give(w, piece);
	if (err != KT_OK)
		failed(r, piece, err);
}

static void retire_surplus(struct rewrap *r)
{
	for (size_t i = r->pace.processes; i < r->processes; i++)
		worker_retire(&r->workers[i]);
}

/* What a piece took says how to go on. It may have been given out before the
 * last change. */
static void note(struct rewrap *r, const struct worker *w)
{
	const struct rewrap_batch *part = &w->queue[0]->part;
	int64_t now = clock_monotonic_us();
	const struct pace_answer answer = {
		.rows = part->count,
		.sessions = part->sessions_had,
		.took_us = now - w->begun_us,
		.waits = part->waits,
		.now_us = now,
	};

	if (part->sessions_had < part->sessions &&
	    part->sessions_had < sessions_of(r, w))
		pace_refuse(&r->pace);
	pace_note(&r->pace, &answer);
}

/* One piece less. */
static void answered(struct rewrap *r, struct worker *w, enum kt_err told)
{
	struct piece *piece = w->queue[0];

	if (told == KT_OK)
		note(r, w);
	worker_next(w);
	if (told == KT_OK)
		piece_end(&r->pieces, piece, KT_OK);
	else
		failed(r, piece, told);
	retire_surplus(r);
}

static void answer(struct rewrap *r, struct worker *w)
{
	enum kt_err told = KT_OK;
	struct err_saved saved;

	if (worker_answer(w, &told) != KT_OK) {
		worker_lost(r, w);
		return;
	}
	wire_clear(&w->child.in);
	if (told != KT_ERR_TOKEN && told != KT_ERR_SESSION) {
		answered(r, w, told);
		return;
	}
	err_save(told, &saved);
	child_stop(&w->child, clock_monotonic_ms() + CHILD_GRACE_MS);
	worker_failed(r, w, err_restore(&saved));
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

/* Of the oldest batch, as a measure for all of them. */
static size_t piece_size(const struct rewrap *r, const struct worker *w)
{
	const struct entry *oldest = &r->pieces.entries[r->pieces.first];

	return pace_piece(&r->pace, (size_t)(w - r->workers),
			  oldest->batch->count);
}

/* Its owner is to hear of it before the batches behind it are tried: with a
 * token that is gone or busy each of them would wait as long. */
static bool oldest_failed(const struct rewrap *r)
{
	return r->pieces.entries[r->pieces.first].outcome.err != KT_OK;
}

static void dispatch(struct rewrap *r)
{
	struct piece *piece;
	struct worker *w;

	while (r->stop.err == KT_OK && r->pieces.count > 0 &&
	       !oldest_failed(r) && (w = worker_choose(r)) != NULL &&
	       (piece = pieces_next(&r->pieces, piece_size(r, w))) != NULL) {
		give(r, w, piece);
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
			w->queue[0]->part.count);
	worker_lost(r, w);
}

/* Waits until a worker has something to say or takes more. */
static enum kt_err wait_workers(struct rewrap *r)
{
	struct pollfd fds[REWRAP_JOBS_MAX];

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
	ret->last_try = token->pin->last_try;
	ret->old_key = params->old_key;
	ret->new_key = params->new_key;
	return KT_OK;
}

/* 0: nobody says. */
static void limit(size_t *most, size_t by)
{
	if (by > 0 && *most > by)
		*most = by;
}

/* A thread that judges a row must find a session to do it in. */
static size_t most_sessions(const struct rewrap_params *params)
{
	size_t each = work_sessions(&params->old_key, &params->new_key);
	size_t token = token_sessions_max(params->token) / each;
	size_t most = REWRAP_JOBS_MAX;

	limit(&most, params->sessions);
	limit(&most, params->token_params->max_sessions);
	limit(&most, token > 0 ? token : 1);
	return most;
}

static size_t cores(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count > 0 ? (size_t)count : 1;
}

static size_t most_jobs(const struct rewrap_params *params)
{
	return params->jobs_max > params->jobs ? params->jobs_max
					       : params->jobs;
}

static void set_pace(struct rewrap *r, const struct rewrap_params *params)
{
	const struct pace_limits limits = {
		.jobs = params->jobs,
		.jobs_max = most_jobs(params),
		.processes =
			params->processes > 0 ? params->processes : cores(),
		.sessions = most_sessions(params),
	};

	pace_init(&r->pace, &limits);
	r->hello.max_sessions = (uint32_t)limits.sessions;
	r->wanted = r->pace.processes;
}

static enum kt_err start_workers(struct rewrap *r,
				 const struct rewrap_params *params)
{
	size_t most;

	TRY(hello_fill(params, &r->hello));
	set_pace(r, params);
	most = pace_processes(&r->pace.limits, most_jobs(params));
	TRY(pieces_init(DEPTH, QUEUE_MAX * most, &r->pieces));
	r->pin = token_pin(params->token);
	r->program = params->worker;
	r->workers = calloc(most, sizeof(*r->workers));
	if (r->workers == NULL)
		return err_memory();
	r->processes = most;
	for (size_t i = 0; i < r->processes; i++)
		r->workers[i].child = CHILD_INIT;
	for (size_t i = 0; i < r->wanted; i++)
		TRY(worker_start(r, &r->workers[i]));
	return KT_OK;
}

static enum kt_err start_here(struct rewrap *r,
			      const struct rewrap_params *params)
{
	TRY(pieces_init(1, 1, &r->pieces));
	return work_open(params->token, &params->old_key, &params->new_key,
			 &r->work);
}

enum kt_err rewrap_start(const struct rewrap_params *params,
			 struct rewrap **ret)
{
	CLEANUP(rewrap_stopp) struct rewrap *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return err_memory();
	if (most_jobs(params) > REWRAP_JOBS_MAX)
		return err_raise(KT_ERR_USAGE, "more than %d jobs",
				 REWRAP_JOBS_MAX);
	TRY(params->jobs > 0 ? start_workers(r, params)
			     : start_here(r, params));
	*ret = TAKE(r);
	return KT_OK;
}

size_t rewrap_depth(const struct rewrap *rewrap)
{
	return rewrap->pieces.depth;
}

enum kt_err rewrap_submit(struct rewrap *rewrap, struct rewrap_batch *batch)
{
	if (rewrap->stop.err != KT_OK)
		return err_restore(&rewrap->stop);
	if (batch->count > REWRAP_ITEMS_MAX)
		return err_raise(KT_ERR_USAGE, "a batch of more than %d keys",
				 REWRAP_ITEMS_MAX);
	pieces_add(&rewrap->pieces, batch);
	for (size_t i = 0; i < rewrap->processes; i++)
		serve(rewrap, &rewrap->workers[i]);
	if (rewrap->processes > 0)
		dispatch(rewrap);
	return KT_OK;
}

/* The one batch there is, in one piece. */
static void work_here(struct rewrap *r)
{
	struct piece *piece = pieces_next(&r->pieces, REWRAP_ITEMS_MAX);
	enum kt_err err =
		piece == NULL ? KT_OK : work_batch(&r->work, &piece->part);

	if (err == KT_ERR_PIN)
		err_save(err, &r->stop);
	if (piece != NULL)
		piece_end(&r->pieces, piece, err);
}

/* KT_OK when the oldest batch is done, whatever came of it. */
static enum kt_err finish_oldest(struct rewrap *r)
{
	if (r->processes == 0 && r->stop.err == KT_OK)
		work_here(r);
	while (pieces_oldest(&r->pieces) == NULL && r->stop.err == KT_OK) {
		dispatch(r);
		if (pieces_oldest(&r->pieces) == NULL && r->stop.err == KT_OK)
			TRY(wait_workers(r));
	}
	return KT_OK;
}

enum kt_err rewrap_collect(struct rewrap *rewrap, struct rewrap_batch **ret)
{
	const struct entry *oldest;

	TRY(finish_oldest(rewrap));
	if (rewrap->stop.err != KT_OK)
		return err_restore(&rewrap->stop);
	oldest = pieces_oldest(&rewrap->pieces);
	pieces_drop_oldest(&rewrap->pieces);
	if (oldest->outcome.err != KT_OK)
		return err_restore(&oldest->outcome);
	*ret = oldest->batch;
	if (rewrap->processes > 0)
		dispatch(rewrap);
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
	pieces_done(&rewrap->pieces);
	free(rewrap->workers);
	free(rewrap);
}
