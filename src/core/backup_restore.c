/*
 * Restoring: a copy is taken in beside the vault's database, proven whole,
 * compared with what is there, finished (lease, records, audit entry) and only
 * then given the name of the database, in one step, while the write lock on
 * the old one is held. A process that is killed on the way leaves the old
 * database as it was, and at most files beside it.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "core/backup_carry.h"
#include "core/backup_proof.h"
#include "core/lease.h"

struct restore {
	const struct kt_params *params;
	const struct kt_restore_options *options;
	struct proof_watch watch;
	const char *path; /* of the copy, as given */
	struct token *token;
	struct kt_vault *present; /* NULL: not there, or damaged */
	struct kt_vault *copy;    /* taken in, at temp */
	struct audit_head_row head;
	struct kt_restore_plan plan;
	char target[PATH_MAX - 64]; /* the vault's database */
	char temp[PATH_MAX];
	bool temp_made, kept_made;
};

static void restore_done(struct restore *r)
{
	side_vault_close(r->copy);
	side_vault_close(r->present);
	token_close(r->token);
	if (r->temp_made)
		store_remove_files(r->temp);
	if (r->kept_made)
		store_remove_files(r->plan.kept);
}

/* A link to the database stays a link. */
static enum kt_err find_target(struct restore *r)
{
	CLEANUP(freep) char *whole = realpath(r->params->store_path, NULL);
	char dir[PATH_MAX];

	TRY(text_copy(r->target, sizeof(r->target),
		      whole != NULL ? whole : r->params->store_path,
		      "path of the database"));
	TRY(dir_of(r->target, dir, sizeof(dir)));
	return dir_make(dir);
}

/* Two restores may meet in one second. */
static enum kt_err name_kept(struct restore *r)
{
	char now[TIME_TEXT_LEN + 1];
	int again = 1;

	time_format(clock_now(), now);
	TRY(text_format(r->plan.kept, sizeof(r->plan.kept),
			"%s.before-restore-%s", r->target, now));
	while (file_exists(r->plan.kept))
		TRY(text_format(r->plan.kept, sizeof(r->plan.kept),
				"%s.before-restore-%s-%d", r->target, now,
				++again));
	return KT_OK;
}

static enum kt_err name_files(struct restore *r)
{
	TRY(file_beside(r->target, "restoring", r->temp, sizeof(r->temp)));
	return name_kept(r);
}

static enum kt_err require_other_file(const struct restore *r)
{
	struct stat copy, target;

	if (stat(r->path, &copy) != 0)
		return err_errno("%s", r->path);
	if (stat(r->target, &target) == 0 && target.st_dev == copy.st_dev &&
	    target.st_ino == copy.st_ino)
		return err_raise(KT_ERR_USAGE, "%s is the vault's database",
				 r->path);
	return KT_OK;
}

static enum kt_err take_in(struct restore *r)
{
	uint8_t sha256[HASH_LEN];

	TRY(store_take_copy(r->path, r->temp));
	r->temp_made = true;
	CRASH_POINT("restore.taken-in");
	TRY(file_digest(r->temp, sha256, &r->plan.backup.size));
	hex_encode(sha256, HASH_LEN, r->plan.backup.sha256);
	return KT_OK;
}

static enum kt_err open_both(struct restore *r)
{
	struct token_params token = token_params_of(r->params);

	TRY(token_open(&token, &r->token));
	r->plan.present = file_exists(r->target);
	TRY(present_open(r->params, r->token, &r->present, r->plan.damage));
	if (r->present != NULL)
		TRY(lease_require_free(r->present));
	TRY(take_in(r));
	TRY(side_vault_open(r->params, r->temp, false, r->token, &r->copy));
	r->plan.backup.vault = r->copy->row.id;
	return present_compare(r->present, r->path, &r->plan.backup);
}

/* Whether the history of the present database is the beginning of the copy's:
 * then whatever differs, the copy has gone on. */
static enum kt_err is_ancestor(const struct restore *r, bool *ret)
{
	struct audit_row entry;
	enum kt_err err;

	if (r->head.seq == 0) {
		*ret = true;
		return KT_OK;
	}
	err = query_one(r->copy->store, Q_AUDIT, &entry, "i", r->head.seq);
	if (err != KT_OK && err != KT_ERR_NOT_FOUND)
		return err;
	*ret = err == KT_OK &&
	       memcmp(&entry.hash, &r->head.hash, sizeof(entry.hash)) == 0;
	return KT_OK;
}

/* The first row of a type that only the present database has. */
static enum kt_err find_lacking(struct restore *r, enum row_type type)
{
	CLEANUP(freep) void *row = calloc(1, row_desc(type)->size);
	CLEANUP(freep) void *found = calloc(1, row_desc(type)->size);
	CLEANUP(query_donep) struct query *query = NULL;
	enum kt_err err;

	if (row == NULL || found == NULL)
		return err_memory();
	TRY(store_scan(r->present->store, type, &query));
	while (r->plan.lacking[0] == '\0' &&
	       (err = query_next(query, row)) != KT_ERR_NOT_FOUND) {
		if (err != KT_OK && err != KT_ERR_INTEGRITY)
			return err;
		err = store_find(r->copy->store, type, row, found);
		if (err == KT_ERR_NOT_FOUND)
			row_name(type, row, r->plan.lacking,
				 sizeof(r->plan.lacking));
		row_done(type, row);
		row_done(type, found);
		if (err != KT_OK && err != KT_ERR_NOT_FOUND)
			return err;
	}
	return KT_OK;
}

