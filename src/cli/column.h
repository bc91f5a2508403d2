/*
 * A column says where in a row its value stands; from one array of columns come
 * the text and the JSON of tables and screens. In JSON, numbers and booleans
 * are real, times are RFC 3339 and what has not happened is null.
 */
#ifndef CLI_COLUMN_H
#define CLI_COLUMN_H

#include <stddef.h>

enum column_type {
	COLUMN_CHARS,  /* char[]: the text itself is in the row */
	COLUMN_FOLDED, /* the same, folded between its words on a screen */
	COLUMN_TEXT,   /* const char *; NULL is "-" and null */
	COLUMN_INT,    /* int64_t */
	COLUMN_BOOL,   /* bool: yes and no, true and false */
	COLUMN_TIME,   /* int64_t seconds; 0 is "-" and null */
	COLUMN_ID,     /* struct kt_id; zero is "-" and null */
	COLUMN_HEX,    /* the same as 32 digits, as tools show a CKA_ID */
	COLUMN_WORD,   /* what word(row) says: names of enumerators */
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

#endif
