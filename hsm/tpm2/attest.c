/*
 * What the TPM signs about a key: that it was born in it, behind which gate,
 * and that it is no more. The attestation key signs only what the TPM itself
 * says, so its own authorisation is empty.
 */
#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "hsm/tpm2/audit.h"
#include "hsm/tpm2/evidence.h"
#include "hsm/tpm2/life.h"
#include "hsm/tpm2/state.h"

#define AK "ak"
#define DEATH_SIGNATURE "evidence-destroyed.sig"

CK_RV attest_make_key(struct tpm_token *token)
{
	struct object_parent srk = token_srk(token);
	struct object_wish wish = {.form = OBJECT_AK};
	struct object_blob blob = {0};

	RV_TRY(object_create(token->tpm, &srk, &wish, &blob, NULL));
	return blob_save(&token->folder, AK, &blob);
}

/* What is being said, and who says it to whom. */
struct attest {
	struct tpm_token *token;
	struct tpm_object ak;
	struct span nonce;
	struct tpm_evidence *evidence;
};

static CK_RV begin(struct attest *attest)
{
	struct object_parent srk = token_srk(attest->token);
	struct object_blob blob = {0};
	uint8_t point[TPM_POINT_LEN];

	RV_TRY(blob_load(&attest->token->folder, AK, &blob));
	if (!object_point(&blob.public, point))
		return rv_raise(CKR_DEVICE_ERROR, AK " is damaged");
	RV_TRY(evidence_add_key(attest->evidence, "ak.pem", point));
	RV_TRY(evidence_add(attest->evidence, "ak.public",
			    SPAN(blob.public.data, blob.public.len)));
	return object_load(attest->token->tpm, &srk, &blob, &attest->ak);
}

static void end(struct attest *attest)
{
	object_flush(attest->token->tpm, &attest->ak);
}

/* "what.attest", as signed, and "what.sig". */
static CK_RV keep(struct attest *attest, struct cmd *cmd, const char *what)
{
	struct span said = cmd_get_2b(cmd);
	uint8_t signature[TPM_SIGNATURE_LEN];
	char name[32];

	RV_TRY(cmd_get_signature(cmd, signature));
	snprintf(name, sizeof(name), "%s.attest", what);
	RV_TRY(evidence_add(attest->evidence, name, said));
	snprintf(name, sizeof(name), "%s.sig", what);
	return evidence_add_signature(attest->evidence, name, signature);
}

/* TPM2_Certify: this object is in this TPM, with this Name. */
static CK_RV certify(struct attest *attest, const struct tpm_object *object,
		     const char *what)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(Certify);
	struct tpm *tpm = attest->token->tpm;
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, object);
	cmd_handle(&cmd, &attest->ak);
	cmd_auth(&cmd, main, object, CMD_PLAIN);
	cmd_auth(&cmd, NULL, NULL, CMD_PLAIN);
	cmd_put_2b(&cmd, attest->nonce);
	cmd_put_u16(&cmd, TPM2_ALG_NULL);
	RV_TRY(cmd_run(tpm, &cmd));
	return keep(attest, &cmd, what);
}

/* TPM2_CertifyCreation: it was made by this TPM from nothing, below this
 * parent, and for this id. */
static CK_RV certify_creation(struct attest *attest,
			      const struct tpm_object *object,
			      const struct object_creation *creation)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(CertifyCreation);

	cmd_handle(&cmd, &attest->ak);
	cmd_handle(&cmd, object);
	cmd_auth(&cmd, NULL, NULL, CMD_PLAIN);
	cmd_put_2b(&cmd, attest->nonce);
	cmd_put_2b(&cmd, SPAN(creation->hash, HASH_LEN));
	cmd_put_u16(&cmd, TPM2_ALG_NULL);
	cmd_put(&cmd, SPAN(creation->ticket, creation->ticket_len));
	RV_TRY(cmd_run(attest->token->tpm, &cmd));
	RV_TRY(keep(attest, &cmd, "creation"));
	return evidence_add(attest->evidence, "creation.data",
			    SPAN(creation->data, creation->len));
}

