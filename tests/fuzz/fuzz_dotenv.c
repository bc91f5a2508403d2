/*
 * The dotenv reader. Values written in double quotes and read again are the
 * same; no byte that can only be a value's ('~' is in no name and in no
 * message) gets into an error.
 */
#include <stdio.h>
#include <string.h>

#include "cli/import_dotenv.h"
#include "import_set.h"

static void put_value(FILE *out, const struct kt_secret *value)
{
	for (size_t i = 0; i < value->len; i++) {
		if (strchr("\"\\$", value->data[i]) != NULL)
			fputc('\\', out);
		fputc(value->data[i], out);
	}
}

static void written_and_read(const struct import_set *set)
{
	CLEANUP(import_done) struct import_set again = {0};
	CLEANUP(freep) char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	must(out != NULL);
	for (size_t i = 0; i < set->count; i++) {
		fprintf(out, "%s=\"", set->items[i].name);
		put_value(out, &set->items[i].value);
		fputs("\"\n", out);
	}
	must(fclose(out) == 0);
	must(import_bytes(import_dotenv, text, len, &again) == KT_OK);
	must_be_equal(set, &again);
}

static size_t lines_of(const uint8_t *data, size_t size)
{
	size_t lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	return lines;
}

static void well_formed(const struct import_set *set, size_t lines)
{
	size_t last = 0;

	must_be_importable(set);
	for (size_t i = 0; i < set->count; i++) {
		must(strpbrk(set->items[i].name, "~=/") == NULL);
		must(set->lines[i] > last && set->lines[i] <= lines);
		last = set->lines[i];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(import_done) struct import_set set = {0};

	if (import_bytes(import_dotenv, data, size, &set) != KT_OK) {
		must(error_lacks("~"));
		return 0;
	}
	well_formed(&set, lines_of(data, size));
	written_and_read(&set);
	return 0;
}
