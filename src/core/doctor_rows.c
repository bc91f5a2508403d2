/*
 * Checks of every row: that its MAC verifies, and that every live wrapped key
 * can still be reached from a key that lives.
 */
#include "core/doctor.h"
#include "core/keys.h"

#include <stdlib.h>
#include <string.h>

#define PAGE 1000

/* Room for a row of any type. */
union any_row {
	struct vault_row vault;
	struct key_row key;
	struct wrap_row wrap;
	struct project_row project;
	struct secret_row secret;
	struct version_row version;
	struct access_row access;
	struct rotation_row rotation;
	struct leg_row leg;
	struct fault_row fault;
	struct audit_row audit;
	struct audit_head_row head;
	struct checkpoint_row checkpoint;
};

struct row_walk {
	struct store *store;
	int64_t rows;
	union any_row row; /* the last one read */
};

/* Reads a query to its end; the store checks each row's MAC. */
static enum kt_err drain(struct row_walk *w, struct query *query,
			 enum row_type type, int64_t *ret_count)
{
	int64_t count = 0;
	enum kt_err err;

	while ((err = query_next(query, &w->row)) == KT_OK) {
		if (type == ROW_VERSION)
			row_done(type, &w->row);
		count++;
	}
	if (err != KT_ERR_NOT_FOUND) {
		row_done(type, &w->row);
		return err;
	}
	w->rows += count;
	*ret_count = count;
	return KT_OK;
}

static enum kt_err walk_plain(struct row_walk *w, enum store_query which,
			      enum row_type type)
{
	CLEANUP(query_donep) struct query *query = NULL;
	int64_t count;

	TRY(query_start(w->store, which, &query, ""));
	return drain(w, query, type, &count);
}

static enum kt_err walk_by_id(struct row_walk *w, enum store_query which,
			      enum row_type type, const struct kt_id *id)
{
	CLEANUP(query_donep) struct query *query = NULL;
	int64_t count;

	TRY(query_start(w->store, which, &query, "b", id));
	return drain(w, query, type, &count);
}

static enum kt_err walk_wraps(struct row_walk *w, const struct kt_id *key)
{
	struct kt_id after = {0};
	int64_t count = PAGE;

	while (count == PAGE) {
		CLEANUP(query_donep) struct query *query = NULL;

		TRY(query_start(w->store, Q_WRAPS_AFTER, &query, "bbi", key,
				&after, (int64_t)PAGE));
		TRY(drain(w, query, ROW_WRAP, &count));
		after = w->row.wrap.subject;
	}
	return KT_OK;
}

/* Secrets of a project a page at a time, each with its versions. */
static enum kt_err walk_secrets(struct row_walk *w, const struct kt_id *project)
{
	char after[KT_NAME_MAX + 1] = "";
	enum kt_err err = KT_OK;

