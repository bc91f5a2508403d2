/*
 * Projects, secrets and access tokens in a whole vault on a SoftHSM of the
 * test's own: what is written is read, damaged rows are named and spoil
 * nothing else, and a holder of an access token stays within it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <sqlite3.h>

#include <keyturn/keyturn.h>

#include "base/cleanup.h"
#include "base/secret.h"
#include "core/open.h"
#include "tests/unit/softhsm.h"

struct fixture {
	struct softhsm hsm;
	char path[160];
	struct kt_params params;
	struct kt_vault *vault;
};

static struct fixture fixture;

static void ok(enum kt_err err)
{
	if (err != KT_OK)
		print_error("%s: %s\n", kt_err_name(err), kt_err_detail());
	assert_int_equal(err, KT_OK);
}

/* One token for all tests, a fresh database for each. */
static int start(void **state)
{
	struct fixture *f = &fixture;

	softhsm_start(&f->hsm);
	snprintf(f->path, sizeof(f->path), "%.100s/vault.db", f->hsm.folder);
	f->params = (struct kt_params){
		.token_uri = f->hsm.params.uri,
		.module = f->hsm.params.module,
		.pin = f->hsm.pin,
		.runtime_dir = f->hsm.params.runtime_dir,
		.store_path = f->path,
		.operator_name = "tester",
	};
	*state = f;
	return 0;
}

static int stop(void **state)
{
	struct fixture *f = *state;

	softhsm_stop(&f->hsm);
	return 0;
}

static int setup(void **state)
{
	struct fixture *f = *state;
	struct kt_init_options options = {.recovery_wraps = true};
	struct kt_status status;
	struct kt_project project;

	ok(kt_vault_init(&f->params, &options, &status));
	ok(kt_vault_open(&f->params, &f->vault));
	ok(kt_project_create(f->vault, "web", &project));
	ok(kt_project_create(f->vault, "mail", &project));
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	kt_vault_close(f->vault);
	f->vault = NULL;
	return unlink(f->path);
}

static struct kt_secret_info put(struct kt_vault *vault, const char *project,
				 const char *name, const void *data, size_t len)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_secret_info info;

	ok(kt_secret_copy(data, len, &value));
	ok(kt_secret_set(vault, project, name, &value, &info));
	return info;
}

static void expect(struct kt_vault *vault, const char *project,
		   const char *name, int64_t version, const void *data,
		   size_t len)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};

	ok(kt_secret_get(vault, project, name, version, &value));
	assert_int_equal(value.len, len);
	assert_memory_equal(value.data, data, len);
}

static enum kt_err get(struct kt_vault *vault, const char *project,
		       const char *name, int64_t version)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	enum kt_err err = kt_secret_get(vault, project, name, version, &value);

	assert_int_equal(value.data != NULL, err == KT_OK);
	return err;
}

static void versions_stay_readable(void **state)
{
	struct fixture *f = *state;
	struct kt_secret_info info;

	info = put(f->vault, "web", "DB_PASSWORD", "one", 3);
	assert_int_equal(info.version, 1);
	assert_int_equal(info.size, 3);
	info = put(f->vault, "web", "DB_PASSWORD", "second", 6);
	assert_int_equal(info.version, 2);
	assert_int_equal(info.size, 6);
	expect(f->vault, "web", "DB_PASSWORD", 0, "second", 6);
	expect(f->vault, "web", "DB_PASSWORD", 1, "one", 3);
	expect(f->vault, "web", "DB_PASSWORD", 2, "second", 6);
	assert_int_equal(get(f->vault, "web", "DB_PASSWORD", 3),
			 KT_ERR_NOT_FOUND);
	assert_int_equal(get(f->vault, "web", "DB_PASSWORD", -1), KT_ERR_USAGE);
	assert_int_equal(get(f->vault, "web", "db_password", 0),
			 KT_ERR_NOT_FOUND);
	assert_int_equal(get(f->vault, "mail", "DB_PASSWORD", 0),
			 KT_ERR_NOT_FOUND);
	assert_int_equal(get(f->vault, "none", "DB_PASSWORD", 0),
			 KT_ERR_NOT_FOUND);
}

