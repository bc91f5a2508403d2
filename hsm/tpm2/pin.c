/*
 * PINs. A PIN is the authorisation of a small object below the storage root,
 * under the TPM's dictionary attack protection, that seals the random
 * authorisation of all keys and the owner's. Keys themselves never depend on a
 * PIN: TPM2_ObjectChangeAuth would leave the old blob good with the old PIN.
 * The user's object may be bound to PCRs; the SO's never is, so that a new
 * firmware does not lock everybody out for ever.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/record.h"
#include "hsm/tpm2/state.h"

#define LABEL "keyturn tpm pin 1"
#define SALT_LEN 32
#define PAYLOAD_VERSION 1
#define PAYLOAD_MAX (1 + OBJECT_AUTH_LEN + 1 + OWNER_AUTH_MAX)

struct pin_file {
	uint8_t salt[SALT_LEN];
	uint32_t pcrs;
	uint8_t values[PCR_MAX][HASH_LEN]; /* of the PCRs in the mask */
	struct object_blob blob;
};

static const char *file_of(enum tpm_role role)
{
	return role == TPM_SO ? "pin-so" : "pin-user";
}

CK_RV pin_check(struct span pin)
{
	if (pin.len < TPM_PIN_MIN || pin.len > TPM_PIN_MAX)
		return rv_raise(CKR_PIN_LEN_RANGE,
				"a PIN has %d to %d characters", TPM_PIN_MIN,
				TPM_PIN_MAX);
	return CKR_OK;
}

bool pin_is_set(const struct tpm_token *token, enum tpm_role role)
{
	return folder_has(&token->folder, file_of(role));
}

static unsigned count_of(uint32_t pcrs)
{
	return (unsigned)__builtin_popcount(pcrs);
}

static CK_RV file_save(const struct tpm_token *token, enum tpm_role role,
		       const struct pin_file *file)
{
	CLEANUP(record_done) struct record record = {0};
	const struct object_blob *blob = &file->blob;

	record_put_number(&record, "format", 1);
	record_put_bytes(&record, "salt", SPAN(file->salt, SALT_LEN));
	record_put_number(&record, "pcrs", file->pcrs);
	record_put_bytes(&record, "pcr-values",
			 SPAN(file->values, count_of(file->pcrs) * HASH_LEN));
	record_put_bytes(&record, "public",
			 SPAN(blob->public.data, blob->public.len));
	record_put_bytes(&record, "private",
			 SPAN(blob->private, blob->private_len));
	RV_TRY(record_check(&record));
	return folder_write(&token->folder, file_of(role),
			    SPAN(record.text, record.len));
}

static CK_RV parse(struct record *record, const char *what,
		   struct pin_file *file)
{
	uint64_t format = record_number(record, "format");
	size_t values;

	record_exact(record, "salt", file->salt, SALT_LEN);
	file->pcrs = (uint32_t)record_number(record, "pcrs");
	values = record_bytes(record, "pcr-values", file->values[0],
			      sizeof(file->values));
	file->blob.public.len =
		record_bytes(record, "public", file->blob.public.data,
			     sizeof(file->blob.public.data));
	file->blob.private_len =
		record_bytes(record, "private", file->blob.private,
			     sizeof(file->blob.private));
	RV_TRY(record_end(record, what));
	if (format != 1 || file->pcrs >> PCR_MAX != 0 ||
	    values != count_of(file->pcrs) * HASH_LEN)
		return rv_raise(CKR_DEVICE_ERROR, "%s is damaged", what);
	return CKR_OK;
}

static CK_RV file_load(const struct tpm_token *token, enum tpm_role role,
		       struct pin_file *ret)
{
	CLEANUP(record_done) struct record record = {0};
	CLEANUP(freep) uint8_t *text = NULL;
	struct pin_file file = {0};
	size_t len = 0;

	if (!pin_is_set(token, role))
		return rv_raise(CKR_USER_PIN_NOT_INITIALIZED,
				"the %s PIN is not set",
				role == TPM_SO ? "SO" : "user");
	RV_TRY(folder_read(&token->folder, file_of(role), &text, &len));
	RV_TRY(record_parse(text, len, &record));
	RV_TRY(parse(&record, file_of(role), &file));
	*ret = file;
	return CKR_OK;
}

/* A salted session carries it and the TPM counts wrong ones, so that a slow
 * derivation would only keep its owner waiting. */
static CK_RV auth_of(const struct tpm *tpm, enum tpm_role role,
		     const uint8_t salt[SALT_LEN], struct span pin,
		     struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret auth = {0};
	uint8_t who = role == TPM_SO ? 'S' : 'U';

	RV_TRY(rv_of(secret_new(HASH_LEN, &auth)));
	RV_TRY(crypto_hmac(
		tpm->crypto, SPAN(salt, SALT_LEN),
		SPANS(SPAN(LABEL, sizeof(LABEL)), SPAN(&who, 1), pin),
		auth.data));
	*ret = auth;
	auth = (struct kt_secret){0};
	return CKR_OK;
}

