/*
 * Proving a copy: the database's own structure, the MAC of every row of every
 * table, the audit chain, that each key in use can be reached, and on the token
 * that every wrap unwraps. A bad row is named and the proof goes on, so that
 * one run tells the whole damage; a token that fails ends it, since nothing
 * could be told from what follows.
 */
#include "core/backup_proof.h"

#include <stdlib.h>

#include <keyturn/audit.h>

#include "base/text.h"
#include "core/backup.h"
#include "core/doctor.h"
#include "core/keys.h"
#include "core/progress.h"

#define REPORT_EVERY 256

struct proof {
	struct kt_vault *vault;
	const struct proof_watch *watch;
	struct kt_backup_report *report;
	int64_t total; /* wraps */
	/* The wrapping key of the wraps that come now. */
	struct kt_id key;
	struct wrap_key *wrapper; /* NULL: it cannot be had, for this reason */
	char reason[256];
};

void side_vault_close(struct kt_vault *vault)
{
	if (vault != NULL)
		vault->token = NULL;
	kt_vault_close(vault);
}

static enum kt_err open_copy(struct kt_vault *vault)
{
	enum kt_err err;

	TRY(store_open_copy(vault->params.store_path, &vault->store));
	err = query_one(vault->store, Q_VAULT, &vault->row, "");
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_SCHEMA, "%s: no vault in it",
				 vault->params.store_path);
	return err;
}

enum kt_err side_vault_open(const struct kt_params *params, const char *path,
			    bool copy, struct token *token,
			    struct kt_vault **ret)
{
	CLEANUP(side_vault_closep) struct kt_vault *vault = NULL;
	struct kt_params side = *params;

	side.store_path = path;
	TRY(vault_new(&side, &vault));
	vault->token = token;
	TRY(copy ? open_copy(vault) : vault_open_store(vault));
	TRY(vault_unlock(vault));
	*ret = TAKE(vault);
	return KT_OK;
}

static void add_fault(struct proof *p, const char *text)
{
	p->report->faults++;
	if (p->watch->fault != NULL)
		p->watch->fault(p->watch->arg, text);
}

/* KT_OK where the error is about a row, which is named; else the error. */
static enum kt_err note_fault(struct proof *p, enum kt_err err)
{
	char text[1024];

	if (err != KT_ERR_INTEGRITY)
		return err;
	text_cut(text, sizeof(text), kt_err_detail());
	add_fault(p, text);
	return KT_OK;
}

static enum kt_err count_wraps(struct proof *p, enum kt_key_role role)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct count_row rows;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(p->vault->store, Q_KEYS_BY_ROLE, &query, "i",
			(int64_t)role));
	while ((err = query_next(query, &key)) != KT_ERR_NOT_FOUND) {
		if (err != KT_OK && err != KT_ERR_INTEGRITY)
			return err;
		TRY(query_one(p->vault->store, Q_WRAP_COUNT, &rows, "b",
			      &key.id));
		p->total += rows.n;
	}
	return KT_OK;
}

/* Before all others: without them most rows would only seem to be bad. */
static enum kt_err require_on_token(struct proof *p, const struct key_row *key)
{
	size_t count = 0;
	bool needed;

	TRY(backup_needs_key(p->vault->store, key, &needed));
	if (needed)
		TRY(token_count(p->vault->token, &key->cka_id, &count));
	if (!needed || count == 1)
		return KT_OK;
	return err_raise(KT_ERR_TOKEN,
			 "%s key version %lld, which the backup needs, is %s "
			 "on the token",
			 kt_key_role_name((enum kt_key_role)key->role),
			 (long long)key->version,
			 count == 0 ? "no longer" : "more than once");
}

static enum kt_err require_keys(struct proof *p)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(p->vault->store, Q_KEYS_ON_TOKEN, &query, ""));
	while ((err = query_next(query, &key)) != KT_ERR_NOT_FOUND) {
		if (err == KT_ERR_INTEGRITY)
			continue; /* the walk over all rows names it */
		TRY(err);
		TRY(require_on_token(p, &key));
	}
	return KT_OK;
}

/* Wraps come in the order of their wrapping keys. */
static enum kt_err take_key(struct proof *p, const struct kt_id *id)
{
	struct key_row key = {.id = *id};
	enum kt_err err;

