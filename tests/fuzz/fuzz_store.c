/*
 * The same through SQLite: somebody replaced the tables by such without types
 * and constraints and filled them. Every row is reported, as good or as broken
 * and named, none is skipped, none ends the query and none leaks.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "fuzz.h"
#include "store/store.h"

#define ROWS_MAX 4
#define SECRET "ssssssssssssssss"

/* Queries that give every row of their table, VERSIONS those of SECRET. */
static const struct {
	enum row_type type;
	enum store_query query;
} tables[] = {
	{ROW_VAULT, Q_VAULT},
	{ROW_ACCESS, Q_ACCESS_ALL},
	{ROW_ROTATION, Q_ROTATIONS},
	{ROW_LEASE, Q_LEASE},
	{ROW_CHECKPOINT, Q_CHECKPOINTS},
	{ROW_VERSION, Q_VERSIONS},
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

static char folder[] = "/tmp/keyturn-fuzz-XXXXXX";
static char path[64];
static struct store *store;
static sqlite3 *raw;

static void clean_up(void)
{
	store_close(store);
	sqlite3_close(raw);
	unlink(path);
	rmdir(folder);
}

static void sql(const char *format, ...)
{
	va_list args;
	char *text;

	va_start(args, format);
	text = sqlite3_vmprintf(format, args);
	va_end(args);
	must(sqlite3_exec(raw, text, NULL, NULL, NULL) == SQLITE_OK);
	sqlite3_free(text);
}

static void replace_table(const struct row_desc *desc)
{
	sql("DROP TABLE %s; CREATE TABLE %s (%s)", desc->table, desc->table,
	    desc->column[0].name);
	for (size_t i = 1; i < desc->columns; i++)
		sql("ALTER TABLE %s ADD COLUMN %s", desc->table,
		    desc->column[i].name);
}

static void set_up(void)
{
	const struct store_params params = {.path = path};

	must(mkdtemp(folder) != NULL);
	snprintf(path, sizeof(path), "%s/vault.db", folder);
	must(store_create(&params, &store) == KT_OK);
	must(sqlite3_open(path, &raw) == SQLITE_OK);
	atexit(clean_up);
	sql("PRAGMA foreign_keys = OFF; PRAGMA synchronous = OFF; BEGIN");
	for (size_t i = 0; i < TABLES; i++)
		replace_table(row_desc(tables[i].type));
	sql("COMMIT");
}

static void bind(struct input *input, sqlite3_stmt *stmt, int at)
{
	unsigned head = input_u8(input);
	CLEANUP(freep) char *data = NULL;
	size_t len = head >> 2 == 63 ? input_u32(input) % 4096 : head >> 2;

	switch (head & 3) {
	case 0:
		must(sqlite3_bind_null(stmt, at) == SQLITE_OK);
		break;
	case 1:
		must(sqlite3_bind_int64(stmt, at, input_u32(input)) ==
		     SQLITE_OK);
		break;
	case 2:
		data = input_take(input, len, &len);
		must(sqlite3_bind_text(stmt, at, data, (int)len,
				       SQLITE_TRANSIENT) == SQLITE_OK);
		break;
	default:
		data = input_take(input, len, &len);
		must(sqlite3_bind_blob(stmt, at, data, (int)len,
				       SQLITE_TRANSIENT) == SQLITE_OK);
	}
}

/* An INSERT with a parameter for each column. */
static sqlite3_stmt *insert_statement(const struct row_desc *desc)
{
	char marks[2 * ROW_COLUMNS_MAX + 1] = "";
	char text[128];
	sqlite3_stmt *stmt;

	for (size_t i = 0; i < desc->columns; i++)
		snprintf(marks + 2 * i, 3, i > 0 ? ",?" : " ?");
	snprintf(text, sizeof(text), "INSERT INTO %s VALUES (%s)", desc->table,
		 marks);
	must(sqlite3_prepare_v2(raw, text, -1, &stmt, NULL) == SQLITE_OK);
	return stmt;
}

static void fill(struct input *input, const struct row_desc *desc)
{
	sqlite3_stmt *stmt;

	sql("BEGIN; DELETE FROM %s", desc->table);
	stmt = insert_statement(desc);
	for (int row = 0; row < ROWS_MAX && input->left > 0; row++) {
		for (size_t i = 0; i < desc->columns; i++)
			bind(input, stmt, (int)i + 1);
		must(sqlite3_step(stmt) == SQLITE_DONE);
		sqlite3_reset(stmt);
	}
	sqlite3_finalize(stmt);
	sql("COMMIT");
}

static int count(const struct row_desc *desc, enum row_type type)
{
	char text[128];
	sqlite3_stmt *stmt;
	int rows;

	snprintf(text, sizeof(text), "SELECT count(*) FROM %s%s", desc->table,
		 type == ROW_VERSION ? " WHERE secret = CAST('" SECRET
				       "' AS BLOB)"
				     : "");
	must(sqlite3_prepare_v2(raw, text, -1, &stmt, NULL) == SQLITE_OK);
	must(sqlite3_step(stmt) == SQLITE_ROW);
	rows = sqlite3_column_int(stmt, 0);
	sqlite3_finalize(stmt);
	return rows;
}

static void start(enum row_type type, enum store_query which,
		  struct query **ret)
{
	struct kt_id secret;

	memcpy(secret.bytes, SECRET, KT_ID_LEN);
	if (type == ROW_VERSION)
		must(query_start(store, which, ret, "b", &secret) == KT_OK);
	else
		must(query_start(store, which, ret, "") == KT_OK);
}

static int read_all(enum row_type type, enum store_query which)
{
	const struct row_desc *desc = row_desc(type);
	CLEANUP(query_donep) struct query *query = NULL;
	CLEANUP(freep) void *row = calloc(1, desc->size);
	enum kt_err err;
	int rows = 0;

	must(row != NULL);
	start(type, which, &query);
	while ((err = query_next(query, row)) != KT_ERR_NOT_FOUND) {
		must(err == KT_OK || err == KT_ERR_INTEGRITY);
		if (err != KT_OK)
			must(strncmp(kt_err_detail(), desc->table,
				     strlen(desc->table)) == 0);
		must(error_lacks("\n"));
		row_done(type, row);
		rows++;
	}
	return rows;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t which = input_u8(&input) % TABLES;
	enum row_type type = tables[which].type;
	const struct row_desc *desc = row_desc(type);

	if (store == NULL)
		set_up();
	fill(&input, desc);
	must(read_all(type, tables[which].query) == count(desc, type));
	return 0;
}
