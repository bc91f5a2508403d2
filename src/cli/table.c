/*
 * Tables. The output is composed in memory and written at once: no table ends
 * in the middle of a line.
 */
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cell.h"

static void json_freep(json_t **json)
{
	json_decref(*json);
}

static void stream_close(FILE **stream)
{
	if (*stream != NULL)
		fclose(*stream);
}

/* Text being composed. With --json the rows go in as they come, because the
 * secure heap, where JSON lives, would not hold a long table. */
struct table {
	const struct column *columns;
	size_t count;
	struct libscols_table *text; /* NULL with --json */
	FILE *json;
	char *room;
	size_t len;
	bool any;
};

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	scols_unref_table(table->text);
	stream_close(&table->json);
	free(table->room);
	free(table);
}

static enum kt_err add_columns(struct table *table)
{
	table->text = scols_new_table();
	if (table->text == NULL)
		return err_memory();
	/* Never cut to the width of the terminal: names are to be copied. */
	scols_table_set_termforce(table->text, SCOLS_TERMFORCE_NEVER);
	for (size_t i = 0; i < table->count; i++) {
		int flags = table->columns[i].type == COLUMN_INT
				    ? SCOLS_FL_RIGHT
				    : 0;

		if (table->columns[i].title != NULL &&
		    scols_table_new_column(table->text, table->columns[i].title,
					   0, flags) == NULL)
			return err_memory();
	}
	return KT_OK;
}

enum kt_err table_new(const struct cli *cli, const struct column *columns,
		      size_t count, struct table **ret)
{
	CLEANUP(table_freep) struct table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return err_memory();
	table->columns = columns;
	table->count = count;
	if (!cli->globals.json) {
		TRY(add_columns(table));
	} else {
		table->json = open_memstream(&table->room, &table->len);
		if (table->json == NULL)
			return err_memory();
	}
	*ret = TAKE(table);
	return KT_OK;
}

static enum kt_err add_json(struct table *table, const void *row)
{
	CLEANUP(json_freep) json_t *object = json_object();

	if (object == NULL)
		return err_memory();
	TRY(cells_json(object, table->columns, table->count, row));
	fputs(table->any ? ",\n  " : "[\n  ", table->json);
	if (json_dumpf(object, table->json, 0) != 0)
		return err_memory();
	table->any = true;
	return KT_OK;
}

enum kt_err table_add(struct table *table, const void *row)
{
	struct libscols_line *line;
	struct cell cell;
	size_t at = 0;

	if (table->text == NULL)
		return add_json(table, row);
	line = scols_table_new_line(table->text, NULL);
	if (line == NULL)
		return err_memory();
	for (size_t i = 0; i < table->count; i++) {
		if (table->columns[i].title == NULL)
			continue;
		cell_read(&table->columns[i], row, &cell);
		if (scols_line_set_data(line, at++, cell_shown(&cell)) != 0)
			return err_memory();
	}
	return KT_OK;
}

static enum kt_err print_json(struct table *table)
{
	bool failed;

	fputs(table->any ? "\n]\n" : "[]\n", table->json);
	failed = fflush(table->json) != 0 || ferror(table->json) != 0;
	return failed ? err_memory() : cli_write(table->room, table->len);
}

enum kt_err table_print(struct table *table)
{
	return table->text != NULL ? cells_print(table->text)
				   : print_json(table);
}

enum kt_err table_list(struct cli *cli, const struct column *columns,
		       size_t count, table_fill *fill, const void *arg)
{
	CLEANUP(table_freep) struct table *table = NULL;
	struct kt_vault *vault;
	struct err_saved bad;
	enum kt_err err;

	TRY(cli_vault(cli, &vault));
	TRY(table_new(cli, columns, count, &table));
	err = fill(vault, arg, table);
	err_save(err, &bad);
	if (err == KT_OK || err == KT_ERR_INTEGRITY)
		TRY(table_print(table));
	return err == KT_OK ? KT_OK : err_restore(&bad);
}
