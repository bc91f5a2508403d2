/*
 * Distance of words: Damerau's and Levenshtein's, in its restricted form
 * (insert, delete, replace, swap neighbours).
 */
#include "cli/suggest.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define WORD_MAX 48

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
	size_t cost[WORD_MAX + 1][WORD_MAX + 1];

	for (size_t i = 0; i <= a_len; i++) {
		for (size_t j = 0; j <= b_len; j++) {
			if (i == 0 || j == 0) {
				cost[i][j] = i + j;
				continue;
			}
			cost[i][j] = least(cost[i - 1][j], cost[i][j - 1]) + 1;
			cost[i][j] = least(cost[i][j],
					   cost[i - 1][j - 1] +
						   (a[i - 1] != b[j - 1]));
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] &&
			    a[i - 2] == b[j - 1])
				cost[i][j] = least(cost[i][j],
						   cost[i - 2][j - 2] + 1);
		}
	}
	return cost[a_len][b_len];
}

/* A third of a word may be wrong, and at least one letter. */
static bool near_enough(size_t found, size_t len)
{
	return found <= (len < 6 ? 1 + (len > 3) : len / 3);
}

void suggest_offer(struct suggest *suggest, const char *candidate)
{
	size_t len = strlen(suggest->word);
	size_t candidate_len = strlen(candidate);
	size_t found;

	if (len > WORD_MAX || candidate_len > WORD_MAX)
		return;
	found = distance(suggest->word, len, candidate, candidate_len);
	if (!near_enough(found, len))
		return;
	if (suggest->best != NULL && found >= suggest->distance)
		return;
	suggest->best = candidate;
	suggest->distance = found;
}

void suggest_text(const struct suggest *suggest, char *ret, size_t size)
{
	ret[0] = '\0';
	if (suggest->best != NULL)
		snprintf(ret, size, " (did you mean '%s'?)", suggest->best);
}