static CK_RV add_public(struct attest *attest, const struct kt_id *id,
			const char *blob_name, const char *name)
{
	struct object_blob blob = {0};

	RV_TRY(blob_load(&attest->token->folder, key_path(id, blob_name).text,
			 &blob));
	return evidence_add(attest->evidence, name,
			    SPAN(blob.public.data, blob.public.len));
}

static CK_RV add_counter(struct attest *attest, const struct key_file *file)
{
	CLEANUP(cmd_done) struct cmd area = {0};
	struct counter counter;
	uint8_t value[8];

	be64_put(value, file->value);
	RV_TRY(life_counter(attest->token, file, &counter));
	RV_TRY(counter_area(attest->token->tpm, &counter, &area));
	RV_TRY(evidence_add(attest->evidence, "counter.value",
			    SPAN(value, sizeof(value))));
	return evidence_add(attest->evidence, "counter.public",
			    SPAN(area.params, area.len));
}

static CK_RV say_birth(struct attest *attest, const struct key_file *file,
		       const struct tpm_object *gate)
{
	const struct kt_id *id = &file->key.id;
	struct object_creation creation = {0};
	struct tpm_object key = {0};

	RV_TRY(keys_object(attest->token, file, &key));
	RV_TRY(creation_load(&attest->token->folder, id, &creation));
	RV_TRY(add_public(attest, id, "master", "key.public"));
	RV_TRY(add_public(attest, id, "gate", "gate.public"));
	RV_TRY(add_counter(attest, file));
	RV_TRY(certify(attest, &key, "key"));
	RV_TRY(certify(attest, gate, "gate"));
	return certify_creation(attest, &key, &creation);
}

static CK_RV birth(struct tpm_token *token, const struct key_file *file,
		   const struct tpm_object *gate, struct span nonce,
		   struct tpm_evidence *ret)
{
	CLEANUP(tpm_evidence_done) struct tpm_evidence evidence = {0};
	struct attest attest = {
		.token = token, .nonce = nonce, .evidence = &evidence};
	CK_RV rv;

	RV_TRY(begin(&attest));
	rv = say_birth(&attest, file, gate);
	end(&attest);
	RV_TRY(rv);
	*ret = evidence;
	evidence = (struct tpm_evidence){0};
	return CKR_OK;
}

CK_RV attest_birth(struct tpm_token *token, const struct key_file *file,
		   const struct tpm_object *gate)
{
	CLEANUP(tpm_evidence_done) struct tpm_evidence evidence = {0};
	const struct kt_id *id = &file->key.id;

	RV_TRY(birth(token, file, gate, SPAN(id->bytes, sizeof(id->bytes)),
		     &evidence));
	return evidence_save(&token->folder, id, &evidence);
}

/* TPM2_GetSessionAuditDigest: the TPM ran just these commands, with just these
 * answers. */
static CK_RV sign_audit(struct attest *attest, const struct audit *audit)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(GetSessionAuditDigest);
	struct tpm_object admin =
		tpm_permanent(TPM2_RH_ENDORSEMENT, SPAN(NULL, 0));
	struct tpm_object session =
		tpm_permanent(audit->session.handle, SPAN(NULL, 0));

	cmd_handle(&cmd, &admin);
	cmd_handle(&cmd, &attest->ak);
	cmd_handle(&cmd, &session);
	cmd_auth(&cmd, NULL, NULL, CMD_PLAIN);
	cmd_auth(&cmd, NULL, NULL, CMD_PLAIN);
	cmd_put_2b(&cmd, attest->nonce);
	cmd_put_u16(&cmd, TPM2_ALG_NULL);
	RV_TRY(cmd_run(attest->token->tpm, &cmd));
	return keep(attest, &cmd, "destroyed");
}

