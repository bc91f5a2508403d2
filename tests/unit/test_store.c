/*
 * Rows in and out through every query, compare-and-set, seals, transactions.
 */
#include "store_fixture.h"

#include <stdio.h>

#include <sqlite3.h>

#include "store/port.h"
#include "store/sqlite/sqlite.h"

#define NOW 1700000000

static bool queried[STORE_QUERY_MAX_];

#define START(store, which, ret, ...)                                          \
	do {                                                                   \
		queried[which] = true;                                         \
		assert_ok(query_start(store, which, ret, __VA_ARGS__));        \
	} while (0)

/* The query gives exactly these rows, in this order. */
static void assert_rows(struct query *query, enum row_type type, size_t count,
			const void *const *rows)
{
	size_t size = row_desc(type)->size;
	CLEANUP(freep) void *row = calloc(1, size);

	for (size_t i = 0; i < count; i++) {
		assert_ok(query_next(query, row));
		assert_row_equal(type, row, rows[i]);
	}
	assert_err(query_next(query, row), KT_ERR_NOT_FOUND);
	assert_err(query_next(query, row), KT_ERR_NOT_FOUND);
	query_done(query);
}

#define EXPECT(store, type, which, args, rows)                                 \
	do {                                                                   \
		const void *const rows_[] = {EXPAND rows};                     \
		struct query *query_;                                          \
		START(store, which, &query_, EXPAND args);                     \
		assert_rows(query_, type, sizeof(rows_) / sizeof(rows_[0]),    \
			    rows_);                                            \
	} while (0)
#define EXPECT_NONE(store, type, which, args)                                  \
	do {                                                                   \
		struct query *query_;                                          \
		START(store, which, &query_, EXPAND args);                     \
		assert_rows(query_, type, 0, NULL);                            \
	} while (0)
#define EXPECT_COUNT(store, which, args, number)                               \
	do {                                                                   \
		struct count_row count_ = {.n = number};                       \
		EXPECT(store, ROW_COUNT, which, args, (&count_));              \
	} while (0)
#define EXPAND(...) __VA_ARGS__

static void vault_lease_and_audit_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct vault_row vault = {.id = id_of(1),
				  .created = NOW,
				  .token_label = "t",
				  .gate_report = "fine"};
	struct lease_row lease = {.id = 1};
	struct audit_head_row head = {.id = 1, .seq = 2};
	struct audit_row one = {.seq = 1, .time = NOW, .action = "init"};
	struct audit_row two = {.seq = 2, .time = NOW, .detail = "d\xc3\xa4"};
	struct key_row key = key_of(KT_KEY_AUDIT, 3, 0, 1);
	struct checkpoint_row checkpoint = {
		.seq = 2, .key = id_of(3), .time = NOW};

	insert(s, ROW_VAULT, &vault);
	insert(s, ROW_LEASE, &lease);
	insert(s, ROW_AUDIT_HEAD, &head);
	insert(s, ROW_AUDIT, &one);
	insert(s, ROW_AUDIT, &two);
	insert(s, ROW_KEY, &key);
	insert(s, ROW_CHECKPOINT, &checkpoint);
	EXPECT(s, ROW_VAULT, Q_VAULT, (""), (&vault));
	EXPECT(s, ROW_LEASE, Q_LEASE, (""), (&lease));
	EXPECT(s, ROW_AUDIT_HEAD, Q_AUDIT_HEAD, (""), (&head));
	EXPECT(s, ROW_AUDIT, Q_AUDIT, ("i", (int64_t)2), (&two));
	EXPECT(s, ROW_AUDIT, Q_AUDIT_FROM, ("ii", (int64_t)1, (int64_t)9),
	       (&one, &two));
	EXPECT(s, ROW_AUDIT, Q_AUDIT_FROM, ("ii", (int64_t)1, (int64_t)1),
	       (&one));
	EXPECT(s, ROW_CHECKPOINT, Q_CHECKPOINTS, (""), (&checkpoint));
}

