/*
 * A cell is made once, from its column, for both forms of output.
 */
#include "cli/cell.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/cli.h"

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

void cell_read(const struct column *column, const void *row, struct cell *cell)
{
	const void *at = member(column, row);

	*cell = (struct cell){0};
	switch (column->type) {
	case COLUMN_CHARS:
	case COLUMN_FOLDED:
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

const char *cell_shown(const struct cell *cell)
{
	return cell->text != NULL && cell->text[0] != '\0' ? cell->text : "-";
}

json_t *cell_json_text(const char *text)
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
	return cell->text != NULL ? cell_json_text(cell->text) : json_null();
}

enum kt_err cells_json(json_t *object, const struct column *columns,
		       size_t count, const void *row)
{
	struct cell cell;

	for (size_t i = 0; i < count; i++) {
		cell_read(&columns[i], row, &cell);
		if (json_object_set_new(object, columns[i].name,
					json_cell(&columns[i], &cell)) != 0)
			return err_memory();
	}
	return KT_OK;
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

enum kt_err cells_print(struct libscols_table *text)
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
