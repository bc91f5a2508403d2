/*
 * The checker of histories, on histories made by hand: good ones pass, and
 * each way in which a register can lie is found.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/torture/history.h"

#define EVENTS(list) list, sizeof(list) / sizeof((list)[0])

static const struct kt_id first = {{1}}, second = {{2}};

static void remember(void *arg, const char *text)
{
	char *all = arg;
	size_t len = strlen(all);

	snprintf(all + len, 4096 - len, "%s\n", text);
}

/* What is found in it; the checker may sort, so it gets a copy. */
static struct history_tally check(const struct event *events, size_t count,
				  char ret_text[4096])
{
	struct event copy[32];
	struct history history = {copy, count};
	struct history_tally tally;

	assert_true(count <= 32);
	memcpy(copy, events, count * sizeof(*events));
	ret_text[0] = '\0';
	history_check(&history, remember, ret_text, &tally);
	return tally;
}

static struct history_tally good(const struct event *events, size_t count)
{
	char text[4096];
	struct history_tally tally = check(events, count, text);

	assert_string_equal(text, "");
	assert_int_equal(tally.findings, 0);
	return tally;
}

static void bad(const struct event *events, size_t count, const char *why)
{
	char text[4096];
	struct history_tally tally = check(events, count, text);

	if (strstr(text, why) == NULL)
		print_error("not '%s' but: %s\n", why, text);
	assert_non_null(strstr(text, why));
	assert_true(tally.findings > 0);
}

static struct event set(uint64_t value, int64_t version, int64_t from,
			int64_t to)
{
	return (struct event){.kind = EVENT_WRITE,
			      .process = 1,
			      .value = value,
			      .version = version,
			      .secret = first,
			      .invoked = from,
			      .responded = to};
}

static struct event reborn(uint64_t value, int64_t version, int64_t from,
			   int64_t to)
{
	struct event e = set(value, version, from, to);

	e.secret = second;
	return e;
}

static struct event saw(uint64_t value, int64_t from, int64_t to)
{
	return (struct event){.kind = EVENT_READ,
			      .process = 2,
			      .value = value,
			      .invoked = from,
			      .responded = to};
}

static struct event saw_nothing(int64_t from, int64_t to)
{
	struct event e = saw(0, from, to);

	e.result = KT_ERR_NOT_FOUND;
	return e;
}

static struct event gone(int64_t from, int64_t to)
{
	struct event e = saw(0, from, to);

	e.kind = EVENT_DELETE;
	return e;
}

static struct event kept(uint64_t value, int64_t version)
{
	struct event e = set(value, version, 1000, 1001);

	e.kind = EVENT_VERSION;
	return e;
}

static struct event held(uint32_t token, enum kt_err result, int64_t from,
			 int64_t to)
{
	struct event e = saw_nothing(from, to);

	e.token = token;
	if (result != KT_OK)
		e.result = result;
	return e;
}

static struct event revoked(uint32_t token, int64_t from, int64_t to)
{
	return (struct event){.kind = EVENT_REVOKE,
			      .token = token,
			      .invoked = from,
			      .responded = to};
}

static void good_histories_pass(void **state)
{
	const struct event one_after_the_other[] = {
		saw_nothing(0, 1),   set(7, 1, 2, 3),      saw(7, 4, 5),
		set(8, 2, 6, 7),     saw(8, 8, 9),         gone(10, 11),
		saw_nothing(12, 13), reborn(9, 1, 14, 15), saw(9, 16, 17)};
	const struct event at_once[] = {
		set(7, 1, 0, 10),    set(8, 2, 5, 20),   saw(7, 6, 19),
		saw(8, 7, 9),        saw_nothing(1, 8),  gone(9, 30),
		saw_nothing(12, 14), saw_nothing(40, 41)};
	struct history_tally tally;

	(void)state;
	tally = good(EVENTS(one_after_the_other));
	assert_int_equal(tally.concurrent, 0);
	assert_int_equal(tally.writes, 3);
	assert_int_equal(tally.deletes, 1);
	tally = good(EVENTS(at_once));
	assert_int_equal(tally.concurrent, 4);
}

static void a_stale_read_is_found(void **state)
{
	const struct event old[] = {set(7, 1, 0, 1), set(8, 2, 2, 3),
				    saw(7, 4, 5)};
	const struct event deleted[] = {set(7, 1, 0, 1), gone(2, 3),
					saw(7, 4, 5)};
	const struct event nothing[] = {set(7, 1, 0, 1), saw_nothing(2, 3)};
	const struct event life[] = {set(7, 1, 0, 1), gone(2, 3),
				     reborn(8, 1, 4, 5), saw_nothing(6, 7)};

	(void)state;
	bad(EVENTS(old), "a stale read");
	bad(EVENTS(deleted), "there after it");
	bad(EVENTS(nothing), "a stale read");
	bad(EVENTS(life), "a stale read");
}

