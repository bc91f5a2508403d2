/*
 * Rewrapping in bulk: batches of blobs from one wrapping key to another, or
 * proofs that two blobs hold the same key. With jobs the work is done by
 * keyturn-worker processes, each with a login of its own and a session for each
 * of its jobs; without it is done in the caller's token. Batches come back in
 * the order they were submitted.
 *
 * Workers share a batch in pieces. One that dies or that reports token trouble
 * is replaced once per piece and the piece done again (rewrapping is
 * idempotent); workers are replaced every 20,000 keys, because modules leak.
 * Workers die with their parent.
 */
#ifndef HSM_REWRAP_H
#define HSM_REWRAP_H

#include "hsm/wrap.h"

/* A wrapping key as a worker finds it: on the token, or (project key) as a
 * blob under such a key. */
struct rewrap_key {
	struct wrap_key_spec token_key; /* the key, or its parent */
	bool temporary;                 /* instead: a session key of token_key's
					 * role that each worker makes for
					 * itself; for REWRAP_TRY only */
	bool wrapped;                   /* a project key: the members below */
	struct blob blob;
	enum kt_wrap_mech mech;
	struct blob canary;
};

enum rewrap_op {
	REWRAP_COPY,  /* in (under old) -> out (under new) */
	REWRAP_PROVE, /* in (under old) and out (under new) hold one key */
	REWRAP_TRY,   /* copied and forgotten, and proven where asked */
};

struct rewrap_item {
	struct kt_id subject; /* the caller's, not looked at */
	struct blob in, out;
	bool proven;      /* REWRAP_TRY: the copy is to be proven, too */
	enum kt_err err;  /* KT_OK or KT_ERR_INTEGRITY */
	char reason[128]; /* of err */
};

#define REWRAP_ITEMS_MAX 10000 /* in one batch */
#define REWRAP_JOBS_MAX 64

struct rewrap_batch {
	enum rewrap_op op;
	size_t count;
	struct rewrap_item *items;
	void *user; /* the caller's */

	/* Set by who hands it to a worker, and by the worker. */
	uint32_t sessions;     /* that may work on it at once */
	uint32_t sessions_had; /* fewer where the token has no more */
	uint32_t waits;        /* how often the token made the work wait */
};

struct rewrap_params {
	struct token *token; /* logged in: the PIN is proven */
	const struct token_params *token_params; /* for the workers' login */
	const char *worker;                      /* path of keyturn-worker */
	unsigned jobs;      /* calls at the token at once, to begin with; 0: in
			     * the caller's process */
	unsigned jobs_max;  /* more, where that pays; 0: no more */
	unsigned processes; /* that share the jobs; 0: one a core */
	unsigned sessions;  /* of a process, at most: for more jobs there are
			     * more processes; 0: as many as it takes */
	struct rewrap_key old_key, new_key;
};

struct rewrap;

enum kt_err rewrap_start(const struct rewrap_params *params,
			 struct rewrap **ret);

/* Batches that may be under way at once; at least 1. */
size_t rewrap_depth(const struct rewrap *rewrap);

/* Hands a batch over; it stays the caller's memory but must not be touched
 * until collected. At most rewrap_depth() may be under way. */
enum kt_err rewrap_submit(struct rewrap *rewrap, struct rewrap_batch *batch);

/* Waits for the oldest batch. An error (KT_ERR_TOKEN, KT_ERR_PIN ...) is about
 * the whole batch; errors of single blobs are in their items. */
enum kt_err rewrap_collect(struct rewrap *rewrap, struct rewrap_batch **ret);

/* Ends the workers; batches under way are forgotten; accepts NULL. */
void rewrap_stop(struct rewrap *rewrap);
DEFINE_CLEANUP(struct rewrap, rewrap_stop)

#endif
