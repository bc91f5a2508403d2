/*
 * The threads of a worker, on a SoftHSM: the same bytes as by one session, in
 * the same places, whatever happens to one of them. Faults come from a function
 * list of the test's own in front of the module's.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "hsm/crew.h"
#include "hsm/state.h"
#include "tests/unit/softhsm.h"

#define ROWS 1000
#define CREW 8

static struct fixture {
	struct softhsm hsm;
	struct token *token;
	struct rewrap_key old_key, new_key;
	struct wrap_key *old_wrap;
	struct rewrap_item *rows; /* in: under old_key; out: under new_key */
	CK_FUNCTION_LIST *real, fake;
} fix;

/* What the module in front does. */
static struct faults {
	atomic_int unwraps, inside, most, sessions, logins;
	int fail_at;   /* this C_UnwrapKey fails with: */
	CK_RV fail_rv; /* in place of the call */
	int lose_at;   /* this one says that its session is lost */
	int late_ms;   /* and says so later */
	int gather;    /* callers of C_UnwrapKey wait for so many */
	int room;      /* keys that the token has room for; 0: any */
	int session_limit;
	bool logged_out; /* sessions say that the login is gone */
	CK_RV login_rv;
	int slow_ms; /* each C_UnwrapKey */
} faults;

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gathered = PTHREAD_COND_INITIALIZER;

static void pause_ms(int ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

static void note_most(int inside)
{
	int most = atomic_load(&faults.most);

	while (inside > most &&
	       !atomic_compare_exchange_weak(&faults.most, &most, inside))
		;
}

/* Until enough were inside at one time; whoever waits in vain goes on. */
static void wait_for_others(void)
{
	struct timespec limit;

	clock_gettime(CLOCK_REALTIME, &limit);
	limit.tv_sec += 20;
	pthread_mutex_lock(&gate);
	pthread_cond_broadcast(&gathered);
	while (atomic_load(&faults.most) < faults.gather &&
	       pthread_cond_timedwait(&gathered, &gate, &limit) == 0)
		;
	pthread_mutex_unlock(&gate);
}

static CK_RV unwrap_fault(int n, int inside)
{
	if (faults.room > 0 && inside > faults.room)
		return CKR_DEVICE_MEMORY;
	if (n == faults.fail_at)
		return faults.fail_rv;
	if (n != faults.lose_at)
		return CKR_OK;
	pause_ms(faults.late_ms);
	return CKR_SESSION_HANDLE_INVALID;
}

static CK_RV watched_unwrap(CK_SESSION_HANDLE s, CK_MECHANISM *mechanism,
			    CK_OBJECT_HANDLE key, unsigned char *blob,
			    CK_ULONG len, CK_ATTRIBUTE *attr, CK_ULONG n,
			    CK_OBJECT_HANDLE *ret)
{
	int count = atomic_fetch_add(&faults.unwraps, 1) + 1;
	int inside = atomic_fetch_add(&faults.inside, 1) + 1;
	CK_RV rv;

	note_most(inside);
	if (faults.gather > 0)
		wait_for_others();
	if (faults.slow_ms > 0)
		pause_ms(faults.slow_ms);
	rv = unwrap_fault(count, inside);
	if (rv == CKR_OK)
		rv = fix.real->C_UnwrapKey(s, mechanism, key, blob, len, attr,
					   n, ret);
	atomic_fetch_sub(&faults.inside, 1);
	return rv;
}

static CK_RV limited_open(CK_SLOT_ID slot, CK_FLAGS flags, void *app,
			  CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
	if (atomic_fetch_add(&faults.sessions, 1) >= faults.session_limit)
		return CKR_SESSION_COUNT;
	return fix.real->C_OpenSession(slot, flags, app, notify, ret);
}

static CK_RV session_info(CK_SESSION_HANDLE s, CK_SESSION_INFO *info)
{
	CK_RV rv = fix.real->C_GetSessionInfo(s, info);

	if (rv == CKR_OK && faults.logged_out)
		info->state = CKS_RO_PUBLIC_SESSION;
	return rv;
}

static CK_RV counted_login(CK_SESSION_HANDLE s, CK_USER_TYPE user,
			   unsigned char *pin, CK_ULONG len)
{
	atomic_fetch_add(&faults.logins, 1);
	return faults.login_rv != CKR_OK ? faults.login_rv
					 : fix.real->C_Login(s, user, pin, len);
}

static struct crew *open_crew(size_t most)
{
	struct crew *crew = NULL;

	assert_int_equal(
		crew_open(fix.token, &fix.old_key, &fix.new_key, most, &crew),
		KT_OK);
	return crew;
}

static struct rewrap_item *copy_rows(void)
{
	struct rewrap_item *copy = calloc(ROWS, sizeof(*copy));

	assert_non_null(copy);
	for (size_t i = 0; i < ROWS; i++)
		copy[i].in = fix.rows[i].in;
	return copy;
}

static struct rewrap_batch batch_of(struct rewrap_item *items, size_t count,
				    uint32_t sessions)
{
	return (struct rewrap_batch){.op = REWRAP_COPY,
				     .count = count,
				     .items = items,
				     .sessions = sessions};
}

static void assert_in_place(const struct rewrap_item *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].err, KT_OK);
		assert_true(blob_equal(&rows[i].out, &fix.rows[i].out));
	}
}

