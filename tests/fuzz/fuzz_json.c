/*
 * The JSON reader. It accepts what jansson and the rules for names do; what is
 * accepted and written by jansson reads the same; and when every string of a
 * text is a mark, no error shows it, wherever the text is broken.
 */
#include <string.h>

#include <jansson.h>

#include "cli/import_json.h"
#include "core/names.h"
#include "import_set.h"

#define MARK "hunter" /* one token to jansson, even without quotes */

static void json_freep(json_t **held)
{
	json_decref(*held);
}

static bool acceptable(const uint8_t *data, size_t size)
{
	CLEANUP(json_freep)
	json_t *root = json_loadb((const char *)data, size,
				  JSON_REJECT_DUPLICATES, NULL);
	const char *name;
	json_t *value;

	if (!json_is_object(root))
		return false;
	json_object_foreach(root, name, value)
	{
		if (!json_is_string(value) ||
		    json_string_length(value) > KT_VALUE_MAX ||
		    secret_name_check(name) != KT_OK)
			return false;
	}
	return true;
}

static void written_and_read(const struct import_set *set)
{
	CLEANUP(import_done) struct import_set again = {0};
	CLEANUP(json_freep) json_t *root = json_object();
	CLEANUP(freep) char *text = NULL;

	for (size_t i = 0; i < set->count; i++) {
		const struct kt_secret *value = &set->items[i].value;

		must(json_object_set_new(root, set->items[i].name,
					 json_stringn((const char *)value->data,
						      value->len)) == 0);
	}
	must(json_object_size(root) == set->count);
	text = json_dumps(root, JSON_COMPACT);
	must(text != NULL);
	must(import_bytes(import_json, text, strlen(text), &again) == KT_OK);
	must_be_equal(set, &again);
}

/* A mark for each string that is a value, at any depth. */
static json_t *marked(json_t *value)
{
	json_t *copy, *member;
	const char *name;
	size_t i;

	if (json_is_string(value))
		return json_string(MARK);
	if (json_is_object(value)) {
		copy = json_object();
		json_object_foreach(value, name, member)
			json_object_set_new(copy, name, marked(member));
		return copy;
	}
	if (!json_is_array(value))
		return json_incref(value);
	copy = json_array();
	json_array_foreach(value, i, member)
		json_array_append_new(copy, marked(member));
	return copy;
}

/* Whole, cut off, and with one byte of it changed. */
static void must_not_show(struct input *input, char *text)
{
	CLEANUP(import_done) struct import_set whole = {0};
	CLEANUP(import_done) struct import_set broken = {0};
	CLEANUP(import_done) struct import_set cut = {0};
	size_t len = strlen(text);
	size_t at = input_u32(input) % (len + 1);

	if (import_bytes(import_json, text, len, &whole) != KT_OK)
		must(error_lacks(MARK));
	if (import_bytes(import_json, text, at, &cut) != KT_OK)
		must(error_lacks(MARK));
	if (at < len)
		text[at] = (char)input_u8(input);
	if (import_bytes(import_json, text, len, &broken) != KT_OK)
		must(error_lacks(MARK));
}

static void with_marks(const uint8_t *data, size_t size)
{
	struct input end = {data + size - (size < 5 ? size : 5),
			    size < 5 ? size : 5};
	CLEANUP(json_freep)
	json_t *root = json_loadb((const char *)data, size, 0, NULL);
	CLEANUP(json_freep) json_t *copy = NULL;
	CLEANUP(freep) char *text = NULL;

	if (root == NULL)
		return;
	copy = marked(root);
	text = json_dumps(copy, JSON_COMPACT);
	must(text != NULL);
	must_not_show(&end, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(import_done) struct import_set set = {0};

	if (import_bytes(import_json, data, size, &set) == KT_OK) {
		must(acceptable(data, size));
		must_be_importable(&set);
		written_and_read(&set);
	} else {
		must(error_lacks("\n"));
		must(!acceptable(data, size));
	}
	if (size == 0 || memmem(data, size, MARK, strlen(MARK)) == NULL)
		with_marks(data, size);
	return 0;
}
