/*
 * The audit chain. An entry carries the hash of the one before and is written
 * in the transaction of its effect; the head row says where the chain ends, so
 * that entries cut off at the end are missed too; checkpoints are signatures
 * of the token's audit key, which no writer of the database has.
 */
#include "core/audit.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <keyturn/audit.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/p256.h"

#define PAGE 256

static enum kt_err head_read(struct kt_vault *vault, struct audit_head_row *ret)
{
	enum kt_err err = query_one(vault->store, Q_AUDIT_HEAD, ret, "");

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY,
				 "the audit chain has no head");
	return err == KT_OK ? KT_OK
			    : err_prefix(err, "head of the audit chain");
}

static enum kt_err append(struct kt_vault *vault, struct audit_row *row)
{
	struct audit_head_row head;

	TRY(head_read(vault, &head));
	row->seq = head.seq + 1;
	row->prev = head.hash;
	TRY(row_hash(ROW_AUDIT, row, "kvL1", "hash", &row->hash));
	TRY(store_insert(vault->store, ROW_AUDIT, row));
	head.seq = row->seq;
	head.hash = row->hash;
	return store_update(vault->store, ROW_AUDIT_HEAD, &head);
}

enum kt_err audit_append(struct kt_vault *vault, const char *action,
			 const char *object, const char *format, ...)
{
	struct audit_row row = {.time = clock_now()};
	enum kt_err err;
	va_list args;

	text_cut(row.actor, sizeof(row.actor), vault->actor.name);
	text_cut(row.action, sizeof(row.action), action);
	text_cut(row.object, sizeof(row.object), object);
	va_start(args, format);
	vsnprintf(row.detail, sizeof(row.detail), format, args);
	va_end(args);
	err = append(vault, &row);
	return err == KT_OK ? KT_OK : err_prefix(err, "audit");
}

/* Verified before it is stored: a signature that is bad would look like a
 * forged chain for ever. */
static enum kt_err sign_hash(struct kt_vault *vault, const uint8_t *hash,
			     struct blob *ret)
{
	const struct key_row *key = &vault->audit_key;
	enum kt_err err;

	TRY(token_sign(vault->token, &key->cka_id, hash, ret));
	err = p256_verify(&key->public_key, hash, ret);
	return err == KT_ERR_INTEGRITY
		       ? err_raise(KT_ERR_TOKEN,
				   "C_Sign: the signature does not verify")
		       : err;
}

enum kt_err audit_checkpoint(struct kt_vault *vault)
{
	struct checkpoint_row row = {.time = clock_now()};
	struct audit_head_row head;

	TRY(head_read(vault, &head));
	if (head.seq == 0)
		return KT_OK;
	row.seq = head.seq;
	row.hash = head.hash;
	row.key = vault->audit_key.id;
	TRY(sign_hash(vault, head.hash.bytes, &row.signature));
	return store_insert(vault->store, ROW_CHECKPOINT, &row);
}

static void entry_fill(const struct audit_row *row, struct kt_audit_entry *ret)
{
	struct kt_audit_entry entry = {.seq = row->seq, .time = row->time};

	text_cut(entry.actor, sizeof(entry.actor), row->actor);
	text_cut(entry.action, sizeof(entry.action), row->action);
	text_cut(entry.object, sizeof(entry.object), row->object);
	text_cut(entry.detail, sizeof(entry.detail), row->detail);
	hex_encode(row->hash.bytes, HASH_LEN, entry.hash);
	*ret = entry;
}

/* A page of entries, read before any of them is handed out: each() may take
 * its time or call the library. */
static enum kt_err page_read(struct kt_vault *vault, int64_t first,
			     int64_t limit, struct audit_row *ret,
			     size_t *ret_count)
{
	CLEANUP(query_donep) struct query *query = NULL;
	size_t count = 0;
	enum kt_err err;

	TRY(query_start(vault->store, Q_AUDIT_FROM, &query, "ii", first,
			limit));
	while (count < PAGE) {
		err = query_next(query, &ret[count]);
		if (err == KT_ERR_NOT_FOUND)
			break;
		if (err != KT_OK)
			return err_prefix(err, "audit entry %lld",
					  (long long)first + (long long)count);
		count++;
	}
	*ret_count = count;
	return KT_OK;
}

enum kt_err kt_audit_list(struct kt_vault *vault, int64_t first, int64_t limit,
			  enum kt_err (*each)(void *arg,
					      const struct kt_audit_entry *e),
			  void *arg)
{
	CLEANUP(freep) struct audit_row *page = calloc(PAGE, sizeof(*page));
	int64_t left = limit > 0 ? limit : INT64_MAX;
	size_t count = PAGE;

	TRY(require_operator(vault));
	if (page == NULL)
		return err_memory();
	while (left > 0 && count == PAGE) {
		TRY(page_read(vault, first, left < PAGE ? left : PAGE, page,
			      &count));
		for (size_t i = 0; i < count; i++) {
			struct kt_audit_entry entry;

			entry_fill(&page[i], &entry);
			TRY(each(arg, &entry));
			first = page[i].seq + 1;
		}
		left -= (int64_t)count;
	}
	return KT_OK;
}

