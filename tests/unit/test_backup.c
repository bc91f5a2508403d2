/*
 * Records of backups over time, what they keep, and the proof of a wrap whose
 * row is authentic but whose blob is not the key it was.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/vault.h"
#include "tests/unit/vault_fixture.h"

static int64_t ahead; /* of the real clock */

int64_t __real_clock_now(void);
int64_t __wrap_clock_now(void);

int64_t __wrap_clock_now(void)
{
	return __real_clock_now() + ahead;
}

static void copy_path(struct vault_fixture *f, char *ret, size_t size)
{
	snprintf(ret, size, "%s.copy", f->path);
	unlink(ret);
}

static struct kt_backup copy(struct vault_fixture *f, int64_t lifetime)
{
	struct kt_backup backup;
	char path[sizeof(f->path) + 8];

	copy_path(f, path, sizeof(path));
	ok(kt_backup_create(f->vault, path, lifetime, &backup));
	assert_string_equal(backup.file, path);
	assert_string_equal(backup.versions, "1");
	return backup;
}

static enum kt_err count(void *arg, const struct kt_backup *backup)
{
	assert_string_not_equal(backup->sha256, "");
	++*(int *)arg;
	return KT_OK;
}

static int needing(struct vault_fixture *f, int64_t version)
{
	int found = 0;

	ok(kt_backup_needing(f->vault, version, count, &found));
	return found;
}

static int listed(struct vault_fixture *f)
{
	int found = 0;

	ok(kt_backup_list(f->vault, count, &found));
	return found;
}

/* The rows refuse too, so the reason is what tells. */
static bool refused_for_backups(struct vault_fixture *f)
{
	assert_int_equal(kt_master_destroy(f->vault, 1, false),
			 KT_ERR_CONFLICT);
	return strstr(kt_err_detail(), "need") != NULL &&
	       strstr(kt_err_detail(), "backup") != NULL;
}

static void a_backup_counts_until_it_expires(void **state)
{
	struct vault_fixture *f = *state;

	ahead = 0;
	copy(f, 1000);
	assert_int_equal(needing(f, 1), 1);
	assert_int_equal(needing(f, 2), 0);
	ahead = 900;
	assert_true(refused_for_backups(f));
	ahead = 1000;
	assert_int_equal(needing(f, 1), 0);
	assert_false(refused_for_backups(f));
	assert_int_equal(listed(f), 1);
	ahead = 0;
}

static void without_a_lifetime_it_counts_until_it_is_forgotten(void **state)
{
	struct vault_fixture *f = *state;
	struct kt_backup backup = copy(f, 0);

	assert_int_equal(backup.expires, 0);
	ahead = 100LL * 366 * 86400;
	assert_true(refused_for_backups(f));
	ahead = 0;
	ok(kt_backup_forget(f->vault, &backup.id));
	assert_int_equal(listed(f), 0);
	assert_false(refused_for_backups(f));
	assert_int_equal(kt_backup_forget(f->vault, &backup.id),
			 KT_ERR_NOT_FOUND);
}

/* A record that somebody changed may not let a key go. */
static void a_forged_record_keeps_the_key(void **state)
{
	struct vault_fixture *f = *state;

	copy(f, 1000);
	sql(f, "UPDATE backups SET versions = '7'");
	assert_int_equal(kt_master_destroy(f->vault, 1, false),
			 KT_ERR_INTEGRITY);
	sql(f, "UPDATE backups SET versions = '1', expires = created + 1");
	assert_int_equal(kt_master_destroy(f->vault, 1, true),
			 KT_ERR_INTEGRITY);
}

static void note_fault(void *arg, const char *text)
{
	snprintf(arg, 256, "%s", text);
}

static struct wrap_row a_wrap(struct vault_fixture *f)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct wrap_row row;

	ok(store_scan(f->vault->store, ROW_WRAP, &query));
	ok(query_next(query, &row));
	return row;
}

static enum kt_err verify(struct vault_fixture *f, char fault[256],
			  struct kt_backup_report *ret)
{
	char path[sizeof(f->path) + 8];
	enum kt_err err;

	fault[0] = '\0';
	snprintf(path, sizeof(path), "%s.copy", f->path);
	kt_vault_close(f->vault);
	f->vault = NULL;
	err = kt_backup_verify(&f->params, path, NULL, note_fault, fault, ret);
	ok(kt_vault_open(&f->params, &f->vault));
	return err;
}

/* Every MAC is right: only the token can tell. */
static void the_token_has_the_last_word(void **state)
{
	struct vault_fixture *f = *state;
	struct kt_backup_report report;
	struct wrap_row wrap;
	char fault[256];

	put(f->vault, "web", "A", "a", 1);
	copy(f, 0);
	ok(verify(f, fault, &report));
	assert_int_equal(report.faults, 0);
	assert_int_equal(report.wraps, 4);
	wrap = a_wrap(f);
	wrap.blob.data[7] ^= 1;
	ok(store_update(f->vault->store, ROW_WRAP, &wrap));
	copy(f, 0);
	assert_int_equal(verify(f, fault, &report), KT_ERR_INTEGRITY);
	assert_in_range(report.faults, 1, 2);
	assert_non_null(strstr(fault, "wraps "));
	assert_int_equal(report.wraps + report.faults, 4);
}

/* A rotation begins while somebody thinks about the question. */
static enum kt_err begin_rotation(void *arg, const struct kt_restore_plan *plan)
{
	assert_true(plan->present);
	assert_true(plan->newer);
	sql(arg, "UPDATE lease SET rotation = randomblob(16), process = 'x',"
		 " operator_name = 'olga', taken = unixepoch(),"
		 " renewed = unixepoch()");
	return KT_OK;
}

static void a_rotation_that_began_meanwhile_is_seen(void **state)
{
	struct vault_fixture *f = *state;
	const struct kt_restore_options options = {
		.replace_newer = true,
		.confirm = begin_rotation,
		.arg = f,
	};
	struct kt_restore_plan plan;
	char path[sizeof(f->path) + 8];

	copy(f, 0);
	put(f->vault, "web", "LATER", "a", 1);
	snprintf(path, sizeof(path), "%s.copy", f->path);
	kt_vault_close(f->vault);
	f->vault = NULL;
	assert_int_equal(
		kt_backup_restore(&f->params, path, &options, NULL, &plan),
		KT_ERR_BUSY);
	assert_non_null(strstr(kt_err_detail(), "olga"));
	ok(kt_vault_open(&f->params, &f->vault));
	expect(f->vault, "web", "LATER", 0, "a", 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		VAULT_TEST(a_backup_counts_until_it_expires),
		VAULT_TEST(without_a_lifetime_it_counts_until_it_is_forgotten),
		VAULT_TEST(a_forged_record_keeps_the_key),
		VAULT_TEST(the_token_has_the_last_word),
		VAULT_TEST(a_rotation_that_began_meanwhile_is_seen),
	};

	return cmocka_run_group_tests(tests, vault_fixture_start,
				      vault_fixture_stop);
}
