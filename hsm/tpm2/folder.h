/*
 * The state folder: private, and every file in it is whole or not there at
 * any instant, power cuts included.
 */
#ifndef HSM_TPM2_FOLDER_H
#define HSM_TPM2_FOLDER_H

#include <limits.h>
#include <sys/types.h>

#include "hsm/tpm2/crypto.h"

#define FOLDER_FILE_MAX (64 * 1024)

struct folder {
	char path[PATH_MAX / 2];
	int lock;  /* -1: not open */
	pid_t pid; /* that opened it */
};

CK_RV folder_init(const char *path, struct folder *ret);
void folder_done(struct folder *folder);

/* The folder and keys/ in it, 0700. */
CK_RV folder_make(const struct folder *folder);

bool folder_has(const struct folder *folder, const char *name);

/* A directory below it, with its parents. */
CK_RV folder_make_dir(const struct folder *folder, const char *name);

/* Replaces the file at once: written beside it, synced, renamed, synced. */
CK_RV folder_write(const struct folder *folder, const char *name,
		   struct span data);

/* CKR_DATA_INVALID when it is not there; the caller frees *ret. A NUL stands
 * behind the data. */
CK_RV folder_read(const struct folder *folder, const char *name, uint8_t **ret,
		  size_t *ret_len);

/* Gone, and synced; a file that was not there is no error. */
CK_RV folder_remove(const struct folder *folder, const char *name);

/* A directory and the files in it, the one with the name last at last: as long
 * as that is there, so is what it says. */
CK_RV folder_remove_dir(const struct folder *folder, const char *name,
			const char *last);

/* Calls fn with each name in a directory below it; a missing one is empty. */
CK_RV folder_each(const struct folder *folder, const char *dir,
		  CK_RV (*fn)(const char *name, void *arg), void *arg);

/* The lock between processes; nothing where the folder is not yet there. Waits
 * for a minute at most. Not for two threads at once. */
CK_RV folder_lock(struct folder *folder);
void folder_unlock(struct folder *folder);
DEFINE_CLEANUP(struct folder, folder_unlock)

#endif
