/*
 * The lock between processes: one for each module, whatever name it goes by.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "hsm/lock.h"

static char folder[64], runtime_dir[80], module[80], alias[80], other[80];

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/keyturn-lock-XXXXXX");
	if (mkdtemp(folder) == NULL)
		return -1;
	snprintf(runtime_dir, sizeof(runtime_dir), "%s/run", folder);
	snprintf(module, sizeof(module), "%s/module.so", folder);
	snprintf(alias, sizeof(alias), "%s/alias.so", folder);
	snprintf(other, sizeof(other), "%s/other.so", folder);
	if (file_write_new(module, "", 0) != KT_OK ||
	    file_write_new(other, "", 0) != KT_OK)
		return -1;
	return symlink(module, alias);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

static int teardown(void **state)
{
	(void)state;
	return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* The file behind a lock, by inode. */
static ino_t lock_inode(const char *path, enum lock_mode mode)
{
	CLEANUP(fd_close) int fd = -1;
	struct stat st;

	assert_int_equal(token_lock(runtime_dir, path, mode, &fd), KT_OK);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	return st.st_ino;
}

static void one_lock_for_each_module(void **state)
{
	struct stat st;
	ino_t lock = lock_inode(module, LOCK_MODE_EXCLUSIVE);

	(void)state;
	assert_true(lock_inode(alias, LOCK_MODE_SHARED) == lock);
	assert_true(lock_inode(other, LOCK_MODE_EXCLUSIVE) != lock);
	assert_int_equal(stat(runtime_dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
}

static void shared_locks_go_together(void **state)
{
	CLEANUP(fd_close) int first = -1;
	CLEANUP(fd_close) int second = -1;
	CLEANUP(fd_close) int third = -1;

	(void)state;
	assert_int_equal(
		token_lock(runtime_dir, module, LOCK_MODE_SHARED, &first),
		KT_OK);
	assert_int_equal(
		token_lock(runtime_dir, alias, LOCK_MODE_SHARED, &second),
		KT_OK);
	fd_close(&first);
	fd_close(&second);
	assert_int_equal(
		token_lock(runtime_dir, module, LOCK_MODE_EXCLUSIVE, &third),
		KT_OK);
}

static void a_folder_that_cannot_be_made_is_an_error(void **state)
{
	char below[128];
	int fd = -1;

	(void)state;
	snprintf(below, sizeof(below), "%s/run", module);
	assert_int_not_equal(token_lock(below, module, LOCK_MODE_SHARED, &fd),
			     KT_OK);
	assert_int_equal(fd, -1);
	assert_non_null(strstr(kt_err_detail(), module));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_lock_for_each_module),
		cmocka_unit_test(shared_locks_go_together),
		cmocka_unit_test(a_folder_that_cannot_be_made_is_an_error),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
