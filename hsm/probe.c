/*
 * The gate's attempts. Most must be refused; a refusal counts only while the
 * token is well: what a lost session or a removed device answers ends the gate
 * instead of passing it.
 *
 * Nothing here changes a token object. The one attempt to change an attribute
 * is made on a session key with the same policy, because a token that wrongly
 * obeys would leave the real key changed, and SoftHSM can lose a key that is
 * killed while it is written.
 */
#include "hsm/probe.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "base/text.h"

static void answer(struct gate_finding *finding, enum gate_result result,
		   const char *function, CK_RV rv)
{
	finding->result = result;
	snprintf(finding->detail, sizeof(finding->detail), "%s: %s", function,
		 p11_rv_name(rv));
}

/* Whether an error says that the token, not its policy, gave way. */
static bool token_gave_way(const struct session *s, enum kt_err err)
{
	return err == KT_ERR_SESSION || err == KT_ERR_PIN ||
	       err == KT_ERR_MEMORY || (err == KT_ERR_TOKEN && !s->ambiguous);
}

/* What the token answered to something that must not work. */
static enum kt_err must_refuse(struct session *s, const char *function,
			       CK_RV rv, struct gate_finding *ret)
{
	enum kt_err err = p11_result(s, function, rv);

	/* What was begun or made by mistake goes with the session. */
	s->broken = true;
	if (err != KT_OK && token_gave_way(s, err))
		return err;
	answer(ret, err == KT_OK ? GATE_FAIL : GATE_PASS, function, rv);
	return KT_OK;
}

static enum kt_err holds(bool condition, const char *detail,
			 struct gate_finding *ret)
{
	ret->result = condition ? GATE_PASS : GATE_FAIL;
	text_cut(ret->detail, sizeof(ret->detail), detail);
	return KT_OK;
}

static CK_RV wrap_with(struct session *s, CK_MECHANISM *mechanism,
		       CK_OBJECT_HANDLE key, CK_OBJECT_HANDLE subject)
{
	CK_BYTE out[BLOB_MAX];
	CK_ULONG len = sizeof(out);

	return s->p11->C_WrapKey(s->handle, mechanism, key, subject, out, &len);
}

static CK_MECHANISM own_mechanism(const struct gate *gate)
{
	return (CK_MECHANISM){mech_of(gate->key->mech)->type, NULL, 0};
}

static enum kt_err unwrap_canary(const struct gate *gate, struct session *s,
				 enum key_use use, struct object *ret)
{
	return subject_unwrap(gate->key, s, &gate->key->canary, use,
			      gate->below, ret);
}

/* The key itself, wrapped by another key. */
static enum kt_err wrap_out(const struct gate *gate, const struct probe *probe,
			    struct session *s, struct gate_finding *ret)
{
	CK_MECHANISM mechanism = own_mechanism(gate);
	CK_OBJECT_HANDLE key, other;

	(void)probe;
	TRY(wrap_key_handle(gate->key, s, &key));
	TRY(wrap_key_handle(gate->other, s, &other));
	return must_refuse(s, "C_WrapKey", wrap_with(s, &mechanism, other, key),
			   ret);
}

static void template_set(struct template *t, CK_ATTRIBUTE_TYPE type,
			 CK_BBOOL value)
{
	for (CK_ULONG i = 0; i < t->count; i++) {
		if (t->attr[i].type == type)
			memcpy(t->attr[i].pValue, &value, sizeof(value));
	}
}

/* The canary comes back with one attribute that the policy forbids. */
static enum kt_err unwrap_with(const struct gate *gate, struct session *s,
			       CK_ATTRIBUTE_TYPE type, CK_BBOOL value,
			       CK_RV *ret_rv, CK_OBJECT_HANDLE *ret)
{
	CK_MECHANISM mechanism = own_mechanism(gate);
	struct blob canary = gate->key->canary;
	struct template t;
	CK_OBJECT_HANDLE key;

	TRY(wrap_key_handle(gate->key, s, &key));
	template_fill(&t, wrap_key_subject(gate->key), USE_REWRAP,
		      gate->key->mech);
	template_set(&t, type, value);
	*ret_rv = s->p11->C_UnwrapKey(s->handle, &mechanism, key, canary.data,
				      canary.len, t.attr, t.count, ret);
	return KT_OK;
}

static enum kt_err reimport(const struct gate *gate, const struct probe *probe,
			    struct session *s, struct gate_finding *ret)
{
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	CK_RV rv;

	TRY(unwrap_with(gate, s, probe->what, CK_TRUE, &rv, &object));
	return must_refuse(s, "C_UnwrapKey", rv, ret);
}

