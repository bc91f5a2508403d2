/*
 * The port to a token: PKCS#11 without its types. One struct token is one
 * module loaded, one token chosen by RFC 7512 URI, one login, one read-write
 * session for what changes the token and a pool of read-only ones.
 *
 * Every key is made and unwrapped by the attribute policy of its role and read
 * back; keys on the token are named by CKA_ID and found to be exactly one.
 * A lost session is replaced (login again, keys found again) and the call
 * tried once more, in here: callers see KT_ERR_TOKEN when that did not help.
 * All functions may be called from several threads, but for open, reload and
 * close, which need all others to have returned.
 */
#ifndef HSM_TOKEN_H
#define HSM_TOKEN_H

#include <keyturn/vault.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/err.h"

struct token;

struct token_params {
	const char *uri;         /* names exactly one token */
	const char *module;      /* absolute path or p11-kit name; NULL: the
				  * URI's module-path or module-name */
	const char *runtime_dir; /* of the lock files */
	const struct kt_pin_source *pin;
	size_t max_sessions; /* of the read-only pool; 0: 4 */
};

/* Loads, initialises, chooses, logs in (one attempt), all under the lock.
 * KT_ERR_TOKEN: no module, no such token, two such tokens. KT_ERR_PIN: with
 * what the token says of the tries left. KT_ERR_CONFIG: the URI. */
enum kt_err token_open(const struct token_params *params, struct token **ret);

/* Joins nothing: no other call may be under way. */
void token_close(struct token *token);
DEFINE_CLEANUP(struct token, token_close)

/* Syncs the file systems (SoftHSM never does), finalises the module, loads it
 * afresh and logs in again: what is found afterwards is on the token. Struct
 * wrap_key of this token stay usable: they are found or unwrapped again. No
 * other struct token of this module may be open in the process: it would keep
 * the module as it is. */
enum kt_err token_reload(struct token *token);

/* Read from the token now, PIN flags included. */
enum kt_err token_info(struct token *token, struct kt_token_info *ret);

/* "pkcs11:token=...;serial=...;module-path=..." without a PIN. */
enum kt_err token_uri(struct token *token, char *ret, size_t size);

/* Sessions that a process may have in its pool, by what the token announces;
 * SIZE_MAX: as many as it likes. At least 1. */
size_t token_sessions_max(const struct token *token);

/* The PIN as given, for workers; borrowed, lives as long as the token. */
const struct kt_secret *token_pin(const struct token *token);

/* Keys on the token. */

/* Generates a token object of this role (master, recovery, row MAC, audit)
 * under the lock. mech is all that a wrapping key may ever wrap with,
 * KT_WRAP_NONE for the other roles. Nothing is known of it until
 * token_key_facts() says so after a token_reload(). KT_ERR_CONFLICT when the
 * CKA_ID is taken: some tokens would replace that key. */
enum kt_err token_generate(struct token *token, enum kt_key_role role,
			   enum kt_wrap_mech mech, const struct kt_id *cka_id,
			   const char *label);

/* Objects with this CKA_ID: 0, 1 or more (an audit key pair counts 1). "None"
 * is asked again in a fresh session before it is believed. */
enum kt_err token_count(struct token *token, const struct kt_id *cka_id,
			size_t *ret);

struct key_facts {
	char attributes[1024];  /* "sensitive=true extractable=false ..." */
	struct blob public_key; /* audit key: 04 || x || y */
};

/* Finds exactly one, reads every policy attribute back and compares.
 * KT_ERR_NOT_FOUND, KT_ERR_CONFLICT (more than one), KT_ERR_POLICY naming the
 * attribute. */
enum kt_err token_key_facts(struct token *token, enum kt_key_role role,
			    enum kt_wrap_mech mech, const struct kt_id *cka_id,
			    struct key_facts *ret);

/* Destroys what carries the CKA_ID, under the lock; KT_OK when nothing does.
 * What is true afterwards, token_count() says after a reload. */
enum kt_err token_destroy(struct token *token, const struct kt_id *cka_id);

/* One object of the token, for the doctor. */
struct token_object {
	struct kt_id cka_id; /* zero when its CKA_ID is not 16 bytes */
	char label[64];
	char class_name[16]; /* "secret-key", "public-key" ... */
	bool wrap, unwrap, encrypt, decrypt, sign, sensitive, extractable,
		private_object, local;
};

enum kt_err token_objects(struct token *token,
			  enum kt_err (*each)(void *arg,
					      const struct token_object *o),
			  void *arg);

/* HMAC-SHA-256 with a row-MAC key on the token, computed twice: KT_ERR_TOKEN
 * when the two differ. */
enum kt_err token_mac(struct token *token, const struct kt_id *cka_id,
		      const void *data, size_t len, uint8_t ret[32]);

/* ECDSA P-256 over a SHA-256 digest; 64 bytes r || s. */
enum kt_err token_sign(struct token *token, const struct kt_id *cka_id,
		       const uint8_t digest[32], struct blob *ret);

/* C_GenerateRandom. */
enum kt_err token_random(struct token *token, void *data, size_t len);

#endif
