/*
 * One thing fails in a whole operation: the n-th allocation of keyturn's own,
 * or the n-th step of a database statement, for n = 1, 2, ... until an
 * operation meets no fault. Always: a clean error, nothing half done, and
 * another process goes on from what is committed. That nothing leaks, the
 * address sanitizer says.
 *
 * With KEYTURN_TORTURE_FULL every n is tried, else a sample, which
 * KEYTURN_TORTURE_ROUND moves on.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sqlite3.h>

#include <keyturn/audit.h>

#include "tests/torture/snapshot.h"
#include "tests/unit/vault_fixture.h"

#define SAMPLE 12 /* faults of each kind in each operation */

static const char *const names[] = {"A", "B", "C", "D", "E"};

#define NAMES (sizeof(names) / sizeof(names[0]))

/* --- the fault ------------------------------------------------------------ */

enum kind { NO_FAULT, ALLOCATION, STEP, AFTER_STEP };

struct fault {
	enum kind kind;
	int code; /* of SQLite */
};

static struct {
	struct fault fault;
	long at, count;
	bool hit;
} armed;

static void arm(const struct fault *fault, long at)
{
	memset(&armed, 0, sizeof(armed));
	armed.fault = *fault;
	armed.at = at;
}

static long disarm(void)
{
	armed.fault.kind = NO_FAULT;
	return armed.count;
}

static bool fails_now(bool allocation)
{
	if (armed.fault.kind == NO_FAULT ||
	    allocation != (armed.fault.kind == ALLOCATION))
		return false;
	if (++armed.count != armed.at)
		return false;
	armed.hit = true;
	return true;
}

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
void *__real_CRYPTO_secure_zalloc(size_t size, const char *file, int line);
void *__wrap_CRYPTO_secure_zalloc(size_t size, const char *file, int line);
int __real_sqlite3_step(sqlite3_stmt *stmt);
int __wrap_sqlite3_step(sqlite3_stmt *stmt);
int __real_sqlite3_exec(sqlite3 *db, const char *sql,
			int (*each)(void *, int, char **, char **), void *arg,
			char **message);
int __wrap_sqlite3_exec(sqlite3 *db, const char *sql,
			int (*each)(void *, int, char **, char **), void *arg,
			char **message);

void *__wrap_malloc(size_t size)
{
	return fails_now(true) ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now(true) ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *old, size_t size)
{
	return fails_now(true) ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text)
{
	return fails_now(true) ? NULL : __real_strdup(text);
}

void *__wrap_CRYPTO_secure_zalloc(size_t size, const char *file, int line)
{
	return fails_now(true) ? NULL
			       : __real_CRYPTO_secure_zalloc(size, file, line);
}

int __wrap_sqlite3_step(sqlite3_stmt *stmt)
{
	bool fails = fails_now(false);

	if (fails && armed.fault.kind == STEP)
		return armed.fault.code;
	if (!fails)
		return __real_sqlite3_step(stmt);
	__real_sqlite3_step(stmt);
	return armed.fault.code;
}

int __wrap_sqlite3_exec(sqlite3 *db, const char *sql,
			int (*each)(void *, int, char **, char **), void *arg,
			char **message)
{
	bool fails = fails_now(false);

	if (fails && armed.fault.kind == STEP)
		return armed.fault.code;
	if (!fails)
		return __real_sqlite3_exec(db, sql, each, arg, message);
	__real_sqlite3_exec(db, sql, each, arg, message);
	return armed.fault.code;
}

/* --- the operations --------------------------------------------------------
 */

struct operation {
	const char *name;
	enum kt_err (*run)(struct kt_vault *vault);
	enum kt_rotation_kind kind; /* what is left over; 0: no rotation */
};

static enum kt_err rotate_master(struct kt_vault *vault)
{
	struct kt_rotation rotation;

	return kt_rotation_start(vault, KT_ROTATION_MASTER, NULL, NULL, NULL,
				 &rotation);
}

static enum kt_err rotate_project(struct kt_vault *vault)
{
	struct kt_rotation rotation;

	return kt_rotation_start(vault, KT_ROTATION_PROJECT, "web", NULL, NULL,
				 &rotation);
}

static enum kt_err set_secret(struct kt_vault *vault)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_secret_info info;
	enum kt_err err = kt_secret_copy("new", 3, &value);

	if (err != KT_OK)
		return err;
	return kt_secret_set(vault, "web", "NEW", &value, &info);
}

static const struct operation master = {"master rotation", rotate_master,
					KT_ROTATION_MASTER};
