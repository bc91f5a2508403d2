/*
 * The port to a database. Drivers supply struct store_driver; SQLite's is in
 * sqlite/. The engine sees typed rows, named queries and transactions, no SQL.
 *
 * Every row that has a MAC is sealed when it is written and checked when it is
 * read, by the sealer that the engine sets: no caller can forget to.
 *
 * A transaction belongs to the one thread that uses the store. Write
 * transactions are a pure function of what they read, so that a driver may ask
 * for them to be tried again (KT_ERR_CONFLICT from commit: nothing happened).
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/cleanup.h"
#include "base/err.h"
#include "store/rows.h"

struct store;
struct query;
struct store_tx;

struct store_params {
	const char *path;
	int busy_timeout_ms; /* 0: the driver's default, 10 s */
};

/* Makes an empty database with the newest schema; KT_ERR_EXISTS when there is
 * one. */
enum kt_err store_create(const struct store_params *params, struct store **ret);

/* KT_ERR_STORE: missing, unreadable, read-only. KT_ERR_SCHEMA: not a keyturn
 * database, or newer than this program. */
enum kt_err store_open(const struct store_params *params, struct store **ret);

/* Opens a copy that store_backup() made, to read it only: neither it nor its
 * folder is written to. KT_ERR_SCHEMA too where its schema is older, or a
 * journal lies beside it: then it is no whole copy. */
enum kt_err store_open_copy(const char *path, struct store **ret);

void store_close(struct store *store);
DEFINE_CLEANUP(struct store, store_close)

/* Deletes a database that store_create() made and its side files; closes. For
 * a failed init only. */
void store_discard(struct store *store);
DEFINE_CLEANUP(struct store, store_discard)

/* seal() writes the row's MAC; check() compares it, in constant time, and
 * returns KT_ERR_INTEGRITY naming the row. Without a sealer, MACed rows are
 * neither written nor checked: reads of them give what is there. */
struct store_sealer {
	enum kt_err (*seal)(void *arg, enum row_type type, void *row);
	enum kt_err (*check)(void *arg, enum row_type type, const void *row);
	void *arg;
};

void store_set_sealer(struct store *store, const struct store_sealer *sealer);

/* Transactions. A write transaction takes the write lock at once, waiting up
 * to busy_timeout_ms (KT_ERR_BUSY). Leaving the scope without commit rolls
 * back. They do not nest. A query or write outside of one is a transaction of
 * its own. */
enum store_access { STORE_READ, STORE_WRITE };

enum kt_err store_begin(struct store *store, enum store_access access,
			struct store_tx **ret);

/* Ends the transaction and clears *tx whatever it returns. After an error the
 * outcome is that nothing was committed, or that the error says it is not
 * known (KT_ERR_STORE, detail "commit unknown"): read again. */
enum kt_err store_commit(struct store_tx **tx);

void store_rollback(struct store_tx *tx);
DEFINE_CLEANUP(struct store_tx, store_rollback)

/* Rows. insert: KT_ERR_EXISTS when the key or a unique column is taken.
 * update: the row as it was read, changed; replaces it where key and MAC (for
 * a row without one: the key) still match, else KT_ERR_CONFLICT. remove: the
 * same for deletion. insert and update seal the row in place. */
enum kt_err store_insert(struct store *store, enum row_type type, void *row);
enum kt_err store_update(struct store *store, enum row_type type, void *row);
enum kt_err store_remove(struct store *store, enum row_type type,
			 const void *row);

/* Every row of a type, in the order of its key: query_next(), query_done(). */
enum kt_err store_scan(struct store *store, enum row_type type,
		       struct query **ret);

/* The stored row with the key of this one, into *ret_row, which may be the
 * same. KT_ERR_NOT_FOUND names it. */
enum kt_err store_find(struct store *store, enum row_type type, const void *key,
		       void *ret_row);

/*
 * Queries. In the list: arguments by letter, then what comes back.
 *   b  const struct kt_id *      i  int64_t      s  const char *
 * Batches are keyset: rows with a key greater than the one given, in order of
 * it, at most the number given. A zero id comes before all others.
 */
