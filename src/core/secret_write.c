/*
 * Writing and deleting secrets. The token's work is done between two looks at
 * the database: what it needs is read, the values are sealed, and the write
 * transaction looks again. When keys or rows moved meanwhile, as in a rotation
 * by another process, nothing is written and the work starts over; so no new
 * key is ever missed by a rotation, and none names a key that is gone.
 */
#include "core/secrets.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/id_list.h"
#include "core/keys.h"
#include "core/names.h"

/* One value on its way in. */
struct pending {
	const char *name;
	const struct kt_secret *value;
	struct secret_row head; /* as it will be; as read but for that */
	bool fresh;             /* the secret is new */
	struct kt_id dek;
	struct sealed_value sealed;
	struct blob blobs[WRAP_SET_MAX];
};

struct writing {
	struct kt_vault *vault;
	const char *project_name;
	bool import; /* for the audit */
	struct project_row project;
	struct wrap_set keys;
	size_t count;
	struct pending *items;
};

static void writing_done(struct writing *w)
{
	for (size_t i = 0; w->items != NULL && i < w->count; i++)
		sealed_value_done(&w->items[i].sealed);
	free(w->items);
}

static enum kt_err item_check(const char *name, const struct kt_secret *value)
{
	TRY(secret_name_check(name));
	if (value->len > KT_VALUE_MAX)
		return err_raise(KT_ERR_USAGE,
				 "secret '%s': the value has %zu bytes, at "
				 "most %d are possible",
				 name, value->len, KT_VALUE_MAX);
	return KT_OK;
}

static enum kt_err head_prepare(struct writing *w, struct pending *item,
				int64_t now)
{
	struct secret_row *head = &item->head;
	enum kt_err err = query_one(w->vault->store, Q_SECRET_BY_NAME, head,
				    "bs", &w->project.id, item->name);

	item->fresh = err == KT_ERR_NOT_FOUND;
	if (item->fresh) {
		*head = (struct secret_row){.project = w->project.id,
					    .created = now};
		TRY(id_new(&head->id));
		TRY(text_copy(head->name, sizeof(head->name), item->name,
			      "name"));
	} else if (err != KT_OK) {
		return err_prefix(err, "secret '%s'", item->name);
	}
	head->version++;
	head->updated = now;
	return KT_OK;
}

/* The first look: project, keys and the heads that will change. */
static enum kt_err prepare(struct writing *w)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	int64_t now = clock_now();

	TRY(store_begin(w->vault->store, STORE_READ, &tx));
	TRY(project_find(w->vault, w->project_name, KT_ACCESS_WRITE,
			 &w->project));
	TRY(wrap_set_read(w->vault, KT_KEY_DEK, &w->project.id, &w->keys));
	for (size_t i = 0; i < w->count; i++)
		TRY(head_prepare(w, &w->items[i], now));
	return KT_OK;
}

static enum kt_err item_seal(struct writing *w, struct pending *item)
{
	uint8_t aad[VALUE_AAD_LEN];
	enum kt_err err;

	sealed_value_done(&item->sealed);
	TRY(id_new(&item->dek));
	value_aad(&w->vault->row.id, &item->head, item->head.version,
		  &item->dek, aad);
	err = value_seal(w->keys.key, w->keys.count, aad, sizeof(aad),
			 item->value, item->blobs, &item->sealed);
	if (err == KT_OK)
		return KT_OK;
	return err_prefix(err, "secret '%s'", item->name);
}

/* Somebody else made a secret of this name since the first look. */
static enum kt_err head_store(struct writing *w, struct pending *item)
{
	enum kt_err err;

	if (!item->fresh)
		return store_update(w->vault->store, ROW_SECRET, &item->head);
	err = store_insert(w->vault->store, ROW_SECRET, &item->head);
	return err == KT_ERR_EXISTS ? KT_ERR_CONFLICT : err;
}

static enum kt_err dek_store(struct writing *w, const struct pending *item)
{
	struct key_row key;

	TRY(key_row_new(KT_KEY_DEK, &item->head.id, item->head.version, &key));
	key.id = item->dek;
	key.proven = key.activated = key.created;
	TRY(store_insert(w->vault->store, ROW_KEY, &key));
	return wrap_set_store(w->vault, &w->keys, &key.id, item->blobs);
}

static enum kt_err version_store(struct writing *w, const struct pending *item)
{
	struct version_row version = {
		.secret = item->head.id,
		.version = item->head.version,
		.dek = item->dek,
		.algorithm = VALUE_AES_256_GCM,
		.ciphertext = {item->sealed.data, item->sealed.len},
		.created = item->head.updated,
	};

	TRY(blob_set(&version.nonce, item->sealed.nonce, VALUE_NONCE_LEN));
	return store_insert(w->vault->store, ROW_VERSION, &version);
}

static enum kt_err item_store(struct writing *w, struct pending *item)
{
	enum kt_err err = head_store(w, item);

	if (err == KT_OK)
		err = dek_store(w, item);
	CRASH_POINT("secret.dek");
	if (err == KT_OK)
		err = version_store(w, item);
	CRASH_POINT("secret.version");
	if (err == KT_OK)
		return KT_OK;
	return err_prefix(err, "secret '%s'", item->name);
}

/* The second look, in the write transaction. */
static enum kt_err unmoved(struct writing *w)
{
	struct project_row project;
	struct wrap_set keys;