/* With one and the same history only rows without an entry of their own can
 * differ, as a rotation stages them. */
static enum kt_err find_lacking_rows(struct restore *r)
{
	static const enum row_type types[] = {
		ROW_KEY,     ROW_WRAP,   ROW_PROJECT, ROW_SECRET,
		ROW_VERSION, ROW_ACCESS, ROW_ROTATION};

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		TRY(find_lacking(r, types[i]));
	return KT_OK;
}

static enum kt_err compare(struct restore *r)
{
	struct audit_head_row head;
	bool ancestor;

	if (r->present == NULL)
		return KT_OK;
	TRY(query_one(r->present->store, Q_AUDIT_HEAD, &r->head, ""));
	TRY(query_one(r->copy->store, Q_AUDIT_HEAD, &head, ""));
	r->plan.present_entries = r->head.seq;
	TRY(is_ancestor(r, &ancestor));
	if (ancestor && head.seq == r->head.seq)
		TRY(find_lacking_rows(r));
	r->plan.newer = !ancestor || r->plan.lacking[0] != '\0';
	return KT_OK;
}

static enum kt_err refuse_newer(const struct restore *r)
{
	const struct kt_restore_plan *plan = &r->plan;
	enum kt_err err;

	if (r->options->replace_newer)
		return KT_OK;
	if (plan->newer && plan->lacking[0] != '\0')
		err = err_raise(KT_ERR_CONFLICT,
				"the present database has what the backup "
				"lacks: %s",
				plan->lacking);
	else if (plan->newer)
		err = err_raise(KT_ERR_CONFLICT,
				"the present database has a history that the "
				"backup lacks: %lld audit entries, the "
				"backup has %lld",
				(long long)plan->present_entries,
				(long long)plan->backup.audit_entries);
	else if (plan->damage[0] != '\0')
		err = err_raise(KT_ERR_CONFLICT,
				"the present database cannot be compared with "
				"the backup: %s",
				plan->damage);
	else
		return KT_OK;
	return err_hint(err, "--replace-newer replaces it; it is kept beside");
}

static enum kt_err confirm(const struct restore *r)
{
	if (r->options->confirm == NULL)
		return KT_OK;
	return r->options->confirm(r->options->arg, &r->plan);
}

/* Under the write lock: nobody went on meanwhile, and nobody will. */
static enum kt_err lock_present(struct restore *r, struct store_tx **ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct audit_head_row head;

	if (r->present == NULL)
		return KT_OK;
	TRY(store_begin(r->present->store, STORE_WRITE, &tx));
	TRY(query_one(r->present->store, Q_AUDIT_HEAD, &head, ""));
	if (memcmp(&head.hash, &r->head.hash, sizeof(head.hash)) != 0)
		return err_raise(KT_ERR_CONFLICT,
				 "the present database went on while the "
				 "backup was proven: try again");
	TRY(lease_require_free(r->present));
	*ret = TAKE(tx);
	return KT_OK;
}

/* By a connection of its own: the first one holds the lock. The copy has
 * another inode than the file that open readers may still have. */
static enum kt_err keep_present(struct restore *r)
{
	CLEANUP(store_closep) struct store *store = NULL;

	if (r->present == NULL)
		return KT_OK;
	TRY(store_open(&(struct store_params){.path = r->target}, &store));
	TRY(store_backup(store, r->plan.kept));
	r->kept_made = true;
	CRASH_POINT("restore.kept");
	return KT_OK;
}

/* What could be read was copied; what could not goes aside as it is, and so
 * do journals without a database. */
static enum kt_err put_in_place(struct restore *r)
{
	const char *aside = r->present != NULL ? NULL : r->plan.kept;

	side_vault_close(TAKE(r->copy));
	r->kept_made = false; /* from here on it may be the only one */
	TRY(store_replace(r->target, !r->plan.present, r->temp, aside));
	CRASH_POINT("restore.replaced");
	r->temp_made = false;
	return KT_OK;
}

static enum kt_err replace(struct restore *r)
{
	CLEANUP(store_rollbackp) struct store_tx *lock = NULL;

	TRY(lock_present(r, &lock));
	TRY(keep_present(r));
	TRY(carry_over(&(struct carry){
		.copy = r->copy,
		.present = r->present,
		.head = &r->head,
		.plan = &r->plan,
		.path = r->path,
	}));
	CRASH_POINT("restore.edited");
	return put_in_place(r);
}

static enum kt_err restore(struct restore *r)
{
	TRY(find_target(r));
	TRY(name_files(r));
	TRY(require_other_file(r));
	TRY(open_both(r));
	TRY(backup_prove(r->copy, &r->watch, &r->plan.backup));
	TRY(compare(r));
	TRY(refuse_newer(r));
	TRY(confirm(r));
	return replace(r);
}

enum kt_err kt_backup_restore(const struct kt_params *params, const char *path,
			      const struct kt_restore_options *options,
			      const struct kt_progress *progress,
			      struct kt_restore_plan *ret)
{
	CLEANUP(restore_done)
	struct restore r = {
		.params = params,
		.options = options,
		.watch = {progress, options->fault, options->arg},
		.path = path,
	};

	TRY(restore(&r));
	if (!r.plan.present)
		r.plan.kept[0] = '\0';
	*ret = r.plan;
	return KT_OK;
}
