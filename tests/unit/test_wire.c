/*
 * Frames over a real socket pair: whole, in pieces, malformed, broken off.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/secret.h"
#include "hsm/wire.h"

struct pair {
	int ours, theirs; /* theirs is nonblocking */
};

static void pair_close(struct pair *pair)
{
	fd_close(&pair->ours);
	fd_close(&pair->theirs);
}

static struct pair pair_open(void)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	assert_int_equal(fcntl(fds[1], F_SETFL, O_NONBLOCK), 0);
	return (struct pair){fds[0], fds[1]};
}

static const uint8_t bytes[5] = {9, 8, 7, 6, 5};

static void write_sample(struct wire *wire)
{
	struct blob blob = {.len = 3, .data = {1, 2, 3}};

	wire_begin(wire, WIRE_BATCH);
	wire_put_u8(wire, 1);
	wire_put_u8(wire, 200);
	wire_put_u32(wire, 0xdeadbeef);
	wire_put_u64(wire, 0x0123456789abcdef);
	wire_put_blob(wire, &blob);
	wire_put_text(wire, "text");
	wire_put_bytes(wire, bytes, sizeof(bytes));
	assert_int_equal(wire_end(wire), KT_OK);
}

static void expect_sample(struct wire *wire)
{
	struct blob blob;
	char text[5];
	uint8_t got[5];

	assert_int_equal(wire_type(wire), WIRE_BATCH);
	assert_true(wire_get_bool(wire));
	assert_int_equal(wire_get_u8(wire), 200);
	assert_int_equal(wire_get_u32(wire), 0xdeadbeef);
	assert_true(wire_get_u64(wire) == 0x0123456789abcdef);
	wire_get_blob(wire, &blob);
	assert_int_equal(blob.len, 3);
	assert_memory_equal(blob.data, "\1\2\3", 3);
	wire_get_text(wire, text, sizeof(text));
	assert_string_equal(text, "text");
	wire_get_bytes(wire, got, sizeof(got));
	assert_memory_equal(got, bytes, sizeof(bytes));
	assert_int_equal(wire_finish(wire), KT_OK);
}

static void frames_arrive_one_by_one(void **state)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(wire_done) struct wire out = {0};
	CLEANUP(wire_done) struct wire in = {0};
	enum wire_state got;

	(void)state;
	write_sample(&out);
	write_sample(&out);
	assert_true(wire_unsent(&out));
	assert_int_equal(wire_send(pair.ours, &out), KT_OK);
	assert_false(wire_unsent(&out));
	for (int i = 0; i < 2; i++) {
		wire_clear(&in);
		assert_int_equal(wire_receive(pair.theirs, &in, &got), KT_OK);
		assert_int_equal(got, WIRE_WHOLE);
		expect_sample(&in);
	}
	wire_clear(&in);
	assert_int_equal(wire_receive(pair.theirs, &in, &got), KT_OK);
	assert_int_equal(got, WIRE_PART);
	fd_close(&pair.ours);
	assert_int_equal(wire_receive(pair.theirs, &in, &got), KT_OK);
	assert_int_equal(got, WIRE_END);
}

static void a_frame_may_come_byte_by_byte(void **state)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(wire_done) struct wire out = {0};
	CLEANUP(wire_done) struct wire in = {0};
	enum wire_state got;

	(void)state;
	write_sample(&out);
	for (size_t i = 0; i < out.len; i++) {
		assert_int_equal(write(pair.ours, out.data + i, 1), 1);
		assert_int_equal(wire_receive(pair.theirs, &in, &got), KT_OK);
		assert_int_equal(got, i + 1 < out.len ? WIRE_PART : WIRE_WHOLE);
	}
	expect_sample(&in);
}

