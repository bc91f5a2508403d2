/*
 * A batch of values: read, sealed under new data keys, and put in place of the
 * old ones in one transaction. The token's work is done between two looks at
 * the database; values that were deleted meanwhile are left out.
 */
#include "core/reencrypt.h"

#include <string.h>

#include "base/crash.h"
#include "core/audit.h"

void reencrypt_clear(struct reencryption *r)
{
	for (size_t i = 0; i < r->count; i++) {
		reading_done(&r->item[i].old);
		sealed_value_done(&r->item[i].sealed);
	}
	memset(r->item, 0, sizeof(r->item));
	r->count = 0;
}

enum kt_err reencrypt_note(struct reencryption *r, enum kt_err err)
{
	if (err != KT_ERR_INTEGRITY)
		return err;
	r->faults++;
	if (r->fault != NULL)
		r->fault(r->fault_arg, kt_err_detail());
	return KT_OK;
}

static enum kt_err seal_item(struct reencryption *r,
			     struct reencrypt_item *item)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	const struct reading *old = &item->old;
	uint8_t aad[VALUE_AAD_LEN];

	TRY(reading_open(r->vault, old, &value));
	TRY(id_new(&item->dek));
	value_aad(&r->vault->row.id, &old->head, old->version.version,
		  &item->dek, aad);
	return value_seal(r->keys.key, r->keys.count, aad, sizeof(aad), &value,
			  item->blobs, &item->sealed);
}

/* The good ones move together, so that what is stored is one run of them. */
static enum kt_err seal_batch(struct reencryption *r)
{
	size_t kept = 0;

	for (size_t i = 0; i < r->count; i++) {
		enum kt_err err;

		sealed_value_done(&r->item[i].sealed);
		err = seal_item(r, &r->item[i]);
		if (err == KT_OK) {
			struct reencrypt_item other = r->item[kept];

			r->item[kept++] = r->item[i];
			r->item[i] = other;
		} else {
			TRY(reencrypt_note(r, err));
		}
	}
	while (r->count > kept) {
		reading_done(&r->item[--r->count].old);
		sealed_value_done(&r->item[r->count].sealed);
	}
	return KT_OK;
}

/* The row of the old data key gives its place to the new one's. */
static enum kt_err replace_key(struct reencryption *r,
			       const struct reencrypt_item *item,
			       struct key_row *old)
{
	struct store *store = r->vault->store;
	struct key_row key;
	int64_t wraps;

	TRY(store_exec(store, S_WRAPS_DELETE_SUBJECT, &wraps, "b", &old->id));
	TRY(store_remove(store, ROW_KEY, old));
	TRY(key_row_new(KT_KEY_DEK, &old->owner, old->version, &key));
	key.id = item->dek;
	key.proven = key.activated = key.created;
	TRY(store_insert(store, ROW_KEY, &key));
	return wrap_set_store(r->vault, &r->keys, &key.id, item->blobs);
}

/* While a version's data key is there, the version is as it was read. */
static enum kt_err replace_item(struct reencryption *r,
				const struct reencrypt_item *item,
				int64_t *done)
{
	struct version_row version = item->old.version;
	struct key_row old;
	enum kt_err err =
		query_one(r->vault->store, Q_KEY, &old, "b", &version.dek);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	if (old.destroyed != 0)
		return KT_OK;
	TRY(replace_key(r, item, &old));
	CRASH_POINT("reencrypt.key");
	version.dek = item->dek;
	version.ciphertext.data = item->sealed.data;
	version.ciphertext.len = item->sealed.len;
	TRY(blob_set(&version.nonce, item->sealed.nonce, VALUE_NONCE_LEN));
	TRY(store_update(r->vault->store, ROW_VERSION, &version));
	(*done)++;
	return KT_OK;
}

static enum kt_err add_to_record(struct reencryption *r, int64_t values)
{
	struct store *store = r->vault->store;
	struct rotation_row row;

	if (id_is_zero(&r->record))
		return KT_OK;
	TRY(query_one(store, Q_ROTATION, &row, "b", &r->record));
	row.values_reencrypted += values;
	return store_update(store, ROW_ROTATION, &row);
}

/* The second look: the keys that the values were sealed for are still those
 * that new values need. */
static enum kt_err commit_batch(struct reencryption *r)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct wrap_set keys;
	int64_t done = 0;

	TRY(store_begin(r->vault->store, STORE_WRITE, &tx));
	TRY(wrap_set_read(r->vault, KT_KEY_DEK, &r->project.id, &keys));
	if (!wrap_set_equal(&keys, &r->keys))
		return err_raise(KT_ERR_CONFLICT,
				 "the keys of project '%s' changed meanwhile",
				 r->project.name);
	for (size_t i = 0; i < r->count; i++)
		TRY(replace_item(r, &r->item[i], &done));
	TRY(add_to_record(r, done));
	TRY(audit_append(
		r->vault, "secret.reencrypt", r->project.name,
		"values=%lld, exposed by %s key version %lld", (long long)done,
		kt_key_role_name((enum kt_key_role)r->exposure.key[0].role),
		(long long)r->exposure.key[0].version));
	CRASH_POINT("reencrypt.batch");
	TRY(store_commit(&tx));
	r->done += done;
	return KT_OK;
}

static enum kt_err flush_once(struct reencryption *r)
{
	TRY(wrap_set_read(r->vault, KT_KEY_DEK, &r->project.id, &r->keys));
	TRY(seal_batch(r));
	return r->count > 0 ? commit_batch(r) : KT_OK;
}

enum kt_err reencrypt_flush(struct reencryption *r)
{
	enum kt_err err = KT_ERR_CONFLICT;

	for (int i = 0; i < WRITE_ATTEMPTS && err == KT_ERR_CONFLICT; i++)
		err = flush_once(r);
	reencrypt_clear(r);
	TRY(err);
	CRASH_POINT("reencrypt.committed");
	progress_report(&r->progress, "encrypt again", r->done, r->total);
	return progress_check_stop(&r->progress);
}

/* Reads the version that a data key belongs to. A secret that was deleted
 * since has none. */
static enum kt_err read_item(struct reencryption *r,
			     const struct secret_row *head,
			     const struct kt_id *dek, struct reading *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct reading reading = {.head = *head};
	struct key_row key;
	struct way way;
	enum kt_err err;

	TRY(store_begin(r->vault->store, STORE_READ, &tx));
	TRY(query_one(r->vault->store, Q_KEY, &key, "b", dek));
	TRY(way_find(r->vault, &r->project.id, &way));
	err = reading_fill(r->vault, &reading, key.version, &way);
	if (err == KT_OK)
		*ret = reading;
	else
		reading_done(&reading);
	return err;
}

enum kt_err reencrypt_add(struct reencryption *r, const struct secret_row *head,
			  const struct kt_id *dek)
{
	struct reading *reading = &r->item[r->count].old;
	enum kt_err err = read_item(r, head, dek, reading);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	if (err != KT_OK)
		return reencrypt_note(r, err);
	r->count++;
	return r->count == REENCRYPT_BATCH ? reencrypt_flush(r) : KT_OK;
}
