/*
 * The set of values of an import, with the bounds that every format has.
 */
#include "cli/import_set.h"

#include <stdlib.h>
#include <string.h>

#include "base/err.h"

void import_done(struct import_set *set)
{
	for (size_t i = 0; i < set->count; i++)
		kt_secret_done(&set->items[i].value);
	free(set->items);
	free(set->lines);
	*set = (struct import_set){0};
}

static enum kt_err make_room(struct import_set *set)
{
	size_t room = set->room > 0 ? set->room * 2 : 64;
	struct kt_import_item *items;
	size_t *lines;

	if (set->count < set->room)
		return KT_OK;
	items = reallocarray(set->items, room, sizeof(*items));
	if (items == NULL)
		return err_memory();
	set->items = items;
	lines = reallocarray(set->lines, room, sizeof(*lines));
	if (lines == NULL)
		return err_memory();
	set->lines = lines;
	set->room = room;
	return KT_OK;
}

static enum kt_err refuse(const char *file, size_t line, const char *name,
			  const char *what)
{
	if (line > 0)
		return err_raise(KT_ERR_USAGE, "%s:%zu: '%.255s' %s", file,
				 line, name, what);
	return err_raise(KT_ERR_USAGE, "%s: '%.255s' %s", file, name, what);
}

enum kt_err import_add(struct import_set *set, const char *file, size_t line,
		       const char *name, struct kt_secret *value)
{
	struct kt_import_item *item;

	if (strlen(name) > KT_NAME_MAX)
		return refuse(file, line, name, "is too long for a name");
	if (value->len > KT_VALUE_MAX)
		return refuse(file, line, name, "has a value over 1 MiB");
	if (set->count == IMPORT_ITEMS_MAX)
		return refuse(file, line, name, "is one value too many");
	TRY(make_room(set));
	item = &set->items[set->count];
	memcpy(item->name, name, strlen(name) + 1);
	item->value = *value;
	*value = (struct kt_secret){0};
	set->lines[set->count++] = line;
	return KT_OK;
}
