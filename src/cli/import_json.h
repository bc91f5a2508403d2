/*
 * The JSON format: one flat object (RFC 8259) whose values are strings.
 */
#ifndef CLI_IMPORT_JSON_H
#define CLI_IMPORT_JSON_H

#include "cli/import_set.h"

/* file is the name for messages. KT_ERR_USAGE, never with a byte of a
 * value. */
enum kt_err import_json(const char *file, const struct kt_secret *text,
			struct import_set *ret);

#endif
