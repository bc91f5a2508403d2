/*
 * "Did you mean": the nearest of the words that could have been meant.
 */
#ifndef CLI_SUGGEST_H
#define CLI_SUGGEST_H

#include <stddef.h>

struct suggest {
	const char *word; /* as typed */
	const char *best; /* NULL while nothing is near enough */
	size_t distance;
};

/* Offers a candidate; borrowed while the suggestion is used. */
void suggest_offer(struct suggest *suggest, const char *candidate);

/* " (did you mean 'WORD'?)" or "". */
void suggest_text(const struct suggest *suggest, char *ret, size_t size);

#endif
