/*
 * Inside of the SQLite driver: the open database, its statements, its errors.
 */
#ifndef STORE_SQLITE_SQLITE_H
#define STORE_SQLITE_SQLITE_H

#include <sys/types.h>

#include <sqlite3.h>

#include "store/driver.h"

/* Statements that are made from a row's description. */
enum row_verb {
	VERB_INSERT,
	VERB_UPDATE,
	VERB_REMOVE,
	VERB_SCAN,
	VERB_FIND,
	ROW_VERB_MAX_
};

/* All statements, one after the other: queries, statements, verbs. */
#define SLOT_QUERY(which) ((size_t)(which))
#define SLOT_STATEMENT(which) (SLOT_QUERY(STORE_QUERY_MAX_) + (size_t)(which))
#define SLOT_ROW(verb, type)                                                   \
	(SLOT_STATEMENT(STORE_STATEMENT_MAX_) + (size_t)(verb)*ROW_TYPE_MAX_ + \
	 (size_t)(type))
#define SLOT_MAX SLOT_ROW(ROW_VERB_MAX_, 0)

struct prepared {
	sqlite3_stmt *stmt; /* made when first used */
	bool leased;
};

struct sqlite_db {
	sqlite3 *sq;
	char path[512]; /* absolute */
	dev_t dev;      /* of the file when it was opened */
	ino_t ino;
	bool made; /* by create: may be discarded */
	bool in_tx;
	struct prepared prepared[SLOT_MAX];
};

/* A rollback that failed, or a BEGIN that took but said no, leaves a
 * transaction that nobody knows of: what ran inside it would be lost, and see
 * the past. Ends it. */
enum kt_err sqlite_end_stale(struct sqlite_db *db);

/* error.c: the one place that knows SQLite's codes. The detail is "what: ",
 * our words, and SQLite's or the system's own. sq and what may be NULL. */
enum kt_err sqlite_error(sqlite3 *sq, int code, const char *what);

/* sql.c: the text of a statement; sqlite3_free() it. NULL: out of memory. */
char *sql_text(size_t slot);

/* schema.c: what the file must say of itself. */
#define APPLICATION_ID 0x6b74726e /* "ktrn" */

/* The newest schema version. */
int schema_newest(void);

/* KT_ERR_SCHEMA: not ours, or newer than this program. */
enum kt_err schema_check(struct sqlite_db *db, int *ret_version);

/* Applies the migrations after version in one transaction. */
enum kt_err schema_migrate(struct sqlite_db *db, int version);

/* statement.c: leases of prepared statements, rows through them. */
enum kt_err sqlite_insert(void *handle, enum row_type type, const void *row);
enum kt_err sqlite_update(void *handle, enum row_type type, const void *row,
			  const struct mac *mac, bool *ret_changed);
enum kt_err sqlite_remove(void *handle, enum row_type type, const void *row,
			  const struct mac *mac, bool *ret_changed);
enum kt_err sqlite_select(void *handle, enum store_query which,
			  const struct store_args *args, void **ret_cursor);
enum kt_err sqlite_scan(void *handle, enum row_type type, void **ret_cursor);
enum kt_err sqlite_find(void *handle, enum row_type type, const void *key,
			void **ret_cursor);
enum kt_err sqlite_next(void *cursor, void *row);
void sqlite_done(void *cursor);
enum kt_err sqlite_exec_statement(void *handle, enum store_statement which,
				  const struct store_args *args,
				  int64_t *ret_changed);

/* Finalizes all of them, before the database is closed. */
void statements_done(struct sqlite_db *db);

/* connection.c: a statement without arguments or rows. */
enum kt_err sqlite_run(sqlite3 *sq, const char *sql);

/* The first column of the first row, as text. */
enum kt_err sqlite_ask(sqlite3 *sq, const char *sql, char *ret, size_t size);

/* False where a checkpoint that races a WAL reset can lose a commit:
 * sqlite.org/wal.html#walresetbug. */
bool sqlite_wal_is_safe(int library_version);

/* Opens path, which is there, with our settings; sqlite3_close() it. */
enum kt_err sqlite_connect(const char *path, int busy_timeout_ms,
			   sqlite3 **ret);
enum kt_err sqlite_connect_readonly(const char *path, sqlite3 **ret);
void sqlite_disconnect(sqlite3 *sq);
DEFINE_CLEANUP(sqlite3, sqlite_disconnect)

/* For a database that is ours: what a connection forgets, and what the file
 * keeps. KT_ERR_STORE: a setting has no effect here. */
enum kt_err sqlite_set_pragmas(sqlite3 *sq);
enum kt_err sqlite_set_journal(sqlite3 *sq);

/* sqlite.c: whether the path still names the file that was opened.
 * KT_ERR_STORE. */
enum kt_err sqlite_require_same_file(const struct sqlite_db *db);

/* For a file that is there. SQLite gives meaning to some relative names
 * (":memory:"); to none that begins with a slash. */
enum kt_err sqlite_absolute_path(const char *path, char *ret, size_t size);

/* A new, empty file of mode 0600; KT_ERR_EXISTS. */
enum kt_err sqlite_make_file(const char *path);

/* upkeep.c */
enum kt_err sqlite_info(void *handle, struct store_info *ret);
enum kt_err sqlite_check(void *handle);
enum kt_err sqlite_backup(void *handle, const char *path);

/* files.c */
enum kt_err sqlite_take_copy(const char *copy, const char *path);
enum kt_err sqlite_replace(const char *path, bool absent, const char *by,
			   const char *aside);

/* Gives the file `by` a name that is free, in one step; KT_ERR_EXISTS when it
 * is not. The directory is not synced. */
enum kt_err sqlite_name_new(const char *path, const char *by);

/* KT_ERR_SCHEMA when a journal lies beside a file: it is not whole then. */
enum kt_err sqlite_require_single(const char *path);

/* Removes a database file and its journals. */
void sqlite_remove_files(const char *path);

#endif
