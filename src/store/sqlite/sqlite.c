/*
 * The driver: which file is opened or made, and transactions on it. Nothing is
 * made where something was expected, nothing foreign is written to, and a file
 * that was exchanged under an open connection is noticed before the next write.
 */
#include "store/sqlite/sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

static void sqlite_close(void *handle);
DEFINE_CLEANUP(struct sqlite_db, sqlite_close)

/* The file that the path names now. */
static enum kt_err find_file(const char *path, struct stat *ret)
{
	if (stat(path, ret) != 0 && errno == ENOENT)
		return err_hint(
			err_raise(KT_ERR_STORE, "there is no database %s",
				  path),
			"keyturn backup restore FILE brings a vault back, "
			"keyturn init makes a new one");
	if (stat(path, ret) != 0)
		return err_raise(KT_ERR_STORE, "database %s: %s", path,
				 strerror(errno));
	if (!S_ISREG(ret->st_mode))
		return err_raise(KT_ERR_STORE, "database %s is not a file",
				 path);
	return KT_OK;
}

/* A database cannot be written where no journal can be made beside it. */
static enum kt_err require_writable(const struct sqlite_db *db)
{
	char dir[PATH_MAX];

	if (sqlite3_db_readonly(db->sq, "main") != 0)
		return err_raise(KT_ERR_STORE, "database %s is read-only",
				 db->path);
	TRY(dir_of(db->path, dir, sizeof(dir)));
	if (faccessat(AT_FDCWD, dir, W_OK | X_OK, AT_EACCESS) != 0)
		return err_raise(KT_ERR_STORE,
				 "directory %s of the database: %s", dir,
				 strerror(errno));
	return KT_OK;
}

static enum kt_err moved(const struct sqlite_db *db)
{
	return err_raise(
		KT_ERR_STORE,
		"database %s was removed or replaced while it was open",
		db->path);
}

enum kt_err sqlite_require_same_file(const struct sqlite_db *db)
{
	struct stat st;

	if (stat(db->path, &st) != 0 || st.st_dev != db->dev ||
	    st.st_ino != db->ino)
		return moved(db);
	return KT_OK;
}

/* Takes down which file is open; SQLite confirms that it is this one. */
static enum kt_err note_file(struct sqlite_db *db)
{
	struct stat st;
	int gone = 0;
	int rc;

	TRY(find_file(db->path, &st));
	rc = sqlite3_file_control(db->sq, "main", SQLITE_FCNTL_HAS_MOVED,
				  &gone);
	if (rc != SQLITE_OK || gone != 0)
		return moved(db);
	db->dev = st.st_dev;
	db->ino = st.st_ino;
	return KT_OK;
}

enum kt_err sqlite_absolute_path(const char *path, char *ret, size_t size)
{
	CLEANUP(freep) char *whole = realpath(path, NULL);

	if (whole == NULL)
		return err_raise(KT_ERR_STORE, "database %s: %s", path,
				 strerror(errno));
	return text_copy(ret, size, whole, "path of the database");
}

static enum kt_err connect_db(const struct store_params *params,
			      struct sqlite_db *db)
{
	TRY(sqlite_absolute_path(params->path, db->path, sizeof(db->path)));
	TRY(sqlite_connect(db->path, params->busy_timeout_ms, &db->sq));
	TRY(note_file(db));
	return require_writable(db);
}

static enum kt_err sqlite_open(const struct store_params *params, void **ret)
{
	CLEANUP(sqlite_closep) struct sqlite_db *db = calloc(1, sizeof(*db));
	struct stat st;
	int version;

	if (db == NULL)
		return err_memory();
	TRY(find_file(params->path, &st));
	TRY(connect_db(params, db));
	TRY(schema_check(db, &version));
	TRY(sqlite_set_pragmas(db->sq));
	TRY(sqlite_set_journal(db->sq));
	TRY(schema_migrate(db, version));
	*ret = TAKE(db);
	return KT_OK;
}

/* SQLite makes files beside a database in WAL mode even to read it. Bytes 18
 * and 19 of its header say so: sqlite.org/fileformat.html, section 1.3. */
static enum kt_err require_no_wal(const char *path)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t header[20];

	if (fd < 0 || fd_read_all(fd, header, sizeof(header)) != KT_OK ||
	    memcmp(header, "SQLite format 3", 16) != 0)
		return err_raise(KT_ERR_SCHEMA, "%s is not a database", path);
	if (header[18] != 1 || header[19] != 1)
		return err_raise(KT_ERR_SCHEMA,
				 "%s is not a copy that 'keyturn backup "
				 "create' made: it is in WAL mode",
				 path);
	return KT_OK;
}

static enum kt_err connect_copy(struct sqlite_db *db)
{
	TRY(sqlite_require_single(db->path));
	TRY(require_no_wal(db->path));
	TRY(sqlite_connect_readonly(db->path, &db->sq));
	return note_file(db);
}

static enum kt_err sqlite_open_copy(const struct store_params *params,
				    void **ret)
{
	CLEANUP(sqlite_closep) struct sqlite_db *db = calloc(1, sizeof(*db));
	struct stat st;
	int version;

	if (db == NULL)
		return err_memory();
	TRY(find_file(params->path, &st));
	TRY(sqlite_absolute_path(params->path, db->path, sizeof(db->path)));
	TRY(connect_copy(db));
	TRY(schema_check(db, &version));
	if (version != schema_newest())
		return err_raise(KT_ERR_SCHEMA,
				 "%s has the older schema %d: only 'keyturn "
				 "backup restore' can read it",
				 db->path, version);
	TRY(sqlite_set_pragmas(db->sq));
	*ret = TAKE(db);
	return KT_OK;
}

