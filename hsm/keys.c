/*
 * Keys that are objects of the token: made, counted, read back, destroyed,
 * listed. A key is named by its CKA_ID alone, and nothing is made under a name
 * that is taken.
 */
#include <string.h>

#include "base/text.h"
#include "hsm/state.h"
#include "hsm/template.h"

#define P256_POINT_LEN 65

/* What a crash left half made, or what is broken, has no class to read: it is
 * an object all the same. */
#define NO_CLASS CK_UNAVAILABLE_INFORMATION

/* *ret: the object has this attribute, and attr holds it. Most objects lack
 * some of what is asked for, and such a refusal must not cost the session. What
 * fails in a way that object or token could be the cause of is asked twice, or
 * a sick token would make a bad key look good. */
static enum kt_err read_attribute(struct session *s, CK_OBJECT_HANDLE object,
				  CK_ATTRIBUTE *attr, bool *ret)
{
	const CK_ULONG room = attr->ulValueLen;
	enum kt_err err = KT_OK;

	for (int i = 0; i < 2; i++) {
		attr->ulValueLen = room;
		err = CALL(s, C_GetAttributeValue, object, attr, 1);
		if (err != KT_ERR_TOKEN || !s->ambiguous)
			break;
	}
	if (err == KT_ERR_POLICY || (err == KT_ERR_TOKEN && s->ambiguous))
		s->broken = false;
	else
		TRY(err);
	*ret = err == KT_OK;
	return KT_OK;
}

static enum kt_err object_class(struct session *s, CK_OBJECT_HANDLE object,
				CK_OBJECT_CLASS *ret)
{
	CK_OBJECT_CLASS class = 0;
	CK_ATTRIBUTE attr = {CKA_CLASS, &class, sizeof(class)};
	bool there;

	TRY(read_attribute(s, object, &attr, &there));
	*ret = there ? class : NO_CLASS;
	return KT_OK;
}

static enum kt_err with_id(struct session *s, const struct kt_id *cka_id,
			   struct handles *ret)
{
	const CK_ATTRIBUTE search = {CKA_ID, (void *)cka_id->bytes, KT_ID_LEN};

	return objects_list(s, &search, 1, ret);
}

/* A private and a public key of one CKA_ID are one key. */
static enum kt_err count_keys(struct session *s, const struct kt_id *cka_id,
			      size_t *ret)
{
	CLEANUP(handles_done) struct handles found = {0};
	size_t private_keys = 0, public_keys = 0, others = 0;
	CK_OBJECT_CLASS class;

	TRY(with_id(s, cka_id, &found));
	for (size_t i = 0; i < found.count; i++) {
		TRY(object_class(s, found.list[i], &class));
		if (class == CKO_PRIVATE_KEY)
			private_keys++;
		else if (class == CKO_PUBLIC_KEY)
			public_keys++;
		else
			others++;
	}
	*ret = others +
	       (private_keys > public_keys ? private_keys : public_keys);
	return KT_OK;
}

struct count_args {
	const struct kt_id *cka_id;
	size_t count;
};

static enum kt_err count_op(struct session *s, void *arg)
{
	struct count_args *args = arg;

	return count_keys(s, args->cka_id, &args->count);
}

enum kt_err token_count(struct token *token, const struct kt_id *cka_id,
			size_t *ret)
{
	struct count_args args = {.cka_id = cka_id};

	TRY(token_retry(token, count_op, &args));
	*ret = args.count;
	return KT_OK;
}

struct generate_args {
	enum kt_key_role role;
	enum kt_wrap_mech mech;
	const struct kt_id *cka_id;
	const char *label;
};

static enum kt_err generate_secret(struct session *s,
				   const struct generate_args *args)
{
	CK_MECHANISM mechanism = {template_generator(args->role, args->mech),
				  NULL, 0};
	CK_OBJECT_HANDLE key;
	struct template t;

	template_fill(&t, args->role, USE_TOKEN, args->mech);
	template_add_id(&t, args->cka_id);
	template_add_label(&t, args->label);
	return CALL(s, C_GenerateKey, &mechanism, t.attr, t.count, &key);
}

