/*
 * A disk that can lose its power, below a whole keyturn. Linked into the
 * command it puts itself under SQLite before main() and remembers of every
 * file what was changed since its last sync. At the chosen call it kills the
 * process, after it has taken back what a power loss would have taken:
 *
 *	KEYTURN_POWER=count             says at the end how many calls there
 *were KEYTURN_POWER=kill:N            is killed instead of call N
 *	KEYTURN_POWER=power:N           all that was not synced is gone
 *	KEYTURN_POWER=torn:N[:SEED]     of that any 512 bytes may be gone or not
 *
 * Calls are writes, truncations, syncs and deletions. N "end" means the end of
 * the process, when all that it acknowledged must be on the disk. The token is
 * no part of it: SoftHSM never syncs, so keyturn can only ask the kernel to.
 */
#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sqlite3.h>

#define SECTOR 512

enum mode { NOTHING, COUNT, KILL, POWER, TORN };

/* One write (data is what came) or truncation (data is NULL), and what it
 * takes to undo it. */
struct change {
	struct change *before;
	sqlite3_int64 at, old_size;
	size_t len, old_len;
	char *data, *old;
};

/* A file on the disk, by its path. */
struct disk_file {
	struct disk_file *next;
	char path[PATH_MAX];
	struct change *last; /* not synced; the youngest first */
	bool entry_is_new;   /* in a directory that was not synced */
	bool is_deleted;     /* the same */
	char *deleted;       /* its content */
	size_t deleted_len;
};

/* Ours, right behind the real file in SQLite's memory. */
struct extra {
	sqlite3_io_methods methods;
	const sqlite3_io_methods *real;
	struct disk_file *disk;
};

static sqlite3_vfs vfs;
static sqlite3_vfs *below;
static size_t extra_at;
static struct disk_file *files;
static enum mode mode;
static long calls, crash_at; /* 0: at the end */

static void *get(size_t size)
{
	void *memory = calloc(1, size > 0 ? size : 1);

	if (memory == NULL)
		abort();
	return memory;
}

static bool coin(void)
{
	static uint64_t state;

	if (state == 0)
		state = (uint64_t)random() + 1;
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (state & 1) != 0;
}

/* --- losing power --------------------------------------------------------- */

static void put(int fd, const char *data, size_t len, int64_t at)
{
	if (pwrite(fd, data, len, at) != (ssize_t)len)
		abort();
}

static void undo(int fd, const struct change *change)
{
	put(fd, change->old, change->old_len, change->at);
	if (ftruncate(fd, change->old_size) != 0)
		abort();
}

static void redo_some(int fd, const struct change *change)
{
	if (change == NULL)
		return;
	redo_some(fd, change->before);
	if (change->data == NULL && coin() && ftruncate(fd, change->at) != 0)
		abort();
	for (size_t i = 0; i < change->len; i += SECTOR) {
		size_t rest = change->len - i;

		if (coin())
			put(fd, change->data + i, rest < SECTOR ? rest : SECTOR,
			    change->at + (int64_t)i);
	}
}

static void bring_back(const struct disk_file *file)
{
	int fd = open(file->path, O_WRONLY | O_CREAT | O_EXCL, 0600);

	if (fd < 0) /* made again since */
		return;
	put(fd, file->deleted, file->deleted_len, 0);
	close(fd);
}

static void lose(const struct disk_file *file)
{
	int fd;

	if (file->is_deleted && (mode == POWER || coin()))
		bring_back(file);
	if (file->entry_is_new && (mode == POWER || coin())) {
		unlink(file->path);
		return;
	}
	if (file->last == NULL)
		return;
	fd = open(file->path, O_WRONLY);
	if (fd < 0)
		return;
	for (struct change *c = file->last; c != NULL; c = c->before)
		undo(fd, c);
	if (mode == TORN)
		redo_some(fd, file->last);
	close(fd);
}

_Noreturn static void crash(void)
{
	for (struct disk_file *f = files; mode != KILL && f != NULL;
	     f = f->next)
		lose(f);
	kill(getpid(), SIGKILL);
	for (;;)
		pause();
}

static bool is_due(void)
{
	calls++;
	return mode > COUNT && calls == crash_at;
}

/* --- remembering -----------------------------------------------------------
 */

static struct disk_file *disk_file(const char *path)
{
	struct disk_file *file = files;

	while (file != NULL && strcmp(file->path, path) != 0)
		file = file->next;
	if (file != NULL)
		return file;
	file = get(sizeof(*file));
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->next = files;
	files = file;
	return file;
}

static void forget_changes(struct disk_file *file)
{
	while (file->last != NULL) {
		struct change *change = file->last;

		file->last = change->before;
		free(change->data);
		free(change->old);
		free(change);
	}
}

static void is_synced(struct disk_file *file)
{
	forget_changes(file);
	file->entry_is_new = file->is_deleted = false;
}

static struct extra *extra(sqlite3_file *file)
{
	return (struct extra *)(void *)((char *)file + extra_at);
}

