/*
 * Text with bounds, times for people, and the error that carries them.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/text.h"

static void what_does_not_fit_is_refused(void **state)
{
	char room[8] = "before";

	(void)state;
	assert_int_equal(text_copy(room, sizeof(room), "1234567", "name"),
			 KT_OK);
	assert_string_equal(room, "1234567");
	assert_int_equal(text_copy(room, sizeof(room), "12345678", "name"),
			 KT_ERR_USAGE);
	assert_string_equal(room, "1234567");
	assert_string_equal(kt_err_detail(),
			    "name is too long (8 bytes, at most 7)");
	assert_int_equal(text_format(room, sizeof(room), "%d", 1234567), KT_OK);
	assert_int_equal(text_format(room, sizeof(room), "%d", 12345678),
			 KT_ERR_USAGE);
	text_cut(room, sizeof(room), "12345678");
	assert_string_equal(room, "1234567");
}

static void fields_lose_their_padding(void **state)
{
	char room[9];

	(void)state;
	text_unpad(room, sizeof(room), (const unsigned char *)"ab c    ", 8);
	assert_string_equal(room, "ab c");
	text_unpad(room, sizeof(room), (const unsigned char *)"abcdefgh", 8);
	assert_string_equal(room, "abcdefgh");
	text_unpad(room, sizeof(room), (const unsigned char *)"ab\0\0    ", 8);
	assert_string_equal(room, "ab");
	text_unpad(room, sizeof(room), (const unsigned char *)"        ", 8);
	assert_string_equal(room, "");
}

static void numbers_are_whole_and_within(void **state)
{
	static const char *const bad[] = {
		"",    " 1", "1 ",  "1x",
		"0x1", "-",  "1.0", "99999999999999999999"};
	long long n = -1;

	(void)state;
	assert_int_equal(text_to_int("7", 1, 10, "jobs", &n), KT_OK);
	assert_int_equal(n, 7);
	assert_int_equal(text_to_int("-7", -10, 10, "jobs", &n), KT_OK);
	assert_int_equal(n, -7);
	assert_int_equal(text_to_int("0", 1, 10, "jobs", &n), KT_ERR_USAGE);
	assert_int_equal(text_to_int("11", 1, 10, "jobs", &n), KT_ERR_USAGE);
	assert_string_equal(kt_err_detail(),
			    "jobs: 11 is not between 1 and 10");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(text_to_int(bad[i], 0, 100, "jobs", &n),
				 KT_ERR_USAGE);
	assert_int_equal(n, -7);
}

static void words_have_spaces_between_them(void **state)
{
	const char *text = "  one two   ";
	char room[4] = "old";

	(void)state;
	assert_true(text_word(&text, room, sizeof(room)));
	assert_string_equal(room, "one");
	assert_true(text_word(&text, room, sizeof(room)));
	assert_string_equal(room, "two");
	assert_false(text_word(&text, room, sizeof(room)));
	text = "four";
	assert_false(text_word(&text, room, sizeof(room)));
	assert_string_equal(room, "two");
	assert_string_equal(text, "four");
}

static void durations_have_a_unit(void **state)
{
	static const struct {
		const char *text;
		long long seconds;
	} good[] = {{"0", 0},       {"90s", 90},      {"15m", 900},
		    {"24h", 86400}, {"30d", 2592000}, {"0h", 0}};
	static const char *const bad[] = {"",   "5",   "h",   "-1h",
					  "1w", "1 h", "1hh", "99999999999d"};
	long long seconds = -1;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(
			text_to_duration(good[i].text, "grace", &seconds),
			KT_OK);
		assert_int_equal(seconds, good[i].seconds);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(text_to_duration(bad[i], "grace", &seconds),
				 KT_ERR_USAGE);
	assert_int_equal(seconds, 0);
}

static void times_are_rfc_3339(void **state)
{
	char text[TIME_TEXT_LEN + 1];
	char span[DURATION_TEXT_LEN + 1];

	(void)state;
	time_format(1769846700, text);
	assert_string_equal(text, "2026-01-31T08:05:00Z");
	time_format(0, text);
	assert_string_equal(text, "-");
	duration_format(59, span);
	assert_string_equal(span, "59 s");
	duration_format(3600, span);
	assert_string_equal(span, "1 h");
	duration_format(3 * 86400 + 5, span);
	assert_string_equal(span, "3 d");
	/* a time ahead of a clock that was set back */
	duration_format(-3 * 86400, span);
	assert_string_equal(span, "-3 d");
	duration_format(0, span);
	assert_string_equal(span, "0 s");
	duration_format_exact(90, span);
	assert_string_equal(span, "90 s");
	duration_format_exact(36 * 3600, span);
	assert_string_equal(span, "36 h");
	duration_format_exact(7 * 86400, span);
	assert_string_equal(span, "7 d");
	duration_format_exact(0, span);
	assert_string_equal(span, "0 s");
	assert_true(clock_now() > 1700000000);
	assert_true(clock_monotonic_ms() <= clock_monotonic_ms());
}

