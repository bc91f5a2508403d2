/*
 * Prepared statements as leases, and rows through them. Each statement is
 * prepared when it is first used and kept; one that is in use already is
 * prepared once more for the second user.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "store/column.h"
#include "store/sqlite/sqlite.h"

struct lease {
	struct sqlite_db *db;
	sqlite3_stmt *stmt;
	struct prepared *kept; /* NULL: for this lease only */
};

struct cursor {
	struct lease lease;
	enum row_type type;
	bool failed; /* the statement: stepping it again would begin anew */
};

static enum kt_err prepare(struct sqlite_db *db, size_t slot, unsigned flags,
			   sqlite3_stmt **ret)
{
	char *sql = sql_text(slot);
	int rc = SQLITE_NOMEM;

	if (sql != NULL)
		rc = sqlite3_prepare_v3(db->sq, sql, -1, flags, ret, NULL);
	sqlite3_free(sql);
	return rc == SQLITE_OK ? KT_OK : sqlite_error(db->sq, rc, "prepare");
}

/* Some errors make SQLite roll back by itself. What followed would then be
 * committed one by one. */
static enum kt_err require_live(struct sqlite_db *db)
{
	TRY(sqlite_end_stale(db));
	if (db->in_tx && sqlite3_get_autocommit(db->sq) != 0)
		return err_raise(
			KT_ERR_STORE,
			"an earlier error rolled the transaction back");
	return KT_OK;
}

static enum kt_err lease_take(struct sqlite_db *db, size_t slot,
			      struct lease *ret)
{
	struct prepared *kept = &db->prepared[slot];

	assert(slot < SLOT_MAX);
	TRY(require_live(db));
	*ret = (struct lease){.db = db};
	if (kept->leased)
		return prepare(db, slot, 0, &ret->stmt);
	if (kept->stmt == NULL)
		TRY(prepare(db, slot, SQLITE_PREPARE_PERSISTENT, &kept->stmt));
	kept->leased = true;
	ret->stmt = kept->stmt;
	ret->kept = kept;
	return KT_OK;
}

static void lease_give(struct lease *lease)
{
	if (lease->kept == NULL) {
		sqlite3_finalize(lease->stmt);
	} else {
		sqlite3_reset(lease->stmt);
		sqlite3_clear_bindings(lease->stmt);
		lease->kept->leased = false;
	}
	*lease = (struct lease){0};
}

void statements_done(struct sqlite_db *db)
{
	for (size_t i = 0; i < SLOT_MAX; i++) {
		assert(!db->prepared[i].leased);
		sqlite3_finalize(db->prepared[i].stmt);
	}
}

static enum kt_err bound(const struct lease *lease, int rc)
{
	return rc == SQLITE_OK ? KT_OK
			       : sqlite_error(lease->db->sq, rc, "bind");
}

/* The value's bytes must live until the statement was stepped. */
static enum kt_err bind_value(const struct lease *lease, int at,
			      const struct column_value *value)
{
	const void *data = value->data != NULL ? value->data : "";

	switch (value->kind) {
	case VALUE_NULL:
		return bound(lease, sqlite3_bind_null(lease->stmt, at));
	case VALUE_INT:
		return bound(lease, sqlite3_bind_int64(lease->stmt, at,
						       value->number));
	case VALUE_TEXT:
		return bound(lease, sqlite3_bind_text64(
					    lease->stmt, at, data, value->len,
					    SQLITE_STATIC, SQLITE_UTF8));
	case VALUE_BYTES:
		return bound(lease,
			     sqlite3_bind_blob64(lease->stmt, at, data,
						 value->len, SQLITE_STATIC));
	}
	return err_raise(KT_ERR_FAILED, "bind: no such kind of value");
}

static enum kt_err bind_row(const struct lease *lease, enum row_type type,
			    const void *row, bool keys_only)
{
	const struct row_desc *desc = row_desc(type);
	struct column_value value;

	for (size_t i = 0; i < desc->columns; i++) {
		if (keys_only && !desc->column[i].key)
			continue;
		column_get(&desc->column[i], row, &value);
		TRY(bind_value(lease, (int)i + 1, &value));
	}
	return KT_OK;
}

