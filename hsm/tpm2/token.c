/*
 * The token as a thing in memory: its locks, its connection, its login's
 * secrets, and how an operation is run and cured.
 */
#include "hsm/tpm2/token.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/state.h"

#define SRK_DEFAULT 0x81000001
#define HANDLES_DEFAULT 0x81024b00
#define COUNTERS_DEFAULT 0x01804b00

DEFINE_CLEANUP(struct tpm_token, tpm_token_free)

static uint32_t or_default(uint32_t value, uint32_t otherwise)
{
	return value != 0 ? value : otherwise;
}

static CK_RV copy_config(struct tpm_token *token,
			 const struct tpm_config *config)
{
	token->config = *config;
	token->config.tcti = strdup(config->tcti);
	token->config.state = strdup(config->state);
	if (token->config.tcti == NULL || token->config.state == NULL)
		return rv_memory();
	token->config.srk = or_default(config->srk, SRK_DEFAULT);
	token->config.handles = or_default(config->handles, HANDLES_DEFAULT);
	token->config.counters = or_default(config->counters, COUNTERS_DEFAULT);
	token->config.slots = or_default(config->slots, TPM_SLOTS_DEFAULT);
	return folder_init(config->state, &token->folder);
}

CK_RV tpm_token_new(const struct tpm_config *config, struct tpm_token **ret)
{
	CLEANUP(tpm_token_freep)
	struct tpm_token *token = calloc(1, sizeof(*token));

	if (token == NULL)
		return rv_memory();
	token->pid = getpid();
	pthread_mutex_init(&token->lock, NULL);
	RV_TRY(copy_config(token, config));
	RV_TRY(tpm_new(config->tcti, &token->tpm));
	*ret = TAKE(token);
	return CKR_OK;
}

void token_forget_login(struct tpm_token *token)
{
	token_forget_keys(token);
	kt_secret_done(&token->object_auth);
	kt_secret_done(&token->owner_auth);
	token->role = TPM_NOBODY;
}

void tpm_token_free(struct tpm_token *token)
{
	if (token == NULL)
		return;
	token_forget_login(token);
	kt_secret_done(&token->provided);
	tpm_free(token->tpm);
	folder_done(&token->folder);
	if (token->pid == getpid())
		pthread_mutex_destroy(&token->lock);
	free((char *)token->config.tcti);
	free((char *)token->config.state);
	free(token);
}

struct tpm_object token_owner(const struct tpm_token *token)
{
	return tpm_permanent(TPM2_RH_OWNER, SPAN(token->owner_auth.data,
						 token->owner_auth.len));
}

struct object_parent token_srk(const struct tpm_token *token)
{
	return (struct object_parent){.object = &token->tpm->srk};
}

/* In a child only this thread is left: whoever held the lock is not here, and
 * the login stays the parent's. */
static void begin_anew_in_child(struct tpm_token *token)
{
	if (token->pid == getpid())
		return;
	pthread_mutex_init(&token->lock, NULL);
	token->pid = getpid();
	token_forget_login(token);
}

static CK_RV locked_between(struct tpm_token *token, token_op *op, void *arg)
{
	CLEANUP(folder_unlockp) struct folder *folder = NULL;

	RV_TRY(folder_lock(&token->folder));
	folder = &token->folder;
	RV_TRY(conf_refresh(token));
	return op(token, arg);
}

CK_RV token_locked(struct tpm_token *token, token_op *op, void *arg)
{
	CK_RV rv;

	begin_anew_in_child(token);
	pthread_mutex_lock(&token->lock);
	rv = locked_between(token, op, arg);
	pthread_mutex_unlock(&token->lock);
	return rv;
}

struct run {
	token_op *op;
	void *arg;
	bool of_user;
};

static CK_RV attempt(struct tpm_token *token, const struct run *run)
{
	struct tpm *tpm = token->tpm;

	RV_TRY(tpm_connect(tpm));
	tpm->session_lost = false;
	tpm->slots_full = false;
	return run->op(token, run->arg);
}

/* Each cure once. */
struct cures {
	bool connection, session, slots;
};

static bool cure(struct tpm *tpm, struct cures *done)
{
	if (tpm->gone && !done->connection) {
		done->connection = true;
		return true;
	}
	if (tpm->gone)
		return false;
	if (tpm->session_lost && !done->session) {
		done->session = true;
		session_wipe(&tpm->session);
		return true;
	}
	if (tpm->slots_full && !done->slots) {
		done->slots = true;
		return caps_flush_all(tpm, tpm->session.handle) == CKR_OK;
	}
	return false;
}