	while (err == KT_OK) {
		CLEANUP(query_donep) struct query *query = NULL;
		struct secret_row secret;

		TRY(query_start(w->store, Q_SECRETS, &query, "bsi", project,
				after, (int64_t)PAGE));
		for (int i = 0; i < PAGE; i++) {
			err = query_next(query, &secret);
			if (err != KT_OK)
				break;
			w->rows++;
			TRY(walk_by_id(w, Q_VERSIONS, ROW_VERSION, &secret.id));
			memcpy(after, secret.name, sizeof(after));
		}
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* What hangs on a key. A project is found by the first of its keys, so that
 * deleted ones are looked at too. */
static enum kt_err walk_key(struct row_walk *w, const struct key_row *key)
{
	if (key->role == KT_KEY_MASTER || key->role == KT_KEY_RECOVERY ||
	    key->role == KT_KEY_PROJECT)
		TRY(walk_wraps(w, &key->id));
	if (key->role != KT_KEY_PROJECT || key->version != 1)
		return KT_OK;
	TRY(walk_by_id(w, Q_PROJECT, ROW_PROJECT, &key->owner));
	return walk_secrets(w, &key->owner);
}

static enum kt_err walk_keys(struct row_walk *w, enum kt_key_role role)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(w->store, Q_KEYS_BY_ROLE, &query, "i", (int64_t)role));
	while ((err = query_next(query, &key)) == KT_OK) {
		w->rows++;
		TRY(walk_key(w, &key));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err walk_rotations(struct row_walk *w)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_row row;
	enum kt_err err;

	TRY(query_start(w->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		w->rows++;
		TRY(walk_by_id(w, Q_LEGS, ROW_LEG, &row.id));
		TRY(walk_by_id(w, Q_FAULTS, ROW_FAULT, &row.id));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err row_macs(struct doctor *d, struct finding *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	CLEANUP(freep) struct row_walk *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return err_memory();
	w->store = d->vault->store;
	TRY(store_begin(w->store, STORE_READ, &tx));
	TRY(walk_plain(w, Q_VAULT, ROW_VAULT));
	for (int role = KT_KEY_MASTER; role < KT_KEY_ROLE_MAX_; role++)
		TRY(walk_keys(w, (enum kt_key_role)role));
	TRY(walk_plain(w, Q_ACCESS_ALL, ROW_ACCESS));
	TRY(walk_rotations(w));
	TRY(walk_plain(w, Q_AUDIT_HEAD, ROW_AUDIT_HEAD));
	TRY(walk_plain(w, Q_CHECKPOINTS, ROW_CHECKPOINT));
	return finding_ok(ret, "%lld rows verify", (long long)w->rows);
}

/* No row may hang on a key that is gone. */
static enum kt_err no_dead_parent(struct doctor *d, enum kt_key_role role,
				  struct finding *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	struct count_row rows;
	enum kt_err err;

	TRY(query_start(d->vault->store, Q_KEYS_BY_ROLE, &query, "i",
			(int64_t)role));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (key.destroyed == 0)
			continue;
		TRY(query_one(d->vault->store, Q_WRAP_COUNT, &rows, "b",
			      &key.id));
		if (rows.n > 0)
			return finding_fail(ret,
					    "%lld rows are wrapped under the "
					    "destroyed %s",
					    (long long)rows.n,
					    key_text(&key).text);
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* KT_ERR_INTEGRITY unless the key has a wrap under the active key of a role
 * and owner, as every reader expects. */
static enum kt_err wrapped_under(struct doctor *d, enum kt_key_role role,
				 const struct kt_id *owner,
				 const struct key_row *key)
{
	struct key_row parent;
	struct wrap_row wrap;
	enum kt_err err = key_active(d->vault, role, owner, &parent);

	if (err == KT_OK)
		err = query_one(d->vault->store, Q_WRAP, &wrap, "bb",
				&parent.id, &key->id);
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY,
				 "%s has no wrap under an active %s key",
				 key_text(key).text, kt_key_role_name(role));
	return err;
}

static enum kt_err dek_wrapped(struct doctor *d, const struct key_row *key)
{
	static const struct kt_id nobody;
	struct secret_row secret;
	enum kt_err err =
		query_one(d->vault->store, Q_SECRET, &secret, "b", &key->owner);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY, "%s has no secret",
				 key_text(key).text);
	TRY(err);
	TRY(wrapped_under(d, KT_KEY_PROJECT, &secret.project, key));
	if (d->vault->row.recovery_wraps == 0)
		return KT_OK;
	return wrapped_under(d, KT_KEY_RECOVERY, &nobody, key);
}

/* Every wrapped key in use has its wraps. */
static enum kt_err no_lost_key(struct doctor *d, enum kt_key_role role,
			       int64_t *live)
{
	CLEANUP(query_donep) struct query *query = NULL;
	static const struct kt_id nobody;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(d->vault->store, Q_KEYS_BY_ROLE, &query, "i",
			(int64_t)role));
	while ((err = query_next(query, &key)) == KT_OK) {
		if (key.activated == 0 || key.deactivated != 0 ||
		    key.destroyed != 0)
			continue;
		if (role == KT_KEY_DEK)
			TRY(dek_wrapped(d, &key));
		else
			TRY(wrapped_under(d, KT_KEY_MASTER, &nobody, &key));
		(*live)++;
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err reachable_keys(struct doctor *d, struct finding *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	int64_t live = 0;

	TRY(store_begin(d->vault->store, STORE_READ, &tx));
	TRY(no_dead_parent(d, KT_KEY_MASTER, ret));
	TRY(no_dead_parent(d, KT_KEY_RECOVERY, ret));
	TRY(no_dead_parent(d, KT_KEY_PROJECT, ret));
	TRY(no_lost_key(d, KT_KEY_PROJECT, &live));
	TRY(no_lost_key(d, KT_KEY_DEK, &live));
	if (ret->result != KT_CHECK_OK)
		return KT_OK;
	return finding_ok(ret, "%lld wrapped keys in use", (long long)live);
}

const struct check doctor_row_checks[] = {
	{"D29", "every wrapped key can be reached", NEED_VAULT, reachable_keys,
	 "destroy nothing; restore a backup and compare it with the database"},
	{"D30", "every row is authentic", NEED_VAULT, row_macs,
	 "find out who changed the database; restore the row from a backup"},
};

const size_t doctor_row_count =
	sizeof(doctor_row_checks) / sizeof(doctor_row_checks[0]);
