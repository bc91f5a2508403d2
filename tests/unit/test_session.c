/*
 * Sessions under faults: what is lost from outside heals once, what stays lost
 * is an error, and a PIN that was rejected is never tried again. Faults come
 * from outside through the module itself, or from a function list of the
 * test's own in front of it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/state.h"
#include "tests/unit/softhsm.h"

static struct softhsm hsm;
static struct token *token;
static CK_FUNCTION_LIST *real;   /* p11-kit's */
static CK_FUNCTION_LIST *direct; /* the module's, behind p11-kit's back */
static CK_FUNCTION_LIST fake;
static struct kt_id mac_key;
static int logins, random_faults, session_limit;
static CK_FLAGS fake_flags;
static CK_RV fake_login_rv;

static CK_RV counted_login(CK_SESSION_HANDLE s, CK_USER_TYPE user,
			   unsigned char *pin, CK_ULONG len)
{
	logins++;
	return fake_login_rv != CKR_OK ? fake_login_rv
				       : real->C_Login(s, user, pin, len);
}

static CK_RV flagged_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
	CK_RV rv = real->C_GetTokenInfo(slot, info);

	info->flags |= fake_flags;
	return rv;
}

static CK_RV failing_random(CK_SESSION_HANDLE s, unsigned char *data,
			    CK_ULONG len)
{
	if (random_faults != 0) {
		random_faults--;
		return CKR_SESSION_HANDLE_INVALID;
	}
	return real->C_GenerateRandom(s, data, len);
}

static CK_RV limited_open(CK_SLOT_ID slot, CK_FLAGS flags, void *app,
			  CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
	if (session_limit == 0)
		return CKR_SESSION_COUNT;
	session_limit--;
	return real->C_OpenSession(slot, flags, app, notify, ret);
}

/* As SoftHSM's of an object that a crash left half made. */
static CK_RV classless(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object,
		       CK_ATTRIBUTE *attr, CK_ULONG n)
{
	return n == 1 && attr->type == CKA_CLASS
		       ? CKR_GENERAL_ERROR
		       : real->C_GetAttributeValue(s, object, attr, n);
}

static void put_fakes_in_front(void)
{
	real = token->module.p11;
	fake = *real;
	fake.C_Login = counted_login;
	fake.C_GetTokenInfo = flagged_info;
	fake.C_GenerateRandom = failing_random;
	fake.C_OpenSession = limited_open;
	token->module.p11 = &fake;
	logins = 0;
	random_faults = 0;
	session_limit = 1000;
	fake_flags = 0;
	fake_login_rv = CKR_OK;
}

static int setup(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	if (token_open(&hsm.params, &token) != KT_OK ||
	    id_random(&mac_key) != KT_OK ||
	    token_generate(token, KT_KEY_ROW_MAC, KT_WRAP_NONE, &mac_key,
			   "mac") != KT_OK)
		return -1;
	sessions_close(token);
	put_fakes_in_front();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	sessions_close(token);
	token->module.p11 = real;
	token_close(token);
	softhsm_stop(&hsm);
	return 0;
}

static void find_direct(void)
{
	void *library = dlopen(SOFTHSM_MODULE, RTLD_NOW | RTLD_NOLOAD);
	CK_RV (*list)(CK_FUNCTION_LIST * *ret);

	assert_non_null(library);
	*(void **)&list = dlsym(library, "C_GetFunctionList");
	assert_int_equal(list(&direct), CKR_OK);
	dlclose(library); /* p11-kit keeps it */
}

static enum kt_err mac(uint8_t ret[32])
{
	return token_mac(token, &mac_key, "data", 4, ret);
}

static void sessions_closed_from_outside_heal(void **state)
{
	uint8_t before[32], after[32];
	uint64_t generation = token_generation(token);

	(void)state;
	find_direct();
	assert_int_equal(mac(before), KT_OK);
	assert_int_equal(direct->C_CloseAllSessions(token->slot.id), CKR_OK);
	assert_int_equal(mac(after), KT_OK);
	assert_memory_equal(before, after, 32);
	assert_int_equal(token_generation(token), generation + 1);
	assert_int_equal(logins, 1);
	assert_int_equal(mac(after), KT_OK);
	assert_int_equal(logins, 1);
}

static void a_logout_from_outside_heals(void **state)
{
	CK_SESSION_HANDLE session;
	uint8_t before[32], after[32];
	size_t count = 0;

	(void)state;
	find_direct();
	assert_int_equal(mac(before), KT_OK);
	assert_int_equal(direct->C_OpenSession(token->slot.id,
					       CKF_SERIAL_SESSION, NULL, NULL,
					       &session),
			 CKR_OK);
	assert_int_equal(direct->C_Logout(session), CKR_OK);
	/* A token that is not logged in shows no private object. */
	assert_int_equal(token_count(token, &mac_key, &count), KT_OK);
	assert_int_equal(count, 1);
	assert_int_equal(logins, 1);
	assert_int_equal(mac(after), KT_OK);
	assert_memory_equal(before, after, 32);
}

