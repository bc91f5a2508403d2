/*
 * Finding objects of a token. Without a login a token answers "none" where it
 * should say "not logged in", and some answer so while another process writes:
 * "none" is believed only when a fresh session that is logged in says it too.
 */
#include <assert.h>
#include <string.h>

#include "hsm/state.h"

#define FIND_AT_ONCE 32

void handles_done(struct handles *handles)
{
	free(handles->list);
	*handles = (struct handles){0};
}

static enum kt_err append(struct handles *handles, const CK_OBJECT_HANDLE *more,
			  CK_ULONG n)
{
	CK_OBJECT_HANDLE *list;

	list = reallocarray(handles->list, handles->count + n, sizeof(*list));
	if (list == NULL)
		return err_memory();
	memcpy(list + handles->count, more, n * sizeof(*list));
	handles->list = list;
	handles->count += n;
	return KT_OK;
}

/* Only token objects: a session object may carry any CKA_ID. */
static enum kt_err list_once(struct session *s, const CK_ATTRIBUTE *attr,
			     CK_ULONG n, struct handles *ret)
{
	CLEANUP(handles_done) struct handles found = {0};
	CK_OBJECT_HANDLE some[FIND_AT_ONCE];
	CK_ATTRIBUTE search[4];
	CK_BBOOL yes = CK_TRUE;
	CK_ULONG got;

	assert(n < sizeof(search) / sizeof(search[0]));
	if (n > 0)
		memcpy(search, attr, n * sizeof(*attr));
	search[n] = (CK_ATTRIBUTE){CKA_TOKEN, &yes, sizeof(yes)};
	TRY(CALL(s, C_FindObjectsInit, search, n + 1));
	do {
		got = 0;
		TRY(CALL(s, C_FindObjects, some, FIND_AT_ONCE, &got));
		if (got > 0)
			TRY(append(&found, some, got));
	} while (got > 0);
	TRY(CALL(s, C_FindObjectsFinal));
	*ret = found;
	found = (struct handles){0};
	return KT_OK;
}

static enum kt_err require_login(struct session *s)
{
	CK_SESSION_INFO info;

	TRY(CALL(s, C_GetSessionInfo, &info));
	if (info.state == CKS_RO_USER_FUNCTIONS ||
	    info.state == CKS_RW_USER_FUNCTIONS)
		return KT_OK;
	return p11_result(s, "C_FindObjects", CKR_USER_NOT_LOGGED_IN);
}

/* Who has the read-write session holds the lock already. */
static enum kt_err list_fresh(struct session *s, const CK_ATTRIBUTE *attr,
			      CK_ULONG n, struct handles *ret)
{
	CLEANUP(session_releasep) struct session *fresh = NULL;
	CLEANUP(fd_close) int lock = -1;

	if (!s->read_write)
		TRY(module_lock(s->token, LOCK_MODE_SHARED, &lock));
	TRY(session_new_own(s->token, &fresh));
	TRY(require_login(fresh));
	return list_once(fresh, attr, n, ret);
}

enum kt_err objects_list(struct session *s, const CK_ATTRIBUTE *attr,
			 CK_ULONG n, struct handles *ret)
{
	CLEANUP(handles_done) struct handles found = {0};

	TRY(list_once(s, attr, n, &found));
	if (found.count == 0)
		return list_fresh(s, attr, n, ret);
	*ret = found;
	found = (struct handles){0};
	return KT_OK;
}

enum kt_err object_find(struct session *s, CK_OBJECT_CLASS class,
			const struct kt_id *cka_id, CK_OBJECT_HANDLE *ret)
{
	CLEANUP(handles_done) struct handles found = {0};
	char id[2 * KT_ID_LEN + 1];
	const CK_ATTRIBUTE search[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_ID, (void *)cka_id->bytes, KT_ID_LEN},
	};

	hex_encode(cka_id->bytes, KT_ID_LEN, id);
	TRY(objects_list(s, search, 2, &found));
	if (found.count == 0)
		return err_raise(KT_ERR_NOT_FOUND,
				 "the token has no key with CKA_ID %s", id);
	if (found.count > 1)
		return err_raise(KT_ERR_CONFLICT,
				 "the token has %zu keys with CKA_ID %s",
				 found.count, id);
	*ret = found.list[0];
	return KT_OK;
}

/* A broken session is closed and takes its objects with it. */
void object_drop(struct object *object)
{
	struct session *s = object->session;

	if (s != NULL && object->handle != CK_INVALID_HANDLE && !s->broken &&
	    s->generation == token_generation(s->token) &&
	    s->p11->C_DestroyObject(s->handle, object->handle) != CKR_OK)
		s->broken = true;
	*object = (struct object){0};
}
