/*
 * Making and opening databases: what is not ours is refused and left as it
 * was, settings are in force, and a file that went away is noticed. Checks and
 * backups too.
 */
#include "store_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/file.h"
#include "store/sqlite/sqlite.h"

static struct store_params params_of(struct fixture *fixture, const char *name,
				     char *ret_path, size_t size)
{
	snprintf(ret_path, size, "%s/%s", fixture->dir, name);
	return (struct store_params){.path = ret_path};
}

static mode_t mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void sql(const char *path, const char *text)
{
	sqlite3 *sq;

	assert_int_equal(sqlite3_open(path, &sq), SQLITE_OK);
	if (sqlite3_exec(sq, text, NULL, NULL, NULL) != SQLITE_OK)
		fail_msg("%s: %s", text, sqlite3_errmsg(sq));
	sqlite3_close(sq);
}

static void files_are_private(void **state)
{
	struct fixture *fixture = *state;
	struct store *store;
	char path[160], dir[160];
	struct store_params params =
		params_of(fixture, "a/b/new.db", path, sizeof(path));
	mode_t mask = umask(0);

	assert_ok(store_create(&params, &store));
	umask(mask);
	store_close(store);
	assert_int_equal(mode_of(path), 0600);
	assert_ok(dir_of(path, dir, sizeof(dir)));
	assert_int_equal(mode_of(dir), 0700);
}

static void nothing_is_made_over_something(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = NULL;
	struct store_params params = {.path = fixture->path};
	char path[160];

	insert_masters(fixture->store);
	assert_err(store_create(&params, &store), KT_ERR_EXISTS);
	params = params_of(fixture, "link.db", path, sizeof(path));
	assert_int_equal(symlink("nowhere", path), 0);
	assert_err(store_create(&params, &store), KT_ERR_EXISTS);
	assert_null(store);
	assert_ok(store_check(fixture->store));
}

static void nothing_is_made_by_opening(void **state)
{
	struct store *store = NULL;
	char path[160];
	struct store_params params =
		params_of(*state, "missing.db", path, sizeof(path));

	assert_err(store_open(&params, &store), KT_ERR_STORE);
	assert_non_null(strstr(kt_err_detail(), "there is no database"));
	assert_string_not_equal(kt_err_hint(), "");
	assert_false(file_exists(path));
	params.path = ((struct fixture *)*state)->dir;
	assert_err(store_open(&params, &store), KT_ERR_STORE);
	assert_non_null(strstr(kt_err_detail(), "is not a file"));
	assert_null(store);
}

/* Refused with this code and word, and not a byte of it changed. */
static void assert_refused(const char *path, enum kt_err err, const char *word)
{
	struct store_params params = {.path = path};
	uint8_t before[32], after[32];
	struct store *store = NULL;
	int64_t size;

	assert_ok(file_digest(path, before, &size));
	assert_err(store_open(&params, &store), err);
	if (strstr(kt_err_detail(), word) == NULL)
		fail_msg("%s", kt_err_detail());
	assert_ok(file_digest(path, after, &size));
	assert_memory_equal(before, after, sizeof(before));
	assert_null(store);
}

static void foreign_files_are_refused(void **state)
{
	char path[160];

	params_of(*state, "text", path, sizeof(path));
	assert_ok(file_write_new(path, "hello, I am a text", 18));
	assert_refused(path, KT_ERR_SCHEMA, "not a database");
	params_of(*state, "empty", path, sizeof(path));
	assert_ok(file_write_new(path, "", 0));
	assert_refused(path, KT_ERR_SCHEMA, "is not a keyturn database");
	params_of(*state, "other.db", path, sizeof(path));
	sql(path, "CREATE TABLE keys (a); PRAGMA user_version = 1");
	assert_refused(path, KT_ERR_SCHEMA, "is not a keyturn database");
	params_of(*state, "bare.db", path, sizeof(path));
	sql(path, "CREATE TABLE t (a); PRAGMA application_id = 1802793582");
	assert_refused(path, KT_ERR_SCHEMA, "is not a keyturn database");
}