static void keys_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id zero = {0}, secret = id_of(30);
	struct project_row p = project_of(20, "alpha");
	struct secret_row sec = secret_of(30, 20, "db");
	struct key_row old = key_of(KT_KEY_MASTER, 1, 0, 1);
	struct key_row new = key_of(KT_KEY_MASTER, 2, 0, 2);
	struct key_row raw = key_of(KT_KEY_MASTER, 3, 0, 3);
	struct key_row pk = key_of(KT_KEY_PROJECT, 4, 20, 1);
	struct key_row dek = key_of(KT_KEY_DEK, 5, 30, 1);
	int64_t master = KT_KEY_MASTER;

	old.activated = new.activated = NOW;
	raw.proven = 0;
	insert(s, ROW_PROJECT, &p);
	insert(s, ROW_SECRET, &sec);
	insert(s, ROW_KEY, &raw);
	insert(s, ROW_KEY, &new);
	insert(s, ROW_KEY, &old);
	insert(s, ROW_KEY, &pk);
	insert(s, ROW_KEY, &dek);
	EXPECT(s, ROW_KEY, Q_KEY, ("b", &new.id), (&new));
	EXPECT(s, ROW_KEY, Q_KEY_VERSION, ("ibi", master, &zero, (int64_t)1),
	       (&old));
	EXPECT(s, ROW_KEY, Q_KEY_LATEST, ("ib", master, &zero), (&raw));
	EXPECT(s, ROW_KEY, Q_KEYS_BY_ROLE, ("i", master), (&old, &new, &raw));
	EXPECT(s, ROW_KEY, Q_KEYS_BY_OWNER, ("b", &secret), (&dek));
	EXPECT(s, ROW_KEY, Q_KEYS_ON_TOKEN, (""), (&old, &new, &raw));
	EXPECT_NONE(s, ROW_KEY, Q_KEY, ("b", &zero));
}

static void wraps_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id old = id_of(1), new = id_of(2), zero = {0};
	struct kt_id after = id_of(10), subject = id_of(11);
	struct wrap_row under_old[3] = {wrap_of(1, 10), wrap_of(1, 11),
					wrap_of(1, 12)};
	struct wrap_row under_new = wrap_of(2, 11);
	int64_t n = 2, changed = 0;

	insert_masters(s);
	insert_wraps(s, 10, 3);
	insert(s, ROW_WRAP, &under_new);
	for (size_t i = 0; i < 3; i++)
		assert_ok(query_one(s, Q_WRAP, &under_old[i], "bb", &old,
				    &under_old[i].subject));
	EXPECT(s, ROW_WRAP, Q_WRAP, ("bb", &old, &subject), (&under_old[1]));
	EXPECT(s, ROW_WRAP, Q_WRAPS_AFTER, ("bbi", &old, &zero, n),
	       (&under_old[0], &under_old[1]));
	EXPECT(s, ROW_WRAP, Q_WRAPS_AFTER, ("bbi", &old, &after, n),
	       (&under_old[1], &under_old[2]));
	EXPECT(s, ROW_WRAP, Q_WRAPS_MISSING, ("bbbi", &old, &new, &zero, n),
	       (&under_old[0], &under_old[2]));
	EXPECT(s, ROW_WRAP, Q_WRAPS_MISSING, ("bbbi", &old, &new, &after, n),
	       (&under_old[2]));
	EXPECT(s, ROW_WRAP, Q_WRAPS_TWINS, ("bbbi", &old, &new, &zero, n),
	       (&under_new));
	EXPECT_NONE(s, ROW_WRAP, Q_WRAPS_TWINS,
		    ("bbbi", &old, &new, &subject, n));
	EXPECT(s, ROW_WRAP, Q_WRAPS_TWINNED, ("bbbi", &old, &new, &zero, n),
	       (&under_old[1]));
	EXPECT_NONE(s, ROW_WRAP, Q_WRAPS_TWINNED,
		    ("bbbi", &old, &new, &subject, n));
	EXPECT_COUNT(s, Q_WRAP_COUNT, ("b", &old), 3);
	EXPECT_COUNT(s, Q_WRAP_MISSING_COUNT, ("bb", &old, &new), 2);

	assert_ok(store_remove(s, ROW_WRAP, &under_old[0]));
	EXPECT(s, ROW_WRAP, Q_WRAPS_AFTER, ("bbi", &old, &zero, n),
	       (&under_old[1], &under_old[2]));
	assert_ok(
		store_exec(s, S_WRAPS_DELETE_SUBJECT, &changed, "b", &subject));
	assert_int_equal(changed, 2);
	assert_int_equal(count_of(s, 1), 1);
	assert_int_equal(count_of(s, 2), 0);
	subject = id_of(12);
	for (int64_t left = 1; left >= 0; left--) {
		assert_ok(store_exec(s, S_WRAP_DELETE, &changed, "bb", &old,
				     &subject));
		assert_int_equal(changed, left);
	}
	assert_int_equal(count_of(s, 1), 0);
}

