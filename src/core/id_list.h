/*
 * Ids that were read by a query and are worked on after it: rows are not
 * changed under an open query.
 */
#ifndef CORE_ID_LIST_H
#define CORE_ID_LIST_H

#include "base/err.h"
#include "store/store.h"

struct id_list {
	struct kt_id *ids;
	size_t count;
	size_t room;
};

enum kt_err id_list_add(struct id_list *list, const struct kt_id *id);

/* Adds the ids of all keys that have this owner. */
enum kt_err id_list_keys(struct id_list *list, struct store *store,
			 const struct kt_id *owner);

void id_list_done(struct id_list *list);

#endif
