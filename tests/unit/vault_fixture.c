/*
 * Makes vaults with the library itself; a broken library breaks every test.
 */
#include "tests/unit/vault_fixture.h"

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

static struct vault_fixture fixture;

void ok(enum kt_err err)
{
	if (err != KT_OK)
		print_error("%s: %s\n", kt_err_name(err), kt_err_detail());
	assert_int_equal(err, KT_OK);
}

int vault_fixture_start(void **state)
{
	struct vault_fixture *f = &fixture;

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

int vault_fixture_stop(void **state)
{
	struct vault_fixture *f = *state;

	softhsm_stop(&f->hsm);
	return 0;
}

int vault_fixture_setup(void **state)
{
	struct vault_fixture *f = *state;
	struct kt_init_options options = {.recovery_wraps = KT_RECOVERY_ON};
	struct kt_status status;
	struct kt_project project;

	ok(kt_vault_init(&f->params, &options, &status));
	ok(kt_vault_open(&f->params, &f->vault));
	ok(kt_project_create(f->vault, "web", &project));
	ok(kt_project_create(f->vault, "mail", &project));
	return 0;
}

int vault_fixture_teardown(void **state)
{
	struct vault_fixture *f = *state;

	kt_vault_close(f->vault);
	f->vault = NULL;
	return unlink(f->path);
}

struct kt_secret_info put(struct kt_vault *vault, const char *project,
			  const char *name, const void *data, size_t len)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_secret_info info;

	ok(kt_secret_copy(data, len, &value));
	ok(kt_secret_set(vault, project, name, &value, &info));
	return info;
}

void expect(struct kt_vault *vault, const char *project, const char *name,
	    int64_t version, const void *data, size_t len)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};

	ok(kt_secret_get(vault, project, name, version, &value));
	assert_int_equal(value.len, len);
	assert_memory_equal(value.data, data, len);
}

enum kt_err get(struct kt_vault *vault, const char *project, const char *name,
		int64_t version)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	enum kt_err err = kt_secret_get(vault, project, name, version, &value);

	assert_int_equal(value.data != NULL, err == KT_OK);
	return err;
}

void issue(struct kt_vault *vault, const char *project,
	   enum kt_access_scope scope, struct kt_access *access,
	   struct kt_secret *token)
{
	ok(kt_access_issue(vault, project, scope, 3600, "test", access, token));
	assert_string_equal(access->project, project);
	assert_memory_equal(token->data + 5, access->id, KT_ACCESS_ID_LEN);
}

void sql(struct vault_fixture *f, const char *text)
{
	sqlite3 *db = NULL;

	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_true(sqlite3_changes(db) > 0);
	sqlite3_close(db);
}
