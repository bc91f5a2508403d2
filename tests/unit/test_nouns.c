/*
 * Projects and secrets in a whole vault: what is written is read, what is
 * deleted is gone, and damaged rows are named and spoil nothing else.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "tests/unit/vault_fixture.h"

static void versions_stay_readable(void **state)
{
	struct vault_fixture *f = *state;
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
	struct vault_fixture *f = *state;
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
	struct vault_fixture *f = *state;
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
	struct vault_fixture *f = *state;
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
	struct vault_fixture *f = *state;
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
	kt_vault_close(f->vault);
	ok(kt_vault_open(&f->params, &f->vault));
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
	struct vault_fixture *f = *state;
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
		struct vault_fixture *f = *state;
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
		assert_int_equal(vault_fixture_teardown(state), 0);
		assert_int_equal(vault_fixture_setup(state), 0);
	}
}

static void a_backup_is_a_vault(void **state)
{
	struct vault_fixture *f = *state;
	struct kt_backup backup;
	char path[sizeof(f->path) + 8];

	snprintf(path, sizeof(path), "%s.backup", f->path);
	put(f->vault, "web", "A", "a", 1);
	ok(kt_backup_create(f->vault, path, 0, &backup));
	assert_true(backup.size > 0);
	assert_int_equal(kt_backup_create(f->vault, path, 0, &backup),
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
	struct vault_fixture *f = *state;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		VAULT_TEST(versions_stay_readable),
		VAULT_TEST(any_bytes_up_to_1_mib),
		VAULT_TEST(import_and_export_are_inverse),
		VAULT_TEST(import_is_all_or_nothing),
		VAULT_TEST(deleting_a_project_takes_all),
		VAULT_TEST(deleting_a_secret_takes_its_keys),
		VAULT_TEST(a_damaged_row_spoils_itself_only),
		VAULT_TEST(a_backup_is_a_vault),
		VAULT_TEST(everything_is_in_the_audit),
	};

	return cmocka_run_group_tests(tests, vault_fixture_start,
				      vault_fixture_stop);
}