/* A token may refuse, or take the template and keep the key unreadable. */
static enum kt_err unwrap_readable(const struct gate *gate,
				   const struct probe *probe, struct session *s,
				   struct gate_finding *ret)
{
	CK_OBJECT_HANDLE object = CK_INVALID_HANDLE;
	CK_BYTE value[64];
	CK_ATTRIBUTE read = {CKA_VALUE, value, sizeof(value)};
	CK_RV rv;

	TRY(unwrap_with(gate, s, probe->what, CK_FALSE, &rv, &object));
	if (rv != CKR_OK)
		return must_refuse(s, "C_UnwrapKey", rv, ret);
	rv = s->p11->C_GetAttributeValue(s->handle, object, &read, 1);
	wipe(value, sizeof(value));
	return must_refuse(s, "C_GetAttributeValue", rv, ret);
}

/* "Accepted" is not "obeyed": openCryptoki takes SENSITIVE and drops it. */
static enum kt_err unwrapped_policy(const struct gate *gate,
				    const struct probe *probe,
				    struct session *s, struct gate_finding *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	enum key_use use = (enum key_use)probe->what;
	enum kt_err err;

	TRY(unwrap_canary(gate, s, use, &object));
	err = policy_check(s, object.handle, wrap_key_subject(gate->key), use,
			   gate->below, NULL, 0);
	if (err != KT_OK && err != KT_ERR_POLICY)
		return err;
	return holds(err == KT_OK, err == KT_OK ? "as asked" : kt_err_detail(),
		     ret);
}

static enum kt_err copy_laxer(const struct gate *gate,
			      const struct probe *probe, struct session *s,
			      struct gate_finding *ret)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE t[] = {{CKA_TOKEN, &no, sizeof(no)},
			    {probe->what, &yes, sizeof(yes)}};
	CK_OBJECT_HANDLE key, copy = CK_INVALID_HANDLE;
	CK_RV rv;

	TRY(wrap_key_handle(gate->key, s, &key));
	rv = s->p11->C_CopyObject(s->handle, key, t, 2, &copy);
	return must_refuse(s, "C_CopyObject", rv, ret);
}

static enum kt_err set_later(const struct gate *gate, const struct probe *probe,
			     struct session *s, struct gate_finding *ret)
{
	CK_BBOOL yes = CK_TRUE;
	CK_ATTRIBUTE t = {probe->what, &yes, sizeof(yes)};
	CK_OBJECT_HANDLE other;
	CK_RV rv;

	TRY(wrap_key_handle(gate->other, s, &other));
	rv = s->p11->C_SetAttributeValue(s->handle, other, &t, 1);
	return must_refuse(s, "C_SetAttributeValue", rv, ret);
}

static enum kt_err encrypt_with(const struct gate *gate,
				const struct probe *probe, struct session *s,
				struct gate_finding *ret)
{
	CK_MECHANISM mechanism = {probe->what, NULL, 0};
	CK_OBJECT_HANDLE key;

	TRY(wrap_key_handle(gate->key, s, &key));
	return must_refuse(s, "C_EncryptInit",
			   s->p11->C_EncryptInit(s->handle, &mechanism, key),
			   ret);
}

static enum kt_err decrypt_with(const struct gate *gate,
				const struct probe *probe, struct session *s,
				struct gate_finding *ret)
{
	CK_MECHANISM mechanism = {probe->what, NULL, 0};
	CK_OBJECT_HANDLE key;

	TRY(wrap_key_handle(gate->key, s, &key));
	return must_refuse(s, "C_DecryptInit",
			   s->p11->C_DecryptInit(s->handle, &mechanism, key),
			   ret);
}

/* A key unwrapped for work is not extractable, even by its own parent. */
static enum kt_err wrap_work_key(const struct gate *gate,
				 const struct probe *probe, struct session *s,
				 struct gate_finding *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	CK_MECHANISM mechanism = own_mechanism(gate);
	CK_OBJECT_HANDLE key;

	(void)probe;
	TRY(unwrap_canary(gate, s, USE_WORK, &object));
	TRY(wrap_key_handle(gate->key, s, &key));
	return must_refuse(s, "C_WrapKey",
			   wrap_with(s, &mechanism, key, object.handle), ret);
}

/* Another blob than the canary, under the key's own mechanism. */
static enum kt_err unwrap_wrong(const struct gate *gate, struct session *s,
				struct blob wrong, struct gate_finding *ret)
{
	CK_MECHANISM mechanism = own_mechanism(gate);
	CK_OBJECT_HANDLE key, object = CK_INVALID_HANDLE;
	struct template t;
	CK_RV rv;

	TRY(wrap_key_handle(gate->key, s, &key));
	template_fill(&t, wrap_key_subject(gate->key), USE_REWRAP,
		      gate->key->mech);
	rv = s->p11->C_UnwrapKey(s->handle, &mechanism, key, wrong.data,
				 wrong.len, t.attr, t.count, &object);
	return must_refuse(s, "C_UnwrapKey", rv, ret);
}

