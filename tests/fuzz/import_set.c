/*
 * Sets of imported values: reading and comparing them.
 */
#include "import_set.h"

#include <string.h>

#include "base/secret.h"
#include "core/names.h"

enum kt_err import_bytes(import_reader *read, const void *data, size_t len,
			 struct import_set *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	enum kt_err err;

	must(kt_secret_copy(data, len, &text) == KT_OK);
	err = read("file", &text, ret);
	if (err == KT_OK)
		return KT_OK;
	must(err == KT_ERR_USAGE);
	must(strncmp(kt_err_detail(), "file:", 5) == 0);
	must(ret->items == NULL && ret->lines == NULL);
	must(ret->count == 0 && ret->room == 0);
	return err;
}

static int compare_names(const void *a, const void *b)
{
	const char *const *left = a, *const *right = b;

	return strcmp(*left, *right);
}

void must_be_importable(const struct import_set *set)
{
	CLEANUP(freep)
	const char **names = calloc(set->count + 1, sizeof(*names));

	must(names != NULL);
	for (size_t i = 0; i < set->count; i++) {
		names[i] = set->items[i].name;
		must(secret_name_check(names[i]) == KT_OK);
		must(set->items[i].value.len <= KT_VALUE_MAX);
	}
	qsort(names, set->count, sizeof(*names), compare_names);
	for (size_t i = 1; i < set->count; i++)
		must(strcmp(names[i - 1], names[i]) != 0);
}

void must_be_equal(const struct import_set *a, const struct import_set *b)
{
	must(a->count == b->count);
	for (size_t i = 0; i < a->count; i++) {
		const struct kt_import_item *left = &a->items[i];
		const struct kt_import_item *right = &b->items[i];

		must(strcmp(left->name, right->name) == 0);
		must(secret_equal(&left->value, &right->value));
	}
}
