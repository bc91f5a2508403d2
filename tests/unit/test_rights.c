/*
 * The holder of an access token stays within it, and whoever is refused
 * learns nothing from how.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/open.h"
#include "tests/unit/vault_fixture.h"

static void a_reader_reads_one_project(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct vault_fixture *f = *state;
	struct kt_access access;
	struct kt_project project;
	struct kt_secret_info info;
	struct kt_audit_summary summary;

	put(f->vault, "web", "A", "a", 1);
	put(f->vault, "mail", "A", "b", 1);
	issue(f->vault, "web", KT_ACCESS_READ, &access, &token);
	ok(kt_vault_authorize(f->vault, &token));
	expect(f->vault, "web", "A", 0, "a", 1);
	assert_int_equal(get(f->vault, "web", "B", 0), KT_ERR_NOT_FOUND);
	assert_int_equal(get(f->vault, "mail", "A", 0), KT_ERR_DENIED);
	assert_int_equal(get(f->vault, "none", "A", 0), KT_ERR_DENIED);
	ok(kt_secret_copy("c", 1, &value));
	assert_int_equal(kt_secret_set(f->vault, "web", "A", &value, &info),
			 KT_ERR_DENIED);
	assert_int_equal(kt_secret_delete(f->vault, "web", "A"), KT_ERR_DENIED);
	assert_int_equal(kt_project_create(f->vault, "x", &project),
			 KT_ERR_DENIED);
	assert_int_equal(kt_project_delete(f->vault, "web"), KT_ERR_DENIED);
	assert_int_equal(kt_access_revoke(f->vault, access.id), KT_ERR_DENIED);
	assert_int_equal(kt_audit_verify(f->vault, &summary), KT_ERR_DENIED);
	assert_string_equal(kt_err_detail(), "access denied");
}

static void a_writer_writes_one_project(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	CLEANUP(kt_vault_closep) struct kt_vault *root = NULL;
	struct vault_fixture *f = *state;
	struct kt_access access;

	issue(f->vault, "web", KT_ACCESS_WRITE, &access, &token);
	ok(kt_vault_authorize(f->vault, &token));
	put(f->vault, "web", "A", "written", 7);
	expect(f->vault, "web", "A", 0, "written", 7);
	kt_vault_close(f->vault);
	f->vault = NULL;
	ok(kt_vault_open(&f->params, &root));
	expect(root, "web", "A", 0, "written", 7);
}

static void a_revoked_token_fails_at_once(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct vault_fixture *f = *state;
	struct kt_access access;
	struct actor root = f->vault->actor;
	struct actor limited;

	put(f->vault, "web", "A", "a", 1);
	issue(f->vault, "web", KT_ACCESS_READ, &access, &token);
	ok(kt_vault_authorize(f->vault, &token));
	limited = f->vault->actor;
	assert_int_equal(get(f->vault, "web", "A", 0), KT_OK);
	f->vault->actor = root;
	ok(kt_access_revoke(f->vault, access.id));
	ok(kt_access_revoke(f->vault, access.id));
	assert_int_equal(kt_access_revoke(f->vault, "000000000000"),
			 KT_ERR_NOT_FOUND);
	f->vault->actor = limited;
	assert_int_equal(get(f->vault, "web", "A", 0), KT_ERR_DENIED);
	f->vault->actor = root;
	assert_int_equal(kt_vault_authorize(f->vault, &token), KT_ERR_DENIED);
	assert_int_equal(get(f->vault, "web", "A", 0), KT_ERR_DENIED);
}

/* A project key is unwrapped again after each reload of the token: by the
 * master key version of today, not by the one it first came from. */
static void a_reader_outlives_a_master_key(void **state)
{
	const struct kt_rotate_options now = {.reason = "test"};
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct vault_fixture *f = *state;
	struct actor root = f->vault->actor;
	struct kt_rotation rotation;
	struct kt_access access;
	struct actor limited;

	put(f->vault, "web", "A", "alpha", 5);
	issue(f->vault, "web", KT_ACCESS_READ, &access, &token);
	ok(kt_vault_authorize(f->vault, &token));
	limited = f->vault->actor;
	expect(f->vault, "web", "A", 0, "alpha", 5);
	f->vault->actor = root;
	ok(kt_rotation_start(f->vault, KT_ROTATION_MASTER, NULL, &now, NULL,
			     &rotation));
	ok(kt_master_destroy(f->vault, 1, false));
	f->vault->actor = limited;
	expect(f->vault, "web", "A", 0, "alpha", 5);
}

static void wrong_tokens_are_all_alike(void **state)
{
	/* Well-formed, with a right CRC, but nobody's. */
	static const char unknown[] = "kvt1_0Az90Az90Az9_abcdefghijklmnopqrstuv"
				      "wxyzABCDEFGHIJKLMNOPQ_1tFJd4";
	const char *const bad[] = {"", "kvt1_", "hello", unknown};
	struct vault_fixture *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CLEANUP(kt_secret_done) struct kt_secret token = {0};

		ok(kt_secret_copy(bad[i], strlen(bad[i]), &token));
		assert_int_equal(kt_vault_authorize(f->vault, &token),
				 KT_ERR_DENIED);
		assert_string_equal(kt_err_detail(), "access denied");
		assert_string_equal(kt_err_hint(), "");
		/* not even what the handle could do before */
		assert_int_equal(require_operator(f->vault), KT_ERR_DENIED);
	}
}

static void access_tokens_have_bounds(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct vault_fixture *f = *state;
	struct kt_access access;

	assert_int_equal(kt_access_issue(f->vault, "web", KT_ACCESS_READ, 0, "",
					 &access, &token),
			 KT_ERR_USAGE);
	assert_int_equal(kt_access_issue(f->vault, "web", KT_ACCESS_READ,
					 KT_ACCESS_LIFETIME_MAX + 1, "",
					 &access, &token),
			 KT_ERR_USAGE);
	assert_int_equal(kt_access_issue(f->vault, "web",
					 (enum kt_access_scope)3, 60, "",
					 &access, &token),
			 KT_ERR_USAGE);
	assert_int_equal(kt_access_issue(f->vault, "none", KT_ACCESS_READ, 60,
					 "", &access, &token),
			 KT_ERR_NOT_FOUND);
	assert_null(token.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VAULT_TEST(a_reader_reads_one_project),
		VAULT_TEST(a_writer_writes_one_project),
		VAULT_TEST(a_revoked_token_fails_at_once),
		VAULT_TEST(a_reader_outlives_a_master_key),
		VAULT_TEST(wrong_tokens_are_all_alike),
		VAULT_TEST(access_tokens_have_bounds),
	};

	return cmocka_run_group_tests(tests, vault_fixture_start,
				      vault_fixture_stop);
}