static int64_t changes(struct store *store)
{
	struct count_row row = {0};

	queried[Q_CHANGES] = true;
	assert_ok(query_one(store, Q_CHANGES, &row, ""));
	return row.n;
}

/* Inside of a transaction and outside, at the moment it is asked. */
static void only_what_others_commit_is_a_change(void **state)
{
	struct fixture *fixture = *state;
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	CLEANUP(store_closep)
	struct store *other = fixture_connect(fixture, 0);
	struct project_row project = project_of(20, "ours");
	int64_t before = changes(fixture->store);

	insert(fixture->store, ROW_PROJECT, &project);
	assert_int_equal(changes(fixture->store), before);
	project = project_of(21, "theirs");
	insert(other, ROW_PROJECT, &project);
	assert_ok(store_begin(fixture->store, STORE_WRITE, &tx));
	assert_int_not_equal(changes(fixture->store), before);
	before = changes(fixture->store);
	project = project_of(22, "again ours");
	insert(fixture->store, ROW_PROJECT, &project);
	assert_int_equal(changes(fixture->store), before);
}

static void projects_and_secrets_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id p = id_of(20);
	struct project_row gone = project_of(19, "alpha");
	struct project_row alpha = project_of(20, "alpha");
	struct project_row beta = project_of(21, "Beta");
	struct secret_row b = secret_of(30, 20, "b"),
			  a = secret_of(31, 20, "a");

	gone.deleted = NOW;
	insert(s, ROW_PROJECT, &gone);
	insert(s, ROW_PROJECT, &alpha);
	insert(s, ROW_PROJECT, &beta);
	insert(s, ROW_SECRET, &b);
	insert(s, ROW_SECRET, &a);
	EXPECT(s, ROW_PROJECT, Q_PROJECT, ("b", &gone.id), (&gone));
	EXPECT(s, ROW_PROJECT, Q_PROJECTS_BY_NAME, ("s", "alpha"),
	       (&gone, &alpha));
	EXPECT_NONE(s, ROW_PROJECT, Q_PROJECTS_BY_NAME, ("s", "ALPHA"));
	EXPECT(s, ROW_PROJECT, Q_PROJECTS, (""), (&beta, &alpha));
	EXPECT_COUNT(s, Q_PROJECT_COUNT, (""), 2);
	EXPECT(s, ROW_SECRET, Q_SECRET, ("b", &a.id), (&a));
	EXPECT(s, ROW_SECRET, Q_SECRET_BY_NAME, ("bs", &p, "b"), (&b));
	EXPECT(s, ROW_SECRET, Q_SECRETS, ("bsi", &p, "", (int64_t)9), (&a, &b));
	EXPECT(s, ROW_SECRET, Q_SECRETS, ("bsi", &p, "a", (int64_t)9), (&b));
	EXPECT(s, ROW_SECRET, Q_SECRETS, ("bsi", &p, "", (int64_t)1), (&a));
	EXPECT_COUNT(s, Q_SECRET_COUNT, ("b", &p), 2);
	EXPECT_COUNT(s, Q_SECRET_COUNT, ("b", &beta.id), 0);
	EXPECT_COUNT(s, Q_SECRET_COUNT_ALL, (""), 2);
}

