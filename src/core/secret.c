/*
 * Reading secrets. Everything a read needs is taken from the database in one
 * read transaction, then opened on the token outside of it. A wrap is looked
 * up under exactly one key: the active recovery key for an operator where
 * recovery wraps are on, else the project's active key. A row that does not
 * verify is named and spoils nothing but itself.
 */
#include "core/secrets.h"

#include <string.h>

#include "base/text.h"
#include "core/keys.h"

#define PAGE 32 /* values are up to 1 MiB: memory, not speed */

void value_aad(const struct kt_id *vault, const struct secret_row *head,
	       int64_t version, const struct kt_id *dek,
	       uint8_t ret[VALUE_AAD_LEN])
{
	memcpy(ret, "kvA1", 4);
	memcpy(ret + 4, vault->bytes, KT_ID_LEN);
	memcpy(ret + 20, head->project.bytes, KT_ID_LEN);
	memcpy(ret + 36, head->id.bytes, KT_ID_LEN);
	be64_put(ret + 52, (uint64_t)version);
	memcpy(ret + 60, dek->bytes, KT_ID_LEN);
	be16_put(ret + 76, VALUE_AES_256_GCM);
	be16_put(ret + 78, 0);
}

void secret_info_fill(const struct secret_row *head, size_t sealed_len,
		      struct kt_secret_info *ret)
{
	struct kt_secret_info info = {
		.id = head->id,
		.version = head->version,
		.created = head->created,
		.updated = head->updated,
		.size = (int64_t)sealed_len - VALUE_TAG_LEN,
	};

	text_cut(info.name, sizeof(info.name), head->name);
	*ret = info;
}

enum kt_err secret_find(struct kt_vault *vault,
			const struct project_row *project, const char *name,
			struct secret_row *ret)
{
	struct secret_row head;
	enum kt_err err = query_one(vault->store, Q_SECRET_BY_NAME, &head, "bs",
				    &project->id, name);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no secret is named '%s' in project '%s'",
				 name, project->name);
	if (err != KT_OK)
		return err_prefix(err, "secret '%s'", name);
	*ret = head;
	return KT_OK;
}

enum kt_err way_find(struct kt_vault *vault, const struct kt_id *project,
		     struct way *ret)
{
	static const struct kt_id nobody;
	bool recovery = !vault->actor.limited && vault->row.recovery_wraps != 0;
	enum kt_key_role role = recovery ? KT_KEY_RECOVERY : KT_KEY_PROJECT;
	struct key_row key;
	enum kt_err err =
		key_active(vault, role, recovery ? &nobody : project, &key);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY, "no %s key is active",
				 kt_key_role_name(role));
	TRY(err);
	TRY(key_wrapper(vault, &key, &ret->key));
	ret->id = key.id;
	return KT_OK;
}

void reading_done(struct reading *r)
{
	row_done(ROW_VERSION, &r->version);
}

static enum kt_err version_read(struct kt_vault *vault, struct reading *r,
				int64_t number)
{
	enum kt_err err = query_one(vault->store, Q_VERSION, &r->version, "bi",
				    &r->head.id, number);

	if (err == KT_ERR_NOT_FOUND && number == r->head.version)
		return err_raise(KT_ERR_INTEGRITY, "the version is missing");
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no such version");
	TRY(err);
	if (r->version.algorithm != VALUE_AES_256_GCM ||
	    r->version.nonce.len != VALUE_NONCE_LEN ||
	    r->version.ciphertext.len < VALUE_TAG_LEN)
		return err_raise(KT_ERR_INTEGRITY,
				 "the version has an unknown shape");
	return KT_OK;
}

/* The data key's own row says whose it is. */
static enum kt_err dek_check(struct kt_vault *vault, const struct reading *r)
{
	struct key_row dek;
	enum kt_err err =
		query_one(vault->store, Q_KEY, &dek, "b", &r->version.dek);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY, "its key is missing");
	TRY(err);
	if (dek.role != KT_KEY_DEK || !id_equal(&dek.owner, &r->head.id) ||
	    dek.version != r->version.version || dek.destroyed != 0)
		return err_raise(KT_ERR_INTEGRITY,
				 "its key is not a live key of this version");
	return KT_OK;
}

