/*
 * Files of the state folder.
 */
#include "hsm/tpm2/folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

#define LOCK_WAIT_MS 60000
#define LOCK_PAUSE_MAX_NS 2000000L

struct path {
	char text[PATH_MAX];
};

static void dir_close(DIR **dir)
{
	if (*dir != NULL)
		closedir(*dir);
}

static CK_RV path_of(const struct folder *folder, const char *name,
		     const char *suffix, struct path *ret)
{
	return rv_of(text_format(ret->text, sizeof(ret->text), "%s/%s%s",
				 folder->path, name, suffix));
}

CK_RV folder_init(const char *path, struct folder *ret)
{
	ret->lock = -1;
	return rv_of(text_copy(ret->path, sizeof(ret->path), path,
			       "the path of the state folder"));
}

void folder_done(struct folder *folder)
{
	fd_close(&folder->lock);
}

CK_RV folder_make_dir(const struct folder *folder, const char *name)
{
	struct path path;

	RV_TRY(path_of(folder, name, "", &path));
	RV_TRY(rv_of(dir_make(path.text)));
	return rv_of(dir_sync(path.text));
}

CK_RV folder_make(const struct folder *folder)
{
	RV_TRY(rv_of(dir_make(folder->path)));
	RV_TRY(rv_of(dir_sync(folder->path)));
	return folder_make_dir(folder, "keys");
}

bool folder_has(const struct folder *folder, const char *name)
{
	struct path path;

	return path_of(folder, name, "", &path) == CKR_OK &&
	       file_exists(path.text);
}

CK_RV folder_write(const struct folder *folder, const char *name,
		   struct span data)
{
	struct path path, fresh;

	RV_TRY(path_of(folder, name, "", &path));
	RV_TRY(path_of(folder, name, ".new", &fresh));
	if (unlink(fresh.text) != 0 && errno != ENOENT)
		return rv_of(err_errno("cannot remove %s", fresh.text));
	RV_TRY(rv_of(file_write_new(fresh.text, data.data, data.len)));
	if (rename(fresh.text, path.text) != 0)
		return rv_of(err_errno("cannot write %s", path.text));
	return rv_of(dir_sync(path.text));
}

static CK_RV read_fd(int fd, const char *path, uint8_t **ret, size_t *ret_len)
{
	CLEANUP(freep) uint8_t *data = NULL;
	struct stat st;

	if (fstat(fd, &st) != 0)
		return rv_of(err_errno("cannot read %s", path));
	if (!S_ISREG(st.st_mode) || st.st_size > FOLDER_FILE_MAX)
		return rv_raise(CKR_DEVICE_ERROR, "%s is not ours", path);
	data = calloc(1, (size_t)st.st_size + 1);
	if (data == NULL)
		return rv_memory();
	RV_TRY(rv_of(fd_read_all(fd, data, (size_t)st.st_size)));
	*ret_len = (size_t)st.st_size;
	*ret = TAKE(data);
	return CKR_OK;
}

