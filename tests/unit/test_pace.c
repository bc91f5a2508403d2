/*
 * The search for the number of workers, against tokens that are made up: what
 * one worker gives, what more of them give, and whether the token makes its
 * callers wait.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hsm/pace.h"

/* A token that serves so many callers at once and no more. */
struct fake {
	int64_t row_us;
	size_t lanes;
	size_t waits; /* a row */
	int64_t now;
};

/* Works for so many answers and says how many workers there are then. */
static size_t settle(struct pace *pace, struct fake *fake, size_t answers)
{
	for (size_t i = 0; i < answers; i++) {
		size_t rows = pace_piece(pace, 1000);
		size_t served = pace->workers < fake->lanes ? pace->workers
							    : fake->lanes;
		int64_t took = (int64_t)(rows * pace->workers) * fake->row_us /
			       (int64_t)served;

		fake->now += took / (int64_t)pace->workers;
		pace_note(pace, rows, took, rows * fake->waits, fake->now);
	}
	return pace->workers;
}

static void a_far_token_gets_what_it_serves(void **state)
{
	static const size_t lanes[][2] = {{4, 4}, {8, 8}, {16, 16}, {64, 32}};

	(void)state;
	for (size_t i = 0; i < sizeof(lanes) / sizeof(lanes[0]); i++) {
		struct fake fake = {3000, lanes[i][0], 3, 0};
		struct pace pace;

		pace_init(&pace, 2, 32);
		assert_int_equal(settle(&pace, &fake, 5000), lanes[i][1]);
		assert_true(pace.settled);
	}
}

static void a_token_that_computes_gets_no_more(void **state)
{
	struct fake fake = {80, 64, 0, 0};
	struct pace pace;

	(void)state;
	pace_init(&pace, 2, 32);
	assert_int_equal(settle(&pace, &fake, 5000), 2);
	assert_true(pace.settled);
}

static void a_number_that_was_asked_for_stays(void **state)
{
	struct fake fake = {3000, 64, 3, 0};
	struct pace pace;

	(void)state;
	pace_init(&pace, 3, 3);
	assert_int_equal(settle(&pace, &fake, 5000), 3);
}

static void workers_that_cannot_be_had_end_the_search(void **state)
{
	struct fake fake = {3000, 64, 3, 0};
	struct pace pace;

	(void)state;
	pace_init(&pace, 2, 32);
	for (int i = 0; i < 5000 && pace.workers < 8; i++)
		settle(&pace, &fake, 1);
	assert_int_equal(pace.workers, 8);
	pace_refuse(&pace);
	assert_int_equal(settle(&pace, &fake, 5000), 4);
}

/* A worker never has more than about 50 ms of work in one piece, nor more of a
 * batch than its share. */
static void pieces_fit_the_token(void **state)
{
	struct pace pace;

	(void)state;
	pace_init(&pace, 4, 4);
	assert_int_equal(pace_piece(&pace, 1000), 2);
	assert_int_equal(pace_piece(&pace, 4), 1);
	assert_int_equal(pace_piece(&pace, 1), 1);
	assert_int_equal(pace_piece(&pace, 0), 1);
	pace_note(&pace, 16, 16 * 60000, 0, 0);
	assert_int_equal(pace_piece(&pace, 1000), 1);
	pace_init(&pace, 4, 4);
	pace_note(&pace, 16, 16 * 5000, 0, 0);
	assert_int_equal(pace_piece(&pace, 1000), 10);
	pace_init(&pace, 2, 2);
	pace_note(&pace, 16, 16 * 80, 0, 0);
	assert_int_equal(pace_piece(&pace, 10000), 250);
	pace_note(&pace, 0, 0, 0, 0);
	assert_int_equal(pace_piece(&pace, 10000), 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_far_token_gets_what_it_serves),
		cmocka_unit_test(a_token_that_computes_gets_no_more),
		cmocka_unit_test(a_number_that_was_asked_for_stays),
		cmocka_unit_test(workers_that_cannot_be_had_end_the_search),
		cmocka_unit_test(pieces_fit_the_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
