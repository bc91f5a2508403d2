/*
 * The register check: every write, and every deletion, gets its place in the
 * order of the versions; a read stands right behind the write it saw. What
 * ended before something else began must not stand behind it. That is all
 * there is to linearizability once the order of the writes is known.
 */
#include "tests/torture/history_check.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *room_for(size_t count, size_t size)
{
	void *room = calloc(count > 0 ? count : 1, size);

	if (room == NULL)
		abort();
	return room;
}

static const char *kind_name(enum event_kind kind)
{
	switch (kind) {
	case EVENT_READ:
		return "read";
	case EVENT_WRITE:
		return "write";
	case EVENT_DELETE:
		return "deletion";
	case EVENT_VERSION:
		return "version";
	case EVENT_REVOKE:
		return "revocation";
	}
	return "?";
}

static void describe(const struct event *e, char *ret, size_t size)
{
	snprintf(ret, size,
		 "%s of %llx (%s, version %lld) by process %u, %lld to %lld",
		 kind_name(e->kind), (unsigned long long)e->value,
		 kt_err_name(e->result), (long long)e->version, e->process,
		 (long long)e->invoked, (long long)e->responded);
}

void check_report(struct check *c, const char *what, const struct event *a,
		  const struct event *b)
{
	char text[640], first[256], second[256] = "";

	describe(a, first, sizeof(first));
	if (b != NULL)
		describe(b, second, sizeof(second));
	snprintf(text, sizeof(text), "%s %u: %s: %s%s%s",
		 a->token != 0 ? "token" : "key",
		 a->token != 0 ? a->token : a->key, what, first,
		 b != NULL ? "; " : "", second);
	c->tally->findings++;
	c->finding(c->arg, text);
}

