/*
 * Tables and screens. A cell is made once, as text for libsmartcols or as a
 * JSON value for jansson, from the same column. The output is composed in
 * memory and written at once: no table ends in the middle of a line.
 */
#include "cli/table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>
#include <libsmartcols.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/text.h"

#define CELL_MAX 64
#define FOLD_WIDTH 50

/* What a cell holds: text (NULL: none), or a number or boolean of the row. */
struct cell {
	const char *text;
	int64_t number;
	char room[CELL_MAX];
};

static const void *member(const struct column *column, const void *row)
{
	return (const char *)row + column->offset;
}

static void read_id(const struct kt_id *id, bool hex, struct cell *cell)
{
	if (id_is_zero(id))
		return;
	if (hex)
		hex_encode(id->bytes, sizeof(id->bytes), cell->room);
	else
		kt_id_format(id, cell->room);
	cell->text = cell->room;
}

static void read_time(int64_t time, struct cell *cell)
{
	if (time == 0)
		return;
	time_format(time, cell->room);
	cell->text = cell->room;
}

static void read_cell(const struct column *column, const void *row,
		      struct cell *cell)
{
	const void *at = member(column, row);

	*cell = (struct cell){0};
	switch (column->type) {
	case COLUMN_CHARS:
	case COLUMN_WORDS:
		cell->text = at;
		return;
	case COLUMN_TEXT:
		cell->text = *(const char *const *)at;
		return;
	case COLUMN_WORD:
		cell->text = column->word(row);
		return;
	case COLUMN_INT:
		cell->number = *(const int64_t *)at;
		snprintf(cell->room, sizeof(cell->room), "%lld",
			 (long long)cell->number);
		cell->text = cell->room;
		return;
	case COLUMN_BOOL:
		cell->number = *(const bool *)at;
		cell->text = cell->number != 0 ? "yes" : "no";
		return;
	case COLUMN_TIME:
		read_time(*(const int64_t *)at, cell);
		return;
	case COLUMN_ID:
	case COLUMN_HEX:
		read_id(at, column->type == COLUMN_HEX, cell);
		return;
	}
}

/* "-" stands for nothing, so that a column can always be cut out. */
static const char *shown(const struct cell *cell)
{
	return cell->text != NULL && cell->text[0] != '\0' ? cell->text : "-";
}

/* What a token calls itself need not be UTF-8, JSON must be. */
static json_t *json_text(const char *text)
{
	json_t *json = json_string(text);
	CLEANUP(freep) char *ascii = NULL;

	if (json != NULL)
		return json;
	ascii = strdup(text);
	for (char *at = ascii; at != NULL && *at != '\0'; at++)
		if ((unsigned char)*at >= 0x80)
			*at = '?';
	return ascii != NULL ? json_string(ascii) : NULL;
}

static json_t *json_cell(const struct column *column, const struct cell *cell)
{
	if (column->type == COLUMN_INT)
		return json_integer(cell->number);
	if (column->type == COLUMN_BOOL)
		return json_boolean(cell->number != 0);
	return cell->text != NULL ? json_text(cell->text) : json_null();
}

static enum kt_err json_row(json_t *object, const struct column *columns,
			    size_t count, const void *row)
{
	struct cell cell;

	for (size_t i = 0; i < count; i++) {
		read_cell(&columns[i], row, &cell);
		if (json_object_set_new(object, columns[i].name,
					json_cell(&columns[i], &cell)) != 0)
			return err_memory();
	}
	return KT_OK;
}

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
	TRY(json_row(object, table->columns, table->count, row));
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
		read_cell(&table->columns[i], row, &cell);
		if (scols_line_set_data(line, at++, shown(&cell)) != 0)
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

/* Columns are padded, even where nothing follows. */
static void trim_lines(char *text)
{
	char *to = text;

	for (const char *at = text; *at != '\0'; at++) {
		while (*at == '\n' && to > text && to[-1] == ' ')
			to--;
		*to++ = *at;
	}
	*to = '\0';
}

/* libsmartcols ends without a newline, and prints nothing for no lines. */
static enum kt_err print_text(struct libscols_table *text)
{
	CLEANUP(freep) char *printed = NULL;

	if (scols_table_is_empty(text))
		return KT_OK;
	if (scols_print_table_to_string(text, &printed) != 0)
		return err_memory();
	trim_lines(printed);
	TRY(cli_write(printed, strlen(printed)));
	return cli_write("\n", 1);
}

