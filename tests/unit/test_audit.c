/*
 * The audit chain over a real database with a sealer, without a token: the
 * test holds the audit key itself. It changes the chain behind the port's back
 * and seals what it changed, so that the chain is tried, not the row MACs.
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

#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <sqlite3.h>

#include <keyturn/audit.h>

#include "base/secret.h"
#include "core/audit.h"
#include "core/p256.h"

#define ENTRIES 12

struct fixture {
	char dir[64];
	char path[96];
	struct kt_vault vault;
	EVP_PKEY *key;
};

static void sign(EVP_PKEY *key, const uint8_t digest[32], struct blob *ret)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
	uint8_t der[80];
	const uint8_t *at = der;
	size_t len = sizeof(der);
	ECDSA_SIG *sig;

	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	assert_int_equal(EVP_PKEY_sign(ctx, der, &len, digest, 32), 1);
	sig = d2i_ECDSA_SIG(NULL, &at, (long)len);
	assert_non_null(sig);
	ret->len = 64;
	BN_bn2binpad(ECDSA_SIG_get0_r(sig), ret->data, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(sig), ret->data + 32, 32);
	ECDSA_SIG_free(sig);
	EVP_PKEY_CTX_free(ctx);
}

static void point_of(EVP_PKEY *key, struct blob *ret)
{
	size_t len = 0;

	assert_int_equal(EVP_PKEY_get_octet_string_param(key, "pub", ret->data,
							 sizeof(ret->data),
							 &len),
			 1);
	ret->len = (uint16_t)len;
}

static void begin(struct fixture *f, struct store_tx **ret)
{
	assert_int_equal(store_begin(f->vault.store, STORE_WRITE, ret), KT_OK);
}

static void commit(struct store_tx **tx)
{
	assert_int_equal(store_commit(tx), KT_OK);
}

static void fill(struct fixture *f)
{
	struct store_tx *tx = NULL;
	struct audit_head_row head = {.id = 1};
	struct store *store = f->vault.store;

	begin(f, &tx);
	assert_int_equal(store_insert(store, ROW_VAULT, &f->vault.row), KT_OK);
	assert_int_equal(store_insert(store, ROW_KEY, &f->vault.audit_key),
			 KT_OK);
	assert_int_equal(store_insert(store, ROW_AUDIT_HEAD, &head), KT_OK);
	for (int i = 1; i <= ENTRIES; i++)
		assert_int_equal(audit_append(&f->vault, "test.append",
					      "object", "number=%d", i),
				 KT_OK);
	commit(&tx);
}

static void add_checkpoint(struct fixture *f, int64_t seq)
{
	struct checkpoint_row point = {.seq = seq, .time = 1};
	struct audit_row entry;
	struct store_tx *tx = NULL;

	begin(f, &tx);
	assert_int_equal(query_one(f->vault.store, Q_AUDIT, &entry, "i", seq),
			 KT_OK);
	point.hash = entry.hash;
	point.key = f->vault.audit_key.id;
	sign(f->key, entry.hash.bytes, &point.signature);
	assert_int_equal(store_insert(f->vault.store, ROW_CHECKPOINT, &point),
			 KT_OK);
	commit(&tx);
}

static void open_vault(struct fixture *f)
{
	CLEANUP(kt_secret_done) struct kt_secret key = {0};
	struct store_params params = {.path = f->path};
	struct kt_vault *v = &f->vault;

	assert_int_equal(store_create(&params, &v->store), KT_OK);
	assert_int_equal(id_new(&v->row.id), KT_OK);
	v->row.created = 1;
	v->audit_key = (struct key_row){
		.role = KT_KEY_AUDIT, .version = 1, .created = 1};
	assert_int_equal(id_new(&v->audit_key.id), KT_OK);
	assert_int_equal(id_random(&v->audit_key.cka_id), KT_OK);
	point_of(f->key, &v->audit_key.public_key);
	snprintf(v->actor.name, sizeof(v->actor.name), "tester");
	assert_int_equal(secret_new(32, &key), KT_OK);
	assert_int_equal(random_bytes(key.data, key.len), KT_OK);
	assert_int_equal(rowmac_new(&v->row.id, &key, &v->rowmac), KT_OK);
	store_set_sealer(v->store, rowmac_sealer(v->rowmac));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->dir, sizeof(f->dir), "/tmp/test_audit.XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	snprintf(f->path, sizeof(f->path), "%s/vault.db", f->dir);
	f->key = EVP_EC_gen("P-256");
	assert_non_null(f->key);
	open_vault(f);
	fill(f);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	store_discard(f->vault.store);
	rowmac_free(f->vault.rowmac);
	EVP_PKEY_free(f->key);
	assert_int_equal(rmdir(f->dir), 0);
	free(f);
	return 0;
}

static void a_chain_verifies(void **state)
{
	struct fixture *f = *state;
	struct kt_audit_summary summary;

	add_checkpoint(f, 5);
	add_checkpoint(f, ENTRIES);
	assert_int_equal(kt_audit_verify(&f->vault, &summary), KT_OK);
	assert_int_equal(summary.entries, ENTRIES);
	assert_int_equal(summary.checkpoints, 2);
	assert_int_equal(strlen(summary.head), 64);
}

struct seen {
	int64_t first, last, count;
};

static enum kt_err note(void *arg, const struct kt_audit_entry *e)
{
	struct seen *seen = arg;
	char detail[32];

	snprintf(detail, sizeof(detail), "number=%lld", (long long)e->seq);
	assert_string_equal(e->detail, detail);
	assert_string_equal(e->actor, "tester");
	assert_string_equal(e->action, "test.append");
	if (seen->count == 0)
		seen->first = e->seq;
	seen->last = e->seq;
	seen->count++;
	return KT_OK;
}

static void a_part_can_be_listed(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};

	assert_int_equal(kt_audit_list(&f->vault, 4, 3, note, &seen), KT_OK);
	assert_int_equal(seen.first, 4);
	assert_int_equal(seen.last, 6);
	seen = (struct seen){0};
	assert_int_equal(kt_audit_list(&f->vault, 1, 0, note, &seen), KT_OK);
	assert_int_equal(seen.count, ENTRIES);
}

/* A listing of several pages is whole and in order. */
static void many_entries_are_listed(void **state)
{
	struct fixture *f = *state;
	struct seen seen = {0};
	struct store_tx *tx = NULL;

	begin(f, &tx);
	for (int i = ENTRIES + 1; i <= 600; i++)
		assert_int_equal(audit_append(&f->vault, "test.append",
					      "object", "number=%d", i),
				 KT_OK);
	commit(&tx);
	assert_int_equal(kt_audit_list(&f->vault, 1, 0, note, &seen), KT_OK);
	assert_int_equal(seen.count, 600);
	assert_int_equal(seen.last, 600);
	seen = (struct seen){0};
	assert_int_equal(kt_audit_list(&f->vault, 2, 300, note, &seen), KT_OK);
	assert_int_equal(seen.count, 300);
	assert_int_equal(seen.last, 301);
}

