/*
 * The queue of a worker and its clock.
 */
#include "hsm/rewrap_worker.h"

#include "base/clock.h"

/* Then it is replaced: modules leak. SoftHSM 240 bytes a key, so 5 MiB; a start
 * costs as much as 100 keys. */
#define KEYS_PER_WORKER 20000

/* A token this slow is taken for dead. One that serves the sessions of a
 * process one after the other has the time for it. */
#define BATCH_MS 60000
#define ITEM_MS 1000

bool worker_runs(const struct worker *w)
{
	return w->child.pid > 0;
}

/* One that died is not: the next one in its place begins anew. */
bool worker_spent(const struct worker *w)
{
	return worker_runs(w) && w->keys >= KEYS_PER_WORKER;
}

void worker_retire(struct worker *w)
{
	if (w->queued > 0 || !worker_runs(w))
		return;
	child_stop(&w->child, clock_monotonic_ms() + CHILD_GRACE_MS);
	w->keys = 0;
}

/* Keys that a worker unwraps for it. */
static size_t keys_in(const struct rewrap_batch *batch)
{
	size_t keys = batch->count;

	for (size_t i = 0; batch->op == REWRAP_TRY && i < batch->count; i++)
		keys += batch->items[i].proven;
	return keys;
}

static void clock_start(struct worker *w)
{
	if (w->queued == 0)
		return;
	w->begun_us = clock_monotonic_us();
	w->deadline = w->begun_us / 1000 + BATCH_MS +
		      (int64_t)w->queue[0]->part.count * ITEM_MS;
}

enum kt_err worker_give(struct worker *w, struct piece *piece)
{
	TRY(worker_put_batch(&w->child.out, piece->number, &piece->part));
	w->keys += keys_in(&piece->part);
	w->queue[w->queued++] = piece;
	if (w->queued == 1)
		clock_start(w);
	return KT_OK;
}

enum kt_err worker_answer(struct worker *w, enum kt_err *ret_told)
{
	struct wire *in = &w->child.in;
	struct piece *piece;

	if (w->queued == 0)
		return err_raise(KT_ERR_IO, "an answer without a question");
	piece = w->queue[0];
	if (wire_type(in) == WIRE_ERROR)
		return worker_get_error(in, piece->number, ret_told);
	*ret_told = KT_OK;
	return worker_get_result(in, piece->number, &piece->part);
}

void worker_next(struct worker *w)
{
	w->queue[0] = w->queue[1];
	w->queued--;
	clock_start(w);
}
