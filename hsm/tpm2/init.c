/*
 * Making a token: what the owner does once, and the folder.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "base/text.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/state.h"

#define KEYS_DEFAULT 4 /* two master keys, the row-MAC key, the audit key */

/* Commands without which there is no token; a TPM may leave them out. */
static const struct {
	uint32_t code;
	const char *name;
} needed[] = {
	{TPM2_CC_HMAC, "TPM2_HMAC"},
	{TPM2_CC_PolicyNV, "TPM2_PolicyNV"},
	{TPM2_CC_NV_Increment, "TPM2_NV_Increment"},
	{TPM2_CC_Sign, "TPM2_Sign"},
	{TPM2_CC_CertifyCreation, "TPM2_CertifyCreation"},
};

static CK_RV check_commands(struct tpm *tpm)
{
	bool there = false;

	for (size_t i = 0; i < sizeof(needed) / sizeof(needed[0]); i++) {
		RV_TRY(caps_has_command(tpm, needed[i].code, &there));
		if (!there)
			return rv_raise(CKR_FUNCTION_NOT_SUPPORTED,
					"this TPM has no %s, which a token "
					"needs",
					needed[i].name);
	}
	RV_TRY(caps_has_curve(tpm, TPM2_ECC_NIST_P256, &there));
	if (!there)
		return rv_raise(CKR_FUNCTION_NOT_SUPPORTED,
				"this TPM has no P-256, which a token needs");
	return CKR_OK;
}

static CK_RV check_auth(struct span auth)
{
	if (auth.len > OWNER_AUTH_MAX)
		return rv_raise(CKR_ARGUMENTS_BAD,
				"an authorisation has at most %d bytes",
				OWNER_AUTH_MAX);
	return CKR_OK;
}

static CK_RV change_auth(struct tpm *tpm, const struct tpm_object *hierarchy,
			 struct span fresh)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(HierarchyChangeAuth);
	struct tpm_object changed = tpm_permanent(hierarchy->handle, fresh);
	struct tpm_session *main = NULL;
	CK_RV rv;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, hierarchy);
	cmd_auth(&cmd, main, hierarchy, CMD_SECRET);
	cmd.answer_of = &changed;
	cmd_put_2b(&cmd, fresh);
	rv = cmd_run(tpm, &cmd);
	/* A second try would only count against the lockout's own limit. */
	tpm->session_lost = false;
	return rv;
}

/* An owner's command that changes nothing: TPM2_PolicySecret. */
static CK_RV prove_owner_in(struct tpm *tpm, const struct tpm_object *owner,
			    const struct tpm_session *policy)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(PolicySecret);
	struct tpm_object session =
		tpm_permanent(policy->handle, SPAN(NULL, 0));
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, owner);
	cmd_handle(&cmd, &session);
	cmd_auth(&cmd, main, owner, CMD_PLAIN);
	cmd_put_2b(&cmd, SPAN(NULL, 0)); /* nonce */
	cmd_put_2b(&cmd, SPAN(NULL, 0)); /* command */
	cmd_put_2b(&cmd, SPAN(NULL, 0)); /* reference */
	cmd_put_u32(&cmd, 0);            /* expiration */
	return cmd_run(tpm, &cmd);
}

/* Better now than at the first key. */
static CK_RV prove_owner(struct tpm_token *token)
{
	struct tpm_object owner = token_owner(token);
	struct tpm_session policy = {0};
	struct tpm *tpm = token->tpm;
	CK_RV rv;

	RV_TRY(session_start(tpm, SESSION_POLICY, NULL, NULL, &policy));
	rv = prove_owner_in(tpm, &owner, &policy);
	if (rv != CKR_OK && tpm_refused(tpm)) {
		tpm->session_lost = false; /* the session is a fresh one */
		rv = rv_raise(CKR_FUNCTION_REJECTED,
			      "the TPM's owner has another authorisation than "
			      "the one given");
	}
	session_end(tpm, &policy);
	return rv;
}

