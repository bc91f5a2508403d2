/*
 * Bytes: numbers, digits, ids.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/err.h"

static void blobs_hold_up_to_their_room(void **state)
{
	uint8_t data[BLOB_MAX + 1] = {7};
	struct blob a = {0};
	struct blob b = {0};

	(void)state;
	assert_int_equal(blob_set(&a, data, BLOB_MAX), KT_OK);
	assert_int_equal(blob_set(&b, data, BLOB_MAX + 1), KT_ERR_INTEGRITY);
	assert_int_equal(b.len, 0);
	assert_int_equal(blob_set(&b, data, BLOB_MAX), KT_OK);
	assert_true(blob_equal(&a, &b));
	b.data[BLOB_MAX - 1] = 1;
	assert_false(blob_equal(&a, &b));
	assert_int_equal(blob_set(&b, data, 1), KT_OK);
	assert_false(blob_equal(&a, &b));
	assert_int_equal(blob_set(&b, NULL, 0), KT_OK);
	assert_int_equal(b.data[0], 0);
}

static void numbers_are_big_endian(void **state)
{
	uint8_t room[8];

	(void)state;
	be16_put(room, 0x0102);
	assert_memory_equal(room, "\x01\x02", 2);
	assert_int_equal(be16_get(room), 0x0102);
	be32_put(room, 0xfffefdfc);
	assert_memory_equal(room, "\xff\xfe\xfd\xfc", 4);
	assert_int_equal(be32_get(room), 0xfffefdfc);
	be64_put(room, 0x0102030405060708);
	assert_memory_equal(room, "\x01\x02\x03\x04\x05\x06\x07\x08", 8);
	assert_true(be64_get(room) == 0x0102030405060708);
	be64_put(room, UINT64_MAX);
	assert_true(be64_get(room) == UINT64_MAX);
}

static void hex_goes_both_ways(void **state)
{
	const uint8_t data[] = {0x00, 0x7f, 0xab, 0xff};
	uint8_t back[4];
	char text[9];

	(void)state;
	hex_encode(data, sizeof(data), text);
	assert_string_equal(text, "007fabff");
	assert_true(hex_decode(text, back, sizeof(back)));
	assert_memory_equal(back, data, sizeof(data));
	assert_true(hex_decode("007FABFF", back, 4));
	assert_memory_equal(back, data, sizeof(data));
}

static void hex_refuses_all_else(void **state)
{
	static const char *const bad[] = {"",         "0",         "00112",
					  "0011223",  "001122334", "0011223g",
					  "0011 233", "0x112233",  "001122/0",
					  "001122:0", "001122`0",  "001122@0"};
	uint8_t back[4];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(hex_decode(bad[i], back, sizeof(back)));
}

static void base62_pads_and_counts(void **state)
{
	uint8_t ones[32];
	char text[44];

	(void)state;
	memset(ones, 0xff, sizeof(ones));
	base62_encode((const uint8_t *)"\0", 1, text, 3);
	assert_string_equal(text, "000");
	base62_encode((const uint8_t *)"\x3d", 1, text, 3);
	assert_string_equal(text, "00z");
	base62_encode((const uint8_t *)"\x3e", 1, text, 3);
	assert_string_equal(text, "010");
	/* 2^256 - 1 takes all of 43 digits: nothing is cut off its front. */
	base62_encode(ones, sizeof(ones), text, 43);
	assert_int_equal(strlen(text), 43);
	assert_int_not_equal(text[0], '0');
}

static void new_ids_sort_by_creation(void **state)
{
	struct kt_id before;
	struct kt_id id;

	(void)state;
	assert_int_equal(id_new(&before), KT_OK);
	for (int i = 0; i < 20000; i++) {
		assert_int_equal(id_new(&id), KT_OK);
		assert_true(memcmp(&before, &id, sizeof(id)) < 0);
		assert_int_equal(id.bytes[6] >> 4, 7);
		assert_int_equal(id.bytes[8] >> 6, 2);
		before = id;
	}
}

static void ids_are_text_and_back(void **state)
{
	char text[KT_ID_TEXT_LEN + 1];
	struct kt_id back;
	struct kt_id id;

	(void)state;
	assert_int_equal(id_random(&id), KT_OK);
	assert_false(id_is_zero(&id));
	kt_id_format(&id, text);
	assert_int_equal(strlen(text), KT_ID_TEXT_LEN);
	assert_int_equal(kt_id_parse(text, &back), KT_OK);
	assert_true(id_equal(&id, &back));
	memset(&id, 0, sizeof(id));
	assert_true(id_is_zero(&id));
	kt_id_format(&id, text);
	assert_string_equal(text, "00000000-0000-0000-0000-000000000000");
}

static void other_text_is_no_id(void **state)
{
	static const char *const bad[] = {
		"",
		"0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2",
		"0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2bc",
		"0190a1b2c3d47e5f8a6b7c8d9e0f1a2b",
		"0190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2g",
		"0190a1b2-c3d4-7e5f-8a6b+7c8d9e0f1a2b",
		"0190a1b-2c3d4-7e5f-8a6b-7c8d9e0f1a2b",
		"{190a1b2-c3d4-7e5f-8a6b-7c8d9e0f1a2}",
	};
	struct kt_id id;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(kt_id_parse(bad[i], &id), KT_ERR_USAGE);
	assert_non_null(strstr(kt_err_detail(), "is not an id"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blobs_hold_up_to_their_room),
		cmocka_unit_test(numbers_are_big_endian),
		cmocka_unit_test(hex_goes_both_ways),
		cmocka_unit_test(hex_refuses_all_else),
		cmocka_unit_test(base62_pads_and_counts),
		cmocka_unit_test(new_ids_sort_by_creation),
		cmocka_unit_test(ids_are_text_and_back),
		cmocka_unit_test(other_text_is_no_id),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
