/*
 * Parsing and copying of text with bounds.
 */
#include "base/text.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kt_err text_format(char *ret, size_t size, const char *format, ...)
{
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(ret, size, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= size)
		return err_raise(KT_ERR_USAGE, "text too long (%d bytes)", n);
	return KT_OK;
}

enum kt_err text_copy(char *ret, size_t size, const char *text,
		      const char *what)
{
	size_t len = strlen(text);

	if (len >= size)
		return err_raise(KT_ERR_USAGE,
				 "%s is too long (%zu bytes, at most %zu)",
				 what, len, size - 1);
	memcpy(ret, text, len + 1);
	return KT_OK;
}

void text_cut(char *ret, size_t size, const char *text)
{
	snprintf(ret, size, "%s", text);
}

void text_unpad(char *ret, size_t size, const unsigned char *field,
		size_t width)
{
	while (width > 0 && (field[width - 1] == ' ' || field[width - 1] == 0))
		width--;
	if (width >= size)
		width = size - 1;
	memcpy(ret, field, width);
	ret[width] = '\0';
}

size_t text_fold(const char *text, size_t width)
{
	size_t at = width;

	if (strlen(text) <= width)
		return strlen(text);
	while (at > 0 && text[at] != ' ')
		at--;
	return at > 0 ? at : strcspn(text, " ");
}

struct text_counted text_counted(int64_t n, const char *one, const char *many)
{
	struct text_counted ret;

	snprintf(ret.text, sizeof(ret.text), "%lld %s", (long long)n,
		 n == 1 ? one : many);
	return ret;
}

bool text_word(const char **at, char *ret, size_t size)
{
	const char *word = *at + strspn(*at, " ");
	size_t len = strcspn(word, " ");

	if (len == 0 || len >= size)
		return false;
	memcpy(ret, word, len);
	ret[len] = '\0';
	*at = word + len;
	return true;
}

bool text_read_int(const char *text, long long min, long long max,
		   long long *ret)
{
	char *end;
	long long value;

	errno = 0;
	value = strtoll(text, &end, 10);
	/* strtoll(3) passes over any white space. */
	if (end == text || *end != '\0' || errno != 0 ||
	    strchr("+-0123456789", text[0]) == NULL || value < min ||
	    value > max)
		return false;
	*ret = value;
	return true;
}

enum kt_err text_to_int(const char *text, long long min, long long max,
			const char *what, long long *ret)
{
	long long value;

	if (!text_read_int(text, LLONG_MIN, LLONG_MAX, &value))
		return err_raise(KT_ERR_USAGE, "%s: '%s' is not a whole number",
				 what, text);
	if (value < min || value > max)
		return err_raise(KT_ERR_USAGE,
				 "%s: %lld is not between %lld and %lld", what,
				 value, min, max);
	*ret = value;
	return KT_OK;
}

static long long unit_seconds(char unit)
{
	switch (unit) {
	case 's':
		return 1;
	case 'm':
		return 60;
	case 'h':
		return 3600;
	case 'd':
		return 86400;
	default:
		return 0;
	}
}

static enum kt_err not_a_duration(const char *text, const char *what)
{
	return err_raise(KT_ERR_USAGE,
			 "%s: '%s' is not a duration like 90s, 15m, 24h or 30d",
			 what, text);
}

enum kt_err text_to_duration(const char *text, const char *what, long long *ret)
{
	char number[16];
	size_t len = strlen(text);
	long long unit = len > 1 ? unit_seconds(text[len - 1]) : 0;
	long long value;

	if (strcmp(text, "0") == 0) {
		*ret = 0;
		return KT_OK;
	}
	if (unit == 0 || len > 10)
		return not_a_duration(text, what);
	memcpy(number, text, len - 1);
	number[len - 1] = '\0';
	if (text_to_int(number, 0, 100000000, what, &value) != KT_OK)
		return not_a_duration(text, what);
	*ret = value * unit;
	return KT_OK;
}