static void nobody_with_a_token_reads_it(void **state)
{
	struct fixture *f = *state;
	struct kt_audit_summary summary;
	struct seen seen = {0};

	f->vault.actor.limited = true;
	assert_int_equal(kt_audit_verify(&f->vault, &summary), KT_ERR_DENIED);
	assert_int_equal(kt_audit_list(&f->vault, 1, 0, note, &seen),
			 KT_ERR_DENIED);
	assert_int_equal(seen.count, 0);
}

/* A transaction that is rolled back takes its entry along. */
static void no_effect_no_entry(void **state)
{
	struct fixture *f = *state;
	struct store_tx *tx = NULL;
	struct kt_audit_summary summary;

	begin(f, &tx);
	assert_int_equal(audit_append(&f->vault, "lost", "x", "nothing"),
			 KT_OK);
	store_rollback(tx);
	assert_int_equal(kt_audit_verify(&f->vault, &summary), KT_OK);
	assert_int_equal(summary.entries, ENTRIES);
}

static void change_detail(struct audit_row *row)
{
	row->detail[0] ^= 1;
}

static void change_prev(struct audit_row *row)
{
	row->prev.bytes[0] ^= 1;
}

static void change_hash(struct audit_row *row)
{
	row->hash.bytes[31] ^= 1;
}

/* A whole forged entry: its own hash fits, the next one's prev does not. */
static void forge(struct audit_row *row)
{
	row->time++;
	assert_int_equal(row_hash(ROW_AUDIT, row, "kvL1", "hash", &row->hash),
			 KT_OK);
}

static void assert_broken(struct fixture *f, const char *detail)
{
	struct kt_audit_summary summary = {.entries = -1};

	assert_int_equal(kt_audit_verify(&f->vault, &summary),
			 KT_ERR_INTEGRITY);
	assert_string_equal(kt_err_detail(), detail);
	assert_int_equal(summary.entries, -1);
}

