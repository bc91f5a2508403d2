/*
 * Somebody who asks a sweep to stop and then does not ask again: what was not
 * read must never pass for done, whatever the sweep is for.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/sweep.h"
#include "tests/unit/vault_fixture.h"

#define ROWS 40
#define BATCH 2 /* many more batches than are under way at once */

/* Says stop once, at the first edge of a batch of a step. */
struct once {
	const char *step;
	bool there, said;
};

static void look(void *arg, const char *step, int64_t done, int64_t total)
{
	struct once *once = arg;

	once->there = strcmp(step, once->step) == 0 && done > 0 && done < total;
}

static bool say_stop(void *arg)
{
	struct once *once = arg;
	bool stop = once->there && !once->said;

	once->said |= stop;
	return stop;
}

static const struct kt_rotate_options options = {.batch_size = BATCH,
						 .jobs = 1};

static int setup(void **state)
{
	struct vault_fixture *f = *state;
	char name[16];

	f->params.worker = KEYTURN_WORKER;
	if (vault_fixture_setup(state) != 0)
		return -1;
	for (int i = 0; i < ROWS; i++) {
		snprintf(name, sizeof(name), "KEY_%d", i);
		put(f->vault, "web", name, name, strlen(name));
	}
	return 0;
}

static void assert_all_read(const struct kt_rotation *r)
{
	assert_int_equal(r->phase, KT_ROTATION_DESTROYED);
	assert_int_equal(r->leg[0].rows_rewrapped, ROWS);
	assert_int_equal(r->leg[0].rows_verified, ROWS);
}

/* The rotation that is told to stop once in a step, and then goes on. */
static void check_rotation(struct kt_vault *vault, const char *step,
			   enum kt_rotation_phase phase)
{
	struct once once = {.step = step};
	struct kt_progress progress = {look, say_stop, &once};
	struct kt_rotation r;

	assert_int_equal(kt_rotation_start(vault, KT_ROTATION_PROJECT, "web",
					   &options, &progress, &r),
			 KT_ERR_INTERRUPTED);
	assert_true(once.said);
	assert_int_equal(r.phase, phase);
	ok(kt_rotation_resume(vault, &r.id, &options, NULL, &r));
	assert_all_read(&r);
}

static void what_was_not_proven_is_not_verified(void **state)
{
	struct vault_fixture *f = *state;

	check_rotation(f->vault, "verify", KT_ROTATION_STAGED);
}

static void what_was_not_rewrapped_is_not_staged(void **state)
{
	struct vault_fixture *f = *state;

	check_rotation(f->vault, "rewrap", KT_ROTATION_STAGING);
}

static void a_dry_run_that_was_stopped_found_nothing_good(void **state)
{
	struct once once = {.step = "dry run"};
	struct kt_progress progress = {look, say_stop, &once};
	struct vault_fixture *f = *state;

	assert_int_equal(kt_rotation_dry_run(f->vault, KT_ROTATION_PROJECT,
					     "web", &options, &progress, NULL,
					     NULL),
			 KT_ERR_INTERRUPTED);
	assert_true(once.said);
}

#define SECOND 1000000

static void a_batch_is_a_second_of_work(void **state)
{
	int64_t least = sweep_batch_size(0, 0, 1000);

	(void)state;
	assert_in_range(least, 1, 100);
	assert_int_equal(sweep_batch_size(0, 0, least - 1), least - 1);
	assert_int_equal(sweep_batch_size(0, 90 * SECOND, 1000), least);
	assert_int_equal(sweep_batch_size(least, 60 * SECOND, 1000), least);
	assert_in_range(sweep_batch_size(least, SECOND / 2, 1000),
			2 * least - 1, 2 * least);
	assert_int_equal(sweep_batch_size(1, INT64_MAX, 1000), least);
	assert_int_equal(sweep_batch_size(least, 0, 1000), 1000);
	assert_int_equal(sweep_batch_size(INT64_MAX, 1, 10000), 10000);
}

#define TEST(f)                                                                \
	cmocka_unit_test_setup_teardown(f, setup, vault_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_batch_is_a_second_of_work),
		TEST(what_was_not_proven_is_not_verified),
		TEST(what_was_not_rewrapped_is_not_staged),
		TEST(a_dry_run_that_was_stopped_found_nothing_good),
	};

	return cmocka_run_group_tests(tests, vault_fixture_start,
				      vault_fixture_stop);
}
