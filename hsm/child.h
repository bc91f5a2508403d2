/*
 * A worker as its parent sees it: a process started with posix_spawn, one
 * socket to it, the frame being sent and the frame being received. It is
 * reaped here, by its pid and never by another's.
 */
#ifndef HSM_CHILD_H
#define HSM_CHILD_H

#include <sys/types.h>

#include "hsm/worker.h"

struct child {
	pid_t pid; /* 0: not running */
	int fd;    /* nonblocking */
	struct wire out, in;
};

#define CHILD_INIT                                                             \
	(struct child)                                                         \
	{                                                                      \
		.fd = -1                                                       \
	}

/* How long a worker may take to log out. */
#define CHILD_GRACE_MS 2000

/* Starts the program at path, hands it PIN and hello, and waits until it has
 * logged in and found its keys. What the worker reports is returned as it is;
 * KT_ERR_TOKEN when it dies or does not answer, KT_ERR_CONFIG when there is no
 * such program. Nothing runs after an error. */
enum kt_err child_start(struct child *child, const char *path,
			const struct kt_secret *pin,
			const struct worker_hello *hello);

/* Sends what is in out and receives into in, as far as that goes without
 * waiting. *ret: a whole frame is in child->in, to be read and cleared.
 * KT_ERR_TOKEN when the worker closed its end or talks nonsense. */
enum kt_err child_transfer(struct child *child, bool *ret);

/* What poll() is to wait for. */
short child_events(const struct child *child);

/* Closes the socket only: several workers can end at the same time. */
void child_hang_up(struct child *child);

/* Closes the socket, which ends the worker when its batch is done; kills it
 * when it lives on at this time of clock_monotonic_ms(). Reaps it. */
void child_stop(struct child *child, int64_t deadline);

/* The same at once, for a worker that failed: KT_ERR_TOKEN with the detail of
 * the thread behind the worker's name and how it ended. */
enum kt_err child_lost(struct child *child);

void child_done(struct child *child);

#endif
