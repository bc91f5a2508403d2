/*
 * The store on a bad day: a disk that fails at any one call, a full disk, a
 * writer that is killed, another process that holds the lock. Always: a clear
 * error, all of a transaction or nothing, and everything readable.
 */
#include "store_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/file.h"
#include "fault_vfs.h"

#define BEFORE 300
#define ADDED 200

/* One batch as a rotation does it; leaves the store as it found it on error. */
static enum kt_err add_batch(struct store *store)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct lease_row lease;

	TRY(store_begin(store, STORE_WRITE, &tx));
	for (uint32_t i = 0; i < ADDED; i++) {
		struct wrap_row wrap = wrap_of(2, 10 + i);

		TRY(store_insert(store, ROW_WRAP, &wrap));
	}
	TRY(query_one(store, Q_LEASE, &lease, ""));
	lease.fence++;
	TRY(store_update(store, ROW_LEASE, &lease));
	return store_commit(&tx);
}

static void fill(struct store *store)
{
	struct lease_row lease = {.id = 1};

	insert_masters(store);
	insert_wraps(store, 10, BEFORE);
	insert(store, ROW_LEASE, &lease);
}

/* Whether the batch is there; all of it or nothing of it is. */
static bool batch_is_there(struct store *store)
{
	int64_t added = count_of(store, 2);
	struct lease_row lease;

	assert_ok(query_one(store, Q_LEASE, &lease, ""));
	assert_int_equal(count_of(store, 1), BEFORE);
	assert_true(added == 0 || added == ADDED);
	assert_int_equal(lease.fence, added / ADDED);
	return added == ADDED;
}

/* What the error of a batch promises, against what is on the disk. */
static void assert_promise(struct fixture *fixture, enum kt_err err,
			   const char *detail)
{
	struct store *store = fixture_connect(fixture, 0);
	bool there = batch_is_there(store);

	assert_ok(store_check(store));
	if (err == KT_OK)
		assert_true(there);
	else if (strstr(detail, "commit unknown") == NULL)
		assert_false(there);
	store_close(store);
}

static void undo_batch(struct fixture *fixture)
{
	struct store *store = fixture_connect(fixture, 0);
	struct lease_row lease;

	remove_wraps(store, 2);
	assert_ok(query_one(store, Q_LEASE, &lease, ""));
	lease.fence = 0;
	assert_ok(store_update(store, ROW_LEASE, &lease));
	store_close(store);
}

/* One batch whose at-th change of the disk fails; false when it has fewer. */
static bool fail_at(struct fixture *fixture, int at, int code, bool lasts)
{
	struct store *store = fixture_connect(fixture, 0);
	char detail[1024];
	enum kt_err err;
	bool hit;

	fault_vfs_arm(at, code, lasts);
	err = add_batch(store);
	hit = fault_vfs_hit();
	snprintf(detail, sizeof(detail), "%s", kt_err_detail());
	if (hit && err != KT_OK && err != KT_ERR_STORE)
		fail_msg("at %d: %s: %s", at, kt_err_name(err), detail);
	store_close(store);
	fault_vfs_arm(0, 0, false);
	assert_promise(fixture, err, detail);
	undo_batch(fixture);
	return hit;
}

/* Also on the same connection, once the disk is well again. */
static void any_change_of_the_disk_may_fail(void **state)
{
	static const int codes[] = {SQLITE_IOERR_WRITE, SQLITE_FULL};
	struct fixture *fixture = *state;

	fill(fixture->store);
	for (size_t i = 0; i < 2 * sizeof(codes) / sizeof(codes[0]); i++) {
		int at = 1;

		while (fail_at(fixture, at, codes[i / 2], i % 2 == 1))
			at++;
		assert_true(at > 10);
	}
}

static void a_connection_recovers(void **state)
{
	struct fixture *fixture = *state;
	bool hit;
	int at = 1;

	fill(fixture->store);
	do {
		enum kt_err err;

		fault_vfs_arm(at++, SQLITE_FULL, false);
		err = add_batch(fixture->store);
		hit = fault_vfs_hit();
		fault_vfs_arm(0, 0, false);
		if (!batch_is_there(fixture->store)) {
			assert_int_not_equal(err, KT_OK);
			assert_ok(add_batch(fixture->store));
		}
		assert_true(batch_is_there(fixture->store));
		undo_batch(fixture);
	} while (hit);
}

static void a_failed_create_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct store *store;
	char path[200];
	struct store_params params = {.path = path};
	bool hit = true;

	snprintf(path, sizeof(path), "%s/new.db", fixture->dir);
	for (int at = 1; hit; at++) {
		enum kt_err err;

		fault_vfs_arm(at, SQLITE_FULL, true);
		err = store_create(&params, &store);
		hit = fault_vfs_hit();
		fault_vfs_arm(0, 0, false);
		assert_int_equal(err, hit ? KT_ERR_STORE : KT_OK);
		assert_int_equal(file_exists(path), !hit);
	}
	store_discard(store);
}

