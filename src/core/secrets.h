/*
 * What the files about secrets and projects share: the bytes a value is bound
 * to, and how rows of secrets and keys go away.
 */
#ifndef CORE_SECRETS_H
#define CORE_SECRETS_H

#include <keyturn/secret.h>

#include "core/vault.h"

/* How often a write starts over when keys or rows moved under it. */
#define WRITE_ATTEMPTS 5

/* The only algorithm of version 1: AES-256-GCM. */
#define VALUE_AES_256_GCM 1

/* "kvA1" || vault || project || secret || version u64 || DEK || algorithm u16
 * || flags u16, big endian. Nothing of it changes in a rotation. */
#define VALUE_AAD_LEN (4 + 16 + 16 + 16 + 8 + 16 + 2 + 2)

void value_aad(const struct kt_id *vault, const struct secret_row *head,
	       int64_t version, const struct kt_id *dek,
	       uint8_t ret[VALUE_AAD_LEN]);

void secret_info_fill(const struct secret_row *head, size_t sealed_len,
		      struct kt_secret_info *ret);

/* "no secret is named ..." when there is none. */
enum kt_err secret_find(struct kt_vault *vault,
			const struct project_row *project, const char *name,
			struct secret_row *ret);

/* The key by which this actor reads a project, for one transaction. */
struct way {
	struct kt_id id;
	struct wrap_key *key; /* borrowed from the vault's cache */
};

enum kt_err way_find(struct kt_vault *vault, const struct kt_id *project,
		     struct way *ret);

/* One value as the database has it. */
struct reading {
	struct secret_row head;
	struct version_row version;
	struct wrap_row wrap;
	struct wrap_key *key;
};

/* Fills the rest of *r from its head, in the caller's transaction; way NULL:
 * without the wrap. reading_done() follows whatever it returns. */
enum kt_err reading_fill(struct kt_vault *vault, struct reading *r,
			 int64_t number, const struct way *way);

/* On the token, outside of the transaction. */
enum kt_err reading_open(struct kt_vault *vault, const struct reading *r,
			 struct kt_secret *ret);

void reading_done(struct reading *r);

/* In the caller's write transaction: every wrap of a wrapped key goes, its row
 * stays with its destruction stamped. */
enum kt_err key_erase(struct kt_vault *vault, const struct kt_id *key,
		      int64_t now);

/* In the caller's write transaction: a secret, its versions and their keys. */
enum kt_err secret_erase(struct kt_vault *vault, const struct secret_row *head,
			 int64_t now);

#endif
