/*
 * What the store adds to SQLite: staging wraps in batches (read 1000 that lack
 * a twin, insert their twins, commit), by the store and by a bare loop over
 * prepared statements with the same SQL and settings on the same schema. The
 * seal is a no-op: it is the engine's to pay.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sqlite3.h>

#include "base/bytes.h"
#include "base/text.h"
#include "store/store.h"
#include "tests/bench/bench.h"

#define BATCH 1000

static enum kt_err seal(void *arg, enum row_type type, void *row)
{
	(void)arg;
	(void)type;
	(void)row;
	return KT_OK;
}

static enum kt_err check(void *arg, enum row_type type, const void *row)
{
	(void)arg;
	(void)type;
	(void)row;
	return KT_OK;
}

static struct kt_id id_of(int64_t number)
{
	struct kt_id id = {.bytes = {1}};

	be64_put(id.bytes + 8, (uint64_t)number);
	return id;
}

static enum kt_err add_key(struct store *store, enum kt_key_role role,
			   int64_t number)
{
	struct key_row key = {
		.id = id_of(number),
		.role = role,
		.version = number,
		.mech = KT_WRAP_AES_KW,
		.created = 1,
	};

	if (role == KT_KEY_MASTER)
		key.cka_id = key.id;
	return store_insert(store, ROW_KEY, &key);
}

/* Keys 1 and 2, and rows wraps under 1. */
static enum kt_err fill(struct store *store, int64_t rows)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(store, STORE_WRITE, &tx));
	TRY(add_key(store, KT_KEY_MASTER, 1));
	TRY(add_key(store, KT_KEY_MASTER, 2));
	for (int64_t i = 10; i < 10 + rows; i++) {
		struct wrap_row wrap = {id_of(1), id_of(i), {.len = 40}, {{0}}};

		TRY(add_key(store, KT_KEY_DEK, i));
		TRY(store_insert(store, ROW_WRAP, &wrap));
	}
	return store_commit(&tx);
}

static enum kt_err read_batch(struct store *store, const struct kt_id *after,
			      struct wrap_row *rows, size_t *ret_count)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct kt_id old = id_of(1), new = id_of(2);
	enum kt_err err;
	size_t count = 0;

	TRY(query_start(store, Q_WRAPS_MISSING, &query, "bbbi", &old, &new,
			after, (int64_t)BATCH));
	while ((err = query_next(query, &rows[count])) == KT_OK)
		count++;
	*ret_count = count;
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err stage_by_store(struct store *store, struct wrap_row *rows)
{
	struct kt_id after = {0};
	size_t count = BATCH;

	while (count == BATCH) {
		CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

		TRY(store_begin(store, STORE_WRITE, &tx));
		TRY(read_batch(store, &after, rows, &count));
		for (size_t i = 0; i < count; i++) {
			after = rows[i].subject;
			rows[i].wrapping_key = id_of(2);
			TRY(store_insert(store, ROW_WRAP, &rows[i]));
		}
		TRY(store_commit(&tx));
	}
	return KT_OK;
}

struct raw {
	sqlite3 *sq;
	sqlite3_stmt *read, *add;
};

static const char raw_read[] =
	"SELECT wrapping_key, subject, blob, mac FROM wraps AS w"
	" WHERE wrapping_key = ?1 AND subject > ?3 AND NOT EXISTS"
	" (SELECT 1 FROM wraps AS t"
	" WHERE t.wrapping_key = ?2 AND t.subject = w.subject)"
	" ORDER BY subject LIMIT 1000";
static const char raw_add[] =
	"INSERT INTO wraps (wrapping_key, subject, blob, mac)"
	" VALUES (?1, ?2, ?3, ?4)";
static const char raw_settings[] =
	"PRAGMA foreign_keys = ON; PRAGMA secure_delete = ON;"
	"PRAGMA cell_size_check = ON; PRAGMA trusted_schema = OFF;"
	"PRAGMA temp_store = MEMORY; PRAGMA mmap_size = 0;";

static bool raw_open(struct raw *raw, const char *path, const char *synchronous)
{
	char pragma[64];

	snprintf(pragma, sizeof(pragma), "PRAGMA synchronous = %s",
		 synchronous);
	return sqlite3_open(path, &raw->sq) == SQLITE_OK &&
	       sqlite3_exec(raw->sq, raw_settings, NULL, NULL, NULL) == 0 &&
	       sqlite3_exec(raw->sq, pragma, NULL, NULL, NULL) == 0 &&
	       sqlite3_prepare_v2(raw->sq, raw_read, -1, &raw->read, NULL) ==
		       SQLITE_OK &&
	       sqlite3_prepare_v2(raw->sq, raw_add, -1, &raw->add, NULL) ==
		       SQLITE_OK;
}

static size_t raw_read_batch(struct raw *raw, const struct kt_id *after,
			     struct wrap_row *rows)
{
	struct kt_id old = id_of(1), new = id_of(2);
	size_t count = 0;

	sqlite3_bind_blob(raw->read, 1, &old, sizeof(old), SQLITE_STATIC);
	sqlite3_bind_blob(raw->read, 2, &new, sizeof(new), SQLITE_STATIC);
	sqlite3_bind_blob(raw->read, 3, after, sizeof(*after), SQLITE_STATIC);
	for (; sqlite3_step(raw->read) == SQLITE_ROW; count++) {
		int len = sqlite3_column_bytes(raw->read, 2);

		memcpy(&rows[count].subject, sqlite3_column_blob(raw->read, 1),
		       KT_ID_LEN);
		memcpy(rows[count].blob.data, sqlite3_column_blob(raw->read, 2),
		       (size_t)len);
		rows[count].blob.len = (uint16_t)len;
		memcpy(&rows[count].mac, sqlite3_column_blob(raw->read, 3),
		       MAC_LEN);
	}
	sqlite3_reset(raw->read);
	return count;
}