/* PolicyPCR, then PolicyAuthValue (part 3, 23.7 and 23.17). */
static CK_RV policy_of(const struct tpm *tpm, const struct pin_file *file,
		       uint8_t ret[HASH_LEN])
{
	CLEANUP(cmd_done) struct cmd selection = {0};
	uint8_t values[HASH_LEN], code[4], digest[HASH_LEN] = {0};

	caps_put_pcrs(&selection, file->pcrs);
	RV_TRY(crypto_hash(
		tpm->crypto,
		SPANS(SPAN(file->values, count_of(file->pcrs) * HASH_LEN)),
		values));
	be32_put(code, TPM2_CC_PolicyPCR);
	RV_TRY(crypto_hash(tpm->crypto,
			   SPANS(SPAN(digest, HASH_LEN), SPAN(code, 4),
				 SPAN(selection.params, selection.len),
				 SPAN(values, HASH_LEN)),
			   digest));
	be32_put(code, TPM2_CC_PolicyAuthValue);
	return crypto_hash(tpm->crypto,
			   SPANS(SPAN(digest, HASH_LEN), SPAN(code, 4)), ret);
}

static CK_RV make_payload(const struct tpm_token *token, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret payload = {0};
	size_t owner = token->owner_auth.len;

	RV_TRY(rv_of(secret_new(1 + OBJECT_AUTH_LEN + 1 + owner, &payload)));
	payload.data[0] = PAYLOAD_VERSION;
	memcpy(payload.data + 1, token->object_auth.data, OBJECT_AUTH_LEN);
	payload.data[1 + OBJECT_AUTH_LEN] = (uint8_t)owner;
	if (owner > 0)
		memcpy(payload.data + 2 + OBJECT_AUTH_LEN,
		       token->owner_auth.data, owner);
	*ret = payload;
	payload = (struct kt_secret){0};
	return CKR_OK;
}

CK_RV pin_seal(struct tpm_token *token, enum tpm_role role, struct span pin,
	       uint32_t pcrs)
{
	CLEANUP(kt_secret_done) struct kt_secret payload = {0};
	CLEANUP(kt_secret_done) struct kt_secret auth = {0};
	struct object_parent parent = token_srk(token);
	struct object_wish wish = {.form = OBJECT_SEALED};
	struct pin_file file = {.pcrs = pcrs};
	struct tpm *tpm = token->tpm;
	uint8_t policy[HASH_LEN];

	RV_TRY(pin_check(pin));
	RV_TRY(crypto_random(tpm->crypto, file.salt, SALT_LEN));
	RV_TRY(auth_of(tpm, role, file.salt, pin, &auth));
	RV_TRY(make_payload(token, &payload));
	if (pcrs != 0) {
		RV_TRY(caps_pcrs(tpm, pcrs, file.values));
		RV_TRY(policy_of(tpm, &file, policy));
		wish.policy = SPAN(policy, HASH_LEN);
	}
	wish.auth = SPAN(auth.data, auth.len);
	wish.data = SPAN(payload.data, payload.len);
	RV_TRY(object_create(tpm, &parent, &wish, &file.blob, NULL));
	return file_save(token, role, &file);
}

static void add_number(char *list, size_t size, unsigned number)
{
	size_t len = strlen(list);

	snprintf(list + len, size - len, "%s%u", len > 0 ? ", " : "", number);
}

/* Says which PCR is not as it was: the TPM would only say that one is. */
static CK_RV compare_pcrs(struct tpm *tpm, const struct pin_file *file)
{
	uint8_t now[PCR_MAX][HASH_LEN];
	char differ[128] = "";
	size_t next = 0;

	RV_TRY(caps_pcrs(tpm, file->pcrs, now));
	for (unsigned number = 0; number < PCR_MAX; number++) {
		if ((file->pcrs >> number & 1) == 0)
			continue;
		if (memcmp(now[next], file->values[next], HASH_LEN) != 0)
			add_number(differ, sizeof(differ), number);
		next++;
	}
	if (differ[0] == '\0')
		return CKR_OK;
	return rv_raise(CKR_ACTION_PROHIBITED,
			"the user PIN works in another state of this machine "
			"only: PCR %s differs; the SO can set the PIN for this "
			"state",
			differ);
}

static CK_RV prove_pcrs(struct tpm *tpm, uint32_t pcrs,
			const struct tpm_object *session)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(PolicyPCR);

	cmd_handle(&cmd, session);
	cmd_put_2b(&cmd, SPAN(NULL, 0));
	caps_put_pcrs(&cmd, pcrs);
	return cmd_run(tpm, &cmd);
}