enum store_query {
	Q_VAULT,         /* - : vault */
	Q_KEY,           /* b id : key */
	Q_KEY_VERSION,   /* ibi role owner version : key */
	Q_KEY_LATEST,    /* ib role owner : key, highest version */
	Q_KEYS_BY_ROLE,  /* i role : keys, by owner, version */
	Q_KEYS_BY_OWNER, /* b owner : keys, by role, version */
	Q_KEYS_ON_TOKEN, /* - : keys that have a CKA_ID, by role, version */
	Q_WRAP,          /* bb wrapping_key subject : wrap */
	Q_WRAPS_AFTER,   /* bbi wrapping_key after n : wraps */
	Q_WRAPS_MISSING, /* bbbi old new after n : wraps under old whose
			  * subject has none under new */
	Q_WRAPS_TWINS,   /* bbbi old new after n : wraps under new whose
			  * subject has one under old too */
	Q_WRAPS_TWINNED, /* bbbi old new after n : the same subjects' wraps
			  * under old */
	Q_WRAP_COUNT,    /* b wrapping_key : count */
	Q_WRAP_MISSING_COUNT,  /* bb old new : count */
	Q_PROJECT,             /* b id : project */
	Q_PROJECTS_BY_NAME,    /* s name : projects, deleted ones too */
	Q_PROJECTS,            /* - : projects, not deleted, by name */
	Q_PROJECT_COUNT,       /* - : count, not deleted */
	Q_SECRET,              /* b id : secret */
	Q_SECRET_BY_NAME,      /* bs project name : secret */
	Q_SECRETS,             /* bsi project after n : secrets, by name */
	Q_SECRET_COUNT,        /* b project : count */
	Q_SECRET_COUNT_ALL,    /* - : count */
	Q_VERSION,             /* bi secret version : version */
	Q_VERSIONS,            /* b secret : versions, oldest first */
	Q_ACCESS,              /* s id : access */
	Q_ACCESS_OF_PROJECT,   /* b project : access tokens, by creation */
	Q_ACCESS_ALL,          /* - : access tokens, by creation */
	Q_ACCESS_USABLE_COUNT, /* bi project now : count */
	Q_ROTATION,            /* b id : rotation */
	Q_ROTATIONS,           /* - : rotations, newest first */
	Q_LEGS,                /* b rotation : legs */
	Q_FAULTS,              /* b rotation : faults */
	Q_FAULT_COUNT,         /* b rotation : count */
	Q_LEASE,               /* - : lease */
	Q_AUDIT,               /* i seq : audit */
	Q_AUDIT_FROM,          /* ii first n : audit, oldest first */
	Q_AUDIT_HEAD,          /* - : audit head */
	Q_CHECKPOINTS,         /* - : checkpoints, by seq */
	Q_CHANGES,             /* - : count; the same as before only where
				* nobody but this handle has committed since. A
				* driver that cannot tell never repeats one */
	STORE_QUERY_MAX_
};

enum kt_err query_start(struct store *store, enum store_query which,
			struct query **ret, const char *args, ...);

/* Fills *row, of the query's row type. KT_ERR_NOT_FOUND after the last one,
 * without touching the detail. KT_ERR_INTEGRITY: this row's MAC or shape is
 * wrong; *row is filled as far as it could be read, and the query goes on. Rows
 * with heap members are the caller's to row_done(). */
enum kt_err query_next(struct query *query, void *row);

void query_done(struct query *query);
DEFINE_CLEANUP(struct query, query_done)

/* query_start, query_next, query_done for the one row it is about; here
 * KT_ERR_NOT_FOUND comes with a detail ("no row in wraps"). */
enum kt_err query_one(struct store *store, enum store_query which, void *row,
		      const char *args, ...);

/* Statements that change many rows; *ret_changed is their number. */
enum store_statement {
	S_WRAP_DELETE,          /* bb wrapping_key subject; whatever its MAC */
	S_WRAPS_DELETE_SUBJECT, /* b subject */
	S_VERSIONS_DELETE,      /* b secret */
	S_FAULTS_DELETE,        /* b rotation */
	S_LEASE_RENEW,          /* ii fence now : renewed = now where the fence
				 * still is this one */
	STORE_STATEMENT_MAX_
};

enum kt_err store_exec(struct store *store, enum store_statement which,
		       int64_t *ret_changed, const char *args, ...);

/* Facts for status and doctor. */
struct store_info {
	char path[512];
	char library[32]; /* "SQLite 3.40.1" */
	char journal_mode[16];
	char synchronous[16];
	int64_t schema;
	int64_t size;       /* bytes of the database file */
	bool wal_reset_bug; /* this library version has it */
};

enum kt_err store_info(struct store *store, struct store_info *ret);

/* The database's own check of its structure; KT_ERR_INTEGRITY with the first
 * finding. */
enum kt_err store_check(struct store *store);

/* An online copy into a new file, complete and synced. KT_ERR_EXISTS. */
enum kt_err store_backup(struct store *store, const char *path);

/* The files of databases that are closed here.
 *
 * take_copy: a copy, byte by byte, into a new file, to be opened as a database
 * of its own. KT_ERR_SCHEMA where a journal lies beside it.
 *
 * replace: makes the database `by` the one at path, in one step; `by` is gone
 * then. What is at path goes aside, its journals with it: one of them beside
 * another database would destroy that. aside NULL: what is at path is given
 * up, a copy of it exists. KT_ERR_EXISTS when aside exists, or when there was
 * nothing at path (absent) and now is. After an error what was at path is
 * there or aside. */
enum kt_err store_take_copy(const char *copy, const char *path);
enum kt_err store_replace(const char *path, bool absent, const char *by,
			  const char *aside);

/* Removes the file of a database and its journals. */
void store_remove_files(const char *path);

#endif
