/*
 * The cache is a growing array in the order of putting: parents are put before
 * the keys they unwrapped, so it is emptied from its end. A vault has hundreds
 * of project keys at most; a search by id costs less than one token call.
 */
#include "core/cache.h"

#include <stdlib.h>

struct entry {
	struct kt_id id, parent;
	struct wrap_key *key;
};

struct key_cache {
	size_t count, room;
	struct entry *entry;
};

enum kt_err cache_new(struct key_cache **ret)
{
	struct key_cache *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		return err_memory();
	*ret = cache;
	return KT_OK;
}

void cache_free(struct key_cache *cache)
{
	if (cache == NULL)
		return;
	while (cache->count > 0)
		wrap_key_free(cache->entry[--cache->count].key);
	free(cache->entry);
	free(cache);
}

struct wrap_key *cache_get(const struct key_cache *cache,
			   const struct kt_id *id, const struct kt_id *parent)
{
	for (size_t i = 0; i < cache->count; i++) {
		if (id_equal(&cache->entry[i].id, id) &&
		    id_equal(&cache->entry[i].parent, parent))
			return cache->entry[i].key;
	}
	return NULL;
}

enum kt_err cache_put(struct key_cache *cache, const struct kt_id *id,
		      const struct kt_id *parent, struct wrap_key *key)
{
	if (cache->count == cache->room) {
		size_t room = cache->room > 0 ? 2 * cache->room : 16;
		struct entry *grown =
			realloc(cache->entry, room * sizeof(*grown));

		if (grown == NULL)
			return err_memory();
		cache->entry = grown;
		cache->room = room;
	}
	cache->entry[cache->count++] = (struct entry){*id, *parent, key};
	return KT_OK;
}
