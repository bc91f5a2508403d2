/*
 * A vault for tests: a SoftHSM for the program, for each test a fresh database
 * with the projects "web" and "mail". Failures end the test.
 */
#ifndef TESTS_UNIT_VAULT_FIXTURE_H
#define TESTS_UNIT_VAULT_FIXTURE_H

#include <keyturn/keyturn.h>

#include "tests/unit/softhsm.h"

struct vault_fixture {
	struct softhsm hsm;
	char path[160]; /* of the database */
	struct kt_params params;
	struct kt_vault *vault; /* open; NULL where a test closed it */
};

/* For cmocka: of the group, and of each test. */
int vault_fixture_start(void **state);
int vault_fixture_stop(void **state);
int vault_fixture_setup(void **state);
int vault_fixture_teardown(void **state);

#define VAULT_TEST(test)                                                       \
	cmocka_unit_test_setup_teardown(test, vault_fixture_setup,             \
					vault_fixture_teardown)

/* The detail is printed where it is not KT_OK. */
void ok(enum kt_err err);

struct kt_secret_info put(struct kt_vault *vault, const char *project,
			  const char *name, const void *data, size_t len);

/* The value is this one. */
void expect(struct kt_vault *vault, const char *project, const char *name,
	    int64_t version, const void *data, size_t len);

/* What comes of reading it. */
enum kt_err get(struct kt_vault *vault, const char *project, const char *name,
		int64_t version);

/* An access token for an hour. */
void issue(struct kt_vault *vault, const char *project,
	   enum kt_access_scope scope, struct kt_access *access,
	   struct kt_secret *token);

/* Changes at least one row behind the vault's back. */
void sql(struct vault_fixture *f, const char *text);

/* What belongs to the secret B alone. */
#define OF_B " WHERE secret = (SELECT id FROM secrets WHERE name = 'B')"
#define DEK_OF_B "(SELECT dek FROM versions" OF_B ")"

#endif