static void assert_version(struct query *query, const struct version_row *is)
{
	struct version_row row;

	assert_ok(query_next(query, &row));
	assert_int_equal(row.version, is->version);
	assert_memory_equal(&row.mac, &is->mac, sizeof(row.mac));
	assert_int_equal(row.ciphertext.len, is->ciphertext.len);
	assert_memory_equal(row.ciphertext.data, is->ciphertext.data,
			    row.ciphertext.len);
	row_done(ROW_VERSION, &row);
}

static void versions_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row p = project_of(20, "alpha");
	struct secret_row sec = secret_of(30, 20, "db");
	struct version_row v[2] = {version_of(30, 1, 40, KT_VALUE_MAX + 16),
				   version_of(30, 2, 41, 16)};
	struct query *query;
	int64_t changed = 0;

	insert(s, ROW_PROJECT, &p);
	insert(s, ROW_SECRET, &sec);
	for (uint32_t i = 0; i < 2; i++) {
		struct key_row dek = key_of(KT_KEY_DEK, 40 + i, 30, i + 1);

		insert(s, ROW_KEY, &dek);
		insert(s, ROW_VERSION, &v[i]);
	}
	START(s, Q_VERSION, &query, "bi", &sec.id, (int64_t)2);
	assert_version(query, &v[1]);
	query_done(query);
	START(s, Q_VERSIONS, &query, "b", &sec.id);
	assert_version(query, &v[0]);
	assert_version(query, &v[1]);
	query_done(query);
	assert_ok(store_exec(s, S_VERSIONS_DELETE, &changed, "b", &sec.id));
	assert_int_equal(changed, 2);
	row_done(ROW_VERSION, &v[0]);
	row_done(ROW_VERSION, &v[1]);
}

static void access_tokens_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row p = project_of(20, "alpha");
	struct access_row good = access_of("bbbbbbbbbbbb", 20, NOW + 10);
	struct access_row late = access_of("aaaaaaaaaaaa", 20, NOW + 10);

	late.created = NOW + 1;
	late.revoked = NOW + 2;
	insert(s, ROW_PROJECT, &p);
	insert(s, ROW_ACCESS, &late);
	insert(s, ROW_ACCESS, &good);
	EXPECT(s, ROW_ACCESS, Q_ACCESS, ("s", "aaaaaaaaaaaa"), (&late));
	EXPECT(s, ROW_ACCESS, Q_ACCESS_OF_PROJECT, ("b", &p.id),
	       (&good, &late));
	EXPECT(s, ROW_ACCESS, Q_ACCESS_ALL, (""), (&good, &late));
	EXPECT_COUNT(s, Q_ACCESS_USABLE_COUNT, ("bi", &p.id, (int64_t)NOW), 1);
	EXPECT_COUNT(s, Q_ACCESS_USABLE_COUNT, ("bi", &p.id, (int64_t)NOW + 10),
		     0);
}

static void rotations_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row p = project_of(20, "alpha");
	struct rotation_row drain = rotation_of(50, KT_ROTATION_MASTER, 0);
	struct rotation_row run = rotation_of(51, KT_ROTATION_PROJECT, 20);
	struct leg_row leg = {.rotation = id_of(50),
			      .leg = 1,
			      .old_key = id_of(1),
			      .new_key = id_of(2)};
	struct fault_row fault = {.rotation = id_of(50),
				  .wrapping_key = id_of(1),
				  .subject = id_of(7),
				  .found = NOW,
				  .reason = "corrupt"};
	int64_t changed = 0;

	drain.keyed = drain.staged = drain.verified = drain.activated = NOW;
	insert_masters(s);
	insert(s, ROW_PROJECT, &p);
	insert(s, ROW_ROTATION, &drain);
	insert(s, ROW_ROTATION, &run);
	insert(s, ROW_LEG, &leg);
	insert(s, ROW_FAULT, &fault);
	EXPECT(s, ROW_ROTATION, Q_ROTATION, ("b", &run.id), (&run));
	EXPECT(s, ROW_ROTATION, Q_ROTATIONS, (""), (&run, &drain));
	EXPECT(s, ROW_LEG, Q_LEGS, ("b", &drain.id), (&leg));
	EXPECT(s, ROW_FAULT, Q_FAULTS, ("b", &drain.id), (&fault));
	EXPECT_COUNT(s, Q_FAULT_COUNT, ("b", &drain.id), 1);
	assert_ok(store_exec(s, S_FAULTS_DELETE, &changed, "b", &drain.id));
	assert_int_equal(changed, 1);
	EXPECT_COUNT(s, Q_FAULT_COUNT, ("b", &drain.id), 0);
}

