/*
 * The attribute policy. A row of the table says what a key is made by and which
 * of its flags are true; every flag that a row does not name is written as
 * false, so nothing is ever left to a token's defaults. The unwrap template of
 * a wrapping key says what the keys under it must be and must not be; what it
 * leaves out differs between unwrapping for work and for a rewrap.
 */
#include "hsm/template.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "hsm/mech.h"

enum flag {
	TOKEN,
	PRIVATE,
	SENSITIVE,
	EXTRACTABLE,
	ENCRYPT,
	DECRYPT,
	WRAP,
	UNWRAP,
	SIGN,
	VERIFY,
	DERIVE,
	COPYABLE,
	MODIFIABLE,
	FLAG_MAX_
};

#define BIT(flag) (1U << (flag))

static const CK_ATTRIBUTE_TYPE flag_type[FLAG_MAX_] = {
	[TOKEN] = CKA_TOKEN,
	[PRIVATE] = CKA_PRIVATE,
	[SENSITIVE] = CKA_SENSITIVE,
	[EXTRACTABLE] = CKA_EXTRACTABLE,
	[ENCRYPT] = CKA_ENCRYPT,
	[DECRYPT] = CKA_DECRYPT,
	[WRAP] = CKA_WRAP,
	[UNWRAP] = CKA_UNWRAP,
	[SIGN] = CKA_SIGN,
	[VERIFY] = CKA_VERIFY,
	[DERIVE] = CKA_DERIVE,
	[COPYABLE] = CKA_COPYABLE,
	[MODIFIABLE] = CKA_MODIFIABLE,
};

/* The flags that a class of object has at all. */
#define SECRET_FLAGS (BIT(FLAG_MAX_) - 1)
#define PRIVATE_FLAGS (SECRET_FLAGS & ~(BIT(ENCRYPT) | BIT(WRAP) | BIT(VERIFY)))
#define PUBLIC_FLAGS                                                           \
	(BIT(TOKEN) | BIT(PRIVATE) | BIT(ENCRYPT) | BIT(WRAP) | BIT(VERIFY) |  \
	 BIT(DERIVE) | BIT(COPYABLE) | BIT(MODIFIABLE))

#define HIDDEN (BIT(PRIVATE) | BIT(SENSITIVE))

/* Not mechanisms: what a row says instead of one. */
#define ANY_MECHANISM CK_UNAVAILABLE_INFORMATION
#define WRAP_MECHANISM (CK_UNAVAILABLE_INFORMATION - 1)
#define UNWRAPPED CK_UNAVAILABLE_INFORMATION

struct policy {
	enum kt_key_role role;
	enum key_use use;
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	CK_MECHANISM_TYPE made_by; /* or UNWRAPPED */
	CK_MECHANISM_TYPE allowed;
	unsigned set;                    /* the flags that are true */
	unsigned inner_set, inner_clear; /* the unwrap template */
};

/* What comes back through a master key may wrap but never decrypt, through a
 * recovery or project key may decrypt but never unwrap. */
#define NO_CIPHER                                                              \
	(BIT(TOKEN) | BIT(ENCRYPT) | BIT(DECRYPT) | BIT(SIGN) | BIT(VERIFY) |  \
	 BIT(DERIVE))
#define NO_WRAP                                                                \
	(BIT(TOKEN) | BIT(WRAP) | BIT(UNWRAP) | BIT(SIGN) | BIT(VERIFY) |      \
	 BIT(DERIVE))

#define AES CKO_SECRET_KEY, CKK_AES