CK_RV folder_read(const struct folder *folder, const char *name, uint8_t **ret,
		  size_t *ret_len)
{
	CLEANUP(fd_close) int fd = -1;
	struct path path;

	RV_TRY(path_of(folder, name, "", &path));
	fd = open(path.text, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return rv_raise(CKR_DATA_INVALID, "%s is not there", path.text);
	if (fd < 0)
		return rv_of(err_errno("cannot open %s", path.text));
	return read_fd(fd, path.text, ret, ret_len);
}

CK_RV folder_remove(const struct folder *folder, const char *name)
{
	struct path path;

	RV_TRY(path_of(folder, name, "", &path));
	if (unlink(path.text) != 0)
		return errno == ENOENT ? CKR_OK
				       : rv_of(err_errno("cannot remove %s",
							 path.text));
	return rv_of(dir_sync(path.text));
}

CK_RV folder_each(const struct folder *folder, const char *dir,
		  CK_RV (*fn)(const char *name, void *arg), void *arg)
{
	CLEANUP(dir_close) DIR *list = NULL;
	const struct dirent *entry;
	struct path path;

	RV_TRY(path_of(folder, dir, "", &path));
	list = opendir(path.text);
	if (list == NULL && errno == ENOENT)
		return CKR_OK;
	if (list == NULL)
		return rv_of(err_errno("cannot open %s", path.text));
	while (errno = 0, (entry = readdir(list)) != NULL) {
		if (entry->d_name[0] != '.')
			RV_TRY(fn(entry->d_name, arg));
	}
	return errno == 0 ? CKR_OK
			  : rv_of(err_errno("cannot read %s", path.text));
}

struct removal {
	const struct folder *folder;
	const char *dir;
	const char *last;
};

static CK_RV remove_file(const char *name, void *arg)
{
	const struct removal *removal = arg;
	char below[NAME_MAX * 2 + 2];

	if (removal->last != NULL && strcmp(name, removal->last) == 0)
		return CKR_OK;
	RV_TRY(rv_of(text_format(below, sizeof(below), "%s/%s", removal->dir,
				 name)));
	return folder_remove(removal->folder, below);
}

CK_RV folder_remove_dir(const struct folder *folder, const char *name,
			const char *last)
{
	struct removal removal = {folder, name, last};
	struct path path;

	RV_TRY(folder_each(folder, name, remove_file, &removal));
	removal.last = NULL;
	RV_TRY(folder_each(folder, name, remove_file, &removal));
	RV_TRY(path_of(folder, name, "", &path));
	if (rmdir(path.text) != 0)
		return errno == ENOENT ? CKR_OK
				       : rv_of(err_errno("cannot remove %s",
							 path.text));
	return rv_of(dir_sync(path.text));
}

/* Short pauses first: a holder is done in the time of a TPM command. */
static CK_RV wait_for(int fd, const char *path)
{
	int64_t deadline = clock_monotonic_ms() + LOCK_WAIT_MS;
	struct timespec pause = {.tv_nsec = 50000};

	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return rv_of(err_errno("cannot lock %s", path));
		if (clock_monotonic_ms() >= deadline)
			return rv_raise(CKR_FUNCTION_FAILED,
					"another process holds %s for more "
					"than %d s",
					path, LOCK_WAIT_MS / 1000);
		nanosleep(&pause, NULL);
		if (pause.tv_nsec < LOCK_PAUSE_MAX_NS)
			pause.tv_nsec *= 2;
	}
	return CKR_OK;
}

/* A child has its parent's descriptor, and with it its parent's lock: it opens
 * one of its own. */
static CK_RV open_lock(struct folder *folder, const char *path)
{
	if (folder->lock >= 0 && folder->pid == getpid())
		return CKR_OK;
	fd_close(&folder->lock);
	folder->pid = getpid();
	folder->lock =
		open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (folder->lock < 0 && errno != ENOENT)
		return rv_of(err_errno("cannot open %s", path));
	return CKR_OK;
}

static bool is_named(int fd, const char *path)
{
	struct stat held, named;

	return fstat(fd, &held) == 0 && stat(path, &named) == 0 &&
	       held.st_dev == named.st_dev && held.st_ino == named.st_ino;
}

/* A file that somebody removed locks nobody, and it may go while we wait. */
CK_RV folder_lock(struct folder *folder)
{
	struct path path;

	RV_TRY(path_of(folder, "lock", "", &path));
	for (;;) {
		RV_TRY(open_lock(folder, path.text));
		if (folder->lock < 0)
			return CKR_OK;
		RV_TRY(wait_for(folder->lock, path.text));
		if (is_named(folder->lock, path.text))
			return CKR_OK;
		fd_close(&folder->lock);
	}
}

/* By word, not by closing: a child that was forked meanwhile has the
 * descriptor too. */
void folder_unlock(struct folder *folder)
{
	if (folder != NULL && folder->lock >= 0)
		flock(folder->lock, LOCK_UN);
}
