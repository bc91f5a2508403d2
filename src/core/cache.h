/*
 * The wrapping keys that an open vault holds, by the key's id and the id of the
 * key that it was unwrapped with (zero where it is on the token): a project key
 * is unwrapped again whenever the token's session was lost, and the master key
 * version that it first came from may be destroyed by then.
 */
#ifndef CORE_CACHE_H
#define CORE_CACHE_H

#include "hsm/wrap.h"

struct key_cache;

enum kt_err cache_new(struct key_cache **ret);

/* Frees the keys too, children before their parents; accepts NULL. */
void cache_free(struct key_cache *cache);

/* Borrowed; NULL when it is not there. */
struct wrap_key *cache_get(const struct key_cache *cache,
			   const struct kt_id *id, const struct kt_id *parent);

/* The cache owns the key when this returns KT_OK. */
enum kt_err cache_put(struct key_cache *cache, const struct kt_id *id,
		      const struct kt_id *parent, struct wrap_key *key);

#endif