static int compare(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

static int by_invocation(const void *a, const void *b)
{
	const struct placed *left = a;
	const struct placed *right = b;

	return compare(left->event->invoked, right->event->invoked);
}

static int by_response(const void *a, const void *b)
{
	const struct placed *const *left = a;
	const struct placed *const *right = b;

	return compare((*left)->event->responded, (*right)->event->responded);
}

int placed_by_value(const void *a, const void *b)
{
	uint64_t left = ((const struct placed *)a)->event->value;
	uint64_t right = ((const struct placed *)b)->event->value;

	return (left > right) - (left < right);
}

int placed_by_version(const void *a, const void *b)
{
	const struct placed *left = a;
	const struct placed *right = b;
	int order = compare(left->life, right->life);

	return order != 0 ? order : compare(left->version, right->version);
}

static void list_add(struct list *list, const struct event *event)
{
	list->at[list->count++] = (struct placed){
		.event = event, .version = event->version, .rank = -1};
}

struct placed *check_find_value(const struct list *writes, uint64_t value)
{
	const struct event event = {.value = value};
	const struct placed wanted = {.event = &event};

	return bsearch(&wanted, writes->at, writes->count, sizeof(wanted),
		       placed_by_value);
}

/* --- real time --------------------------------------------------------------
 */

/* The first place from rank on where nothing is: behind a deletion, or before
 * the first write. */
static int64_t absent_rank(const struct list *writes, int64_t from)
{
	if (from <= 1)
		return 1;
	for (int64_t i = (from - 1) / 2; i <= (int64_t)writes->count; i++)
		if (i > 0 && writes->at[i - 1].version == DELETION &&
		    2 * i + 1 >= from)
			return 2 * i + 1;
	return -1;
}

static bool only_looked(const struct event *e)
{
	return e->kind == EVENT_READ || e->result == KT_ERR_NOT_FOUND;
}

static const char *disorder(const struct event *before,
			    const struct event *after)
{
	if (!only_looked(after))
		return only_looked(before)
			       ? "was read before it was written"
			       : "a later write has the earlier version";
	return only_looked(before) ? "a read went back" : "a stale read";
}

/* writes is where an absent one can stand; NULL: every rank is known. */
static void sweep(struct check *c, struct placed *all, size_t count,
		  const struct list *writes)
{
	struct placed **ended = room_for(count, sizeof(*ended));
	const struct placed *highest = NULL;
	size_t done = 0;

	qsort(all, count, sizeof(*all), by_invocation);
	for (size_t i = 0; i < count; i++)
		ended[i] = &all[i];
	qsort(ended, count, sizeof(*ended), by_response);
	for (size_t i = 0; i < count; i++) {
		struct placed *p = &all[i];

		for (; done < count &&
		       ended[done]->event->responded < p->event->invoked;
		     done++)
			if (highest == NULL ||
			    ended[done]->rank > highest->rank)
				highest = ended[done];
		if (p->rank < 0 && writes != NULL)
			p->rank = absent_rank(
				writes, highest != NULL ? highest->rank : 0);
		if (highest != NULL && p->rank < highest->rank)
			check_report(c, disorder(highest->event, p->event),
				     highest->event, p->event);
	}
	free(ended);
}

static void rank_reads(struct check *c)
{
	for (size_t i = 0; i < c->reads.count; i++) {
		struct placed *read = &c->reads.at[i];
		struct placed *write;

		if (read->event->result != KT_OK)
			continue; /* absent: placed by the sweep */
		write = check_find_value(&c->writes, read->event->value);
		if (write == NULL) {
			check_report(c, "a read of what nobody wrote",
				     read->event, NULL);
			*read = c->reads.at[--c->reads.count];
			i--;
			continue;
		}
		read->rank = write->rank + 1;
	}
}

static void count_concurrent(struct check *c)
{
	struct list *writes = &c->writes;
	int64_t latest = INT64_MIN;

	qsort(writes->at, writes->count, sizeof(*writes->at), by_invocation);
	for (size_t i = 0; i < writes->count; i++) {
		if (writes->at[i].event->responded > latest)
			latest = writes->at[i].event->responded;
		writes->at[i].latest = latest;
	}
	for (size_t i = 0; i < c->reads.count; i++) {
		const struct event *read = c->reads.at[i].event;
		size_t low = 0, high = writes->count;

		while (low < high) { /* writes that began before it ended */
			size_t middle = (low + high) / 2;

			if (writes->at[middle].event->invoked < read->responded)
				low = middle + 1;
			else
				high = middle;
		}
		c->tally->concurrent +=
			low > 0 && writes->at[low - 1].latest > read->invoked;
	}
}

/* --- one key, one token ------------------------------------------------------
 */

/* A write that was refused did not happen: a read that saw it finds no writer.
 * A deletion of nothing is a read. */
static void sort_out(struct check *c)
{
	for (size_t i = 0; i < c->count; i++) {
		const struct event *e = &c->events[i];
		bool absent = e->result == KT_ERR_NOT_FOUND;

		if (e->kind == EVENT_VERSION || e->kind == EVENT_REVOKE)
			continue;
		if (e->result == KT_ERR_DENIED)
			c->tally->denied++;
		else if (e->result == KT_ERR_BUSY)
			c->tally->busy++;
		else if (e->result != KT_OK && !absent)
			c->tally->moved++;
		else if (e->kind == EVENT_READ || absent)
			list_add(&c->reads, e);
		else
			list_add(e->kind == EVENT_WRITE ? &c->writes
							: &c->lives,
				 e);
	}
	c->tally->reads += c->reads.count;
	c->tally->writes += c->writes.count;
	c->tally->deletes += c->lives.count;
}

/* By value for the reads, by version for the ranks, by value again. */
static void check_order(struct check *c)
{
	struct placed *all;

	check_order_writes(c);
	all = room_for(c->writes.count + c->reads.count, sizeof(*all));
	memcpy(all, c->writes.at, c->writes.count * sizeof(*all));
	qsort(c->writes.at, c->writes.count, sizeof(*all), placed_by_value);
	rank_reads(c);
	memcpy(all + c->writes.count, c->reads.at,
	       c->reads.count * sizeof(*all));
	qsort(c->writes.at, c->writes.count, sizeof(*all), placed_by_version);
	sweep(c, all, c->writes.count + c->reads.count, &c->writes);
	free(all);
	count_concurrent(c);
}

static void check_key(struct check *c)
{
	c->writes.at = room_for(c->count, sizeof(struct placed));
	c->reads.at = room_for(c->count, sizeof(struct placed));
	c->lives.at = room_for(c->count, sizeof(struct placed));
	c->incarnations = room_for(c->count, sizeof(struct incarnation));
	sort_out(c);
	qsort(c->lives.at, c->lives.count, sizeof(struct placed),
	      by_invocation);
	check_order(c);
	free(c->writes.at);
	free(c->reads.at);
	free(c->lives.at);
	free(c->incarnations);
}

/* A token is a register, too: served, revoked, denied. */
static void check_token(struct check *c)
{
	struct placed *all = room_for(c->count, sizeof(*all));
	bool revoked = false;

	for (size_t i = 0; i < c->count; i++) {
		const struct event *e = &c->events[i];

		all[i] = (struct placed){.event = e};
		if (e->kind == EVENT_REVOKE)
			all[i].rank = 1;
		else if (e->result == KT_ERR_DENIED)
			all[i].rank = 2;
		revoked = revoked || e->kind == EVENT_REVOKE;
	}
	for (size_t i = 0; i < c->count && !revoked; i++)
		if (all[i].rank == 2)
			check_report(c, "denied, and never revoked",
				     all[i].event, NULL);
	sweep(c, all, c->count, NULL);
	free(all);
}

static int by_key(const void *a, const void *b)
{
	const struct event *left = a;
	const struct event *right = b;
	int order = compare(left->key, right->key);

	return order != 0 ? order : compare(left->invoked, right->invoked);
}

static int by_token(const void *a, const void *b)
{
	const struct event *left = a;
	const struct event *right = b;
	int order = compare(left->token, right->token);

	return order != 0 ? order : compare(left->invoked, right->invoked);
}

static void each_group(struct history *history, struct check *c,
		       int (*order)(const void *a, const void *b),
		       uint32_t (*of)(const struct event *e),
		       void (*look)(struct check *c))
{
	size_t end;

	qsort(history->events, history->count, sizeof(*history->events), order);
	for (size_t i = 0; i < history->count; i = end) {
		const struct event *first = &history->events[i];
		struct check group = {.events = first,
				      .finding = c->finding,
				      .arg = c->arg,
				      .tally = c->tally};

		for (end = i; end < history->count &&
			      of(&history->events[end]) == of(first);
		     end++)
			group.count++;
		look(&group);
	}
}

static uint32_t key_of(const struct event *e)
{
	return e->key;
}

static uint32_t token_of(const struct event *e)
{
	return e->token;
}

/* Operators have no token to be denied. */
static void check_token_or_operator(struct check *c)
{
	if (c->events[0].token != 0) {
		check_token(c);
		return;
	}
	for (size_t i = 0; i < c->count; i++)
		if (c->events[i].result == KT_ERR_DENIED)
			check_report(c, "an operator was denied", &c->events[i],
				     NULL);
}

void history_check(struct history *history,
		   void (*finding)(void *arg, const char *text), void *arg,
		   struct history_tally *ret)
{
	struct history_tally tally = {0};
	struct check c = {.finding = finding, .arg = arg, .tally = &tally};

	each_group(history, &c, by_key, key_of, check_key);
	each_group(history, &c, by_token, token_of, check_token_or_operator);
	*ret = tally;
}
