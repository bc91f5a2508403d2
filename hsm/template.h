/*
 * The attribute policy of every role of key, in one table, and the templates
 * made from it. docs/threat-model.md explains each attribute.
 */
#ifndef HSM_TEMPLATE_H
#define HSM_TEMPLATE_H

#include "hsm/p11.h"

#define TEMPLATE_MAX 28 /* SoftHSM's limit */

/* A template owns its scalars and nested templates; it must not be copied or
 * moved once filled. */
struct template
{
	CK_ATTRIBUTE attr[TEMPLATE_MAX];
	CK_ULONG count;
	CK_BBOOL flag[TEMPLATE_MAX];
	CK_ULONG number[TEMPLATE_MAX];
	CK_MECHANISM_TYPE mechanisms[4];
	CK_ATTRIBUTE nested[16]; /* the unwrap template */
	CK_BBOOL nested_flag[16];
	CK_ULONG nested_count;
};

/* What a key is made for: the same role has other attributes in each. */
enum key_use {
	USE_TOKEN,   /* generated as a token object */
	USE_NEW,     /* generated as a session object, to be wrapped at once */
	USE_WORK,    /* unwrapped to do its role's work; not extractable */
	USE_REWRAP,  /* unwrapped to be wrapped again; good for nothing else */
	USE_STANDIN, /* a token role as a session object: probe and dry run */
	KEY_USE_MAX_
};

/* Fills a template with every policy attribute of role and use; MODIFIABLE is
 * the last. mech: what a wrapping key may wrap with. */
void template_fill(struct template *t, enum kt_key_role role, enum key_use use,
		   enum kt_wrap_mech mech);

/* The public half of an audit key pair. */
void template_fill_public(struct template *t, enum kt_key_role role);

/* What makes keys of this role: CKM_AES_KEY_GEN ... mech as above. */
CK_MECHANISM_TYPE template_generator(enum kt_key_role role,
				     enum kt_wrap_mech mech);

/* CKA_VALUE_LEN is there only for what C_GenerateKey makes. These add what is
 * not policy, before MODIFIABLE; id and label stay borrowed. */
void template_add_id(struct template *t, const struct kt_id *cka_id);
void template_add_label(struct template *t, const char *label);

/* Adds what the token itself says of a key's past: LOCAL, ALWAYS_SENSITIVE,
 * NEVER_EXTRACTABLE, KEY_GEN_MECHANISM. For comparing, not for making. */
void template_add_history(struct template *t, enum kt_key_role role,
			  enum key_use use, enum kt_wrap_mech mech);

/* Reads the attributes of the template back and compares; as policy_check. */
enum kt_err template_compare(const struct template *t, struct session *s,
			     CK_OBJECT_HANDLE object, char *ret, size_t size);

/* Reads every policy attribute of the object back; KT_ERR_POLICY names the
 * first that differs. ret may be NULL; else it gets "name=value ..." text. */
enum kt_err policy_check(struct session *s, CK_OBJECT_HANDLE object,
			 enum kt_key_role role, enum key_use use,
			 enum kt_wrap_mech mech, char *ret, size_t size);

#endif