/* The caller may change what they point to while the query runs: copied. */
static enum kt_err bind_args(const struct lease *lease,
			     const struct store_args *args)
{
	for (size_t i = 0; i < args->count; i++) {
		const struct store_arg *arg = &args->arg[i];
		int at = (int)i + 1;
		int rc;

		if (arg->kind == 'b')
			rc = sqlite3_bind_blob(lease->stmt, at, arg->id,
					       KT_ID_LEN, SQLITE_TRANSIENT);
		else if (arg->kind == 's')
			rc = sqlite3_bind_text(lease->stmt, at, arg->text, -1,
					       SQLITE_TRANSIENT);
		else
			rc = sqlite3_bind_int64(lease->stmt, at, arg->number);
		TRY(bound(lease, rc));
	}
	return KT_OK;
}

static enum kt_err run(const struct lease *lease, const char *what,
		       int64_t *ret_changed)
{
	int rc = sqlite3_step(lease->stmt);

	if (rc != SQLITE_DONE)
		return sqlite_error(lease->db->sq, rc, what);
	*ret_changed = sqlite3_changes64(lease->db->sq);
	return KT_OK;
}

enum kt_err sqlite_insert(void *handle, enum row_type type, const void *row)
{
	CLEANUP(lease_give) struct lease lease = {0};
	int64_t changed = 0;

	TRY(lease_take(handle, SLOT_ROW(VERB_INSERT, type), &lease));
	TRY(bind_row(&lease, type, row, false));
	return run(&lease, "insert", &changed);
}

static enum kt_err bind_mac(const struct lease *lease, enum row_type type,
			    const struct mac *mac)
{
	struct column_value value = {VALUE_BYTES, 0, mac, MAC_LEN};

	assert((mac != NULL) == (row_desc(type)->mac_offset != 0));
	if (mac == NULL)
		return KT_OK;
	return bind_value(lease, (int)row_desc(type)->columns + 1, &value);
}

enum kt_err sqlite_update(void *handle, enum row_type type, const void *row,
			  const struct mac *mac, bool *ret_changed)
{
	CLEANUP(lease_give) struct lease lease = {0};
	int64_t changed = 0;

	TRY(lease_take(handle, SLOT_ROW(VERB_UPDATE, type), &lease));
	TRY(bind_row(&lease, type, row, false));
	TRY(bind_mac(&lease, type, mac));
	TRY(run(&lease, "update", &changed));
	*ret_changed = changed != 0;
	return KT_OK;
}

enum kt_err sqlite_remove(void *handle, enum row_type type, const void *row,
			  const struct mac *mac, bool *ret_changed)
{
	CLEANUP(lease_give) struct lease lease = {0};
	int64_t changed = 0;

	TRY(lease_take(handle, SLOT_ROW(VERB_REMOVE, type), &lease));
	TRY(bind_row(&lease, type, row, true));
	TRY(bind_mac(&lease, type, mac));
	TRY(run(&lease, "remove", &changed));
	*ret_changed = changed != 0;
	return KT_OK;
}

enum kt_err sqlite_exec_statement(void *handle, enum store_statement which,
				  const struct store_args *args,
				  int64_t *ret_changed)
{
	CLEANUP(lease_give) struct lease lease = {0};

	TRY(lease_take(handle, SLOT_STATEMENT(which), &lease));
	TRY(bind_args(&lease, args));
	return run(&lease, "statement", ret_changed);
}

void sqlite_done(void *handle)
{
	struct cursor *cursor = handle;

	if (cursor == NULL)
		return;
	lease_give(&cursor->lease);
	free(cursor);
}

DEFINE_CLEANUP(struct cursor, sqlite_done)

/* A reader must not go on with a file that another took the place of. */
static enum kt_err cursor_new(struct sqlite_db *db, size_t slot,
			      enum row_type type, struct cursor **ret)
{
	CLEANUP(sqlite_donep)
	struct cursor *cursor = calloc(1, sizeof(*cursor));