static void any_bytes_up_to_1_mib(void **state)
{
	CLEANUP(freep) uint8_t *bytes = malloc(KT_VALUE_MAX + 1);
	CLEANUP(kt_secret_done) struct kt_secret large = {0};
	struct fixture *f = *state;
	struct kt_secret_info info;

	assert_non_null(bytes);
	for (size_t i = 0; i <= KT_VALUE_MAX; i++)
		bytes[i] = (uint8_t)(i * 31);
	put(f->vault, "web", "empty", "", 0);
	put(f->vault, "web", "binary", bytes, 256);
	put(f->vault, "web", "largest", bytes, KT_VALUE_MAX);
	expect(f->vault, "web", "empty", 0, "", 0);
	expect(f->vault, "web", "binary", 0, bytes, 256);
	expect(f->vault, "web", "largest", 0, bytes, KT_VALUE_MAX);
	ok(kt_secret_copy(bytes, KT_VALUE_MAX + 1, &large));
	assert_int_equal(
		kt_secret_set(f->vault, "web", "larger", &large, &info),
		KT_ERR_USAGE);
	assert_int_equal(get(f->vault, "web", "larger", 0), KT_ERR_NOT_FOUND);
}

#define ITEMS 300

static void import_items(struct kt_import_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "KEY_%03zu", i);
		ok(kt_secret_copy(items[i].name, strlen(items[i].name),
				  &items[i].value));
	}
}

static void import_items_done(struct kt_import_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		kt_secret_done(&items[i].value);
}

struct counted {
	int count;
	char last[KT_NAME_MAX + 1];
};

static enum kt_err count_value(void *arg, const char *name,
			       const struct kt_secret *value)
{
	struct counted *counted = arg;

	assert_int_equal(value->len, strlen(name));
	assert_memory_equal(value->data, name, value->len);
	assert_true(strcmp(counted->last, name) < 0);
	snprintf(counted->last, sizeof(counted->last), "%s", name);
	counted->count++;
	return KT_OK;
}

static enum kt_err count_info(void *arg, const struct kt_secret_info *info)
{
	struct counted *counted = arg;

	assert_int_equal(info->size, strlen(info->name));
	counted->count++;
	return KT_OK;
}

static void import_and_export_are_inverse(void **state)
{
	static struct kt_import_item items[ITEMS];
	struct fixture *f = *state;
	struct counted counted = {0};

	put(f->vault, "web", "KEY_007", "older", 5);
	import_items(items, ITEMS);
	ok(kt_secret_import(f->vault, "web", items, ITEMS));
	import_items_done(items, ITEMS);
	ok(kt_secret_export(f->vault, "web", count_value, &counted));
	assert_int_equal(counted.count, ITEMS);
	counted.count = 0;
	ok(kt_secret_list(f->vault, "web", count_info, &counted));
	assert_int_equal(counted.count, ITEMS);
	expect(f->vault, "web", "KEY_007", 1, "older", 5);
	expect(f->vault, "web", "KEY_007", 2, "KEY_007", 7);
}

static void import_is_all_or_nothing(void **state)
{
	struct kt_import_item items[3] = {0};
	struct fixture *f = *state;
	struct counted counted = {0};

	import_items(items, 3);
	snprintf(items[2].name, sizeof(items[2].name), "-bad");
	assert_int_equal(kt_secret_import(f->vault, "web", items, 3),
			 KT_ERR_USAGE);
	assert_non_null(strstr(kt_err_detail(), "-bad"));
	snprintf(items[2].name, sizeof(items[2].name), "KEY_000");
	assert_int_equal(kt_secret_import(f->vault, "web", items, 3),
			 KT_ERR_USAGE);
	assert_non_null(strstr(kt_err_detail(), "KEY_000"));
	assert_int_equal(kt_secret_import(f->vault, "none", items, 2),
			 KT_ERR_NOT_FOUND);
	import_items_done(items, 3);
	ok(kt_secret_list(f->vault, "web", count_info, &counted));
	assert_int_equal(counted.count, 0);
}

static void issue(struct kt_vault *vault, const char *project,
		  enum kt_access_scope scope, struct kt_access *access,
		  struct kt_secret *token)
{
	ok(kt_access_issue(vault, project, scope, 3600, "test", access, token));
	assert_string_equal(access->project, project);
	assert_memory_equal(token->data + 5, access->id, KT_ACCESS_ID_LEN);
}

static void a_reader_reads_one_project(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct fixture *f = *state;
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
	struct fixture *f = *state;
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
	struct fixture *f = *state;
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
	assert_false(f->vault->actor.limited);
}

static void wrong_tokens_are_all_alike(void **state)
{
	/* Well-formed, with a right CRC, but nobody's. */
	static const char unknown[] = "kvt1_0Az90Az90Az9_abcdefghijklmnopqrstuv"
				      "wxyzABCDEFGHIJKLMNOPQ_1tFJd4";
	const char *const bad[] = {"", "kvt1_", "hello", unknown};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CLEANUP(kt_secret_done) struct kt_secret token = {0};

		ok(kt_secret_copy(bad[i], strlen(bad[i]), &token));
		assert_int_equal(kt_vault_authorize(f->vault, &token),
				 KT_ERR_DENIED);
		assert_string_equal(kt_err_detail(), "access denied");
		assert_string_equal(kt_err_hint(), "");
	}
}

