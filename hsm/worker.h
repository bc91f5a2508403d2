/*
 * What keyturn and its workers say to each other, and the work itself, which
 * is the same code in a worker and in the caller's process.
 *
 * The parent sends WIRE_PIN and WIRE_HELLO; the worker logs in and answers
 * WIRE_READY. Then each WIRE_BATCH is answered by a WIRE_RESULT with its
 * number. WIRE_ERROR in place of either is an error of the whole.
 */
#ifndef HSM_WORKER_H
#define HSM_WORKER_H

#include <limits.h>

#include "hsm/rewrap.h"
#include "hsm/wire.h"

#define WORKER_URI_MAX 1024

/* How a worker comes to the token and to the two keys. max_sessions: a batch
 * has no more, and is not refused where it does. */
struct worker_hello {
	char uri[WORKER_URI_MAX];
	char module[PATH_MAX]; /* "": the URI's */
	char runtime_dir[PATH_MAX];
	uint32_t max_sessions;
	bool last_try;
	struct rewrap_key old_key, new_key;
};

enum kt_err worker_put_hello(struct wire *wire,
			     const struct worker_hello *hello);
enum kt_err worker_get_hello(struct wire *wire, struct worker_hello *ret);

/* An operation's inputs only. */
enum kt_err worker_put_batch(struct wire *wire, uint64_t number,
			     const struct rewrap_batch *batch);

/* The caller frees ret->items. */
enum kt_err worker_get_batch(struct wire *wire, uint64_t *ret_number,
			     struct rewrap_batch *ret);

/* An operation's outputs only. */
enum kt_err worker_put_result(struct wire *wire, uint64_t number,
			      const struct rewrap_batch *batch);

/* Into the batch that was sent under this number. After an error its items
 * are not to be used. */
enum kt_err worker_get_result(struct wire *wire, uint64_t number,
			      struct rewrap_batch *batch);

/* err with the thread's detail and hint. */
enum kt_err worker_put_error(struct wire *wire, uint64_t number,
			     enum kt_err err);

/* *ret is never KT_OK; its detail and hint become the thread's. */
enum kt_err worker_get_error(struct wire *wire, uint64_t number,
			     enum kt_err *ret);

/* The two keys of a rewrap, ready on a token: for one thread. */
struct work {
	struct wrap_key *old_parent, *old_key;
	struct wrap_key *new_parent, *new_key;
	bool trial; /* new_key is temporary: it can be tried, nothing else */
};

/* The token stays borrowed. */
enum kt_err work_open(struct token *token, const struct rewrap_key *old_key,
		      const struct rewrap_key *new_key, struct work *ret);

void work_done(struct work *work);

/* Sessions of the token that one thread with these keys has open at once, at
 * most: one to work in, one to judge a failure, and those its keys live in. */
size_t work_sessions(const struct rewrap_key *old_key,
		     const struct rewrap_key *new_key);

/* KT_ERR_USAGE for anything but a trial with a temporary key: what is copied
 * to it would be lost. */
enum kt_err work_allows(const struct work *work, enum rewrap_op op);

/* One item of an operation that is allowed. KT_OK with what came of it in the
 * item; anything but KT_ERR_INTEGRITY is not the item's own. */
enum kt_err work_item(const struct work *work, enum rewrap_op op,
		      struct rewrap_item *item);

/* Does every item, one after the other; an error that is not an item's own ends
 * the batch. */
enum kt_err work_batch(const struct work *work,
		       const struct rewrap_batch *batch);

#endif
