/*
 * Messages between keyturn and its workers: what is written reads back, and
 * nothing that is cut, changed or meant for another is taken.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/worker.h"

static struct blob blob_of(uint8_t fill, uint16_t len)
{
	struct blob blob = {.len = len};

	memset(blob.data, fill, len);
	return blob;
}

static struct worker_hello sample_hello(void)
{
	struct worker_hello hello = {
		.uri = "pkcs11:token=t;serial=1",
		.module = "/usr/lib/module.so",
		.runtime_dir = "/run/keyturn",
		.max_sessions = 7,
		.last_try = true,
		.old_key = {.token_key = {.role = KT_KEY_MASTER,
					  .cka_id = {{1, 2, 3}},
					  .mech = KT_WRAP_AES_KW,
					  .canary = blob_of(1, 40)},
			    .wrapped = true,
			    .blob = blob_of(2, 40),
			    .mech = KT_WRAP_AES_KWP,
			    .canary = blob_of(3, BLOB_MAX)},
		.new_key = {.token_key = {.role = KT_KEY_RECOVERY},
			    .temporary = true},
	};

	return hello;
}

/* As if the frame had just been received. */
static void arrived(struct wire *wire)
{
	wire->at = WIRE_HEADER_LEN;
	wire->failed = false;
}

static void assert_blobs(const struct blob *a, const struct blob *b)
{
	assert_true(blob_equal(a, b));
}

static void assert_keys(const struct rewrap_key *a, const struct rewrap_key *b)
{
	assert_int_equal(a->token_key.role, b->token_key.role);
	assert_true(id_equal(&a->token_key.cka_id, &b->token_key.cka_id));
	assert_int_equal(a->token_key.mech, b->token_key.mech);
	assert_blobs(&a->token_key.canary, &b->token_key.canary);
	assert_int_equal(a->temporary, b->temporary);
	assert_int_equal(a->wrapped, b->wrapped);
	assert_blobs(&a->blob, &b->blob);
	assert_int_equal(a->mech, b->mech);
	assert_blobs(&a->canary, &b->canary);
}

static void a_hello_reads_back(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct worker_hello sent = sample_hello();
	struct worker_hello got;

	(void)state;
	assert_int_equal(worker_put_hello(&wire, &sent), KT_OK);
	arrived(&wire);
	assert_int_equal(worker_get_hello(&wire, &got), KT_OK);
	assert_string_equal(got.uri, sent.uri);
	assert_string_equal(got.module, sent.module);
	assert_string_equal(got.runtime_dir, sent.runtime_dir);
	assert_int_equal(got.max_sessions, 7);
	assert_true(got.last_try);
	assert_keys(&got.old_key, &sent.old_key);
	assert_keys(&got.new_key, &sent.new_key);
}

static void a_cut_hello_is_refused(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct worker_hello sent = sample_hello();
	struct worker_hello got;
	size_t whole;

	(void)state;
	assert_int_equal(worker_put_hello(&wire, &sent), KT_OK);
	whole = wire.len;
	for (wire.len = WIRE_HEADER_LEN; wire.len < whole; wire.len++) {
		arrived(&wire);
		assert_int_equal(worker_get_hello(&wire, &got), KT_ERR_IO);
	}
}

static void roles_and_mechanisms_are_checked(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		CLEANUP(wire_done) struct wire wire = {0};
		struct worker_hello sent = sample_hello();
		struct worker_hello got;

		if (i == 0)
			sent.old_key.token_key.role = KT_KEY_DEK;
		if (i == 1)
			sent.new_key.token_key.mech = KT_WRAP_MECH_MAX_;
		if (i == 2)
			sent.new_key.mech = KT_WRAP_MECH_MAX_;
		assert_int_equal(worker_put_hello(&wire, &sent), KT_OK);
		arrived(&wire);
		assert_int_equal(worker_get_hello(&wire, &got), KT_ERR_IO);
	}
}

#define COUNT 3