static void a_full_socket_takes_the_rest_later(void **state)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(wire_done) struct wire out = {0};
	CLEANUP(wire_done) struct wire in = {0};
	enum wire_state got = WIRE_PART;
	const size_t len = (size_t)8 << 20;
	uint8_t *large = calloc(1, len);

	(void)state;
	assert_non_null(large);
	assert_int_equal(fcntl(pair.ours, F_SETFL, O_NONBLOCK), 0);
	wire_begin(&out, WIRE_RESULT);
	wire_put_bytes(&out, large, len);
	assert_int_equal(wire_end(&out), KT_OK);
	assert_int_equal(wire_send(pair.ours, &out), KT_OK);
	assert_true(wire_unsent(&out));
	while (got == WIRE_PART) {
		assert_int_equal(wire_send(pair.ours, &out), KT_OK);
		assert_int_equal(wire_receive(pair.theirs, &in, &got), KT_OK);
	}
	assert_int_equal(got, WIRE_WHOLE);
	assert_int_equal(wire_left(&in), len);
	free(large);
}

/* Sends a sample with the header byte at changed to value. */
static enum kt_err receive_changed(size_t at, uint8_t value)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(wire_done) struct wire out = {0};
	CLEANUP(wire_done) struct wire in = {0};
	enum wire_state got;

	write_sample(&out);
	out.data[at] = value;
	assert_int_equal(wire_send(pair.ours, &out), KT_OK);
	return wire_receive(pair.theirs, &in, &got);
}

static void foreign_headers_are_refused(void **state)
{
	(void)state;
	assert_int_equal(receive_changed(0, 'X'), KT_ERR_IO);
	assert_int_equal(receive_changed(3, 0), KT_ERR_IO);
	assert_int_equal(receive_changed(5, 1), KT_ERR_IO);
	assert_int_equal(receive_changed(7, 0), KT_ERR_IO);
	assert_int_equal(receive_changed(7, WIRE_TYPE_MAX_), KT_ERR_IO);
	assert_int_equal(receive_changed(8, 0xff), KT_ERR_IO);
	assert_int_equal(receive_changed(8, 1), KT_ERR_IO);
}

static void an_end_inside_a_frame_is_an_error(void **state)
{
	(void)state;
	for (size_t len = 1; len < 40; len += 13) {
		CLEANUP(pair_close) struct pair pair = pair_open();
		CLEANUP(wire_done) struct wire out = {0};
		CLEANUP(wire_done) struct wire in = {0};
		enum wire_state got;

		write_sample(&out);
		out.len = len;
		assert_int_equal(wire_send(pair.ours, &out), KT_OK);
		fd_close(&pair.ours);
		assert_int_equal(wire_receive(pair.theirs, &in, &got),
				 KT_ERR_IO);
	}
}

static void a_closed_peer_is_an_error_and_no_signal(void **state)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(wire_done) struct wire out = {0};
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};

	(void)state;
	fd_close(&pair.theirs);
	write_sample(&out);
	assert_int_equal(wire_send(pair.ours, &out), KT_ERR_IO);
	assert_int_equal(kt_secret_copy("1234", 4, &pin), KT_OK);
	assert_int_equal(wire_send_pin(pair.ours, &pin), KT_ERR_IO);
}

/* Puts these bytes where a received payload lies. */
static struct wire payload(const void *data, size_t len)
{
	struct wire wire = {0};

	wire_begin(&wire, WIRE_HELLO);
	wire_put_bytes(&wire, data, len);
	assert_int_equal(wire_end(&wire), KT_OK);
	wire.at = WIRE_HEADER_LEN;
	return wire;
}

static void what_is_not_there_reads_as_nothing(void **state)
{
	CLEANUP(wire_done) struct wire wire = payload("\7\7\7", 3);
	struct blob blob = {.len = 9};
	char text[8] = "before";
	uint8_t got[2] = {1, 1};

	(void)state;
	assert_int_equal(wire_get_u32(&wire), 0);
	assert_int_equal(wire_get_u8(&wire), 0);
	assert_true(wire_get_u64(&wire) == 0);
	wire_get_bytes(&wire, got, 2);
	assert_int_equal(got[0] | got[1], 0);
	wire_get_blob(&wire, &blob);
	assert_int_equal(blob.len, 0);
	wire_get_text(&wire, text, sizeof(text));
	assert_string_equal(text, "");
	assert_int_equal(wire_finish(&wire), KT_ERR_IO);
}

