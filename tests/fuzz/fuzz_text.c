/*
 * Numbers, durations, ids and hexadecimal, from one line of text.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"
#include "fuzz.h"

#define UNTOUCHED (-771177)
#define DAYS_MAX 100000000LL

static bool begins_as_number(const char *text)
{
	return strchr("+-0123456789", text[0]) != NULL && text[0] != '\0';
}

/* The digits behind the sign and leading zeros. */
static const char *digits(const char *text)
{
	if (text[0] == '+' || text[0] == '-')
		text++;
	while (text[0] == '0' && text[1] != '\0')
		text++;
	return text;
}

static void number(const char *text)
{
	long long value = UNTOUCHED, again, small = UNTOUCHED;
	char formatted[32];

	if (text_to_int(text, LLONG_MIN, LLONG_MAX, "n", &value) != KT_OK) {
		must(value == UNTOUCHED);
		return;
	}
	must(begins_as_number(text));
	snprintf(formatted, sizeof(formatted), "%lld", value);
	must(text_to_int(formatted, value, value, "n", &again) == KT_OK);
	must(again == value && strcmp(digits(formatted), digits(text)) == 0);
	must(value == 0 || (value < 0) == (text[0] == '-'));
	if (text_to_int(text, -9, 9, "n", &small) == KT_OK)
		must(small == value && value >= -9 && value <= 9);
	else
		must(small == UNTOUCHED && (value < -9 || value > 9));
}

static void duration(const char *text)
{
	long long value = UNTOUCHED, plain;
	size_t len = strlen(text);
	char cut[16];

	if (text_to_duration(text, "d", &value) != KT_OK) {
		must(value == UNTOUCHED);
		return;
	}
	must(begins_as_number(text) && len <= 10);
	must(value >= 0 && value <= DAYS_MAX * 86400);
	if (strcmp(text, "0") == 0) {
		must(value == 0);
		return;
	}
	memcpy(cut, text, len - 1);
	cut[len - 1] = '\0';
	must(text_to_int(cut, 0, DAYS_MAX, "d", &plain) == KT_OK);
	must(plain == 0 ? value == 0 : value % plain == 0);
	must(plain == 0 || strchr("smhd", text[len - 1]) != NULL);
}

static void id(const char *text)
{
	struct kt_id parsed, before;
	char formatted[KT_ID_TEXT_LEN + 1];

	memset(&parsed, 0xa5, sizeof(parsed));
	before = parsed;
	if (kt_id_parse(text, &parsed) != KT_OK) {
		must(id_equal(&parsed, &before));
		return;
	}
	kt_id_format(&parsed, formatted);
	must(strcasecmp(formatted, text) == 0);
}

static void hex(const char *text)
{
	size_t len = strlen(text) / 2;
	CLEANUP(freep) uint8_t *bytes = calloc(1, len + 1);
	CLEANUP(freep) char *again = calloc(1, 2 * len + 1);

	must(bytes != NULL && again != NULL);
	memset(bytes, 0xa5, len + 1);
	must(!hex_decode(text, bytes, len + 1));
	if (hex_decode(text, bytes, len)) {
		hex_encode(bytes, len, again);
		must(strcasecmp(again, text) == 0);
		must(bytes[len] == 0xa5);
		return;
	}
	for (size_t i = 0; i <= len; i++)
		must(bytes[i] == 0xa5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	CLEANUP(freep) char *text = input_text(&input);

	number(text);
	duration(text);
	id(text);
	hex(text);
	return 0;
}
