/*
 * The dotenv format: KEY=VALUE, `export ` before it, comments, 'literal' and
 * "escaped" values over several lines.
 */
#ifndef CLI_IMPORT_DOTENV_H
#define CLI_IMPORT_DOTENV_H

#include "cli/import_set.h"

/* file is the name for messages. KT_ERR_USAGE "FILE:LINE: ...", never with a
 * byte of a value. */
enum kt_err import_dotenv(const char *file, const struct kt_secret *text,
			  struct import_set *ret);

#endif