static struct rewrap_batch sample_batch(enum rewrap_op op,
					struct rewrap_item items[COUNT])
{
	memset(items, 0, COUNT * sizeof(items[0]));
	for (uint8_t i = 0; i < COUNT; i++) {
		items[i].in = blob_of(i, 40);
		items[i].out = blob_of((uint8_t)(i + 100), 48);
		items[i].proven = i != 1;
	}
	return (struct rewrap_batch){
		.op = op,
		.count = COUNT,
		.items = items,
		.sessions = 8,
		.sessions_had = 5,
	};
}

static void a_batch_reads_back(void **state)
{
	(void)state;
	for (int op = REWRAP_COPY; op <= REWRAP_TRY; op++) {
		CLEANUP(wire_done) struct wire wire = {0};
		struct rewrap_item items[COUNT];
		struct rewrap_batch sent =
			sample_batch((enum rewrap_op)op, items);
		struct rewrap_batch got;
		uint64_t number = 0;

		assert_int_equal(worker_put_batch(&wire, 1ull << 40, &sent),
				 KT_OK);
		arrived(&wire);
		assert_int_equal(worker_get_batch(&wire, &number, &got), KT_OK);
		assert_true(number == 1ull << 40);
		assert_int_equal(got.op, op);
		assert_int_equal(got.count, COUNT);
		assert_int_equal(got.sessions, 8);
		for (size_t i = 0; i < COUNT; i++) {
			assert_blobs(&got.items[i].in, &items[i].in);
			assert_int_equal(got.items[i].out.len,
					 op == REWRAP_PROVE ? 48 : 0);
			assert_int_equal(got.items[i].proven,
					 op == REWRAP_TRY && i != 1);
		}
		free(got.items);
	}
}

static void a_cut_batch_is_refused(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct rewrap_item items[COUNT];
	struct rewrap_batch sent = sample_batch(REWRAP_PROVE, items);
	struct rewrap_batch got = {0};
	uint64_t number;
	size_t whole;

	(void)state;
	assert_int_equal(worker_put_batch(&wire, 1, &sent), KT_OK);
	whole = wire.len;
	for (wire.len = WIRE_HEADER_LEN; wire.len < whole; wire.len++) {
		arrived(&wire);
		assert_int_equal(worker_get_batch(&wire, &number, &got),
				 KT_ERR_IO);
		assert_null(got.items);
	}
}

static void counts_and_operations_are_checked(void **state)
{
	const size_t op_at = WIRE_HEADER_LEN + 8;
	struct rewrap_item items[COUNT];
	struct rewrap_batch sent = sample_batch(REWRAP_COPY, items);
	struct rewrap_batch got;
	uint64_t number;

	(void)state;
	for (int i = 0; i < 3; i++) {
		CLEANUP(wire_done) struct wire wire = {0};

		assert_int_equal(worker_put_batch(&wire, 1, &sent), KT_OK);
		if (i == 0)
			wire.data[op_at] = REWRAP_TRY + 1;
		else
			be32_put(wire.data + op_at + 2,
				 i == 1 ? UINT32_MAX : REWRAP_ITEMS_MAX);
		arrived(&wire);
		assert_int_equal(worker_get_batch(&wire, &number, &got),
				 KT_ERR_IO);
	}
}

static void sessions_of_a_batch_are_bounded(void **state)
{
	static const uint8_t values[] = {0, 1, REWRAP_JOBS_MAX,
					 REWRAP_JOBS_MAX + 1, UINT8_MAX};
	struct rewrap_item items[COUNT];
	struct rewrap_batch sent = sample_batch(REWRAP_COPY, items);
	struct rewrap_batch got;
	uint64_t number;

	(void)state;
	for (size_t i = 0; i < sizeof(values); i++) {
		CLEANUP(wire_done) struct wire wire = {0};
		bool good = i == 1 || i == 2;

		sent.sessions = values[i];
		assert_int_equal(worker_put_batch(&wire, 1, &sent), KT_OK);
		arrived(&wire);
		got = (struct rewrap_batch){0};
		assert_int_equal(worker_get_batch(&wire, &number, &got),
				 good ? KT_OK : KT_ERR_IO);
		free(got.items);
	}
}

