/*
 * Logging in and out, and PINs.
 */
#include <unistd.h>

#include "base/secret.h"
#include "hsm/tpm2/state.h"

struct login {
	enum tpm_role role;
	struct span pin;
};

static CK_RV check_role(const struct tpm_token *token, enum tpm_role role)
{
	if (token->conf.serial[0] == '\0')
		return rv_raise(CKR_TOKEN_NOT_RECOGNIZED,
				"the token is not initialised");
	if (token->role == role)
		return rv_raise(CKR_USER_ALREADY_LOGGED_IN,
				"already logged in");
	if (token->role != TPM_NOBODY)
		return rv_raise(CKR_USER_ANOTHER_ALREADY_LOGGED_IN,
				"somebody else is logged in");
	return CKR_OK;
}

static CK_RV login(struct tpm_token *token, void *arg)
{
	CLEANUP(kt_secret_done) struct kt_secret object_auth = {0};
	CLEANUP(kt_secret_done) struct kt_secret owner_auth = {0};
	const struct login *login = arg;

	RV_TRY(check_role(token, login->role));
	RV_TRY(pin_open(token, login->role, login->pin, &object_auth,
			&owner_auth));
	token_forget_login(token);
	token->object_auth = object_auth;
	token->owner_auth = owner_auth;
	token->role = login->role;
	object_auth = (struct kt_secret){0};
	owner_auth = (struct kt_secret){0};
	return CKR_OK;
}

static CK_RV recover(struct tpm_token *token, void *arg)
{
	(void)arg;
	return life_recover(token);
}

/* What a power cut left can wait: the login holds without its tidying up, and
 * the next one tries again. */
CK_RV tpm_token_login(struct tpm_token *token, enum tpm_role role,
		      const uint8_t *pin, size_t pin_len)
{
	RV_TRY(token_run(token, login,
			 &(struct login){role, SPAN(pin, pin_len)}));
	if (role == TPM_USER)
		(void)token_run_user(token, recover, NULL);
	return CKR_OK;
}

static CK_RV logout(struct tpm_token *token, void *arg)
{
	(void)arg;
	if (token->role == TPM_NOBODY)
		return rv_raise(CKR_USER_NOT_LOGGED_IN, "nobody is logged in");
	token_forget_login(token);
	session_end(token->tpm, &token->tpm->session);
	return CKR_OK;
}

/* Without the lock between processes where it cannot be had: secrets go. */
CK_RV tpm_token_logout(struct tpm_token *token)
{
	CK_RV rv = token_locked(token, logout, NULL);

	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN) {
		pthread_mutex_lock(&token->lock);
		token_forget_login(token);
		pthread_mutex_unlock(&token->lock);
	}
	return rv;
}

enum tpm_role tpm_token_role(struct tpm_token *token)
{
	enum tpm_role role;

	if (token->pid != getpid())
		return TPM_NOBODY;
	pthread_mutex_lock(&token->lock);
	role = token->role;
	pthread_mutex_unlock(&token->lock);
	return role;
}

static CK_RV init_pin(struct tpm_token *token, void *arg)
{
	const struct span *pin = arg;

	if (token->role != TPM_SO)
		return rv_raise(CKR_USER_NOT_LOGGED_IN,
				"the SO is not logged in");
	return pin_seal(token, TPM_USER, *pin, token->conf.pcrs);
}

CK_RV tpm_token_init_pin(struct tpm_token *token, const uint8_t *pin,
			 size_t pin_len)
{
	struct span fresh = SPAN(pin, pin_len);

	return token_run(token, init_pin, &fresh);
}

struct change {
	struct span old, fresh;
};

static uint32_t pcrs_of(const struct tpm_token *token, enum tpm_role role)
{
	return role == TPM_USER ? token->conf.pcrs : 0;
}

/* The old PIN is asked of the TPM even of one who is logged in. */
static CK_RV set_pin(struct tpm_token *token, void *arg)
{
	const struct change *change = arg;
	enum tpm_role role = token->role == TPM_SO ? TPM_SO : TPM_USER;
	CLEANUP(kt_secret_done) struct kt_secret object_auth = {0};
	CLEANUP(kt_secret_done) struct kt_secret owner_auth = {0};
	CK_RV rv;

	if (token->conf.serial[0] == '\0')
		return rv_raise(CKR_TOKEN_NOT_RECOGNIZED,
				"the token is not initialised");
	RV_TRY(pin_check(change->fresh));
	RV_TRY(pin_open(token, role, change->old, &object_auth, &owner_auth));
	if (token->role != TPM_NOBODY)
		return pin_seal(token, role, change->fresh,
				pcrs_of(token, role));
	token_forget_login(token);
	token->object_auth = object_auth;
	token->owner_auth = owner_auth;
	object_auth = (struct kt_secret){0};
	owner_auth = (struct kt_secret){0};
	rv = pin_seal(token, role, change->fresh, pcrs_of(token, role));
	token_forget_login(token);
	return rv;
}

CK_RV tpm_token_set_pin(struct tpm_token *token, const uint8_t *old,
			size_t old_len, const uint8_t *new, size_t new_len)
{
	struct change change = {SPAN(old, old_len), SPAN(new, new_len)};

	return token_run(token, set_pin, &change);
}
