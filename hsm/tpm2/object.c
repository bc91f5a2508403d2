/*
 * Creating and loading objects.
 */
#include "hsm/tpm2/object.h"

#include <string.h>

#include <tss2/tss2_mu.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/audit.h"

#define FIXED (TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT)
#define BORN (FIXED | TPMA_OBJECT_SENSITIVEDATAORIGIN)
#define AUTH TPMA_OBJECT_USERWITHAUTH
#define NO_DA TPMA_OBJECT_NODA
#define STORAGE (TPMA_OBJECT_RESTRICTED | TPMA_OBJECT_DECRYPT)
#define SIGN TPMA_OBJECT_SIGN_ENCRYPT

/* A gate has no AUTH: its policy is the only way in, which is what makes the
 * end of its counter the end of what is below it. */
static const struct {
	uint16_t type;
	uint32_t attributes;
} forms[OBJECT_FORM_MAX_] = {
	[OBJECT_GATE] = {TPM2_ALG_SYMCIPHER, BORN | NO_DA | STORAGE},
	[OBJECT_GATE_ECC] = {TPM2_ALG_ECC, BORN | NO_DA | STORAGE},
	[OBJECT_HMAC] = {TPM2_ALG_KEYEDHASH, BORN | AUTH | NO_DA | SIGN},
	[OBJECT_EC] = {TPM2_ALG_ECC, BORN | AUTH | NO_DA | SIGN},
	[OBJECT_AK] = {TPM2_ALG_ECC,
		       BORN | AUTH | NO_DA | SIGN | TPMA_OBJECT_RESTRICTED},
	[OBJECT_SEALED] = {TPM2_ALG_KEYEDHASH, FIXED | AUTH},
	[OBJECT_SRK] = {TPM2_ALG_ECC, BORN | AUTH | NO_DA | STORAGE},
};

static uint32_t attributes_of(enum object_form form, bool with_policy)
{
	uint32_t attributes = forms[form].attributes;

	return with_policy ? attributes & ~AUTH : attributes;
}

static void put_aes(struct cmd *cmd, unsigned bits)
{
	cmd_put_u16(cmd, TPM2_ALG_AES);
	cmd_put_u16(cmd, (uint16_t)bits);
	cmd_put_u16(cmd, TPM2_ALG_CFB);
}

/* TPMS_ECC_PARMS and a point that the TPM fills in. */
static void put_ecc(struct cmd *cmd, enum object_form form, unsigned bits)
{
	static const uint8_t zeros[32];
	struct span unique = SPAN(zeros, form == OBJECT_SRK ? 32 : 0);

	if (form == OBJECT_EC || form == OBJECT_AK) {
		cmd_put_u16(cmd, TPM2_ALG_NULL);
		cmd_put_u16(cmd, TPM2_ALG_ECDSA);
		cmd_put_u16(cmd, TPM2_ALG_SHA256);
	} else {
		put_aes(cmd, bits);
		cmd_put_u16(cmd, TPM2_ALG_NULL);
	}
	cmd_put_u16(cmd, TPM2_ECC_NIST_P256);
	cmd_put_u16(cmd, TPM2_ALG_NULL);
	cmd_put_2b(cmd, unique);
	cmd_put_2b(cmd, unique);
}

static void put_parameters(struct cmd *cmd, enum object_form form,
			   unsigned bits)
{
	switch (form) {
	case OBJECT_GATE:
		put_aes(cmd, bits);
		break;
	case OBJECT_HMAC:
		cmd_put_u16(cmd, TPM2_ALG_HMAC);
		cmd_put_u16(cmd, TPM2_ALG_SHA256);
		break;
	case OBJECT_SEALED:
		cmd_put_u16(cmd, TPM2_ALG_NULL);
		break;
	case OBJECT_GATE_ECC:
	case OBJECT_EC:
	case OBJECT_AK:
	case OBJECT_SRK:
	case OBJECT_FORM_MAX_:
		put_ecc(cmd, form, bits);
		return;
	}
	cmd_put_2b(cmd, SPAN(NULL, 0)); /* unique */
}

/* TPM2B_PUBLIC: the size goes in when the rest is there. */
static void put_public(struct cmd *cmd, enum object_form form,
		       struct span policy, unsigned bits)
{
	size_t size_at = cmd->len;

	cmd_put_u16(cmd, 0);
	cmd_put_u16(cmd, forms[form].type);
	cmd_put_u16(cmd, TPM2_ALG_SHA256);
	cmd_put_u32(cmd, attributes_of(form, policy.len > 0));
	cmd_put_2b(cmd, policy);
	put_parameters(cmd, form, bits);
	if (!cmd->broken)
		be16_put(cmd->params + size_at,
			 (uint16_t)(cmd->len - size_at - 2));
}

static void put_sensitive(struct cmd *cmd, struct span auth, struct span data)
{
	cmd_put_u16(cmd, (uint16_t)(4 + auth.len + data.len));
	cmd_put_2b(cmd, auth);
	cmd_put_2b(cmd, data);
}

