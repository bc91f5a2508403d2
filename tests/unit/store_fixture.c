/*
 * Builders of rows and databases for the tests of the store.
 */
#include "store_fixture.h"

#include <stdio.h>
#include <unistd.h>

#include <sqlite3.h>

#include "store/column.h"

#define NOW 1700000000

void assert_done(enum kt_err err, enum kt_err expected, const char *call,
		 const char *file, int line)
{
	if (err != expected)
		print_error("%s: %s, expected %s: %s\n", call, kt_err_name(err),
			    kt_err_name(expected), kt_err_detail());
	_assert_int_equal(err, expected, file, line);
}

static void mix(uint64_t *state, const void *data, size_t len)
{
	const uint8_t *at = data;

	for (size_t i = 0; i < len; i++)
		*state = (*state ^ at[i]) * 0x100000001b3;
	*state = (*state ^ len) * 0x100000001b3;
}

static void hash_row(enum row_type type, const void *row, struct mac *ret)
{
	const struct row_desc *desc = row_desc(type);
	uint64_t state = 0xcbf29ce484222325 + type;
	struct column_value value;

	for (size_t i = 0; i < desc->columns; i++) {
		if (desc->column[i].offset == desc->mac_offset)
			break;
		column_get(&desc->column[i], row, &value);
		mix(&state, &value.number, sizeof(value.number));
		mix(&state, value.data, value.len);
	}
	for (size_t i = 0; i < 4; i++) {
		mix(&state, &i, sizeof(i));
		be64_put(ret->bytes + 8 * i, state);
	}
}

static enum kt_err seal(void *arg, enum row_type type, void *row)
{
	struct fixture *fixture = arg;

	fixture->sealed++;
	hash_row(type, row,
		 (struct mac *)((char *)row + row_desc(type)->mac_offset));
	return KT_OK;
}

static enum kt_err check(void *arg, enum row_type type, const void *row)
{
	struct fixture *fixture = arg;
	struct mac right;
	char name[160];

	fixture->checked++;
	hash_row(type, row, &right);
	if (memcmp(&right, (const char *)row + row_desc(type)->mac_offset,
		   sizeof(right)) == 0)
		return KT_OK;
	row_name(type, row, name, sizeof(name));
	return err_raise(KT_ERR_INTEGRITY, "%s: the row's MAC is wrong", name);
}

struct store_sealer fixture_sealer(struct fixture *fixture)
{
	return (struct store_sealer){seal, check, fixture};
}

struct store *fixture_connect(struct fixture *fixture, int busy_timeout_ms)
{
	struct store_params params = {fixture->path, busy_timeout_ms};
	struct store_sealer sealer = fixture_sealer(fixture);
	struct store *store;

	assert_ok(store_open(&params, &store));
	store_set_sealer(store, &sealer);
	return store;
}

int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	struct store_params params = {.path = fixture->path};
	struct store_sealer sealer = fixture_sealer(fixture);

	snprintf(fixture->dir, sizeof(fixture->dir), "/tmp/kt-store-XXXXXX");
	assert_non_null(mkdtemp(fixture->dir));
	snprintf(fixture->path, sizeof(fixture->path), "%s/vault.db",
		 fixture->dir);
	assert_ok(store_create(&params, &fixture->store));
	store_set_sealer(fixture->store, &sealer);
	*state = fixture;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	char command[128];

	store_close(fixture->store);
	snprintf(command, sizeof(command), "rm -rf '%s'", fixture->dir);
	assert_int_equal(system(command), 0);
	free(fixture);
	return 0;
}

void fixture_tamper(struct fixture *fixture, const char *sql)
{
	sqlite3 *sq;
	char *message = NULL;

	assert_int_equal(sqlite3_open(fixture->path, &sq), SQLITE_OK);
	assert_int_equal(sqlite3_exec(sq,
				      "PRAGMA ignore_check_constraints = ON",
				      NULL, NULL, NULL),
			 SQLITE_OK);
	sqlite3_exec(sq, sql, NULL, NULL, &message);
	if (message != NULL)
		fail_msg("%s: %s", sql, message);
	sqlite3_close(sq);
}

struct kt_id id_of(uint32_t number)
{
	struct kt_id id = {.bytes = {1}};

	be32_put(id.bytes + 12, number);
	return id;
}

struct key_row key_of(enum kt_key_role role, uint32_t number, uint32_t owner,
		      int64_t version)
{
	bool wrapped = role == KT_KEY_PROJECT || role == KT_KEY_DEK;
	struct key_row row = {
		.id = id_of(number),
		.role = role,
		.version = version,
		.mech = KT_WRAP_AES_KW,
		.token_serial = "serial",
		.attributes = "CKA_WRAP true",
		.created = NOW,
		.proven = NOW + 1,
	};

	if (owner != 0)
		row.owner = id_of(owner);
	if (!wrapped)
		row.cka_id = id_of(0x10000 + number);
	assert_ok(blob_set(&row.canary, "canary", 6));
	return row;
}

