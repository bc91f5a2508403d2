/*
 * A list of ids that grows.
 */
#include "core/id_list.h"

#include <stdlib.h>

enum kt_err id_list_add(struct id_list *list, const struct kt_id *id)
{
	if (list->count == list->room) {
		size_t room = list->room > 0 ? 2 * list->room : 64;
		struct kt_id *ids = reallocarray(list->ids, room, sizeof(*ids));

		if (ids == NULL)
			return err_memory();
		list->ids = ids;
		list->room = room;
	}
	list->ids[list->count++] = *id;
	return KT_OK;
}

enum kt_err id_list_keys(struct id_list *list, struct store *store,
			 const struct kt_id *owner)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct key_row key;
	enum kt_err err;

	TRY(query_start(store, Q_KEYS_BY_OWNER, &query, "b", owner));
	while ((err = query_next(query, &key)) == KT_OK)
		TRY(id_list_add(list, &key.id));
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

void id_list_done(struct id_list *list)
{
	free(list->ids);
	*list = (struct id_list){0};
}
