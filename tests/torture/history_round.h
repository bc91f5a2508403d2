/*
 * A round of a history: a new vault, processes that use it, and the rotations
 * that the parent drives meanwhile.
 */
#ifndef TESTS_TORTURE_HISTORY_ROUND_H
#define TESTS_TORTURE_HISTORY_ROUND_H

#include "tests/torture/history_place.h"
#include "tests/unit/softhsm.h"

#define CREW 10 /* processes beside the parent */
#define PARENT CREW

/* Over all rounds. */
struct totals {
	struct history_tally tally;
	size_t operations, rotations, resumed, rollbacks, revocations,
		destroyed;
	double seconds;
};

struct round {
	struct softhsm hsm;
	struct place place;
	struct kt_vault *vault;
	int64_t until;
	pid_t worker[CREW];
	struct history history; /* of the parent; then of all */
	uint32_t token[2];      /* the newest of each project */
	int64_t cut_over[2];    /* between these the tokens were revoked */
	struct totals *totals;
};

/* Plays it; what must not happen is among the complaints. Close r->vault and
 * stop r->hsm afterwards. */
void round_play(struct round *r, int64_t seconds);

struct event *round_add_event(struct history *history);

#endif
