/*
 * Files of values (dotenv, JSON) read into items for kt_secret_import(). The
 * input and every value stay on the secure heap; an error says the place in
 * the file and never repeats a byte of a value.
 */
#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include <keyturn/secret.h>

/* One byte less than a power of two: the secure heap rounds up to one. */
#define IMPORT_BYTES_MAX ((16 << 20) - 1)
#define IMPORT_ITEMS_MAX 100000

enum import_format {
	IMPORT_BY_NAME, /* .json, or .env and .env.SOMETHING */
	IMPORT_DOTENV,
	IMPORT_JSON,
};

/* In the order of the file. Zeroed is empty. */
struct import_set {
	struct kt_import_item *items;
	size_t *lines; /* of each item; 0 where the format has none */
	size_t count, room;
};

/* Wipes and frees; leaves an empty set. */
void import_done(struct import_set *set);

/* Reads path ("-": standard input) as a whole. KT_ERR_USAGE "FILE:LINE: ..."
 * for what it does not take: syntax, a name or value out of bounds, a name
 * twice, no value at all. */
enum kt_err import_load(const char *path, enum import_format format,
			struct import_set *ret);

/* Dotenv: KEY=VALUE, `export ` before it, comments, 'literal' and "escaped"
 * values over several lines. file is the name for messages. */
enum kt_err import_dotenv(const char *file, const struct kt_secret *text,
			  struct import_set *ret);

/* One flat JSON object (RFC 8259) whose values are strings. */
enum kt_err import_json(const char *file, const struct kt_secret *text,
			struct import_set *ret);

/* Adds a value to the set and takes it from the caller; value is empty then.
 * line 0: the format has no lines. */
enum kt_err import_add(struct import_set *set, const char *file, size_t line,
		       const char *name, struct kt_secret *value);

#endif
