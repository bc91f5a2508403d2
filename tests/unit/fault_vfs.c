/*
 * The counting VFS. Every file is a struct of ours with the real one right
 * behind it; all calls but the four that are counted go straight through.
 */
#include "fault_vfs.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include <sqlite3.h>

struct fault_file {
	sqlite3_file base;
	sqlite3_file *real;
};

static sqlite3_vfs vfs;
static sqlite3_vfs *below;
static int count, fail_at, fail_code;
static bool fail_lasts, hit;

void fault_vfs_arm(int at, int code, bool lasts)
{
	count = 0;
	fail_at = at;
	fail_code = code;
	fail_lasts = lasts;
	hit = false;
}

bool fault_vfs_hit(void)
{
	return hit;
}

static bool fails_now(void)
{
	count++;
	if (fail_at == 0 || count < fail_at || (count > fail_at && !fail_lasts))
		return false;
	hit = true;
	return true;
}

static sqlite3_file *real(sqlite3_file *file)
{
	return ((struct fault_file *)file)->real;
}

/* real->pMethods->xName(real, ...) */
#define PASS(file, name, ...)                                                  \
	real(file)->pMethods->name(real(file) __VA_OPT__(, ) __VA_ARGS__)

static int f_close(sqlite3_file *file)
{
	return PASS(file, xClose);
}

static int f_read(sqlite3_file *file, void *data, int len, sqlite3_int64 at)
{
	return PASS(file, xRead, data, len, at);
}

static int f_write(sqlite3_file *file, const void *data, int len,
		   sqlite3_int64 at)
{
	return fails_now() ? fail_code : PASS(file, xWrite, data, len, at);
}

static int f_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	return fails_now() ? SQLITE_IOERR_TRUNCATE
			   : PASS(file, xTruncate, size);
}

static int f_sync(sqlite3_file *file, int flags)
{
	return fails_now() ? SQLITE_IOERR_FSYNC : PASS(file, xSync, flags);
}

static int f_size(sqlite3_file *file, sqlite3_int64 *size)
{
	return PASS(file, xFileSize, size);
}

static int f_lock(sqlite3_file *file, int lock)
{
	return PASS(file, xLock, lock);
}

static int f_unlock(sqlite3_file *file, int lock)
{
	return PASS(file, xUnlock, lock);
}

static int f_reserved(sqlite3_file *file, int *ret)
{
	return PASS(file, xCheckReservedLock, ret);
}

static int f_control(sqlite3_file *file, int op, void *arg)
{
	return PASS(file, xFileControl, op, arg);
}

static int f_sector(sqlite3_file *file)
{
	return PASS(file, xSectorSize);
}

static int f_device(sqlite3_file *file)
{
	return PASS(file, xDeviceCharacteristics);
}

static int f_shm_map(sqlite3_file *file, int page, int size, int extend,
		     void volatile **ret)
{
	return PASS(file, xShmMap, page, size, extend, ret);
}

static int f_shm_lock(sqlite3_file *file, int offset, int n, int flags)
{
	return PASS(file, xShmLock, offset, n, flags);
}

static void f_shm_barrier(sqlite3_file *file)
{
	PASS(file, xShmBarrier);
}

static int f_shm_unmap(sqlite3_file *file, int delete)
{
	return PASS(file, xShmUnmap, delete);
}

static const sqlite3_io_methods methods = {
	.iVersion = 2,
	.xClose = f_close,
	.xRead = f_read,
	.xWrite = f_write,
	.xTruncate = f_truncate,
	.xSync = f_sync,
	.xFileSize = f_size,
	.xLock = f_lock,
	.xUnlock = f_unlock,
	.xCheckReservedLock = f_reserved,
	.xFileControl = f_control,
	.xSectorSize = f_sector,
	.xDeviceCharacteristics = f_device,
	.xShmMap = f_shm_map,
	.xShmLock = f_shm_lock,
	.xShmBarrier = f_shm_barrier,
	.xShmUnmap = f_shm_unmap,
};

static int f_open(sqlite3_vfs *self, const char *name, sqlite3_file *file,
		  int flags, int *ret_flags)
{
	struct fault_file *ours = (struct fault_file *)file;
	int rc;

	(void)self;
	ours->real = (sqlite3_file *)(void *)(ours + 1);
	rc = below->xOpen(below, name, ours->real, flags, ret_flags);
	ours->base.pMethods = ours->real->pMethods != NULL ? &methods : NULL;
	return rc;
}

/* Either nothing is deleted, or what failed is the sync of the directory: then
 * the entry is gone, and whether it stays gone nobody knows. */
static int f_delete(sqlite3_vfs *self, const char *name, int sync)
{
	(void)self;
	if (!fails_now())
		return below->xDelete(below, name, sync);
	if (fail_code == SQLITE_FULL)
		return SQLITE_IOERR_DELETE;
	below->xDelete(below, name, 0);
	return SQLITE_IOERR_DIR_FSYNC;
}

void fault_vfs_install(void)
{
	assert(below == NULL);
	below = sqlite3_vfs_find(NULL);
	vfs = *below;
	vfs.zName = "fault";
	vfs.szOsFile = (int)sizeof(struct fault_file) + below->szOsFile;
	vfs.xOpen = f_open;
	vfs.xDelete = f_delete;
	sqlite3_vfs_register(&vfs, 1);
}