static void lines_break_at_blanks(void **state)
{
	(void)state;
	assert_int_equal(text_fold("", 8), 0);
	assert_int_equal(text_fold("all of it", 9), 9);
	assert_int_equal(text_fold("one two three", 7), 7);
	assert_int_equal(text_fold("one two three", 8), 7);
	assert_int_equal(text_fold("one two three", 6), 3);
	assert_int_equal(text_fold("unbreakable word", 5), 11);
	assert_int_equal(text_fold("unbreakable", 5), 11);
}

static void errors_are_one_line(void **state)
{
	(void)state;
	assert_int_equal(err_raise(KT_ERR_DENIED, "no\n%s\x1b[1m", "project"),
			 KT_ERR_DENIED);
	assert_string_equal(kt_err_detail(), "no?project?[1m");
	assert_string_equal(kt_err_hint(), "");
	assert_int_equal(err_hint(KT_ERR_DENIED, "ask\ragain"), KT_ERR_DENIED);
	assert_string_equal(kt_err_hint(), "ask?again");
	assert_int_equal(err_prefix(KT_ERR_DENIED, "get '%s'", "a/b"),
			 KT_ERR_DENIED);
	assert_string_equal(kt_err_detail(), "get 'a/b': no?project?[1m");
	assert_string_equal(kt_err_hint(), "ask?again");
}

static void errors_survive_cleanup_work(void **state)
{
	struct err_saved saved;

	(void)state;
	(void)!err_hint(err_raise(KT_ERR_PIN, "first"), "help");
	err_save(KT_ERR_PIN, &saved);
	assert_int_equal(err_raise(KT_ERR_IO, "second"), KT_ERR_IO);
	assert_int_equal(err_restore(&saved), KT_ERR_PIN);
	assert_string_equal(kt_err_detail(), "first");
	assert_string_equal(kt_err_hint(), "help");
}

static void system_errors_keep_their_class(void **state)
{
	(void)state;
	errno = ENOENT;
	assert_int_equal(err_errno("open %s", "x"), KT_ERR_NOT_FOUND);
	assert_string_equal(kt_err_detail(),
			    "open x: No such file or directory");
	errno = EEXIST;
	assert_int_equal(err_errno("open"), KT_ERR_EXISTS);
	errno = ENOSPC;
	assert_int_equal(err_errno("write"), KT_ERR_IO);
}

static void every_error_has_name_and_status(void **state)
{
	(void)state;
	for (unsigned i = 0; i < KT_ERR_MAX_; i++) {
		enum kt_err err = (enum kt_err)i;

		assert_non_null(kt_err_name(err));
		assert_true((err == KT_OK) == (kt_err_exit_status(err) == 0));
	}
	assert_string_equal(kt_err_name((enum kt_err)999), "unknown");
	assert_int_equal(kt_err_exit_status(KT_ERR_PIN), 7);
	assert_int_equal(kt_err_exit_status(KT_ERR_INTEGRITY), 9);
	assert_int_equal(kt_err_exit_status(KT_ERR_INTERRUPTED), 130);
}

static void a_count_has_its_noun(void **state)
{
	(void)state;
	assert_string_equal(text_counted(0, "row", "rows").text, "0 rows");
	assert_string_equal(text_counted(1, "row", "rows").text, "1 row");
	assert_string_equal(text_counted(2, "entry", "entries").text,
			    "2 entries");
	assert_string_equal(text_counted(-1, "row is", "rows are").text,
			    "-1 rows are");
	assert_string_equal(text_counted(INT64_MIN, "", "").text,
			    "-9223372036854775808 ");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(fields_lose_their_padding),
		cmocka_unit_test(numbers_are_whole_and_within),
		cmocka_unit_test(words_have_spaces_between_them),
		cmocka_unit_test(durations_have_a_unit),
		cmocka_unit_test(times_are_rfc_3339),
		cmocka_unit_test(lines_break_at_blanks),
		cmocka_unit_test(errors_are_one_line),
		cmocka_unit_test(errors_survive_cleanup_work),
		cmocka_unit_test(system_errors_keep_their_class),
		cmocka_unit_test(every_error_has_name_and_status),
		cmocka_unit_test(a_count_has_its_noun),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
