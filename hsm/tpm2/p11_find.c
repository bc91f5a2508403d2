/*
 * Finding objects, reading and changing them, bringing some in and destroying
 * them. A key of the token never changes and is never copied; destroying it
 * ends it in the TPM.
 */
#include "hsm/tpm2/p11_object.h"

#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"
#include "hsm/tpm2/p11_template.h"

/* A search by something that this provider does not know finds nothing. */
static bool wanted_of(const CK_ATTRIBUTE *given, CK_ULONG n,
		      struct attrs *wanted, CK_RV *ret)
{
	*ret = attrs_take(wanted, given, n);
	for (CK_ULONG i = 0; *ret == CKR_OK && i < n; i++) {
		if (given[i].type == CKA_VALUE)
			return false;
	}
	if (*ret != CKR_ATTRIBUTE_TYPE_INVALID &&
	    *ret != CKR_ATTRIBUTE_VALUE_INVALID)
		return true;
	*ret = CKR_OK;
	return false;
}

static CK_RV refresh(struct call *call, CK_SESSION_HANDLE handle,
		     struct session **ret)
{
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;

	admin = slot_lock_admin(call, (*ret)->slot);
	RV_TRY(objects_refresh(call, admin));
	return call_session(call, handle, ret);
}

CK_RV C_FindObjectsInit(CK_SESSION_HANDLE handle, CK_ATTRIBUTE *given,
			CK_ULONG n)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(attrs_done) struct attrs wanted = {0};
	struct session *session;
	bool possible;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	if (session->find.active)
		return rv_raise(CKR_OPERATION_ACTIVE, "a search is under way");
	possible = wanted_of(given, n, &wanted, &rv);
	RV_TRY(rv);
	RV_TRY(refresh(&call, handle, &session));
	if (session->find.active)
		return rv_raise(CKR_OPERATION_ACTIVE, "a search is under way");
	if (possible)
		RV_TRY(objects_match(&call, session, &wanted,
				     &session->find.list,
				     &session->find.count));
	session->find.active = true;
	return CKR_OK;
}

static CK_RV active_find(struct session *session, struct find **ret)
{
	if (!session->find.active)
		return rv_raise(CKR_OPERATION_NOT_INITIALIZED,
				"no search is under way");
	*ret = &session->find;
	return CKR_OK;
}

CK_RV C_FindObjects(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE *list,
		    CK_ULONG max, CK_ULONG *count)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;
	struct find *find;
	CK_ULONG n = 0;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	RV_TRY(active_find(session, &find));
	if (count == NULL || (list == NULL && max > 0))
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the handles");
	while (n < max && find->next < find->count)
		list[n++] = find->list[find->next++];
	*count = n;
	return CKR_OK;
}

CK_RV C_FindObjectsFinal(CK_SESSION_HANDLE handle)
{
	CLEANUP(call_end) struct call call = {0};
	struct session *session;
	struct find *find;

	RV_TRY(call_begin(&call));
	RV_TRY(call_session(&call, handle, &session));
	RV_TRY(active_find(session, &find));
	free(find->list);
	*find = (struct find){0};
	return CKR_OK;
}

/* A session, and an object that it sees, held. */
static CK_RV look_up(struct call *call, CK_SESSION_HANDLE handle,
		     CK_OBJECT_HANDLE object, struct session **ret_session,
		     struct object **ret)
{
	RV_TRY(call_session(call, handle, ret_session));
	return object_find(call, *ret_session, object, ret);
}

static bool readable(const struct object *object)
{
	return object->value.data != NULL &&
	       !attrs_flag(&object->attrs, CKA_SENSITIVE) &&
	       attrs_flag(&object->attrs, CKA_EXTRACTABLE);
}

static CK_RV answer_value(const struct object *object, CK_ATTRIBUTE *ret)
{
	CK_ULONG room = ret->ulValueLen;

	ret->ulValueLen = CK_UNAVAILABLE_INFORMATION;
	if (attrs_number(&object->attrs, CKA_CLASS) == CKO_PUBLIC_KEY)
		return CKR_ATTRIBUTE_TYPE_INVALID;
	if (!readable(object))
		return rv_raise(CKR_ATTRIBUTE_SENSITIVE,
				"the key's value cannot be read");
	if (ret->pValue != NULL && room < object->value.len)
		return CKR_BUFFER_TOO_SMALL;
	ret->ulValueLen = object->value.len;
	if (ret->pValue != NULL)
		memcpy(ret->pValue, object->value.data, object->value.len);
	return CKR_OK;
}

CK_RV C_GetAttributeValue(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key,
			  CK_ATTRIBUTE *list, CK_ULONG n)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *object = NULL;
	struct session *session;
	CK_RV rv = CKR_OK;

	RV_TRY(call_begin(&call));
	RV_TRY(look_up(&call, handle, key, &session, &object));
	if (list == NULL && n > 0)
		return rv_raise(CKR_ARGUMENTS_BAD, "no attributes");
	/* Each is answered, whatever became of the others. */
	for (CK_ULONG i = 0; i < n; i++) {
		CK_RV one = list[i].type == CKA_VALUE
				    ? answer_value(object, &list[i])
				    : attrs_answer(&object->attrs, &list[i]);

		rv = one != CKR_OK ? one : rv;
	}
	return rv;
}

static CK_RV check_change(const struct object *object)
{
	if (object_on_token(object))
		return rv_raise(CKR_ACTION_PROHIBITED,
				"a key of the token never changes");
	if (!attrs_flag(&object->attrs, CKA_MODIFIABLE))
		return rv_raise(CKR_ACTION_PROHIBITED,
				"the key is not modifiable");
	return CKR_OK;
}

