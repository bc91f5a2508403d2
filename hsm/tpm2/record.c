/*
 * Writing and reading records.
 */
#include "hsm/tpm2/record.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/text.h"

void record_done(struct record *record)
{
	free(record->text);
	*record = (struct record){0};
}

/* Room for more characters and a NUL. */
static bool room_for(struct record *record, size_t more)
{
	size_t size = record->size > 0 ? record->size : 256;
	char *text;

	if (record->failed || more > RECORD_MAX - record->len)
		return false;
	while (size < record->len + more + 1)
		size *= 2;
	if (size == record->size)
		return true;
	text = realloc(record->text, size);
	if (text == NULL)
		return false;
	record->text = text;
	record->size = size;
	return true;
}

static void put(struct record *record, const char *name, const char *value)
{
	size_t len = strlen(name) + 1 + strlen(value) + 1;

	if (!room_for(record, len)) {
		record->failed = true;
		return;
	}
	snprintf(record->text + record->len, len + 1, "%s %s\n", name, value);
	record->len += len;
}

void record_put_number(struct record *record, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	put(record, name, text);
}

void record_put_bytes(struct record *record, const char *name,
		      struct span value)
{
	CLEANUP(freep) char *text = malloc(2 * value.len + 1);

	if (text == NULL) {
		record->failed = true;
		return;
	}
	hex_encode(value.data, value.len, text);
	put(record, name, text);
}

CK_RV record_check(const struct record *record)
{
	return record->failed ? rv_memory() : CKR_OK;
}

CK_RV record_parse(const void *text, size_t len, struct record *ret)
{
	CLEANUP(record_done) struct record record = {0};

	if (len > RECORD_MAX || !room_for(&record, len))
		return rv_memory();
	memcpy(record.text, text, len);
	record.text[len] = '\0';
	record.len = len;
	if (strlen(record.text) != len || len == 0 ||
	    record.text[len - 1] != '\n')
		record.failed = true;
	for (size_t i = 0; i < len; i++)
		record.lines += record.text[i] == '\n';
	*ret = record;
	record = (struct record){0};
	return CKR_OK;
}

/* The value of the one line with this name, and its length; NULL else. */
static const char *find(struct record *record, const char *name, size_t *ret)
{
	size_t name_len = strlen(name);
	const char *found = NULL, *end;

	for (const char *at = record->text; at != NULL && *at != '\0';
	     at = end + 1) {
		end = strchr(at, '\n');
		if (end == NULL)
			break;
		if (strncmp(at, name, name_len) != 0 || at[name_len] != ' ')
			continue;
		record->failed |= found != NULL;
		found = at + name_len + 1;
		*ret = (size_t)(end - found);
	}
	record->read++;
	record->failed |= found == NULL;
	return record->failed ? NULL : found;
}

uint64_t record_number(struct record *record, const char *name)
{
	size_t len = 0;
	const char *text = find(record, name, &len);
	long long value = 0;
	char digits[24];

	if (text == NULL || len >= sizeof(digits)) {
		record->failed = true;
		return 0;
	}
	memcpy(digits, text, len);
	digits[len] = '\0';
	if (text_to_int(digits, 0, INT64_MAX, name, &value) != KT_OK)
		record->failed = true;
	return (uint64_t)value;
}

size_t record_bytes(struct record *record, const char *name, uint8_t *ret,
		    size_t max)
{
	CLEANUP(freep) char *digits = NULL;
	size_t len = 0;
	const char *text = find(record, name, &len);

	if (text != NULL)
		digits = strndup(text, len);
	if (digits == NULL || len % 2 != 0 || len / 2 > max ||
	    !hex_decode(digits, ret, len / 2)) {
		record->failed = true;
		return 0;
	}
	return len / 2;
}

void record_exact(struct record *record, const char *name, void *ret,
		  size_t len)
{
	if (record_bytes(record, name, ret, len) != len)
		record->failed = true;
}

CK_RV record_end(const struct record *record, const char *what)
{
	if (record->failed || record->read != record->lines)
		return rv_raise(CKR_DEVICE_ERROR, "%s is damaged", what);
	return CKR_OK;
}
