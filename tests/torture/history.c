/*
 * Many processes write, read, import and delete a few secrets at full speed,
 * with and without access tokens, while the master key and the project keys are
 * rotated, rolled back, contracted and destroyed under them. Afterwards a
 * checker proves that every read gave the last committed value, or one that was
 * being committed, and that no revoked access token was served (I5, I12, I16).
 *
 *	history [--seconds S | --minutes M]
 *
 * The last line is the summary; the exit status is 1 when there was a finding.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "tests/torture/history_round.h"

#define ROUND_SECONDS 60 /* then a new vault */

static void gather(struct round *r)
{
	struct event e;
	char path[192];

	for (uint32_t i = 0; i < CREW; i++) {
		FILE *file;

		events_path(&r->place, i, path);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		while (fread(&e, sizeof(e), 1, file) == 1) {
			*round_add_event(&r->history) = e;
			r->totals->operations++;
		}
		fclose(file);
	}
}

static void say_finding(void *arg, const char *text)
{
	size_t *said = arg;

	if ((*said)++ < 20)
		printf("finding: %s\n", text);
}

static size_t say_complaints(const struct round *r)
{
	char path[192], line[2048];
	size_t count = 0;
	FILE *file;

	complaints_path(&r->place, path);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL)
		if (count++ < 20)
			printf("finding: %s", line);
	fclose(file);
	return count;
}

static void judge(struct round *r)
{
	struct history_tally *sum = &r->totals->tally;
	struct history_tally tally;
	size_t said = 0;

	gather(r);
	history_check(&r->history, say_finding, &said, &tally);
	sum->reads += tally.reads;
	sum->writes += tally.writes;
	sum->deletes += tally.deletes;
	sum->busy += tally.busy;
	sum->moved += tally.moved;
	sum->concurrent += tally.concurrent;
	sum->denied += tally.denied;
	sum->findings += tally.findings + say_complaints(r);
}

static void play(int64_t seconds, struct totals *totals)
{
	struct round r = {.totals = totals};
	int64_t began = history_now();

	round_play(&r, seconds);
	totals->seconds += (double)(history_now() - began) / 1e9;
	kt_vault_close(r.vault);
	judge(&r);
	free(r.history.events);
	softhsm_stop(&r.hsm);
}

/* What was not tried was not shown. */
static void demand(struct totals *t)
{
	const struct {
		size_t count;
		const char *what;
	} wanted[] = {
		{t->tally.concurrent, "read beside a write"},
		{t->tally.deletes, "deletion"},
		{t->tally.denied, "denied request"},
		{t->rollbacks, "rollback"},
		{t->revocations, "revocation"},
		{t->destroyed, "destroyed key"},
	};

	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		if (wanted[i].count > 0)
			continue;
		printf("finding: there was no %s\n", wanted[i].what);
		t->tally.findings++;
	}
}

static void summary(const struct totals *t)
{
	printf("%zu operations by %zu processes (%.0f/s): %zu writes, %zu "
	       "deletions, %zu reads, %zu of them beside a write, %zu denied, "
	       "%zu busy, %zu moved; %zu rotations, %zu resumed, %zu rolled "
	       "back, %zu "
	       "keys destroyed, %zu revocations; %zu findings\n",
	       t->operations, (size_t)CREW, (double)t->operations / t->seconds,
	       t->tally.writes, t->tally.deletes, t->tally.reads,
	       t->tally.concurrent, t->tally.denied, t->tally.busy,
	       t->tally.moved, t->rotations, t->resumed, t->rollbacks,
	       t->destroyed, t->revocations, t->tally.findings);
}

static int worker(char *const argv[])
{
	long long role, process, until;

	if (text_to_int(argv[0], 0, ROLE_MAX_ - 1, "role", &role) != KT_OK ||
	    text_to_int(argv[1], 0, CREW - 1, "process", &process) != KT_OK ||
	    text_to_int(argv[3], 0, INT64_MAX, "end", &until) != KT_OK)
		return 2;
	return history_worker((enum role)role, (uint32_t)process, argv[2],
			      until);
}

static bool parse(int argc, char *const argv[], int64_t *ret_seconds)
{
	long long number;

	*ret_seconds = 20;
	if (argc == 1)
		return true;
	if (argc != 3 ||
	    text_to_int(argv[2], 1, 100000, "time", &number) != KT_OK)
		return false;
	if (strcmp(argv[1], "--minutes") == 0)
		*ret_seconds = 60 * number;
	else if (strcmp(argv[1], "--seconds") == 0)
		*ret_seconds = number;
	else
		return false;
	return true;
}

int main(int argc, char *argv[])
{
	struct totals totals = {0};
	int64_t seconds, now;

	if (argc == 6 && strcmp(argv[1], "--worker") == 0)
		return worker(argv + 2);
	if (!parse(argc, argv, &seconds)) {
		fputs("usage: history [--seconds S | --minutes M]\n", stderr);
		return 2;
	}
	for (; seconds > 0; seconds -= now) {
		now = seconds < ROUND_SECONDS ? seconds : ROUND_SECONDS;
		play(now, &totals);
		fflush(stdout);
	}
	demand(&totals);
	summary(&totals);
	return totals.tally.findings > 0;
}
