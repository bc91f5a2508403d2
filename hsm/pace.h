/*
 * How many calls at the token at once, by how many workers, and how much each
 * at a time: found out by the work itself. A job is a thread of a worker with
 * a session of its own; workers share the jobs evenly. Where the token makes
 * its callers wait, as one behind a network does, the jobs are doubled as long
 * as that gives a quarter more rows a second; a doubling that did not, twice,
 * is taken back, and that is that. Where the processor is what the work takes,
 * there is nothing to gain. Pure: reads no clock.
 */
#ifndef HSM_PACE_H
#define HSM_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pace_limits {
	size_t jobs, jobs_max; /* to begin with; the same: no search */
	size_t processes;      /* that share them, and more where it takes
				* more because of: */
	size_t sessions;       /* of a process, at most */
};

struct pace {
	struct pace_limits limits;
	size_t jobs;
	size_t processes; /* that have them */
	bool settled;
	bool doubted;  /* the last doubling: measured once, not worth it */
	double best;   /* rows a second by half as many jobs; 0: unknown */
	double row_us; /* of a row in one session */

	/* What is being measured: since the number of jobs changed. */
	size_t warming; /* answers that do not count yet */
	size_t answers, rows, waits;
	int64_t since_us;
};

void pace_init(struct pace *pace, const struct pace_limits *limits);

/* For so many jobs. */
size_t pace_processes(const struct pace_limits *limits, size_t jobs);

/* Of one of the processes, counted from 0. */
size_t pace_sessions(const struct pace *pace, size_t process);

/* What a worker did with a piece. */
struct pace_answer {
	size_t rows, sessions;
	int64_t took_us;
	size_t waits; /* of all sessions */
	int64_t now_us;
};

/* Returns true when the number of jobs has changed. */
bool pace_note(struct pace *pace, const struct pace_answer *answer);

/* One of the jobs that were added cannot be had: back to as many as there
 * were, for good. */
void pace_refuse(struct pace *pace);

/* Rows to give a process at a time, of a batch of so many. */
size_t pace_piece(const struct pace *pace, size_t process, size_t batch);

#endif