static enum kt_err generate_pair(struct session *s,
				 const struct generate_args *args)
{
	CK_MECHANISM mechanism = {template_generator(args->role, args->mech),
				  NULL, 0};
	CK_OBJECT_HANDLE public_key, private_key;
	struct template public_half, private_half;

	template_fill_public(&public_half, args->role);
	template_add_id(&public_half, args->cka_id);
	template_add_label(&public_half, args->label);
	template_fill(&private_half, args->role, USE_TOKEN, args->mech);
	template_add_id(&private_half, args->cka_id);
	template_add_label(&private_half, args->label);
	return CALL(s, C_GenerateKeyPair, &mechanism, public_half.attr,
		    public_half.count, private_half.attr, private_half.count,
		    &public_key, &private_key);
}

static enum kt_err generate_op(struct session *s, void *arg)
{
	const struct generate_args *args = arg;
	size_t taken;

	TRY(count_keys(s, args->cka_id, &taken));
	if (taken > 0)
		return err_raise(
			KT_ERR_CONFLICT,
			"the token has a key with this CKA_ID already");
	return args->role == KT_KEY_AUDIT ? generate_pair(s, args)
					  : generate_secret(s, args);
}

enum kt_err token_generate(struct token *token, enum kt_key_role role,
			   enum kt_wrap_mech mech, const struct kt_id *cka_id,
			   const char *label)
{
	struct generate_args args = {role, mech, cka_id, label};

	return token_retry_rw(token, generate_op, &args);
}

/* CKA_EC_POINT is an OCTET STRING around the point (PKCS#11 2.40 mechanisms,
 * section 2.3.3); some tokens give the bare point. */
static enum kt_err read_point(struct session *s, CK_OBJECT_HANDLE key,
			      struct blob *ret)
{
	uint8_t room[128];
	CK_ATTRIBUTE attr = {CKA_EC_POINT, room, sizeof(room)};
	const uint8_t *point = room;

	TRY(CALL(s, C_GetAttributeValue, key, &attr, 1));
	if (attr.ulValueLen == P256_POINT_LEN + 2 && room[0] == 0x04 &&
	    room[1] == P256_POINT_LEN) {
		point += 2;
		attr.ulValueLen -= 2;
	}
	if (attr.ulValueLen != P256_POINT_LEN || point[0] != 0x04)
		return err_raise(KT_ERR_POLICY,
				 "the audit key's point is not 04 || x || y");
	return blob_set(ret, point, P256_POINT_LEN);
}

struct facts_args {
	enum kt_key_role role;
	enum kt_wrap_mech mech;
	const struct kt_id *cka_id;
	struct key_facts facts;
};

static enum kt_err public_facts(struct session *s, struct facts_args *args)
{
	CK_OBJECT_HANDLE key;
	struct template t;

	TRY(object_find(s, CKO_PUBLIC_KEY, args->cka_id, &key));
	template_fill_public(&t, args->role);
	template_add_history(&t, args->role, USE_TOKEN, args->mech);
	TRY(template_compare(&t, s, key, NULL, 0));
	return read_point(s, key, &args->facts.public_key);
}

static enum kt_err facts_op(struct session *s, void *arg)
{
	struct facts_args *args = arg;
	bool pair = args->role == KT_KEY_AUDIT;
	CK_OBJECT_HANDLE key;
	size_t count;

	TRY(count_keys(s, args->cka_id, &count));
	if (count > 1)
		return err_raise(KT_ERR_CONFLICT,
				 "the token has %zu keys with this CKA_ID",
				 count);
	TRY(object_find(s, pair ? CKO_PRIVATE_KEY : CKO_SECRET_KEY,
			args->cka_id, &key));
	TRY(policy_check(s, key, args->role, USE_TOKEN, args->mech,
			 args->facts.attributes,
			 sizeof(args->facts.attributes)));
	return pair ? public_facts(s, args) : KT_OK;
}

enum kt_err token_key_facts(struct token *token, enum kt_key_role role,
			    enum kt_wrap_mech mech, const struct kt_id *cka_id,
			    struct key_facts *ret)
{
	struct facts_args args = {.role = role, .mech = mech, .cka_id = cka_id};

	TRY(token_retry(token, facts_op, &args));
	*ret = args.facts;
	return KT_OK;
}

static enum kt_err destroy_op(struct session *s, void *arg)
{
	CLEANUP(handles_done) struct handles found = {0};

	TRY(with_id(s, arg, &found));
	for (size_t i = 0; i < found.count; i++)
		TRY(CALL(s, C_DestroyObject, found.list[i]));
	return KT_OK;
}

enum kt_err token_destroy(struct token *token, const struct kt_id *cka_id)
{
	return token_retry_rw(token, destroy_op, (void *)cka_id);
}