static void access_tokens_have_bounds(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct fixture *f = *state;
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

static enum kt_err collect_project(void *arg, const struct kt_project *p)
{
	char *names = arg;

	assert_int_equal(p->key.state, KT_KEY_ACTIVE);
	strncat(names, p->name, 100);
	strncat(names, " ", 2);
	return KT_OK;
}

static void deleting_a_project_takes_all(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct fixture *f = *state;
	struct kt_access access;
	struct kt_project project;
	char names[256] = "";

	put(f->vault, "web", "A", "1", 1);
	put(f->vault, "web", "A", "2", 1);
	put(f->vault, "mail", "A", "kept", 4);
	issue(f->vault, "web", KT_ACCESS_READ, &access, &token);
	ok(kt_project_get(f->vault, "web", &project));
	assert_int_equal(project.secrets, 1);
	assert_int_equal(project.access_tokens, 1);
	assert_int_equal(project.key.rows, 2);
	ok(kt_project_delete(f->vault, "web"));
	assert_int_equal(kt_project_delete(f->vault, "web"), KT_ERR_NOT_FOUND);
	assert_int_equal(get(f->vault, "web", "A", 0), KT_ERR_NOT_FOUND);
	assert_int_equal(kt_vault_authorize(f->vault, &token), KT_ERR_DENIED);
	expect(f->vault, "mail", "A", 0, "kept", 4);
	ok(kt_project_create(f->vault, "web", &project));
	assert_int_equal(kt_project_create(f->vault, "web", &project),
			 KT_ERR_EXISTS);
	assert_int_equal(get(f->vault, "web", "A", 0), KT_ERR_NOT_FOUND);
	ok(kt_project_list(f->vault, collect_project, names));
	assert_string_equal(names, "mail web ");
}

static void deleting_a_secret_takes_its_keys(void **state)
{
	struct fixture *f = *state;
	struct kt_project project;

	put(f->vault, "web", "A", "1", 1);
	put(f->vault, "web", "A", "2", 1);
	put(f->vault, "web", "B", "3", 1);
	ok(kt_secret_delete(f->vault, "web", "A"));
	assert_int_equal(kt_secret_delete(f->vault, "web", "A"),
			 KT_ERR_NOT_FOUND);
	ok(kt_project_get(f->vault, "web", &project));
	assert_int_equal(project.secrets, 1);
	assert_int_equal(project.key.rows, 1);
	put(f->vault, "web", "A", "again", 5);
	expect(f->vault, "web", "A", 0, "again", 5);
	expect(f->vault, "web", "B", 0, "3", 1);
}

static void sql(struct fixture *f, const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_true(sqlite3_changes(db) > 0);
	sqlite3_close(db);
}

/* What belongs to the secret B alone. */
#define OF_B " WHERE secret = (SELECT id FROM secrets WHERE name = 'B')"
#define DEK_OF_B "(SELECT dek FROM versions" OF_B ")"

static void a_damaged_row_spoils_itself_only(void **state)
{
	static const char *const damages[] = {
		"UPDATE secrets SET updated = updated + 1 WHERE name = 'B'",
		"UPDATE versions SET ciphertext = zeroblob(17)" OF_B,
		"UPDATE versions SET nonce = zeroblob(12)" OF_B,
		"UPDATE versions SET created = created + 1" OF_B,
		"UPDATE keys SET version = 9 WHERE id = " DEK_OF_B,
		"UPDATE wraps SET blob = zeroblob(40) WHERE subject "
		"= " DEK_OF_B,
		"DELETE FROM wraps WHERE subject = " DEK_OF_B,
		"DELETE FROM versions" OF_B,
		"UPDATE versions SET ciphertext = (SELECT ciphertext FROM "
		"versions AS o WHERE o.secret != versions.secret LIMIT 1)" OF_B,
	};

	for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
		struct fixture *f = *state;
		struct counted counted = {0};

		put(f->vault, "web", "A", "A", 1);
		put(f->vault, "web", "B", "B", 1);
		put(f->vault, "web", "C", "C", 1);
		sql(f, damages[i]);
		assert_int_equal(get(f->vault, "web", "B", 0),
				 KT_ERR_INTEGRITY);
		assert_non_null(strstr(kt_err_detail(), "secret 'B'"));
		expect(f->vault, "web", "A", 0, "A", 1);
		expect(f->vault, "web", "C", 0, "C", 1);
		assert_int_equal(kt_secret_export(f->vault, "web", count_value,
						  &counted),
				 KT_ERR_INTEGRITY);
		assert_non_null(strstr(kt_err_detail(), "secret 'B'"));
		assert_int_equal(counted.count, 2);
		assert_int_equal(teardown(state), 0);
		assert_int_equal(setup(state), 0);
	}
}

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
static int examine(struct fixture *f, int *ran)
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
	struct fixture *f = *state;
	int ran;

	put(f->vault, "web", "A", "a", 1);
	put(f->vault, "web", "B", "b", 1);
	ok(kt_project_delete(f->vault, "mail"));
	assert_int_equal(examine(f, &ran), 0);
	assert_true(ran > 25);
}

