/*
 * A sweep over the rows of one leg: batches are read in the order of their
 * subjects, worked on by the token workers, and handed back in the same order
 * to be committed. Reading, work and committing overlap; memory is a few
 * batches whatever the number of rows.
 */
#ifndef CORE_SWEEP_H
#define CORE_SWEEP_H

#include "core/rotation.h"

/* A row that cannot go on: its MAC or its blob is wrong. */
struct sweep_fault {
	struct kt_id wrapping_key;
	struct kt_id subject;
	char reason[256];
};

/* One batch: rows that were worked on, and rows that were bad when read. */
struct sweep_batch {
	struct rewrap_batch rewrap;
	struct wrap_row *rows; /* as read; rewrap.items runs beside it */
	struct sweep_fault *faults;
	size_t fault_count;
	struct kt_id last; /* the subject the batch ends with */
	int64_t changes;   /* Q_CHANGES, before the batch was read */
};

struct sweep {
	struct rotation_run *run;
	struct rotation_leg *leg;
	const char *step;
	enum rewrap_op op;
	int64_t proven_in; /* REWRAP_TRY: one row in so many is proven, too,
			    * beginning with the first */
	enum store_query query; /* Q_WRAPS_MISSING, Q_WRAPS_TWINS, or with no
				 * second key Q_WRAPS_AFTER */
	struct kt_id after;     /* where to begin */
	int64_t done, total;
	/* Called in order, outside of a transaction. */
	enum kt_err (*commit)(struct sweep *sweep, struct sweep_batch *batch);
	void *arg; /* commit's */
};

/* What the workers need to find a key that wraps. */
enum kt_err sweep_rewrap_key(struct kt_vault *vault, const struct key_row *key,
			     struct rewrap_key *ret);

/* In commit(), for its transaction: whether nobody else has committed since the
 * batch was read, so that its rows are what they were. */
enum kt_err sweep_batch_stands(const struct sweep *sweep,
			       const struct sweep_batch *batch, bool *ret);

/* Rows of the next batch, after so many that took so long: about a second of
 * work, at most as many as were asked for. A fast token gets those; a slow one
 * does not let a lease or whoever asks to stop wait for minutes. */
int64_t sweep_batch_size(int64_t rows, int64_t took_us, int64_t most);

/* Runs to the end of the rows. KT_ERR_INTERRUPTED after committing what was
 * under way. */
enum kt_err sweep_run(struct sweep *sweep);

#endif
