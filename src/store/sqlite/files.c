/*
 * Database files as files. SQLite finds a journal by the name of its database
 * alone: one that is left beside another database is played back into that and
 * destroys it. So the journals go before another file takes the name, and a
 * database goes before its journals do: at every moment there is the old
 * database, whole, or none (and it lies aside, whole), or the new one.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/file.h"
#include "store/sqlite/sqlite.h"

static const char *const suffixes[] = {"-journal", "-wal", "-shm"};

#define SUFFIXES (sizeof(suffixes) / sizeof(suffixes[0]))

static void side_path(const char *path, size_t i, char ret[PATH_MAX])
{
	snprintf(ret, PATH_MAX, "%.*s%s", PATH_MAX - 16, path, suffixes[i]);
}

static bool has_side_files(const char *path)
{
	char file[PATH_MAX];

	for (size_t i = 0; i < SUFFIXES; i++) {
		side_path(path, i, file);
		if (file_exists(file))
			return true;
	}
	return false;
}

enum kt_err sqlite_require_single(const char *path)
{
	char file[PATH_MAX];

	for (size_t i = 0; i < SUFFIXES; i++) {
		side_path(path, i, file);
		if (file_exists(file))
			return err_raise(KT_ERR_SCHEMA,
					 "%s is not a whole copy: %s lies "
					 "beside it",
					 path, file);
	}
	return KT_OK;
}

void sqlite_remove_files(const char *path)
{
	char file[PATH_MAX];

	unlink(path);
	for (size_t i = 0; i < SUFFIXES; i++) {
		side_path(path, i, file);
		unlink(file);
	}
}

enum kt_err sqlite_take_copy(const char *copy, const char *path)
{
	TRY(sqlite_require_single(copy));
	return file_copy_new(copy, path);
}

static enum kt_err move(const char *from, const char *to)
{
	if (file_exists(to))
		return err_raise(KT_ERR_EXISTS, "%s exists already", to);
	if (rename(from, to) != 0 && errno != ENOENT)
		return err_raise(KT_ERR_STORE, "cannot move %s to %s: %s", from,
				 to, strerror(errno));
	return KT_OK;
}

static enum kt_err move_side_files(const char *from, const char *to)
{
	char from_file[PATH_MAX], to_file[PATH_MAX];

	for (size_t i = 0; i < SUFFIXES; i++) {
		side_path(from, i, from_file);
		side_path(to, i, to_file);
		if (file_exists(from_file))
			TRY(move(from_file, to_file));
	}
	return KT_OK;
}

static enum kt_err move_all(const char *from, const char *to)
{
	TRY(move(from, to));
	CRASH_POINT("restore.aside");
	TRY(move_side_files(from, to));
	return dir_sync(to);
}

/* Journals first: a database must not be found without its journal. */
static void move_back(const char *from, const char *to)
{
	struct err_saved saved;

	err_save(KT_ERR_FAILED, &saved);
	if (move_side_files(from, to) == KT_OK)
		(void)move(from, to);
	(void)err_restore(&saved);
}

enum kt_err sqlite_name_new(const char *path, const char *by)
{
	enum kt_err err = file_rename_new(by, path);

	if (err == KT_ERR_EXISTS)
		return err_raise(err, "%s exists by now", path);
	return err == KT_OK ? KT_OK : err_prefix(KT_ERR_STORE, "database");
}

/* Over what is there; absent: only where nothing is. */
static enum kt_err take_name(const char *path, bool absent, const char *by)
{
	if (absent)
		TRY(sqlite_name_new(path, by));
	else if (rename(by, path) != 0)
		return err_raise(KT_ERR_STORE, "cannot put %s in place: %s",
				 path, strerror(errno));
	return dir_sync(path);
}

static enum kt_err give_up(const char *path)
{
	sqlite_remove_files(path);
	return dir_sync(path);
}

enum kt_err sqlite_replace(const char *path, bool absent, const char *by,
			   const char *aside)
{
	enum kt_err err;

	if (absent && file_exists(path))
		return err_raise(KT_ERR_EXISTS, "%s exists by now", path);
	if (aside != NULL)
		TRY(move_all(path, aside));
	else if (has_side_files(path))
		TRY(give_up(path));
	CRASH_POINT("restore.cleared");
	err = take_name(path, absent, by);
	if (err != KT_OK && aside != NULL && !file_exists(path))
		move_back(aside, path);
	return err;
}