static const struct operation project = {"project rotation", rotate_project,
					 KT_ROTATION_PROJECT};
static const struct operation writing = {"secret", set_secret, 0};

/* As a process of its own does it: opened, done, closed. */
static enum kt_err whole(struct vault_fixture *f, const struct operation *op)
{
	enum kt_err err = kt_vault_open(&f->params, &f->vault);

	if (err == KT_OK)
		err = op->run(f->vault);
	kt_vault_close(f->vault);
	f->vault = NULL;
	return err;
}

/* --- what must hold ---------------------------------------------------------
 */

static enum kt_err no_more(void *arg, const struct kt_rotation *rotation)
{
	*(struct kt_rotation *)arg = *rotation;
	return KT_ERR_NOT_FOUND; /* only the newest */
}

static bool newest_rotation(struct kt_vault *vault, struct kt_rotation *ret)
{
	enum kt_err err = kt_rotation_list(vault, no_more, ret);

	assert_true(err == KT_OK || err == KT_ERR_NOT_FOUND);
	return err == KT_ERR_NOT_FOUND;
}

static bool is_over(const struct kt_rotation *rotation)
{
	return rotation->phase == KT_ROTATION_CONTRACTED ||
	       rotation->phase == KT_ROTATION_DESTROYED ||
	       rotation->phase == KT_ROTATION_ROLLED_BACK;
}

/* Every other one goes back, where there is a way back. */
static void settle_rotation(struct vault_fixture *f, const struct operation *op,
			    bool back)
{
	struct kt_rotation rotation;

	if (!newest_rotation(f->vault, &rotation)) {
		ok(op->run(f->vault));
		return;
	}
	if (is_over(&rotation))
		return;
	if (back && rotation.phase != KT_ROTATION_CONTRACTING)
		ok(kt_rotation_rollback(f->vault, &rotation.id, NULL,
					&rotation));
	else if (rotation.phase == KT_ROTATION_DRAINING)
		ok(kt_rotation_finish(f->vault, &rotation.id, true, NULL,
				      &rotation));
	else
		ok(kt_rotation_resume(f->vault, &rotation.id, NULL, NULL,
				      &rotation));
	assert_true(is_over(&rotation));
}

/* All of it or nothing of it, as the error says; only a commit that took but
 * said no may leave a value that was not acknowledged. */
static void settle_writing(struct vault_fixture *f, const struct fault *fault,
			   enum kt_err said)
{
	enum kt_err there = get(f->vault, "web", "NEW", 0);

	if (said == KT_OK)
		ok(there);
	else if (there != KT_OK || fault->kind != AFTER_STEP)
		assert_int_equal(there, KT_ERR_NOT_FOUND);
	ok(set_secret(f->vault));
	expect(f->vault, "web", "NEW", 0, "new", 3);
}

static void assert_values(struct kt_vault *vault)
{
	for (size_t i = 0; i < NAMES; i++) {
		expect(vault, "web", names[i], 1, names[i], 1);
		expect(vault, "mail", names[i], 1, names[i], 1);
	}
}

/* Rows under keys that nothing may be under any more. */
static const char left_over[] =
	"SELECT count(*) FROM wraps JOIN keys ON keys.id = wrapping_key"
	" WHERE proven IS NULL OR deactivated IS NOT NULL"
	" OR destroyed IS NOT NULL";

static int64_t number(struct vault_fixture *f, const char *sql)
{
	sqlite3_stmt *stmt = NULL;
	sqlite3 *db = NULL;
	int64_t n;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, sql, -1, &stmt, NULL),
			 SQLITE_OK);
	assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
	n = sqlite3_column_int64(stmt, 0);
	sqlite3_finalize(stmt);
	sqlite3_close(db);
	return n;
}

static void assert_all_is_well(struct vault_fixture *f)
{
	struct kt_audit_summary audit;

	assert_values(f->vault);
	ok(kt_audit_verify(f->vault, &audit));
	assert_int_equal(number(f, left_over), 0);
}

static enum kt_err expected(const struct fault *fault)
{
	if (fault->kind == ALLOCATION || fault->code == SQLITE_NOMEM)
		return KT_ERR_MEMORY;
	return fault->code == SQLITE_BUSY ? KT_ERR_BUSY : KT_ERR_STORE;
}

