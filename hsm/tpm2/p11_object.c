/*
 * The list of objects, and its agreement with the token's folder.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include "base/bytes.h"
#include "hsm/tpm2/p11_template.h"

#define PART_HEAD 4
#define POINT_DER_LEN (TPM_POINT_LEN + 2)

struct object *object_hold(struct object *object)
{
	object->references++;
	return object;
}

void object_release(struct object *object)
{
	if (object == NULL || --object->references > 0)
		return;
	kt_secret_done(&object->value);
	attrs_done(&object->attrs);
	free(object);
}

CK_RV object_new(struct slot *slot, struct attrs *attrs,
		 struct kt_secret *value, struct object **ret)
{
	CLEANUP(object_releasep) struct object *object = NULL;

	object = calloc(1, sizeof(*object));
	if (object == NULL)
		return rv_memory();
	object->references = 1;
	object->slot = slot;
	RV_TRY(rv_of(id_random(&object->id)));
	object->attrs = *attrs;
	*attrs = (struct attrs){0};
	if (value != NULL) {
		object->value = *value;
		*value = (struct kt_secret){0};
	}
	*ret = TAKE(object);
	return CKR_OK;
}

bool object_on_token(const struct object *object)
{
	return object->owner == 0;
}

static void insert(struct module *module, struct object *object)
{
	object->handle = ++module->last_handle;
	object->next = module->objects;
	module->objects = object_hold(object);
}

CK_RV object_publish(struct call *call, CK_SESSION_HANDLE owner,
		     struct object *object, CK_OBJECT_HANDLE *ret)
{
	struct session *session;

	/* The session, or its login, may have ended while the key was made. */
	RV_TRY(call_user_session(call, owner, &session));
	object->owner = owner;
	insert(call->module, object);
	*ret = object->handle;
	return CKR_OK;
}

static bool visible(const struct object *object, const struct session *session)
{
	return object->slot == session->slot &&
	       (!attrs_flag(&object->attrs, CKA_PRIVATE) ||
		session->slot->role == TPM_USER);
}

CK_RV object_find(struct call *call, const struct session *session,
		  CK_OBJECT_HANDLE handle, struct object **ret)
{
	struct object *object = call->module->objects;

	while (object != NULL && object->handle != handle)
		object = object->next;
	if (object == NULL || !visible(object, session))
		return rv_raise(CKR_OBJECT_HANDLE_INVALID,
				"no object has handle %lu", handle);
	*ret = object_hold(object);
	return CKR_OK;
}

void object_remove(struct module *module, struct object *object)
{
	struct object **at = &module->objects;

	while (*at != NULL && *at != object)
		at = &(*at)->next;
	if (*at == NULL)
		return;
	*at = object->next;
	object->destroyed = true;
	object_release(object);
}

CK_RV objects_match(struct call *call, const struct session *session,
		    const struct attrs *wanted, CK_OBJECT_HANDLE **ret,
		    size_t *ret_count)
{
	CLEANUP(freep) CK_OBJECT_HANDLE *list = NULL;
	size_t count = 0, room = 0;

	for (struct object *o = call->module->objects; o != NULL; o = o->next)
		room++;
	list = calloc(room + 1, sizeof(*list));
	if (list == NULL)
		return rv_memory();
	for (struct object *o = call->module->objects; o != NULL; o = o->next) {
		if (visible(o, session) && attrs_contain(&o->attrs, wanted))
			list[count++] = o->handle;
	}
	*ret = TAKE(list);
	*ret_count = count;
	return CKR_OK;
}

static CK_RV add_part(struct attrs *into, const struct attrs *part)
{
	size_t len = into->len + PART_HEAD + part->len;
	uint8_t *data = realloc(into->data, len);

	if (data == NULL)
		return rv_memory();
	be32_put(data + into->len, (uint32_t)part->len);
	memcpy(data + into->len + PART_HEAD, part->data, part->len);
	*into = (struct attrs){data, len};
	return CKR_OK;
}

CK_RV stored_pack(const struct attrs *first, const struct attrs *second,
		  struct attrs *ret)
{
	struct attrs packed = {0};
	CK_RV rv = add_part(&packed, first);

	if (rv == CKR_OK && second != NULL)
		rv = add_part(&packed, second);
	if (rv != CKR_OK)
		attrs_done(&packed);
	else
		*ret = packed;
	return rv;
}

/* One part of the stored attributes; *at starts at 0. */
static CK_RV stored_part(const struct tpm_key *key, size_t *at,
			 struct attrs *ret)
{
	size_t left = key->attributes_len - *at;
	const uint8_t *part = key->attributes + *at;
	size_t len;

	if (left < PART_HEAD || (len = be32_get(part)) > left - PART_HEAD)
		return rv_raise(CKR_DEVICE_ERROR,
				"stored attributes are not whole");
	*at += PART_HEAD + len;
	return attrs_parse(part + PART_HEAD, len, ret);
}