static void a_scan_gives_every_row_in_order(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row b = project_of(21, "b"), a = project_of(22, "a");
	const void *const rows[] = {&b, &a};
	struct query *query;

	insert(s, ROW_PROJECT, &a);
	insert(s, ROW_PROJECT, &b);
	assert_ok(store_scan(s, ROW_PROJECT, &query));
	assert_rows(query, ROW_PROJECT, 2, rows);
	assert_ok(store_scan(s, ROW_SECRET, &query));
	assert_rows(query, ROW_SECRET, 0, NULL);
	fixture_tamper(fixture, "UPDATE projects SET created = created + 1");
	assert_ok(store_scan(s, ROW_PROJECT, &query));
	assert_err(query_next(query, &a), KT_ERR_INTEGRITY);
	assert_err(query_next(query, &a), KT_ERR_INTEGRITY);
	assert_err(query_next(query, &a), KT_ERR_NOT_FOUND);
	query_done(query);
}

static void a_row_is_found_by_its_key(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct wrap_row found = wrap_of(1, 11), wanted = wrap_of(1, 11);

	insert_masters(s);
	insert_wraps(s, 10, 3);
	found.blob.len = 0;
	assert_ok(store_find(s, ROW_WRAP, &found, &found));
	assert_memory_equal(found.blob.data, wanted.blob.data, 40);
	wanted.subject = id_of(99);
	assert_err(store_find(s, ROW_WRAP, &wanted, &found), KT_ERR_NOT_FOUND);
	assert_non_null(strstr(kt_err_detail(), "no row wraps 01"));
	assert_int_equal(found.blob.len, 40);
}

static void backups_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct backup_row row = {.id = id_of(1),
				 .created = NOW,
				 .file = "/b.db",
				 .size = 4096,
				 .versions = "1 2"};
	struct backup_row back = {.id = id_of(1)}, bad = row;

	insert(s, ROW_BACKUP, &row);
	assert_ok(store_find(s, ROW_BACKUP, &back, &back));
	assert_row_equal(ROW_BACKUP, &back, &row);
	bad.id = id_of(2);
	bad.expires = NOW;
	assert_err(store_insert(s, ROW_BACKUP, &bad), KT_ERR_FAILED);
}

static void every_query_was_tried(void **state)
{
	(void)state;
	for (int i = 0; i < STORE_QUERY_MAX_; i++) {
		if (!queried[i])
			fail_msg("query %d is not tested", i);
	}
}

static void a_lease_is_renewed_by_its_fence_only(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct lease_row lease = {.id = 1, .fence = 4};
	int64_t changed = -1;

	insert(s, ROW_LEASE, &lease);
	assert_ok(store_exec(s, S_LEASE_RENEW, &changed, "ii", (int64_t)3,
			     (int64_t)NOW));
	assert_int_equal(changed, 0);
	assert_ok(store_exec(s, S_LEASE_RENEW, &changed, "ii", (int64_t)4,
			     (int64_t)NOW));
	assert_int_equal(changed, 1);
	assert_ok(query_one(s, Q_LEASE, &lease, ""));
	assert_int_equal(lease.renewed, NOW);
}

/* As if a ROLLBACK had failed, or a BEGIN had taken but said no. */
static void leave_transaction(struct store *s)
{
	const struct sqlite_db *db = s->db;

	assert_int_equal(
		sqlite3_exec(db->sq, "BEGIN IMMEDIATE", NULL, NULL, NULL),
		SQLITE_OK);
}

