/*
 * The state of the module between C_Initialize and C_Finalize: slots, sessions
 * and objects, under one lock that is held for moments only. What takes time,
 * a TPM or a cipher, runs without it, on objects that are held by reference.
 */
#ifndef HSM_TPM2_P11_MODULE_H
#define HSM_TPM2_P11_MODULE_H

#include <pthread.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "hsm/tpm2/p11_attrs.h"
#include "hsm/tpm2/p11_soft.h"
#include "hsm/tpm2/token.h"

#define SLOTS_MAX 16

struct slot {
	CK_SLOT_ID id;
	struct tpm_token *token;
	/* Login, PINs, making and destroying token keys: one after the other.
	 * Taken before the module's lock, never while it is held. */
	pthread_mutex_t admin;
	enum tpm_role role;
	bool initialised; /* false: not known to be */
};

/* A key. Shared by reference: it leaves the list when it is destroyed, and
 * memory when the last operation with it ends. */
struct object {
	CK_OBJECT_HANDLE handle;
	struct slot *slot;
	CK_SESSION_HANDLE owner; /* 0: on the token */
	struct attrs attrs;
	struct kt_secret value; /* of a session key */
	struct kt_id id;        /* of a token key, and of a session's */
	bool known;     /* its value came from outside, or could be read */
	bool destroyed; /* not in the list any more */
	_Atomic unsigned references;
	struct object *next;
};

enum operation_kind { OP_ENCRYPT, OP_DECRYPT, OP_SIGN, OP_VERIFY, OP_MAX_ };

/* What C_...Init began. Moved out of its session while it runs. */
struct operation {
	bool active;
	bool begun; /* by an update: the one-shot call is too late */
	CK_MECHANISM_TYPE mechanism;
	struct object *key;
	struct soft_gcm gcm;
	struct kt_secret room; /* for what the updates brought */
	size_t used;
};

struct find {
	bool active;
	CK_OBJECT_HANDLE *list;
	size_t count, next;
};

struct session {
	CK_SESSION_HANDLE handle;
	struct slot *slot;
	bool read_write;
	struct find find;
	struct operation operations[OP_MAX_];
	struct session *next;
};

struct module {
	pid_t pid;
	pthread_mutex_t lock;
	struct slot slots[SLOTS_MAX];
	size_t slot_count;
	struct session *sessions;
	struct object *objects;
	CK_ULONG last_handle; /* of sessions and objects; never used again */
};

/* One call into the module: CLEANUP(call_end) struct call call = {0}. It
 * begins with the module's lock held, and C_Finalize waits for its end. */
struct call {
	struct module *module;
	bool locked;
};

/* CKR_CRYPTOKI_NOT_INITIALIZED, in a forked child too. */
CK_RV call_begin(struct call *call);
void call_end(struct call *call);

/* Around what takes time. */
void call_unlock(struct call *call);
void call_lock(struct call *call);

/* A slot's admin lock, for a scope: CLEANUP(slot_unlock_admin). The module's
 * lock is given up while it waits, so what was looked up before is stale. */
struct slot *slot_lock_admin(struct call *call, struct slot *slot);
void slot_unlock_admin(struct slot **slot);

/* All with the module's lock held. */

CK_RV call_slot(struct call *call, CK_SLOT_ID id, struct slot **ret);

CK_RV call_session(struct call *call, CK_SESSION_HANDLE handle,
		   struct session **ret);

/* The same, and CKR_USER_NOT_LOGGED_IN unless the user is. */
CK_RV call_user_session(struct call *call, CK_SESSION_HANDLE handle,
			struct session **ret);

void operation_done(struct operation *operation);
void session_free(struct session *session);

/* Ends what sessions of the slot do, and drops its session keys: at logout,
 * and where the last session closes. */
void slot_forget(struct module *module, struct slot *slot);

CK_ULONG slot_sessions(const struct module *module, const struct slot *slot,
		       bool read_write_only);

/* What is left when the module goes; nothing of the TPM is asked. */
void module_forget(struct module *module);

#endif