static void sql(struct fixture *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

static void sql(struct fixture *f, const char *format, ...)
{
	sqlite3 *db = NULL;
	char text[4096];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, text, NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_changes(db), 1);
	sqlite3_close(db);
}

static void seal(struct fixture *f, enum row_type type, void *row)
{
	const struct store_sealer *sealer = rowmac_sealer(f->vault.rowmac);

	assert_int_equal(sealer->seal(sealer->arg, type, row), KT_OK);
}

struct hex {
	char text[2 * MAC_LEN + 1];
};

static struct hex hex(const struct mac *mac)
{
	struct hex ret;

	hex_encode(mac->bytes, MAC_LEN, ret.text);
	return ret;
}

static void change_entry(struct fixture *f, int64_t seq,
			 void (*change)(struct audit_row *row))
{
	struct audit_row row;

	assert_int_equal(query_one(f->vault.store, Q_AUDIT, &row, "i", seq),
			 KT_OK);
	change(&row);
	seal(f, ROW_AUDIT, &row);
	sql(f,
	    "UPDATE audit SET time = %lld, detail = '%s', prev = x'%s',"
	    " hash = x'%s', mac = x'%s' WHERE seq = %lld",
	    (long long)row.time, row.detail, hex(&row.prev).text,
	    hex(&row.hash).text, hex(&row.mac).text, (long long)seq);
}

/* One who cannot seal rows is found by the first thing he changes. */
static void unsealed_change_is_found(void **state)
{
	struct fixture *f = *state;
	struct kt_audit_summary summary;
	struct seen seen = {0};

	sql(f, "UPDATE audit SET actor = 'nobody' WHERE seq = 7");
	assert_int_equal(kt_audit_verify(&f->vault, &summary),
			 KT_ERR_INTEGRITY);
	assert_ptr_equal(strstr(kt_err_detail(), "audit entry 7: "),
			 kt_err_detail());
	assert_int_equal(kt_audit_list(&f->vault, 7, 0, note, &seen),
			 KT_ERR_INTEGRITY);
	assert_int_equal(seen.count, 0);
}

static void changed_detail_is_found(void **state)
{
	change_entry(*state, 7, change_detail);
	assert_broken(*state, "audit entry 7: its hash is wrong");
}

static void changed_prev_is_found(void **state)
{
	change_entry(*state, 1, change_prev);
	assert_broken(*state,
		      "audit entry 1: does not follow the entry before");
}

static void changed_hash_is_found(void **state)
{
	change_entry(*state, ENTRIES, change_hash);
	assert_broken(*state, "audit entry 12: its hash is wrong");
}

static void forged_entry_is_found(void **state)
{
	change_entry(*state, 7, forge);
	assert_broken(*state,
		      "audit entry 8: does not follow the entry before");
}

static void forged_last_entry_is_found(void **state)
{
	change_entry(*state, ENTRIES, forge);
	assert_broken(*state, "audit entry 12: is not the head of the chain");
}

static void remove_entry(struct fixture *f, int64_t seq)
{
	sql(f, "DELETE FROM audit WHERE seq = %lld", (long long)seq);
}

static void missing_entry_is_found(void **state)
{
	remove_entry(*state, 7);
	assert_broken(*state, "audit entry 7: missing; 8 follows");
}

static void cut_end_is_found(void **state)
{
	remove_entry(*state, ENTRIES);
	assert_broken(*state, "audit entry 12: missing, the chain ends at 12");
}

static void set_head(struct fixture *f, int64_t seq)
{
	struct store_tx *tx = NULL;
	struct audit_head_row head;

	begin(f, &tx);
	assert_int_equal(query_one(f->vault.store, Q_AUDIT_HEAD, &head, ""),
			 KT_OK);
	head.seq = seq;
	assert_int_equal(store_update(f->vault.store, ROW_AUDIT_HEAD, &head),
			 KT_OK);
	commit(&tx);
}

static void entry_beyond_the_head_is_found(void **state)
{
	set_head(*state, ENTRIES - 1);
	assert_broken(*state, "audit entry 12: lies beyond the end of the "
			      "chain, 11");
}

