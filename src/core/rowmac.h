/*
 * Row MACs: HMAC-SHA-256 over a version tag, the row's type, the vault's id
 * and every column, each with its length in front (docs/formats.md). The key
 * is derived once per open vault by the row-MAC key on the token.
 */
#ifndef CORE_ROWMAC_H
#define CORE_ROWMAC_H

#include "base/cleanup.h"
#include "base/err.h"
#include "store/store.h"

struct rowmac;

/* Takes a copy of the key into secure memory. */
enum kt_err rowmac_new(const struct kt_id *vault, const struct kt_secret *key,
		       struct rowmac **ret);
void rowmac_free(struct rowmac *rowmac);
DEFINE_CLEANUP(struct rowmac, rowmac_free)

/* The store's sealer that works with it; lives as long as the rowmac. */
const struct store_sealer *rowmac_sealer(const struct rowmac *rowmac);

/* SHA-256 over a tag of 4 characters and the columns up to, not including,
 * the one named: the audit chain's hash. */
enum kt_err row_hash(enum row_type type, const void *row, const char *tag,
		     const char *until, struct mac *ret);

/* HMAC-SHA-256 of two pieces with a key in secure memory. */
enum kt_err hmac_sha256(const struct kt_secret *key, const void *a,
			size_t a_len, const void *b, size_t b_len,
			struct mac *ret);

#endif