static void a_transaction_that_nobody_knows_of_is_ended(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	const struct sqlite_db *db = s->db;
	struct project_row row = project_of(20, "alpha");
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	int64_t changed;

	leave_transaction(s);
	insert(s, ROW_PROJECT, &row);
	assert_true(sqlite3_get_autocommit(db->sq) != 0);
	leave_transaction(s);
	assert_ok(store_exec(s, S_LEASE_RENEW, &changed, "ii", (int64_t)3,
			     (int64_t)NOW));
	assert_true(sqlite3_get_autocommit(db->sq) != 0);
	leave_transaction(s);
	EXPECT(s, ROW_PROJECT, Q_PROJECT, ("b", &row.id), (&row));
	assert_true(sqlite3_get_autocommit(db->sq) != 0);
	leave_transaction(s);
	assert_ok(store_begin(s, STORE_READ, &tx));
}

static void a_stale_row_changes_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row row = project_of(20, "alpha"), stale, copy;

	insert(s, ROW_PROJECT, &row);
	assert_err(store_insert(s, ROW_PROJECT, &row), KT_ERR_EXISTS);
	stale = row;
	snprintf(row.name, sizeof(row.name), "beta");
	assert_ok(store_update(s, ROW_PROJECT, &row));
	assert_memory_not_equal(&row.mac, &stale.mac, sizeof(row.mac));

	snprintf(stale.name, sizeof(stale.name), "gamma");
	copy = stale;
	assert_err(store_update(s, ROW_PROJECT, &stale), KT_ERR_CONFLICT);
	assert_row_equal(ROW_PROJECT, &stale, &copy);
	assert_err(store_remove(s, ROW_PROJECT, &stale), KT_ERR_CONFLICT);
	assert_ok(query_one(s, Q_PROJECT, &copy, "b", &row.id));
	assert_row_equal(ROW_PROJECT, &copy, &row);

	assert_ok(store_remove(s, ROW_PROJECT, &row));
	assert_err(store_remove(s, ROW_PROJECT, &row), KT_ERR_CONFLICT);
	assert_err(query_one(s, Q_PROJECT, &copy, "b", &row.id),
		   KT_ERR_NOT_FOUND);
	assert_string_equal(kt_err_detail(), "no row in projects");
}

static void rows_are_sealed_and_checked(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row row = project_of(20, "alpha"), back;

	insert(s, ROW_PROJECT, &row);
	assert_int_equal(fixture->sealed, 1);
	assert_ok(store_update(s, ROW_PROJECT, &row));
	assert_int_equal(fixture->sealed, 2);
	assert_ok(query_one(s, Q_PROJECT, &back, "b", &row.id));
	assert_int_equal(fixture->checked, 1);
	store_set_sealer(s, NULL);
	assert_ok(query_one(s, Q_PROJECT, &back, "b", &row.id));
	assert_err(store_insert(s, ROW_PROJECT, &row), KT_ERR_FAILED);
	assert_err(store_update(s, ROW_PROJECT, &row), KT_ERR_FAILED);
	assert_err(store_remove(s, ROW_PROJECT, &row), KT_ERR_FAILED);
	assert_int_equal(fixture->sealed, 2);
	assert_int_equal(fixture->checked, 1);
}

static void a_query_goes_on_after_a_wrong_row(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id master = id_of(1), zero = {0}, wrong = id_of(11);
	struct wrap_row row;
	struct query *query;

	insert_masters(s);
	insert_wraps(s, 10, 4);
	fixture_tamper(fixture, "UPDATE wraps SET blob = x'00'"
				" WHERE hex(subject) LIKE '%0B';"
				"UPDATE wraps SET mac = x'00'"
				" WHERE hex(subject) LIKE '%0C'");
	assert_ok(query_start(s, Q_WRAPS_AFTER, &query, "bbi", &master, &zero,
			      (int64_t)9));
	assert_ok(query_next(query, &row));
	assert_err(query_next(query, &row), KT_ERR_INTEGRITY);
	assert_true(id_equal(&row.subject, &wrong));
	assert_int_equal(row.blob.len, 1);
	assert_err(query_next(query, &row), KT_ERR_INTEGRITY);
	assert_string_equal(kt_err_detail(),
			    "wraps 01000000-0000-0000-0000-000000000001/"
			    "01000000-0000-0000-0000-00000000000c: "
			    "mac: wrong length of 1 bytes");
	assert_ok(query_next(query, &row));
	assert_err(query_next(query, &row), KT_ERR_NOT_FOUND);
	query_done(query);
	memset(&row, 7, sizeof(row));
	assert_err(query_one(s, Q_WRAP, &row, "bb", &master, &wrong),
		   KT_ERR_INTEGRITY);
	assert_int_equal(row.blob.data[0], 7);
}

