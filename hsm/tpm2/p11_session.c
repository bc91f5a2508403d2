/*
 * Sessions. A session owns the keys that were made in it and what it has
 * begun; the login belongs to the slot, for all its sessions, and ends with
 * the last of them.
 */
#include "hsm/tpm2/p11_module.h"

#include "base/secret.h"
#include "hsm/tpm2/p11_object.h"

CK_RV call_slot(struct call *call, CK_SLOT_ID id, struct slot **ret)
{
	if (id >= call->module->slot_count)
		return rv_raise(CKR_SLOT_ID_INVALID, "there is no slot %lu",
				id);
	*ret = &call->module->slots[id];
	return CKR_OK;
}

CK_RV call_session(struct call *call, CK_SESSION_HANDLE handle,
		   struct session **ret)
{
	struct session *session = call->module->sessions;

	while (session != NULL && session->handle != handle)
		session = session->next;
	if (session == NULL)
		return rv_raise(CKR_SESSION_HANDLE_INVALID,
				"no session has handle %lu", handle);
	*ret = session;
	return CKR_OK;
}

CK_RV call_user_session(struct call *call, CK_SESSION_HANDLE handle,
			struct session **ret)
{
	struct session *session;

	RV_TRY(call_session(call, handle, &session));
	if (session->slot->role != TPM_USER)
		return rv_raise(CKR_USER_NOT_LOGGED_IN,
				"the user is not logged in");
	*ret = session;
	return CKR_OK;
}

void operation_done(struct operation *operation)
{
	object_release(operation->key);
	kt_secret_done(&operation->room);
	free(operation->gcm.aad);
	wipe(operation, sizeof(*operation));
}

static void end_work(struct session *session)
{
	for (size_t i = 0; i < OP_MAX_; i++)
		operation_done(&session->operations[i]);
	free(session->find.list);
	session->find = (struct find){0};
}

void session_free(struct session *session)
{
	end_work(session);
	free(session);
}

CK_ULONG slot_sessions(const struct module *module, const struct slot *slot,
		       bool read_write_only)
{
	CK_ULONG n = 0;

	for (struct session *s = module->sessions; s != NULL; s = s->next)
		n += s->slot == slot && (s->read_write || !read_write_only);
	return n;
}

void slot_forget(struct module *module, struct slot *slot)
{
	for (struct session *s = module->sessions; s != NULL; s = s->next) {
		if (s->slot == slot)
			end_work(s);
	}
	objects_drop(module, slot, NULL);
	slot->role = TPM_NOBODY;
}

static CK_RV check_open(const struct slot *slot, CK_FLAGS flags,
			const void *ret)
{
	if (ret == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the handle");
	if ((flags & CKF_SERIAL_SESSION) == 0)
		return rv_raise(CKR_SESSION_PARALLEL_NOT_SUPPORTED,
				"CKF_SERIAL_SESSION is not set");
	if ((flags & CKF_RW_SESSION) == 0 && slot->role == TPM_SO)
		return rv_raise(CKR_SESSION_READ_WRITE_SO_EXISTS,
				"the security officer is logged in");
	return CKR_OK;
}

/* Asked once: only C_InitToken, which tells the slot, goes back on it. */
static CK_RV check_initialised(struct call *call, struct slot *slot)
{
	struct tpm_token_info info;
	CK_RV rv;

	if (slot->initialised)
		return CKR_OK;
	call_unlock(call);
	rv = tpm_token_info(slot->token, &info);
	call_lock(call);
	RV_TRY(rv);
	slot->initialised = info.initialised;
	return slot->initialised ? CKR_OK
				 : rv_raise(CKR_TOKEN_NOT_RECOGNIZED,
					    "the token is not initialised");
}

static CK_RV session_new(struct call *call, struct slot *slot, bool read_write,
			 CK_SESSION_HANDLE *ret)
{
	struct session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return rv_memory();
	session->handle = ++call->module->last_handle;
	session->slot = slot;
	session->read_write = read_write;
	session->next = call->module->sessions;
	call->module->sessions = session;
	*ret = session->handle;
	return CKR_OK;
}

CK_RV C_OpenSession(CK_SLOT_ID slot_id, CK_FLAGS flags, void *application,
		    CK_NOTIFY notify, CK_SESSION_HANDLE *session)
{
	CLEANUP(call_end) struct call call = {0};
	struct slot *slot;

	(void)application;
	(void)notify;
	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	RV_TRY(check_initialised(&call, slot));
	RV_TRY(check_open(slot, flags, session));
	return session_new(&call, slot, (flags & CKF_RW_SESSION) != 0, session);
}

static void unlink_session(struct module *module, struct session *session)
{
	struct session **at = &module->sessions;

	while (*at != session)
		at = &(*at)->next;
	*at = session->next;
	objects_drop(module, session->slot, session);
	session_free(session);
}

/* PKCS#11 2.40 section 5.6: the last session to close ends the login. It does
 * so here and now for whoever opens the next one; the token hears of it when
 * its turn comes, unless somebody has logged in anew by then. */
static void logout_if_last(struct call *call, struct slot *slot)
{
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;

	if (slot->role == TPM_NOBODY ||
	    slot_sessions(call->module, slot, false) > 0)
		return;
	slot_forget(call->module, slot);
	admin = slot_lock_admin(call, slot);
	if (admin->role != TPM_NOBODY)
		return;
	call_unlock(call);
	(void)tpm_token_logout(admin->token);
	call_lock(call);
}

CK_RV C_CloseSession(CK_SESSION_HANDLE handle)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;
	struct slot *slot;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	slot = session->slot;
	unlink_session(call.module, session);
	logout_if_last(&call, slot);
	return CKR_OK;
}

CK_RV C_CloseAllSessions(CK_SLOT_ID slot_id)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session, *next;
	struct slot *slot;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	for (session = call.module->sessions; session != NULL; session = next) {
		next = session->next;
		if (session->slot == slot)
			unlink_session(call.module, session);
	}
	logout_if_last(&call, slot);
	return CKR_OK;
}

static CK_STATE state_of(const struct session *session)
{
	switch (session->slot->role) {
	case TPM_NOBODY:
		return session->read_write ? CKS_RW_PUBLIC_SESSION
					   : CKS_RO_PUBLIC_SESSION;
	case TPM_SO:
		return CKS_RW_SO_FUNCTIONS;
	case TPM_USER:
		return session->read_write ? CKS_RW_USER_FUNCTIONS
					   : CKS_RO_USER_FUNCTIONS;
	}
	abort();
}

CK_RV C_GetSessionInfo(CK_SESSION_HANDLE handle, CK_SESSION_INFO *info)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	if (info == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the answer");
	*info = (CK_SESSION_INFO){
		.slotID = session->slot->id,
		.state = state_of(session),
		.flags = CKF_SERIAL_SESSION |
			 (session->read_write ? CKF_RW_SESSION : 0),
	};
	return CKR_OK;
}