enum kt_err sqlite_make_file(const char *path)
{
	CLEANUP(fd_close)
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		      0600);

	if (fd < 0 && errno == EEXIST)
		return err_raise(KT_ERR_EXISTS, "%s exists already", path);
	if (fd < 0)
		return err_raise(KT_ERR_STORE, "cannot make %s: %s", path,
				 strerror(errno));
	return KT_OK;
}

static enum kt_err fill_new(const struct store_params *params,
			    struct sqlite_db *db)
{
	TRY(connect_db(params, db));
	TRY(sqlite_set_pragmas(db->sq));
	TRY(sqlite_set_journal(db->sq));
	TRY(schema_migrate(db, 0));
	return dir_sync(db->path);
}

static enum kt_err sqlite_create(const struct store_params *params, void **ret)
{
	CLEANUP(sqlite_closep) struct sqlite_db *db = calloc(1, sizeof(*db));
	char dir[PATH_MAX];
	enum kt_err err;

	if (db == NULL)
		return err_memory();
	TRY(dir_of(params->path, dir, sizeof(dir)));
	TRY(dir_make(dir));
	TRY(sqlite_make_file(params->path));
	db->made = true;
	err = fill_new(params, db);
	if (err != KT_OK) {
		sqlite_remove_files(params->path);
		return err;
	}
	*ret = TAKE(db);
	return KT_OK;
}

static void sqlite_close(void *handle)
{
	struct sqlite_db *db = handle;

	if (db == NULL)
		return;
	statements_done(db);
	sqlite_disconnect(db->sq);
	free(db);
}

static void sqlite_discard(void *handle)
{
	struct sqlite_db *db = handle;

	if (db == NULL)
		return;
	if (db->made && sqlite_require_same_file(db) == KT_OK)
		sqlite_remove_files(db->path);
	sqlite_close(db);
}

static void sqlite_rollback(void *handle)
{
	struct sqlite_db *db = handle;

	if (sqlite3_get_autocommit(db->sq) == 0)
		sqlite3_exec(db->sq, "ROLLBACK", NULL, NULL, NULL);
	db->in_tx = false;
}

/* Under the write lock nobody else can change the answers any more. */
static enum kt_err require_writes_make_sense(struct sqlite_db *db)
{
	int version;

	TRY(sqlite_require_same_file(db));
	return schema_check(db, &version);
}

enum kt_err sqlite_end_stale(struct sqlite_db *db)
{
	int rc = SQLITE_OK;

	if (!db->in_tx && sqlite3_get_autocommit(db->sq) == 0)
		rc = sqlite3_exec(db->sq, "ROLLBACK", NULL, NULL, NULL);
	return rc == SQLITE_OK ? KT_OK : sqlite_error(db->sq, rc, "rollback");
}

static enum kt_err sqlite_begin(void *handle, enum store_access access)
{
	struct sqlite_db *db = handle;
	enum kt_err err;

	TRY(sqlite_end_stale(db));
	TRY(sqlite_run(db->sq,
		       access == STORE_WRITE ? "BEGIN IMMEDIATE" : "BEGIN"));
	db->in_tx = true;
	if (access != STORE_WRITE)
		return KT_OK;
	err = require_writes_make_sense(db);
	if (err != KT_OK)
		sqlite_rollback(db);
	return err;
}

/* After a disk error in COMMIT the journal may be gone or not: only a reader
 * can tell. Every other failure leaves nothing committed. */
static enum kt_err sqlite_commit(void *handle)
{
	struct sqlite_db *db = handle;
	enum kt_err err;
	int rc;

	if (sqlite3_get_autocommit(db->sq) != 0) {
		db->in_tx = false;
		return err_raise(
			KT_ERR_STORE,
			"an earlier error rolled the transaction back");
	}
	rc = sqlite3_exec(db->sq, "COMMIT", NULL, NULL, NULL);
	if (rc == SQLITE_OK) {
		db->in_tx = false;
		return KT_OK;
	}
	err = sqlite_error(db->sq, rc,
			   (rc & 0xff) == SQLITE_IOERR ? "commit unknown"
						       : "commit");
	sqlite_rollback(db);
	return err;
}

const struct store_driver sqlite_driver = {
	.create = sqlite_create,
	.open = sqlite_open,
	.open_copy = sqlite_open_copy,
	.close = sqlite_close,
	.discard = sqlite_discard,
	.begin = sqlite_begin,
	.commit = sqlite_commit,
	.rollback = sqlite_rollback,
	.insert = sqlite_insert,
	.update = sqlite_update,
	.remove = sqlite_remove,
	.select = sqlite_select,
	.scan = sqlite_scan,
	.find = sqlite_find,
	.next = sqlite_next,
	.done = sqlite_done,
	.exec = sqlite_exec_statement,
	.info = sqlite_info,
	.check = sqlite_check,
	.backup = sqlite_backup,
	.take_copy = sqlite_take_copy,
	.replace = sqlite_replace,
	.remove_files = sqlite_remove_files,
};