static enum kt_err leave_without_commit(struct store *store)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row row = project_of(20, "alpha");

	TRY(store_begin(store, STORE_WRITE, &tx));
	TRY(store_insert(store, ROW_PROJECT, &row));
	return err_raise(KT_ERR_PARTIAL, "left");
}

static void leaving_the_scope_rolls_back(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct store_tx *tx, *second;

	assert_err(leave_without_commit(s), KT_ERR_PARTIAL);
	assert_string_equal(kt_err_detail(), "left");
	EXPECT_COUNT(s, Q_PROJECT_COUNT, (""), 0);
	assert_ok(store_begin(s, STORE_WRITE, &tx));
	assert_err(store_begin(s, STORE_WRITE, &second), KT_ERR_FAILED);
	assert_ok(store_commit(&tx));
	assert_null(tx);
}

static void reading_transactions_do_not_write(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct project_row row = project_of(20, "alpha");
	struct store_tx *tx;
	int64_t changed;

	assert_ok(store_begin(s, STORE_READ, &tx));
	assert_err(store_insert(s, ROW_PROJECT, &row), KT_ERR_FAILED);
	assert_err(store_exec(s, S_FAULTS_DELETE, &changed, "b", &row.id),
		   KT_ERR_FAILED);
	EXPECT_COUNT(s, Q_PROJECT_COUNT, (""), 0);
	store_rollback(tx);
}

static void the_trail_only_grows(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct audit_row row = {.seq = 1, .time = NOW, .action = "init"};

	insert(s, ROW_AUDIT, &row);
	assert_err(store_update(s, ROW_AUDIT, &row), KT_ERR_FAILED);
	assert_err(store_remove(s, ROW_AUDIT, &row), KT_ERR_FAILED);
}

static void a_query_runs_inside_itself(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id master = id_of(1), zero = {0};
	struct query *outer, *inner;
	struct wrap_row row;
	int seen = 0;

	insert_masters(s);
	insert_wraps(s, 10, 5);
	assert_ok(query_start(s, Q_WRAPS_AFTER, &outer, "bbi", &master, &zero,
			      (int64_t)9));
	while (query_next(outer, &row) == KT_OK) {
		struct kt_id after = row.subject;

		assert_ok(query_start(s, Q_WRAPS_AFTER, &inner, "bbi", &master,
				      &after, (int64_t)9));
		after = zero;
		while (query_next(inner, &row) == KT_OK)
			seen++;
		query_done(inner);
	}
	query_done(outer);
	assert_int_equal(seen, 4 + 3 + 2 + 1);
}

static void wrong_arguments_are_refused(void **state)
{
	struct fixture *fixture = *state;
	struct kt_id id = id_of(1);
	struct query *query = NULL;

	assert_err(query_start(fixture->store, Q_KEY, &query, "i", (int64_t)1),
		   KT_ERR_FAILED);
	assert_err(query_start(fixture->store, Q_KEY, &query, "bb", &id, &id),
		   KT_ERR_FAILED);
	assert_null(query);
}

