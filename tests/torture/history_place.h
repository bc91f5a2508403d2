/*
 * Where a history happens: a vault on a SoftHSM below one folder, which the
 * parent makes and every process opens for itself; the keys in it, the values,
 * and the files through which the processes speak.
 */
#ifndef TESTS_TORTURE_HISTORY_PLACE_H
#define TESTS_TORTURE_HISTORY_PLACE_H

#include "tests/torture/history.h"

/* Keys of the project "kept" are never deleted, and imported together; those
 * of "gone" are deleted, each by one process. */
#define KEPT_KEYS 4
#define GONE_KEYS 4
#define KEYS (KEPT_KEYS + GONE_KEYS)
#define NO_KEY UINT32_MAX

#define VALUE_LEN_MAX 512

struct place {
	char folder[64];
	char uri[128];
	char runtime_dir[128], store[128], worker[4096];
	struct kt_params params;
};

/* The params point into *ret, which must not be moved. */
void place_fill(const char *folder, struct place *ret);

const char *key_project(uint32_t key);
const char *key_name(uint32_t key);

/* A value is its number and a padding that follows from it. */
enum kt_err value_make(uint64_t value, struct kt_secret *ret);

/* 0: not a value of ours. */
uint64_t value_number(const struct kt_secret *secret);

/* Access tokens are counted from 1; those of "kept" are the odd ones. The file
 * is there once the token can be used. */
void token_path(const struct place *place, uint32_t token, char ret[192]);

/* Whatever must not happen: into a file that all share. */
void complain(const struct place *place, const char *who, enum kt_err err);
void complaints_path(const struct place *place, char ret[192]);

/* The parent makes it, and everybody ends. */
void stop_path(const struct place *place, char ret[192]);

/* The events of one process; there once it has opened the vault. */
void events_path(const struct place *place, uint32_t process, char ret[192]);

/* What a process does until it is stopped, or, should its parent be gone, until
 * then. */
enum role {
	ROLE_WRITER,
	ROLE_READER,
	ROLE_HOLDER,
	ROLE_IMPORTER,
	ROLE_DELETER,
	ROLE_MAX_
};
int history_worker(enum role role, uint32_t process, const char *folder,
		   int64_t until);

#endif