	if (id_equal(&p->key, id))
		return KT_OK;
	p->key = *id;
	p->wrapper = NULL;
	err = store_find(p->vault->store, ROW_KEY, &key, &key);
	if (err == KT_OK)
		err = key_wrapper(p->vault, &key, &p->wrapper);
	if (err != KT_ERR_INTEGRITY && err != KT_ERR_NOT_FOUND)
		return err;
	text_cut(p->reason, sizeof(p->reason), kt_err_detail());
	return KT_OK;
}

static enum kt_err prove_wrap(struct proof *p, const struct wrap_row *wrap)
{
	enum kt_err err;
	char name[160];

	TRY(take_key(p, &wrap->wrapping_key));
	err = p->wrapper != NULL ? wrap_check(p->wrapper, &wrap->blob)
				 : err_raise(KT_ERR_INTEGRITY, "%s", p->reason);
	if (err == KT_OK) {
		p->report->wraps++;
		return KT_OK;
	}
	row_name(ROW_WRAP, wrap, name, sizeof(name));
	return note_fault(p, err_prefix(err, "%s", name));
}

static enum kt_err tell(struct proof *p)
{
	const struct kt_progress *progress = p->watch->progress;

	if (progress == NULL || p->report->rows % REPORT_EVERY != 0)
		return KT_OK;
	progress_report(progress, "proving", p->report->wraps, p->total);
	if (progress->stop != NULL && progress->stop(progress->arg))
		return err_raise(KT_ERR_INTERRUPTED, "interrupted");
	return KT_OK;
}

static enum kt_err prove_row(struct proof *p, enum row_type type,
			     const void *row)
{
	p->report->rows++;
	return type == ROW_WRAP ? prove_wrap(p, row) : KT_OK;
}

static enum kt_err walk(struct proof *p, enum row_type type)
{
	CLEANUP(freep) void *row = calloc(1, row_desc(type)->size);
	CLEANUP(query_donep) struct query *query = NULL;
	enum kt_err err;

	if (row == NULL)
		return err_memory();
	TRY(store_scan(p->vault->store, type, &query));
	while ((err = query_next(query, row)) != KT_ERR_NOT_FOUND) {
		err = err == KT_OK ? prove_row(p, type, row)
				   : note_fault(p, err);
		row_done(type, row);
		TRY(err);
		TRY(tell(p));
	}
	return KT_OK;
}

static enum kt_err walk_all(struct proof *p)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(p->vault->store, STORE_READ, &tx));
	TRY(require_keys(p));
	TRY(count_wraps(p, KT_KEY_MASTER));
	TRY(count_wraps(p, KT_KEY_RECOVERY));
	TRY(count_wraps(p, KT_KEY_PROJECT));
	for (int type = 0; type < ROW_COUNT; type++)
		TRY(walk(p, (enum row_type)type));
	return KT_OK;
}

/* Rows that are missing have no MAC that could be wrong. */
static enum kt_err find_missing(struct proof *p)
{
	struct doctor doctor = {.vault = p->vault};
	struct finding finding = {.result = KT_CHECK_OK};

	TRY(note_fault(p, doctor_reachable_keys(&doctor, &finding)));
	if (finding.result == KT_CHECK_FAIL)
		add_fault(p, finding.detail);
	return KT_OK;
}

static enum kt_err walk_chain(struct proof *p)
{
	struct kt_audit_summary summary = {0};

	TRY(note_fault(p, kt_audit_verify(p->vault, &summary)));
	p->report->audit_entries = summary.entries;
	p->report->audit_checkpoints = summary.checkpoints;
	text_cut(p->report->audit_head, sizeof(p->report->audit_head),
		 summary.head);
	return KT_OK;
}

static enum kt_err prove(struct proof *p)
{
	TRY(store_check(p->vault->store));
	TRY(walk_all(p));
	TRY(walk_chain(p));
	/* What hangs on a bad row would only be named once more. */
	if (p->report->faults == 0)
		TRY(find_missing(p));
	if (p->report->faults > 0)
		return err_raise(KT_ERR_INTEGRITY, "%lld faults",
				 (long long)p->report->faults);
	return backup_versions(p->vault->store, p->report->versions,
			       sizeof(p->report->versions));
}

enum kt_err backup_prove(struct kt_vault *copy, const struct proof_watch *watch,
			 struct kt_backup_report *ret)
{
	CLEANUP(freep) struct proof *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return err_memory();
	p->vault = copy;
	p->watch = watch;
	p->report = ret;
	ret->vault = copy->row.id;
	return prove(p);
}