static void eight_do_what_one_does(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(rows, ROWS, CREW);

	(void)state;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	assert_int_equal(batch.sessions_had, CREW);
	assert_in_place(rows, ROWS);
	batch.op = REWRAP_PROVE;
	rows[7].out = fix.rows[8].out;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	for (size_t i = 0; i < ROWS; i++)
		assert_int_equal(rows[i].err,
				 i == 7 ? KT_ERR_INTEGRITY : KT_OK);
}

static void as_many_as_were_told_are_at_work(void **state)
{
	static const int sessions[] = {1, 3, CREW, 2};
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct rewrap_batch batch =
			batch_of(rows, 64, (uint32_t)sessions[i]);

		atomic_store(&faults.most, 0);
		faults.gather = sessions[i];
		assert_int_equal(crew_batch(crew, &batch), KT_OK);
		assert_int_equal(faults.most, sessions[i]);
		assert_int_equal(batch.sessions_had, sessions[i]);
		assert_in_place(rows, 64);
	}
}

static void bad_blobs_are_named_and_the_rest_done(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(rows, ROWS, CREW);

	(void)state;
	for (size_t i = 0; i < ROWS; i += 10)
		rows[i].in.data[i % 40] ^= 1;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	for (size_t i = 0; i < ROWS; i++) {
		bool bad = i % 10 == 0;

		assert_int_equal(rows[i].err, bad ? KT_ERR_INTEGRITY : KT_OK);
		assert_true((rows[i].reason[0] != '\0') == bad);
		if (bad)
			assert_int_equal(rows[i].out.len, 0);
		else
			assert_true(blob_equal(&rows[i].out, &fix.rows[i].out));
	}
}

/* Nobody is at work any more when the error is there: the items go back. */
static void an_error_of_one_ends_the_batch(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(rows, ROWS, CREW);

	(void)state;
	faults.fail_at = 50;
	faults.fail_rv = CKR_DEVICE_ERROR;
	faults.slow_ms = 2;
	assert_int_equal(crew_batch(crew, &batch), KT_ERR_TOKEN);
	assert_string_equal(kt_err_detail(), "C_UnwrapKey: CKR_DEVICE_ERROR");
	assert_int_equal(faults.inside, 0);
	assert_in_range(faults.unwraps, 50, 50 + CREW);
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	assert_in_place(rows, ROWS);
}

static void a_lost_session_heals(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(rows, ROWS, CREW);
	uint64_t generation = token_generation(fix.token);

	(void)state;
	faults.lose_at = 50;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	assert_in_place(rows, ROWS);
	assert_int_equal(token_generation(fix.token), generation + 1);
	assert_int_equal(faults.logins, 0);
}

/* The others' sessions are of an earlier login then, and so are the keys that
 * they unwrapped for themselves. */
