/*
 * Inside of tables and screens: the value that a column names in a row, as text
 * for libsmartcols or as a JSON value for jansson.
 */
#ifndef CLI_CELL_H
#define CLI_CELL_H

#include <jansson.h>
#include <libsmartcols.h>

#include "base/err.h"
#include "cli/column.h"

#define CELL_MAX 64

/* What a cell holds: text (NULL: none), or a number or boolean of the row. */
struct cell {
	const char *text;
	int64_t number;
	char room[CELL_MAX];
};

void cell_read(const struct column *column, const void *row, struct cell *cell);

/* "-" stands for nothing, so that a column can always be cut out. */
const char *cell_shown(const struct cell *cell);

/* What a token calls itself need not be UTF-8, JSON must be. */
json_t *cell_json_text(const char *text);

/* Sets a member of the object for each column. */
enum kt_err cells_json(json_t *object, const struct column *columns,
		       size_t count, const void *row);

/* Writes the lines, without the padding at their ends, to stdout. */
enum kt_err cells_print(struct libscols_table *text);

#endif
