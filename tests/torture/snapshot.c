/*
 * The files are few and small: they are kept in memory.
 */
#include "tests/torture/snapshot.h"

#include <ftw.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct kept_file {
	struct kept_file *next;
	char path[PATH_MAX];
	mode_t mode;
	size_t len;
	char *data;
};

struct snapshot {
	char folder[PATH_MAX];
	struct kept_file *files;
};

/* nftw() hands nothing through. */
static struct kept_file **adds_to;

static void require(bool held, const char *what)
{
	if (held)
		return;
	perror(what);
	exit(1);
}

static int keep(const char *path, const struct stat *st, int type,
		struct FTW *at)
{
	struct kept_file *file;
	FILE *in;

	(void)at;
	if (type != FTW_F || !S_ISREG(st->st_mode))
		return 0;
	file = calloc(1, sizeof(*file));
	require(file != NULL, "memory");
	snprintf(file->path, sizeof(file->path), "%s", path);
	file->mode = st->st_mode & 0777;
	file->len = (size_t)st->st_size;
	file->data = malloc(file->len + 1);
	in = fopen(path, "r");
	require(in != NULL && file->data != NULL &&
			fread(file->data, 1, file->len, in) == file->len,
		path);
	fclose(in);
	file->next = *adds_to;
	*adds_to = file;
	return 0;
}

struct snapshot *snapshot_take(const char *folder)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	require(snapshot != NULL, "memory");
	snprintf(snapshot->folder, sizeof(snapshot->folder), "%s", folder);
	adds_to = &snapshot->files;
	require(nftw(folder, keep, 16, FTW_PHYS) == 0, folder);
	return snapshot;
}

static int remove_file(const char *path, const struct stat *st, int type,
		       struct FTW *at)
{
	(void)at;
	if (type == FTW_F && S_ISREG(st->st_mode))
		require(unlink(path) == 0, path);
	return 0;
}

static void write_file(const struct kept_file *file)
{
	FILE *out = fopen(file->path, "w");

	require(out != NULL &&
			fwrite(file->data, 1, file->len, out) == file->len &&
			fclose(out) == 0,
		file->path);
	require(chmod(file->path, file->mode) == 0, file->path);
}

void snapshot_restore(const struct snapshot *snapshot)
{
	require(nftw(snapshot->folder, remove_file, 16, FTW_PHYS) == 0,
		snapshot->folder);
	for (struct kept_file *f = snapshot->files; f != NULL; f = f->next)
		write_file(f);
}

void snapshot_free(struct snapshot *snapshot)
{
	while (snapshot != NULL && snapshot->files != NULL) {
		struct kept_file *file = snapshot->files;

		snapshot->files = file->next;
		free(file->data);
		free(file);
	}
	free(snapshot);
}