static void the_read_write_session_heals_too(void **state)
{
	struct kt_id id;

	(void)state;
	find_direct();
	assert_int_equal(id_random(&id), KT_OK);
	assert_int_equal(direct->C_CloseAllSessions(token->slot.id), CKR_OK);
	assert_int_equal(token_generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
					&id, "master"),
			 KT_OK);
	assert_int_equal(token_destroy(token, &id), KT_OK);
}

static void a_lost_session_is_replaced_once(void **state)
{
	uint8_t data[8];

	(void)state;
	random_faults = 1;
	assert_int_equal(token_random(token, data, sizeof(data)), KT_OK);
	assert_int_equal(random_faults, 0);
	assert_int_equal(logins, 0); /* the login itself still stood */
	random_faults = 3;
	assert_int_equal(token_random(token, data, sizeof(data)), KT_ERR_TOKEN);
	assert_int_equal(random_faults, 1);
	assert_string_equal(kt_err_detail(),
			    "session lost again: C_GenerateRandom: "
			    "CKR_SESSION_HANDLE_INVALID");
}

static void a_rejected_pin_is_not_tried_again(void **state)
{
	uint8_t room[32];

	(void)state;
	find_direct();
	fake_login_rv = CKR_PIN_INCORRECT;
	direct->C_CloseAllSessions(token->slot.id);
	assert_int_equal(mac(room), KT_ERR_PIN);
	assert_string_equal(kt_err_detail(), "PIN rejected by the token: "
					     "C_Login: CKR_PIN_INCORRECT");
	assert_int_equal(mac(room), KT_ERR_PIN);
	assert_int_equal(mac(room), KT_ERR_PIN);
	assert_int_equal(logins, 1);
}

static void locked_tokens_are_not_asked(void **state)
{
	(void)state;
	fake_flags = CKF_USER_PIN_LOCKED;
	token->last_try = true;
	assert_int_equal(login_allowed(token), KT_ERR_PIN);
	assert_non_null(strstr(kt_err_detail(), "locked"));
	fake_flags = CKF_USER_PIN_FINAL_TRY;
	assert_int_equal(login_allowed(token), KT_OK);
	token->last_try = false;
	assert_int_equal(login_allowed(token), KT_ERR_PIN);
	assert_non_null(strstr(kt_err_hint(), "--last-try"));
	fake_flags = CKF_USER_PIN_COUNT_LOW;
	assert_int_equal(login_allowed(token), KT_OK);
	assert_int_equal(logins, 0);
}

static void the_final_try_is_not_taken_by_a_renewal(void **state)
{
	uint8_t room[32];

	(void)state;
	find_direct();
	fake_flags = CKF_USER_PIN_FINAL_TRY;
	direct->C_CloseAllSessions(token->slot.id);
	assert_int_equal(mac(room), KT_ERR_PIN);
	assert_int_equal(logins, 0);
	fake_flags = 0;
	assert_int_equal(mac(room), KT_OK);
}

static void sessions_are_reused_and_broken_ones_closed(void **state)
{
	struct session *s, *again;
	CK_SESSION_HANDLE first;

	(void)state;
	assert_int_equal(session_lease(token, &s), KT_OK);
	first = s->handle;
	session_release(s);
	assert_int_equal(session_lease(token, &again), KT_OK);
	assert_int_equal(again->handle, first);
	assert_int_equal(p11_result(again, "C_UnwrapKey", CKR_DATA_INVALID),
			 KT_ERR_INTEGRITY);
	session_release(again);
	assert_int_equal(token->open, 0);
	assert_int_equal(session_lease(token, &s), KT_OK);
	assert_int_not_equal(s->handle, first);
	session_release(s);
}

static void a_token_without_sessions_shrinks_the_pool(void **state)
{
	struct session *s;

	(void)state;
	session_limit = 1;
	assert_int_equal(session_lease(token, &s), KT_OK);
	session_release(s);
	assert_int_equal(session_lease(token, &s), KT_OK);
	session_release(s);
	sessions_close(token);
	assert_int_equal(session_lease(token, &s), KT_ERR_MEMORY);
	assert_string_equal(kt_err_detail(),
			    "C_OpenSession: CKR_SESSION_COUNT");
}

struct worker {
	pthread_t thread;
	atomic_int *active;
	atomic_int *most;
	enum kt_err err;
};

static void *lease_often(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < 200 && w->err == KT_OK; i++) {
		CLEANUP(session_releasep) struct session *s = NULL;
		uint8_t data[16];
		int now, most;

		w->err = session_lease(token, &s);
		if (w->err != KT_OK)
			break;
		now = atomic_fetch_add(w->active, 1) + 1;
		most = atomic_load(w->most);
		while (now > most &&
		       !atomic_compare_exchange_weak(w->most, &most, now))
			;
		w->err = CALL(s, C_GenerateRandom, data, sizeof(data));
		atomic_fetch_sub(w->active, 1);
	}
	return NULL;
}