static const struct policy policies[] = {
	{KT_KEY_MASTER, USE_TOKEN, AES, CKM_AES_KEY_GEN, WRAP_MECHANISM,
	 HIDDEN | BIT(TOKEN) | BIT(WRAP) | BIT(UNWRAP), HIDDEN, NO_CIPHER},
	{KT_KEY_RECOVERY, USE_TOKEN, AES, CKM_AES_KEY_GEN, WRAP_MECHANISM,
	 HIDDEN | BIT(TOKEN) | BIT(WRAP) | BIT(UNWRAP), HIDDEN, NO_WRAP},
	{KT_KEY_PROJECT, USE_NEW, AES, CKM_AES_KEY_GEN, ANY_MECHANISM,
	 HIDDEN | BIT(EXTRACTABLE), 0, 0},
	{KT_KEY_PROJECT, USE_WORK, AES, UNWRAPPED, WRAP_MECHANISM,
	 HIDDEN | BIT(WRAP) | BIT(UNWRAP), HIDDEN, NO_WRAP},
	{KT_KEY_PROJECT, USE_REWRAP, AES, UNWRAPPED, ANY_MECHANISM,
	 HIDDEN | BIT(EXTRACTABLE), 0, 0},
	{KT_KEY_DEK, USE_NEW, AES, CKM_AES_KEY_GEN, ANY_MECHANISM,
	 HIDDEN | BIT(EXTRACTABLE) | BIT(ENCRYPT) | BIT(DECRYPT), 0, 0},
	{KT_KEY_DEK, USE_WORK, AES, UNWRAPPED, CKM_AES_GCM,
	 HIDDEN | BIT(ENCRYPT) | BIT(DECRYPT), 0, 0},
	{KT_KEY_DEK, USE_REWRAP, AES, UNWRAPPED, ANY_MECHANISM,
	 HIDDEN | BIT(EXTRACTABLE), 0, 0},
	{KT_KEY_ROW_MAC, USE_TOKEN, CKO_SECRET_KEY, CKK_GENERIC_SECRET,
	 CKM_GENERIC_SECRET_KEY_GEN, CKM_SHA256_HMAC,
	 HIDDEN | BIT(TOKEN) | BIT(SIGN) | BIT(VERIFY), 0, 0},
	{KT_KEY_AUDIT, USE_TOKEN, CKO_PRIVATE_KEY, CKK_EC, CKM_EC_KEY_PAIR_GEN,
	 CKM_ECDSA, HIDDEN | BIT(TOKEN) | BIT(SIGN), 0, 0},
};

/* A public key that needs no login could also be destroyed without one. */
static const struct policy public_half = {
	KT_KEY_AUDIT,
	USE_TOKEN,
	CKO_PUBLIC_KEY,
	CKK_EC,
	CKM_EC_KEY_PAIR_GEN,
	ANY_MECHANISM,
	BIT(TOKEN) | BIT(PRIVATE) | BIT(VERIFY),
	0,
	0,
};

/* prime256v1, 1.2.840.10045.3.1.7, as DER (RFC 5480 section 2.1.1.1). */
static const uint8_t p256[] = {0x06, 0x08, 0x2a, 0x86, 0x48,
			       0xce, 0x3d, 0x03, 0x01, 0x07};

static const struct policy *find_row(enum kt_key_role role, enum key_use use)
{
	for (size_t i = 0; i < sizeof(policies) / sizeof(policies[0]); i++) {
		if (policies[i].role == role && policies[i].use == use)
			return &policies[i];
	}
	return NULL;
}

/* What a key is of and made by follows from how it wraps. What comes out of a
 * wrap is the AES key that went in. */
static void suit_mechanism(struct policy *policy, enum kt_wrap_mech mech)
{
	if (policy->allowed != WRAP_MECHANISM || policy->made_by == UNWRAPPED)
		return;
	policy->type = mech_of(mech)->key_type;
	policy->made_by = mech_of(mech)->generator;
}

/* A stand-in is what it stands for, but a session object made on the spot. A
 * key without a policy must never be made. */
static struct policy policy_of(enum kt_key_role role, enum key_use use,
			       enum kt_wrap_mech mech)
{
	const struct policy *row = find_row(role, use);
	struct policy policy;

	if (row == NULL && use == USE_STANDIN)
		row = find_row(role, USE_TOKEN);
	if (row == NULL && use == USE_STANDIN)
		row = find_row(role, USE_WORK);
	if (row == NULL)
		abort();
	policy = *row;
	if (use == USE_STANDIN) {
		policy.set &= ~BIT(TOKEN);
		policy.made_by = template_generator(role, mech);
	}
	suit_mechanism(&policy, mech);
	return policy;
}

CK_MECHANISM_TYPE template_generator(enum kt_key_role role,
				     enum kt_wrap_mech mech)
{
	const struct policy *row = find_row(role, USE_TOKEN);

	if (row == NULL)
		return CKM_AES_KEY_GEN;
	return row->allowed == WRAP_MECHANISM ? mech_of(mech)->generator
					      : row->made_by;
}

static void add(struct template *t, CK_ATTRIBUTE_TYPE type, const void *value,
		size_t len)
{
	assert(t->count < TEMPLATE_MAX);
	t->attr[t->count++] = (CK_ATTRIBUTE){type, (void *)value, len};
}

static void add_flag(struct template *t, CK_ATTRIBUTE_TYPE type, bool value)
{
	CK_BBOOL *at = &t->flag[t->count];

	*at = value ? CK_TRUE : CK_FALSE;
	add(t, type, at, sizeof(*at));
}

static void add_number(struct template *t, CK_ATTRIBUTE_TYPE type,
		       CK_ULONG value)
{
	CK_ULONG *at = &t->number[t->count];

	*at = value;
	add(t, type, at, sizeof(*at));
}