	TRY(project_find(w->vault, w->project_name, KT_ACCESS_WRITE, &project));
	TRY(wrap_set_read(w->vault, KT_KEY_DEK, &project.id, &keys));
	if (!id_equal(&project.id, &w->project.id) ||
	    !wrap_set_equal(&keys, &w->keys))
		return err_raise(KT_ERR_CONFLICT,
				 "the keys of project '%s' changed meanwhile",
				 w->project_name);
	return KT_OK;
}

static enum kt_err write_audit(struct writing *w)
{
	const struct pending *first = &w->items[0];

	if (w->import)
		return audit_append(w->vault, "secret.import", w->project_name,
				    "secrets=%zu", w->count);
	return audit_append(w->vault, "secret.set", first->name,
			    "project=%s version=%lld", w->project_name,
			    (long long)first->head.version);
}

static enum kt_err commit(struct writing *w)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(w->vault->store, STORE_WRITE, &tx));
	TRY(unmoved(w));
	for (size_t i = 0; i < w->count; i++)
		TRY(item_store(w, &w->items[i]));
	TRY(write_audit(w));
	return store_commit(&tx);
}

static enum kt_err attempt(struct writing *w)
{
	TRY(prepare(w));
	for (size_t i = 0; i < w->count; i++)
		TRY(item_seal(w, &w->items[i]));
	CRASH_POINT("secret.sealed");
	return commit(w);
}

static enum kt_err write_all(struct writing *w)
{
	enum kt_err err = KT_ERR_CONFLICT;

	for (int i = 0; i < WRITE_ATTEMPTS && err == KT_ERR_CONFLICT; i++)
		err = attempt(w);
	return err;
}

enum kt_err kt_secret_set(struct kt_vault *vault, const char *project,
			  const char *name, const struct kt_secret *value,
			  struct kt_secret_info *ret)
{
	CLEANUP(writing_done)
	struct writing w = {.vault = vault, .project_name = project};

	TRY(item_check(name, value));
	w.items = calloc(1, sizeof(*w.items));
	if (w.items == NULL)
		return err_memory();
	w.count = 1;
	w.items[0].name = name;
	w.items[0].value = value;
	TRY(write_all(&w));
	secret_info_fill(&w.items[0].head, w.items[0].sealed.len, ret);
	return KT_OK;
}

static int by_name(const void *a, const void *b)
{
	const char *const *left = a;
	const char *const *right = b;

	return strcmp(*left, *right);
}

static enum kt_err distinct(const struct kt_import_item *items, size_t count)
{
	CLEANUP(freep) const char **names = calloc(count, sizeof(*names));

	if (names == NULL)
		return err_memory();
	for (size_t i = 0; i < count; i++)
		names[i] = items[i].name;
	qsort(names, count, sizeof(*names), by_name);
	for (size_t i = 1; i < count; i++) {
		if (strcmp(names[i - 1], names[i]) == 0)
			return err_raise(KT_ERR_USAGE,
					 "secret '%s' is there twice",
					 names[i]);
	}
	return KT_OK;
}

static enum kt_err import_check(const struct kt_import_item *items,
				size_t count)
{
	for (size_t i = 0; i < count; i++)
		TRY(item_check(items[i].name, &items[i].value));
	return distinct(items, count);
}

enum kt_err kt_secret_import(struct kt_vault *vault, const char *project,
			     const struct kt_import_item *items, size_t count)
{
	CLEANUP(writing_done)
	struct writing w = {
		.vault = vault, .project_name = project, .import = true};

	if (count == 0)
		return project_find(vault, project, KT_ACCESS_WRITE,
				    &w.project);
	TRY(import_check(items, count));
	w.items = calloc(count, sizeof(*w.items));
	if (w.items == NULL)
		return err_memory();
	w.count = count;
	for (size_t i = 0; i < count; i++) {
		w.items[i].name = items[i].name;
		w.items[i].value = &items[i].value;
	}
	return write_all(&w);
}

enum kt_err key_erase(struct kt_vault *vault, const struct kt_id *key,
		      int64_t now)
{
	struct key_row row;
	int64_t wraps;

	TRY(query_one(vault->store, Q_KEY, &row, "b", key));
	TRY(store_exec(vault->store, S_WRAPS_DELETE_SUBJECT, &wraps, "b", key));
	if (row.destroyed != 0)
		return KT_OK;
	row.destroyed = now;
	return store_update(vault->store, ROW_KEY, &row);
}

enum kt_err secret_erase(struct kt_vault *vault, const struct secret_row *head,
			 int64_t now)
{
	CLEANUP(id_list_done) struct id_list keys = {0};
	int64_t versions;

	TRY(id_list_keys(&keys, vault->store, &head->id));
	TRY(store_exec(vault->store, S_VERSIONS_DELETE, &versions, "b",
		       &head->id));
	for (size_t i = 0; i < keys.count; i++)
		TRY(key_erase(vault, &keys.ids[i], now));
	return store_remove(vault->store, ROW_SECRET, head);
}

static enum kt_err delete_once(struct kt_vault *vault, const char *project,
			       const char *name)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row row;
	struct secret_row head;

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(project_find(vault, project, KT_ACCESS_WRITE, &row));
	TRY(secret_find(vault, &row, name, &head));
	TRY(secret_erase(vault, &head, clock_now()));
	TRY(audit_append(vault, "secret.delete", name,
			 "project=%s versions=%lld", project,
			 (long long)head.version));
	return store_commit(&tx);
}

enum kt_err kt_secret_delete(struct kt_vault *vault, const char *project,
			     const char *name)
{
	enum kt_err err = KT_ERR_CONFLICT;

	for (int i = 0; i < WRITE_ATTEMPTS && err == KT_ERR_CONFLICT; i++)
		err = delete_once(vault, project, name);
	return err;
}
