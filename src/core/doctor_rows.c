/*
 * Checks of every row: that its MAC verifies, and that every live wrapped key
 * can still be reached from a key that lives.
 */
#include "core/doctor.h"
#include "base/text.h"
#include "core/keys.h"

#include <stdlib.h>

/* The store checks each row's MAC. */
static enum kt_err walk(struct store *store, enum row_type type, int64_t *rows)
{
	CLEANUP(freep) void *row = calloc(1, row_desc(type)->size);
	CLEANUP(query_donep) struct query *query = NULL;
	enum kt_err err;

	if (row == NULL)
		return err_memory();
	TRY(store_scan(store, type, &query));
	while ((err = query_next(query, row)) == KT_OK) {
		row_done(type, row);
		(*rows)++;
	}
	row_done(type, row);
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err row_macs(struct doctor *d, struct finding *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct store *store = d->vault->store;
	int64_t rows = 0;

	TRY(store_begin(store, STORE_READ, &tx));
	for (int type = 0; type < ROW_COUNT; type++)
		TRY(walk(store, (enum row_type)type, &rows));
	return finding_ok(
		ret, "%s",
		text_counted(rows, "row verifies", "rows verify").text);
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
			return finding_fail(
				ret, "%s wrapped under the destroyed %s",
				text_counted(rows.n, "row is", "rows are").text,
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

enum kt_err doctor_reachable_keys(struct doctor *d, struct finding *ret)
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
	{"D29", "every wrapped key can be reached", NEED_VAULT,
	 doctor_reachable_keys,
	 "destroy nothing; restore a backup and compare it with the database"},
	{"D30", "every row is authentic", NEED_VAULT, row_macs,
	 "find out who changed the database; restore the row from a backup"},
};

const size_t doctor_row_count =
	sizeof(doctor_row_checks) / sizeof(doctor_row_checks[0]);