static void lengths_are_not_believed(void **state)
{
	CLEANUP(wire_done) struct wire too_long = payload("\0\4abc", 5);
	CLEANUP(wire_done) struct wire no_room = payload("\0\4abcd", 6);
	CLEANUP(wire_done) struct wire cut_text = payload("\0\3a\0c", 5);
	CLEANUP(wire_done) struct wire odd_bool = payload("\2", 1);
	CLEANUP(wire_done) struct wire left_over = payload("\1\1", 2);
	struct blob blob;
	char text[4];

	(void)state;
	wire_get_blob(&too_long, &blob);
	assert_int_equal(wire_finish(&too_long), KT_ERR_IO);
	wire_get_text(&no_room, text, sizeof(text));
	assert_int_equal(wire_finish(&no_room), KT_ERR_IO);
	wire_get_text(&cut_text, text, sizeof(text));
	assert_int_equal(wire_finish(&cut_text), KT_ERR_IO);
	(void)wire_get_bool(&odd_bool);
	assert_int_equal(wire_finish(&odd_bool), KT_ERR_IO);
	assert_true(wire_get_bool(&left_over));
	assert_int_equal(wire_finish(&left_over), KT_ERR_IO);
}

static void a_blob_over_its_room_is_refused(void **state)
{
	uint8_t data[2 + BLOB_MAX + 1] = {(BLOB_MAX + 1) >> 8,
					  (BLOB_MAX + 1) & 0xff};
	CLEANUP(wire_done) struct wire wire = payload(data, sizeof(data));
	struct blob blob;

	(void)state;
	wire_get_blob(&wire, &blob);
	assert_int_equal(blob.len, 0);
	assert_int_equal(wire_finish(&wire), KT_ERR_IO);
}

static void a_frame_without_room_is_taken_back(void **state)
{
	CLEANUP(wire_done) struct wire out = {0};
	const size_t len = WIRE_PAYLOAD_MAX + 1;
	uint8_t *large = calloc(1, len);
	size_t before;

	(void)state;
	assert_non_null(large);
	write_sample(&out);
	before = out.len;
	wire_begin(&out, WIRE_RESULT);
	wire_put_bytes(&out, large, len);
	assert_int_equal(wire_end(&out), KT_ERR_MEMORY);
	assert_int_equal(out.len, before);
	out.at = WIRE_HEADER_LEN;
	expect_sample(&out);
	free(large);
}

static void a_pin_goes_from_heap_to_heap(void **state)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};
	CLEANUP(kt_secret_done) struct kt_secret got = {0};
	CLEANUP(kt_secret_done) struct kt_secret large = {0};

	(void)state;
	assert_int_equal(kt_secret_copy("12\n34", 5, &pin), KT_OK);
	assert_int_equal(wire_send_pin(pair.ours, &pin), KT_OK);
	assert_int_equal(wire_receive_pin(pair.theirs, &got), KT_OK);
	assert_true(secret_equal(&pin, &got));
	assert_int_equal(secret_new(WIRE_PIN_MAX + 1, &large), KT_OK);
	assert_int_equal(wire_send_pin(pair.ours, &large), KT_ERR_USAGE);
}

static void a_pin_frame_is_checked(void **state)
{
	CLEANUP(pair_close) struct pair pair = pair_open();
	CLEANUP(wire_done) struct wire out = {0};
	CLEANUP(kt_secret_done) struct kt_secret got = {0};

	(void)state;
	write_sample(&out);
	assert_int_equal(wire_send(pair.ours, &out), KT_OK);
	assert_int_equal(wire_receive_pin(pair.theirs, &got), KT_ERR_IO);
	assert_null(got.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_arrive_one_by_one),
		cmocka_unit_test(a_frame_may_come_byte_by_byte),
		cmocka_unit_test(a_full_socket_takes_the_rest_later),
		cmocka_unit_test(foreign_headers_are_refused),
		cmocka_unit_test(an_end_inside_a_frame_is_an_error),
		cmocka_unit_test(a_closed_peer_is_an_error_and_no_signal),
		cmocka_unit_test(what_is_not_there_reads_as_nothing),
		cmocka_unit_test(lengths_are_not_believed),
		cmocka_unit_test(a_blob_over_its_room_is_refused),
		cmocka_unit_test(a_frame_without_room_is_taken_back),
		cmocka_unit_test(a_pin_goes_from_heap_to_heap),
		cmocka_unit_test(a_pin_frame_is_checked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