static void project_keys_heal_with_their_sessions(void **state)
{
	CLEANUP(crew_closep) struct crew *crew = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *wrap = NULL;
	struct rewrap_key key = fix.old_key;
	struct rewrap_item rows[40] = {0};
	struct rewrap_batch batch = batch_of(rows, 40, CREW);

	(void)state;
	key.wrapped = true;
	key.mech = KT_WRAP_AES_KW;
	assert_int_equal(wrap_new(&fix.old_wrap, 1, &key.blob), KT_OK);
	assert_int_equal(
		wrap_key_unwrap(fix.old_wrap, &key.blob, key.mech, NULL, &wrap),
		KT_OK);
	for (size_t i = 0; i < 40; i++)
		assert_int_equal(wrap_new(&wrap, 1, &rows[i].in), KT_OK);
	assert_int_equal(crew_open(fix.token, &key, &key, CREW, &crew), KT_OK);
	faults.slow_ms = 2;
	faults.lose_at = faults.unwraps + 50;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	assert_true(faults.unwraps > faults.lose_at);
	for (size_t i = 0; i < 40; i++) {
		assert_int_equal(rows[i].err, KT_OK);
		assert_true(blob_equal(&rows[i].out, &rows[i].in));
	}
}

/* Two members fail, and the lesser error comes first. */
static void a_wrong_pin_is_what_is_told(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(2);
	struct rewrap_batch batch = batch_of(rows, 2, 2);

	(void)state;
	faults.gather = 2;
	faults.fail_at = 1;
	faults.fail_rv = CKR_DEVICE_ERROR;
	faults.lose_at = 2;
	faults.late_ms = 200;
	faults.logged_out = true;
	faults.login_rv = CKR_PIN_INCORRECT;
	assert_int_equal(crew_batch(crew, &batch), KT_ERR_PIN);
	assert_int_equal(faults.logins, 1);
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	fix.token->pin_rejected = false;
}

static void sessions_that_cannot_be_had_are_done_without(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(rows, ROWS, CREW);
	int opened;

	(void)state;
	sessions_close(fix.token);
	fix.token->max = CREW;
	faults.session_limit = faults.sessions + 3;
	faults.slow_ms = 1;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(crew_batch(crew, &batch), KT_OK);
		assert_in_place(rows, ROWS);
		opened = faults.sessions;
	}
	assert_int_equal(faults.sessions, opened);
	assert_in_range(faults.most, 1, 3);
}

/* A member that has no keys takes no items, and is not counted. */
static void a_member_without_keys_does_nothing(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = NULL;
	struct rewrap_key trial = fix.old_key;
	struct rewrap_batch batch = batch_of(rows, 100, CREW);

	(void)state;
	trial.temporary = true; /* it lives in a session of its own */
	assert_int_equal(
		crew_open(fix.token, &fix.old_key, &trial, CREW, &crew), KT_OK);
	assert_int_equal(crew_batch(crew, &batch), KT_ERR_USAGE);
	batch.op = REWRAP_TRY;
	faults.session_limit = 0;
	faults.slow_ms = 1;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(crew_batch(crew, &batch), KT_OK);
		assert_int_equal(batch.sessions_had, 1);
		assert_int_equal(faults.most, 1);
	}
	for (size_t i = 0; i < 100; i++)
		assert_int_equal(rows[i].err, KT_OK);
}

static void half_as_many_where_the_token_has_no_room(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(rows, ROWS, CREW);

	(void)state;
	faults.room = 3;
	faults.slow_ms = 1;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	assert_in_place(rows, ROWS);
	assert_in_range(batch.sessions_had, 1, 3);
	faults.room = 1;
	faults.fail_at = faults.unwraps + 300;
	faults.fail_rv = CKR_HOST_MEMORY;
	batch.sessions = 1;
	assert_int_equal(crew_batch(crew, &batch), KT_ERR_MEMORY);
}

