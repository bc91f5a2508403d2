/*
 * What a long step shows: a bar on a terminal, otherwise a line when a step
 * begins or ends and one every ten seconds. While one is shown, the first
 * Ctrl-C (or SIGTERM) asks for a stop at the next batch edge and nothing
 * kills the process in between.
 *
 *	CLEANUP(progress_end) struct progress progress;
 *	progress_begin(&progress, cli);
 *	err = kt_rotation_start(..., &progress.port, &rotation);
 */
#ifndef CLI_PROGRESS_H
#define CLI_PROGRESS_H

#include "cli/cli.h"

#include <signal.h>

struct progress {
	struct kt_progress port; /* for the library */
	bool terminal, quiet, told;
	char step[64];
	int64_t done, total;    /* of the step */
	int64_t base;           /* done when the step began here */
	int64_t started, shown; /* clock_monotonic_ms() */
	struct sigaction old_int, old_term;
};

/* Takes over SIGINT and SIGTERM. One at a time. */
void progress_begin(struct progress *progress, const struct cli *cli);

/* Ends the line and gives the signals back. */
void progress_end(struct progress *progress);

/* The text of the bar, without control characters, as wide as columns
 * allows; now_ms as of clock_monotonic_ms(). */
void progress_line(const struct progress *progress, int64_t now_ms,
		   size_t columns, char *ret, size_t size);

#endif
