/*
 * Preparing a token in a TPM, and its evidence. The module is used like any
 * other, but for what PKCS#11 has no words for: the authorisations of the
 * TPM's owner, before C_InitToken, and certificates. A failure says what the
 * module said of it, because "CKR_DEVICE_ERROR" tells nobody what to do.
 */
#include "hsm/tpm.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "hsm/pin.h"
#include "hsm/state.h"
#include "hsm/tpm2/keyturn-tpm2.h"

#define MODULE_NAME "keyturn-tpm2"
#define SLOTS_MAX 256
#define LABEL_LEN 32
#define AUTH_MAX 32
#define FILES_MAX 16

static enum kt_err vendor_symbol(const struct module *module, const char *name,
				 void **ret)
{
	void *symbol = module_symbol(module, name);

	if (symbol == NULL)
		return err_raise(KT_ERR_TOKEN,
				 "module %s is not keyturn's own for TPMs",
				 module->path);
	*ret = symbol;
	return KT_OK;
}

static enum kt_err checked(const struct module *module, const char *function,
			   CK_RV rv)
{
	return module_explain(module, p11_result(NULL, function, rv));
}

#define MODULE_CALL(module, function, ...)                                     \
	checked((module), #function, (module)->p11->function(__VA_ARGS__))

/* Everything that is asked for, before the TPM is. */
struct setup {
	const struct kt_tpm_setup *from;
	struct module module;
	keyturn_tpm2_provision_fn *provision;
	CK_SLOT_ID slot;
	CK_TOKEN_INFO token;
	struct kt_secret so_pin, pin;
	struct kt_secret owner, new_owner, lockout, new_lockout;
};

static void setup_done(struct setup *setup)
{
	kt_secret_done(&setup->so_pin);
	kt_secret_done(&setup->pin);
	kt_secret_done(&setup->owner);
	kt_secret_done(&setup->new_owner);
	kt_secret_done(&setup->lockout);
	kt_secret_done(&setup->new_lockout);
	module_done(&setup->module);
}

static enum kt_err read_auth(const char *file, const char *what,
			     struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret auth = {0};
	const struct kt_pin_source source = {.fd = -1, .file = file};

	if (file == NULL)
		return KT_OK;
	TRY(pin_read(&source, NULL, what, &auth));
	if (auth.len > AUTH_MAX)
		return err_raise(KT_ERR_USAGE, "%s: more than %d bytes", file,
				 AUTH_MAX);
	*ret = auth;
	auth = (struct kt_secret){0};
	return KT_OK;
}

static enum kt_err read_secrets(struct setup *setup)
{
	const struct kt_tpm_setup *from = setup->from;

	TRY(read_auth(from->owner_file, "owner", &setup->owner));
	TRY(read_auth(from->new_owner_file, "owner", &setup->new_owner));
	TRY(read_auth(from->lockout_file, "lockout", &setup->lockout));
	TRY(read_auth(from->new_lockout_file, "lockout", &setup->new_lockout));
	TRY(pin_read(&from->so_pin, NULL, from->label, &setup->so_pin));
	return pin_read(&from->pin, NULL, from->label, &setup->pin);
}

static enum kt_err find_slot(struct setup *setup)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG count = SLOTS_MAX;
	enum kt_err err;

	TRY(MODULE_CALL(&setup->module, C_GetSlotList, CK_FALSE, slots,
			&count));
	if (setup->from->slot >= count) {
		err = err_raise(KT_ERR_TOKEN,
				"module %s shows %lu slots, not the one of "
				"the new token",
				setup->module.path, count);
		return module_explain(&setup->module, err);
	}
	setup->slot = slots[setup->from->slot];
	return MODULE_CALL(&setup->module, C_GetTokenInfo, setup->slot,
			   &setup->token);
}

/* Without a user's PIN there can be no key in it: it was left half made. */
static enum kt_err refuse_existing(const struct setup *setup)
{
	enum kt_err err;

	if ((setup->token.flags & CKF_TOKEN_INITIALIZED) == 0 ||
	    (setup->token.flags & CKF_USER_PIN_INITIALIZED) == 0)
		return KT_OK;
	err = err_raise(KT_ERR_EXISTS, "there is a token in slot %lu already",
			setup->slot);
	return err_hint(err, "pkcs11-tool --init-token makes it anew, and "
			     "destroys its keys");
}

/* Found out after C_InitToken it would leave a token that nobody can use. */
static enum kt_err check_pin(const struct setup *setup,
			     const struct kt_secret *pin, const char *whose)
{
	if (pin->len >= setup->token.ulMinPinLen &&
	    pin->len <= setup->token.ulMaxPinLen)
		return KT_OK;
	return err_raise(KT_ERR_PIN, "the %s PIN has %zu bytes, not %lu to %lu",
			 whose, pin->len, setup->token.ulMinPinLen,
			 setup->token.ulMaxPinLen);
}

static enum kt_err provision(const struct setup *setup)
{
	const struct keyturn_tpm2_provision provision = {
		.owner = setup->owner.data,
		.new_owner = setup->new_owner.data,
		.lockout = setup->lockout.data,
		.new_lockout = setup->new_lockout.data,
		.owner_len = setup->owner.len,
		.new_owner_len = setup->new_owner.len,
		.lockout_len = setup->lockout.len,
		.new_lockout_len = setup->new_lockout.len,
		.pcrs = setup->from->pcrs,
	};

	return checked(&setup->module, "keyturn_tpm2_provision",
		       setup->provision(setup->slot, &provision));
}