static enum kt_err corrupt_blob(const struct gate *gate,
				const struct probe *probe, struct session *s,
				struct gate_finding *ret)
{
	struct blob wrong = gate->key->canary;

	(void)probe;
	wrong.data[wrong.len / 2] ^= 0x01;
	return unwrap_wrong(gate, s, wrong, ret);
}

static enum kt_err short_blob(const struct gate *gate,
			      const struct probe *probe, struct session *s,
			      struct gate_finding *ret)
{
	struct blob wrong = gate->key->canary;

	(void)probe;
	wrong.len = (uint16_t)(wrong.len - 8);
	return unwrap_wrong(gate, s, wrong, ret);
}

static enum kt_err foreign_blob(const struct gate *gate,
				const struct probe *probe, struct session *s,
				struct gate_finding *ret)
{
	(void)probe;
	return unwrap_wrong(gate, s, gate->other->canary, ret);
}

static enum kt_err rewrap_identical(const struct gate *gate,
				    const struct probe *probe,
				    struct session *s, struct gate_finding *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	struct blob again;

	(void)probe;
	TRY(unwrap_canary(gate, s, USE_REWRAP, &object));
	TRY(subject_wrap(gate->key, s, object.handle, &again));
	return holds(blob_equal(&again, &gate->key->canary),
		     "unwrapped and wrapped again", ret);
}

static enum kt_err wrapped_size(const struct gate *gate,
				const struct probe *probe, struct session *s,
				struct gate_finding *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	CK_MECHANISM mechanism = own_mechanism(gate);
	CK_BYTE out[BLOB_MAX];
	CK_ULONG len = sizeof(out);
	CK_OBJECT_HANDLE key;
	char detail[32];

	(void)probe;
	TRY(subject_generate(gate->key, s, &object));
	TRY(wrap_key_handle(gate->key, s, &key));
	TRY(CALL(s, C_WrapKey, &mechanism, key, object.handle, out, &len));
	snprintf(detail, sizeof(detail), "%lu bytes", len);
	return holds(len == mech_of(gate->key->mech)->size, detail, ret);
}

/* CBC and CBC_PAD take a vector, ECB takes none. */
static CK_MECHANISM plain_cipher(CK_MECHANISM_TYPE type, CK_BYTE iv[16])
{
	if (type == CKM_AES_ECB)
		return (CK_MECHANISM){type, NULL, 0};
	return (CK_MECHANISM){type, iv, 16};
}

static enum kt_err wrap_otherwise(const struct gate *gate,
				  const struct probe *probe, struct session *s,
				  struct gate_finding *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	CK_BYTE iv[16] = {0};
	CK_MECHANISM mechanism = plain_cipher(probe->what, iv);
	CK_OBJECT_HANDLE key;

	TRY(unwrap_canary(gate, s, USE_REWRAP, &object));
	TRY(wrap_key_handle(gate->key, s, &key));
	return must_refuse(s, "C_WrapKey",
			   wrap_with(s, &mechanism, key, object.handle), ret);
}

/* Without integrity any 32 bytes would unwrap, to a key the attacker may
 * compute with. */
static enum kt_err unwrap_otherwise(const struct gate *gate,
				    const struct probe *probe,
				    struct session *s, struct gate_finding *ret)
{
	CK_BYTE iv[16] = {0}, in[32] = {0};
	CK_MECHANISM mechanism = plain_cipher(probe->what, iv);
	CK_OBJECT_HANDLE key, object = CK_INVALID_HANDLE;
	struct template t;
	CK_RV rv;

	TRY(wrap_key_handle(gate->key, s, &key));
	template_fill(&t, wrap_key_subject(gate->key), USE_REWRAP,
		      gate->key->mech);
	rv = s->p11->C_UnwrapKey(s->handle, &mechanism, key, in, sizeof(in),
				 t.attr, t.count, &object);
	return must_refuse(s, "C_UnwrapKey", rv, ret);
}

static enum kt_err derive_ecb(const struct gate *gate,
			      const struct probe *probe, struct session *s,
			      struct gate_finding *ret)
{
	CK_BYTE data[32] = {0};
	CK_KEY_DERIVATION_STRING_DATA string = {data, sizeof(data)};
	CK_MECHANISM mechanism = {probe->what, &string, sizeof(string)};
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_GENERIC_SECRET;
	CK_ULONG value_len = sizeof(data);
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof(class)},
			    {CKA_KEY_TYPE, &type, sizeof(type)},
			    {CKA_TOKEN, &no, sizeof(no)},
			    {CKA_SENSITIVE, &no, sizeof(no)},
			    {CKA_EXTRACTABLE, &yes, sizeof(yes)},
			    {CKA_VALUE_LEN, &value_len, sizeof(value_len)}};
	CK_OBJECT_HANDLE key, derived = CK_INVALID_HANDLE;
	CK_RV rv;

	TRY(wrap_key_handle(gate->key, s, &key));
	rv = s->p11->C_DeriveKey(s->handle, &mechanism, key, t, 6, &derived);
	return must_refuse(s, "C_DeriveKey", rv, ret);
}