/* That members wait for each other says nothing about the token. */
static void only_waits_for_the_token_count(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows();
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch all = batch_of(rows, ROWS, CREW);
	struct rewrap_batch one = batch_of(rows, 1, CREW);
	uint32_t waits = 0;

	(void)state;
	assert_int_equal(crew_batch(crew, &all), KT_OK);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(crew_batch(crew, &one), KT_OK);
		waits += one.waits;
	}
	assert_true(waits < 50);
	faults.slow_ms = 1;
	assert_int_equal(crew_batch(crew, &all), KT_OK);
	assert_true(all.waits >= ROWS);
}

static void no_items_are_a_batch(void **state)
{
	CLEANUP(crew_closep) struct crew *crew = open_crew(CREW);
	struct rewrap_batch batch = batch_of(NULL, 0, CREW);

	(void)state;
	assert_int_equal(crew_batch(crew, &batch), KT_OK);
	assert_int_equal(batch.sessions_had, CREW);
}

static void make_key(struct rewrap_key *ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *wrap = NULL;

	ret->token_key.role = KT_KEY_MASTER;
	ret->token_key.mech = KT_WRAP_AES_KW;
	assert_int_equal(id_random(&ret->token_key.cka_id), KT_OK);
	assert_int_equal(token_generate(fix.token, KT_KEY_MASTER,
					KT_WRAP_AES_KW, &ret->token_key.cka_id,
					"test"),
			 KT_OK);
	assert_int_equal(wrap_key_find(fix.token, &ret->token_key, &wrap),
			 KT_OK);
	assert_int_equal(wrap_new(&wrap, 1, &ret->token_key.canary), KT_OK);
}

static void make_rows(void)
{
	CLEANUP(wrap_key_freep) struct wrap_key *new_wrap = NULL;

	assert_int_equal(
		wrap_key_find(fix.token, &fix.old_key.token_key, &fix.old_wrap),
		KT_OK);
	assert_int_equal(
		wrap_key_find(fix.token, &fix.new_key.token_key, &new_wrap),
		KT_OK);
	fix.rows = calloc(ROWS, sizeof(*fix.rows));
	assert_non_null(fix.rows);
	for (size_t i = 0; i < ROWS; i++) {
		assert_int_equal(wrap_new(&fix.old_wrap, 1, &fix.rows[i].in),
				 KT_OK);
		assert_int_equal(wrap_copy(fix.old_wrap, new_wrap,
					   &fix.rows[i].in, &fix.rows[i].out),
				 KT_OK);
	}
}

static void put_fakes_in_front(void)
{
	fix.real = fix.token->module.p11;
	fix.fake = *fix.real;
	fix.fake.C_UnwrapKey = watched_unwrap;
	fix.fake.C_OpenSession = limited_open;
	fix.fake.C_GetSessionInfo = session_info;
	fix.fake.C_Login = counted_login;
	sessions_close(fix.token);
	fix.token->module.p11 = &fix.fake;
}

static int each_setup(void **state)
{
	(void)state;
	memset(&faults, 0, sizeof(faults));
	faults.session_limit = INT_MAX;
	fix.token->max = 4 * CREW;
	return 0;
}

static int group_setup(void **state)
{
	(void)state;
	softhsm_start(&fix.hsm);
	assert_int_equal(token_open(&fix.hsm.params, &fix.token), KT_OK);
	make_key(&fix.old_key);
	make_key(&fix.new_key);
	make_rows();
	put_fakes_in_front();
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	free(fix.rows);
	wrap_key_free(fix.old_wrap);
	sessions_close(fix.token);
	fix.token->module.p11 = fix.real;
	token_close(fix.token);
	softhsm_stop(&fix.hsm);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, each_setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(eight_do_what_one_does),
		TEST(as_many_as_were_told_are_at_work),
		TEST(bad_blobs_are_named_and_the_rest_done),
		TEST(an_error_of_one_ends_the_batch),
		TEST(a_lost_session_heals),
		TEST(project_keys_heal_with_their_sessions),
		TEST(a_wrong_pin_is_what_is_told),
		TEST(sessions_that_cannot_be_had_are_done_without),
		TEST(a_member_without_keys_does_nothing),
		TEST(half_as_many_where_the_token_has_no_room),
		TEST(only_waits_for_the_token_count),
		TEST(no_items_are_a_batch),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
