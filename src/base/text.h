/*
 * Text in fixed room. Nothing is cut silently: what does not fit is an error.
 */
#ifndef BASE_TEXT_H
#define BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Formats into ret; KT_ERR_USAGE when it does not fit. */
enum kt_err text_format(char *ret, size_t size, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Copies; KT_ERR_USAGE "what is too long" when it does not fit. */
enum kt_err text_copy(char *ret, size_t size, const char *text,
		      const char *what);

/* Copies what fits, for text that is only shown. Never fails. */
void text_cut(char *ret, size_t size, const char *text);

/* Copies a fixed-width field without its trailing spaces (PKCS#11, 2.40
 * section 3.2); size is at least width + 1. */
void text_unpad(char *ret, size_t size, const unsigned char *field,
		size_t width);

/* A count with its noun: text_counted(n, "row", "rows").text is "1 row" or "2
 * rows". One and many are short and may have a verb: "row is", "rows are". */
struct text_counted {
	char text[64];
};

struct text_counted text_counted(int64_t n, const char *one, const char *many);

/* How many bytes of the text fit into a line of this width, broken at a blank;
 * a word that is longer stays whole. */
size_t text_fold(const char *text, size_t width);

/* The next word of a text, which *at passes then; words have spaces between
 * them. False at the end, and for a word that ret has no room for. */
bool text_word(const char **at, char *ret, size_t size);

/* A whole decimal number within [min, max]. */
bool text_read_int(const char *text, long long min, long long max,
		   long long *ret);

/* The same for what a person wrote; KT_ERR_USAGE. */
enum kt_err text_to_int(const char *text, long long min, long long max,
			const char *what, long long *ret);

/* "90s", "15m", "24h", "30d"; seconds. 0 needs no unit. */
enum kt_err text_to_duration(const char *text, const char *what,
			     long long *ret);

#endif
