/*
 * Copies of the database and the records of them. What a copy needs is read
 * from the copy itself, and its record is committed only while the token still
 * has those keys: from then on the record keeps them.
 */
#include "core/backup.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/id_list.h"

static void describe(const struct backup_row *row, struct kt_backup *ret)
{
	struct kt_backup backup = {
		.id = row->id,
		.created = row->created,
		.expires = row->expires,
		.size = row->size,
	};

	text_cut(backup.file, sizeof(backup.file), row->file);
	text_cut(backup.versions, sizeof(backup.versions), row->versions);
	hex_encode(row->sha256.bytes, HASH_LEN, backup.sha256);
	*ret = backup;
}

static bool is_expired(const struct backup_row *row, int64_t now)
{
	return row->expires != 0 && row->expires <= now;
}

/* versions: numbers with spaces between them. */
static bool lists_version(const char *versions, int64_t version)
{
	char *end;

	for (; *versions != '\0'; versions = end) {
		if (strtoll(versions, &end, 10) == version)
			return true;
		if (end == versions)
			return true; /* not a number: needs what it may */
	}
	return false;
}

enum kt_err backup_needs_key(struct store *store, const struct key_row *key,
			     bool *ret)
{
	struct count_row rows;

	TRY(query_one(store, Q_WRAP_COUNT, &rows, "b", &key->id));
	*ret = rows.n > 0 || (key->proven != 0 && key->deactivated == 0 &&
			      key->destroying == 0 && key->destroyed == 0);
	return KT_OK;
}

/* The versions of a role, into a text that has those of another already. */
static enum kt_err add_versions(struct store *store, enum kt_key_role role,
				char *text, size_t size)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	bool needed;
	enum kt_err err;

	TRY(query_start(store, Q_KEYS_BY_ROLE, &query, "i", (int64_t)role));
	while ((err = query_next(query, &key)) == KT_OK) {
		size_t used = strlen(text);

		TRY(backup_needs_key(store, &key, &needed));
		if (!needed || lists_version(text, key.version))
			continue;
		TRY(text_format(text + used, size - used, "%s%lld",
				used > 0 ? " " : "", (long long)key.version));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

enum kt_err backup_versions(struct store *store, char *ret, size_t size)
{
	char versions[sizeof(((struct backup_row *)NULL)->versions)] = "";

	TRY(add_versions(store, KT_KEY_MASTER, versions, sizeof(versions)));
	TRY(add_versions(store, KT_KEY_RECOVERY, versions, sizeof(versions)));
	return text_copy(ret, size, versions, "versions");
}

static enum kt_err read_versions(struct kt_vault *vault, const char *path,
				 char *ret, size_t size)
{
	CLEANUP(store_closep) struct store *copy = NULL;

	TRY(store_open_copy(path, &copy));
	store_set_sealer(copy, rowmac_sealer(vault->rowmac));
	return backup_versions(copy, ret, size);
}

/* A rotation may have ended, and its old key gone, while the copy was made. */
static enum kt_err require_kept(struct kt_vault *vault,
				const struct backup_row *row)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(vault->store, Q_KEYS_BY_ROLE, &query, "i",
			(int64_t)KT_KEY_MASTER));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (key.destroying != 0 &&
		    lists_version(row->versions, key.version))
			return err_raise(KT_ERR_CONFLICT,
					 "master key version %lld, which the "
					 "copy needs, was destroyed meanwhile",
					 (long long)key.version);
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

enum kt_err backup_record(struct kt_vault *vault, struct backup_row *row)
{
	struct backup_row whole = *row;

	TRY(id_new(&whole.id));
	TRY(store_insert(vault->store, ROW_BACKUP, &whole));
	*row = whole;
	return KT_OK;
}

static enum kt_err commit_record(struct kt_vault *vault, struct backup_row *row)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	char id[KT_ID_TEXT_LEN + 1], sha256[2 * HASH_LEN + 1];
	char expires[TIME_TEXT_LEN + 1];

	TRY(read_versions(vault, row->file, row->versions,
			  sizeof(row->versions)));
	TRY(file_digest(row->file, row->sha256.bytes, &row->size));
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(require_kept(vault, row));
	TRY(backup_record(vault, row));
	kt_id_format(&row->id, id);
	hex_encode(row->sha256.bytes, HASH_LEN, sha256);
	time_format(row->expires, expires);
	TRY(audit_append(vault, "backup.create", id,
			 "sha256=%s bytes=%lld versions=%s expires=%s file=%s",
			 sha256, (long long)row->size, row->versions, expires,
			 row->file));
	return store_commit(&tx);
}

enum kt_err kt_backup_create(struct kt_vault *vault, const char *path,
			     int64_t lifetime, struct kt_backup *ret)
{
	struct backup_row row = {.created = clock_now()};
	struct err_saved saved;
	enum kt_err err;

	TRY(require_operator(vault));
	TRY(text_copy(row.file, sizeof(row.file), path, "name of the file"));
	row.expires = lifetime > 0 ? row.created + lifetime : 0;
	TRY(store_backup(vault->store, path));
	CRASH_POINT("backup.copied");
	err = commit_record(vault, &row);
	if (err != KT_OK) {
		/* No audit entry, no operation. */
		err_save(err, &saved);
		unlink(path);
		return err_restore(&saved);
	}
	describe(&row, ret);
	return KT_OK;
}