static void a_lost_write_is_found(void **state)
{
	const struct event lost[] = {set(7, 1, 0, 1), set(8, 2, 2, 3),
				     kept(7, 1)};
	const struct event twice[] = {set(7, 1, 0, 1), set(8, 1, 2, 3)};
	const struct event gap[] = {set(7, 1, 0, 1), set(8, 3, 2, 3)};
	const struct event other[] = {set(7, 1, 0, 1), kept(9, 1)};
	const struct event swapped[] = {set(7, 1, 0, 9), set(8, 2, 1, 9),
					kept(8, 1), kept(7, 2)};
	const struct event hole[] = {set(7, 1, 0, 1), kept(7, 2)};

	(void)state;
	bad(EVENTS(lost), "lost");
	bad(EVENTS(twice), "two writes of one version");
	bad(EVENTS(gap), "a version before this is missing");
	bad(EVENTS(other), "nobody wrote this");
	bad(EVENTS(swapped), "not the version that the writer was told");
	bad(EVENTS(hole), "a version is missing before this");
}

static void travel_in_time_is_found(void **state)
{
	const struct event future[] = {saw(7, 0, 1), set(7, 1, 2, 3)};
	const struct event later[] = {set(8, 2, 0, 9), saw(8, 1, 2),
				      set(7, 1, 3, 5)};
	const struct event order[] = {set(8, 2, 0, 1), set(7, 1, 2, 3)};
	const struct event nobody[] = {set(7, 1, 0, 1), saw(9, 2, 3)};
	const struct event refused[] = {set(7, 1, 0, 1),
					{.kind = EVENT_WRITE,
					 .result = KT_ERR_BUSY,
					 .value = 8,
					 .invoked = 2,
					 .responded = 3},
					saw(8, 4, 5)};
	const struct event before_delete[] = {set(7, 1, 0, 1),
					      saw_nothing(2, 3), gone(4, 5)};

	(void)state;
	bad(EVENTS(future), "was read before it was written");
	bad(EVENTS(later), "was read before it was written");
	bad(EVENTS(order), "a later write has the earlier version");
	bad(EVENTS(nobody), "a read of what nobody wrote");
	bad(EVENTS(refused), "a read of what nobody wrote");
	bad(EVENTS(before_delete), "was read before it was written");
}

static void a_read_that_goes_back_is_found(void **state)
{
	const struct event back[] = {set(7, 1, 0, 1), set(8, 2, 2, 20),
				     saw(8, 3, 4), saw(7, 5, 6)};
	const struct event undead[] = {set(7, 1, 0, 1), gone(2, 20),
				       saw_nothing(3, 4), saw(7, 5, 6)};

	(void)state;
	bad(EVENTS(back), "a read went back");
	bad(EVENTS(undead), "a read went back");
}

static void a_life_out_of_its_time_is_found(void **state)
{
	const struct event no_delete[] = {set(7, 1, 0, 1), reborn(8, 1, 2, 3),
					  saw(8, 4, 5)};
	const struct event revived[] = {set(7, 1, 0, 1), gone(2, 3),
					reborn(8, 1, 4, 5), gone(6, 7),
					saw(8, 8, 9)};
	const struct event more[] = {set(7, 1, 0, 1), gone(2, 3), gone(4, 5)};

	(void)state;
	bad(EVENTS(no_delete), "more deletions than lives, or less");
	bad(EVENTS(revived), "there after it");
	bad(EVENTS(more), "more deletions than lives, or less");
}

static void a_revoked_token_is_refused_from_then_on(void **state)
{
	const struct event fine[] = {
		held(1, KT_OK, 0, 1), revoked(1, 2, 9), held(1, KT_OK, 3, 5),
		held(1, KT_ERR_DENIED, 6, 7), held(1, KT_ERR_DENIED, 10, 11)};
	const struct event served[] = {revoked(1, 0, 1), held(1, KT_OK, 2, 3)};
	const struct event again[] = {revoked(1, 0, 9),
				      held(1, KT_ERR_DENIED, 2, 3),
				      held(1, KT_OK, 4, 5)};
	const struct event early[] = {held(1, KT_ERR_DENIED, 0, 1),
				      revoked(1, 2, 3)};
	const struct event never[] = {held(1, KT_ERR_DENIED, 0, 1)};
	const struct event operator_denied[] = {held(0, KT_ERR_DENIED, 0, 1)};

	(void)state;
	assert_int_equal(good(EVENTS(fine)).denied, 2);
	bad(EVENTS(served), "token 1");
	bad(EVENTS(again), "a read went back");
	bad(EVENTS(early), "token 1");
	bad(EVENTS(never), "denied, and never revoked");
	bad(EVENTS(operator_denied), "an operator was denied");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_histories_pass),
		cmocka_unit_test(a_stale_read_is_found),
		cmocka_unit_test(a_lost_write_is_found),
		cmocka_unit_test(travel_in_time_is_found),
		cmocka_unit_test(a_read_that_goes_back_is_found),
		cmocka_unit_test(a_life_out_of_its_time_is_found),
		cmocka_unit_test(a_revoked_token_is_refused_from_then_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
