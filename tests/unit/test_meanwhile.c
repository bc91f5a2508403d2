/*
 * A write looks at the database twice, with the token's work between. Here
 * something happens in between, as another process would do it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/keys.h"
#include "tests/unit/vault_fixture.h"

/* What happens while a value is being sealed: between the two looks that a
 * write takes at the database. The linker sends value_seal() here. */
static void (*meanwhile)(struct vault_fixture *f);
static struct vault_fixture *fixture;

enum kt_err __real_value_seal(struct wrap_key *const *keys, size_t n,
			      const void *aad, size_t aad_len,
			      const struct kt_secret *value,
			      struct blob *ret_blobs, struct sealed_value *ret);
enum kt_err __wrap_value_seal(struct wrap_key *const *keys, size_t n,
			      const void *aad, size_t aad_len,
			      const struct kt_secret *value,
			      struct blob *ret_blobs, struct sealed_value *ret);

enum kt_err __wrap_value_seal(struct wrap_key *const *keys, size_t n,
			      const void *aad, size_t aad_len,
			      const struct kt_secret *value,
			      struct blob *ret_blobs, struct sealed_value *ret)
{
	void (*act)(struct vault_fixture * f) = meanwhile;

	meanwhile = NULL;
	if (act != NULL)
		act(fixture);
	return __real_value_seal(keys, n, aad, aad_len, value, ret_blobs, ret);
}

static int setup(void **state)
{
	fixture = *state;
	return vault_fixture_setup(state);
}

static void somebody_sets_it_too(struct vault_fixture *f)
{
	put(f->vault, "web", "A", "theirs", 6);
}

static void a_version_made_meanwhile_is_kept(void **state)
{
	struct vault_fixture *f = *state;

	meanwhile = somebody_sets_it_too;
	put(f->vault, "web", "A", "mine", 4);
	expect(f->vault, "web", "A", 1, "theirs", 6);
	expect(f->vault, "web", "A", 2, "mine", 4);
	meanwhile = somebody_sets_it_too;
	put(f->vault, "web", "A", "again", 5);
	expect(f->vault, "web", "A", 3, "theirs", 6);
	expect(f->vault, "web", "A", 0, "again", 5);
}

static struct kt_id second_key;

/* As a project rotation by another process would, up to keyed. */
static void a_second_key_opens(struct vault_fixture *f)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct blob blobs[WRAP_SET_MAX];
	struct kt_project project;
	struct wrap_set masters;
	struct key_row key;

	ok(kt_project_get(f->vault, "web", &project));
	ok(key_row_new(KT_KEY_PROJECT, &project.id, 2, &key));
	key.mech = project.key.mech;
	key.proven = key.created;
	ok(wrap_set_read(f->vault, KT_KEY_PROJECT, NULL, &masters));
	ok(wrap_new(masters.key, masters.count, blobs));
	ok(store_begin(f->vault->store, STORE_WRITE, &tx));
	ok(store_insert(f->vault->store, ROW_KEY, &key));
	ok(wrap_set_store(f->vault, &masters, &key.id, blobs));
	ok(store_commit(&tx));
	second_key = key.id;
}

/* I12 */
static void a_key_that_opens_meanwhile_is_used(void **state)
{
	struct vault_fixture *f = *state;
	struct count_row under;

	meanwhile = a_second_key_opens;
	put(f->vault, "web", "A", "a", 1);
	ok(query_one(f->vault->store, Q_WRAP_COUNT, &under, "b", &second_key));
	assert_int_equal(under.n, 1);
	expect(f->vault, "web", "A", 1, "a", 1);
	assert_int_equal(get(f->vault, "web", "A", 2), KT_ERR_NOT_FOUND);
}

static void the_project_goes(struct vault_fixture *f)
{
	ok(kt_project_delete(f->vault, "web"));
}

static void nothing_is_written_to_a_deleted_project(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct vault_fixture *f = *state;
	struct kt_secret_info info;
	struct count_row secrets;

	ok(kt_secret_copy("a", 1, &value));
	meanwhile = the_project_goes;
	assert_int_equal(kt_secret_set(f->vault, "web", "A", &value, &info),
			 KT_ERR_NOT_FOUND);
	ok(query_one(f->vault->store, Q_SECRET_COUNT_ALL, &secrets, ""));
	assert_int_equal(secrets.n, 0);
}

static char granted[KT_ACCESS_ID_LEN + 1];

static void the_operator_revokes(struct vault_fixture *f)
{
	struct actor limited = f->vault->actor;

	f->vault->actor = (struct actor){.name = "tester"};
	ok(kt_access_revoke(f->vault, granted));
	f->vault->actor = limited;
}

/* I16 */
static void a_token_revoked_meanwhile_writes_nothing(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct vault_fixture *f = *state;
	struct kt_access access;
	struct kt_secret_info info;
	struct count_row secrets;

	issue(f->vault, "web", KT_ACCESS_WRITE, &access, &token);
	memcpy(granted, access.id, sizeof(granted));
	ok(kt_vault_authorize(f->vault, &token));
	ok(kt_secret_copy("a", 1, &value));
	meanwhile = the_operator_revokes;
	assert_int_equal(kt_secret_set(f->vault, "web", "A", &value, &info),
			 KT_ERR_DENIED);
	ok(query_one(f->vault->store, Q_SECRET_COUNT_ALL, &secrets, ""));
	assert_int_equal(secrets.n, 0);
}

#define MEANWHILE_TEST(test)                                                   \
	cmocka_unit_test_setup_teardown(test, setup, vault_fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		MEANWHILE_TEST(a_version_made_meanwhile_is_kept),
		MEANWHILE_TEST(a_key_that_opens_meanwhile_is_used),
		MEANWHILE_TEST(nothing_is_written_to_a_deleted_project),
		MEANWHILE_TEST(a_token_revoked_meanwhile_writes_nothing),
	};

	return cmocka_run_group_tests(tests, vault_fixture_start,
				      vault_fixture_stop);
}
