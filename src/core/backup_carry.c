/*
 * A restore must not undo what protects the vault: access tokens that were
 * revoked since stay revoked, keys that are gone from the token count as
 * destroyed, and the records of backups stay, that of the database which is
 * replaced among them, so that no key of theirs is destroyed.
 */
#include "core/backup_carry.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/backup.h"

/* Fences off whoever held the lease in either database. */
static enum kt_err free_lease(struct carry *c)
{
	struct lease_row lease, other = {0};

	TRY(query_one(c->copy->store, Q_LEASE, &lease, ""));
	if (c->present != NULL)
		TRY(query_one(c->present->store, Q_LEASE, &other, ""));
	lease.rotation = (struct kt_id){0};
	lease.fence =
		1 + (lease.fence > other.fence ? lease.fence : other.fence);
	return store_update(c->copy->store, ROW_LEASE, &lease);
}

static enum kt_err carry_record(struct carry *c, struct backup_row *row)
{
	struct backup_row there;
	enum kt_err err = store_find(c->copy->store, ROW_BACKUP, row, &there);

	if (err != KT_ERR_NOT_FOUND)
		return err;
	c->records++;
	return store_insert(c->copy->store, ROW_BACKUP, row);
}

static enum kt_err carry_records(struct carry *c)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct backup_row row;
	enum kt_err err;

	if (c->present == NULL)
		return KT_OK;
	TRY(store_scan(c->present->store, ROW_BACKUP, &query));
	while ((err = query_next(query, &row)) == KT_OK)
		TRY(carry_record(c, &row));
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err keep_revoked(struct carry *c,
				const struct access_row *revoked)
{
	struct access_row row;
	enum kt_err err = store_find(c->copy->store, ROW_ACCESS, revoked, &row);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	if (row.revoked != 0)
		return KT_OK;
	row.revoked = revoked->revoked;
	c->revoked++;
	return store_update(c->copy->store, ROW_ACCESS, &row);
}

static enum kt_err carry_revocations(struct carry *c)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct access_row row;
	enum kt_err err;

	if (c->present == NULL)
		return KT_OK;
	TRY(store_scan(c->present->store, ROW_ACCESS, &query));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (row.revoked != 0)
			TRY(keep_revoked(c, &row));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* A key that nothing needs, and that the token no longer has. */
static enum kt_err note_destroyed(struct carry *c, struct key_row *key)
{
	char id[KT_ID_TEXT_LEN + 1];
	size_t count;

	TRY(token_count(c->copy->token, &key->cka_id, &count));
	if (count > 0)
		return KT_OK;
	kt_id_format(&key->cka_id, id);
	key->destroying = key->destroying != 0 ? key->destroying : clock_now();
	key->destroyed = clock_now();
	TRY(store_update(c->copy->store, ROW_KEY, key));
	return audit_append(c->copy, "master.destroyed", id,
			    "%s key version %lld: not on the token any more, "
			    "found at a restore",
			    kt_key_role_name((enum kt_key_role)key->role),
			    (long long)key->version);
}

/* The proof has shown that every key which is needed is there. */
static enum kt_err carry_destructions(struct carry *c, enum kt_key_role role)
{
	struct key_row key;
	bool needed;
	enum kt_err err = KT_OK;

	for (int64_t version = 1; err == KT_OK; version++) {
		err = query_one(c->copy->store, Q_KEY_VERSION, &key, "ibi",
				(int64_t)role, &(struct kt_id){0}, version);
		if (err != KT_OK || key.proven == 0 || key.destroyed != 0)
			continue;
		TRY(backup_needs_key(c->copy->store, &key, &needed));
		if (!needed)
			TRY(note_destroyed(c, &key));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* The copy does not know of itself. */
static enum kt_err record_copy(struct carry *c)
{
	struct backup_row row = {
		.created = clock_now(),
		.size = c->plan->backup.size,
	};
	struct backup_row there;
	enum kt_err err;

	if (!hex_decode(c->plan->backup.sha256, row.sha256.bytes, HASH_LEN))
		return err_raise(KT_ERR_FAILED, "no digest to record");
	err = backup_by_digest(c->copy->store, &row.sha256, &there);
	if (err != KT_ERR_NOT_FOUND)
		return err;
	TRY(text_copy(row.file, sizeof(row.file), c->path, "name of the file"));
	TRY(text_copy(row.versions, sizeof(row.versions),
		      c->plan->backup.versions, "versions"));
	return backup_record(c->copy, &row);
}

static enum kt_err record_kept(struct carry *c)
{
	struct backup_row row = {.created = clock_now()};

	if (c->present == NULL)
		return KT_OK;
	TRY(text_copy(row.file, sizeof(row.file), c->plan->kept,
		      "name of the file"));
	TRY(backup_versions(c->present->store, row.versions,
			    sizeof(row.versions)));
	TRY(file_digest(row.file, row.sha256.bytes, &row.size));
	return backup_record(c->copy, &row);
}

static enum kt_err leave_entry(struct carry *c)
{
	const struct kt_restore_plan *plan = c->plan;
	char was[2 * HASH_LEN + 1] = "-";

	if (c->present != NULL)
		hex_encode(c->head->hash.bytes, HASH_LEN, was);
	TRY(audit_append(
		c->copy, "backup.restore", "database",
		"sha256=%s head=%lld:%s replaced-head=%lld:%s "
		"records=%lld revocations=%lld file=%.300s kept=%.300s",
		plan->backup.sha256, (long long)plan->backup.audit_entries,
		plan->backup.audit_head, (long long)plan->present_entries, was,
		(long long)c->records, (long long)c->revoked, c->path,
		plan->present ? plan->kept : "-"));
	return audit_checkpoint(c->copy);
}

enum kt_err carry_over(struct carry *c)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(c->copy->store, STORE_WRITE, &tx));
	TRY(free_lease(c));
	TRY(carry_records(c));
	TRY(carry_revocations(c));
	TRY(carry_destructions(c, KT_KEY_MASTER));
	TRY(carry_destructions(c, KT_KEY_RECOVERY));
	TRY(record_copy(c));
	TRY(record_kept(c));
	TRY(leave_entry(c));
	return store_commit(&tx);
}