/* Ids first: what each() does must not meet an open query. */
static enum kt_err list_ids(struct store *store, struct id_list *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct backup_row row;
	enum kt_err err;

	TRY(store_scan(store, ROW_BACKUP, &query));
	while ((err = query_next(query, &row)) == KT_OK)
		TRY(id_list_add(ret, &row.id));
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* Calls each() for every record, or for those that are not expired and need a
 * version of the master key. */
static enum kt_err each_record(struct kt_vault *vault, int64_t needed_version,
			       enum kt_err (*each)(void *arg,
						   const struct kt_backup *b),
			       void *arg)
{
	CLEANUP(id_list_done) struct id_list list = {0};
	int64_t now = clock_now();

	TRY(list_ids(vault->store, &list));
	for (size_t i = 0; i < list.count; i++) {
		struct backup_row row = {.id = list.ids[i]};
		struct kt_backup backup;

		TRY(store_find(vault->store, ROW_BACKUP, &row, &row));
		if (needed_version != 0 &&
		    (is_expired(&row, now) ||
		     !lists_version(row.versions, needed_version)))
			continue;
		describe(&row, &backup);
		TRY(each(arg, &backup));
	}
	return KT_OK;
}

enum kt_err kt_backup_list(struct kt_vault *vault,
			   enum kt_err (*each)(void *arg,
					       const struct kt_backup *b),
			   void *arg)
{
	TRY(require_operator(vault));
	return each_record(vault, 0, each, arg);
}

enum kt_err kt_backup_needing(struct kt_vault *vault, int64_t version,
			      enum kt_err (*each)(void *arg,
						  const struct kt_backup *b),
			      void *arg)
{
	TRY(require_operator(vault));
	return each_record(vault, version, each, arg);
}

enum kt_err kt_backup_forget(struct kt_vault *vault, const struct kt_id *id)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct backup_row row = {.id = *id};
	char name[KT_ID_TEXT_LEN + 1], sha256[2 * HASH_LEN + 1];
	enum kt_err err;

	TRY(require_operator(vault));
	kt_id_format(id, name);
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	err = store_find(vault->store, ROW_BACKUP, &row, &row);
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "there is no backup %s", name);
	TRY(err);
	TRY(store_remove(vault->store, ROW_BACKUP, &row));
	hex_encode(row.sha256.bytes, HASH_LEN, sha256);
	TRY(audit_append(vault, "backup.forget", name, "sha256=%s file=%s",
			 sha256, row.file));
	return store_commit(&tx);
}

enum kt_err backup_by_digest(struct store *store, const struct mac *sha256,
			     struct backup_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct backup_row row;
	enum kt_err err;

	TRY(store_scan(store, ROW_BACKUP, &query));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (memcmp(&row.sha256, sha256, sizeof(*sha256)) != 0)
			continue;
		*ret = row;
		return KT_OK;
	}
	return err;
}

/* "ID (FILE, until TIME)", as many as there is room for. */
struct names {
	size_t count;
	char text[768];
};

static enum kt_err add_name(void *arg, const struct kt_backup *backup)
{
	struct names *names = arg;
	size_t used = strlen(names->text);
	char id[KT_ID_TEXT_LEN + 1], until[TIME_TEXT_LEN + 1];

	kt_id_format(&backup->id, id);
	time_format(backup->expires, until);
	snprintf(names->text + used, sizeof(names->text) - used,
		 "%s%s (%s, %s%s)", names->count > 0 ? ", " : "", id,
		 backup->file, backup->expires != 0 ? "until " : "",
		 backup->expires != 0 ? until : "never expires");
	names->count++;
	return KT_OK;
}

struct ignored {
	struct kt_vault *vault;
	int64_t version;
};

static enum kt_err note_ignored(void *arg, const struct kt_backup *backup)
{
	const struct ignored *ignored = arg;
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&backup->id, id);
	return audit_append(ignored->vault, "backup.ignored", id,
			    "needs master key version %lld, which is destroyed "
			    "nevertheless; sha256=%s file=%s",
			    (long long)ignored->version, backup->sha256,
			    backup->file);
}

enum kt_err backup_allow_destroy(struct kt_vault *vault, int64_t version,
				 bool ignore)
{
	struct ignored ignored = {vault, version};
	struct names names = {0};
	enum kt_err err;

	if (ignore)
		return each_record(vault, version, note_ignored, &ignored);
	TRY(each_record(vault, version, add_name, &names));
	if (names.count == 0)
		return KT_OK;
	err = err_raise(KT_ERR_CONFLICT, "%s master key version %lld: %s",
			text_counted((int64_t)names.count, "backup needs",
				     "backups need")
				.text,
			(long long)version, names.text);
	return err_hint(err, "when their files are gone: keyturn backup "
			     "forget ID; to lose them: --ignore-backups");
}
