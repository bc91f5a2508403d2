/*
 * Facts about the open database, its check, and its online copy. A copy is
 * reported only when it was read back whole and is on the disk with its entry
 * in the directory.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "store/sqlite/sqlite.h"

static const char *synchronous_name(const char *number)
{
	static const char *const names[] = {"off", "normal", "full", "extra"};

	if (number[0] < '0' || number[0] > '3' || number[1] != '\0')
		return "unknown";
	return names[number[0] - '0'];
}

enum kt_err sqlite_info(void *handle, struct store_info *ret)
{
	struct sqlite_db *db = handle;
	struct store_info info = {0};
	char number[32];
	struct stat st;
	int version;

	TRY(text_copy(info.path, sizeof(info.path), db->path, "path"));
	TRY(text_format(info.library, sizeof(info.library), "SQLite %s",
			sqlite3_libversion()));
	TRY(sqlite_ask(db->sq, "PRAGMA journal_mode", info.journal_mode,
		       sizeof(info.journal_mode)));
	TRY(sqlite_ask(db->sq, "PRAGMA synchronous", number, sizeof(number)));
	text_cut(info.synchronous, sizeof(info.synchronous),
		 synchronous_name(number));
	TRY(schema_check(db, &version));
	if (stat(db->path, &st) != 0)
		return err_raise(KT_ERR_STORE, "database %s: %s", db->path,
				 strerror(errno));
	info.schema = version;
	info.size = st.st_size;
	info.wal_reset_bug = !sqlite_wal_is_safe(sqlite3_libversion_number());
	*ret = info;
	return KT_OK;
}

static enum kt_err check(sqlite3 *sq)
{
	char finding[512];

	TRY(sqlite_ask(sq, "PRAGMA integrity_check(1)", finding,
		       sizeof(finding)));
	if (strcmp(finding, "ok") != 0)
		return err_raise(KT_ERR_INTEGRITY, "database: %s", finding);
	TRY(sqlite_ask(sq,
		       "SELECT \"table\" || ' names a missing row of ' || "
		       "parent FROM pragma_foreign_key_check LIMIT 1",
		       finding, sizeof(finding)));
	if (finding[0] != '\0')
		return err_raise(KT_ERR_INTEGRITY, "database: %s", finding);
	return KT_OK;
}

enum kt_err sqlite_check(void *handle)
{
	struct sqlite_db *db = handle;

	return check(db->sq);
}

/* In one step: the copy is of one moment, and a writer waits instead of
 * making it start again. */
static enum kt_err copy(sqlite3 *from, sqlite3 *to)
{
	sqlite3_backup *backup = sqlite3_backup_init(to, "main", from, "main");
	int rc, finish_rc;

	if (backup == NULL)
		return sqlite_error(to, sqlite3_extended_errcode(to), "backup");
	rc = sqlite3_backup_step(backup, -1);
	finish_rc = sqlite3_backup_finish(backup);
	if (rc == SQLITE_DONE && finish_rc == SQLITE_OK)
		return KT_OK;
	return sqlite_error(to, rc != SQLITE_DONE ? rc : finish_rc, "backup");
}

/* One file that needs no other beside it. */
static enum kt_err make_single(sqlite3 *sq)
{
	char mode[16];

	TRY(sqlite_ask(sq, "PRAGMA journal_mode = DELETE", mode, sizeof(mode)));
	if (strcmp(mode, "delete") != 0)
		return err_raise(KT_ERR_STORE, "backup is in journal mode %s",
				 mode);
	return KT_OK;
}

static enum kt_err write_copy(sqlite3 *from, const char *path)
{
	CLEANUP(sqlite_disconnectp) sqlite3 *to = NULL;
	char whole[PATH_MAX];

	TRY(sqlite_absolute_path(path, whole, sizeof(whole)));
	TRY(sqlite_connect(whole, 0, &to));
	TRY(copy(from, to));
	TRY(make_single(to));
	return check(to);
}

/* After the connection was closed: closing a descriptor would drop its locks.
 */
static enum kt_err sync_file(const char *path)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fsync(fd) != 0)
		return err_raise(KT_ERR_STORE, "cannot sync %s: %s", path,
				 strerror(errno));
	return KT_OK;
}

static enum kt_err publish(const char *temp, const char *path)
{
	enum kt_err err;

	TRY(sync_file(temp));
	CRASH_POINT("backup.written");
	TRY(sqlite_name_new(path, temp));
	err = dir_sync(path);
	if (err != KT_OK)
		unlink(path);
	return err;
}

/* Under a name of its own until it is whole: what is called by the name that
 * was asked for is never half a copy. */
enum kt_err sqlite_backup(void *handle, const char *path)
{
	struct sqlite_db *db = handle;
	char temp[PATH_MAX];
	enum kt_err err;

	if (file_exists(path))
		return err_raise(KT_ERR_EXISTS, "%s exists already", path);
	TRY(file_beside(path, "partial", temp, sizeof(temp)));
	TRY(sqlite_make_file(temp));
	err = write_copy(db->sq, temp);
	if (err == KT_OK)
		err = publish(temp, path);
	if (err != KT_OK) {
		sqlite_remove_files(temp);
		return err_prefix(err, "%s", path);
	}
	return KT_OK;
}