static CK_RV keep_owner(struct tpm_token *token, struct span auth)
{
	CLEANUP(kt_secret_done) struct kt_secret copy = {0};

	RV_TRY(rv_of(kt_secret_copy(auth.data, auth.len, &copy)));
	kt_secret_done(&token->provided);
	token->provided = copy;
	copy = (struct kt_secret){0};
	return CKR_OK;
}

static CK_RV use_owner(struct tpm_token *token, struct span auth)
{
	kt_secret_done(&token->owner_auth);
	return rv_of(kt_secret_copy(auth.data, auth.len, &token->owner_auth));
}

/* The checks come first: nothing is written to a TPM that cannot serve. */
static CK_RV provide(struct tpm_token *token, const struct tpm_provision *p)
{
	struct span owner = SPAN(p->owner, p->owner_len);
	struct tpm_object lockout = tpm_permanent(
		TPM2_RH_LOCKOUT, SPAN(p->lockout, p->lockout_len));
	struct tpm_object hierarchy;
	struct conf conf = {0};
	uint8_t pcrs[PCR_MAX][HASH_LEN];

	RV_TRY(check_commands(token->tpm));
	RV_TRY(slots_check(token, p->keys > 0 ? p->keys : KEYS_DEFAULT));
	RV_TRY(caps_pcrs(token->tpm, p->pcrs, pcrs));
	RV_TRY(use_owner(token, owner));
	RV_TRY(srk_find(token, &conf));
	RV_TRY(prove_owner(token));
	if (p->new_lockout != NULL)
		RV_TRY(change_auth(token->tpm, &lockout,
				   SPAN(p->new_lockout, p->new_lockout_len)));
	hierarchy = token_owner(token);
	if (p->new_owner != NULL) {
		owner = SPAN(p->new_owner, p->new_owner_len);
		RV_TRY(change_auth(token->tpm, &hierarchy, owner));
		RV_TRY(use_owner(token, owner));
	}
	token->provided_pcrs = p->pcrs;
	return keep_owner(token, owner);
}

/* The storage root that was found is for the token to come: one that is there
 * goes on with its own, which the next look at token.conf pins again. */
static CK_RV provision(struct tpm_token *token, void *arg)
{
	CK_RV rv;

	if (token->role != TPM_NOBODY)
		return rv_raise(CKR_USER_ALREADY_LOGGED_IN,
				"somebody is logged in");
	rv = provide(token, arg);
	session_end(token->tpm, &token->tpm->session);
	token->conf_stat = (struct stat){0};
	kt_secret_done(&token->owner_auth);
	return rv;
}

CK_RV tpm_token_provision(struct tpm_token *token,
			  const struct tpm_provision *p)
{
	RV_TRY(check_auth(SPAN(p->owner, p->owner_len)));
	RV_TRY(check_auth(SPAN(p->new_owner, p->new_owner_len)));
	RV_TRY(check_auth(SPAN(p->lockout, p->lockout_len)));
	RV_TRY(check_auth(SPAN(p->new_lockout, p->new_lockout_len)));
	if (p->pcrs >> PCR_MAX != 0)
		return rv_raise(CKR_ARGUMENTS_BAD, "PCRs are 0 to %d",
				PCR_MAX - 1);
	return token_run(token, provision, (void *)p);
}

struct init {
	struct span pin;
	const char *label;
};

/* The TPM's name for its maker, four letters. */
static CK_RV read_manufacturer(struct tpm *tpm, char ret[5])
{
	uint8_t letters[4];
	uint32_t value = 0;

	RV_TRY(caps_property(tpm, TPM2_PT_MANUFACTURER, &value));
	be32_put(letters, value);
	memset(ret, 0, sizeof(letters) + 1);
	for (size_t i = 0; i < sizeof(letters); i++) {
		if (letters[i] >= 0x20 && letters[i] < 0x7f)
			ret[i] = (char)letters[i];
	}
	return CKR_OK;
}

