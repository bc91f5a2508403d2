/*
 * The values of an import, in the order of the file: items for
 * kt_secret_import(), on the secure heap.
 */
#ifndef CLI_IMPORT_SET_H
#define CLI_IMPORT_SET_H

#include <keyturn/secret.h>

#define IMPORT_ITEMS_MAX 100000

/* Zeroed is empty. */
struct import_set {
	struct kt_import_item *items;
	size_t *lines; /* of each item; 0 where the format has none */
	size_t count, room;
};

/* Wipes and frees; leaves an empty set. */
void import_done(struct import_set *set);

/* Adds a value to the set and takes it from the caller; value is empty then.
 * line 0: the format has no lines. KT_ERR_USAGE: a name or value out of
 * bounds. */
enum kt_err import_add(struct import_set *set, const char *file, size_t line,
		       const char *name, struct kt_secret *value);

#endif
