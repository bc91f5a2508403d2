/*
 * A configuration file as lines. libcyaml says of most things not where they
 * stand, and passes over in silence what would hide a key.
 */
#include "cli/config_source.h"

#include <stdbool.h>
#include <string.h>

const char *source_next_line(const struct config_source *source,
			     const char *line)
{
	const char *end = source->text + source->len;
	const char *newline = memchr(line, '\n', (size_t)(end - line));

	return newline != NULL && newline + 1 < end ? newline + 1 : NULL;
}

/* This line gives this key. */
static bool line_has_key(const struct config_source *source, const char *line,
			 const char *key)
{
	size_t left = source->len - (size_t)(line - source->text);
	size_t len = strlen(key);

	while (left > 0 && (*line == ' ' || *line == '"' || *line == '\'')) {
		line++;
		left--;
	}
	if (left <= len || memcmp(line, key, len) != 0)
		return false;
	return strchr(": \"'", line[len]) != NULL;
}

unsigned long source_find_key(const struct config_source *source,
			      const char *key, unsigned long from)
{
	unsigned long number = 1;

	for (const char *line = source->text; line != NULL;
	     line = source_next_line(source, line)) {
		if (number >= from && line_has_key(source, line, key))
			return number;
		number++;
	}
	return from;
}

/* libyaml ends a line at other breaks too. Behind them a key, or a document,
 * would stand where neither we nor an editor see one. */
enum kt_err source_require_plain_lines(const struct config_source *source)
{
	static const char *const breaks[] = {"\xc2\x85", "\xe2\x80\xa8",
					     "\xe2\x80\xa9"};
	const char *end = source->text + source->len;
	bool plain = true;

	for (const char *at = source->text; plain && at < end; at++)
		plain = *at != '\r' || (at + 1 < end && at[1] == '\n');
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		plain = plain && memmem(source->text, source->len, breaks[i],
					strlen(breaks[i])) == NULL;
	if (source->len >= 2 && (memcmp(source->text, "\xff\xfe", 2) == 0 ||
				 memcmp(source->text, "\xfe\xff", 2) == 0))
		return err_raise(KT_ERR_CONFIG, "%s: UTF-16, not UTF-8",
				 source->name);
	if (!plain)
		return err_raise(KT_ERR_CONFIG,
				 "%s: a line break that is not a newline",
				 source->name);
	return KT_OK;
}

/* More than blanks and a comment. */
static bool has_content(const struct config_source *source, const char *line)
{
	const char *end = source->text + source->len;

	while (line < end && (*line == ' ' || *line == '\t' || *line == '\r'))
		line++;
	return line < end && *line != '\n' && *line != '#';
}

enum kt_err source_require_one_document(const struct config_source *source)
{
	unsigned long number = 1;
	bool content = false;

	for (const char *line = source->text; line != NULL;
	     line = source_next_line(source, line)) {
		size_t left = source->len - (size_t)(line - source->text);

		if (left >= 3 && content &&
		    (memcmp(line, "---", 3) == 0 ||
		     memcmp(line, "...", 3) == 0))
			return err_raise(KT_ERR_CONFIG,
					 "%s:%lu: a second document",
					 source->name, number);
		content = content || has_content(source, line);
		number++;
	}
	return KT_OK;
}