static const char *class_name(CK_OBJECT_CLASS class)
{
	switch (class) {
	case CKO_SECRET_KEY:
		return "secret-key";
	case CKO_PRIVATE_KEY:
		return "private-key";
	case CKO_PUBLIC_KEY:
		return "public-key";
	case CKO_CERTIFICATE:
		return "certificate";
	case CKO_DATA:
		return "data";
	case NO_CLASS:
		return "unreadable";
	default:
		return "other";
	}
}

static enum kt_err read_flag(struct session *s, CK_OBJECT_HANDLE object,
			     CK_ATTRIBUTE_TYPE type, bool *ret)
{
	CK_BBOOL value = CK_FALSE;
	CK_ATTRIBUTE attr = {type, &value, sizeof(value)};
	bool there;

	TRY(read_attribute(s, object, &attr, &there));
	*ret = there && value != CK_FALSE;
	return KT_OK;
}

static enum kt_err read_flags(struct session *s, CK_OBJECT_HANDLE object,
			      struct token_object *ret)
{
	const struct {
		CK_ATTRIBUTE_TYPE type;
		bool *flag;
	} flags[] = {
		{CKA_WRAP, &ret->wrap},
		{CKA_UNWRAP, &ret->unwrap},
		{CKA_ENCRYPT, &ret->encrypt},
		{CKA_DECRYPT, &ret->decrypt},
		{CKA_SIGN, &ret->sign},
		{CKA_SENSITIVE, &ret->sensitive},
		{CKA_EXTRACTABLE, &ret->extractable},
		{CKA_PRIVATE, &ret->private_object},
		{CKA_LOCAL, &ret->local},
	};

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		TRY(read_flag(s, object, flags[i].type, flags[i].flag));
	return KT_OK;
}

static enum kt_err read_label(struct session *s, CK_OBJECT_HANDLE object,
			      char *ret, size_t size)
{
	CK_UTF8CHAR label[256];
	CK_ATTRIBUTE attr = {CKA_LABEL, label, sizeof(label)};
	bool there;

	TRY(read_attribute(s, object, &attr, &there));
	text_unpad(ret, size, label, there ? attr.ulValueLen : 0);
	return KT_OK;
}

static enum kt_err read_id(struct session *s, CK_OBJECT_HANDLE object,
			   struct kt_id *ret)
{
	uint8_t id[64];
	CK_ATTRIBUTE attr = {CKA_ID, id, sizeof(id)};
	bool there;

	TRY(read_attribute(s, object, &attr, &there));
	if (there && attr.ulValueLen == KT_ID_LEN)
		memcpy(ret->bytes, id, KT_ID_LEN);
	return KT_OK;
}

static enum kt_err describe(struct session *s, CK_OBJECT_HANDLE object,
			    struct token_object *ret)
{
	CK_OBJECT_CLASS class;

	TRY(object_class(s, object, &class));
	*ret = (struct token_object){0};
	TRY(read_flags(s, object, ret));
	TRY(read_id(s, object, &ret->cka_id));
	TRY(read_label(s, object, ret->label, sizeof(ret->label)));
	text_cut(ret->class_name, sizeof(ret->class_name), class_name(class));
	return KT_OK;
}

struct objects_args {
	struct token_object *list;
	size_t count;
};

static void objects_args_done(struct objects_args *args)
{
	free(args->list);
}

static enum kt_err objects_op(struct session *s, void *arg)
{
	CLEANUP(handles_done) struct handles found = {0};
	CLEANUP(freep) struct token_object *list = NULL;
	struct objects_args *args = arg;

	TRY(objects_list(s, NULL, 0, &found));
	list = calloc(found.count + 1, sizeof(*list));
	if (list == NULL)
		return err_memory();
	for (size_t i = 0; i < found.count; i++)
		TRY(describe(s, found.list[i], &list[i]));
	args->list = TAKE(list);
	args->count = found.count;
	return KT_OK;
}

/* Gathers first, so that a retry tells nobody anything twice. */
enum kt_err token_objects(struct token *token,
			  enum kt_err (*each)(void *arg,
					      const struct token_object *o),
			  void *arg)
{
	CLEANUP(objects_args_done) struct objects_args args = {0};

	TRY(token_retry(token, objects_op, &args));
	for (size_t i = 0; i < args.count; i++)
		TRY(each(arg, &args.list[i]));
	return KT_OK;
}
