/*
 * Tables and screens. A column says where in a row its value stands; from one
 * array of columns come the text (libsmartcols) and the JSON, where numbers
 * and booleans are real, times are RFC 3339 and what has not happened is null.
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

enum column_type {
	COLUMN_CHARS, /* char[]: the text itself is in the row */
	COLUMN_WORDS, /* the same, folded between its words on a screen */
	COLUMN_TEXT,  /* const char *; NULL is "-" and null */
	COLUMN_INT,   /* int64_t */
	COLUMN_BOOL,  /* bool: yes and no, true and false */
	COLUMN_TIME,  /* int64_t seconds; 0 is "-" and null */
	COLUMN_ID,    /* struct kt_id; zero is "-" and null */
	COLUMN_HEX,   /* the same as 32 digits, as tools show a CKA_ID */
	COLUMN_WORD,  /* what word(row) says: names of enumerators */
};

struct column {
	const char *name;  /* member of the JSON object: "old_version" */
	const char *title; /* heading, or label of a screen; NULL in a table:
			    * in JSON alone, for a line to stay a line */
	enum column_type type;
	size_t offset;
	const char *(*word)(const void *row); /* static text, or NULL */
};

#define COLUMNS(array) (sizeof(array) / sizeof((array)[0]))

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

/*
 * A screen is one thing at length: "Label  value" lines, in sections; with
 * --json one object, whose sections are objects and whose lists are arrays.
 */
struct screen;

enum kt_err screen_new(const struct cli *cli, struct screen **ret);
void screen_free(struct screen *screen);
DEFINE_CLEANUP(struct screen, screen_free)

/* Members of the object itself go in with name NULL; else of its member name,
 * under a heading in the text. */
enum kt_err screen_add(struct screen *screen, const char *name,
		       const char *heading, const struct column *columns,
		       size_t count, const void *row);

/* One more line of the list name, under a heading in the text. */
enum kt_err screen_item(struct screen *screen, const char *name,
			const char *heading, const char *text);

enum kt_err screen_print(struct screen *screen);

/* A screen of one section without a name. */
enum kt_err screen_show(const struct cli *cli, const struct column *columns,
			size_t count, const void *row);

#endif
