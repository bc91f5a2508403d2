/*
 * The reading half of the port: named queries and statements over a driver,
 * with their arguments checked against one table. Every row with a MAC is
 * checked on its way out.
 */
#include <assert.h>
#include <stdarg.h>
#include <string.h>

#include "store/port.h"

struct query {
	struct store *store;
	void *cursor;
	enum row_type type;
	enum kt_err failed; /* what ended it before its last row */
	bool ended;
};

static const struct {
	const char *args;
	enum row_type type;
} queries[STORE_QUERY_MAX_] = {
	[Q_VAULT] = {"", ROW_VAULT},
	[Q_KEY] = {"b", ROW_KEY},
	[Q_KEY_VERSION] = {"ibi", ROW_KEY},
	[Q_KEY_LATEST] = {"ib", ROW_KEY},
	[Q_KEYS_BY_ROLE] = {"i", ROW_KEY},
	[Q_KEYS_BY_OWNER] = {"b", ROW_KEY},
	[Q_KEYS_ON_TOKEN] = {"", ROW_KEY},
	[Q_WRAP] = {"bb", ROW_WRAP},
	[Q_WRAPS_AFTER] = {"bbi", ROW_WRAP},
	[Q_WRAPS_MISSING] = {"bbbi", ROW_WRAP},
	[Q_WRAPS_TWINS] = {"bbbi", ROW_WRAP},
	[Q_WRAPS_TWINNED] = {"bbbi", ROW_WRAP},
	[Q_WRAP_COUNT] = {"b", ROW_COUNT},
	[Q_WRAP_MISSING_COUNT] = {"bb", ROW_COUNT},
	[Q_PROJECT] = {"b", ROW_PROJECT},
	[Q_PROJECTS_BY_NAME] = {"s", ROW_PROJECT},
	[Q_PROJECTS] = {"", ROW_PROJECT},
	[Q_PROJECT_COUNT] = {"", ROW_COUNT},
	[Q_SECRET] = {"b", ROW_SECRET},
	[Q_SECRET_BY_NAME] = {"bs", ROW_SECRET},
	[Q_SECRETS] = {"bsi", ROW_SECRET},
	[Q_SECRET_COUNT] = {"b", ROW_COUNT},
	[Q_SECRET_COUNT_ALL] = {"", ROW_COUNT},
	[Q_VERSION] = {"bi", ROW_VERSION},
	[Q_VERSIONS] = {"b", ROW_VERSION},
	[Q_ACCESS] = {"s", ROW_ACCESS},
	[Q_ACCESS_OF_PROJECT] = {"b", ROW_ACCESS},
	[Q_ACCESS_ALL] = {"", ROW_ACCESS},
	[Q_ACCESS_USABLE_COUNT] = {"bi", ROW_COUNT},
	[Q_ROTATION] = {"b", ROW_ROTATION},
	[Q_ROTATIONS] = {"", ROW_ROTATION},
	[Q_LEGS] = {"b", ROW_LEG},
	[Q_FAULTS] = {"b", ROW_FAULT},
	[Q_FAULT_COUNT] = {"b", ROW_COUNT},
	[Q_LEASE] = {"", ROW_LEASE},
	[Q_AUDIT] = {"i", ROW_AUDIT},
	[Q_AUDIT_FROM] = {"ii", ROW_AUDIT},
	[Q_AUDIT_HEAD] = {"", ROW_AUDIT_HEAD},
	[Q_CHECKPOINTS] = {"", ROW_CHECKPOINT},
	[Q_CHANGES] = {"", ROW_COUNT},
};

static const char *const statement_args[STORE_STATEMENT_MAX_] = {
	[S_WRAP_DELETE] = "bb",    [S_WRAPS_DELETE_SUBJECT] = "b",
	[S_VERSIONS_DELETE] = "b", [S_FAULTS_DELETE] = "b",
	[S_LEASE_RENEW] = "ii",
};

enum row_type store_query_type(enum store_query which)
{
	assert((unsigned)which < STORE_QUERY_MAX_);
	return queries[which].type;
}

/* Arguments that do not match are a programming error that a release build
 * must not turn into a query for something else. */
static enum kt_err collect(const char *expected, const char *given,
			   va_list args, struct store_args *ret)
{
	if (strcmp(expected, given) != 0)
		return err_raise(KT_ERR_FAILED,
				 "query takes '%s', was given '%s'", expected,
				 given);
	ret->count = strlen(given);
	assert(ret->count <= STORE_ARGS_MAX);
	for (size_t i = 0; i < ret->count; i++) {
		struct store_arg *arg = &ret->arg[i];

		arg->kind = given[i];
		if (given[i] == 'b')
			arg->id = va_arg(args, const struct kt_id *);
		else if (given[i] == 's')
			arg->text = va_arg(args, const char *);
		else
			arg->number = va_arg(args, int64_t);
	}
	return KT_OK;
}

