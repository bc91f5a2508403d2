/*
 * A worker as its parent knows it: its process, the pieces that it holds, and
 * until when it must have answered. What is done with an answer, or without
 * one, is the parent's.
 */
#ifndef HSM_REWRAP_WORKER_H
#define HSM_REWRAP_WORKER_H

#include "hsm/child.h"
#include "hsm/pieces.h"

#define QUEUE_MAX 2 /* one in work, one on its way */

struct worker {
	struct child child;
	struct piece *queue[QUEUE_MAX]; /* the first is in work */
	size_t queued;
	size_t keys;      /* unwrapped since it was started */
	int64_t begun_us; /* the first of the queue */
	int64_t deadline; /* of clock_monotonic_ms(), for it */
};

bool worker_runs(const struct worker *w);

/* Its module has leaked enough: it gets no more pieces. */
bool worker_spent(const struct worker *w);

/* Ends one that holds nothing, as it is spent or one too many. */
void worker_retire(struct worker *w);

/* Puts a piece into its queue and its socket. An error: it has not got it. */
enum kt_err worker_give(struct worker *w, struct piece *piece);

/* What it said of the first piece, which stays in the queue; an error says that
 * this is nothing that could be understood. */
enum kt_err worker_answer(struct worker *w, enum kt_err *ret_told);

/* The first piece is its no more. */
void worker_next(struct worker *w);

#endif