static void sessions_of_a_hello_are_bounded(void **state)
{
	static const uint32_t values[] = {0, REWRAP_JOBS_MAX + 1};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		CLEANUP(wire_done) struct wire wire = {0};
		struct worker_hello sent = sample_hello();
		struct worker_hello got;

		sent.max_sessions = values[i];
		assert_int_equal(worker_put_hello(&wire, &sent), KT_OK);
		arrived(&wire);
		assert_int_equal(worker_get_hello(&wire, &got), KT_ERR_IO);
	}
}

/* None, and more than were asked for, were not at work. */
static void sessions_of_an_answer_are_bounded(void **state)
{
	struct rewrap_item items[COUNT];
	struct rewrap_batch batch = sample_batch(REWRAP_COPY, items);

	(void)state;
	for (uint32_t had = 0; had < 10; had++) {
		CLEANUP(wire_done) struct wire wire = {0};

		batch.sessions_had = had;
		assert_int_equal(worker_put_result(&wire, 1, &batch), KT_OK);
		arrived(&wire);
		batch.sessions_had = 77;
		assert_int_equal(worker_get_result(&wire, 1, &batch),
				 had >= 1 && had <= 8 ? KT_OK : KT_ERR_IO);
	}
}

static void an_answer_lands_in_its_items(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct rewrap_item done[COUNT];
	struct rewrap_item asked[COUNT];
	struct rewrap_batch answer = sample_batch(REWRAP_COPY, done);
	struct rewrap_batch batch = sample_batch(REWRAP_COPY, asked);

	(void)state;
	done[1].err = KT_ERR_INTEGRITY;
	snprintf(done[1].reason, sizeof(done[1].reason), "%0127d", 0);
	memset(&asked[0].out, 0, sizeof(asked[0].out));
	assert_int_equal(worker_put_result(&wire, 5, &answer), KT_OK);
	arrived(&wire);
	assert_int_equal(worker_get_result(&wire, 5, &batch), KT_OK);
	assert_int_equal(asked[0].err, KT_OK);
	assert_blobs(&asked[0].out, &done[0].out);
	assert_int_equal(asked[1].err, KT_ERR_INTEGRITY);
	assert_string_equal(asked[1].reason, done[1].reason);
	assert_int_equal(asked[1].out.len, 0);
	assert_int_equal(asked[2].err, KT_OK);
	assert_string_equal(asked[2].reason, "");
}

static void a_proof_leaves_the_blobs_alone(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct rewrap_item done[COUNT];
	struct rewrap_item asked[COUNT];
	struct rewrap_batch answer = sample_batch(REWRAP_PROVE, done);
	struct rewrap_batch batch = sample_batch(REWRAP_PROVE, asked);

	(void)state;
	done[2].err = KT_ERR_INTEGRITY;
	memset(&done[0].out, 0, sizeof(done[0].out));
	assert_int_equal(worker_put_result(&wire, 5, &answer), KT_OK);
	arrived(&wire);
	assert_int_equal(worker_get_result(&wire, 5, &batch), KT_OK);
	assert_int_equal(asked[0].out.len, 48);
	assert_int_equal(asked[2].out.len, 48);
	assert_int_equal(asked[2].err, KT_ERR_INTEGRITY);
}

static void an_answer_to_another_question_is_refused(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct rewrap_item items[COUNT];
	struct rewrap_batch batch = sample_batch(REWRAP_COPY, items);

	(void)state;
	assert_int_equal(worker_put_result(&wire, 5, &batch), KT_OK);
	arrived(&wire);
	assert_int_equal(worker_get_result(&wire, 6, &batch), KT_ERR_IO);
	arrived(&wire);
	batch.count--;
	assert_int_equal(worker_get_result(&wire, 5, &batch), KT_ERR_IO);
	arrived(&wire);
	batch.count++;
	assert_int_equal(worker_get_result(&wire, 5, &batch), KT_OK);
}