enum kt_err table_print(struct table *table)
{
	return table->text != NULL ? print_text(table->text)
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

struct screen {
	json_t *object;              /* NULL without --json */
	struct libscols_table *text; /* two columns; NULL with --json */
	char last[64];               /* the section or list last added to */
};

void screen_free(struct screen *screen)
{
	if (screen == NULL)
		return;
	json_decref(screen->object);
	scols_unref_table(screen->text);
	free(screen);
}

enum kt_err screen_new(const struct cli *cli, struct screen **ret)
{
	CLEANUP(screen_freep) struct screen *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_memory();
	if (cli->globals.json)
		s->object = json_object();
	else
		s->text = scols_new_table();
	if (s->object == NULL && s->text == NULL)
		return err_memory();
	if (s->text != NULL) {
		scols_table_enable_noheadings(s->text, 1);
		scols_table_set_termforce(s->text, SCOLS_TERMFORCE_NEVER);
		scols_table_set_column_separator(s->text, "  ");
		for (int i = 0; i < 2; i++)
			if (scols_table_new_column(s->text, "", 0, 0) == NULL)
				return err_memory();
	}
	*ret = TAKE(s);
	return KT_OK;
}

static enum kt_err add_line(struct screen *screen, const char *label,
			    const char *value)
{
	struct libscols_line *line = scols_table_new_line(screen->text, NULL);

	if (line == NULL || scols_line_set_data(line, 0, label) != 0 ||
	    scols_line_set_data(line, 1, value) != 0)
		return err_memory();
	return KT_OK;
}

/* In lines that a terminal need not break: an attribute list is long. */
static enum kt_err add_words(struct screen *screen, const char *label,
			     const char *words)
{
	size_t len;

	do {
		CLEANUP(freep) char *line = NULL;

		len = text_fold(words, FOLD_WIDTH);
		line = strndup(words, len);
		if (line == NULL)
			return err_memory();
		TRY(add_line(screen, label, line));
		label = "";
		words += len + strspn(words + len, " ");
	} while (*words != '\0');
	return KT_OK;
}

/* A heading once, when another section begins. */
static enum kt_err begin_section(struct screen *screen, const char *name,
				 const char *heading)
{
	if (name == NULL || strcmp(screen->last, name) == 0)
		return KT_OK;
	snprintf(screen->last, sizeof(screen->last), "%s", name);
	return add_line(screen, heading, "");
}

static enum kt_err add_text(struct screen *screen, bool indented,
			    const struct column *columns, size_t count,
			    const void *row)
{
	struct cell cell;
	char label[CELL_MAX];

	for (size_t i = 0; i < count; i++) {
		snprintf(label, sizeof(label), "%s%s", indented ? "  " : "",
			 columns[i].title);
		read_cell(&columns[i], row, &cell);
		if (columns[i].type == COLUMN_WORDS)
			TRY(add_words(screen, label, shown(&cell)));
		else
			TRY(add_line(screen, label, shown(&cell)));
	}
	return KT_OK;
}

/* The member of this name, made when it is not there. */
static json_t *json_member(json_t *object, const char *name,
			   json_t *(*make)(void))
{
	json_t *at = json_object_get(object, name);

	if (at == NULL && json_object_set_new(object, name, make()) == 0)
		at = json_object_get(object, name);
	return at;
}

enum kt_err screen_add(struct screen *screen, const char *name,
		       const char *heading, const struct column *columns,
		       size_t count, const void *row)
{
	json_t *object = screen->object;

	if (screen->text != NULL) {
		TRY(begin_section(screen, name, heading));
		return add_text(screen, name != NULL, columns, count, row);
	}
	if (name != NULL)
		object = json_member(object, name, json_object);
	return object != NULL ? json_row(object, columns, count, row)
			      : err_memory();
}

enum kt_err screen_item(struct screen *screen, const char *name,
			const char *heading, const char *text)
{
	json_t *list;

	if (screen->text != NULL) {
		TRY(begin_section(screen, name, heading));
		return add_line(screen, "", text);
	}
	list = json_member(screen->object, name, json_array);
	if (list == NULL || json_array_append_new(list, json_text(text)) != 0)
		return err_memory();
	return KT_OK;
}

enum kt_err screen_print(struct screen *screen)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	FILE *out;
	bool failed;

	if (screen->text != NULL)
		return print_text(screen->text);
	out = open_memstream(&text, &len);
	if (out == NULL)
		return err_memory();
	failed = json_dumpf(screen->object, out, JSON_INDENT(2)) != 0 ||
		 fputc('\n', out) == EOF;
	if (fclose(out) != 0 || failed)
		return err_memory();
	return cli_write(text, len);
}

enum kt_err screen_show(const struct cli *cli, const struct column *columns,
			size_t count, const void *row)
{
	CLEANUP(screen_freep) struct screen *screen = NULL;

	TRY(screen_new(cli, &screen));
	TRY(screen_add(screen, NULL, NULL, columns, count, row));
	return screen_print(screen);
}