/* What was tolerated is no error; what was not is the one it was, in words. */
static void assert_clean(enum kt_err err, const struct fault *fault)
{
	if (err == KT_OK)
		return;
	if (err != expected(fault))
		print_error("fault %ld of kind %d, code %d: %s\n", armed.at,
			    (int)fault->kind, fault->code, kt_err_detail());
	assert_int_equal(err, expected(fault));
	assert_true(kt_err_detail()[0] != '\0');
}

/* False when the operation has fewer steps. */
static bool fail_at(struct vault_fixture *f, const struct snapshot *snapshot,
		    const struct operation *op, const struct fault *fault,
		    long at)
{
	enum kt_err err;

	snapshot_restore(snapshot);
	arm(fault, at);
	err = whole(f, op);
	disarm();
	if (!armed.hit) {
		ok(err);
		return false;
	}
	assert_clean(err, fault);
	/* A commit that took but said no leaves the lease, and unlike a command
	 * this process lives on: the lease's time is over, then. */
	sql(f, "UPDATE lease SET renewed = 1");
	ok(kt_vault_open(&f->params, &f->vault));
	if (op->kind != 0)
		settle_rotation(f, op, at % 2 != 0);
	else
		settle_writing(f, fault, err);
	assert_all_is_well(f);
	kt_vault_close(f->vault);
	f->vault = NULL;
	return true;
}

static long count_steps(struct vault_fixture *f,
			const struct snapshot *snapshot,
			const struct operation *op, const struct fault *fault)
{
	snapshot_restore(snapshot);
	arm(fault, -1);
	ok(whole(f, op));
	return disarm();
}

/* --- the tests ---------------------------------------------------------------
 */

static struct snapshot *start_state;

static int setup(void **state)
{
	struct vault_fixture *f;

	vault_fixture_start(state);
	vault_fixture_setup(state);
	f = *state;
	for (size_t i = 0; i < NAMES; i++) {
		put(f->vault, "web", names[i], names[i], 1);
		put(f->vault, "mail", names[i], names[i], 1);
	}
	kt_vault_close(f->vault);
	f->vault = NULL;
	start_state = snapshot_take(f->hsm.folder);
	return 0;
}

static int teardown(void **state)
{
	snapshot_free(start_state);
	return vault_fixture_stop(state);
}

static void one_fault_each(struct vault_fixture *f, const struct operation *op,
			   const struct fault *fault)
{
	bool full = getenv("KEYTURN_TORTURE_FULL") != NULL;
	const char *round = getenv("KEYTURN_TORTURE_ROUND");
	long steps = count_steps(f, start_state, op, fault);
	long stride = full || steps < SAMPLE ? 1 : steps / SAMPLE;
	long first = round != NULL ? strtol(round, NULL, 10) % stride : 0;
	long faults = 0;

	for (long at = 1 + first; at <= steps; at += stride, faults++)
		assert_true(fail_at(f, start_state, op, fault, at));
	assert_false(fail_at(f, start_state, op, fault, steps + 1));
	print_message("%s: %ld faults in %ld places\n", op->name, faults,
		      steps);
}

static const struct fault allocation = {ALLOCATION, 0};

static void each_statement(struct vault_fixture *f, const struct operation *op)
{
	static const struct fault faults[] = {
		{STEP, SQLITE_IOERR},       {STEP, SQLITE_NOMEM},
		{STEP, SQLITE_FULL},        {STEP, SQLITE_BUSY},
		{AFTER_STEP, SQLITE_IOERR},
	};

	for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
		one_fault_each(f, op, &faults[i]);
}

static void an_allocation_of_a_master_rotation_fails(void **state)
{
	one_fault_each(*state, &master, &allocation);
}

static void a_statement_of_a_master_rotation_fails(void **state)
{
	each_statement(*state, &master);
}

static void an_allocation_of_a_project_rotation_fails(void **state)
{
	one_fault_each(*state, &project, &allocation);
}

static void a_statement_of_a_project_rotation_fails(void **state)
{
	each_statement(*state, &project);
}

static void an_allocation_of_a_write_fails(void **state)
{
	one_fault_each(*state, &writing, &allocation);
}

static void a_statement_of_a_write_fails(void **state)
{
	each_statement(*state, &writing);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_allocation_of_a_master_rotation_fails),
		cmocka_unit_test(a_statement_of_a_master_rotation_fails),
		cmocka_unit_test(an_allocation_of_a_project_rotation_fails),
		cmocka_unit_test(a_statement_of_a_project_rotation_fails),
		cmocka_unit_test(an_allocation_of_a_write_fails),
		cmocka_unit_test(a_statement_of_a_write_fails),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
