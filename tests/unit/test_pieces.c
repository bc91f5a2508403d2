/*
 * Batches in pieces: every item is handed out once, a piece that failed once
 * more, and a batch comes back when nobody holds any of it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "hsm/pieces.h"

#define ITEMS 100
#define ROOM 4

static struct fixture {
	struct pieces pieces;
	struct rewrap_item items[2][ITEMS];
	struct rewrap_batch batch[2];
} fix;

static int setup(void **state)
{
	(void)state;
	assert_int_equal(pieces_init(2, ROOM, &fix.pieces), KT_OK);
	for (size_t i = 0; i < 2; i++) {
		fix.batch[i] = (struct rewrap_batch){
			.op = REWRAP_PROVE,
			.count = ITEMS,
			.items = fix.items[i],
		};
		pieces_add(&fix.pieces, &fix.batch[i]);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	pieces_done(&fix.pieces);
	return 0;
}

static struct piece *next(size_t most)
{
	struct piece *piece = pieces_next(&fix.pieces, most);

	assert_non_null(piece);
	return piece;
}

static void end(struct piece *piece)
{
	piece_end(&fix.pieces, piece, KT_OK);
}

/* The oldest batch comes back with this outcome. */
static void expect_oldest(size_t batch, enum kt_err outcome)
{
	const struct entry *entry = pieces_oldest(&fix.pieces);

	assert_non_null(entry);
	assert_ptr_equal(entry->batch, &fix.batch[batch]);
	assert_int_equal(entry->outcome.err, outcome);
	pieces_drop_oldest(&fix.pieces);
}

static void every_item_is_handed_out_once(void **state)
{
	size_t seen = 0;
	struct piece *piece;

	(void)state;
	for (uint64_t number = 1; seen < 2 * ITEMS; number++) {
		piece = next(30);
		assert_int_equal(piece->number, number);
		assert_int_equal(piece->part.op, REWRAP_PROVE);
		assert_ptr_equal(piece->part.items,
				 &fix.items[seen / ITEMS][seen % ITEMS]);
		assert_int_equal(piece->part.count,
				 seen % ITEMS == 90 ? 10 : 30);
		seen += piece->part.count;
		end(piece);
	}
	assert_null(pieces_next(&fix.pieces, 30));
	expect_oldest(0, KT_OK);
	expect_oldest(1, KT_OK);
}

static void no_more_are_held_than_there_is_room(void **state)
{
	struct piece *first = next(1);

	(void)state;
	for (size_t i = 1; i < ROOM; i++)
		next(1);
	assert_null(pieces_next(&fix.pieces, 1));
	end(first);
	assert_non_null(pieces_next(&fix.pieces, 1));
}

static void a_batch_waits_for_its_last_piece(void **state)
{
	struct piece *a = next(50), *b = next(50), *c = next(100);

	(void)state;
	end(c);
	end(b);
	assert_null(pieces_oldest(&fix.pieces));
	end(a);
	expect_oldest(0, KT_OK);
	expect_oldest(1, KT_OK);
}

static void a_piece_that_failed_is_done_once_more(void **state)
{
	struct piece *a = next(100), *b = next(100);
	uint64_t number = a->number;

	(void)state;
	assert_true(piece_fail(&fix.pieces, a, KT_ERR_TOKEN));
	a = next(7);
	assert_int_equal(a->number, number);
	assert_int_equal(a->part.count, ITEMS);
	assert_false(piece_fail(&fix.pieces, a, KT_ERR_SESSION));
	expect_oldest(0, KT_ERR_SESSION);
	end(b);
	expect_oldest(1, KT_OK);
}

/* What was not begun has not failed: it has both of its tries yet. */
static void a_piece_that_came_back_has_not_failed(void **state)
{
	struct piece *a = next(100);

	(void)state;
	piece_return(a);
	a = next(100);
	assert_true(piece_fail(&fix.pieces, a, KT_ERR_TOKEN));
}

static void what_no_second_try_helps_gets_none(void **state)
{
	struct piece *a = next(100);

	(void)state;
	assert_false(piece_fail(&fix.pieces, a, KT_ERR_POLICY));
	expect_oldest(0, KT_ERR_POLICY);
}

/* The first error counts; the rest is not begun, but what workers hold has to
 * come back first: they write into the batch. */
static void a_failed_batch_waits_for_what_is_held(void **state)
{
	struct piece *a = next(20), *b = next(20), *c = next(20), *d = next(20);

	(void)state;
	assert_true(piece_fail(&fix.pieces, d, KT_ERR_TOKEN));
	piece_end(&fix.pieces, a, KT_ERR_MEMORY);
	assert_null(pieces_oldest(&fix.pieces));
	assert_false(piece_fail(&fix.pieces, b, KT_ERR_TOKEN));
	assert_null(pieces_oldest(&fix.pieces));
	piece_return(c);
	assert_ptr_equal(next(20)->part.items, fix.items[1]);
	expect_oldest(0, KT_ERR_MEMORY);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(every_item_is_handed_out_once),
		TEST(no_more_are_held_than_there_is_room),
		TEST(a_batch_waits_for_its_last_piece),
		TEST(a_piece_that_failed_is_done_once_more),
		TEST(a_piece_that_came_back_has_not_failed),
		TEST(what_no_second_try_helps_gets_none),
		TEST(a_failed_batch_waits_for_what_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