/* What stands between at and the end of the range or file. */
static void remember(sqlite3_file *file, const char *data, size_t len,
		     sqlite3_int64 at)
{
	struct extra *e = extra(file);
	struct change *change = get(sizeof(*change));
	sqlite3_int64 end;

	if (e->real->xFileSize(file, &change->old_size) != SQLITE_OK)
		abort();
	change->at = at;
	change->len = len;
	end = data == NULL ? INT64_MAX : at + (int64_t)len;
	if (end > change->old_size)
		end = change->old_size;
	change->old_len = end > at ? (size_t)(end - at) : 0;
	change->old = get(change->old_len);
	if (change->old_len > 0 &&
	    e->real->xRead(file, change->old, (int)change->old_len, at) !=
		    SQLITE_OK)
		abort();
	if (data != NULL) {
		change->data = get(len);
		memcpy(change->data, data, len);
	}
	change->before = e->disk->last;
	e->disk->last = change;
}

static int p_write(sqlite3_file *file, const void *data, int len,
		   sqlite3_int64 at)
{
	bool due = is_due();
	int rc;

	if (due && mode == KILL)
		crash();
	remember(file, data, (size_t)len, at);
	rc = extra(file)->real->xWrite(file, data, len, at);
	if (due)
		crash();
	return rc;
}

static int p_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	bool due = is_due();
	int rc;

	if (due && mode == KILL)
		crash();
	remember(file, NULL, 0, size);
	rc = extra(file)->real->xTruncate(file, size);
	if (due)
		crash();
	return rc;
}

/* SQLite syncs the directory too when it syncs a journal it has made. */
static int p_sync(sqlite3_file *file, int flags)
{
	int rc;

	if (is_due())
		crash();
	rc = extra(file)->real->xSync(file, flags);
	if (rc == SQLITE_OK)
		is_synced(extra(file)->disk);
	return rc;
}

static void read_whole(struct disk_file *file)
{
	struct stat st;
	int fd = open(file->path, O_RDONLY);

	if (fd < 0 || fstat(fd, &st) != 0)
		abort();
	free(file->deleted);
	file->deleted_len = (size_t)st.st_size;
	file->deleted = get(file->deleted_len);
	if (read(fd, file->deleted, file->deleted_len) != st.st_size)
		abort();
	close(fd);
}

/* A journal that is deleted ends a transaction: if its name may come back, so
 * may the transaction be undone. */
static int p_delete(sqlite3_vfs *self, const char *name, int sync)
{
	struct disk_file *file = disk_file(name);
	bool due = is_due();
	int rc;

	(void)self;
	if (access(name, F_OK) != 0)
		return below->xDelete(below, name, sync);
	if (due && mode == KILL)
		crash();
	read_whole(file);
	rc = below->xDelete(below, name, sync);
	forget_changes(file);
	file->is_deleted = !file->entry_is_new;
	file->entry_is_new = false;
	if (due)
		crash();
	if (sync)
		file->is_deleted = false;
	return rc;
}

static int p_open(sqlite3_vfs *self, const char *name, sqlite3_file *file,
		  int flags, int *ret_flags)
{
	bool existed = name != NULL && access(name, F_OK) == 0;
	struct extra *e = extra(file);
	int rc;

	(void)self;
	rc = below->xOpen(below, name, file, flags, ret_flags);
	if (rc != SQLITE_OK || name == NULL)
		return rc;
	e->disk = disk_file(name);
	if (!existed && access(name, F_OK) == 0)
		e->disk->entry_is_new = true;
	e->real = file->pMethods;
	e->methods = *file->pMethods;
	e->methods.xWrite = p_write;
	e->methods.xTruncate = p_truncate;
	e->methods.xSync = p_sync;
	file->pMethods = &e->methods;
	return rc;
}

/* --- setting it up ----------------------------------------------------------
 */

static void at_end(void)
{
	if (mode == COUNT)
		fprintf(stderr, "power: %ld calls\n", calls);
	else if (crash_at == 0)
		crash();
}

static void read_plan(const char *plan)
{
	static const char *const names[] = {[NOTHING] = "",
					    [COUNT] = "count",
					    [KILL] = "kill",
					    [POWER] = "power",
					    [TORN] = "torn"};
	char word[8] = "", at[16] = "";
	unsigned seed = 1;

	if (sscanf(plan, "%7[^:]:%15[^:]:%u", word, at, &seed) < 1)
		abort();
	for (mode = TORN; mode != NOTHING; mode--)
		if (strcmp(names[mode], word) == 0)
			break;
	crash_at = strtol(at, NULL, 10);
	srandom(seed);
	if (mode == NOTHING || (mode != COUNT && at[0] == '\0')) {
		fprintf(stderr, "power: cannot read the plan '%s'\n", plan);
		exit(2);
	}
}

/* Before main(), so before any database is open. */
__attribute__((constructor)) static void install(void)
{
	const char *plan = getenv("KEYTURN_POWER");

	if (plan == NULL)
		return;
	read_plan(plan);
	atexit(at_end);
	below = sqlite3_vfs_find(NULL);
	assert(below != NULL);
	vfs = *below;
	vfs.zName = "power";
	extra_at = ((size_t)below->szOsFile + 15) / 16 * 16;
	vfs.szOsFile = (int)(extra_at + sizeof(struct extra));
	vfs.xOpen = p_open;
	vfs.xDelete = p_delete;
	sqlite3_vfs_register(&vfs, 1);
}
