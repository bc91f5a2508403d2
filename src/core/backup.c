/*
 * Copies of the database. A copy holds wrapped keys and sealed values only: it
 * is worth nothing without the token, and nothing replaces it with the token
 * but without the database.
 */
#include <keyturn/vault.h>

#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "core/audit.h"

static enum kt_err backup_audit(struct kt_vault *vault, const char *path,
				const struct kt_backup *backup)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(audit_append(vault, "backup.create", "database",
			 "sha256=%s bytes=%lld file=%s", backup->sha256,
			 (long long)backup->size, path));
	return store_commit(&tx);
}

static enum kt_err backup_finish(struct kt_vault *vault, const char *path,
				 struct kt_backup *ret)
{
	uint8_t digest[32];

	TRY(file_digest(path, digest, &ret->size));
	hex_encode(digest, sizeof(digest), ret->sha256);
	return backup_audit(vault, path, ret);
}

enum kt_err kt_backup_create(struct kt_vault *vault, const char *path,
			     struct kt_backup *ret)
{
	struct kt_backup backup = {.created = clock_now()};
	struct err_saved saved;
	enum kt_err err;

	TRY(require_operator(vault));
	TRY(store_backup(vault->store, path));
	err = backup_finish(vault, path, &backup);
	if (err != KT_OK) {
		/* No audit entry, no operation. */
		err_save(err, &saved);
		unlink(path);
		return err_restore(&saved);
	}
	*ret = backup;
	return KT_OK;
}
