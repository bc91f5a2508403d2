/*
 * Inside of the token layer: sessions as leases, the only way to a C_
 * function, and the translation of what it returns. No CK_ type leaves hsm/.
 */
#ifndef HSM_P11_H
#define HSM_P11_H

#include <p11-kit/pkcs11.h>

#include "hsm/token.h"

/* PKCS#11 2.40 and 3.0 names that p11-kit 0.24 has not. */
#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP 0x210BUL
#endif
#ifndef CKA_COPYABLE
#define CKA_COPYABLE 0x171UL
#endif
#ifndef CKA_DESTROYABLE
#define CKA_DESTROYABLE 0x172UL
#endif

struct session {
	struct token *token;
	CK_FUNCTION_LIST *p11;
	CK_SESSION_HANDLE handle;
	uint64_t generation; /* of the token's login it belongs to */
	bool read_write;
	bool broken;    /* closed, not reused, when it is released */
	bool ambiguous; /* the last error could be the blob or the token */
	bool own;       /* outside the pool: closed when it is released */
	struct session *next;
};

/* A read-only session from the pool; waits for one when all are leased. */
enum kt_err session_lease(struct token *token, struct session **ret);

/* The one read-write session, with the lock between processes: for what
 * changes token objects. */
enum kt_err session_lease_rw(struct token *token, struct session **ret);

/* A read-only session outside the pool, for session objects that live long
 * and for a second opinion while another session is leased: never waits. */
enum kt_err session_open_own(struct token *token, struct session **ret);

/* Gives it back, or closes it when it is broken, outside the pool or of an
 * earlier login; of before a reload it is only freed. Accepts NULL. */
void session_release(struct session *session);
DEFINE_CLEANUP(struct session, session_release)

/* Translates a return code by table, marks the session broken after any error
 * and raises "C_WrapKey: CKR_..." as KT_ERR_SESSION (lost; see token_retry),
 * KT_ERR_TOKEN, KT_ERR_PIN, KT_ERR_INTEGRITY (this blob; of C_UnwrapKey and
 * C_Decrypt alone), KT_ERR_MEMORY or KT_ERR_POLICY (template, mechanism,
 * attribute or function refused). session is NULL for functions without one:
 * C_OpenSession, C_GetTokenInfo. */
enum kt_err p11_result(struct session *session, const char *function, CK_RV rv);

/* What the module itself says of its last failure (words NULL: nothing) becomes
 * the hint; returns err. p11_result() does so where it has a session. */
enum kt_err p11_explain(const char *(*words)(void), enum kt_err err);

/* CALL(s, C_WrapKey, &mechanism, ...): the session handle goes first. */
#define CALL(s, function, ...)                                                 \
	p11_result((s), #function,                                             \
		   (s)->p11->function((s)->handle __VA_OPT__(, ) __VA_ARGS__))

/* "CKR_PIN_INCORRECT", or "CKR 0x8000..." for a vendor's. Static or
 * thread-local. */
const char *p11_rv_name(CK_RV rv);

/* Runs op with a leased read-only session. When it returns KT_ERR_SESSION the
 * login is renewed, and it runs once more; a second KT_ERR_SESSION becomes
 * KT_ERR_TOKEN. op must be repeatable and writes outputs only on success. */
enum kt_err token_retry(struct token *token,
			enum kt_err (*op)(struct session *s, void *arg),
			void *arg);

/* Changes with every login: handles of an earlier one are not valid. */
uint64_t token_generation(const struct token *token);

/* Finds the one object with this class and CKA_ID. KT_ERR_NOT_FOUND (asked
 * again in a fresh session), KT_ERR_CONFLICT. */
enum kt_err object_find(struct session *s, CK_OBJECT_CLASS class,
			const struct kt_id *cka_id, CK_OBJECT_HANDLE *ret);

/* A session object that its scope destroys: CLEANUP(object_drop). */
struct object {
	struct session *session;
	CK_OBJECT_HANDLE handle; /* CK_INVALID_HANDLE: none */
};

void object_drop(struct object *object);

#endif
