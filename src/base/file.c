/*
 * File system helpers. What is written here is synced before it is reported
 * as written.
 */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"

DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free)

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static enum kt_err dir_make_one(const char *path)
{
	struct stat st;

	if (mkdir(path, 0700) == 0)
		return KT_OK;
	if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return KT_OK;
	return err_errno("cannot make directory %s", path);
}

enum kt_err dir_make(const char *path)
{
	char part[PATH_MAX];

	if (path[0] == '\0' || strlen(path) >= sizeof(part))
		return err_raise(KT_ERR_USAGE, "path empty or too long");
	for (size_t i = 1; path[i] != '\0'; i++) {
		if (path[i] != '/')
			continue;
		snprintf(part, sizeof(part), "%.*s", (int)i, path);
		TRY(dir_make_one(part));
	}
	return dir_make_one(path);
}

enum kt_err dir_of(const char *path, char *ret, size_t size)
{
	char copy[PATH_MAX];
	const char *dir;

	if (strlen(path) >= sizeof(copy))
		return err_raise(KT_ERR_USAGE, "path too long");
	snprintf(copy, sizeof(copy), "%s", path);
	dir = dirname(copy);
	if (strlen(dir) >= size)
		return err_raise(KT_ERR_USAGE, "path too long");
	snprintf(ret, size, "%s", dir);
	return KT_OK;
}

enum kt_err dir_sync(const char *path)
{
	CLEANUP(fd_close) int fd = -1;
	char dir[PATH_MAX];

	TRY(dir_of(path, dir, sizeof(dir)));
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) != 0)
		return err_errno("cannot sync directory %s", dir);
	return KT_OK;
}

bool file_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

enum kt_err fd_write_all(int fd, const void *data, size_t len)
{
	const uint8_t *at = data;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno("cannot write");
		at += n;
		len -= (size_t)n;
	}
	return KT_OK;
}

enum kt_err fd_read_all(int fd, void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = read(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno("cannot read");
		if (n == 0)
			return err_raise(KT_ERR_IO, "unexpected end of data");
		at += n;
		len -= (size_t)n;
	}
	return KT_OK;
}

enum kt_err file_beside(const char *path, const char *what, char *ret,
			size_t size)
{
	struct kt_id random;
	char digits[17];

	if (path[0] == '\0')
		return err_raise(KT_ERR_USAGE, "path empty");
	TRY(id_random(&random));
	hex_encode(random.bytes, 8, digits);
	return text_format(ret, size, "%s.%s-%s", path, what, digits);
}

/* Some file systems cannot rename without replacing, some have no links. */
enum kt_err file_rename_new(const char *from, const char *to)
{
	if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
		return KT_OK;
	if ((errno == EINVAL || errno == ENOSYS) && link(from, to) == 0) {
		unlink(from);
		return KT_OK;
	}
	return err_errno("cannot create %s", to);
}

/* path: what the file is going to be called. */
static enum kt_err write_and_sync(const char *temp, const char *path,
				  const void *data, size_t len)
{
	CLEANUP(fd_close)
	int fd =
		open(temp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		     0600);
	enum kt_err err;

	if (fd < 0)
		return err_errno("cannot create %s", path);
	err = fd_write_all(fd, data, len);
	if (err != KT_OK)
		return err_prefix(err, "%s", path);
	if (fsync(fd) != 0)
		return err_errno("cannot sync %s", path);
	return KT_OK;
}

enum kt_err file_write_new(const char *path, const void *data, size_t len)
{
	char temp[PATH_MAX];
	enum kt_err err;

	TRY(file_beside(path, "partial", temp, sizeof(temp)));
	if (file_exists(path))
		return err_raise(KT_ERR_EXISTS, "%s exists already", path);
	err = write_and_sync(temp, path, data, len);
	if (err == KT_OK)
		err = file_rename_new(temp, path);
	if (err != KT_OK) {
		unlink(temp);
		return err;
	}
	err = dir_sync(path);
	if (err != KT_OK)
		unlink(path);
	return err;
}

static enum kt_err copy_fd(int from, int to)
{
	uint8_t buffer[65536];
	ssize_t n;

	while ((n = read(from, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno("cannot read");
		TRY(fd_write_all(to, buffer, (size_t)n));
	}
	if (fsync(to) != 0)
		return err_errno("cannot sync");
	return KT_OK;
}

enum kt_err file_copy_new(const char *from, const char *to)
{
	CLEANUP(fd_close) int in = open(from, O_RDONLY | O_CLOEXEC);
	CLEANUP(fd_close) int out = -1;
	enum kt_err err;

	if (in < 0)
		return err_errno("cannot open %s", from);
	out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		   0600);
	if (out < 0)
		return err_errno("cannot create %s", to);
	err = copy_fd(in, out);
	if (err != KT_OK) {
		unlink(to);
		return err_prefix(err, "%s to %s", from, to);
	}
	return dir_sync(to);
}

static enum kt_err digest_fd(int fd, const char *path, EVP_MD_CTX *ctx,
			     int64_t *ret_size)
{
	uint8_t buffer[65536];
	int64_t size = 0;
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno("cannot read %s", path);
		if (EVP_DigestUpdate(ctx, buffer, (size_t)n) != 1)
			return err_raise(KT_ERR_FAILED, "SHA-256 failed");
		size += n;
	}
	*ret_size = size;
	return KT_OK;
}

enum kt_err file_digest(const char *path, uint8_t ret_digest[32],
			int64_t *ret_size)
{
	CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return err_errno("cannot open %s", path);
	if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return err_memory();
	TRY(digest_fd(fd, path, ctx, ret_size));
	if (EVP_DigestFinal_ex(ctx, ret_digest, NULL) != 1)
		return err_raise(KT_ERR_FAILED, "SHA-256 failed");
	return KT_OK;
}

enum kt_err lock_take(const char *path, enum lock_mode mode, int timeout_ms,
		      int *ret_fd)
{
	CLEANUP(fd_close)
	int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	int operation = mode == LOCK_MODE_SHARED ? LOCK_SH : LOCK_EX;
	int64_t deadline = clock_monotonic_ms() + timeout_ms;

	if (fd < 0)
		return err_errno("cannot open lock file %s", path);
	while (flock(fd, operation | LOCK_NB) != 0) {
		struct timespec pause = {.tv_nsec = 2000000};

		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_errno("cannot lock %s", path);
		if (clock_monotonic_ms() >= deadline)
			return err_raise(KT_ERR_BUSY,
					 "lock %s is held for more than %d s",
					 path, timeout_ms / 1000);
		nanosleep(&pause, NULL);
	}
	*ret_fd = fd;
	fd = -1;
	return KT_OK;
}
