/*
 * The search for the number of jobs, against tokens that are made up: what one
 * job gives, what more of them give, and whether the token makes its callers
 * wait; and how processes share them.
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

static struct pace begin(size_t jobs, size_t jobs_max, size_t processes,
			 size_t sessions)
{
	const struct pace_limits limits = {jobs, jobs_max, processes, sessions};
	struct pace pace;

	pace_init(&pace, &limits);
	return pace;
}

/* A piece by each process; what a round takes is what the slowest takes. */
static void work(struct pace *pace, struct fake *fake)
{
	size_t served = pace->jobs < fake->lanes ? pace->jobs : fake->lanes;
	size_t processes = pace->processes;
	struct pace_answer answer[64];
	int64_t longest = 0;

	for (size_t i = 0; i < processes; i++) {
		size_t rows = pace_piece(pace, i, 1000);
		size_t sessions = pace_sessions(pace, i);
		size_t rounds = (rows + sessions - 1) / sessions;
		int64_t took = (int64_t)(rounds * pace->jobs) * fake->row_us /
			       (int64_t)served;

		answer[i] = (struct pace_answer){.rows = rows,
						 .sessions = sessions,
						 .took_us = took,
						 .waits = rows * fake->waits};
		longest = took > longest ? took : longest;
	}
	fake->now += longest;
	for (size_t i = 0; i < processes; i++) {
		answer[i].now_us = fake->now;
		pace_note(pace, &answer[i]);
	}
}

/* Works for so many rounds and says how many jobs there are then. */
static size_t settle(struct pace *pace, struct fake *fake, size_t rounds)
{
	for (size_t i = 0; i < rounds; i++)
		work(pace, fake);
	return pace->jobs;
}

static void a_far_token_gets_what_it_serves(void **state)
{
	static const size_t lanes[][2] = {{4, 4}, {8, 8}, {16, 16}, {64, 32}};
	static const int64_t row_us[] = {3000, 60000};

	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct fake fake = {row_us[i / 4], lanes[i % 4][0], 3, 0};
		struct pace pace = begin(2, 32, 2, 64);

		assert_int_equal(settle(&pace, &fake, 2000), lanes[i % 4][1]);
		assert_true(pace.settled);
		assert_int_equal(pace.processes, 2);
	}
}

static void one_bad_moment_ends_no_search(void **state)
{
	struct fake fake = {3000, 64, 3, 0};
	struct pace pace = begin(2, 32, 2, 64);

	(void)state;
	for (int i = 0; i < 2000 && pace.jobs < 8; i++)
		work(&pace, &fake);
	fake.row_us = 12000;
	for (int i = 0; i < 2000 && !pace.doubted; i++)
		work(&pace, &fake);
	assert_int_equal(pace.jobs, 8);
	fake.row_us = 3000;
	assert_int_equal(settle(&pace, &fake, 2000), 32);
}

static void a_token_that_computes_gets_no_more(void **state)
{
	struct fake fake = {80, 64, 0, 0};
	struct pace pace = begin(2, 32, 2, 64);

	(void)state;
	assert_int_equal(settle(&pace, &fake, 2000), 2);
	assert_true(pace.settled);
}

static void a_number_that_was_asked_for_stays(void **state)
{
	struct fake fake = {3000, 64, 3, 0};
	struct pace pace = begin(3, 3, 2, 64);

	(void)state;
	assert_int_equal(settle(&pace, &fake, 2000), 3);
	pace_refuse(&pace);
	assert_int_equal(settle(&pace, &fake, 2000), 3);
}

static void jobs_that_cannot_be_had_end_the_search(void **state)
{
	struct fake fake = {3000, 64, 3, 0};
	struct pace pace = begin(2, 32, 2, 64);

	(void)state;
	for (int i = 0; i < 2000 && pace.jobs < 8; i++)
		work(&pace, &fake);
	assert_int_equal(pace.jobs, 8);
	pace_refuse(&pace);
	assert_int_equal(settle(&pace, &fake, 2000), 4);
}

