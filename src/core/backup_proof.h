/*
 * The proof of a copy, shared by verify and restore, and the handle on a
 * database beside the vault's that it needs.
 */
#ifndef CORE_BACKUP_PROOF_H
#define CORE_BACKUP_PROOF_H

#include <keyturn/backup.h>

#include "core/open.h"

/* A vault over one of several databases: the token stays the caller's and
 * outlives it, as does path. copy: opened to be read only. Rows are checked
 * from here on. */
enum kt_err side_vault_open(const struct kt_params *params, const char *path,
			    bool copy, struct token *token,
			    struct kt_vault **ret);

void side_vault_close(struct kt_vault *vault);
DEFINE_CLEANUP(struct kt_vault, side_vault_close)

struct proof_watch {
	const struct kt_progress *progress; /* NULL: none */
	void (*fault)(void *arg, const char *text);
	void *arg;
};

/* kt_backup_verify() on an open copy: fills *ret but for size, digest and the
 * vault's record, after KT_ERR_INTEGRITY too. */
enum kt_err backup_prove(struct kt_vault *copy, const struct proof_watch *watch,
			 struct kt_backup_report *ret);

/* The vault's database, for its records: *ret stays NULL where there is none,
 * and where it cannot be read, which *ret_damage (of 256 bytes) explains. An
 * error is one that says nothing of the database: it is busy, or another
 * token's. */
enum kt_err present_open(const struct kt_params *params, struct token *token,
			 struct kt_vault **ret, char *ret_damage);

/* What the vault's records say of a copy; file: its name as given.
 * KT_ERR_CONFLICT: another vault's. KT_ERR_INTEGRITY: it is not what was
 * recorded under that name. */
enum kt_err present_compare(struct kt_vault *present, const char *file,
			    struct kt_backup_report *report);

#endif