static void a_failed_backup_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	char path[200];
	bool hit = true;

	fill(fixture->store);
	snprintf(path, sizeof(path), "%s/copy.db", fixture->dir);
	for (int at = 1; hit; at++) {
		enum kt_err err;

		fault_vfs_arm(at, SQLITE_FULL, true);
		err = store_backup(fixture->store, path);
		hit = fault_vfs_hit();
		fault_vfs_arm(0, 0, false);
		assert_int_equal(err, hit ? KT_ERR_STORE : KT_OK);
		assert_int_equal(file_exists(path), !hit);
	}
	assert_false(batch_is_there(fixture->store));
}

/* A transaction that SQLite rolled back by itself must not go on as single
 * writes, nor commit. */
static void a_lost_transaction_stays_lost(void **state)
{
	struct fixture *fixture = *state;
	struct project_row row = project_of(20, "alpha");
	struct secret_row secret = secret_of(30, 20, "big");
	enum kt_err err = KT_OK;
	struct store_tx *tx;

	insert_masters(fixture->store);
	assert_ok(store_begin(fixture->store, STORE_WRITE, &tx));
	insert(fixture->store, ROW_PROJECT, &row);
	insert(fixture->store, ROW_SECRET, &secret);
	fault_vfs_arm(1, SQLITE_FULL, true);
	for (uint32_t i = 1; err == KT_OK; i++) { /* until its cache spills */
		struct key_row dek = key_of(KT_KEY_DEK, 40 + i, 30, i);
		struct version_row version = version_of(30, i, 40 + i, 500000);

		err = store_insert(fixture->store, ROW_KEY, &dek);
		if (err == KT_OK)
			err = store_insert(fixture->store, ROW_VERSION,
					   &version);
		row_done(ROW_VERSION, &version);
	}
	assert_int_equal(err, KT_ERR_STORE);
	fault_vfs_arm(0, 0, false);
	row = project_of(21, "beta");
	assert_err(store_insert(fixture->store, ROW_PROJECT, &row),
		   KT_ERR_STORE);
	assert_err(store_commit(&tx), KT_ERR_STORE);
	insert(fixture->store, ROW_PROJECT, &row);
	assert_err(query_one(fixture->store, Q_PROJECTS_BY_NAME, &row, "s",
			     "alpha"),
		   KT_ERR_NOT_FOUND);
}