/* Every job has its session, no process more than it may, and none has none. */
static void processes_share_the_jobs(void **state)
{
	(void)state;
	for (size_t jobs = 1; jobs <= 64; jobs++) {
		for (size_t sessions = 1; sessions <= 64; sessions++) {
			struct pace pace = begin(jobs, jobs, 2, sessions);
			size_t sum = 0;

			for (size_t i = 0; i < pace.processes; i++) {
				size_t has = pace_sessions(&pace, i);

				assert_true(has >= 1 && has <= sessions);
				sum += has;
			}
			assert_int_equal(sum, jobs);
		}
	}
}

static void one_process_a_core_until_sessions_run_out(void **state)
{
	static const struct {
		size_t jobs, cores, sessions, processes;
	} cases[] = {
		{1, 2, 64, 1},  {2, 2, 64, 2},  {3, 2, 64, 2},  {16, 2, 64, 2},
		{16, 4, 64, 4}, {16, 2, 8, 2},  {16, 2, 4, 4},  {16, 2, 5, 4},
		{16, 2, 1, 16}, {64, 1, 64, 1}, {2, 16, 64, 2},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct pace pace = begin(cases[i].jobs, cases[i].jobs,
					 cases[i].cores, cases[i].sessions);

		assert_int_equal(pace.processes, cases[i].processes);
	}
}

static void note(struct pace *pace, size_t rows, size_t sessions,
		 int64_t took_us)
{
	const struct pace_answer answer = {
		.rows = rows, .sessions = sessions, .took_us = took_us};

	pace_note(pace, &answer);
}

/* A worker never has more than about 50 ms of work in one piece, nor more of a
 * batch than its share. */
static void pieces_fit_the_token(void **state)
{
	struct pace pace = begin(4, 4, 4, 64);

	(void)state;
	assert_int_equal(pace_piece(&pace, 0, 1000), 2);
	assert_int_equal(pace_piece(&pace, 0, 4), 1);
	assert_int_equal(pace_piece(&pace, 0, 1), 1);
	assert_int_equal(pace_piece(&pace, 0, 0), 1);
	note(&pace, 16, 1, 16 * 60000);
	assert_int_equal(pace_piece(&pace, 0, 1000), 1);
	pace = begin(4, 4, 4, 64);
	note(&pace, 16, 1, 16 * 5000);
	assert_int_equal(pace_piece(&pace, 0, 1000), 10);
	pace = begin(2, 2, 2, 64);
	note(&pace, 16, 1, 16 * 80);
	assert_int_equal(pace_piece(&pace, 0, 10000), 250);
	note(&pace, 0, 1, 0);
	assert_int_equal(pace_piece(&pace, 0, 10000), 250);
}

/* Nor is any of its sessions without a row. */
static void pieces_fit_the_sessions(void **state)
{
	struct pace pace = begin(16, 16, 2, 64);

	(void)state;
	assert_int_equal(pace_piece(&pace, 0, 1000), 16);
	note(&pace, 8, 8, 60000);
	assert_int_equal(pace_piece(&pace, 0, 1000), 8);
	pace = begin(16, 16, 2, 64);
	note(&pace, 80, 8, 50000);
	assert_int_equal(pace_piece(&pace, 1, 1000), 80);
	assert_int_equal(pace_piece(&pace, 1, 100), 50);
	assert_int_equal(pace_piece(&pace, 1, 3), 2);
	/* One row is one session's work, whoever else is idle. */
	pace = begin(16, 16, 2, 64);
	note(&pace, 1, 8, 5000);
	assert_int_equal(pace_piece(&pace, 0, 1000), 80);
	/* Unequal shares. */
	pace = begin(3, 3, 2, 64);
	note(&pace, 10, 1, 50000);
	assert_int_equal(pace_piece(&pace, 0, 1000), 20);
	assert_int_equal(pace_piece(&pace, 1, 1000), 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_far_token_gets_what_it_serves),
		cmocka_unit_test(one_bad_moment_ends_no_search),
		cmocka_unit_test(a_token_that_computes_gets_no_more),
		cmocka_unit_test(a_number_that_was_asked_for_stays),
		cmocka_unit_test(jobs_that_cannot_be_had_end_the_search),
		cmocka_unit_test(processes_share_the_jobs),
		cmocka_unit_test(one_process_a_core_until_sessions_run_out),
		cmocka_unit_test(pieces_fit_the_token),
		cmocka_unit_test(pieces_fit_the_sessions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
