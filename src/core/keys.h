/*
 * Keys of the vault: their states, their rows, and the wrapping keys that are
 * in use while a vault is open.
 */
#ifndef CORE_KEYS_H
#define CORE_KEYS_H

#include "core/vault.h"

/* NIST SP 800-57 state, from the times alone. */
enum kt_key_state key_state(const struct key_row *key);

/* From when on nothing was wrapped under it any more; INT64_MAX while new keys
 * still are. */
int64_t key_closed(const struct key_row *key);

/* The key that serves readers: the highest version of this role and owner that
 * is activated and neither retired nor on its way out; it may be compromised.
 * Every version is read and checked: a forged time is KT_ERR_INTEGRITY, never
 * another key. */
enum kt_err key_active(struct kt_vault *vault, enum kt_key_role role,
		       const struct kt_id *owner, struct key_row *ret);

/* What the public interface says of a key; counts its rows. */
enum kt_err key_describe(struct kt_vault *vault, const struct key_row *key,
			 struct kt_key *ret);

/* A row with id, role, owner, version and created; random CKA_ID for roles on
 * the token; not stored. */
enum kt_err key_row_new(enum kt_key_role role, const struct kt_id *owner,
			int64_t version, struct key_row *ret);

/* The wrapping key of a stored key row (master, recovery, project), borrowed
 * from the vault's cache; valid until kt_vault_close(). */
enum kt_err key_wrapper(struct kt_vault *vault, const struct key_row *key,
			struct wrap_key **ret);

/* The keys a new key must be wrapped under, read in the current transaction:
 * all open masters (for a project key); all open keys of the project and all
 * open recovery keys (for a DEK). */
#define WRAP_SET_MAX 4

struct wrap_set {
	size_t count;
	struct kt_id id[WRAP_SET_MAX];
	struct wrap_key *key[WRAP_SET_MAX];
};

/* project is for DEKs. KT_ERR_CONFLICT while a compromised key serves;
 * KT_ERR_FAILED when the set is empty. */
enum kt_err wrap_set_read(struct kt_vault *vault, enum kt_key_role subject,
			  const struct kt_id *project, struct wrap_set *ret);

bool wrap_set_equal(const struct wrap_set *a, const struct wrap_set *b);

/* Inserts a wraps row per member of the set; blobs in its order. */
enum kt_err wrap_set_store(struct kt_vault *vault, const struct wrap_set *set,
			   const struct kt_id *subject,
			   const struct blob *blobs);

#endif