CK_RV stored_attrs(const struct tpm_key *key, struct attrs *ret)
{
	size_t at = 0;

	return stored_part(key, &at, ret);
}

/* CKA_EC_POINT is an OCTET STRING around the point. */
static CK_RV add_point(struct attrs *attrs, const struct tpm_key *key)
{
	uint8_t der[POINT_DER_LEN] = {0x04, TPM_POINT_LEN};

	if (attrs_number(attrs, CKA_CLASS) != CKO_PUBLIC_KEY)
		return CKR_OK;
	memcpy(der + 2, key->point, TPM_POINT_LEN);
	return attrs_set_bytes(attrs, CKA_EC_POINT, der, sizeof(der));
}

static CK_RV add_object(struct call *call, struct slot *slot,
			const struct tpm_key *key, struct attrs *attrs,
			CK_OBJECT_HANDLE *ret)
{
	CLEANUP(object_releasep) struct object *object = NULL;

	RV_TRY(add_point(attrs, key));
	RV_TRY(object_new(slot, attrs, NULL, &object));
	object->id = key->id;
	insert(call->module, object);
	*ret = object->handle;
	return CKR_OK;
}

/* The private half last, so that it leads the list: whoever destroys a pair
 * in the order of finding destroys the key itself first. */
CK_RV object_adopt(struct call *call, struct slot *slot,
		   const struct tpm_key *key, CK_OBJECT_HANDLE *ret,
		   CK_OBJECT_HANDLE *ret_public)
{
	CLEANUP(attrs_done) struct attrs first = {0}, second = {0};
	size_t at = 0;

	RV_TRY(stored_part(key, &at, &first));
	if (key->kind == TPM_KEY_EC) {
		RV_TRY(stored_part(key, &at, &second));
		RV_TRY(add_object(call, slot, key, &second, ret_public));
	}
	return add_object(call, slot, key, &first, ret);
}

/* The token's keys as its folder has them now. */
struct keys {
	struct tpm_key *list;
	size_t count;
};

static void keys_done(struct keys *keys)
{
	for (size_t i = 0; i < keys->count; i++)
		free(keys->list[i].attributes);
	free(keys->list);
}

static CK_RV gather(const struct tpm_key *key, void *arg)
{
	struct keys *keys = arg;
	struct tpm_key *list, copy = *key;

	list = reallocarray(keys->list, keys->count + 1, sizeof(*list));
	if (list == NULL)
		return rv_memory();
	keys->list = list;
	copy.attributes = malloc(key->attributes_len + 1);
	if (copy.attributes == NULL)
		return rv_memory();
	if (key->attributes_len > 0)
		memcpy(copy.attributes, key->attributes, key->attributes_len);
	list[keys->count++] = copy;
	return CKR_OK;
}

static bool is_there(const struct keys *keys, const struct object *object)
{
	for (size_t i = 0; i < keys->count; i++) {
		if (id_equal(&keys->list[i].id, &object->id))
			return true;
	}
	return false;
}

static bool has_object(const struct module *module, const struct slot *slot,
		       const struct tpm_key *key)
{
	const struct object *o = module->objects;

	while (o != NULL && (o->slot != slot || !object_on_token(o) ||
			     !id_equal(&o->id, &key->id)))
		o = o->next;
	return o != NULL;
}

static CK_RV merge(struct call *call, struct slot *slot,
		   const struct keys *keys)
{
	struct object *object, *next;
	CK_OBJECT_HANDLE first, second;

	for (object = call->module->objects; object != NULL; object = next) {
		next = object->next;
		if (object->slot == slot && object_on_token(object) &&
		    !is_there(keys, object))
			object_remove(call->module, object);
	}
	for (size_t i = 0; i < keys->count; i++) {
		if (!has_object(call->module, slot, &keys->list[i]))
			RV_TRY(object_adopt(call, slot, &keys->list[i], &first,
					    &second));
	}
	return CKR_OK;
}

CK_RV objects_refresh(struct call *call, struct slot *slot)
{
	CLEANUP(keys_done) struct keys keys = {0};
	CK_RV rv;

	call_unlock(call);
	rv = tpm_key_each(slot->token, TPM_KEY_LIVE, gather, &keys);
	call_lock(call);
	return rv == CKR_OK ? merge(call, slot, &keys) : rv;
}

void objects_drop(struct module *module, const struct slot *slot,
		  const struct session *owner)
{
	struct object *object, *next;

	for (object = module->objects; object != NULL; object = next) {
		next = object->next;
		if (object->slot == slot && !object_on_token(object) &&
		    (owner == NULL || object->owner == owner->handle))
			object_remove(module, object);
	}
}
