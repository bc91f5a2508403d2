/*
 * The order of the writes of one key, from their versions alone. Where a key is
 * deleted its versions count from 1 again; each of its lives lies between two
 * deletions, which follow each other in one process.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/torture/history_check.h"

static int compare(int64_t a, int64_t b)
{
	return (a > b) - (a < b);
}

/* The versions that are there at the end say where each write came. */
static void place_by_versions(struct check *c)
{
	int64_t expected = 1;

	for (size_t i = 0; i < c->count; i++) {
		const struct event *e = &c->events[i];
		struct placed *write;

		if (e->kind != EVENT_VERSION)
			continue;
		if (e->version != expected++)
			check_report(c, "a version is missing before this", e,
				     NULL);
		write = check_find_value(&c->writes, e->value);
		if (write == NULL)
			check_report(c, "nobody wrote this", e, NULL);
		else if (write->version != 0 && write->version != e->version)
			check_report(c,
				     "not the version that the writer was told",
				     e, write->event);
		else
			write->version = e->version;
	}
	for (size_t i = 0; i < c->writes.count; i++)
		if (c->writes.at[i].version >= expected ||
		    c->writes.at[i].version == 0)
			check_report(c, "lost", c->writes.at[i].event, NULL);
}

static struct incarnation *incarnation_of(struct check *c,
					  const struct kt_id *secret)
{
	struct incarnation *i;

	for (size_t n = c->incarnation_count; n > 0; n--)
		if (memcmp(&c->incarnations[n - 1].secret, secret,
			   sizeof(*secret)) == 0)
			return &c->incarnations[n - 1];
	i = &c->incarnations[c->incarnation_count++];
	*i = (struct incarnation){.secret = *secret,
				  .first_response = INT64_MAX};
	return i;
}

static void incarnation_saw(struct incarnation *i, const struct event *e)
{
	if (e->responded < i->first_response)
		i->first_response = e->responded;
	if (e->invoked > i->last_invocation)
		i->last_invocation = e->invoked;
}

static int by_first_response(const void *a, const void *b)
{
	const struct incarnation *left = a;
	const struct incarnation *right = b;

	return compare(left->first_response, right->first_response);
}

static void gather_incarnations(struct check *c)
{
	for (size_t i = 0; i < c->writes.count; i++) {
		const struct event *e = c->writes.at[i].event;
		struct incarnation *in = incarnation_of(c, &e->secret);

		incarnation_saw(in, e);
		in->versions++;
	}
	for (size_t i = 0; i < c->reads.count; i++) {
		const struct event *e = c->reads.at[i].event;
		struct placed *write = check_find_value(&c->writes, e->value);

		if (e->result == KT_OK && write != NULL)
			incarnation_saw(
				incarnation_of(c, &write->event->secret), e);
	}
	qsort(c->incarnations, c->incarnation_count, sizeof(*c->incarnations),
	      by_first_response);
}

/* Deletions follow each other in one process, and between two of them the name
 * had one life. A life that can have been over when this deletion ended goes
 * before it; of several, the one that was first seen. */
static void place_lives(struct check *c)
{
	size_t deletions = c->lives.count;

	for (size_t life = 0; life < c->incarnation_count; life++) {
		const struct event *end =
			life < deletions ? c->lives.at[life].event : NULL;
		const struct event *begin =
			life > 0 && life <= deletions
				? c->lives.at[life - 1].event
				: NULL;
		struct incarnation *fits = NULL;

		for (size_t i = 0; i < c->incarnation_count; i++) {
			struct incarnation *in = &c->incarnations[i];

			if (in->life == 0 &&
			    (end == NULL ||
			     in->last_invocation <= end->responded)) {
				fits = in;
				break;
			}
		}
		if (fits == NULL) {
			check_report(
				c, "what lived before this was there after it",
				end, NULL);
			return;
		}
		fits->life = (int64_t)life + 1;
		if (begin != NULL && fits->first_response < begin->invoked)
			check_report(
				c, "what lives after this was there before it",
				begin, NULL);
	}
}

static void place_by_lives(struct check *c)
{
	gather_incarnations(c);
	if (c->lives.count > c->incarnation_count ||
	    c->lives.count + 1 < c->incarnation_count)
		check_report(c, "more deletions than lives, or less", c->events,
			     NULL);
	place_lives(c);
	for (size_t i = 0; i < c->writes.count; i++) {
		struct placed *write = &c->writes.at[i];
		struct incarnation *in =
			incarnation_of(c, &write->event->secret);

		write->life = in->life;
		if (write->version < 1 || write->version > in->versions)
			check_report(c, "a version before this is missing",
				     write->event, NULL);
	}
	for (size_t i = 0; i < c->lives.count; i++) {
		struct placed *end = &c->writes.at[c->writes.count++];

		*end = c->lives.at[i];
		end->life = (int64_t)i + 1;
		end->version = DELETION;
	}
}

static void rank_writes(struct check *c)
{
	struct list *writes = &c->writes;

	qsort(writes->at, writes->count, sizeof(*writes->at),
	      placed_by_version);
	for (size_t i = 0; i < writes->count; i++) {
		writes->at[i].rank = 2 * ((int64_t)i + 1);
		if (i > 0 &&
		    placed_by_version(&writes->at[i - 1], &writes->at[i]) == 0)
			check_report(c, "two writes of one version",
				     writes->at[i - 1].event,
				     writes->at[i].event);
	}
}

static bool has_versions(const struct check *c)
{
	for (size_t i = 0; i < c->count; i++)
		if (c->events[i].kind == EVENT_VERSION)
			return true;
	return false;
}

void check_order_writes(struct check *c)
{
	qsort(c->writes.at, c->writes.count, sizeof(*c->writes.at),
	      placed_by_value);
	if (has_versions(c))
		place_by_versions(c);
	else
		place_by_lives(c);
	rank_writes(c);
}