static CK_RV prove_auth(struct tpm *tpm, const struct tpm_object *session)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(PolicyAuthValue);

	cmd_handle(&cmd, session);
	return cmd_run(tpm, &cmd);
}

static CK_RV start_policy(struct tpm *tpm, uint32_t pcrs,
			  struct tpm_session *policy)
{
	struct tpm_object session;

	RV_TRY(session_start(tpm, SESSION_POLICY, &tpm->srk, &tpm->srk_public,
			     policy));
	session = tpm_permanent(policy->handle, SPAN(NULL, 0));
	RV_TRY(prove_pcrs(tpm, pcrs, &session));
	RV_TRY(prove_auth(tpm, &session));
	policy->auth_value = true;
	return CKR_OK;
}

static CK_RV unseal(struct tpm *tpm, struct tpm_session *session,
		    const struct tpm_object *object, struct kt_secret *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(Unseal);
	struct span data;

	cmd_handle(&cmd, object);
	cmd_auth(&cmd, session, object, CMD_ANSWER_SECRET);
	RV_TRY(cmd_run(tpm, &cmd));
	data = cmd_get_2b(&cmd);
	RV_TRY(cmd_end(&cmd));
	return rv_of(kt_secret_copy(data.data, data.len, ret));
}

/* One try. The session is a fresh one, so that a refusal is the PIN's and not
 * that of a session whose number another process has taken over: it must not
 * be tried again. */
static CK_RV unseal_with(struct tpm *tpm, const struct pin_file *file,
			 const struct tpm_object *object, struct kt_secret *ret)
{
	struct tpm_session *session = NULL, policy = {0};
	CK_RV rv;

	if (file->pcrs == 0) {
		session_end(tpm, &tpm->session);
		RV_TRY(session_main(tpm, &session));
		rv = unseal(tpm, session, object, ret);
	} else {
		rv = start_policy(tpm, file->pcrs, &policy);
		if (rv == CKR_OK)
			rv = unseal(tpm, &policy, object, ret);
	}
	if (rv != CKR_OK && tpm_refused(tpm)) {
		tpm->session_lost = false;
		rv = rv_raise(CKR_PIN_INCORRECT, "the PIN is wrong");
	}
	session_end(tpm, &policy);
	return rv;
}

static CK_RV split(const struct kt_secret *payload,
		   struct kt_secret *ret_object_auth,
		   struct kt_secret *ret_owner_auth)
{
	CLEANUP(kt_secret_done) struct kt_secret object_auth = {0};
	const uint8_t *at = payload->data;
	size_t owner;

	if (payload->len < 2 + OBJECT_AUTH_LEN || at[0] != PAYLOAD_VERSION)
		return rv_raise(CKR_DEVICE_ERROR, "the PIN's object is empty");
	owner = at[1 + OBJECT_AUTH_LEN];
	if (payload->len != 2 + OBJECT_AUTH_LEN + owner)
		return rv_raise(CKR_DEVICE_ERROR,
				"the PIN's object is damaged");
	RV_TRY(rv_of(kt_secret_copy(at + 1, OBJECT_AUTH_LEN, &object_auth)));
	RV_TRY(rv_of(kt_secret_copy(at + 2 + OBJECT_AUTH_LEN, owner,
				    ret_owner_auth)));
	*ret_object_auth = object_auth;
	object_auth = (struct kt_secret){0};
	return CKR_OK;
}

CK_RV pin_open(struct tpm_token *token, enum tpm_role role, struct span pin,
	       struct kt_secret *ret_object_auth,
	       struct kt_secret *ret_owner_auth)
{
	CLEANUP(kt_secret_done) struct kt_secret payload = {0};
	CLEANUP(kt_secret_done) struct kt_secret auth = {0};
	struct object_parent parent = token_srk(token);
	struct tpm_object object = {0};
	struct tpm *tpm = token->tpm;
	struct pin_file file = {0};
	CK_RV rv;

	RV_TRY(file_load(token, role, &file));
	if (pin.len < TPM_PIN_MIN || pin.len > TPM_PIN_MAX)
		return rv_raise(CKR_PIN_INCORRECT, "the PIN is wrong");
	RV_TRY(srk_check(token));
	RV_TRY(compare_pcrs(tpm, &file));
	RV_TRY(auth_of(tpm, role, file.salt, pin, &auth));
	RV_TRY(object_load(tpm, &parent, &file.blob, &object));
	object.auth = SPAN(auth.data, auth.len);
	rv = unseal_with(tpm, &file, &object, &payload);
	object_flush(tpm, &object);
	RV_TRY(rv);
	return split(&payload, ret_object_auth, ret_owner_auth);
}
