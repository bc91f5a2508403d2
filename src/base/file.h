/*
 * Files: private directories, whole-file writes that are either there or not,
 * and lock files.
 */
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* For CLEANUP(fd_close) int fd = -1. */
void fd_close(int *fd);

/* mkdir -p with mode 0700 for what it makes. */
enum kt_err dir_make(const char *path);

/* The directory part of path into ret ("." when there is none). */
enum kt_err dir_of(const char *path, char *ret, size_t size);

/* Syncs the directory that holds path, so that its entry lasts. */
enum kt_err dir_sync(const char *path);

bool file_exists(const char *path);

/* A name beside path that nobody has: "PATH.what-0123456789abcdef". */
enum kt_err file_beside(const char *path, const char *what, char *ret,
			size_t size);

/* Renames in one step; KT_ERR_EXISTS when something has that name already.
 * The directory is not synced. */
enum kt_err file_rename_new(const char *from, const char *to);

/* Writes a new file, mode 0600, synced with its directory: whole, or not there
 * under this name. KT_ERR_EXISTS when it is there: nothing is overwritten. A
 * process that is killed may leave PATH.partial-*. */
enum kt_err file_write_new(const char *path, const void *data, size_t len);

/* Copies a file into a new one, likewise. */
enum kt_err file_copy_new(const char *from, const char *to);

/* All of len, restarted after signals. */
enum kt_err fd_write_all(int fd, const void *data, size_t len);

/* Exactly len bytes; KT_ERR_IO at an early end. */
enum kt_err fd_read_all(int fd, void *data, size_t len);

/* SHA-256 of a file's content, and its size. */
enum kt_err file_digest(const char *path, uint8_t ret_digest[32],
			int64_t *ret_size);

/* An advisory lock on a file that is made when missing (0600). Waits at most
 * timeout_ms; KT_ERR_BUSY then. The lock lives as long as the descriptor. */
enum lock_mode { LOCK_MODE_SHARED, LOCK_MODE_EXCLUSIVE };
enum kt_err lock_take(const char *path, enum lock_mode mode, int timeout_ms,
		      int *ret_fd);

#endif