static CK_RV new_conf(struct tpm_token *token, const char *label,
		      struct conf *ret)
{
	uint8_t serial[TPM_SERIAL_LEN / 2];
	struct conf conf = {.pcrs = token->provided_pcrs};

	RV_TRY(rv_of(
		text_copy(conf.label, sizeof(conf.label), label, "the label")));
	RV_TRY(crypto_random(token->tpm->crypto, serial, sizeof(serial)));
	hex_encode(serial, sizeof(serial), conf.serial);
	RV_TRY(read_manufacturer(token->tpm, conf.manufacturer));
	RV_TRY(srk_find(token, &conf));
	*ret = conf;
	return CKR_OK;
}

/* A TPM drops zeros at the end of an authorisation: this one has none. */
static CK_RV new_object_auth(struct tpm_token *token)
{
	CLEANUP(kt_secret_done) struct kt_secret auth = {0};

	RV_TRY(rv_of(secret_new(OBJECT_AUTH_LEN, &auth)));
	do {
		RV_TRY(crypto_random(token->tpm->crypto, auth.data, auth.len));
	} while (auth.data[OBJECT_AUTH_LEN - 1] == 0);
	token->object_auth = auth;
	auth = (struct kt_secret){0};
	return CKR_OK;
}

/* The old token goes for good, its keys first; from then on there is none
 * until the new token.conf is written last. */
static CK_RV destroy_old(struct tpm_token *token, struct span pin)
{
	RV_TRY(pin_open(token, TPM_SO, pin, &token->object_auth,
			&token->owner_auth));
	RV_TRY(life_destroy_all(token));
	RV_TRY(folder_remove(&token->folder, "token.conf"));
	RV_TRY(folder_remove(&token->folder, "pin-user"));
	kt_secret_done(&token->object_auth);
	return CKR_OK;
}

static CK_RV make(struct tpm_token *token, const struct init *init)
{
	struct conf conf = {0};

	if (token->provided.data != NULL)
		RV_TRY(use_owner(token, SPAN(token->provided.data,
					     token->provided.len)));
	RV_TRY(check_commands(token->tpm));
	RV_TRY(slots_check(token, 1));
	RV_TRY(new_conf(token, init->label, &conf));
	RV_TRY(prove_owner(token));
	RV_TRY(new_object_auth(token));
	RV_TRY(attest_make_key(token));
	RV_TRY(pin_seal(token, TPM_SO, init->pin, 0));
	RV_TRY(folder_remove(&token->folder, "pin-user"));
	return conf_save(token, &conf);
}

static CK_RV orphan(struct tpm_token *token, struct key_file *file, void *arg)
{
	(void)token;
	(void)arg;
	if (file->stage == KEY_DESTROYED)
		return CKR_OK;
	return rv_raise(CKR_DEVICE_ERROR,
			"token.conf is missing from the state folder, but "
			"there are keys: put it back from a backup");
}

static CK_RV init(struct tpm_token *token, void *arg)
{
	CK_RV rv = CKR_OK;

	token_forget_login(token);
	if (token->conf.serial[0] != '\0')
		rv = destroy_old(token, ((const struct init *)arg)->pin);
	if (rv == CKR_OK)
		rv = make(token, arg);
	if (rv == CKR_OK)
		kt_secret_done(&token->provided);
	token_forget_login(token);
	return rv;
}

static CK_RV refuse_orphans(struct tpm_token *token, void *arg)
{
	(void)arg;
	if (token->conf.serial[0] != '\0')
		return CKR_OK;
	return keys_each(token, orphan, NULL);
}

CK_RV tpm_token_init(struct tpm_token *token, const uint8_t *pin,
		     size_t pin_len, const char *label)
{
	struct init args = {SPAN(pin, pin_len), label};

	RV_TRY(pin_check(args.pin));
	RV_TRY(folder_make(&token->folder));
	RV_TRY(token_locked(token, refuse_orphans, NULL));
	return token_run(token, init, &args);
}