/* Outside information and no PCRs. */
static void put_creation(struct cmd *cmd, struct span outside)
{
	cmd_put_2b(cmd, outside);
	cmd_put_u32(cmd, 0);
}

static bool keep(struct span bytes, uint8_t *room, size_t size, size_t *ret)
{
	if (bytes.len > size)
		return false;
	memcpy(room, bytes.data, bytes.len);
	*ret = bytes.len;
	return true;
}

static CK_RV get_creation(struct cmd *cmd, struct object_creation *ret)
{
	struct span data = cmd_get_2b(cmd);
	struct span hash = cmd_get_2b(cmd);
	struct span ticket = SPAN(cmd->answer, cmd->left);

	cmd_get_u16(cmd);
	cmd_get_u32(cmd);
	cmd_get_2b(cmd);
	ticket.len -= cmd->left;
	RV_TRY(cmd_end(cmd));
	if (!keep(data, ret->data, sizeof(ret->data), &ret->len) ||
	    !keep(ticket, ret->ticket, sizeof(ret->ticket), &ret->ticket_len) ||
	    hash.len != HASH_LEN)
		return rv_raise(CKR_DEVICE_ERROR, "creation data too long");
	memcpy(ret->hash, hash.data, HASH_LEN);
	return CKR_OK;
}

/* The authorisation of a parent, and secrecy for the first parameter. */
static CK_RV use_parent(struct tpm *tpm, struct cmd *cmd,
			const struct object_parent *parent)
{
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(cmd, parent->object);
	if (parent->policy == NULL) {
		cmd_auth(cmd, main, parent->object, CMD_SECRET);
		return CKR_OK;
	}
	cmd_auth(cmd, parent->policy, parent->object, CMD_PLAIN);
	cmd_auth(cmd, main, NULL, CMD_SECRET);
	return CKR_OK;
}

CK_RV object_create(struct tpm *tpm, const struct object_parent *parent,
		    const struct object_wish *wish, struct object_blob *ret,
		    struct object_creation *ret_creation)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(Create);
	struct span private, public;

	RV_TRY(use_parent(tpm, &cmd, parent));
	put_sensitive(&cmd, wish->auth, wish->data);
	put_public(&cmd, wish->form, wish->policy, tpm->session.bits);
	put_creation(&cmd, wish->outside);
	RV_TRY(cmd_run(tpm, &cmd));
	private = cmd_get_2b(&cmd);
	public = cmd_get_2b(&cmd);
	RV_TRY(cmd_end(&cmd));
	if (!keep(private, ret->private, sizeof(ret->private),
		  &ret->private_len) ||
	    !keep(public, ret->public.data, sizeof(ret->public.data),
		  &ret->public.len) ||
	    !object_is(&ret->public, wish->form))
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM made another object than was asked");
	return ret_creation == NULL ? CKR_OK : get_creation(&cmd, ret_creation);
}

static CK_RV read_primary(struct tpm *tpm, struct cmd *cmd,
			  struct tpm_object *made, struct tpm_public *ret)
{
	bool fits =
		keep(cmd_get_2b(cmd), ret->data, sizeof(ret->data), &ret->len);

	RV_TRY(cmd_end(cmd));
	if (!fits)
		return rv_raise(CKR_DEVICE_ERROR, "public area too long");
	return tpm_public_name(tpm, ret, made);
}

CK_RV object_create_primary(struct tpm *tpm, const struct tpm_object *hierarchy,
			    struct tpm_session *session, enum object_form form,
			    struct tpm_object *ret,
			    struct tpm_public *ret_public)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(CreatePrimary);
	struct tpm_object made = {0};
	struct tpm_public key = {0};
	CK_RV rv;

	cmd_handle(&cmd, hierarchy);
	cmd_auth(&cmd, session, hierarchy,
		 session != NULL ? CMD_SECRET : CMD_PLAIN);
	put_sensitive(&cmd, SPAN(NULL, 0), SPAN(NULL, 0));
	put_public(&cmd, form, SPAN(NULL, 0), 128);
	put_creation(&cmd, SPAN(NULL, 0));
	cmd.gets_handle = true;
	RV_TRY(cmd_run(tpm, &cmd));
	made.handle = cmd.handle;
	rv = read_primary(tpm, &cmd, &made, &key);
	if (rv != CKR_OK) {
		object_flush(tpm, &made);
		return rv;
	}
	*ret = made;
	*ret_public = key;
	return CKR_OK;
}

static CK_RV check_name(struct cmd *cmd, const struct tpm_object *given)
{
	struct span name = cmd_get_2b(cmd);

	RV_TRY(cmd_end(cmd));
	if (name.len != given->name_len ||
	    memcmp(name.data, given->name, name.len) != 0)
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM loaded another object than was given");
	return CKR_OK;
}

