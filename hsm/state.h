/*
 * What stands behind a struct token, for the files that share it: module,
 * slot, login and sessions.
 *
 * The login belongs to the process and lasts while a session is open: the
 * anchor is a session that nothing else uses. Every login has a number, its
 * generation; sessions remember theirs and are dropped when it is over.
 */
#ifndef HSM_STATE_H
#define HSM_STATE_H

#include <pthread.h>

#include "hsm/lock.h"
#include "hsm/module.h"

struct token {
	struct module module;
	struct slot slot;
	char *runtime_dir;

	/* Login. The mutex lets one thread at a time renew it. */
	pthread_mutex_t login_mutex;
	struct kt_secret pin;
	bool last_try;
	bool pin_rejected; /* it is never tried again */
	CK_SESSION_HANDLE anchor;
	_Atomic uint64_t generation;
	uint64_t first_generation; /* of this C_Initialize */

	/* The pool of read-only sessions. */
	pthread_mutex_t pool_mutex;
	pthread_cond_t returned;
	struct session *idle;
	size_t open; /* idle and leased */
	size_t max;

	/* The read-write session: who holds the mutex has it leased. */
	pthread_mutex_t rw_mutex;
	struct session *rw;
	int rw_lock;
};

/* What a token says of itself, as text. */
struct kt_token_info token_describe(const struct module *module,
				    const CK_TOKEN_INFO *from,
				    const CK_INFO *library);

enum kt_err module_lock(const struct token *token, enum lock_mode mode,
			int *ret_fd);

/* C_OpenSession. The caller holds the lock between processes. */
enum kt_err session_open(struct token *token, CK_FLAGS flags,
			 CK_SESSION_HANDLE *ret);

/* As session_open_own(), by a caller that holds the lock between processes. */
enum kt_err session_new_own(struct token *token, struct session **ret);

/* Closes idle sessions and the read-write one. */
void sessions_close(struct token *token);

/* KT_ERR_PIN when a wrong PIN would lock the token, or it is locked. */
enum kt_err login_allowed(struct token *token);

/* Opens the anchor and logs in, in that order; one attempt. The caller holds
 * the lock between processes, exclusively. */
enum kt_err login(struct token *token);

/* After a lost session of that generation: logs in again unless another thread
 * has done so. No session may be leased read-write by the caller. */
enum kt_err login_renew(struct token *token, uint64_t generation);

/* Gives the anchor up. */
void login_end(struct token *token);

/* As token_retry(), on the read-write session. */
enum kt_err token_retry_rw(struct token *token,
			   enum kt_err (*op)(struct session *s, void *arg),
			   void *arg);

struct handles {
	CK_OBJECT_HANDLE *list;
	size_t count;
};

void handles_done(struct handles *handles);

/* Handles of the token's own objects that fit the template. "None"
 * is asked again in a fresh session, where it is known that the login stands
 * and that no other process changes the token. */
enum kt_err objects_list(struct session *s, const CK_ATTRIBUTE *attr,
			 CK_ULONG n, struct handles *ret);

#endif