/* One entry against the one before, which *head still describes. */
static enum kt_err entry_check(const struct audit_row *row,
			       const struct audit_head_row *head)
{
	struct mac hash;

	if (row->seq != head->seq + 1)
		return err_raise(KT_ERR_INTEGRITY, "missing; %lld follows",
				 (long long)row->seq);
	if (memcmp(&row->prev, &head->hash, sizeof(hash)) != 0)
		return err_raise(KT_ERR_INTEGRITY,
				 "does not follow the entry before");
	TRY(row_hash(ROW_AUDIT, row, "kvL1", "hash", &hash));
	if (memcmp(&row->hash, &hash, sizeof(hash)) != 0)
		return err_raise(KT_ERR_INTEGRITY, "its hash is wrong");
	return KT_OK;
}

/* Walks the chain from its first entry; *ret is the end it came to. */
static enum kt_err chain_walk(struct kt_vault *vault,
			      struct audit_head_row *ret, int64_t *ret_time)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct audit_head_row end = {0};
	struct audit_row row = {0};
	enum kt_err err;

	TRY(query_start(vault->store, Q_AUDIT_FROM, &query, "ii", (int64_t)1,
			(int64_t)INT64_MAX));
	while ((err = query_next(query, &row)) != KT_ERR_NOT_FOUND) {
		if (err == KT_OK)
			err = entry_check(&row, &end);
		if (err != KT_OK)
			return err_prefix(err, "audit entry %lld",
					  (long long)end.seq + 1);
		end.seq = row.seq;
		end.hash = row.hash;
	}
	*ret = end;
	*ret_time = row.time;
	return KT_OK;
}

/* The chain ends where the head row says. */
static enum kt_err chain_check(struct kt_vault *vault,
			       struct audit_head_row *ret, int64_t *ret_time)
{
	struct audit_head_row head;

	TRY(chain_walk(vault, ret, ret_time));
	TRY(head_read(vault, &head));
	if (head.seq > ret->seq)
		return err_raise(KT_ERR_INTEGRITY,
				 "audit entry %lld: missing, the chain ends "
				 "at %lld",
				 (long long)ret->seq + 1, (long long)head.seq);
	if (head.seq < ret->seq)
		return err_raise(KT_ERR_INTEGRITY,
				 "audit entry %lld: lies beyond the end of the "
				 "chain, %lld",
				 (long long)head.seq + 1, (long long)head.seq);
	if (memcmp(&head.hash, &ret->hash, sizeof(head.hash)) != 0)
		return err_raise(KT_ERR_INTEGRITY,
				 "audit entry %lld: is not the head of the "
				 "chain",
				 (long long)head.seq);
	return KT_OK;
}

static enum kt_err checkpoint_check(struct kt_vault *vault,
				    const struct checkpoint_row *point)
{
	struct audit_row entry;
	enum kt_err err =
		query_one(vault->store, Q_AUDIT, &entry, "i", point->seq);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(KT_ERR_INTEGRITY, "no such entry");
	TRY(err);
	if (memcmp(&entry.hash, &point->hash, sizeof(entry.hash)) != 0)
		return err_raise(KT_ERR_INTEGRITY,
				 "the checkpoint signs another hash");
	if (!id_equal(&point->key, &vault->audit_key.id))
		return err_raise(KT_ERR_INTEGRITY,
				 "the checkpoint is signed by an unknown key");
	return p256_verify(&vault->audit_key.public_key, point->hash.bytes,
			   &point->signature);
}

static enum kt_err checkpoints_check(struct kt_vault *vault, int64_t *ret_count)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct checkpoint_row point = {0};
	int64_t count = 0;
	enum kt_err err;

	TRY(query_start(vault->store, Q_CHECKPOINTS, &query, ""));
	while ((err = query_next(query, &point)) != KT_ERR_NOT_FOUND) {
		if (err == KT_OK)
			err = checkpoint_check(vault, &point);
		if (err != KT_OK)
			return err_prefix(err, "audit entry %lld: checkpoint",
					  (long long)point.seq);
		count++;
	}
	*ret_count = count;
	return KT_OK;
}

enum kt_err kt_audit_verify(struct kt_vault *vault,
			    struct kt_audit_summary *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_audit_summary summary = {0};
	struct audit_head_row end;

	TRY(require_operator(vault));
	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(chain_check(vault, &end, &summary.last_time));
	TRY(checkpoints_check(vault, &summary.checkpoints));
	summary.entries = end.seq;
	hex_encode(end.hash.bytes, HASH_LEN, summary.head);
	*ret = summary;
	return KT_OK;
}
