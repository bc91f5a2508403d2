/*
 * Keys that wrap, and what is done with them. Only 32-byte keys are wrapped. A
 * wrapping key is a token object (master, recovery), found by CKA_ID, or a
 * project key unwrapped into a session object that its struct wrap_key keeps
 * alive. Keys under them are never readable by the process: they exist as
 * blobs, and for the moment of an operation as session objects.
 *
 * KT_ERR_INTEGRITY says "this blob", KT_ERR_TOKEN "the token": where the
 * module's return code could be either, the key's canary decides.
 *
 * A wrapping key, its parent and the keys under that parent are used by one
 * thread at a time.
 */
#ifndef HSM_WRAP_H
#define HSM_WRAP_H

#include "hsm/token.h"

struct wrap_key;

/* Names a wrapping key on the token. canary may be empty: then an ambiguous
 * return code counts as KT_ERR_TOKEN. */
struct wrap_key_spec {
	enum kt_key_role role; /* KT_KEY_MASTER or KT_KEY_RECOVERY */
	struct kt_id cka_id;
	enum kt_wrap_mech mech;
	struct blob canary;
};

/* The token stays borrowed. KT_ERR_NOT_FOUND, KT_ERR_CONFLICT as
 * token_key_facts(). */
enum kt_err wrap_key_find(struct token *token, const struct wrap_key_spec *spec,
			  struct wrap_key **ret);

/* Unwraps a project key for use, not extractable, with its own unwrap
 * template. The parent stays borrowed. canary as above: a DEK wrapped under
 * the project key. */
enum kt_err wrap_key_unwrap(struct wrap_key *parent, const struct blob *blob,
			    enum kt_wrap_mech mech, const struct blob *canary,
			    struct wrap_key **ret);

void wrap_key_free(struct wrap_key *key);
DEFINE_CLEANUP(struct wrap_key, wrap_key_free)

/* What this key wraps: project keys (master) or DEKs (recovery, project). */
enum kt_key_role wrap_key_subject(const struct wrap_key *key);

/* The best mechanism that really works on this token, found by a round trip
 * with tampering, on session keys. KT_ERR_POLICY when there is none. */
enum kt_err wrap_mech_choose(struct token *token, enum kt_wrap_mech *ret);

/* What project keys wrap by under a master key of this mechanism: the same, or
 * where that is not for AES keys, the best that really works for them. */
enum kt_err wrap_mech_below(struct token *token, enum kt_wrap_mech master,
			    enum kt_wrap_mech *ret);

/* Generates a key of the role the wrapping keys wrap (all of them the same),
 * wraps it under each, proves each blob by unwrapping it and wrapping it
 * again, destroys the session objects. blobs has n members, n at most 4. */
enum kt_err wrap_new(struct wrap_key *const *keys, size_t n,
		     struct blob *ret_blobs);

/* Unwraps with from, wraps with to. from == to is allowed. */
enum kt_err wrap_copy(struct wrap_key *from, struct wrap_key *to,
		      const struct blob *blob, struct blob *ret);

/* Proves that new_blob under new_key holds the key that old_blob under old_key
 * holds: unwraps new_blob, wraps it with old_key, compares byte for byte. */
enum kt_err wrap_prove(struct wrap_key *new_key, const struct blob *new_blob,
		       struct wrap_key *old_key, const struct blob *old_blob);

/* KT_OK when the blob unwraps. */
enum kt_err wrap_check(struct wrap_key *key, const struct blob *blob);

/* Session keys with a master's or recovery key's policy, for the dry run:
 * made, used, never on the token. */
enum kt_err wrap_key_temporary(struct token *token, enum kt_key_role role,
			       enum kt_wrap_mech mech, struct wrap_key **ret);

/* The same one level down: a fresh project key under a temporary master. */
enum kt_err wrap_key_temporary_project(struct token *token,
				       enum kt_wrap_mech master,
				       enum kt_wrap_mech mech,
				       struct wrap_key **ret);

/* A value sealed with AES-256-GCM in the token. */
#define VALUE_NONCE_LEN 12
#define VALUE_TAG_LEN 16

struct sealed_value {
	uint8_t nonce[VALUE_NONCE_LEN];
	uint8_t *data; /* ciphertext and tag; malloc, the holder's */
	size_t len;
};

void sealed_value_done(struct sealed_value *value);

/* A fresh DEK encrypts the value; it is wrapped under each key; then through
 * each wrap the ciphertext is decrypted again and compared with the value. */
enum kt_err value_seal(struct wrap_key *const *keys, size_t n, const void *aad,
		       size_t aad_len, const struct kt_secret *value,
		       struct blob *ret_blobs, struct sealed_value *ret);

/* aad_len is not 0. KT_ERR_INTEGRITY when blob, nonce, ciphertext or AAD is
 * not the one that was sealed. */
enum kt_err value_open(struct wrap_key *key, const struct blob *blob,
		       const void *aad, size_t aad_len,
		       const struct sealed_value *sealed,
		       struct kt_secret *ret);

#endif
