/*
 * Frames as they come out of a socket, whole or in two parts, from a peer that
 * then hangs up; and the first frame of all, the PIN's.
 */
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "fuzz.h"
#include "hsm/wire.h"

struct pair {
	int ours, theirs;
};

static void pair_done(struct pair *pair)
{
	fd_close(&pair->ours);
	fd_close(&pair->theirs);
}

static struct pair pair_new(int flags)
{
	int fd[2];

	must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0, fd) ==
	     0);
	return (struct pair){fd[0], fd[1]};
}

static void say(const struct pair *pair, const uint8_t *data, size_t size)
{
	if (size > 0)
		must(send(pair->theirs, data, size, MSG_NOSIGNAL) ==
		     (ssize_t)size);
}

/* The length that a good header announces; false: it is none. */
static bool header(const uint8_t *data, size_t *ret)
{
	unsigned type = be16_get(data + 6);

	*ret = be32_get(data + 8);
	return memcmp(data, "ktRW\0\2", 6) == 0 && type >= 1 && type <= 6 &&
	       *ret <= WIRE_PAYLOAD_MAX;
}

/* One value; its kind is the byte in front of it. */
static void read_value(struct wire *wire)
{
	struct blob blob;
	char text[16];

	switch (wire_get_u8(wire) % 6) {
	case 0:
		(void)wire_get_bool(wire);
		break;
	case 1:
		(void)wire_get_u32(wire);
		break;
	case 2:
		(void)wire_get_u64(wire);
		break;
	case 3:
		wire_get_blob(wire, &blob);
		must(blob.len <= BLOB_MAX);
		break;
	case 4:
		wire_get_text(wire, text, sizeof(text));
		must(strlen(text) < sizeof(text));
		break;
	default:
		wire_get_bytes(wire, text, sizeof(text));
		break;
	}
	must(wire->at <= wire->len);
}

static void read_frame(struct wire *wire)
{
	must(wire_type(wire) > 0 && wire_type(wire) < WIRE_TYPE_MAX_);
	while (wire_left(wire) > 0 && !wire->failed)
		read_value(wire);
	must((wire_finish(wire) == KT_OK) == !wire->failed);
}

/* What the state must be when these bytes have arrived. */
static void check(enum kt_err err, enum wire_state state,
		  const struct wire *wire, const uint8_t *data, size_t size,
		  bool hung_up)
{
	size_t len;

	if (size < WIRE_HEADER_LEN ||
	    (header(data, &len) && size < WIRE_HEADER_LEN + len)) {
		if (hung_up && size > 0)
			must(err == KT_ERR_IO);
		else
			must(err == KT_OK &&
			     state == (hung_up ? WIRE_END : WIRE_PART));
	} else if (!header(data, &len)) {
		must(err == KT_ERR_IO);
	} else {
		must(err == KT_OK && state == WIRE_WHOLE);
		must(wire->len == WIRE_HEADER_LEN + len);
		must(memcmp(wire->data, data, wire->len) == 0);
	}
}

static void frame(const uint8_t *data, size_t size, size_t split)
{
	CLEANUP(pair_done) struct pair pair = pair_new(SOCK_NONBLOCK);
	CLEANUP(wire_done) struct wire wire = {0};
	enum wire_state state = WIRE_PART;
	enum kt_err err;

	say(&pair, data, split);
	err = wire_receive(pair.ours, &wire, &state);
	check(err, state, &wire, data, split, false);
	if (err == KT_OK && state == WIRE_PART) {
		say(&pair, data + split, size - split);
		fd_close(&pair.theirs);
		err = wire_receive(pair.ours, &wire, &state);
		check(err, state, &wire, data, size, true);
	}
	if (err == KT_OK && state == WIRE_WHOLE)
		read_frame(&wire);
	else
		must(error_lacks("~"));
}

static void pin(const uint8_t *data, size_t size)
{
	CLEANUP(pair_done) struct pair pair = pair_new(0);
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};
	size_t len;

	say(&pair, data, size);
	fd_close(&pair.theirs);
	if (wire_receive_pin(pair.ours, &pin) != KT_OK) {
		must(pin.data == NULL && error_lacks("~"));
		return;
	}
	must(header(data, &len) && be16_get(data + 6) == WIRE_PIN);
	must(pin.len == len && len <= WIRE_PIN_MAX);
	must(memcmp(pin.data, data + WIRE_HEADER_LEN, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	size_t split = input_u8(&input);

	if (split > input.left)
		split = input.left;
	frame(input.at, input.left, split);
	pin(input.at, input.left);
	return 0;
}
