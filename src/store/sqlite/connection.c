/*
 * A connection whose settings make that what it acknowledges is on the disk,
 * and that what lies in the file cannot act. A setting counts when it is read
 * back.
 */
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "store/sqlite/sqlite.h"

#define BUSY_TIMEOUT_MS 10000
#define BUSY_PAUSE_MS 2

static const struct {
	const char *set;
	const char *ask;
	const char *expect;
} pragmas[] = {
	{"PRAGMA foreign_keys = ON", "PRAGMA foreign_keys", "1"},
	{"PRAGMA secure_delete = ON", "PRAGMA secure_delete", "1"},
	{"PRAGMA cell_size_check = ON", "PRAGMA cell_size_check", "1"},
	{"PRAGMA temp_store = MEMORY", "PRAGMA temp_store", "2"},
	{"PRAGMA trusted_schema = OFF", "PRAGMA trusted_schema", "0"},
};

bool sqlite_wal_is_safe(int library_version)
{
	return library_version >= 3051003 ||
	       (library_version >= 3050007 && library_version < 3051000) ||
	       (library_version >= 3044006 && library_version < 3045000);
}

enum kt_err sqlite_run(sqlite3 *sq, const char *sql)
{
	int rc = sqlite3_exec(sq, sql, NULL, NULL, NULL);

	return rc == SQLITE_OK ? KT_OK : sqlite_error(sq, rc, NULL);
}

static void finalizep(sqlite3_stmt **stmt)
{
	sqlite3_finalize(*stmt);
}

enum kt_err sqlite_ask(sqlite3 *sq, const char *sql, char *ret, size_t size)
{
	CLEANUP(finalizep) sqlite3_stmt *stmt = NULL;
	int rc = sqlite3_prepare_v2(sq, sql, -1, &stmt, NULL);
	const char *text;

	if (rc != SQLITE_OK)
		return sqlite_error(sq, rc, NULL);
	rc = sqlite3_step(stmt);
	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		return sqlite_error(sq, rc, NULL);
	text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(stmt, 0)
				: NULL;
	text_cut(ret, size, text != NULL ? text : "");
	return KT_OK;
}

static enum kt_err set_checked(sqlite3 *sq, const char *set, const char *ask,
			       const char *expect)
{
	char is[32];

	TRY(sqlite_run(sq, set));
	TRY(sqlite_ask(sq, ask, is, sizeof(is)));
	if (strcmp(is, expect) != 0)
		return err_raise(KT_ERR_STORE, "%s has no effect here (%s)",
				 set, is);
	return KT_OK;
}

enum kt_err sqlite_set_pragmas(sqlite3 *sq)
{
	for (size_t i = 0; i < sizeof(pragmas) / sizeof(pragmas[0]); i++)
		TRY(set_checked(sq, pragmas[i].set, pragmas[i].ask,
				pragmas[i].expect));
	return sqlite_run(sq, "PRAGMA mmap_size = 0");
}

enum kt_err sqlite_set_journal(sqlite3 *sq)
{
	if (sqlite_wal_is_safe(sqlite3_libversion_number())) {
		TRY(set_checked(sq, "PRAGMA journal_mode = WAL",
				"PRAGMA journal_mode", "wal"));
		return set_checked(sq, "PRAGMA synchronous = FULL",
				   "PRAGMA synchronous", "2");
	}
	TRY(set_checked(sq, "PRAGMA journal_mode = DELETE",
			"PRAGMA journal_mode", "delete"));
	return set_checked(sq, "PRAGMA synchronous = EXTRA",
			   "PRAGMA synchronous", "3");
}

static enum kt_err configure(sqlite3 *sq)
{
	static const struct {
		int option, value;
	} options[] = {
		{SQLITE_DBCONFIG_DEFENSIVE, 1},
		{SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0},
		{SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0},
		{SQLITE_DBCONFIG_DQS_DML, 0},
		{SQLITE_DBCONFIG_DQS_DDL, 0},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int rc = sqlite3_db_config(sq, options[i].option,
					   options[i].value, NULL);

		if (rc != SQLITE_OK)
			return sqlite_error(sq, rc, "database settings");
	}
	return KT_OK;
}

/* SQLite's own handler sleeps up to 100 ms at a time: beside a writer that
 * commits without a pause it misses every gap and starves. */
static int wait_for_lock(void *timeout_ms, int count)
{
	struct timespec pause = {.tv_nsec = BUSY_PAUSE_MS * 1000000L};

	if (count >= (int)(intptr_t)timeout_ms / BUSY_PAUSE_MS)
		return 0;
	nanosleep(&pause, NULL);
	return 1;
}

void sqlite_disconnect(sqlite3 *sq)
{
	sqlite3_close(sq);
}

static enum kt_err connect_as(const char *path, int access, int busy_timeout_ms,
			      sqlite3 **ret)
{
	CLEANUP(sqlite_disconnectp) sqlite3 *sq = NULL;
	intptr_t timeout =
		busy_timeout_ms > 0 ? busy_timeout_ms : BUSY_TIMEOUT_MS;
	int rc = sqlite3_open_v2(path, &sq, access | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc != SQLITE_OK)
		return sqlite_error(sq, rc, path);
	sqlite3_extended_result_codes(sq, 1);
	sqlite3_busy_handler(sq, wait_for_lock, (void *)timeout);
	TRY(configure(sq));
	*ret = TAKE(sq);
	return KT_OK;
}

enum kt_err sqlite_connect(const char *path, int busy_timeout_ms, sqlite3 **ret)
{
	return connect_as(path, SQLITE_OPEN_READWRITE, busy_timeout_ms, ret);
}

enum kt_err sqlite_connect_readonly(const char *path, sqlite3 **ret)
{
	return connect_as(path, SQLITE_OPEN_READONLY, 0, ret);
}