/* A real limit of the file system, in a process of its own. */
static void a_full_disk_loses_nothing(void **state)
{
	struct fixture *fixture = *state;
	int status;
	pid_t pid;

	fill(fixture->store);
	store_close(fixture->store);
	pid = fork();
	if (pid == 0) {
		struct store *store = fixture_connect(fixture, 0);
		struct store_info info;
		enum kt_err err;

		signal(SIGXFSZ, SIG_IGN);
		assert_ok(store_info(store, &info));
		setrlimit(RLIMIT_FSIZE,
			  &(struct rlimit){(rlim_t)info.size + 4096,
					   (rlim_t)info.size + 4096});
		err = add_batch(store);
		_exit(err == KT_ERR_STORE && !batch_is_there(store) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	fixture->store = fixture_connect(fixture, 0);
	assert_false(batch_is_there(fixture->store));
	assert_ok(add_batch(fixture->store));
}

static enum kt_err hold_transaction(struct store *store, int ready)
{
	struct store_tx *tx;

	TRY(store_begin(store, STORE_WRITE, &tx));
	if (remove_wraps(store, 1) == 0)
		return err_raise(KT_ERR_FAILED, "nothing was removed");
	TRY(fd_write_all(ready, "!", 1));
	for (;;)
		pause();
}

/* A child that does not outlive a test that failed. */
static pid_t fork_bound(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* A child that deletes every wrap under master 1 and never commits. */
static pid_t start_writer(struct fixture *fixture)
{
	int ends[2];
	pid_t pid;
	char byte;

	assert_int_equal(pipe(ends), 0);
	pid = fork_bound();
	if (pid == 0) {
		struct store *store = fixture_connect(fixture, 0);

		_exit(hold_transaction(store, ends[1]) == KT_OK);
	}
	close(ends[1]);
	assert_int_equal(read(ends[0], &byte, 1), 1);
	close(ends[0]);
	return pid;
}

static void kill_writer(pid_t pid)
{
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* So many rows that the transaction wrote into the database file itself: only
 * its journal brings them back. */
static void a_killed_writer_changed_nothing(void **state)
{
	struct fixture *fixture = *state;

	insert_masters(fixture->store);
	insert_wraps(fixture->store, 10, 30000);
	store_close(fixture->store);
	for (int i = 0; i < 3; i++) {
		kill_writer(start_writer(fixture));
		fixture->store = fixture_connect(fixture, 0);
		assert_int_equal(count_of(fixture->store, 1), 30000);
		assert_ok(store_check(fixture->store));
		if (i < 2)
			store_close(fixture->store);
	}
}

static void waiting_for_a_lock_has_an_end(void **state)
{
	struct fixture *fixture = *state;
	struct store *store;
	struct store_tx *tx;
	int64_t start;
	pid_t pid;

	fill(fixture->store);
	store_close(fixture->store);
	pid = start_writer(fixture);
	store = fixture_connect(fixture, 200);
	start = clock_monotonic_ms();
	assert_err(store_begin(store, STORE_WRITE, &tx), KT_ERR_BUSY);
	assert_in_range(clock_monotonic_ms() - start, 100, 5000);
	assert_non_null(strstr(kt_err_detail(),
			       "database is locked by another process"));
	assert_int_equal(count_of(store, 1), BEFORE);
	kill_writer(pid);
	assert_ok(add_batch(store));
	fixture->store = store;
}

static enum kt_err write_for_ever(struct store *store)
{
	for (uint32_t i = 10;; i++) {
		CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
		struct key_row key = key_of(KT_KEY_DEK, i, 9, i);
		struct wrap_row old = wrap_of(1, i), new = wrap_of(2, i);

		TRY(store_begin(store, STORE_WRITE, &tx));
		TRY(store_insert(store, ROW_KEY, &key));
		TRY(store_insert(store, ROW_WRAP, &old));
		TRY(store_insert(store, ROW_WRAP, &new));
		TRY(store_commit(&tx));
	}
}

/* Each copy is of one moment: both wraps of a key or none. */
static void backups_are_whole_while_others_write(void **state)
{
	struct fixture *fixture = *state, copy = *fixture;
	pid_t pid;

	insert_masters(fixture->store);
	store_close(fixture->store);
	pid = fork_bound();
	if (pid == 0)
		_exit(write_for_ever(fixture_connect(fixture, 0)) == KT_OK);
	fixture->store = fixture_connect(fixture, 0);
	for (int i = 0; i < 10; i++) {
		snprintf(copy.path, sizeof(copy.path), "%s/copy%d.db",
			 fixture->dir, i);
		assert_ok(store_backup(fixture->store, copy.path));
		copy.store = fixture_connect(&copy, 0);
		assert_int_equal(count_of(copy.store, 1),
				 count_of(copy.store, 2));
		store_close(copy.store);
	}
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	kill_writer(pid);
}

/* The way a rotation walks: each row once, however many there are, while their
 * twins are being written. */
static void batches_visit_each_row_once(void **state)
{
	enum { ROWS = 100000, BATCH = 1000 };
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id old = id_of(1), new = id_of(2), after = {0};
	struct count_row missing;
	int64_t seen = 0, batch = BATCH, got = BATCH;

	insert_masters(s);
	insert_wraps(s, 10, ROWS);
	while (got == BATCH) {
		CLEANUP(query_donep) struct query *query = NULL;
		CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
		struct wrap_row row;
		enum kt_err err;

		assert_ok(store_begin(s, STORE_WRITE, &tx));
		assert_ok(query_start(s, Q_WRAPS_MISSING, &query, "bbbi", &old,
				      &new, &after, batch));
		for (got = 0; (err = query_next(query, &row)) == KT_OK; got++) {
			assert_int_equal(be32_get(row.subject.bytes + 12),
					 10 + seen++);
			after = row.subject;
			row.wrapping_key = new;
			insert(s, ROW_WRAP, &row);
		}
		assert_int_equal(err, KT_ERR_NOT_FOUND);
		query_done(TAKE(query));
		assert_ok(store_commit(&tx));
	}
	assert_int_equal(seen, ROWS);
	assert_ok(
		query_one(s, Q_WRAP_MISSING_COUNT, &missing, "bb", &old, &new));
	assert_int_equal(missing.n, 0);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(any_change_of_the_disk_may_fail),
		TEST(a_connection_recovers),
		TEST(a_failed_create_leaves_nothing),
		TEST(a_failed_backup_leaves_nothing),
		TEST(a_lost_transaction_stays_lost),
		TEST(a_full_disk_loses_nothing),
		TEST(a_killed_writer_changed_nothing),
		TEST(waiting_for_a_lock_has_an_end),
		TEST(backups_are_whole_while_others_write),
		TEST(batches_visit_each_row_once),
	};

	fault_vfs_install();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
