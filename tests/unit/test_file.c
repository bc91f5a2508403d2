/*
 * Files and locks, in a temporary folder of each test's own.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/file.h"

static char folder[64];

static const char *in_folder(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/keyturn-file-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(in_folder("file"));
	unlink(in_folder("link"));
	unlink(in_folder("lock"));
	rmdir(in_folder("a/b/c"));
	rmdir(in_folder("a/b"));
	rmdir(in_folder("a"));
	return rmdir(folder);
}

static unsigned mode_of(const char *path)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_mode & 07777;
}

static void directories_are_private(void **state)
{
	(void)state;
	assert_int_equal(dir_make(in_folder("a/b/c")), KT_OK);
	assert_int_equal(mode_of(in_folder("a")), 0700);
	assert_int_equal(mode_of(in_folder("a/b/c")), 0700);
	assert_int_equal(dir_make(in_folder("a/b/c")), KT_OK);
	assert_int_equal(file_write_new(in_folder("file"), "x", 1), KT_OK);
	assert_int_equal(dir_make(in_folder("file")), KT_ERR_EXISTS);
	assert_int_equal(dir_make(in_folder("file/below")), KT_ERR_EXISTS);
	assert_int_equal(dir_make(""), KT_ERR_USAGE);
}

static void a_path_has_a_directory(void **state)
{
	char dir[64];

	(void)state;
	assert_int_equal(dir_of("/a/b/c", dir, sizeof(dir)), KT_OK);
	assert_string_equal(dir, "/a/b");
	assert_int_equal(dir_of("c", dir, sizeof(dir)), KT_OK);
	assert_string_equal(dir, ".");
	assert_int_equal(dir_of("/c", dir, sizeof(dir)), KT_OK);
	assert_string_equal(dir, "/");
	assert_int_equal(dir_of("/a/b/c", dir, 4), KT_ERR_USAGE);
	assert_string_equal(dir, "/");
}

static void new_files_never_replace(void **state)
{
	char path[256];
	uint8_t digest[32];
	char hex[65];
	int64_t size;

	(void)state;
	snprintf(path, sizeof(path), "%s", in_folder("file"));
	assert_int_equal(file_write_new(path, "abc", 3), KT_OK);
	assert_int_equal(mode_of(path), 0600);
	assert_int_equal(file_write_new(path, "other", 5), KT_ERR_EXISTS);
	assert_int_equal(file_digest(path, digest, &size), KT_OK);
	assert_int_equal(size, 3);
	hex_encode(digest, sizeof(digest), hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223"
				 "b00361a396177a9cb410ff61f20015ad");
}

static void a_name_that_is_taken_stays(void **state)
{
	char from[256], to[256], content[4] = "";
	CLEANUP(fd_close) int fd = -1;

	(void)state;
	snprintf(from, sizeof(from), "%s", in_folder("from"));
	snprintf(to, sizeof(to), "%s", in_folder("to"));
	assert_int_equal(file_write_new(from, "new", 3), KT_OK);
	assert_int_equal(file_write_new(to, "old", 3), KT_OK);
	assert_int_equal(file_rename_new(from, to), KT_ERR_EXISTS);
	assert_true(file_exists(from));
	fd = open(to, O_RDONLY | O_CLOEXEC);
	assert_int_equal(fd_read_all(fd, content, 3), KT_OK);
	assert_string_equal(content, "old");
	assert_int_equal(unlink(to), 0);
	assert_int_equal(file_rename_new(from, to), KT_OK);
	assert_false(file_exists(from));
	assert_int_equal(unlink(to), 0);
	assert_int_equal(file_rename_new(from, to), KT_ERR_NOT_FOUND);
}

static void a_name_beside_is_nobodys(void **state)
{
	char first[300], second[300];

	(void)state;
	assert_int_equal(file_beside("/a/b", "partial", first, sizeof(first)),
			 KT_OK);
	assert_int_equal(file_beside("/a/b", "partial", second, sizeof(second)),
			 KT_OK);
	assert_int_equal(strlen(first), strlen("/a/b.partial-") + 16);
	assert_int_equal(strncmp(first, "/a/b.partial-", 13), 0);
	assert_string_not_equal(first, second);
	assert_int_equal(file_beside("", "partial", first, sizeof(first)),
			 KT_ERR_USAGE);
	assert_int_equal(file_beside("/a/b", "partial", first, 29),
			 KT_ERR_USAGE);
}

static void links_are_not_followed(void **state)
{
	CLEANUP(fd_close) int fd = -1;

	(void)state;
	assert_int_equal(symlink("file", in_folder("link")), 0);
	assert_true(file_exists(in_folder("link")));
	assert_int_equal(file_write_new(in_folder("link"), "x", 1),
			 KT_ERR_EXISTS);
	assert_int_not_equal(
		lock_take(in_folder("link"), LOCK_MODE_SHARED, 0, &fd), KT_OK);
	assert_false(file_exists(in_folder("file")));
}

static void a_full_disk_leaves_no_file(void **state)
{
	(void)state;
	/* Writing here fails with ENOSPC whoever asks. */
	CLEANUP(fd_close) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	assert_int_equal(fd_write_all(fd, "x", 1), KT_ERR_IO);
	assert_int_equal(file_write_new(in_folder("no/file"), "x", 1),
			 KT_ERR_NOT_FOUND);
	assert_int_equal(fd_write_all(fd, "", 0), KT_OK);
}

