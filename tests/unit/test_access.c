/*
 * The text of access tokens: what is made is read back, and no damaged token
 * gets as far as a lookup.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/secret.h"
#include "core/access.h"

/* Its last six characters were computed by Python's zlib. */
static const char known[] = "kvt1_0Az90Az90Az9_"
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ_"
			    "1tFJd4";

static bool parses(const char *text, size_t len, struct access_parts *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	bool good;

	assert_int_equal(kt_secret_copy(text, len, &token), KT_OK);
	good = access_text_parse(&token, ret);
	if (good)
		ret->secret = NULL; /* it pointed into token */
	return good;
}

static void known_token(void **state)
{
	struct kt_secret token = {(uint8_t *)known, sizeof(known) - 1};
	struct access_parts parts;

	(void)state;
	assert_int_equal(token.len, ACCESS_TEXT_LEN);
	assert_true(access_text_parse(&token, &parts));
	assert_string_equal(parts.id, "0Az90Az90Az9");
	assert_memory_equal(parts.secret,
			    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ",
			    ACCESS_SECRET_LEN);
}

static void new_tokens_round_trip(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		CLEANUP(kt_secret_done) struct kt_secret token = {0};
		struct access_parts made;
		struct access_parts parsed;

		assert_int_equal(access_text_new(&token, &made), KT_OK);
		assert_true(access_text_parse(&token, &parsed));
		assert_string_equal(made.id, parsed.id);
		assert_ptr_equal(made.secret, parsed.secret);
	}
}

static void no_two_are_alike(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret one = {0};
	CLEANUP(kt_secret_done) struct kt_secret two = {0};
	struct access_parts first;
	struct access_parts second;

	(void)state;
	assert_int_equal(access_text_new(&one, &first), KT_OK);
	assert_int_equal(access_text_new(&two, &second), KT_OK);
	assert_string_not_equal(first.id, second.id);
	assert_memory_not_equal(first.secret, second.secret, ACCESS_SECRET_LEN);
}

/* Every byte at every place, and the CRC's own characters too. */
static void every_changed_character_is_refused(void **state)
{
	char text[sizeof(known)];
	struct access_parts parts;

	(void)state;
	for (size_t at = 0; at < ACCESS_TEXT_LEN; at++) {
		for (int byte = 0; byte < 256; byte++) {
			memcpy(text, known, sizeof(known));
			if (text[at] == (char)byte)
				continue;
			text[at] = (char)byte;
			assert_false(parses(text, ACCESS_TEXT_LEN, &parts));
		}
	}
}

static void swapped_neighbours_are_refused(void **state)
{
	char text[sizeof(known)];
	struct access_parts parts;

	(void)state;
	for (size_t at = 1; at < ACCESS_TEXT_LEN; at++) {
		memcpy(text, known, sizeof(known));
		if (text[at] == text[at - 1])
			continue;
		text[at] = known[at - 1];
		text[at - 1] = known[at];
		assert_false(parses(text, ACCESS_TEXT_LEN, &parts));
	}
}

static void other_lengths_are_refused(void **state)
{
	char text[2 * sizeof(known)] = {0};
	struct access_parts parts;

	(void)state;
	memcpy(text, known, sizeof(known) - 1);
	for (size_t len = 0; len < sizeof(text); len++)
		assert_int_equal(parses(text, len, &parts),
				 len == ACCESS_TEXT_LEN);
	text[ACCESS_TEXT_LEN] = '\n';
	assert_false(parses(text, ACCESS_TEXT_LEN + 1, &parts));
	assert_false(parses(text + 1, ACCESS_TEXT_LEN, &parts));
}

static void a_token_expires_at_its_time(void **state)
{
	struct access_row row = {.created = 1000, .expires = 2000};

	(void)state;
	assert_true(access_usable(&row, 1999));
	assert_false(access_usable(&row, 2000));
	assert_false(access_usable(&row, 2001));
	row.revoked = 1500;
	assert_false(access_usable(&row, 1400));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_token),
		cmocka_unit_test(new_tokens_round_trip),
		cmocka_unit_test(no_two_are_alike),
		cmocka_unit_test(every_changed_character_is_refused),
		cmocka_unit_test(swapped_neighbours_are_refused),
		cmocka_unit_test(other_lengths_are_refused),
		cmocka_unit_test(a_token_expires_at_its_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