static CK_RV run_cured(struct tpm_token *token, void *arg)
{
	const struct run *run = arg;
	struct cures done = {0};
	struct err_saved saved;
	CK_RV rv;

	if (run->of_user && token->role != TPM_USER)
		return rv_raise(CKR_USER_NOT_LOGGED_IN,
				"the user is not logged in");
	for (;;) {
		rv = attempt(token, run);
		if (rv == CKR_OK)
			return rv;
		err_save(KT_ERR_FAILED, &saved);
		if (!cure(token->tpm, &done))
			break;
	}
	(void)err_restore(&saved);
	return rv;
}

CK_RV token_run(struct tpm_token *token, token_op *op, void *arg)
{
	return token_locked(token, run_cured, &(struct run){op, arg, false});
}

CK_RV token_run_user(struct tpm_token *token, token_op *op, void *arg)
{
	return token_locked(token, run_cured, &(struct run){op, arg, true});
}

static bool stands(const struct tpm_token *token)
{
	const struct tpm *tpm = token->tpm;

	return token->role == TPM_USER && tpm->tcti != NULL &&
	       tpm->pid == token->pid && !tpm->gone && tpm->session.handle != 0;
}

CK_RV token_try(struct tpm_token *token, token_op *op, void *arg)
{
	CK_RV rv = CKR_OK;

	if (token->pid != getpid())
		return CKR_OK;
	pthread_mutex_lock(&token->lock);
	if (stands(token))
		rv = op(token, arg);
	pthread_mutex_unlock(&token->lock);
	return rv;
}

static CK_RV read_lockout(struct tpm_token *token, void *arg)
{
	struct tpm_token_info *info = arg;
	uint32_t permanent = 0, failures = 0, most = 0;

	RV_TRY(caps_property(token->tpm, TPM2_PT_PERMANENT, &permanent));
	RV_TRY(caps_property(token->tpm, TPM2_PT_LOCKOUT_COUNTER, &failures));
	RV_TRY(caps_property(token->tpm, TPM2_PT_MAX_AUTH_FAIL, &most));
	info->tpm_answers = true;
	info->locked = (permanent & TPMA_PERMANENT_INLOCKOUT) != 0;
	info->count_low = failures > 0;
	info->final_try = !info->locked && failures > 0 && failures + 1 == most;
	return CKR_OK;
}

static CK_RV read_info(struct tpm_token *token, void *arg)
{
	struct tpm_token_info *info = arg;
	const struct conf *conf = &token->conf;

	memcpy(info->label, conf->label, sizeof(info->label));
	memcpy(info->serial, conf->serial, sizeof(info->serial));
	memcpy(info->manufacturer, conf->manufacturer,
	       sizeof(info->manufacturer));
	info->initialised = conf->serial[0] != '\0';
	info->user_pin_set = info->initialised && pin_is_set(token, TPM_USER);
	return CKR_OK;
}

CK_RV tpm_token_info(struct tpm_token *token, struct tpm_token_info *ret)
{
	struct tpm_token_info info = {0};

	RV_TRY(token_locked(token, read_info, &info));
	if (info.initialised)
		(void)token_run(token, read_lockout, &info);
	*ret = info;
	return CKR_OK;
}

struct draw {
	uint8_t *ret;
	size_t len;
};

/* What the TPM gives at once is at most a digest of its largest hash. */
static CK_RV draw(struct tpm_token *token, void *arg)
{
	const struct draw *draw = arg;
	struct tpm *tpm = token->tpm;

	for (size_t done = 0; done < draw->len;) {
		CLEANUP(cmd_done) struct cmd cmd = CMD(GetRandom);
		struct tpm_session *main = NULL;
		size_t left = draw->len - done;
		struct span bytes;

		if (tpm->srk_public.len > 0) {
			RV_TRY(session_main(tpm, &main));
			cmd_auth(&cmd, main, NULL, CMD_ANSWER_SECRET);
		}
		cmd_put_u16(&cmd,
			    (uint16_t)(left < HASH_LEN ? left : HASH_LEN));
		RV_TRY(cmd_run(tpm, &cmd));
		bytes = cmd_get_2b(&cmd);
		RV_TRY(cmd_end(&cmd));
		if (bytes.len == 0 || bytes.len > left)
			return rv_raise(CKR_DEVICE_ERROR,
					"the TPM gave %zu random bytes",
					bytes.len);
		memcpy(draw->ret + done, bytes.data, bytes.len);
		done += bytes.len;
	}
	return CKR_OK;
}

CK_RV tpm_token_random(struct tpm_token *token, uint8_t *ret, size_t len)
{
	return token_run(token, draw, &(struct draw){ret, len});
}
