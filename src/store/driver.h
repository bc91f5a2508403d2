/*
 * What a driver of a database supplies: one struct of functions. The port calls
 * it and nothing else does; it sees to seals, compare-and-set and the pairing
 * of begin and commit, so that a driver only moves rows.
 *
 * A driver maps enum store_query and enum store_statement to SQL, and binds
 * and reads columns in the order of row_desc() through store/column.h. It
 * translates its own codes to enum kt_err in one function.
 */
#ifndef STORE_DRIVER_H
#define STORE_DRIVER_H

#include "store/store.h"

#define STORE_ARGS_MAX 4

/* An argument as query_start() lists them, by its letter. */
struct store_arg {
	char kind;
	union {
		const struct kt_id *id; /* b */
		int64_t number;         /* i */
		const char *text;       /* s */
	};
};

struct store_args {
	size_t count;
	struct store_arg arg[STORE_ARGS_MAX];
};

/* What row type a query returns; sql and args agree with it. */
enum row_type store_query_type(enum store_query which);

/* db and cursor belong to the driver; begin and what follows it until commit
 * or rollback come from one thread. */
struct store_driver {
	enum kt_err (*create)(const struct store_params *params, void **ret);
	enum kt_err (*open)(const struct store_params *params, void **ret);
	enum kt_err (*open_copy)(const struct store_params *params, void **ret);
	void (*close)(void *db);
	void (*discard)(void *db);

	enum kt_err (*begin)(void *db, enum store_access access);
	enum kt_err (*commit)(void *db);
	void (*rollback)(void *db);

	enum kt_err (*insert)(void *db, enum row_type type, const void *row);

	/* Of the row with this row's key and, unless it is NULL, this MAC;
	 * *ret_changed says whether there was one. */
	enum kt_err (*update)(void *db, enum row_type type, const void *row,
			      const struct mac *mac, bool *ret_changed);
	enum kt_err (*remove)(void *db, enum row_type type, const void *row,
			      const struct mac *mac, bool *ret_changed);

	/* The driver copies the arguments. */
	enum kt_err (*select)(void *db, enum store_query which,
			      const struct store_args *args, void **ret_cursor);

	/* The same for store_scan() and store_find(); the key's row stays as it
	 * is until the cursor is done. */
	enum kt_err (*scan)(void *db, enum row_type type, void **ret_cursor);
	enum kt_err (*find)(void *db, enum row_type type, const void *key,
			    void **ret_cursor);

	/* As query_next(), but for the MAC, which query.c checks. */
	enum kt_err (*next)(void *cursor, void *row);
	void (*done)(void *cursor);

	enum kt_err (*exec)(void *db, enum store_statement which,
			    const struct store_args *args,
			    int64_t *ret_changed);

	enum kt_err (*info)(void *db, struct store_info *ret);
	enum kt_err (*check)(void *db);
	enum kt_err (*backup)(void *db, const char *path);
	enum kt_err (*take_copy)(const char *copy, const char *path);
	enum kt_err (*replace)(const char *path, bool absent, const char *by,
			       const char *aside);
	void (*remove_files)(const char *path);
};

extern const struct store_driver sqlite_driver;

#endif
