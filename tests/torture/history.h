/*
 * What many processes did to the secrets of one vault, and whether one
 * after the other could have done it. Each process writes what it did into a
 * file of its own; the checker reads them all.
 *
 * A key is a register. Values are unique, so each read names the write it saw;
 * versions put the writes of a secret in order. A history is good
 * (linearizable) when no operation that ended before another began stands
 * behind it in that order.
 */
#ifndef TESTS_TORTURE_HISTORY_H
#define TESTS_TORTURE_HISTORY_H

#include <keyturn/keyturn.h>

enum event_kind {
	EVENT_READ,
	EVENT_WRITE,
	EVENT_DELETE,
	EVENT_VERSION, /* at the end: this version has this value */
	EVENT_REVOKE,  /* of an access token */
};

struct event {
	enum event_kind kind;
	enum kt_err result; /* KT_ERR_NOT_FOUND and KT_ERR_DENIED tell too */
	uint32_t process;
	uint32_t key;        /* small numbers from 0 */
	uint32_t token;      /* the access token, 0: an operator */
	uint64_t value;      /* written or read; unique, not 0 */
	int64_t version;     /* of what was written; 0: not known */
	struct kt_id secret; /* what was written is a version of this one */
	int64_t invoked, responded; /* ns, CLOCK_MONOTONIC */
};

struct history {
	struct event *events;
	size_t count;
};

struct history_tally {
	size_t reads, writes, deletes;
	size_t busy, moved; /* refused for it, and not done */
	size_t concurrent;  /* reads while a write of the same key went on */
	size_t denied;
	size_t findings;
};

/* Says each finding. A deleted secret's versions count from 1 again: the keys
 * that are deleted are so by one process each. Others tell the order of their
 * writes by EVENT_VERSION. Sorts the events. */
void history_check(struct history *history,
		   void (*finding)(void *arg, const char *text), void *arg,
		   struct history_tally *ret);

int64_t history_now(void);

#endif
