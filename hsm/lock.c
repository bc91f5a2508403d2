/*
 * The name of a module's lock file; and who has it, where it is waited for in
 * vain.
 */
#include "hsm/lock.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/process.h"
#include "base/text.h"

#define LOCK_WAIT_MS 60000
#define NAME_BYTES 8

/* Two names of one module must give one lock. */
static const char *canonical(const char *module_path, char room[PATH_MAX])
{
	return realpath(module_path, room) != NULL ? room : module_path;
}

/* "1: FLOCK ADVISORY WRITE 708 fe:01:2359 0 EOF"; 0: not a lock of flock(2). */
static pid_t flock_pid(const char *line)
{
	char word[5][24];
	long long pid;

	for (size_t i = 0; i < 5; i++) {
		if (!text_word(&line, word[i], sizeof(word[i])))
			return 0;
	}
	if (strcmp(word[1], "FLOCK") != 0 ||
	    !text_read_int(word[4], 1, INT_MAX, &pid))
		return 0;
	return (pid_t)pid;
}

/* The process that holds a lock on the file, by proc(5), "locks"; 0 when that
 * does not say: the lock may be held from another container. */
static pid_t holder_of(const char *path)
{
	char line[256], file[64];
	FILE *locks = fopen("/proc/locks", "re");
	pid_t holder = 0;
	struct stat st;

	if (locks == NULL)
		return 0;
	if (stat(path, &st) != 0)
		memset(&st, 0, sizeof(st));
	snprintf(file, sizeof(file), " %02x:%02x:%llu ", major(st.st_dev),
		 minor(st.st_dev), (unsigned long long)st.st_ino);
	while (holder == 0 && fgets(line, sizeof(line), locks) != NULL) {
		/* those that wait stand behind an arrow */
		if (strstr(line, file) != NULL && strstr(line, "->") == NULL)
			holder = flock_pid(line);
	}
	fclose(locks);
	return holder;
}

static enum kt_err name_holder(enum kt_err err, const char *path)
{
	pid_t pid = holder_of(path);

	if (pid == 0)
		return err;
	if (process_is_stopped(pid))
		return err_hint(err,
				"process %d has it and is stopped: 'kill "
				"-CONT %d' lets it go on",
				pid, pid);
	return err_hint(err, "process %d has it", pid);
}

enum kt_err token_lock(const char *runtime_dir, const char *module_path,
		       enum lock_mode mode, int *ret_fd)
{
	char room[PATH_MAX], path[PATH_MAX];
	char name[2 * NAME_BYTES + 1];
	uint8_t digest[EVP_MAX_MD_SIZE];
	const char *module = canonical(module_path, room);
	enum kt_err err;

	if (EVP_Digest(module, strlen(module), digest, NULL, EVP_sha256(),
		       NULL) != 1)
		return err_raise(KT_ERR_FAILED, "SHA-256 failed");
	hex_encode(digest, NAME_BYTES, name);
	TRY(text_format(path, sizeof(path), "%s/module-%s.lock", runtime_dir,
			name));
	TRY(dir_make(runtime_dir));
	err = lock_take(path, mode, LOCK_WAIT_MS, ret_fd);
	return err == KT_ERR_BUSY ? name_holder(err, path) : err;
}
