/*
 * The doctor finds nothing in a sound vault, one thing in one that has one
 * fault, and has something to say where there is no vault at all.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/vault_fixture.h"

struct checks {
	int failed;
	int ran;
};

static enum kt_err note_check(void *arg, const struct kt_check *check)
{
	struct checks *checks = arg;

	checks->ran++;
	/* The process of a test is neither hardened nor on a private disk. */
	if (check->result == KT_CHECK_FAIL && strcmp(check->id, "D35") != 0) {
		print_message("%s %s: %s\n", check->id, check->title,
			      check->detail);
		assert_string_not_equal(check->fix, "");
		checks->failed++;
	}
	return KT_OK;
}

/* The doctor opens for itself; a second login beside ours would not do. */
static int examine(struct vault_fixture *f, int *ran)
{
	struct checks checks = {0};
	enum kt_err err;

	kt_vault_close(f->vault);
	f->vault = NULL;
	err = kt_doctor(&f->params, note_check, &checks);
	assert_true(err == KT_OK || err == KT_ERR_ATTENTION);
	if (ran != NULL)
		*ran = checks.ran;
	return checks.failed;
}

static void the_doctor_is_content(void **state)
{
	struct vault_fixture *f = *state;
	int ran;

	put(f->vault, "web", "A", "a", 1);
	put(f->vault, "web", "B", "b", 1);
	ok(kt_project_delete(f->vault, "mail"));
	assert_int_equal(examine(f, &ran), 0);
	assert_true(ran > 25);
}

static void the_doctor_finds_a_changed_row(void **state)
{
	struct vault_fixture *f = *state;

	put(f->vault, "web", "B", "b", 1);
	sql(f, "UPDATE versions SET created = created + 1" OF_B);
	assert_int_equal(examine(f, NULL), 1);
}

static void the_doctor_finds_a_lost_wrap(void **state)
{
	struct vault_fixture *f = *state;

	put(f->vault, "web", "B", "b", 1);
	sql(f, "DELETE FROM wraps WHERE subject = " DEK_OF_B);
	assert_int_equal(examine(f, NULL), 1);
}

static void the_doctor_speaks_without_a_vault(void **state)
{
	struct vault_fixture *f = *state;
	struct vault_fixture other = *f;
	int ran;

	other.vault = NULL;
	other.params.store_path = "/nonexistent/vault.db";
	kt_vault_close(f->vault);
	f->vault = NULL;
	assert_int_equal(examine(&other, &ran), 1);
	assert_true(ran > 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VAULT_TEST(the_doctor_is_content),
		VAULT_TEST(the_doctor_finds_a_changed_row),
		VAULT_TEST(the_doctor_finds_a_lost_wrap),
		VAULT_TEST(the_doctor_speaks_without_a_vault),
	};

	return cmocka_run_group_tests(tests, vault_fixture_start,
				      vault_fixture_stop);
}