static CK_RV import_known_key(struct session *s, CK_KEY_TYPE type,
			      CK_OBJECT_HANDLE *ret)
{
	CK_BYTE value[32] = {0};
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE t[] = {{CKA_CLASS, &class, sizeof(class)},
			    {CKA_KEY_TYPE, &type, sizeof(type)},
			    {CKA_TOKEN, &no, sizeof(no)},
			    {CKA_WRAP, &yes, sizeof(yes)},
			    {CKA_VALUE, value, sizeof(value)}};

	return s->p11->C_CreateObject(s->handle, t, 5, ret);
}

/* While a key is being rewrapped it is extractable, under a wrapping key of
 * the PIN holder's own making too. Only CKA_WRAP_WITH_TRUSTED would stop that,
 * and the tokens at hand have no usable CKA_TRUSTED. */
static enum kt_err known_key_wrap(const struct gate *gate,
				  const struct probe *probe, struct session *s,
				  struct gate_finding *ret)
{
	CLEANUP(object_drop) struct object object = {0};
	CK_MECHANISM mechanism = own_mechanism(gate);
	CK_OBJECT_HANDLE known = CK_INVALID_HANDLE;
	CK_RV rv;

	(void)probe;
	TRY(unwrap_canary(gate, s, USE_REWRAP, &object));
	rv = import_known_key(s, mech_of(gate->key->mech)->key_type, &known);
	if (rv != CKR_OK)
		return must_refuse(s, "C_CreateObject", rv, ret);
	rv = wrap_with(s, &mechanism, known, object.handle);
	TRY(must_refuse(s, "C_WrapKey", rv, ret));
	if (ret->result == GATE_FAIL)
		ret->result = GATE_KNOWN;
	return KT_OK;
}

static const struct probe probes[] = {
	{"wrap-out", 0, wrap_out, 0},
	{"unwrap-sensitive-false", 0, unwrap_readable, CKA_SENSITIVE},
	{"unwrapped-work-policy", 0, unwrapped_policy, USE_WORK},
	{"unwrapped-rewrap-policy", 0, unwrapped_policy, USE_REWRAP},
	{"reimport-decrypt", KT_KEY_MASTER, reimport, CKA_DECRYPT},
	{"recovery-reimport-wrap", KT_KEY_RECOVERY, reimport, CKA_WRAP},
	{"project-reimport-wrap", KT_KEY_PROJECT, reimport, CKA_WRAP},
	{"project-sensitive-false", KT_KEY_PROJECT, unwrap_readable,
	 CKA_SENSITIVE},
	{"reimport-sign", 0, reimport, CKA_SIGN},
	{"reimport-derive", 0, reimport, CKA_DERIVE},
	{"copy-decrypt", 0, copy_laxer, CKA_DECRYPT},
	{"copy-extractable", 0, copy_laxer, CKA_EXTRACTABLE},
	{"set-decrypt", 0, set_later, CKA_DECRYPT},
	{"encrypt-with", 0, encrypt_with, CKM_AES_ECB},
	{"decrypt-with", 0, decrypt_with, CKM_AES_ECB},
	{"wrap-work-key", 0, wrap_work_key, 0},
	{"corrupt-blob", 0, corrupt_blob, 0},
	{"short-blob", 0, short_blob, 0},
	{"foreign-blob", 0, foreign_blob, 0},
	{"rewrap-identical", 0, rewrap_identical, 0},
	{"wrapped-size", 0, wrapped_size, 0},
	{"wrap-cbc", 0, wrap_otherwise, CKM_AES_CBC},
	{"wrap-cbc-pad", 0, wrap_otherwise, CKM_AES_CBC_PAD},
	{"wrap-ecb", 0, wrap_otherwise, CKM_AES_ECB},
	{"unwrap-cbc", 0, unwrap_otherwise, CKM_AES_CBC},
	{"derive-ecb", 0, derive_ecb, CKM_AES_ECB_ENCRYPT_DATA},
	{"known-key-wrap", 0, known_key_wrap, 0},
};

static_assert(sizeof(probes) / sizeof(probes[0]) <= PROBES_MAX, "their room");

const struct probe *probe_table(size_t *ret_count)
{
	*ret_count = sizeof(probes) / sizeof(probes[0]);
	return probes;
}