static enum kt_err wrap_read(struct kt_vault *vault, struct reading *r,
			     const struct way *way)
{
	char key[KT_ID_TEXT_LEN + 1];
	enum kt_err err = query_one(vault->store, Q_WRAP, &r->wrap, "bb",
				    &way->id, &r->version.dek);

	if (err == KT_ERR_NOT_FOUND) {
		kt_id_format(&way->id, key);
		return err_raise(KT_ERR_INTEGRITY,
				 "its key has no wrap under key %s", key);
	}
	r->key = way->key;
	return err;
}

enum kt_err reading_fill(struct kt_vault *vault, struct reading *r,
			 int64_t number, const struct way *way)
{
	enum kt_err err = version_read(vault, r, number);

	if (err == KT_OK)
		err = dek_check(vault, r);
	if (err == KT_OK && way != NULL)
		err = wrap_read(vault, r, way);
	if (err == KT_OK)
		return KT_OK;
	return err_prefix(err, "secret '%s' version %lld", r->head.name,
			  (long long)number);
}

enum kt_err reading_open(struct kt_vault *vault, const struct reading *r,
			 struct kt_secret *ret)
{
	struct sealed_value sealed = {.data = r->version.ciphertext.data,
				      .len = r->version.ciphertext.len};
	uint8_t aad[VALUE_AAD_LEN];
	enum kt_err err;

	memcpy(sealed.nonce, r->version.nonce.data, VALUE_NONCE_LEN);
	value_aad(&vault->row.id, &r->head, r->version.version, &r->version.dek,
		  aad);
	err = value_open(r->key, &r->wrap.blob, aad, sizeof(aad), &sealed, ret);
	if (err == KT_OK)
		return KT_OK;
	return err_prefix(err, "secret '%s' version %lld", r->head.name,
			  (long long)r->version.version);
}

static enum kt_err reading_load(struct kt_vault *vault, const char *project,
				const char *name, int64_t version,
				struct reading *r)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row row;
	struct way way;

	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(project_find(vault, project, KT_ACCESS_READ, &row));
	TRY(secret_find(vault, &row, name, &r->head));
	TRY(way_find(vault, &row.id, &way));
	return reading_fill(vault, r, version == 0 ? r->head.version : version,
			    &way);
}

enum kt_err kt_secret_get(struct kt_vault *vault, const char *project,
			  const char *name, int64_t version,
			  struct kt_secret *ret)
{
	CLEANUP(reading_done) struct reading r = {0};

	if (version < 0)
		return err_raise(KT_ERR_USAGE, "versions count from 1");
	TRY(reading_load(vault, project, name, version, &r));
	return reading_open(vault, &r, ret);
}

/* All current secrets of a project, a page at a time. each() is called with no
 * transaction open. */
struct walk {
	struct kt_vault *vault;
	const char *project;
	bool values; /* else versions only */
	char after[KT_NAME_MAX + 1];
	bool more;
	size_t count;
	struct reading *item; /* PAGE of them */
	struct err_saved bad; /* the first row that did not verify */
};

static void walk_clear(struct walk *w)
{
	for (size_t i = 0; i < w->count; i++)
		reading_done(&w->item[i]);
	w->count = 0;
}

static void walk_done(struct walk *w)
{
	walk_clear(w);
	free(w->item);
}

/* Integrity is one row's trouble: kept for the end. Others end the walk. */
static enum kt_err walk_note(struct walk *w, enum kt_err err)
{
	if (err == KT_ERR_INTEGRITY && w->bad.err == KT_OK)
		err_save(err, &w->bad);
	return err == KT_ERR_INTEGRITY ? KT_OK : err;
}

/* A damaged row may carry a damaged name, which must not turn the walk back. */
static bool walk_advance(struct walk *w, const char *name)
{
	if (strcmp(name, w->after) <= 0)
		return false;
	text_cut(w->after, sizeof(w->after), name);
	return true;
}

