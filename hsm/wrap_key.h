/*
 * Inside of wrapping: a wrapping key, how its handle is got again after a lost
 * login, and the single wraps and unwraps that everything above is made of.
 *
 * A wrapping key, its parent and the keys under that parent are used by one
 * thread at a time.
 */
#ifndef HSM_WRAP_KEY_H
#define HSM_WRAP_KEY_H

#include "hsm/mech.h"
#include "hsm/template.h"
#include "hsm/wrap.h"

struct wrap_key {
	struct token *token;
	enum kt_key_role role;
	enum kt_wrap_mech mech;
	struct blob canary; /* empty: none */

	/* How to get it: one of three. */
	struct kt_id cka_id;     /* a token object */
	struct wrap_key *parent; /* a project key: blob under parent */
	struct blob blob;
	struct session *home; /* a temporary key: the session it lives in */
	bool owns_parent;

	/* What was got, and of which login and nursery. */
	CK_OBJECT_HANDLE handle;
	uint64_t generation;
	uint64_t epoch;

	/* Where the keys under this one live, and how often it was replaced. */
	struct session *nursery;
	uint64_t nursery_epoch;

	bool checked[KEY_USE_MAX_]; /* policy of an unwrapped key read back */
};

/* The key's handle now: found or unwrapped again when its login or nursery is
 * gone. KT_ERR_TOKEN for a temporary key, which cannot be had again. */
enum kt_err wrap_key_handle(struct wrap_key *key, struct session *s,
			    CK_OBJECT_HANDLE *ret);

/* One to WRAP_KEYS_MAX keys of one token that all wrap the same kind of key. */
#define WRAP_KEYS_MAX 4
enum kt_err wrap_keys_check(struct wrap_key *const *keys, size_t n);

/* Whether a blob of any size unwraps in a fresh session, no judgement made. */
bool subject_unwraps(struct wrap_key *key, const struct blob *blob);

/* True when the canary unwraps in a fresh session: the token is well. */
bool wrap_key_canary_works(struct wrap_key *key);

/* A fresh key of the role that key wraps. */
enum kt_err subject_generate(struct wrap_key *key, struct session *s,
			     struct object *ret);

/* KT_ERR_TOKEN when the token returns another size than the mechanism's. */
enum kt_err subject_wrap(struct wrap_key *key, struct session *s,
			 CK_OBJECT_HANDLE subject, struct blob *ret);

/* mech: what the unwrapped key may wrap with, if it is one that wraps. The
 * blob's size is checked before the token sees it. KT_ERR_INTEGRITY only when
 * the blob fails twice and the canary does not. */
enum kt_err subject_unwrap(struct wrap_key *key, struct session *s,
			   const struct blob *blob, enum key_use use,
			   enum kt_wrap_mech mech, struct object *ret);

#endif
