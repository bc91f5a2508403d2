/*
 * The port itself: transactions and writes of typed rows over a driver. What
 * must hold whatever the database is stands here and in query.c, once: every
 * row with a MAC is sealed on its way in and checked on its way out, a write is
 * a compare-and-set, and a write outside of a transaction becomes one.
 */
#include "store/store.h"

#include <assert.h>

#include "base/crash.h"
#include "store/port.h"

static enum kt_err store_new(enum kt_err (*start)(const struct store_params *,
						  void **),
			     const struct store_params *params,
			     struct store **ret)
{
	CLEANUP(freep) struct store *store = calloc(1, sizeof(*store));

	if (store == NULL)
		return err_memory();
	store->driver = &sqlite_driver;
	store->tx.store = store;
	TRY(start(params, &store->db));
	*ret = TAKE(store);
	return KT_OK;
}

enum kt_err store_create(const struct store_params *params, struct store **ret)
{
	return store_new(sqlite_driver.create, params, ret);
}

enum kt_err store_open(const struct store_params *params, struct store **ret)
{
	return store_new(sqlite_driver.open, params, ret);
}

enum kt_err store_open_copy(const char *path, struct store **ret)
{
	return store_new(sqlite_driver.open_copy,
			 &(struct store_params){.path = path}, ret);
}

void store_close(struct store *store)
{
	if (store == NULL)
		return;
	assert(!store->tx.open);
	store->driver->close(store->db);
	free(store);
}

void store_discard(struct store *store)
{
	if (store == NULL)
		return;
	assert(!store->tx.open);
	store->driver->discard(store->db);
	free(store);
}

void store_set_sealer(struct store *store, const struct store_sealer *sealer)
{
	store->sealer = sealer != NULL ? *sealer : (struct store_sealer){0};
}

enum kt_err store_begin(struct store *store, enum store_access access,
			struct store_tx **ret)
{
	if (store->tx.open)
		return err_raise(KT_ERR_FAILED, "transactions do not nest");
	TRY(store->driver->begin(store->db, access));
	CRASH_POINT("store.begun");
	store->tx.access = access;
	store->tx.open = true;
	*ret = &store->tx;
	return KT_OK;
}

enum kt_err store_commit(struct store_tx **tx)
{
	struct store *store = (*tx)->store;

	assert((*tx)->open);
	(*tx)->open = false;
	*tx = NULL;
	CRASH_POINT("store.commit");
	TRY(store->driver->commit(store->db));
	CRASH_POINT("store.committed");
	return KT_OK;
}

void store_rollback(struct store_tx *tx)
{
	if (tx == NULL)
		return;
	assert(tx->open);
	tx->open = false;
	tx->store->driver->rollback(tx->store->db);
}

enum kt_err store_begin_own(struct store *store, struct store_tx **ret_own)
{
	if (!store->tx.open)
		return store_begin(store, STORE_WRITE, ret_own);
	if (store->tx.access != STORE_WRITE)
		return err_raise(KT_ERR_FAILED, "write in a read transaction");
	return KT_OK;
}

enum kt_err store_commit_own(struct store_tx **own)
{
	return *own != NULL ? store_commit(own) : KT_OK;
}

static struct mac *mac_of(enum row_type type, const void *row)
{
	size_t offset = row_desc(type)->mac_offset;

	return offset != 0 ? (struct mac *)((uintptr_t)row + offset) : NULL;
}

static enum kt_err name_row(enum kt_err err, enum row_type type,
			    const void *row)
{
	char name[160];

	row_name(type, row, name, sizeof(name));
	return err_prefix(err, "%s", name);
}

/* Without a sealer a row would be stored that nobody can trust. */
static enum kt_err require_sealer(const struct store *store, enum row_type type)
{
	if (row_desc(type)->mac_offset != 0 && store->sealer.seal == NULL)
		return err_raise(KT_ERR_FAILED, "%s: no row-MAC key is set",
				 row_desc(type)->table);
	return KT_OK;
}

static enum kt_err seal(const struct store *store, enum row_type type,
			void *row)
{
	if (row_desc(type)->mac_offset == 0)
		return KT_OK;
	return store->sealer.seal(store->sealer.arg, type, row);
}

/* The chain and its signatures only grow. */
static enum kt_err require_mutable(enum row_type type)
{
	if (type == ROW_AUDIT || type == ROW_CHECKPOINT)
		return err_raise(KT_ERR_FAILED, "rows of %s never change",
				 row_desc(type)->table);
	return KT_OK;
}

static enum kt_err expect_changed(bool changed, enum row_type type,
				  const void *row)
{
	if (changed)
		return KT_OK;
	return name_row(err_raise(KT_ERR_CONFLICT,
				  "changed or removed since it was read"),
			type, row);
}

enum kt_err store_insert(struct store *store, enum row_type type, void *row)
{
	CLEANUP(store_rollbackp) struct store_tx *own = NULL;
	enum kt_err err;

	TRY(require_sealer(store, type));
	TRY(store_begin_own(store, &own));
	TRY(seal(store, type, row));
	err = store->driver->insert(store->db, type, row);
	if (err != KT_OK)
		return name_row(err, type, row);
	return store_commit_own(&own);
}

static enum kt_err update(struct store *store, enum row_type type, void *row,
			  const struct mac *was)
{
	CLEANUP(store_rollbackp) struct store_tx *own = NULL;
	bool changed = false;
	enum kt_err err;

	TRY(store_begin_own(store, &own));
	TRY(seal(store, type, row));
	err = store->driver->update(store->db, type, row, was, &changed);
	if (err != KT_OK)
		return name_row(err, type, row);
	TRY(expect_changed(changed, type, row));
	return store_commit_own(&own);
}

enum kt_err store_update(struct store *store, enum row_type type, void *row)
{
	struct mac *mac = mac_of(type, row);
	struct mac was;
	enum kt_err err;

	TRY(require_sealer(store, type));
	TRY(require_mutable(type));
	if (mac == NULL)
		return update(store, type, row, NULL);
	was = *mac;
	err = update(store, type, row, &was);
	if (err != KT_OK)
		*mac = was;
	return err;
}

enum kt_err store_remove(struct store *store, enum row_type type,
			 const void *row)
{
	CLEANUP(store_rollbackp) struct store_tx *own = NULL;
	bool changed = false;
	enum kt_err err;

	TRY(require_sealer(store, type));
	TRY(require_mutable(type));
	TRY(store_begin_own(store, &own));
	err = store->driver->remove(store->db, type, row, mac_of(type, row),
				    &changed);
	if (err != KT_OK)
		return name_row(err, type, row);
	TRY(expect_changed(changed, type, row));
	return store_commit_own(&own);
}

enum kt_err store_info(struct store *store, struct store_info *ret)
{
	return store->driver->info(store->db, ret);
}

enum kt_err store_check(struct store *store)
{
	return store->driver->check(store->db);
}

enum kt_err store_backup(struct store *store, const char *path)
{
	if (store->tx.open)
		return err_raise(KT_ERR_FAILED, "backup in a transaction");
	return store->driver->backup(store->db, path);
}

enum kt_err store_take_copy(const char *copy, const char *path)
{
	return sqlite_driver.take_copy(copy, path);
}

enum kt_err store_replace(const char *path, bool absent, const char *by,
			  const char *aside)
{
	return sqlite_driver.replace(path, absent, by, aside);
}

void store_remove_files(const char *path)
{
	sqlite_driver.remove_files(path);
}