static void a_newer_schema_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = fixture->store;
	struct store_tx *tx;

	insert_masters(store);
	sql(fixture->path, "PRAGMA user_version = 99");
	assert_err(store_begin(store, STORE_WRITE, &tx), KT_ERR_SCHEMA);
	store_close(store);
	assert_refused(fixture->path, KT_ERR_SCHEMA, "newer keyturn");
	sql(fixture->path, "PRAGMA user_version = 1");
	fixture->store = fixture_connect(fixture, 0);
}

/* In a process without root's rights: err, with this word in its detail. */
static void assert_nobody_opens(const char *path, enum kt_err err,
				const char *word)
{
	struct store_params params = {.path = path};
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct store *store;

		if (geteuid() == 0 && setresuid(65534, 65534, 65534) != 0)
			_exit(1);
		if (store_open(&params, &store) != err)
			_exit(2);
		_exit(err != KT_OK && strstr(kt_err_detail(), word) == NULL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void read_only_is_refused(void **state)
{
	struct fixture *fixture = *state;

	if (geteuid() == 0) {
		assert_int_equal(chown(fixture->dir, 65534, 65534), 0);
		assert_int_equal(chown(fixture->path, 65534, 65534), 0);
	}
	assert_nobody_opens(fixture->path, KT_OK, "");
	assert_int_equal(chmod(fixture->path, 0400), 0);
	assert_nobody_opens(fixture->path, KT_ERR_STORE, "is read-only");
	assert_int_equal(chmod(fixture->path, 0), 0);
	assert_nobody_opens(fixture->path, KT_ERR_STORE, "cannot open");
	assert_int_equal(chmod(fixture->path, 0600), 0);
	assert_int_equal(chmod(fixture->dir, 0500), 0);
	assert_nobody_opens(fixture->path, KT_ERR_STORE, "directory");
	assert_int_equal(chmod(fixture->dir, 0700), 0);
}

static void a_file_that_went_away_is_noticed(void **state)
{
	struct fixture *fixture = *state;
	struct store *store = fixture->store;
	struct project_row row = project_of(20, "alpha");
	char path[160];
	struct store_tx *tx;

	insert_masters(store);
	params_of(fixture, "moved.db", path, sizeof(path));
	assert_int_equal(rename(fixture->path, path), 0);
	assert_err(store_begin(store, STORE_WRITE, &tx), KT_ERR_STORE);
	assert_err(store_insert(store, ROW_PROJECT, &row), KT_ERR_STORE);
	assert_ok(file_write_new(fixture->path, "another", 7));
	assert_err(store_begin(store, STORE_WRITE, &tx), KT_ERR_STORE);
	assert_non_null(strstr(kt_err_detail(), "removed or replaced"));
	assert_int_equal(rename(path, fixture->path), 0);
	insert(store, ROW_PROJECT, &row);
}

static void only_what_was_made_is_discarded(void **state)
{
	struct fixture *fixture = *state;
	struct store *store;
	char path[160];
	struct store_params params =
		params_of(fixture, "new.db", path, sizeof(path));

	assert_ok(store_create(&params, &store));
	assert_true(file_exists(path));
	store_discard(store);
	assert_false(file_exists(path));
	store_discard(fixture_connect(fixture, 0));
	assert_true(file_exists(fixture->path));
	store_discard(NULL);
	store_close(NULL);
}

/* A relative name that SQLite reads as "in memory" is a file all the same. */
static void names_have_no_magic(void **state)
{
	struct fixture *fixture = *state;
	struct store_params params = {.path = ":memory:"};
	char here[4096], path[160];
	struct store *store;

	assert_non_null(getcwd(here, sizeof(here)));
	assert_int_equal(chdir(fixture->dir), 0);
	assert_ok(store_create(&params, &store));
	assert_int_equal(chdir(here), 0);
	store_close(store);
	params = params_of(fixture, ":memory:", path, sizeof(path));
	assert_ok(store_open(&params, &store));
	store_close(store);
}

static void wal_needs_a_good_library(void **state)
{
	static const struct {
		int version;
		bool safe;
	} versions[] = {
		{3007000, false}, {3040001, false}, {3044005, false},
		{3044006, true},  {3045000, false}, {3050006, false},
		{3050007, true},  {3051000, false}, {3051002, false},
		{3051003, true},  {3052000, true},  {4000000, true},
	};
	struct fixture *fixture = *state;
	bool safe = sqlite_wal_is_safe(sqlite3_libversion_number());
	struct store_info info;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++)
		assert_int_equal(sqlite_wal_is_safe(versions[i].version),
				 versions[i].safe);
	assert_ok(store_info(fixture->store, &info));
	assert_string_equal(info.journal_mode, safe ? "wal" : "delete");
	assert_string_equal(info.synchronous, safe ? "full" : "extra");
	assert_int_equal(info.wal_reset_bug, !safe);
	assert_string_equal(info.path, fixture->path);
	assert_int_equal(info.schema, 1);
	assert_true(info.size > 4096);
	assert_non_null(strstr(info.library, sqlite3_libversion()));
}

/* A database that another library version left in WAL mode. */
static void the_journal_mode_follows_the_library(void **state)
{
	struct fixture *fixture = *state;
	struct store_info info;

	store_close(fixture->store);
	sql(fixture->path, "PRAGMA journal_mode = WAL");
	fixture->store = fixture_connect(fixture, 0);
	assert_ok(store_info(fixture->store, &info));
	assert_string_equal(info.journal_mode,
			    info.wal_reset_bug ? "delete" : "wal");
	insert_masters(fixture->store);
}

/* Name, type and key of every column: the description is the schema. */
static void descriptions_are_the_schema(void **state)
{
	static const char *const types[] = {
		[COLUMN_INT] = "INTEGER", [COLUMN_TIME] = "INTEGER",
		[COLUMN_ID] = "BLOB",     [COLUMN_ID_OPT] = "BLOB",
		[COLUMN_TEXT] = "TEXT",   [COLUMN_BLOB] = "BLOB",
		[COLUMN_MAC] = "BLOB",    [COLUMN_BYTES] = "BLOB",
	};
	struct fixture *fixture = *state;
	sqlite3 *sq;

	assert_int_equal(sqlite3_open(fixture->path, &sq), SQLITE_OK);
	for (int type = 0; type < ROW_COUNT; type++) {
		const struct row_desc *desc = row_desc((enum row_type)type);
		sqlite3_stmt *stmt;

		assert_int_equal(
			sqlite3_prepare_v2(sq,
					   "SELECT name, type, pk > 0 FROM"
					   " pragma_table_info(?1)",
					   -1, &stmt, NULL),
			SQLITE_OK);
		sqlite3_bind_text(stmt, 1, desc->table, -1, SQLITE_STATIC);
		for (size_t i = 0; i < desc->columns; i++) {
			const struct column *column = &desc->column[i];

			assert_int_equal(sqlite3_step(stmt), SQLITE_ROW);
			assert_string_equal(sqlite3_column_text(stmt, 0),
					    column->name);
			assert_string_equal(sqlite3_column_text(stmt, 1),
					    types[column->kind]);
			assert_int_equal(sqlite3_column_int(stmt, 2),
					 column->key);
		}
		assert_int_equal(sqlite3_step(stmt), SQLITE_DONE);
		sqlite3_finalize(stmt);
	}
	sqlite3_close(sq);
}

static void damage_is_found(void **state)
{
	struct fixture *fixture = *state;
	uint8_t garbage[4096];
	int fd;

	insert_masters(fixture->store);
	insert_wraps(fixture->store, 10, 2000);
	assert_ok(store_check(fixture->store));
	fixture_tamper(fixture, "DELETE FROM keys WHERE hex(id) LIKE '%0A'");
	assert_err(store_check(fixture->store), KT_ERR_INTEGRITY);
	assert_non_null(
		strstr(kt_err_detail(), "wraps names a missing row of keys"));
	store_close(fixture->store);
	memset(garbage, 0xa5, sizeof(garbage));
	fd = open(fixture->path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (int page = 30; page < 90; page++)
		assert_int_equal(pwrite(fd, garbage, 4096, page * 4096), 4096);
	close(fd);
	fixture->store = fixture_connect(fixture, 0);
	assert_err(store_check(fixture->store), KT_ERR_INTEGRITY);
}

static void a_backup_is_a_database(void **state)
{
	struct fixture *fixture = *state, copied = *fixture;
	struct store_tx *tx;
	char path[160], side[192];

	insert_masters(fixture->store);
	insert_wraps(fixture->store, 10, 1000);
	params_of(fixture, "copy.db", path, sizeof(path));
	assert_ok(store_begin(fixture->store, STORE_WRITE, &tx));
	assert_err(store_backup(fixture->store, path), KT_ERR_FAILED);
	store_rollback(tx);
	assert_false(file_exists(path));
	assert_ok(store_backup(fixture->store, path));
	assert_int_equal(mode_of(path), 0600);
	snprintf(side, sizeof(side), "%s-journal", path);
	assert_false(file_exists(side));
	assert_err(store_backup(fixture->store, path), KT_ERR_EXISTS);
	snprintf(copied.path, sizeof(copied.path), "%s", path);
	copied.store = fixture_connect(&copied, 0);
	assert_int_equal(count_of(copied.store, 1), 1000);
	assert_ok(store_check(copied.store));
	store_close(copied.store);
}

static void a_failed_backup_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	char path[160];

	params_of(fixture, "no/copy.db", path, sizeof(path));
	assert_err(store_backup(fixture->store, path), KT_ERR_STORE);
	insert_masters(fixture->store);
	insert_wraps(fixture->store, 10, 10);
	fixture_tamper(fixture, "DELETE FROM keys WHERE hex(id) LIKE '%0B'");
	params_of(fixture, "copy.db", path, sizeof(path));
	assert_err(store_backup(fixture->store, path), KT_ERR_INTEGRITY);
	assert_false(file_exists(path));
}

static void write_text(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void assert_text(const char *path, const char *text)
{
	char is[64] = "";
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	assert_non_null(fgets(is, sizeof(is), file));
	fclose(file);
	assert_string_equal(is, text);
}

static void a_copy_is_only_read(void **state)
{
	struct fixture *fixture = *state;
	struct store_sealer sealer = fixture_sealer(fixture);
	struct kt_id master = id_of(1);
	struct store *copy = NULL;
	uint8_t before[32], after[32];
	char path[160], journal[200];
	struct key_row key;
	int64_t size;

	snprintf(path, sizeof(path), "%s/copy.db", fixture->dir);
	snprintf(journal, sizeof(journal), "%s-journal", path);
	insert_masters(fixture->store);
	assert_ok(store_backup(fixture->store, path));
	assert_ok(file_digest(path, before, &size));
	assert_ok(store_open_copy(path, &copy));
	store_set_sealer(copy, &sealer);
	assert_ok(query_one(copy, Q_KEY, &key, "b", &master));
	assert_err(store_remove(copy, ROW_KEY, &key), KT_ERR_STORE);
	assert_ok(store_check(copy));
	store_close(copy);
	assert_ok(file_digest(path, after, &size));
	assert_memory_equal(before, after, sizeof(before));
	assert_false(file_exists(journal));
	write_text(journal, "x");
	assert_err(store_open_copy(path, &copy), KT_ERR_SCHEMA);
}

static void a_copy_in_wal_mode_is_refused(void **state)
{
	struct fixture *fixture = *state;
	struct store *copy = NULL;
	char path[160], wal[200];

	snprintf(path, sizeof(path), "%s/copy.db", fixture->dir);
	snprintf(wal, sizeof(wal), "%s-wal", path);
	assert_ok(store_backup(fixture->store, path));
	sql(path, "PRAGMA journal_mode = WAL");
	assert_err(store_open_copy(path, &copy), KT_ERR_SCHEMA);
	assert_false(file_exists(wal));
}

/* Names in the folder of the fixture. */
struct paths {
	char path[160], side[160], by[160], aside[160], aside_side[160];
};

static void name_paths(struct fixture *fixture, struct paths *ret)
{
	snprintf(ret->path, sizeof(ret->path), "%s/the.db", fixture->dir);
	snprintf(ret->side, sizeof(ret->side), "%s/the.db-wal", fixture->dir);
	snprintf(ret->by, sizeof(ret->by), "%s/by.db", fixture->dir);
	snprintf(ret->aside, sizeof(ret->aside), "%s/old.db", fixture->dir);
	snprintf(ret->aside_side, sizeof(ret->aside_side), "%s/old.db-wal",
		 fixture->dir);
}

static void what_is_replaced_goes_aside_with_its_journal(void **state)
{
	struct paths p;

	name_paths(*state, &p);
	write_text(p.path, "old");
	write_text(p.side, "journal");
	write_text(p.by, "new");
	assert_ok(store_replace(p.path, false, p.by, p.aside));
	assert_text(p.path, "new");
	assert_text(p.aside, "old");
	assert_text(p.aside_side, "journal");
	assert_false(file_exists(p.side));
	assert_false(file_exists(p.by));
	/* nothing aside is lost to the next one */
	write_text(p.by, "newer");
	assert_err(store_replace(p.path, false, p.by, p.aside), KT_ERR_EXISTS);
	assert_text(p.path, "new");
	assert_text(p.aside, "old");
}

static void what_is_given_up_takes_its_journal_along(void **state)
{
	struct paths p;

	name_paths(*state, &p);
	write_text(p.path, "old");
	write_text(p.side, "journal");
	write_text(p.by, "new");
	assert_ok(store_replace(p.path, false, p.by, NULL));
	assert_text(p.path, "new");
	assert_false(file_exists(p.side));
	assert_false(file_exists(p.by));
}

static void what_came_meanwhile_is_not_replaced(void **state)
{
	struct paths p;

	name_paths(*state, &p);
	write_text(p.by, "new");
	write_text(p.path, "old");
	assert_err(store_replace(p.path, true, p.by, p.aside), KT_ERR_EXISTS);
	assert_text(p.path, "old");
	assert_int_equal(unlink(p.path), 0);
	write_text(p.side, "journal");
	assert_ok(store_replace(p.path, true, p.by, p.aside));
	assert_text(p.path, "new");
	assert_text(p.aside_side, "journal");
}

static void a_failed_replacement_goes_back(void **state)
{
	struct paths p;

	name_paths(*state, &p);
	write_text(p.path, "old");
	write_text(p.side, "journal");
	assert_err(store_replace(p.path, false, p.by, p.aside), KT_ERR_STORE);
	assert_text(p.path, "old");
	assert_text(p.side, "journal");
	assert_false(file_exists(p.aside));
}

/* What another file took the place of is not read any more either. */
static void a_replaced_database_is_not_read(void **state)
{
	struct fixture *fixture = *state;
	struct kt_id master = id_of(1);
	struct query *query = NULL;
	struct key_row key;
	char path[160];

	snprintf(path, sizeof(path), "%s/copy.db", fixture->dir);
	insert_masters(fixture->store);
	assert_ok(store_backup(fixture->store, path));
	assert_ok(query_one(fixture->store, Q_KEY, &key, "b", &master));
	assert_ok(store_replace(fixture->path, false, path, NULL));
	assert_err(query_one(fixture->store, Q_KEY, &key, "b", &master),
		   KT_ERR_STORE);
	assert_err(store_scan(fixture->store, ROW_KEY, &query), KT_ERR_STORE);
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(files_are_private),
		TEST(nothing_is_made_over_something),
		TEST(nothing_is_made_by_opening),
		TEST(foreign_files_are_refused),
		TEST(a_newer_schema_is_refused),
		TEST(read_only_is_refused),
		TEST(a_file_that_went_away_is_noticed),
		TEST(only_what_was_made_is_discarded),
		TEST(names_have_no_magic),
		TEST(wal_needs_a_good_library),
		TEST(the_journal_mode_follows_the_library),
		TEST(descriptions_are_the_schema),
		TEST(damage_is_found),
		TEST(a_backup_is_a_database),
		TEST(a_failed_backup_leaves_nothing),
		TEST(a_copy_is_only_read),
		TEST(a_copy_in_wal_mode_is_refused),
		TEST(what_is_replaced_goes_aside_with_its_journal),
		TEST(what_is_given_up_takes_its_journal_along),
		TEST(what_came_meanwhile_is_not_replaced),
		TEST(a_failed_replacement_goes_back),
		TEST(a_replaced_database_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
