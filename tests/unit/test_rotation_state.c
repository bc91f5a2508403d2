/*
 * Every phase with every event and every clock: what is allowed, what comes
 * next, and that a phase never goes back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/rotation_state.h"

#define NOW 1000
#define GRACE 100

/* A record in each phase, built by applying events only. */
static const struct {
	enum kt_rotation_phase phase;
	size_t count;
	enum rotation_event path[8];
} paths[] = {
	{KT_ROTATION_PLANNED, 0, {0}},
	{KT_ROTATION_STAGING, 1, {EVENT_KEYED}},
	{KT_ROTATION_STAGED, 2, {EVENT_KEYED, EVENT_STAGED}},
	{KT_ROTATION_VERIFIED, 3, {EVENT_KEYED, EVENT_STAGED, EVENT_VERIFIED}},
	{KT_ROTATION_DRAINING,
	 4,
	 {EVENT_KEYED, EVENT_STAGED, EVENT_VERIFIED, EVENT_ACTIVATED}},
	{KT_ROTATION_CONTRACTING,
	 5,
	 {EVENT_KEYED, EVENT_STAGED, EVENT_VERIFIED, EVENT_ACTIVATED,
	  EVENT_CONTRACTING}},
	{KT_ROTATION_CONTRACTED,
	 6,
	 {EVENT_KEYED, EVENT_STAGED, EVENT_VERIFIED, EVENT_ACTIVATED,
	  EVENT_CONTRACTING, EVENT_CONTRACTED}},
	{KT_ROTATION_DESTROYED,
	 7,
	 {EVENT_KEYED, EVENT_STAGED, EVENT_VERIFIED, EVENT_ACTIVATED,
	  EVENT_CONTRACTING, EVENT_CONTRACTED, EVENT_DESTROYED}},
	{KT_ROTATION_ROLLING_BACK, 1, {EVENT_ROLLBACK_STARTED}},
	{KT_ROTATION_ROLLED_BACK,
	 2,
	 {EVENT_ROLLBACK_STARTED, EVENT_ROLLED_BACK}},
};

#define PATHS (sizeof(paths) / sizeof(paths[0]))

static struct rotation_row record_in(size_t path)
{
	struct rotation_row row = {.planned = 1, .grace = GRACE};

	for (size_t i = 0; i < paths[path].count; i++)
		assert_int_equal(rotation_apply(&row, paths[path].path[i], NOW),
				 KT_OK);
	return row;
}

static void every_phase_is_reached(void **state)
{
	(void)state;
	assert_int_equal(PATHS, KT_ROTATION_PHASE_MAX_);
	for (size_t i = 0; i < PATHS; i++) {
		struct rotation_row row = record_in(i);

		assert_int_equal(rotation_phase(&row), paths[i].phase);
	}
}

/* One digit a phase in the order of the enum: 1 where the event is allowed. */
static const char *const allowed[ROTATION_EVENT_MAX_] = {
	[EVENT_KEYED] = "1000000000",
	[EVENT_STAGED] = "0100000000",
	[EVENT_VERIFIED] = "0010000000",
	[EVENT_ACTIVATED] = "0001000000",
	[EVENT_CONTRACTING] = "0000100000",
	[EVENT_CONTRACTED] = "0000010000",
	[EVENT_DESTROYED] = "0000001000",
	[EVENT_ROLLBACK_STARTED] = "1111100000",
	[EVENT_ROLLED_BACK] = "0000000010",
};

static void only_allowed_events_change_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < PATHS; i++) {
		for (int e = 0; e < ROTATION_EVENT_MAX_; e++) {
			struct rotation_row before = record_in(i);
			struct rotation_row row = before;
			enum kt_err err = rotation_apply(
				&row, (enum rotation_event)e, NOW + 1);

			if (allowed[e][paths[i].phase] == '1') {
				assert_int_equal(err, KT_OK);
				assert_int_not_equal(rotation_phase(&row),
						     paths[i].phase);
			} else {
				assert_int_equal(err, KT_ERR_CONFLICT);
				assert_memory_equal(&row, &before, sizeof(row));
			}
		}
	}
}

static const enum rotation_action next_action[KT_ROTATION_PHASE_MAX_] = {
	[KT_ROTATION_PLANNED] = DO_KEY,
	[KT_ROTATION_STAGING] = DO_STAGE,
	[KT_ROTATION_STAGED] = DO_VERIFY,
	[KT_ROTATION_VERIFIED] = DO_CUT_OVER,
	[KT_ROTATION_DRAINING] = DO_WAIT,
	[KT_ROTATION_CONTRACTING] = DO_CONTRACT,
	[KT_ROTATION_CONTRACTED] = DO_NOTHING,
	[KT_ROTATION_DESTROYED] = DO_NOTHING,
	[KT_ROTATION_ROLLING_BACK] = DO_UNSTAGE,
	[KT_ROTATION_ROLLED_BACK] = DO_NOTHING,
};

static void each_phase_has_its_action(void **state)
{
	(void)state;
	for (size_t i = 0; i < PATHS; i++) {
		struct rotation_row row = record_in(i);

		assert_int_equal(rotation_next(&row, NOW),
				 next_action[paths[i].phase]);
	}
}

static void grace_ends_to_the_second(void **state)
{
	struct rotation_row row = record_in(KT_ROTATION_DRAINING);

	(void)state;
	assert_int_equal(rotation_next(&row, NOW + GRACE - 1), DO_WAIT);
	assert_int_equal(rotation_next(&row, NOW + GRACE), DO_DEACTIVATE);
	/* a clock that was set back does not end it */
	assert_int_equal(rotation_next(&row, NOW - 5000), DO_WAIT);
	row.grace = 0;
	assert_int_equal(rotation_next(&row, NOW), DO_DEACTIVATE);
	/* nor does it begin one */
	assert_int_equal(rotation_next(&row, NOW - 1), DO_DEACTIVATE);
}

static void names_are_complete(void **state)
{
	(void)state;
	for (int p = 0; p < KT_ROTATION_PHASE_MAX_; p++)
		assert_non_null(
			kt_rotation_phase_name((enum kt_rotation_phase)p));
	for (int e = 0; e < ROTATION_EVENT_MAX_; e++)
		assert_non_null(rotation_event_name((enum rotation_event)e));
	assert_string_equal(kt_rotation_phase_name(KT_ROTATION_PHASE_MAX_),
			    "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_phase_is_reached),
		cmocka_unit_test(only_allowed_events_change_it),
		cmocka_unit_test(each_phase_has_its_action),
		cmocka_unit_test(grace_ends_to_the_second),
		cmocka_unit_test(names_are_complete),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