static enum kt_err make_token(struct setup *setup)
{
	CK_UTF8CHAR label[LABEL_LEN];
	size_t len = strlen(setup->from->label);

	if (len == 0 || len > LABEL_LEN)
		return err_raise(KT_ERR_USAGE,
				 "a label has 1 to %d bytes, not %zu",
				 LABEL_LEN, len);
	memset(label, ' ', sizeof(label));
	memcpy(label, setup->from->label, len);
	TRY(provision(setup));
	return MODULE_CALL(&setup->module, C_InitToken, setup->slot,
			   setup->so_pin.data, setup->so_pin.len, label);
}

struct open_session {
	const struct module *module;
	CK_SESSION_HANDLE handle;
};

static void open_session_close(struct open_session *session)
{
	if (session->handle != CK_INVALID_HANDLE)
		session->module->p11->C_CloseSession(session->handle);
}

/* The user's login is the proof that the token works. */
static enum kt_err make_pin(const struct setup *setup)
{
	CLEANUP(open_session_close)
	struct open_session session = {.module = &setup->module};
	const struct module *m = &setup->module;

	TRY(MODULE_CALL(m, C_OpenSession, setup->slot,
			CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
			&session.handle));
	TRY(MODULE_CALL(m, C_Login, session.handle, CKU_SO, setup->so_pin.data,
			setup->so_pin.len));
	TRY(MODULE_CALL(m, C_InitPIN, session.handle, setup->pin.data,
			setup->pin.len));
	TRY(MODULE_CALL(m, C_Logout, session.handle));
	return MODULE_CALL(m, C_Login, session.handle, CKU_USER,
			   setup->pin.data, setup->pin.len);
}

static enum kt_err describe(const struct setup *setup,
			    struct kt_token_info *ret)
{
	CK_TOKEN_INFO token;
	CK_INFO library;

	TRY(MODULE_CALL(&setup->module, C_GetTokenInfo, setup->slot, &token));
	TRY(MODULE_CALL(&setup->module, C_GetInfo, &library));
	*ret = token_describe(&setup->module, &token, &library);
	return KT_OK;
}

/* Nobody is asked for a PIN before it is clear what it is for. */
static enum kt_err load(struct setup *setup)
{
	const char *name = setup->from->module;
	void *symbol;

	TRY(module_load(name != NULL ? name : MODULE_NAME, &setup->module));
	TRY(vendor_symbol(&setup->module, "keyturn_tpm2_provision", &symbol));
	setup->provision = (keyturn_tpm2_provision_fn *)symbol;
	return module_initialize(&setup->module);
}

enum kt_err tpm_set_up(const struct kt_tpm_setup *from,
		       struct kt_token_info *ret)
{
	CLEANUP(setup_done) struct setup setup = {.from = from};

	TRY(load(&setup));
	TRY(find_slot(&setup));
	TRY(refuse_existing(&setup));
	TRY(read_secrets(&setup));
	TRY(check_pin(&setup, &setup.so_pin, "security officer's"));
	TRY(check_pin(&setup, &setup.pin, "user's"));
	TRY(make_token(&setup));
	TRY(make_pin(&setup));
	return describe(&setup, ret);
}

/* Gathered first, so that a retry tells nobody anything twice. */
struct attest {
	const struct kt_id *cka_id;
	const uint8_t *nonce;
	size_t nonce_len;
	size_t count;
	struct file {
		char name[64];
		uint8_t *data;
		size_t len;
	} files[FILES_MAX];
};

static void attest_done(struct attest *attest)
{
	for (size_t i = 0; i < attest->count; i++)
		free(attest->files[i].data);
	attest->count = 0;
}

static CK_RV keep_file(void *arg, const char *name, const unsigned char *data,
		       unsigned long len)
{
	struct attest *attest = arg;
	struct file file = {.len = len, .data = malloc(len + 1)};

	if (file.data == NULL || attest->count == FILES_MAX ||
	    strlen(name) >= sizeof(file.name)) {
		free(file.data);
		return CKR_HOST_MEMORY;
	}
	memcpy(file.data, data, len);
	text_cut(file.name, sizeof(file.name), name);
	attest->files[attest->count++] = file;
	return CKR_OK;
}

static enum kt_err attest_op(struct session *s, void *arg)
{
	struct attest *attest = arg;
	keyturn_tpm2_attest_fn *function;
	void *symbol;
	CK_RV rv;

	TRY(vendor_symbol(&s->token->module, "keyturn_tpm2_attest", &symbol));
	function = (keyturn_tpm2_attest_fn *)symbol;
	attest_done(attest);
	rv = function(s->handle, attest->cka_id->bytes, KT_ID_LEN,
		      attest->nonce, attest->nonce_len, keep_file, attest);
	if (rv == CKR_KEY_HANDLE_INVALID)
		return err_raise(KT_ERR_NOT_FOUND,
				 "the token has no evidence of such a key");
	return p11_result(s, "keyturn_tpm2_attest", rv);
}

enum kt_err token_attest(struct token *token, const struct kt_id *cka_id,
			 const uint8_t *nonce, size_t nonce_len,
			 enum kt_err (*each)(void *arg,
					     const struct kt_evidence *file),
			 void *arg)
{
	CLEANUP(attest_done)
	struct attest attest = {
		.cka_id = cka_id, .nonce = nonce, .nonce_len = nonce_len};

	TRY(token_retry(token, attest_op, &attest));
	for (size_t i = 0; i < attest.count; i++)
		TRY(each(arg, &(struct kt_evidence){attest.files[i].name,
						    attest.files[i].data,
						    attest.files[i].len}));
	return KT_OK;
}