static bool raw_insert(struct raw *raw, const struct wrap_row *row)
{
	struct kt_id new = id_of(2);
	bool good;

	sqlite3_bind_blob(raw->add, 1, &new, KT_ID_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(raw->add, 2, &row->subject, KT_ID_LEN, SQLITE_STATIC);
	sqlite3_bind_blob(raw->add, 3, row->blob.data, row->blob.len,
			  SQLITE_STATIC);
	sqlite3_bind_blob(raw->add, 4, &row->mac, MAC_LEN, SQLITE_STATIC);
	good = sqlite3_step(raw->add) == SQLITE_DONE;
	sqlite3_reset(raw->add);
	return good;
}

static bool stage_by_hand(struct raw *raw, struct wrap_row *rows)
{
	struct kt_id after = {0};
	size_t count = BATCH;
	bool good = true;

	while (good && count == BATCH) {
		good = sqlite3_exec(raw->sq, "BEGIN IMMEDIATE", NULL, NULL,
				    NULL) == SQLITE_OK;
		count = raw_read_batch(raw, &after, rows);
		for (size_t i = 0; good && i < count; i++) {
			after = rows[i].subject;
			good = raw_insert(raw, &rows[i]);
		}
		good = good && sqlite3_exec(raw->sq, "COMMIT", NULL, NULL,
					    NULL) == SQLITE_OK;
	}
	return good;
}

static enum kt_err expect_all(struct store *store, int64_t rows)
{
	struct kt_id new = id_of(2);
	struct count_row count;

	TRY(query_one(store, Q_WRAP_COUNT, &count, "b", &new));
	if (count.n != rows)
		return err_raise(KT_ERR_FAILED, "%lld rows, expected %lld",
				 (long long)count.n, (long long)rows);
	return KT_OK;
}

static enum kt_err undo_by_hand(const char *path)
{
	sqlite3 *sq = NULL;
	bool good = sqlite3_open(path, &sq) == SQLITE_OK &&
		    sqlite3_exec(sq,
				 "DELETE FROM wraps WHERE wrapping_key !="
				 " (SELECT min(wrapping_key) FROM wraps)",
				 NULL, NULL, NULL) == SQLITE_OK;

	sqlite3_close(sq);
	return good ? KT_OK : err_raise(KT_ERR_STORE, "the twins stay");
}

static enum kt_err by_hand(const struct store_info *info, int64_t rows,
			   struct wrap_row *batch)
{
	struct raw raw = {0};
	bool good = raw_open(&raw, info->path, info->synchronous);
	struct span begin = span_now();

	good = good && stage_by_hand(&raw, batch);
	begin = span_since(begin);
	figure_print("hand", (double)rows, begin.us, begin.cpu_us);
	sqlite3_finalize(raw.read);
	sqlite3_finalize(raw.add);
	sqlite3_close(raw.sq);
	return good ? KT_OK : err_raise(KT_ERR_STORE, "the bare loop failed");
}

static enum kt_err by_store(struct store *store, int64_t rows,
			    struct wrap_row *batch)
{
	struct span begin = span_now();

	TRY(stage_by_store(store, batch));
	begin = span_since(begin);
	figure_print("store", (double)rows, begin.us, begin.cpu_us);
	return expect_all(store, rows);
}

/* By hand, then the twins are deleted again, then by the store. */
static enum kt_err both(const char *path, int64_t rows)
{
	CLEANUP(store_discardp) struct store *store = NULL;
	CLEANUP(freep)
	struct wrap_row *batch = calloc(BATCH + 1, sizeof(*batch));
	struct store_sealer sealer = {seal, check, NULL};
	struct store_info info;

	if (batch == NULL)
		return err_memory();
	TRY(store_create(&(struct store_params){.path = path}, &store));
	store_set_sealer(store, &sealer);
	TRY(fill(store, rows));
	TRY(store_info(store, &info));
	child_ready();
	TRY(by_hand(&info, rows, batch));
	TRY(expect_all(store, rows));
	TRY(undo_by_hand(info.path));
	return by_store(store, rows, batch);
}

/* store ROWS */
static enum kt_err store_role(int argc, char **argv)
{
	char path[160];
	long long rows;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "store ROWS");
	TRY(text_to_int(argv[0], 1, 10000000, "rows", &rows));
	snprintf(path, sizeof(path), "%s/bench.db", place.hsm.folder);
	return both(path, rows);
}

const struct role store_roles[] = {{"store", store_role}, {NULL, NULL}};

enum kt_err section_store(int64_t rows)
{
	struct series hand = {0}, store = {0};
	struct figures figures;
	struct span limit;
	char count[24];
	const char *const arguments[] = {"store", count, NULL};

	snprintf(count, sizeof(count), "%lld", (long long)rows);
	for (int i = 0; i < place.repeats && rows <= 300000; i++) {
		TRY(child_run(1, arguments, &figures));
		series_add(&hand, figure_find(&figures, "hand"));
		series_add(&store, figure_find(&figures, "store"));
	}
	if (hand.count == 0)
		return KT_OK;
	limit = series_median(&hand);
	report_figure("store: staging without a token", rows,
		      series_median(&store), &limit);
	return KT_OK;
}