static enum kt_err walk_heads(struct walk *w, const struct kt_id *project)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct secret_row head = {0};
	size_t seen = 0;
	enum kt_err err;

	TRY(query_start(w->vault->store, Q_SECRETS, &query, "bsi", project,
			w->after, (int64_t)PAGE));
	while ((err = query_next(query, &head)) != KT_ERR_NOT_FOUND) {
		seen++;
		if (err == KT_OK)
			w->item[w->count++] = (struct reading){.head = head};
		else
			TRY(walk_note(
				w, err_prefix(err, "secret '%s'", head.name)));
		if (seen == PAGE)
			break;
	}
	w->more = seen == PAGE && walk_advance(w, head.name);
	return KT_OK;
}

/* Drops the readings that do not verify, keeping the order of the others. */
static enum kt_err walk_versions(struct walk *w, const struct way *way)
{
	size_t heads = w->count;
	size_t kept = 0;

	for (size_t i = 0; i < heads; i++) {
		struct reading r = {.head = w->item[i].head};
		enum kt_err err =
			reading_fill(w->vault, &r, r.head.version, way);

		if (err == KT_OK) {
			w->item[kept++] = r;
			continue;
		}
		reading_done(&r);
		w->count = kept;
		TRY(walk_note(w, err));
	}
	w->count = kept;
	return KT_OK;
}

static enum kt_err walk_page(struct walk *w)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row project;
	struct way way;

	walk_clear(w);
	TRY(store_begin(w->vault->store, STORE_READ, &tx));
	TRY(project_find(w->vault, w->project, KT_ACCESS_READ, &project));
	if (w->values)
		TRY(way_find(w->vault, &project.id, &way));
	TRY(walk_heads(w, &project.id));
	return walk_versions(w, w->values ? &way : NULL);
}

static enum kt_err walk_run(struct walk *w,
			    enum kt_err (*use)(struct walk *w,
					       const struct reading *r,
					       void *arg),
			    void *arg)
{
	w->item = calloc(PAGE, sizeof(*w->item));
	if (w->item == NULL)
		return err_memory();
	do {
		TRY(walk_page(w));
		for (size_t i = 0; i < w->count; i++)
			TRY(use(w, &w->item[i], arg));
	} while (w->more);
	return w->bad.err == KT_OK ? KT_OK : err_restore(&w->bad);
}

struct list_each {
	enum kt_err (*each)(void *arg, const struct kt_secret_info *s);
	void *arg;
};

static enum kt_err list_use(struct walk *w, const struct reading *r, void *arg)
{
	const struct list_each *list = arg;
	struct kt_secret_info info;

	(void)w;
	secret_info_fill(&r->head, r->version.ciphertext.len, &info);
	return list->each(list->arg, &info);
}

enum kt_err kt_secret_list(struct kt_vault *vault, const char *project,
			   enum kt_err (*each)(void *arg,
					       const struct kt_secret_info *s),
			   void *arg)
{
	CLEANUP(walk_done)
	struct walk walk = {.vault = vault, .project = project};
	struct list_each list = {each, arg};

	return walk_run(&walk, list_use, &list);
}

struct export_each {
	enum kt_err (*each)(void *arg, const char *name,
			    const struct kt_secret *value);
	void *arg;
};

static enum kt_err export_use(struct walk *w, const struct reading *r,
			      void *arg)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	const struct export_each *export = arg;
	enum kt_err err = reading_open(w->vault, r, &value);

	if (err != KT_OK)
		return walk_note(w, err);
	return export->each(export->arg, r->head.name, &value);
}

enum kt_err kt_secret_export(struct kt_vault *vault, const char *project,
			     enum kt_err (*each)(void *arg, const char *name,
						 const struct kt_secret *value),
			     void *arg)
{
	CLEANUP(walk_done)
	struct walk walk = {.vault = vault, .project = project, .values = true};
	struct export_each export = {each, arg};

	return walk_run(&walk, export_use, &export);
}
