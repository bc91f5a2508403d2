/*
 * Runs a fuzz target over every file of a corpus, and over every beginning of
 * it: truncation is what real inputs suffer most. For builds without libFuzzer.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "fuzz.h"

#define SEED_MAX 65536
#define CUT_MAX 1024 /* longer seeds are only run as a whole */

/* In room of its own, so that reading behind its end is seen. */
static void run(const uint8_t *data, size_t len)
{
	CLEANUP(freep) uint8_t *copy = malloc(len > 0 ? len : 1);

	must(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	(void)LLVMFuzzerTestOneInput(copy, len);
}

static size_t read_seed(int folder, const char *name, uint8_t *ret)
{
	CLEANUP(fd_close) int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, ret, SEED_MAX);

	if (len < 0)
		perror(name);
	must(len >= 0 && len < SEED_MAX);
	return (size_t)len;
}

static void replay(int folder, const char *name)
{
	static uint8_t seed[SEED_MAX];
	size_t len = read_seed(folder, name, seed);

	for (size_t cut = 0; cut < len && len <= CUT_MAX; cut++)
		run(seed, cut);
	run(seed, len);
}

static void closedirp(DIR **folder)
{
	if (*folder != NULL)
		closedir(*folder);
}

int main(int argc, char **argv)
{
	CLEANUP(closedirp) DIR *folder = argc == 2 ? opendir(argv[1]) : NULL;
	const struct dirent *entry;
	int seeds = 0;

	if (folder == NULL) {
		fprintf(stderr, "usage: %s CORPUS\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		replay(dirfd(folder), entry->d_name);
		seeds++;
	}
	printf("%d seeds\n", seeds);
	return seeds > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
