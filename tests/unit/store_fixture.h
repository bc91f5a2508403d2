/*
 * A small vault's rows in a database of its own, and a sealer that counts: its
 * MAC is a plain hash over every column, enough to see what is covered.
 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <keyturn/rotation.h>

#include "store/store.h"

#define assert_ok(call) assert_done((call), KT_OK, #call, __FILE__, __LINE__)
#define assert_err(call, err)                                                  \
	assert_done((call), (err), #call, __FILE__, __LINE__)

/* Fails the test with the detail when err is not what was expected. */
void assert_done(enum kt_err err, enum kt_err expected, const char *call,
		 const char *file, int line);

struct fixture {
	char dir[64];
	char path[160];
	struct store *store; /* sealed */
	int sealed, checked; /* calls of the sealer */
};

/* cmocka set-up and tear-down: an empty database in a new folder. */
int fixture_setup(void **state);
int fixture_teardown(void **state);

/* A sealer that counts in the fixture. */
struct store_sealer fixture_sealer(struct fixture *fixture);

/* Another connection to the same database, sealed. */
struct store *fixture_connect(struct fixture *fixture, int busy_timeout_ms);

/* Runs SQL through a connection of its own, without foreign keys and CHECKs:
 * an attacker, or a bug. */
void fixture_tamper(struct fixture *fixture, const char *sql);

/* An id whose bytes end in number; ids sort like their numbers. */
struct kt_id id_of(uint32_t number);

/* Rows that the schema accepts. */
struct key_row key_of(enum kt_key_role role, uint32_t number, uint32_t owner,
		      int64_t version);
struct wrap_row wrap_of(uint32_t wrapping_key, uint32_t subject);
struct project_row project_of(uint32_t number, const char *name);
struct secret_row secret_of(uint32_t number, uint32_t project,
			    const char *name);
struct version_row version_of(uint32_t secret, int64_t version, uint32_t dek,
			      size_t size);
struct access_row access_of(const char *id, uint32_t project, int64_t expires);
struct rotation_row rotation_of(uint32_t number, enum kt_rotation_kind kind,
				uint32_t project);

/* Column by column: padding has no meaning. */
void assert_row_equal(enum row_type type, const void *a, const void *b);

void insert(struct store *store, enum row_type type, void *row);

/* Two masters, 1 and 2, and count DEKs of secret 9 from number first on, each
 * with a wrap under master 1; one transaction. */
void insert_masters(struct store *store);
void insert_wraps(struct store *store, uint32_t first, uint32_t count);

int64_t count_of(struct store *store, uint32_t wrapping_key);

/* All wraps under a key, in the caller's transaction where one is open; says
 * how many there were. */
int64_t remove_wraps(struct store *store, uint32_t wrapping_key);

#endif