static void the_doctor_finds_a_changed_row(void **state)
{
	struct fixture *f = *state;

	put(f->vault, "web", "B", "b", 1);
	sql(f, "UPDATE versions SET created = created + 1" OF_B);
	assert_int_equal(examine(f, NULL), 1);
}

static void the_doctor_finds_a_lost_wrap(void **state)
{
	struct fixture *f = *state;

	put(f->vault, "web", "B", "b", 1);
	sql(f, "DELETE FROM wraps WHERE subject = " DEK_OF_B);
	assert_int_equal(examine(f, NULL), 1);
}

static void the_doctor_speaks_without_a_vault(void **state)
{
	struct fixture *f = *state;
	struct fixture other = *f;
	int ran;

	other.vault = NULL;
	other.params.store_path = "/nonexistent/vault.db";
	kt_vault_close(f->vault);
	f->vault = NULL;
	assert_int_equal(examine(&other, &ran), 1);
	assert_true(ran > 10);
}

static void a_backup_is_a_vault(void **state)
{
	struct fixture *f = *state;
	struct kt_backup backup;
	char path[sizeof(f->path) + 8];

	snprintf(path, sizeof(path), "%s.backup", f->path);
	put(f->vault, "web", "A", "a", 1);
	ok(kt_backup_create(f->vault, path, &backup));
	assert_true(backup.size > 0);
	assert_int_equal(kt_backup_create(f->vault, path, &backup),
			 KT_ERR_EXISTS);
	assert_int_equal(rename(path, f->path), 0);
	kt_vault_close(f->vault);
	f->vault = NULL;
	ok(kt_vault_open(&f->params, &f->vault));
	expect(f->vault, "web", "A", 0, "a", 1);
}

static enum kt_err collect_action(void *arg, const struct kt_audit_entry *e)
{
	char *actions = arg;

	strncat(actions, e->action, 64);
	strncat(actions, " ", 2);
	return KT_OK;
}

static void everything_is_in_the_audit(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct kt_import_item items[2] = {0};
	struct fixture *f = *state;
	struct kt_access access;
	struct kt_audit_summary summary;
	char actions[1024] = "";

	put(f->vault, "web", "A", "a", 1);
	import_items(items, 2);
	ok(kt_secret_import(f->vault, "web", items, 2));
	import_items_done(items, 2);
	issue(f->vault, "web", KT_ACCESS_READ, &access, &token);
	ok(kt_access_revoke(f->vault, access.id));
	ok(kt_secret_delete(f->vault, "web", "A"));
	ok(kt_project_delete(f->vault, "web"));
	ok(kt_audit_verify(f->vault, &summary));
	ok(kt_audit_list(f->vault, 1, 0, collect_action, actions));
	assert_string_equal(
		actions, "init.intent init project.create project.create "
			 "secret.set secret.import access.issue access.revoke "
			 "secret.delete project.delete ");
}

#define VAULT_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		VAULT_TEST(versions_stay_readable),
		VAULT_TEST(any_bytes_up_to_1_mib),
		VAULT_TEST(import_and_export_are_inverse),
		VAULT_TEST(import_is_all_or_nothing),
		VAULT_TEST(a_reader_reads_one_project),
		VAULT_TEST(a_writer_writes_one_project),
		VAULT_TEST(a_revoked_token_fails_at_once),
		VAULT_TEST(wrong_tokens_are_all_alike),
		VAULT_TEST(access_tokens_have_bounds),
		VAULT_TEST(deleting_a_project_takes_all),
		VAULT_TEST(deleting_a_secret_takes_its_keys),
		VAULT_TEST(a_damaged_row_spoils_itself_only),
		VAULT_TEST(the_doctor_is_content),
		VAULT_TEST(the_doctor_finds_a_changed_row),
		VAULT_TEST(the_doctor_finds_a_lost_wrap),
		VAULT_TEST(the_doctor_speaks_without_a_vault),
		VAULT_TEST(a_backup_is_a_vault),
		VAULT_TEST(everything_is_in_the_audit),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