static void change_checkpoint(struct fixture *f,
			      void (*change)(struct checkpoint_row *row))
{
	struct checkpoint_row row;
	char signature[2 * 64 + 1];

	add_checkpoint(f, 5);
	assert_int_equal(query_one(f->vault.store, Q_CHECKPOINTS, &row, ""),
			 KT_OK);
	change(&row);
	seal(f, ROW_CHECKPOINT, &row);
	hex_encode(row.signature.data, 64, signature);
	sql(f,
	    "UPDATE checkpoints SET hash = x'%s', signature = x'%s',"
	    " mac = x'%s' WHERE seq = 5",
	    hex(&row.hash).text, signature, hex(&row.mac).text);
}

static void change_signature(struct checkpoint_row *row)
{
	row->signature.data[63] ^= 1;
}

static void change_signed_hash(struct checkpoint_row *row)
{
	row->hash.bytes[0] ^= 1;
}

static void bad_signature_is_found(void **state)
{
	change_checkpoint(*state, change_signature);
	assert_broken(*state, "audit entry 5: checkpoint: the signature does "
			      "not verify");
}

static void checkpoint_of_another_hash_is_found(void **state)
{
	change_checkpoint(*state, change_signed_hash);
	assert_broken(*state, "audit entry 5: checkpoint: the checkpoint signs "
			      "another hash");
}

/* Without the token a rewritten chain cannot be signed again. */
static void rewritten_chain_is_found(void **state)
{
	struct fixture *f = *state;
	struct audit_head_row head = {.id = 1, .seq = ENTRIES};
	struct audit_row row;

	add_checkpoint(f, ENTRIES);
	change_entry(f, ENTRIES, forge);
	assert_int_equal(
		query_one(f->vault.store, Q_AUDIT, &row, "i", (int64_t)ENTRIES),
		KT_OK);
	head.hash = row.hash;
	seal(f, ROW_AUDIT_HEAD, &head);
	sql(f, "UPDATE audit_head SET hash = x'%s', mac = x'%s'",
	    hex(&head.hash).text, hex(&head.mac).text);
	assert_broken(f, "audit entry 12: checkpoint: the checkpoint signs "
			 "another hash");
}

static void every_bit_of_a_signature_counts(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct blob point = {0};
	struct blob signature = {0};
	uint8_t digest[32] = {1, 2, 3};

	(void)state;
	point_of(key, &point);
	sign(key, digest, &signature);
	assert_int_equal(p256_verify(&point, digest, &signature), KT_OK);
	for (size_t bit = 0; bit < 8 * 64; bit++) {
		struct blob bad = signature;

		bad.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(p256_verify(&point, digest, &bad),
				 KT_ERR_INTEGRITY);
	}
	for (size_t bit = 0; bit < 8 * 65; bit++) {
		struct blob bad = point;

		bad.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(p256_verify(&bad, digest, &signature),
				 KT_ERR_INTEGRITY);
	}
	digest[31] ^= 1;
	assert_int_equal(p256_verify(&point, digest, &signature),
			 KT_ERR_INTEGRITY);
	EVP_PKEY_free(key);
}

static void signatures_have_one_shape(void **state)
{
	struct blob point = {.len = 65};
	struct blob signature = {.len = 64};
	uint8_t digest[32] = {0};

	(void)state;
	assert_int_equal(p256_verify(&point, digest, &signature),
			 KT_ERR_INTEGRITY);
	point.len = 0;
	assert_int_equal(p256_verify(&point, digest, &signature),
			 KT_ERR_INTEGRITY);
	point.len = 65;
	signature.len = 63;
	assert_int_equal(p256_verify(&point, digest, &signature),
			 KT_ERR_INTEGRITY);
}

#define CHAIN_TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_bit_of_a_signature_counts),
		cmocka_unit_test(signatures_have_one_shape),
		CHAIN_TEST(a_chain_verifies),
		CHAIN_TEST(a_part_can_be_listed),
		CHAIN_TEST(many_entries_are_listed),
		CHAIN_TEST(nobody_with_a_token_reads_it),
		CHAIN_TEST(no_effect_no_entry),
		CHAIN_TEST(unsealed_change_is_found),
		CHAIN_TEST(changed_detail_is_found),
		CHAIN_TEST(changed_prev_is_found),
		CHAIN_TEST(changed_hash_is_found),
		CHAIN_TEST(forged_entry_is_found),
		CHAIN_TEST(forged_last_entry_is_found),
		CHAIN_TEST(missing_entry_is_found),
		CHAIN_TEST(cut_end_is_found),
		CHAIN_TEST(entry_beyond_the_head_is_found),
		CHAIN_TEST(bad_signature_is_found),
		CHAIN_TEST(checkpoint_of_another_hash_is_found),
		CHAIN_TEST(rewritten_chain_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