/* Its cursor is the caller's to open. */
static enum kt_err query_new(struct store *store, enum row_type type,
			     struct query **ret)
{
	struct query *query = calloc(1, sizeof(*query));

	if (query == NULL)
		return err_memory();
	query->store = store;
	query->type = type;
	*ret = query;
	return KT_OK;
}

static enum kt_err start(struct store *store, enum store_query which,
			 const struct store_args *args, struct query **ret)
{
	CLEANUP(freep) struct query *query = NULL;

	TRY(query_new(store, queries[which].type, &query));
	TRY(store->driver->select(store->db, which, args, &query->cursor));
	*ret = TAKE(query);
	return KT_OK;
}

enum kt_err store_scan(struct store *store, enum row_type type,
		       struct query **ret)
{
	CLEANUP(freep) struct query *query = NULL;

	assert(row_desc(type)->table != NULL);
	TRY(query_new(store, type, &query));
	TRY(store->driver->scan(store->db, type, &query->cursor));
	*ret = TAKE(query);
	return KT_OK;
}

enum kt_err query_start(struct store *store, enum store_query which,
			struct query **ret, const char *args, ...)
{
	struct store_args collected;
	enum kt_err err;
	va_list list;

	assert((unsigned)which < STORE_QUERY_MAX_);
	va_start(list, args);
	err = collect(queries[which].args, args, list, &collected);
	va_end(list);
	return err == KT_OK ? start(store, which, &collected, ret) : err;
}

enum kt_err query_next(struct query *query, void *row)
{
	const struct store_sealer *sealer = &query->store->sealer;
	enum kt_err err;

	if (query->failed != KT_OK)
		return err_raise(query->failed, "the query failed before");
	if (query->ended)
		return KT_ERR_NOT_FOUND;
	err = query->store->driver->next(query->cursor, row);
	query->ended = err == KT_ERR_NOT_FOUND;
	if (err != KT_OK && err != KT_ERR_NOT_FOUND && err != KT_ERR_INTEGRITY)
		query->failed = err;
	if (err != KT_OK || row_desc(query->type)->mac_offset == 0 ||
	    sealer->check == NULL)
		return err;
	return sealer->check(sealer->arg, query->type, row);
}

void query_done(struct query *query)
{
	if (query == NULL)
		return;
	query->store->driver->done(query->cursor);
	free(query);
}

/* Into a row of its own first: *row is written only when all is well. */
static enum kt_err only_row(struct query *query, void *row)
{
	const struct row_desc *desc = row_desc(query->type);
	CLEANUP(freep) void *found = calloc(1, desc->size);
	enum kt_err err;

	if (found == NULL)
		return err_memory();
	err = query_next(query, found);
	if (err == KT_OK)
		memcpy(row, found, desc->size);
	else
		row_done(query->type, found);
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no row in %s",
				 desc->table != NULL ? desc->table : "count");
	return err;
}

static enum kt_err find(struct store *store, enum row_type type,
			const void *key, struct query **ret)
{
	CLEANUP(freep) struct query *query = NULL;

	TRY(query_new(store, type, &query));
	TRY(store->driver->find(store->db, type, key, &query->cursor));
	*ret = TAKE(query);
	return KT_OK;
}

enum kt_err store_find(struct store *store, enum row_type type, const void *key,
		       void *ret_row)
{
	CLEANUP(query_donep) struct query *query = NULL;
	char name[160];
	enum kt_err err;

	assert(row_desc(type)->table != NULL);
	TRY(find(store, type, key, &query));
	err = only_row(query, ret_row);
	if (err != KT_ERR_NOT_FOUND)
		return err;
	row_name(type, key, name, sizeof(name));
	return err_raise(err, "no row %s", name);
}

enum kt_err query_one(struct store *store, enum store_query which, void *row,
		      const char *args, ...)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct store_args collected;
	enum kt_err err;
	va_list list;

	assert((unsigned)which < STORE_QUERY_MAX_);
	va_start(list, args);
	err = collect(queries[which].args, args, list, &collected);
	va_end(list);
	if (err != KT_OK)
		return err;
	TRY(start(store, which, &collected, &query));
	return only_row(query, row);
}

static enum kt_err run(struct store *store, enum store_statement which,
		       const struct store_args *args, int64_t *ret_changed)
{
	CLEANUP(store_rollbackp) struct store_tx *own = NULL;
	int64_t changed = 0;

	TRY(store_begin_own(store, &own));
	TRY(store->driver->exec(store->db, which, args, &changed));
	TRY(store_commit_own(&own));
	*ret_changed = changed;
	return KT_OK;
}

enum kt_err store_exec(struct store *store, enum store_statement which,
		       int64_t *ret_changed, const char *args, ...)
{
	struct store_args collected;
	enum kt_err err;
	va_list list;

	assert((unsigned)which < STORE_STATEMENT_MAX_);
	va_start(list, args);
	err = collect(statement_args[which], args, list, &collected);
	va_end(list);
	return err == KT_OK ? run(store, which, &collected, ret_changed) : err;
}