CK_RV object_load(struct tpm *tpm, const struct object_parent *parent,
		  const struct object_blob *blob, struct tpm_object *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(Load);
	struct tpm_object made = {0};
	CK_RV rv;

	RV_TRY(use_parent(tpm, &cmd, parent));
	cmd_put_2b(&cmd, SPAN(blob->private, blob->private_len));
	cmd_put_2b(&cmd, SPAN(blob->public.data, blob->public.len));
	cmd.gets_handle = true;
	RV_TRY(tpm_public_name(tpm, &blob->public, &made));
	RV_TRY(cmd_run(tpm, &cmd));
	made.handle = cmd.handle;
	rv = check_name(&cmd, &made);
	if (rv != CKR_OK) {
		object_flush(tpm, &made);
		return rv;
	}
	*ret = made;
	return CKR_OK;
}

void object_flush(struct tpm *tpm, struct tpm_object *object)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(FlushContext);
	struct err_saved saved;
	TSS2_RC last = tpm->last;

	if (object->handle == 0 || tpm->gone)
		return;
	err_save(KT_ERR_FAILED, &saved);
	cmd_put_u32(&cmd, object->handle);
	(void)cmd_run(tpm, &cmd);
	(void)err_restore(&saved);
	tpm->last = last;
	*object = (struct tpm_object){0};
}

CK_RV object_evict(struct tpm *tpm, const struct tpm_object *owner,
		   const struct tpm_object *object, uint32_t handle,
		   struct audit *audit)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(EvictControl);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, owner);
	cmd_handle(&cmd, object);
	cmd_auth(&cmd, main, owner, CMD_PLAIN);
	if (audit != NULL)
		audit_command(audit, &cmd);
	cmd_put_u32(&cmd, handle);
	RV_TRY(cmd_run(tpm, &cmd));
	if (audit != NULL)
		audit_log(audit, &cmd);
	return CKR_OK;
}

CK_RV object_read_public(struct tpm *tpm, uint32_t handle,
			 struct tpm_public *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(ReadPublic);
	struct tpm_object object = {.handle = handle};
	struct tpm_public key = {0};

	cmd_handle(&cmd, &object);
	RV_TRY(cmd_run(tpm, &cmd));
	if (!keep(cmd_get_2b(&cmd), key.data, sizeof(key.data), &key.len))
		return rv_raise(CKR_DEVICE_ERROR, "public area too long");
	RV_TRY(cmd_end(&cmd));
	*ret = key;
	return CKR_OK;
}

CK_RV object_read_name(struct tpm *tpm, uint32_t handle, struct tpm_object *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(ReadPublic);
	struct tpm_object object = {.handle = handle};

	cmd_handle(&cmd, &object);
	RV_TRY(cmd_run(tpm, &cmd));
	cmd_get_2b(&cmd);
	if (!keep(cmd_get_2b(&cmd), object.name, sizeof(object.name),
		  &object.name_len))
		return cmd_garbled(&cmd);
	RV_TRY(cmd_end(&cmd));
	*ret = object;
	return CKR_OK;
}

CK_RV object_prove(struct tpm *tpm, const struct tpm_object *object)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(ReadPublic);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, object);
	cmd_auth(&cmd, main, NULL, CMD_ANSWER_SECRET);
	return cmd_run(tpm, &cmd);
}

static bool parse(const struct tpm_public *public, TPMT_PUBLIC *ret)
{
	size_t at = 0;

	return Tss2_MU_TPMT_PUBLIC_Unmarshal(public->data, public->len, &at,
					     ret) == TSS2_RC_SUCCESS &&
	       at == public->len;
}

bool object_is(const struct tpm_public *public, enum object_form form)
{
	TPMT_PUBLIC area = {0};

	if (!parse(public, &area) || area.nameAlg != TPM2_ALG_SHA256)
		return false;
	/* Storage roots of other programs are often RSA keys. */
	if (area.type != forms[form].type &&
	    !(form == OBJECT_SRK && area.type == TPM2_ALG_RSA))
		return false;
	/* Theirs may count failures, too: its authorisation is empty. */
	if (form == OBJECT_SRK)
		area.objectAttributes |= NO_DA;
	return area.objectAttributes ==
	       attributes_of(form, area.authPolicy.size > 0);
}

bool object_point(const struct tpm_public *public, uint8_t ret[TPM_POINT_LEN])
{
	TPMT_PUBLIC area = {0};
	const TPMS_ECC_POINT *point = &area.unique.ecc;

	if (!parse(public, &area) || area.type != TPM2_ALG_ECC ||
	    area.parameters.eccDetail.curveID != TPM2_ECC_NIST_P256 ||
	    point->x.size > 32 || point->y.size > 32)
		return false;
	memset(ret, 0, TPM_POINT_LEN);
	ret[0] = 4;
	memcpy(ret + 33 - point->x.size, point->x.buffer, point->x.size);
	memcpy(ret + 65 - point->y.size, point->y.buffer, point->y.size);
	return true;
}
