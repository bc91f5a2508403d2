/*
 * Inside of the history checker: the operations on one key, and their places in
 * the order of its versions.
 */
#ifndef TESTS_TORTURE_HISTORY_CHECK_H
#define TESTS_TORTURE_HISTORY_CHECK_H

#include "tests/torture/history.h"

/* The version of a deletion, behind all others of its secret. */
#define DELETION INT64_MAX

/* An operation and where it stands: a write at an even number, what saw it at
 * the odd one behind. */
struct placed {
	const struct event *event;
	int64_t life;    /* of the secret, which deletions end */
	int64_t version; /* in it */
	int64_t rank;    /* -1: still open */
	int64_t latest;  /* response of all up to here, by invocation */
	size_t incarnation;
};

/* All that happened to one version of a name, between two deletions. */
struct incarnation {
	struct kt_id secret;
	int64_t first_response, last_invocation, versions, life;
};

struct list {
	struct placed *at;
	size_t count;
};

struct check {
	const struct event *events; /* of one key or token */
	size_t count;
	struct list writes, reads;
	struct list lives; /* of which at[].event is a deletion */
	struct incarnation *incarnations;
	size_t incarnation_count;
	void (*finding)(void *arg, const char *text);
	void *arg;
	struct history_tally *tally;
};

/* A finding: what is wrong with a, beside b where b is not NULL. */
void check_report(struct check *c, const char *what, const struct event *a,
		  const struct event *b);

/* The write of this value; the writes are sorted by value. NULL: nobody's. */
struct placed *check_find_value(const struct list *writes, uint64_t value);

/* For qsort() and bsearch() over struct placed. */
int placed_by_value(const void *a, const void *b);
int placed_by_version(const void *a, const void *b);

/* Adds the deletions to the writes, sorts them into their order and ranks them.
 * Comes with writes and reads gathered, deletions by invocation. */
void check_order_writes(struct check *c);

#endif