	if (cursor == NULL)
		return err_memory();
	TRY(sqlite_require_same_file(db));
	cursor->type = type;
	TRY(lease_take(db, slot, &cursor->lease));
	*ret = TAKE(cursor);
	return KT_OK;
}

enum kt_err sqlite_select(void *handle, enum store_query which,
			  const struct store_args *args, void **ret_cursor)
{
	CLEANUP(sqlite_donep) struct cursor *cursor = NULL;

	TRY(cursor_new(handle, SLOT_QUERY(which), store_query_type(which),
		       &cursor));
	TRY(bind_args(&cursor->lease, args));
	*ret_cursor = TAKE(cursor);
	return KT_OK;
}

enum kt_err sqlite_scan(void *handle, enum row_type type, void **ret_cursor)
{
	struct cursor *cursor;

	TRY(cursor_new(handle, SLOT_ROW(VERB_SCAN, type), type, &cursor));
	*ret_cursor = cursor;
	return KT_OK;
}

/* The key lives as long as the caller's row: stepped once, at once. */
enum kt_err sqlite_find(void *handle, enum row_type type, const void *key,
			void **ret_cursor)
{
	CLEANUP(sqlite_donep) struct cursor *cursor = NULL;

	TRY(cursor_new(handle, SLOT_ROW(VERB_FIND, type), type, &cursor));
	TRY(bind_row(&cursor->lease, type, key, true));
	*ret_cursor = TAKE(cursor);
	return KT_OK;
}

/* The pointers of *ret are good until the statement is stepped. */
static void value_of(sqlite3_stmt *stmt, int at, struct column_value *ret)
{
	*ret = (struct column_value){.kind = VALUE_NULL};
	switch (sqlite3_column_type(stmt, at)) {
	case SQLITE_INTEGER:
		ret->kind = VALUE_INT;
		ret->number = sqlite3_column_int64(stmt, at);
		break;
	case SQLITE_TEXT:
		ret->kind = VALUE_TEXT;
		ret->data = sqlite3_column_text(stmt, at);
		ret->len = (size_t)sqlite3_column_bytes(stmt, at);
		break;
	case SQLITE_BLOB:
		ret->kind = VALUE_BYTES;
		ret->data = sqlite3_column_blob(stmt, at);
		ret->len = (size_t)sqlite3_column_bytes(stmt, at);
		break;
	}
}

/* Reads every column, also after a wrong one, so that the row can be named;
 * the first that is wrong is what the error says. */
static enum kt_err read_row(sqlite3_stmt *stmt, enum row_type type, void *row)
{
	const struct row_desc *desc = row_desc(type);
	struct column_value value;
	struct err_saved first = {.err = KT_OK};
	char name[160];

	memset(row, 0, desc->size);
	for (size_t i = 0; i < desc->columns; i++) {
		enum kt_err err;

		value_of(stmt, (int)i, &value);
		err = column_set(&desc->column[i], &value, row);
		if (err != KT_OK && first.err == KT_OK)
			err_save(err, &first);
	}
	if (first.err == KT_OK)
		return KT_OK;
	row_name(type, row, name, sizeof(name));
	return err_prefix(err_restore(&first), "%s", name);
}

enum kt_err sqlite_next(void *handle, void *row)
{
	struct cursor *cursor = handle;
	sqlite3 *sq = cursor->lease.db->sq;
	enum kt_err err;
	int rc;

	if (cursor->failed)
		return err_raise(KT_ERR_STORE, "the query failed before");
	rc = sqlite3_step(cursor->lease.stmt);
	if (rc == SQLITE_DONE)
		return KT_ERR_NOT_FOUND;
	cursor->failed = rc != SQLITE_ROW;
	if (cursor->failed)
		return sqlite_error(sq, rc, "query");
	err = read_row(cursor->lease.stmt, cursor->type, row);
	if (err != KT_OK && err != KT_ERR_INTEGRITY)
		row_done(cursor->type, row);
	return err;
}
