/*
 * PINs and logins. The TPM proves a PIN, once per call; what PKCS#11 demands
 * of sessions is checked before, so that no wrong call costs a try.
 */
#include "hsm/tpm2/p11_module.h"

#include <string.h>

#include "base/text.h"
#include "hsm/tpm2/p11_object.h"

static CK_RV check_pin(const void *pin, CK_ULONG len)
{
	if (pin == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no PIN");
	if (len > TPM_PIN_MAX)
		return rv_raise(CKR_PIN_LEN_RANGE, "a PIN of %lu bytes", len);
	return CKR_OK;
}

static CK_RV check_new_pin(const void *pin, CK_ULONG len)
{
	RV_TRY(check_pin(pin, len));
	if (len < TPM_PIN_MIN)
		return rv_raise(CKR_PIN_LEN_RANGE,
				"a PIN of %lu bytes: the fewest are %d", len,
				TPM_PIN_MIN);
	return CKR_OK;
}

/* 32 bytes, padded with blanks; some callers end it with a NUL. */
static CK_RV label_of(const CK_UTF8CHAR *label, char ret[TPM_LABEL_MAX + 1])
{
	size_t len = TPM_LABEL_MAX;
	const CK_UTF8CHAR *end;

	if (label == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no label");
	end = memchr(label, '\0', len);
	if (end != NULL)
		len = (size_t)(end - label);
	text_unpad(ret, TPM_LABEL_MAX + 1, label, len);
	return CKR_OK;
}

CK_RV C_InitToken(CK_SLOT_ID slot_id, CK_UTF8CHAR *pin, CK_ULONG pin_len,
		  CK_UTF8CHAR *label)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	char text[TPM_LABEL_MAX + 1];
	struct slot *slot;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	RV_TRY(check_new_pin(pin, pin_len));
	RV_TRY(label_of(label, text));
	admin = slot_lock_admin(&call, slot);
	if (slot_sessions(call.module, slot, false) > 0)
		return rv_raise(CKR_SESSION_EXISTS, "the token has sessions");
	slot->initialised = false;
	call_unlock(&call);
	rv = tpm_token_init(slot->token, pin, pin_len, text);
	call_lock(&call);
	return rv;
}

/* A read-write session of the security officer. */
static CK_RV check_so(const struct session *session)
{
	if (session->slot->role != TPM_SO)
		return rv_raise(CKR_USER_NOT_LOGGED_IN,
				"the security officer is not logged in");
	return CKR_OK;
}

CK_RV C_InitPIN(CK_SESSION_HANDLE handle, CK_UTF8CHAR *pin, CK_ULONG pin_len)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct session *session;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	RV_TRY(check_so(session));
	RV_TRY(check_new_pin(pin, pin_len));
	admin = slot_lock_admin(&call, session->slot);
	call_unlock(&call);
	rv = tpm_token_init_pin(admin->token, pin, pin_len);
	call_lock(&call);
	return rv;
}

CK_RV C_SetPIN(CK_SESSION_HANDLE handle, CK_UTF8CHAR *old_pin, CK_ULONG old_len,
	       CK_UTF8CHAR *new_pin, CK_ULONG new_len)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct session *session;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	if (!session->read_write)
		return rv_raise(CKR_SESSION_READ_ONLY,
				"the session is read-only");
	RV_TRY(check_pin(old_pin, old_len));
	RV_TRY(check_new_pin(new_pin, new_len));
	admin = slot_lock_admin(&call, session->slot);
	call_unlock(&call);
	rv = tpm_token_set_pin(admin->token, old_pin, old_len, new_pin,
			       new_len);
	call_lock(&call);
	return rv;
}

static CK_RV role_of(CK_USER_TYPE user, enum tpm_role *ret)
{
	if (user == CKU_CONTEXT_SPECIFIC)
		return rv_raise(CKR_OPERATION_NOT_INITIALIZED,
				"no key asks for its PIN at each use");
	if (user != CKU_USER && user != CKU_SO)
		return rv_raise(CKR_USER_TYPE_INVALID, "no user has type %lu",
				user);
	*ret = user == CKU_SO ? TPM_SO : TPM_USER;
	return CKR_OK;
}

static CK_RV check_login(struct call *call, const struct slot *slot,
			 enum tpm_role role)
{
	if (slot->role == role)
		return rv_raise(CKR_USER_ALREADY_LOGGED_IN,
				"this user is logged in already");
	if (slot->role != TPM_NOBODY)
		return rv_raise(CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
				"another user is logged in");
	if (role == TPM_SO && slot_sessions(call->module, slot, false) !=
				      slot_sessions(call->module, slot, true))
		return rv_raise(CKR_SESSION_READ_ONLY_EXISTS,
				"the token has a read-only session");
	return CKR_OK;
}

/* What the last login left, the token may not have heard of yet. */
static CK_RV login_anew(struct tpm_token *token, enum tpm_role role,
			const uint8_t *pin, size_t pin_len)
{
	(void)tpm_token_logout(token);
	return tpm_token_login(token, role, pin, pin_len);
}

static CK_RV login(struct call *call, struct slot *slot, enum tpm_role role,
		   const uint8_t *pin, size_t pin_len)
{
	CK_RV rv;

	RV_TRY(check_login(call, slot, role));
	call_unlock(call);
	rv = login_anew(slot->token, role, pin, pin_len);
	call_lock(call);
	RV_TRY(rv);
	if (slot_sessions(call->module, slot, false) > 0) {
		slot->role = role;
		return CKR_OK;
	}
	/* All of them were closed meanwhile. */
	call_unlock(call);
	(void)tpm_token_logout(slot->token);
	call_lock(call);
	return rv_raise(CKR_SESSION_CLOSED, "the session was closed");
}

CK_RV C_Login(CK_SESSION_HANDLE handle, CK_USER_TYPE user, CK_UTF8CHAR *pin,
	      CK_ULONG pin_len)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct session *session;
	enum tpm_role role;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	RV_TRY(role_of(user, &role));
	RV_TRY(check_pin(pin, pin_len));
	admin = slot_lock_admin(&call, session->slot);
	return login(&call, admin, role, pin, pin_len);
}

CK_RV C_Logout(CK_SESSION_HANDLE handle)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	struct session *session;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	admin = slot_lock_admin(&call, session->slot);
	if (admin->role == TPM_NOBODY)
		return rv_raise(CKR_USER_NOT_LOGGED_IN, "nobody is logged in");
	slot_forget(call.module, admin);
	call_unlock(&call);
	rv = tpm_token_logout(admin->token);
	call_lock(&call);
	return rv;
}
