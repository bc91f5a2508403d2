/*
 * How many workers, and how much each at a time: found out by the work itself.
 * Where the token makes its callers wait, as one behind a network does, the
 * number of workers is doubled as long as that gives a quarter more rows a
 * second; the last doubling that did not is taken back, and that is that.
 * Where the processor is what the work takes, there is nothing to gain. Pure:
 * reads no clock.
 */
#ifndef HSM_PACE_H
#define HSM_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
	size_t workers, max;
	bool settled;
	double best; /* rows a second by half as many workers; 0: unknown */
	double row_us;

	/* What is being measured: since the number of workers changed. */
	size_t warming; /* answers that do not count yet */
	size_t answers, rows, waits;
	int64_t since_us;
};

/* By workers until max is worth it; the same for both: no search. */
void pace_init(struct pace *pace, size_t workers, size_t max);

/* An answer at now_us: so many rows, worked on for took_us by a worker that
 * waited so often. Returns true when pace->workers has changed. */
bool pace_note(struct pace *pace, size_t rows, int64_t took_us, size_t waits,
	       int64_t now_us);

/* One of the workers that were added cannot be had: back to as many as there
 * were, for good. */
void pace_refuse(struct pace *pace);

/* Rows to give out at a time, of a batch of so many. */
size_t pace_piece(const struct pace *pace, size_t batch);

#endif