/* All of the changes or none. */
static CK_RV change(struct object *object, const CK_ATTRIBUTE *list, CK_ULONG n)
{
	CLEANUP(attrs_done) struct attrs copy = {0};
	struct attrs before;

	RV_TRY(attrs_parse(object->attrs.data, object->attrs.len, &copy));
	for (CK_ULONG i = 0; i < n; i++)
		RV_TRY(template_change(&copy, &list[i]));
	before = object->attrs;
	object->attrs = copy;
	copy = before;
	return CKR_OK;
}

CK_RV C_SetAttributeValue(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key,
			  CK_ATTRIBUTE *list, CK_ULONG n)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *object = NULL;
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(look_up(&call, handle, key, &session, &object));
	if (list == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no attributes");
	RV_TRY(check_change(object));
	return change(object, list, n);
}

CK_RV C_CopyObject(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key,
		   CK_ATTRIBUTE *list, CK_ULONG n, CK_OBJECT_HANDLE *ret)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *object = NULL;
	struct session *session;

	(void)list;
	(void)n;
	(void)ret;
	RV_TRY(call_begin(&call));
	RV_TRY(look_up(&call, handle, key, &session, &object));
	return rv_raise(CKR_FUNCTION_NOT_SUPPORTED, "keys are never copied");
}

CK_RV C_GetObjectSize(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key,
		      CK_ULONG *size)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *object = NULL;
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(look_up(&call, handle, key, &session, &object));
	if (size == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the size");
	*size = object->attrs.len + object->value.len;
	return CKR_OK;
}

static CK_RV value_given(const CK_ATTRIBUTE *given, CK_ULONG n,
			 struct kt_secret *ret)
{
	for (CK_ULONG i = 0; given != NULL && i < n; i++) {
		if (given[i].type == CKA_VALUE && given[i].pValue != NULL)
			return rv_of(kt_secret_copy(given[i].pValue,
						    given[i].ulValueLen, ret));
	}
	return rv_raise(CKR_TEMPLATE_INCOMPLETE, "the key has no value");
}

CK_RV C_CreateObject(CK_SESSION_HANDLE handle, CK_ATTRIBUTE *given, CK_ULONG n,
		     CK_OBJECT_HANDLE *ret)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(attrs_done) struct attrs attrs = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	CLEANUP(object_releasep) struct object *object = NULL;
	const struct making making = {ORIGIN_CREATED, CKO_SECRET_KEY,
				      CK_UNAVAILABLE_INFORMATION, 0, NULL};
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(call_user_session(&call, handle, &session));
	if (ret == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the handle");
	RV_TRY(template_complete(&making, given, n, &attrs));
	if (attrs_flag(&attrs, CKA_TOKEN))
		return rv_raise(CKR_TEMPLATE_INCONSISTENT,
				"keys of the token are born in it");
	RV_TRY(value_given(given, n, &value));
	RV_TRY(template_length(&attrs, value.len));
	RV_TRY(object_new(session->slot, &attrs, &value, &object));
	object->known = true;
	return object_publish(&call, handle, object, ret);
}

/* What a public key's private half is on the token is the key itself. */
static bool has_private_half(const struct module *module,
			     const struct object *object)
{
	if (attrs_number(&object->attrs, CKA_CLASS) != CKO_PUBLIC_KEY)
		return false;
	for (const struct object *o = module->objects; o != NULL; o = o->next) {
		if (o != object && o->slot == object->slot &&
		    object_on_token(o) && id_equal(&o->id, &object->id))
			return true;
	}
	return false;
}

static CK_RV check_destroy(struct call *call, const struct session *session,
			   const struct object *object)
{
	if (!attrs_flag(&object->attrs, CKA_DESTROYABLE))
		return rv_raise(CKR_ACTION_PROHIBITED,
				"the key is not destroyable");
	if (!object_on_token(object))
		return CKR_OK;
	if (!session->read_write)
		return rv_raise(CKR_SESSION_READ_ONLY,
				"the session is read-only");
	if (session->slot->role != TPM_USER)
		return rv_raise(CKR_USER_NOT_LOGGED_IN,
				"the user is not logged in");
	if (has_private_half(call->module, object))
		return rv_raise(CKR_ACTION_PROHIBITED,
				"a public key goes with its private key");
	return CKR_OK;
}

static CK_RV destroy_in_tpm(struct call *call, struct object *object)
{
	CLEANUP(slot_unlock_admin) struct slot *admin = NULL;
	CK_RV rv;

	admin = slot_lock_admin(call, object->slot);
	if (object->destroyed)
		return rv_raise(CKR_OBJECT_HANDLE_INVALID,
				"the key was destroyed meanwhile");
	call_unlock(call);
	rv = tpm_key_destroy(admin->token, &object->id);
	call_lock(call);
	if (rv != CKR_KEY_HANDLE_INVALID)
		return rv;
	/* Another process was first. */
	object_remove(call->module, object);
	return CKR_OBJECT_HANDLE_INVALID;
}

CK_RV C_DestroyObject(CK_SESSION_HANDLE handle, CK_OBJECT_HANDLE key)
{
	CLEANUP(call_end) struct call call = {0};
	CLEANUP(object_releasep) struct object *object = NULL;
	struct session *session;

	RV_TRY(call_begin(&call));
	RV_TRY(look_up(&call, handle, key, &session, &object));
	RV_TRY(check_destroy(&call, session, object));
	/* The public half of a key that is no more is only this entry. */
	if (object_on_token(object) &&
	    attrs_number(&object->attrs, CKA_CLASS) != CKO_PUBLIC_KEY)
		RV_TRY(destroy_in_tpm(&call, object));
	object_remove(call.module, object);
	return CKR_OK;
}