static void a_good_copy_is_not_empty(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct rewrap_item items[COUNT];
	struct rewrap_batch batch = sample_batch(REWRAP_COPY, items);

	(void)state;
	items[1].out.len = 0;
	assert_int_equal(worker_put_result(&wire, 1, &batch), KT_OK);
	arrived(&wire);
	assert_int_equal(worker_get_result(&wire, 1, &batch), KT_ERR_IO);
}

/* Every byte of an answer, changed in every bit: it may be taken for another
 * answer, but never read or write beyond its room (the asan build sees it). */
static void changed_answers_do_no_harm(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	struct rewrap_item items[COUNT];
	struct rewrap_batch batch = sample_batch(REWRAP_COPY, items);
	size_t refused = 0;

	(void)state;
	items[0].err = KT_ERR_INTEGRITY;
	assert_int_equal(worker_put_result(&wire, 1, &batch), KT_OK);
	for (size_t i = 8 * WIRE_HEADER_LEN; i < 8 * wire.len; i++) {
		wire.data[i / 8] ^= (uint8_t)(1u << i % 8);
		arrived(&wire);
		refused += worker_get_result(&wire, 1, &batch) != KT_OK;
		for (size_t k = 0; k < COUNT; k++)
			assert_true(items[k].out.len <= BLOB_MAX);
		wire.data[i / 8] ^= (uint8_t)(1u << i % 8);
	}
	assert_true(refused >= (size_t)8 * (8 + 4));
}

static void an_error_keeps_detail_and_hint(void **state)
{
	CLEANUP(wire_done) struct wire wire = {0};
	enum kt_err told = KT_OK;
	enum kt_err err = err_raise(KT_ERR_PIN, "C_Login: wrong");

	(void)state;
	err = err_hint(err, "two tries are left");
	assert_int_equal(worker_put_error(&wire, 3, err), KT_OK);
	assert_int_equal(err_raise(KT_ERR_IO, "another"), KT_ERR_IO);
	arrived(&wire);
	assert_int_equal(worker_get_error(&wire, 3, &told), KT_OK);
	assert_int_equal(told, KT_ERR_PIN);
	assert_string_equal(kt_err_detail(), "C_Login: wrong");
	assert_string_equal(kt_err_hint(), "two tries are left");
	arrived(&wire);
	assert_int_equal(worker_get_error(&wire, 4, &told), KT_ERR_IO);
}

static void an_error_that_is_none_is_refused(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		CLEANUP(wire_done) struct wire wire = {0};
		enum kt_err told = KT_OK;

		assert_int_equal(worker_put_error(&wire, 3,
						  i == 0 ? KT_OK : KT_ERR_MAX_),
				 KT_OK);
		arrived(&wire);
		assert_int_equal(worker_get_error(&wire, 3, &told), KT_ERR_IO);
		assert_int_equal(told, KT_OK);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_hello_reads_back),
		cmocka_unit_test(a_cut_hello_is_refused),
		cmocka_unit_test(roles_and_mechanisms_are_checked),
		cmocka_unit_test(a_batch_reads_back),
		cmocka_unit_test(a_cut_batch_is_refused),
		cmocka_unit_test(counts_and_operations_are_checked),
		cmocka_unit_test(sessions_of_a_batch_are_bounded),
		cmocka_unit_test(sessions_of_a_hello_are_bounded),
		cmocka_unit_test(sessions_of_an_answer_are_bounded),
		cmocka_unit_test(an_answer_lands_in_its_items),
		cmocka_unit_test(a_proof_leaves_the_blobs_alone),
		cmocka_unit_test(an_answer_to_another_question_is_refused),
		cmocka_unit_test(a_good_copy_is_not_empty),
		cmocka_unit_test(changed_answers_do_no_harm),
		cmocka_unit_test(an_error_keeps_detail_and_hint),
		cmocka_unit_test(an_error_that_is_none_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
