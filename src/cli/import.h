/*
 * Files of values (dotenv, JSON) read into items for kt_secret_import(). The
 * input and every value stay on the secure heap; an error says the place in
 * the file and never repeats a byte of a value.
 */
#ifndef CLI_IMPORT_H
#define CLI_IMPORT_H

#include "cli/import_set.h"

/* One byte less than a power of two: the secure heap rounds up to one. */
#define IMPORT_BYTES_MAX ((16 << 20) - 1)

enum import_format {
	IMPORT_BY_NAME, /* .json, or .env and .env.SOMETHING */
	IMPORT_DOTENV,
	IMPORT_JSON,
};

/* Reads path ("-": standard input) as a whole. KT_ERR_USAGE "FILE:LINE: ..."
 * for what it does not take: syntax, a name or value out of bounds, a name
 * twice, no value at all. */
enum kt_err import_load(const char *path, enum import_format format,
			struct import_set *ret);

#endif
