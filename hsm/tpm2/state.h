/*
 * Inside of a token: what its parts share. A function that talks to the TPM
 * runs as an operation under token_run(), which holds the locks, connects, and
 * cures what can be cured: it is called again, so it must undo or go on from
 * what an earlier call left.
 */
#ifndef HSM_TPM2_STATE_H
#define HSM_TPM2_STATE_H

#include <pthread.h>
#include <sys/stat.h>

#include "hsm/tpm2/folder.h"
#include "hsm/tpm2/keyfile.h"
#include "hsm/tpm2/object.h"
#include "hsm/tpm2/token.h"

#define OBJECT_AUTH_LEN 32
#define OWNER_AUTH_MAX 32

/* token.conf. */
struct conf {
	char label[TPM_LABEL_MAX + 1];
	char serial[TPM_SERIAL_LEN + 1];
	char manufacturer[5];
	uint32_t pcrs; /* the user PIN is bound to */
	uint32_t srk;
	struct tpm_public srk_public;
};

/* A key in use: its place in the TPM, pinned by the Name on disk. */
struct held_key {
	struct kt_id id;
	enum tpm_kind kind;
	struct tpm_object object;
	struct crypto_mac *siv; /* TPM_KEY_WRAP: see wrap.h */
	struct held_key *next;
};

struct tpm_token {
	pthread_mutex_t lock;
	pid_t pid;
	struct tpm_config config; /* its strings are ours */
	struct folder folder;     /* its lock file is open as long as we are */
	struct tpm *tpm;
	struct conf conf; /* serial "": not initialised */
	struct stat conf_stat;
	enum tpm_role role;
	struct kt_secret object_auth; /* of every key; while logged in */
	struct kt_secret owner_auth;  /* of the TPM's owner; likewise */
	struct kt_secret provided;    /* by tpm_token_provision() */
	uint32_t provided_pcrs;
	struct held_key *keys;
};

typedef CK_RV token_op(struct tpm_token *token, void *arg);

/* The locks alone: for what needs no TPM. */
CK_RV token_locked(struct tpm_token *token, token_op *op, void *arg);

/* The locks and a connection. */
CK_RV token_run(struct tpm_token *token, token_op *op, void *arg);

/* token_run() for the user who is logged in: CKR_USER_NOT_LOGGED_IN. */
CK_RV token_run_user(struct tpm_token *token, token_op *op, void *arg);

/* For one command that changes nothing, which the TPM itself keeps apart from
 * those of other processes: without the lock between processes, and so without
 * what is looked at under it. Does nothing and is CKR_OK unless the user is
 * logged in and the session with the TPM stands. */
CK_RV token_try(struct tpm_token *token, token_op *op, void *arg);

/* What follows is called inside an operation. */

void token_forget_login(struct tpm_token *token);
void token_forget_keys(struct tpm_token *token);
struct tpm_object token_owner(const struct tpm_token *token);
struct object_parent token_srk(const struct tpm_token *token);

CK_RV conf_save(struct tpm_token *token, const struct conf *conf);
/* Reads token.conf when it changed: another process may have begun the token
 * anew, and then nobody is logged in here. */
CK_RV conf_refresh(struct tpm_token *token);

/* pin.c: objects that seal the two authorisations of the token under a PIN.
 * pin_seal() takes those of the login; PCRs as they are now. */
CK_RV pin_seal(struct tpm_token *token, enum tpm_role role, struct span pin,
	       uint32_t pcrs);
CK_RV pin_open(struct tpm_token *token, enum tpm_role role, struct span pin,
	       struct kt_secret *ret_object_auth,
	       struct kt_secret *ret_owner_auth);
CK_RV pin_check(struct span pin);
bool pin_is_set(const struct tpm_token *token, enum tpm_role role);

/* srk.c: finds the storage root key at the configured handle, or makes it. */
CK_RV srk_find(struct tpm_token *token, struct conf *conf);
CK_RV srk_check(struct tpm_token *token);

/* slots.c: too few free handles or counters for keys is CKR_DEVICE_MEMORY. */
CK_RV slots_check(struct tpm_token *token, unsigned keys);

/* keys.c: every key's file, whatever its stage, in no order. */
CK_RV keys_each(struct tpm_token *token,
		CK_RV (*fn)(struct tpm_token *token, struct key_file *file,
			    void *arg),
		void *arg);

/* CKR_KEY_HANDLE_INVALID when it is not live. */
CK_RV keys_live(struct tpm_token *token, const struct kt_id *id,
		struct key_file *ret);

/* NULL: not used since the login. */
const struct held_key *keys_held(const struct tpm_token *token,
				 const struct kt_id *id);

/* Its object, by the Name on disk; lives until the keys are forgotten. */
CK_RV keys_hold(struct tpm_token *token, const struct kt_id *id,
		const struct held_key **ret);
CK_RV keys_object(struct tpm_token *token, const struct key_file *file,
		  struct tpm_object *ret);

/* What a failed command with a key means. CKR_OK: the key had lost its place
 * in the TPM and has it again. */
CK_RV keys_after_failure(struct tpm_token *token, const struct kt_id *id,
			 CK_RV failure);

/* life.c: what a power cut left behind. Needs the owner's authorisation. */
CK_RV life_recover(struct tpm_token *token);
CK_RV life_destroy(struct tpm_token *token, struct key_file *file);
CK_RV life_destroy_all(struct tpm_token *token);
/* The key's object from its blobs to its persistent handle again. */
CK_RV life_restore(struct tpm_token *token, const struct key_file *file);

/* attest.c */
CK_RV attest_make_key(struct tpm_token *token);
CK_RV attest_birth(struct tpm_token *token, const struct key_file *file,
		   const struct tpm_object *gate);
struct audit;
CK_RV attest_death(struct tpm_token *token, const struct key_file *file,
		   const struct audit *audit);

#endif