/* What the schema must refuse, as SQL could not be made to by the engine. */
static void the_schema_keeps_its_invariants(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct key_row twice = key_of(KT_KEY_MASTER, 3, 0, 1);
	struct key_row unproven = key_of(KT_KEY_MASTER, 3, 0, 3);
	struct key_row loose = key_of(KT_KEY_MASTER, 3, 0, 3);
	struct key_row role = key_of(7, 3, 0, 3);
	struct wrap_row orphan = wrap_of(1, 99);
	struct project_row alpha = project_of(20, "alpha");
	struct project_row again = project_of(21, "alpha");
	struct project_row nameless = project_of(22, "");
	struct rotation_row run = rotation_of(50, KT_ROTATION_MASTER, 0);
	struct rotation_row other = rotation_of(51, KT_ROTATION_PROJECT, 20);
	struct rotation_row master = rotation_of(52, KT_ROTATION_MASTER, 0);
	struct lease_row lease = {.id = 2};

	insert_masters(s);
	insert(s, ROW_PROJECT, &alpha);
	insert(s, ROW_ROTATION, &run);
	assert_err(store_insert(s, ROW_KEY, &twice), KT_ERR_EXISTS);
	unproven.proven = 0;
	unproven.activated = NOW;
	assert_err(store_insert(s, ROW_KEY, &unproven), KT_ERR_FAILED);
	loose.cka_id = id_of(0x10001);
	assert_err(store_insert(s, ROW_KEY, &loose), KT_ERR_EXISTS);
	loose.cka_id = (struct kt_id){0};
	assert_err(store_insert(s, ROW_KEY, &loose), KT_ERR_FAILED);
	assert_err(store_insert(s, ROW_KEY, &role), KT_ERR_FAILED);
	assert_err(store_insert(s, ROW_WRAP, &orphan), KT_ERR_CONFLICT);
	assert_err(store_insert(s, ROW_PROJECT, &again), KT_ERR_EXISTS);
	assert_err(store_insert(s, ROW_PROJECT, &nameless), KT_ERR_FAILED);
	assert_err(store_insert(s, ROW_ROTATION, &other), KT_ERR_EXISTS);
	assert_err(store_insert(s, ROW_LEASE, &lease), KT_ERR_FAILED);

	/* Draining: a project may rotate, the master may not again. */
	run.keyed = run.staged = run.verified = run.activated = NOW;
	assert_ok(store_update(s, ROW_ROTATION, &run));
	insert(s, ROW_ROTATION, &other);
	other.rolled_back = NOW;
	assert_err(store_update(s, ROW_ROTATION, &other), KT_ERR_FAILED);
	other.rollback_started = NOW;
	assert_ok(store_update(s, ROW_ROTATION, &other));
	assert_err(store_insert(s, ROW_ROTATION, &master), KT_ERR_EXISTS);
	run.contracting = NOW;
	run.rollback_started = NOW;
	assert_err(store_update(s, ROW_ROTATION, &run), KT_ERR_FAILED);
}

/* A key that a wrap names cannot go before the wrap. */
static void what_is_named_stays(void **state)
{
	struct fixture *fixture = *state;
	struct store *s = fixture->store;
	struct kt_id master = id_of(1);
	struct store_tx *tx;
	struct key_row key;

	insert_masters(s);
	insert_wraps(s, 10, 1);
	assert_ok(query_one(s, Q_KEY, &key, "b", &master));
	assert_err(store_remove(s, ROW_KEY, &key), KT_ERR_CONFLICT);
	assert_int_equal(count_of(s, 1), 1);
	assert_ok(store_begin(s, STORE_WRITE, &tx));
	assert_ok(store_remove(s, ROW_KEY, &key));
	assert_int_equal(remove_wraps(s, 1), 1);
	assert_ok(store_commit(&tx));
}

int main(void)
{
#define TEST(name)                                                             \
	cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(vault_lease_and_audit_come_back),
		TEST(keys_come_back),
		TEST(wraps_come_back),
		TEST(only_what_others_commit_is_a_change),
		TEST(projects_and_secrets_come_back),
		TEST(versions_come_back),
		TEST(access_tokens_come_back),
		TEST(rotations_come_back),
		TEST(a_scan_gives_every_row_in_order),
		TEST(a_row_is_found_by_its_key),
		TEST(backups_come_back),
		TEST(a_lease_is_renewed_by_its_fence_only),
		TEST(a_transaction_that_nobody_knows_of_is_ended),
		TEST(a_stale_row_changes_nothing),
		TEST(rows_are_sealed_and_checked),
		TEST(a_query_goes_on_after_a_wrong_row),
		TEST(leaving_the_scope_rolls_back),
		TEST(reading_transactions_do_not_write),
		TEST(the_trail_only_grows),
		TEST(a_query_runs_inside_itself),
		TEST(wrong_arguments_are_refused),
		TEST(the_schema_keeps_its_invariants),
		TEST(what_is_named_stays),
		cmocka_unit_test(every_query_was_tried),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