struct wrap_row wrap_of(uint32_t wrapping_key, uint32_t subject)
{
	struct wrap_row row = {
		.wrapping_key = id_of(wrapping_key),
		.subject = id_of(subject),
	};
	char bytes[40];

	memset(bytes, (int)subject, sizeof(bytes));
	assert_ok(blob_set(&row.blob, bytes, sizeof(bytes)));
	return row;
}

struct project_row project_of(uint32_t number, const char *name)
{
	struct project_row row = {.id = id_of(number), .created = NOW};

	snprintf(row.name, sizeof(row.name), "%s", name);
	return row;
}

struct secret_row secret_of(uint32_t number, uint32_t project, const char *name)
{
	struct secret_row row = {
		.id = id_of(number),
		.project = id_of(project),
		.version = 1,
		.created = NOW,
		.updated = NOW,
	};

	snprintf(row.name, sizeof(row.name), "%s", name);
	return row;
}

struct version_row version_of(uint32_t secret, int64_t version, uint32_t dek,
			      size_t size)
{
	struct version_row row = {
		.secret = id_of(secret),
		.version = version,
		.dek = id_of(dek),
		.algorithm = 1,
		.ciphertext = {malloc(size), size},
		.created = NOW,
	};

	assert_non_null(row.ciphertext.data);
	memset(row.ciphertext.data, (int)version, size);
	assert_ok(blob_set(&row.nonce, "twelve bytes", 12));
	return row;
}

struct access_row access_of(const char *id, uint32_t project, int64_t expires)
{
	struct access_row row = {
		.project = id_of(project),
		.scope = 1,
		.label = "ci",
		.created = NOW,
		.expires = expires,
	};

	snprintf(row.id, sizeof(row.id), "%s", id);
	return row;
}

struct rotation_row rotation_of(uint32_t number, enum kt_rotation_kind kind,
				uint32_t project)
{
	struct rotation_row row = {
		.id = id_of(number),
		.kind = kind,
		.operator_name = "anna",
		.reason = "yearly",
		.grace = 86400,
		.planned = NOW + number,
	};

	if (project != 0)
		row.project = id_of(project);
	return row;
}

void assert_row_equal(enum row_type type, const void *a, const void *b)
{
	const struct row_desc *desc = row_desc(type);
	struct column_value left, right;

	for (size_t i = 0; i < desc->columns; i++) {
		column_get(&desc->column[i], a, &left);
		column_get(&desc->column[i], b, &right);
		if (left.kind != right.kind || left.number != right.number ||
		    left.len != right.len)
			fail_msg("%s differs", desc->column[i].name);
		if (left.len > 0)
			assert_memory_equal(left.data, right.data, left.len);
	}
}

void insert(struct store *store, enum row_type type, void *row)
{
	assert_ok(store_insert(store, type, row));
}

void insert_masters(struct store *store)
{
	for (uint32_t i = 1; i <= 2; i++) {
		struct key_row key = key_of(KT_KEY_MASTER, i, 0, i);

		insert(store, ROW_KEY, &key);
	}
}

void insert_wraps(struct store *store, uint32_t first, uint32_t count)
{
	struct store_tx *tx;

	assert_ok(store_begin(store, STORE_WRITE, &tx));
	for (uint32_t i = first; i < first + count; i++) {
		struct key_row key = key_of(KT_KEY_DEK, i, 9, i);
		struct wrap_row wrap = wrap_of(1, i);

		insert(store, ROW_KEY, &key);
		insert(store, ROW_WRAP, &wrap);
	}
	assert_ok(store_commit(&tx));
}

int64_t count_of(struct store *store, uint32_t wrapping_key)
{
	struct kt_id id = id_of(wrapping_key);
	struct count_row count;

	assert_ok(query_one(store, Q_WRAP_COUNT, &count, "b", &id));
	return count.n;
}

int64_t remove_wraps(struct store *store, uint32_t wrapping_key)
{
	struct kt_id key = id_of(wrapping_key), first = {0};
	struct wrap_row row;
	int64_t removed = 0;

	while (query_one(store, Q_WRAPS_AFTER, &row, "bbi", &key, &first,
			 (int64_t)1) == KT_OK) {
		assert_ok(store_remove(store, ROW_WRAP, &row));
		removed++;
	}
	return removed;
}
