/*
 * Tables: a row a line, aligned under headings; with --json an array of
 * objects.
 *
 *	static const struct column columns[] = {
 *		{"name", "NAME", COLUMN_CHARS, PROJECT(name)},
 *		{"created", "CREATED", COLUMN_TIME, PROJECT(created)},
 *		{"state", "STATE", COLUMN_WORD, .word = project_state},
 *	};
 *
 *	static enum kt_err fill(struct kt_vault *vault, const void *arg,
 *	                        struct table *table)
 *	{
 *		return kt_project_list(vault, each, table); // table_add()
 *	}
 *
 *	return table_list(cli, columns, COLUMNS(columns), fill, NULL);
 */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H

#include "cli/cli.h"
#include "cli/column.h"

struct table;

/* columns: borrowed. Text or JSON by --json. */
enum kt_err table_new(const struct cli *cli, const struct column *columns,
		      size_t count, struct table **ret);
void table_free(struct table *table);
DEFINE_CLEANUP(struct table, table_free)

/* Copies what the columns name out of the row. */
enum kt_err table_add(struct table *table, const void *row);

/* To stdout: an aligned table, nothing at all when it is empty; with --json an
 * array of objects. */
enum kt_err table_print(struct table *table);

/* A whole listing of the vault: fill() adds the rows, by arg. A row that does
 * not verify (KT_ERR_INTEGRITY) hides none of those that fill() added. */
typedef enum kt_err table_fill(struct kt_vault *vault, const void *arg,
			       struct table *table);
enum kt_err table_list(struct cli *cli, const struct column *columns,
		       size_t count, table_fill *fill, const void *arg);

#endif
