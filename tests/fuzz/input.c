/*
 * How targets take their input apart, and how they fail.
 */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Noreturn void fuzz_fail(const char *claim, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, claim);
	fprintf(stderr, "last error: %s\nlast hint: %s\n", kt_err_detail(),
		kt_err_hint());
	abort();
}

uint8_t input_u8(struct input *input)
{
	if (input->left == 0)
		return 0;
	input->left--;
	return *input->at++;
}

uint32_t input_u32(struct input *input)
{
	uint32_t value = 0;

	for (int i = 0; i < 4; i++)
		value = value << 8 | input_u8(input);
	return value;
}

char *input_take(struct input *input, size_t len, size_t *ret_len)
{
	size_t taken = len < input->left ? len : input->left;
	char *copy = malloc(taken + 1);

	must(copy != NULL);
	if (taken > 0)
		memcpy(copy, input->at, taken);
	copy[taken] = '\0';
	input->at += taken;
	input->left -= taken;
	*ret_len = taken;
	return copy;
}

/* Again in no more room than it needs. */
static char *up_to_nul(char *bytes)
{
	char *text = strdup(bytes);

	must(text != NULL);
	free(bytes);
	return text;
}

char *input_line(struct input *input)
{
	const uint8_t *end = NULL;
	size_t len = input->left;
	char *line;

	if (len > 0)
		end = memchr(input->at, '\n', len);
	if (end != NULL)
		len = (size_t)(end - input->at);
	line = input_take(input, len, &len);
	(void)input_u8(input);
	return up_to_nul(line);
}

char *input_text(struct input *input)
{
	size_t len;

	return up_to_nul(input_take(input, input->left, &len));
}

static bool is_clean(const char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return false;
	}
	return true;
}

bool error_lacks(const char *text)
{
	return is_clean(kt_err_detail()) && is_clean(kt_err_hint()) &&
	       strstr(kt_err_detail(), text) == NULL &&
	       strstr(kt_err_hint(), text) == NULL;
}