static void threads_share_the_pool(size_t expected_most)
{
	atomic_int active = 0, most = 0;
	struct worker workers[8];

	for (size_t i = 0; i < 8; i++) {
		workers[i] = (struct worker){
			.active = &active, .most = &most, .err = KT_OK};
		assert_int_equal(pthread_create(&workers[i].thread, NULL,
						lease_often, &workers[i]),
				 0);
	}
	for (size_t i = 0; i < 8; i++) {
		assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
		assert_int_equal(workers[i].err, KT_OK);
	}
	assert_true((size_t)most <= expected_most);
	assert_true(token->open <= expected_most);
}

static void threads_wait_for_a_session(void **state)
{
	(void)state;
	threads_share_the_pool(token->max);
	/* Also where the token has fewer than the pool would like. */
	sessions_close(token);
	session_limit = 2;
	threads_share_the_pool(2);
}

static void own_sessions_do_not_use_up_the_pool(void **state)
{
	struct session *own[6], *s;

	(void)state;
	for (size_t i = 0; i < 6; i++)
		assert_int_equal(session_open_own(token, &own[i]), KT_OK);
	assert_int_equal(session_lease(token, &s), KT_OK);
	session_release(s);
	for (size_t i = 0; i < 6; i++)
		session_release(own[i]);
	assert_int_equal(token->open, 1);
}

static void sessions_of_before_a_reload_are_only_forgotten(void **state)
{
	struct session *own, *leased, *s;
	uint8_t room[32];

	(void)state;
	assert_int_equal(session_open_own(token, &own), KT_OK);
	assert_int_equal(session_lease(token, &leased), KT_OK);
	token->module.p11 = real;
	assert_int_equal(token_reload(token), KT_OK);
	token->module.p11 = &fake;
	assert_int_equal(session_lease(token, &s), KT_OK);
	session_release(own);
	session_release(leased);
	assert_int_equal(CALL(s, C_GenerateRandom, room, sizeof(room)), KT_OK);
	session_release(s);
	assert_int_equal(token->open, 1);
	assert_int_equal(mac(room), KT_OK);
}

static enum kt_err is_unreadable(void *arg, const struct token_object *o)
{
	++*(size_t *)arg;
	assert_string_equal(o->class_name, "unreadable");
	assert_true(id_equal(&o->cka_id, &mac_key));
	return KT_OK;
}

static void half_made_objects_are_counted_and_listed(void **state)
{
	struct key_facts facts;
	size_t n = 0, listed = 0;

	(void)state;
	fake.C_GetAttributeValue = classless;
	assert_int_equal(token_count(token, &mac_key, &n), KT_OK);
	assert_int_equal(n, 1);
	assert_int_equal(token_objects(token, is_unreadable, &listed), KT_OK);
	assert_int_equal(listed, 1);
	assert_int_equal(token_generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
					&mac_key, "master"),
			 KT_ERR_CONFLICT);
	assert_int_equal(token_destroy(token, &mac_key), KT_OK);
	fake.C_GetAttributeValue = real->C_GetAttributeValue;
	assert_int_equal(token_key_facts(token, KT_KEY_ROW_MAC, KT_WRAP_NONE,
					 &mac_key, &facts),
			 KT_ERR_NOT_FOUND);
}

static void objects_are_destroyed_by_their_scope(void **state)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ULONG size = 32;
	CK_BBOOL value;
	CK_ATTRIBUTE attr[] = {{CKA_VALUE_LEN, &size, sizeof(size)}};
	CK_ATTRIBUTE read = {CKA_TOKEN, &value, sizeof(value)};
	CK_OBJECT_HANDLE handle;

	(void)state;
	assert_int_equal(session_lease(token, &s), KT_OK);
	assert_int_equal(CALL(s, C_GenerateKey, &mechanism, attr, 1, &handle),
			 KT_OK);
	{
		CLEANUP(object_drop) struct object object = {s, handle};

		assert_int_equal(
			CALL(s, C_GetAttributeValue, object.handle, &read, 1),
			KT_OK);
	}
	assert_int_equal(CALL(s, C_GetAttributeValue, handle, &read, 1),
			 KT_ERR_SESSION);
}

#define WITH_TOKEN(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_TOKEN(sessions_closed_from_outside_heal),
		WITH_TOKEN(a_logout_from_outside_heals),
		WITH_TOKEN(the_read_write_session_heals_too),
		WITH_TOKEN(a_lost_session_is_replaced_once),
		WITH_TOKEN(a_rejected_pin_is_not_tried_again),
		WITH_TOKEN(locked_tokens_are_not_asked),
		WITH_TOKEN(the_final_try_is_not_taken_by_a_renewal),
		WITH_TOKEN(sessions_are_reused_and_broken_ones_closed),
		WITH_TOKEN(a_token_without_sessions_shrinks_the_pool),
		WITH_TOKEN(threads_wait_for_a_session),
		WITH_TOKEN(own_sessions_do_not_use_up_the_pool),
		WITH_TOKEN(sessions_of_before_a_reload_are_only_forgotten),
		WITH_TOKEN(half_made_objects_are_counted_and_listed),
		WITH_TOKEN(objects_are_destroyed_by_their_scope),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