static void add_nested(struct template *t, const struct policy *policy)
{
	unsigned named = policy->inner_set | policy->inner_clear;

	for (unsigned f = 0; f < FLAG_MAX_; f++) {
		CK_BBOOL *at = &t->nested_flag[t->nested_count];

		if ((named & BIT(f)) == 0)
			continue;
		*at = (policy->inner_set & BIT(f)) != 0 ? CK_TRUE : CK_FALSE;
		t->nested[t->nested_count++] =
			(CK_ATTRIBUTE){flag_type[f], at, sizeof(*at)};
	}
	if (t->nested_count > 0)
		add(t, CKA_UNWRAP_TEMPLATE, t->nested,
		    t->nested_count * sizeof(t->nested[0]));
}

static unsigned flags_of(CK_OBJECT_CLASS class)
{
	if (class == CKO_PUBLIC_KEY)
		return PUBLIC_FLAGS;
	return class == CKO_PRIVATE_KEY ? PRIVATE_FLAGS : SECRET_FLAGS;
}

static void add_allowed(struct template *t, const struct policy *policy,
			enum kt_wrap_mech mech)
{
	if (policy->allowed == ANY_MECHANISM)
		return;
	t->mechanisms[0] = policy->allowed == WRAP_MECHANISM
				   ? mech_of(mech)->type
				   : policy->allowed;
	add(t, CKA_ALLOWED_MECHANISMS, t->mechanisms, sizeof(t->mechanisms[0]));
}

/* SoftHSM refuses a length when unwrapping, and then reads it as 0. */
static void add_shape(struct template *t, const struct policy *policy)
{
	add_number(t, CKA_CLASS, policy->class);
	add_number(t, CKA_KEY_TYPE, policy->type);
	if (policy->class == CKO_SECRET_KEY && policy->made_by != UNWRAPPED)
		add_number(t, CKA_VALUE_LEN, 32);
	if (policy->class == CKO_PUBLIC_KEY)
		add(t, CKA_EC_PARAMS, p256, sizeof(p256));
}

static void fill(struct template *t, const struct policy *policy,
		 enum kt_wrap_mech mech)
{
	unsigned has = flags_of(policy->class);

	*t = (struct template){0};
	add_shape(t, policy);
	for (unsigned f = 0; f < MODIFIABLE; f++) {
		if ((has & BIT(f)) != 0)
			add_flag(t, flag_type[f], (policy->set & BIT(f)) != 0);
	}
	add_allowed(t, policy, mech);
	add_nested(t, policy);
	/* SoftHSM 2.6.1 applies nothing that comes after it (its issue 707). */
	add_flag(t, CKA_MODIFIABLE, (policy->set & BIT(MODIFIABLE)) != 0);
}

void template_fill(struct template *t, enum kt_key_role role, enum key_use use,
		   enum kt_wrap_mech mech)
{
	struct policy policy = policy_of(role, use, mech);

	fill(t, &policy, mech);
}

void template_fill_public(struct template *t, enum kt_key_role role)
{
	if (role != public_half.role)
		abort();
	fill(t, &public_half, KT_WRAP_NONE);
}

static void add_before_last(struct template *t, CK_ATTRIBUTE_TYPE type,
			    const void *value, size_t len)
{
	CK_ATTRIBUTE last = t->attr[t->count - 1];

	t->count--;
	add(t, type, value, len);
	add(t, last.type, last.pValue, last.ulValueLen);
}

void template_add_id(struct template *t, const struct kt_id *cka_id)
{
	add_before_last(t, CKA_ID, cka_id->bytes, KT_ID_LEN);
}

void template_add_label(struct template *t, const char *label)
{
	add_before_last(t, CKA_LABEL, label, strlen(label));
}

/* PKCS#11 2.40 table 30: an unwrapped key has no past that the token saw. */
void template_add_history(struct template *t, enum kt_key_role role,
			  enum key_use use, enum kt_wrap_mech mech)
{
	struct policy policy = policy_of(role, use, mech);
	bool born_here = policy.made_by != UNWRAPPED;
	bool leaves = (policy.set & BIT(EXTRACTABLE)) != 0;

	add_flag(t, CKA_LOCAL, born_here);
	add_number(t, CKA_KEY_GEN_MECHANISM, policy.made_by);
	if (*(CK_OBJECT_CLASS *)t->attr[0].pValue == CKO_PUBLIC_KEY)
		return;
	add_flag(t, CKA_ALWAYS_SENSITIVE, born_here);
	add_flag(t, CKA_NEVER_EXTRACTABLE, born_here && !leaves);
}

enum kt_err policy_check(struct session *s, CK_OBJECT_HANDLE object,
			 enum kt_key_role role, enum key_use use,
			 enum kt_wrap_mech mech, char *ret, size_t size)
{
	struct template t;

	template_fill(&t, role, use, mech);
	template_add_history(&t, role, use, mech);
	return template_compare(&t, s, object, ret, size);
}
