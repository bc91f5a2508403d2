/*
 * How SQLite runs each statement: everything that meets many rows goes by an
 * index in its order. Small tables may be scanned or sorted; which ones, says
 * the list.
 */
#include "store_fixture.h"

#include <stdio.h>

#include <sqlite3.h>

#include "store/sqlite/sqlite.h"

/* Reads a whole table on purpose, or one that stays small. */
static const enum store_query scans[] = {
	Q_VAULT,       Q_PROJECTS,  Q_PROJECT_COUNT, Q_SECRET_COUNT_ALL,
	Q_ACCESS_ALL,  Q_ROTATIONS, Q_LEASE,         Q_AUDIT_HEAD,
	Q_CHECKPOINTS,
};

/* Sorts few rows. */
static const enum store_query sorts[] = {
	Q_ACCESS_ALL,
	Q_ROTATIONS,
};

static bool listed(size_t slot, const enum store_query *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (slot == SLOT_QUERY(list[i]))
			return true;
	}
	return false;
}

/* The lines of the plan, one after the other. */
static void plan_of(sqlite3 *sq, const char *sql, char *ret, size_t size)
{
	char *explain = sqlite3_mprintf("EXPLAIN QUERY PLAN %s", sql);
	sqlite3_stmt *stmt;

	assert_non_null(explain);
	if (sqlite3_prepare_v2(sq, explain, -1, &stmt, NULL) != SQLITE_OK)
		fail_msg("%s: %s", sql, sqlite3_errmsg(sq));
	ret[0] = '\0';
	while (sqlite3_step(stmt) == SQLITE_ROW) {
		size_t used = strlen(ret);

		snprintf(ret + used, size - used, "%s\n",
			 (const char *)sqlite3_column_text(stmt, 3));
	}
	sqlite3_finalize(stmt);
	sqlite3_free(explain);
}

static void plan_of_slot(struct fixture *fixture, size_t slot, char *ret,
			 size_t size)
{
	char *sql = sql_text(slot);
	sqlite3 *sq;

	assert_non_null(sql);
	assert_int_equal(sqlite3_open(fixture->path, &sq), SQLITE_OK);
	plan_of(sq, sql, ret, size);
	sqlite3_close(sq);
	sqlite3_free(sql);
}

static void nothing_scans_or_sorts_many_rows(void **state)
{
	char plan[2048];

	for (size_t slot = 0; slot < SLOT_MAX; slot++) {
		bool scan = listed(slot, scans, sizeof(scans) / sizeof(*scans));
		bool sort = listed(slot, sorts, sizeof(sorts) / sizeof(*sorts));

		if (slot >= SLOT_ROW(0, 0) &&
		    (slot - SLOT_ROW(0, 0)) % ROW_TYPE_MAX_ == ROW_COUNT)
			continue;
		if (slot == SLOT_STATEMENT(S_LEASE_RENEW))
			continue; /* a table of one row */
		if (slot >= SLOT_ROW(VERB_SCAN, 0) &&
		    slot < SLOT_ROW(VERB_SCAN + 1, 0))
			continue; /* reads its table on purpose */
		plan_of_slot(*state, slot, plan, sizeof(plan));
		if ((strstr(plan, "SCAN") != NULL && !scan &&
		     strstr(plan, "keys_on_token") == NULL) ||
		    (strstr(plan, "TEMP B-TREE") != NULL && !sort))
			fail_msg("statement %zu:\n%s", slot, plan);
	}
}

/* Few of many keys are on the token: by an index of their own. */
static void keys_on_the_token_have_an_index(void **state)
{
	char plan[2048];

	plan_of_slot(*state, SLOT_QUERY(Q_KEYS_ON_TOKEN), plan, sizeof(plan));
	assert_non_null(strstr(plan, "USING INDEX keys_on_token"));
}

/* The batches of a rotation: one walk along the primary key and one look-up
 * by it per row, whatever the number of rows. */
static void twins_are_found_by_the_primary_key(void **state)
{
	static const enum store_query batches[] = {
		Q_WRAPS_MISSING,
		Q_WRAPS_TWINS,
		Q_WRAPS_TWINNED,
		Q_WRAP_MISSING_COUNT,
	};
	char plan[2048];

	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		plan_of_slot(*state, SLOT_QUERY(batches[i]), plan,
			     sizeof(plan));
		if (strstr(plan, "SEARCH w USING ") == NULL ||
		    strstr(plan, "SEARCH t USING PRIMARY KEY"
				 " (wrapping_key=? AND subject=?)") == NULL)
			fail_msg("%s", plan);
	}
}

/* A whole table is read along its key and never sorted. */
static void scans_go_by_the_key(void **state)
{
	char plan[2048];

	for (size_t type = 0; type < ROW_COUNT; type++) {
		plan_of_slot(*state, SLOT_ROW(VERB_SCAN, type), plan,
			     sizeof(plan));
		if (strstr(plan, "TEMP B-TREE") != NULL)
			fail_msg("scan of %zu:\n%s", type, plan);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_scans_or_sorts_many_rows),
		cmocka_unit_test(keys_on_the_token_have_an_index),
		cmocka_unit_test(twins_are_found_by_the_primary_key),
		cmocka_unit_test(scans_go_by_the_key),
	};

	return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
