/*
 * The login. A PIN that was rejected once is never tried again in this
 * process, and none is tried where the token says that it could be the last
 * try. Whether a login is needed at all is asked first: every attempt that is
 * not made cannot lock a token.
 */
#include "base/harden.h"
#include "hsm/state.h"

static enum kt_err token_flags(struct token *token, CK_FLAGS *ret)
{
	CK_TOKEN_INFO info;
	CK_RV rv = token->module.p11->C_GetTokenInfo(token->slot.id, &info);

	TRY(p11_result(NULL, "C_GetTokenInfo", rv));
	*ret = info.flags;
	return KT_OK;
}

enum kt_err login_allowed(struct token *token)
{
	CK_FLAGS flags;

	TRY(token_flags(token, &flags));
	if ((flags & CKF_USER_PIN_LOCKED) != 0) {
		(void)err_raise(KT_ERR_PIN, "the token's PIN is locked");
		return err_hint(KT_ERR_PIN,
				"the token's security officer can reset it");
	}
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0 && !token->last_try) {
		(void)err_raise(KT_ERR_PIN,
				"one more wrong PIN locks the token");
		return err_hint(KT_ERR_PIN, "--last-try goes on all the same");
	}
	return KT_OK;
}

static const char *tries_left(CK_FLAGS flags)
{
	if ((flags & CKF_USER_PIN_LOCKED) != 0)
		return "locked";
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return "last try";
	if ((flags & CKF_USER_PIN_COUNT_LOW) != 0)
		return "few tries left";
	return NULL;
}

/* What the token says afterwards, where it says anything. */
static enum kt_err pin_failed(struct token *token, enum kt_err err)
{
	struct err_saved saved;
	const char *says = NULL;
	CK_FLAGS flags;

	(void)err_prefix(err, "PIN rejected by the token");
	err_save(err, &saved);
	if (token_flags(token, &flags) == KT_OK)
		says = tries_left(flags);
	err = err_restore(&saved);
	if (says != NULL)
		return err_hint(err, "the token says: %s", says);
	return err;
}

/* SoftHSM rewrites its token file in C_Login, in place: a worker that its
 * dying parent took along in there would leave the token without content, and
 * its keys with it. */
static CK_RV call_login(struct token *token, CK_SESSION_HANDLE session)
{
	[[maybe_unused]] CLEANUP(death_hold_end) struct death_hold hold =
		death_hold_begin();

	return token->module.p11->C_Login(session, CKU_USER, token->pin.data,
					  token->pin.len);
}

static enum kt_err try_pin(struct token *token, CK_SESSION_HANDLE session)
{
	enum kt_err err;
	CK_RV rv;

	if (token->pin_rejected)
		return err_raise(KT_ERR_PIN,
				 "the token rejected this PIN before");
	TRY(login_allowed(token));
	rv = call_login(token, session);
	if (rv == CKR_USER_ALREADY_LOGGED_IN)
		return KT_OK;
	err = p11_explain(token->module.words, p11_result(NULL, "C_Login", rv));
	if (err != KT_ERR_PIN)
		return err;
	token->pin_rejected = true;
	return pin_failed(token, err);
}

static bool logged_in(struct token *token, CK_SESSION_HANDLE session)
{
	CK_SESSION_INFO info;

	return token->module.p11->C_GetSessionInfo(session, &info) == CKR_OK &&
	       (info.state == CKS_RO_USER_FUNCTIONS ||
		info.state == CKS_RW_USER_FUNCTIONS);
}

enum kt_err login(struct token *token)
{
	CK_SESSION_HANDLE before = token->anchor, anchor;
	enum kt_err err = KT_OK;

	TRY(session_open(token, 0, &anchor));
	if (!logged_in(token, anchor))
		err = try_pin(token, anchor);
	if (err != KT_OK) {
		token->module.p11->C_CloseSession(anchor);
		return err;
	}
	/* Only now: the last session to close would end the login. */
	if (before != CK_INVALID_HANDLE)
		token->module.p11->C_CloseSession(before);
	token->anchor = anchor;
	token->generation++;
	return KT_OK;
}

static enum kt_err renew(struct token *token, uint64_t generation)
{
	CLEANUP(fd_close) int lock = -1;

	if (token->generation != generation)
		return KT_OK;
	TRY(module_lock(token, LOCK_MODE_EXCLUSIVE, &lock));
	return login(token);
}

enum kt_err login_renew(struct token *token, uint64_t generation)
{
	enum kt_err err;

	pthread_mutex_lock(&token->login_mutex);
	err = renew(token, generation);
	pthread_mutex_unlock(&token->login_mutex);
	return err;
}

void login_end(struct token *token)
{
	if (token->anchor != CK_INVALID_HANDLE)
		token->module.p11->C_CloseSession(token->anchor);
	token->anchor = CK_INVALID_HANDLE;
}
