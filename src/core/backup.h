/*
 * Records of backups, inside of the engine.
 */
#ifndef CORE_BACKUP_H
#define CORE_BACKUP_H

#include <keyturn/backup.h>

#include "core/vault.h"

/* Takes down a copy in the caller's write transaction; gives the row its id. */
enum kt_err backup_record(struct kt_vault *vault, struct backup_row *row);

/* Whether a database cannot be used without this key: it has rows under it,
 * or it is in use. */
enum kt_err backup_needs_key(struct store *store, const struct key_row *key,
			     bool *ret);

/* "1 2": the versions of the master key that a sealed store needs. */
enum kt_err backup_versions(struct store *store, char *ret, size_t size);

/* The record with this digest; KT_ERR_NOT_FOUND. */
enum kt_err backup_by_digest(struct store *store, const struct mac *sha256,
			     struct backup_row *ret);

/* In the caller's write transaction: KT_ERR_CONFLICT names the backups that
 * are not expired and need this version of the master key; with ignore, each
 * gets an entry in the audit trail instead. */
enum kt_err backup_allow_destroy(struct kt_vault *vault, int64_t version,
				 bool ignore);

#endif