static void reading_takes_exactly_what_is_asked(void **state)
{
	CLEANUP(fd_close) int from = -1;
	CLEANUP(fd_close) int to = -1;
	char room[4];
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	from = ends[0];
	to = ends[1];
	assert_int_equal(fd_write_all(to, "abcdef", 6), KT_OK);
	fd_close(&to);
	assert_int_equal(fd_read_all(from, room, 4), KT_OK);
	assert_memory_equal(room, "abcd", 4);
	assert_int_equal(fd_read_all(from, room, 4), KT_ERR_IO);
}

static void a_lock_keeps_others_out(void **state)
{
	CLEANUP(fd_close) int first = -1;
	CLEANUP(fd_close) int second = -1;
	int64_t start;

	(void)state;
	assert_int_equal(
		lock_take(in_folder("lock"), LOCK_MODE_EXCLUSIVE, 0, &first),
		KT_OK);
	assert_int_equal(mode_of(in_folder("lock")), 0600);
	start = clock_monotonic_ms();
	assert_int_equal(
		lock_take(in_folder("lock"), LOCK_MODE_SHARED, 50, &second),
		KT_ERR_BUSY);
	assert_true(clock_monotonic_ms() - start >= 50);
	assert_int_equal(second, -1);
	fd_close(&first);
	assert_int_equal(
		lock_take(in_folder("lock"), LOCK_MODE_SHARED, 0, &first),
		KT_OK);
	assert_int_equal(
		lock_take(in_folder("lock"), LOCK_MODE_SHARED, 0, &second),
		KT_OK);
}

static void a_lock_dies_with_its_process(void **state)
{
	CLEANUP(fd_close) int fd = -1;
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		_exit(lock_take(in_folder("lock"), LOCK_MODE_EXCLUSIVE, 0,
				&fd) == KT_OK
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(
		lock_take(in_folder("lock"), LOCK_MODE_EXCLUSIVE, 0, &fd),
		KT_OK);
}

#define TEST(function)                                                         \
	cmocka_unit_test_setup_teardown(function, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(directories_are_private),
		TEST(a_path_has_a_directory),
		TEST(new_files_never_replace),
		TEST(a_name_that_is_taken_stays),
		TEST(a_name_beside_is_nobodys),
		TEST(links_are_not_followed),
		TEST(a_full_disk_leaves_no_file),
		TEST(reading_takes_exactly_what_is_asked),
		TEST(a_lock_keeps_others_out),
		TEST(a_lock_dies_with_its_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
