/*
 * The text of a configuration file: where its keys stand, and that it hides
 * none.
 */
#ifndef CLI_CONFIG_SOURCE_H
#define CLI_CONFIG_SOURCE_H

#include <stddef.h>

#include "base/err.h"

struct config_source {
	const char *name, *text; /* borrowed */
	size_t len;
};

/* The line after this one; NULL behind the last. */
const char *source_next_line(const struct config_source *source,
			     const char *line);

/* The number of the first line from line `from` on that gives the key; from
 * when none does. */
unsigned long source_find_key(const struct config_source *source,
			      const char *key, unsigned long from);

/* KT_ERR_CONFIG: a line break that is not a newline, or UTF-16. */
enum kt_err source_require_plain_lines(const struct config_source *source);

/* KT_ERR_CONFIG: a second document. For text that is YAML. */
enum kt_err source_require_one_document(const struct config_source *source);

#endif
