/*
 * The JSON reader. jansson quotes short tokens in its messages, and a token may
 * be a secret: only its error code and place are used here.
 */
#include "cli/import_json.h"

#include <string.h>

#include <jansson.h>

#include "base/cleanup.h"
#include "base/err.h"

static void json_freep(json_t **held)
{
	json_decref(*held);
}

static const char *json_fault(enum json_error_code code)
{
	switch (code) {
	case json_error_duplicate_key:
		return "a name stands twice";
	case json_error_invalid_utf8:
		return "not UTF-8";
	case json_error_premature_end_of_input:
		return "the file ends too early";
	case json_error_end_of_input_expected:
		return "text after the end of the object";
	case json_error_null_character:
		return "a NUL byte in a value";
	case json_error_null_byte_in_key:
		return "a NUL byte in a name";
	case json_error_stack_overflow:
		return "nested too deeply";
	case json_error_numeric_overflow:
		return "a number out of range";
	case json_error_out_of_memory:
		return "no secure memory left";
	case json_error_unknown:
	case json_error_cannot_open_file:
	case json_error_invalid_argument:
	case json_error_invalid_syntax:
	case json_error_invalid_format:
	case json_error_wrong_type:
	case json_error_null_value:
	case json_error_item_not_found:
	case json_error_index_out_of_range:
		break;
	}
	return "not valid JSON";
}

static const char *json_kind(const json_t *value)
{
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		return "an object";
	case JSON_ARRAY:
		return "an array";
	case JSON_INTEGER:
	case JSON_REAL:
		return "a number";
	case JSON_TRUE:
	case JSON_FALSE:
		return "a boolean";
	case JSON_NULL:
		return "null";
	case JSON_STRING:
		break;
	}
	return "a string";
}

/* The rule of <keyturn/secret.h>, so that a dry run says what the vault
 * would say. */
static bool name_is_usable(const char *name)
{
	return name[0] != '\0' && strchr("-./", name[0]) == NULL &&
	       name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "abcdefghijklmnopqrstuvwxyz"
				 "0123456789._/-")] == '\0';
}

static enum kt_err add_json(struct import_set *set, const char *file,
			    const char *name, const json_t *value)
{
	CLEANUP(kt_secret_done) struct kt_secret copy = {0};

	if (!name_is_usable(name))
		return err_raise(KT_ERR_USAGE,
				 "%s: '%s' is not a name for a secret", file,
				 name);
	if (!json_is_string(value))
		return err_raise(KT_ERR_USAGE,
				 "%s: the value of '%s' is %s, not a string",
				 file, name, json_kind(value));
	TRY(kt_secret_copy(json_string_value(value), json_string_length(value),
			   &copy));
	return import_add(set, file, 0, name, &copy);
}

enum kt_err import_json(const char *file, const struct kt_secret *text,
			struct import_set *ret)
{
	CLEANUP(import_done) struct import_set set = {0};
	CLEANUP(json_freep) json_t *root = NULL;
	json_error_t error;
	const char *name;
	json_t *value;

	root = json_loadb((const char *)text->data, text->len,
			  JSON_REJECT_DUPLICATES, &error);
	if (root == NULL)
		return err_raise(KT_ERR_USAGE, "%s:%d:%d: %s", file, error.line,
				 error.column,
				 json_fault(json_error_code(&error)));
	if (!json_is_object(root))
		return err_raise(KT_ERR_USAGE,
				 "%s: %s, not an object of "
				 "strings",
				 file, json_kind(root));
	json_object_foreach(root, name, value)
		TRY(add_json(&set, file, name, value));
	*ret = set;
	set = (struct import_set){0};
	return KT_OK;
}