static CK_RV say_death(struct attest *attest, const struct audit *audit)
{
	RV_TRY(evidence_add(attest->evidence, "destroyed.log",
			    SPAN(audit->log, audit->len)));
	return sign_audit(attest, audit);
}

static CK_RV death(struct tpm_token *token, const struct key_file *file,
		   const struct audit *audit, struct tpm_evidence *evidence)
{
	struct attest attest = {
		.token = token,
		.nonce = SPAN(file->key.id.bytes, sizeof(file->key.id.bytes)),
		.evidence = evidence};
	CK_RV rv;

	RV_TRY(begin(&attest));
	rv = say_death(&attest, audit);
	end(&attest);
	return rv;
}

/* A key is not kept alive because its death cannot be signed, as with an
 * endorsement hierarchy that has an authorisation of its own: the evidence
 * then says so. What a new try can cure is tried again. */
CK_RV attest_death(struct tpm_token *token, const struct key_file *file,
		   const struct audit *audit)
{
	CLEANUP(tpm_evidence_done) struct tpm_evidence evidence = {0};
	const struct tpm *tpm = token->tpm;
	bool again;
	CK_RV rv;

	/* Written last, by an earlier try that saw more of it. */
	if (folder_has(&token->folder,
		       key_path(&file->key.id, DEATH_SIGNATURE).text))
		return CKR_OK;
	rv = death(token, file, audit, &evidence);
	again = tpm->gone || tpm->slots_full ||
		(tpm->session_lost && !tpm_refused(tpm));
	if (rv != CKR_OK && again)
		return rv;
	if (rv != CKR_OK)
		RV_TRY(evidence_add(
			&evidence, "not-signed",
			SPAN(kt_err_detail(), strlen(kt_err_detail()))));
	return evidence_save(&token->folder, &file->key.id, &evidence);
}

struct question {
	const struct kt_id *id;
	struct span nonce;
	struct tpm_evidence *ret;
};

static CK_RV ask_live(struct tpm_token *token, const struct key_file *file,
		      const struct question *question)
{
	struct object_blob blob = {0};
	struct counter counter;
	struct gate gate = {0};
	CK_RV rv;

	RV_TRY(life_counter(token, file, &counter));
	RV_TRY(blob_load(&token->folder, key_path(&file->key.id, "gate").text,
			 &blob));
	RV_TRY(life_open_gate(token, &counter, &blob, &gate));
	rv = birth(token, file, &gate.object, question->nonce, question->ret);
	life_close_gate(token, &gate);
	return rv;
}

static CK_RV ask(struct tpm_token *token, void *arg)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	const struct question *question = arg;

	RV_TRY(keys_live(token, question->id, &file));
	return ask_live(token, &file, question);
}

/* Says in *arg's ret whether the key's life is over. */
static CK_RV look_destroyed(struct tpm_token *token, void *arg)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	const struct question *question = arg;
	CK_RV rv = key_file_load(&token->folder, question->id, &file);

	if (rv == CKR_DATA_INVALID)
		return rv_raise(CKR_KEY_HANDLE_INVALID, "there is no such key");
	RV_TRY(rv);
	if (file.stage != KEY_DESTROYED)
		return CKR_OK;
	return evidence_load(&token->folder, question->id, question->ret);
}

CK_RV tpm_key_attest(struct tpm_token *token, const struct kt_id *id,
		     const uint8_t *nonce, size_t nonce_len,
		     struct tpm_evidence *ret)
{
	struct tpm_evidence evidence = {0};
	struct question question = {id, SPAN(nonce, nonce_len), &evidence};

	if (nonce_len == 0 || nonce_len > TPM_NONCE_MAX)
		return rv_raise(CKR_ARGUMENTS_BAD, "a nonce has 1 to %d bytes",
				TPM_NONCE_MAX);
	RV_TRY(token_locked(token, look_destroyed, &question));
	if (evidence.count == 0)
		RV_TRY(token_run_user(token, ask, &question));
	*ret = evidence;
	return CKR_OK;
}
