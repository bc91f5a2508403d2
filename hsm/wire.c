/*
 * The frame codec. Both ends use it, so that there is one place where a length
 * from another process is looked at.
 */
#include "hsm/wire.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/file.h"
#include "base/secret.h"

#define MAGIC 0x6b745257 /* "ktRW" */
#define VERSION 2
#define ROOM_MAX (2 * (WIRE_HEADER_LEN + WIRE_PAYLOAD_MAX))
#define ROOM_FIRST 4096
#define LENGTH_AT 8 /* in the header, behind magic, version and type */

void wire_done(struct wire *wire)
{
	free(wire->data);
	*wire = (struct wire){0};
}

void wire_clear(struct wire *wire)
{
	wire->len = 0;
	wire->at = 0;
	wire->start = 0;
	wire->failed = false;
}

static bool reserve(struct wire *wire, size_t more)
{
	size_t room = wire->room > 0 ? wire->room : ROOM_FIRST;
	uint8_t *data;

	if (more > ROOM_MAX || wire->len + more > ROOM_MAX)
		return false;
	while (room < wire->len + more)
		room *= 2;
	if (room == wire->room)
		return true;
	data = realloc(wire->data, room);
	if (data == NULL)
		return false;
	wire->data = data;
	wire->room = room;
	return true;
}

/* The next len bytes to be written; NULL when there is no room for them. */
static uint8_t *extend(struct wire *wire, size_t len)
{
	if (!wire->failed)
		wire->failed = !reserve(wire, len);
	if (wire->failed)
		return NULL;
	wire->len += len;
	return wire->data + wire->len - len;
}

static void header_put(uint8_t header[WIRE_HEADER_LEN], enum wire_type type,
		       size_t len)
{
	be32_put(header, MAGIC);
	be16_put(header + 4, VERSION);
	be16_put(header + 6, (uint16_t)type);
	be32_put(header + LENGTH_AT, (uint32_t)len);
}

/* The payload's length, when this is a header of ours. */
static enum kt_err header_check(const uint8_t header[WIRE_HEADER_LEN],
				size_t *ret)
{
	unsigned type = be16_get(header + 6);
	size_t len = be32_get(header + LENGTH_AT);

	if (be32_get(header) != MAGIC)
		return err_raise(KT_ERR_IO, "not a frame of keyturn");
	if (be16_get(header + 4) != VERSION)
		return err_raise(KT_ERR_IO, "a frame of version %u, not %u",
				 be16_get(header + 4), VERSION);
	if (type == 0 || type >= WIRE_TYPE_MAX_ || len > WIRE_PAYLOAD_MAX)
		return err_raise(KT_ERR_IO, "a frame of type %u, %zu bytes",
				 type, len);
	*ret = len;
	return KT_OK;
}

void wire_begin(struct wire *wire, enum wire_type type)
{
	uint8_t *header;

	wire->start = wire->len;
	header = extend(wire, WIRE_HEADER_LEN);
	if (header != NULL)
		header_put(header, type, 0);
}

void wire_put_u8(struct wire *wire, uint8_t value)
{
	wire_put_bytes(wire, &value, 1);
}

void wire_put_u32(struct wire *wire, uint32_t value)
{
	uint8_t *at = extend(wire, 4);

	if (at != NULL)
		be32_put(at, value);
}

void wire_put_u64(struct wire *wire, uint64_t value)
{
	uint8_t *at = extend(wire, 8);

	if (at != NULL)
		be64_put(at, value);
}

void wire_put_bytes(struct wire *wire, const void *data, size_t len)
{
	uint8_t *at = extend(wire, len);

	if (at != NULL && len > 0)
		memcpy(at, data, len);
}

static void put_counted(struct wire *wire, const void *data, uint16_t len)
{
	uint8_t *at = extend(wire, 2);

	if (at != NULL)
		be16_put(at, len);
	wire_put_bytes(wire, data, len);
}

void wire_put_blob(struct wire *wire, const struct blob *blob)
{
	assert(blob->len <= BLOB_MAX);
	put_counted(wire, blob->data, blob->len);
}

void wire_put_text(struct wire *wire, const char *text)
{
	put_counted(wire, text, (uint16_t)strnlen(text, UINT16_MAX));
}

enum kt_err wire_end(struct wire *wire)
{
	size_t len = wire->len - wire->start - WIRE_HEADER_LEN;

	if (wire->failed || len > WIRE_PAYLOAD_MAX) {
		wire->len = wire->start;
		wire->failed = false;
		return err_memory();
	}
	be32_put(wire->data + wire->start + LENGTH_AT, (uint32_t)len);
	return KT_OK;
}

bool wire_unsent(const struct wire *wire)
{
	return wire->at < wire->len;
}

enum kt_err wire_send(int fd, struct wire *wire)
{
	while (wire_unsent(wire)) {
		ssize_t n = send(fd, wire->data + wire->at,
				 wire->len - wire->at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return KT_OK;
		if (n < 0)
			return err_raise(KT_ERR_IO, "cannot send: %s",
					 strerror(errno));
		wire->at += (size_t)n;
	}
	wire_clear(wire);
	return KT_OK;
}

/* Bytes that the frame lacks: first those of its header. */
static enum kt_err missing(const struct wire *wire, size_t *ret)
{
	size_t len;

	if (wire->len < WIRE_HEADER_LEN) {
		*ret = WIRE_HEADER_LEN - wire->len;
		return KT_OK;
	}
	TRY(header_check(wire->data, &len));
	*ret = WIRE_HEADER_LEN + len - wire->len;
	return KT_OK;
}

/* One recv of at most len bytes; 0 and WIRE_PART or WIRE_END when there are
 * none. */
static enum kt_err receive_some(int fd, struct wire *wire, size_t len,
				enum wire_state *ret)
{
	ssize_t n;

	if (!reserve(wire, len))
		return err_memory();
	do {
		n = recv(fd, wire->data + wire->len, len, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno != EAGAIN)
		return err_raise(KT_ERR_IO, "cannot receive: %s",
				 strerror(errno));
	if (n == 0 && wire->len > 0)
		return err_raise(KT_ERR_IO, "broken off inside a frame");
	if (n <= 0)
		*ret = n == 0 ? WIRE_END : WIRE_PART;
	else
		wire->len += (size_t)n;
	return KT_OK;
}

enum kt_err wire_receive(int fd, struct wire *wire, enum wire_state *ret)
{
	enum wire_state state = WIRE_WHOLE;
	size_t len;

	TRY(missing(wire, &len));
	while (len > 0 && state == WIRE_WHOLE) {
		TRY(receive_some(fd, wire, len, &state));
		TRY(missing(wire, &len));
	}
	if (state == WIRE_WHOLE)
		wire->at = WIRE_HEADER_LEN;
	*ret = state;
	return KT_OK;
}

enum wire_type wire_type(const struct wire *wire)
{
	assert(wire->len >= WIRE_HEADER_LEN);
	return (enum wire_type)be16_get(wire->data + 6);
}

size_t wire_left(const struct wire *wire)
{
	return wire->len - wire->at;
}

/* The next len bytes to be read; NULL when they are not there. */
static const uint8_t *take(struct wire *wire, size_t len)
{
	if (len > wire_left(wire))
		wire->failed = true;
	if (wire->failed)
		return NULL;
	wire->at += len;
	return wire->data + wire->at - len;
}

uint8_t wire_get_u8(struct wire *wire)
{
	const uint8_t *at = take(wire, 1);

	return at != NULL ? *at : 0;
}

uint32_t wire_get_u32(struct wire *wire)
{
	const uint8_t *at = take(wire, 4);

	return at != NULL ? be32_get(at) : 0;
}

uint64_t wire_get_u64(struct wire *wire)
{
	const uint8_t *at = take(wire, 8);

	return at != NULL ? be64_get(at) : 0;
}

bool wire_get_bool(struct wire *wire)
{
	uint8_t value = wire_get_u8(wire);

	if (value > 1)
		wire->failed = true;
	return value == 1;
}

void wire_get_bytes(struct wire *wire, void *ret, size_t len)
{
	const uint8_t *at = take(wire, len);

	if (at != NULL)
		memcpy(ret, at, len);
	else
		memset(ret, 0, len);
}

/* A length and that many bytes, at most max. */
static const uint8_t *take_counted(struct wire *wire, size_t max, size_t *ret)
{
	const uint8_t *at = take(wire, 2);
	size_t len = at != NULL ? be16_get(at) : 0;

	if (len > max)
		wire->failed = true;
	at = take(wire, len);
	*ret = at != NULL ? len : 0;
	return at;
}

void wire_get_blob(struct wire *wire, struct blob *ret)
{
	size_t len;
	const uint8_t *at = take_counted(wire, BLOB_MAX, &len);

	*ret = (struct blob){.len = (uint16_t)len};
	if (at != NULL)
		memcpy(ret->data, at, len);
}

void wire_get_text(struct wire *wire, char *ret, size_t size)
{
	size_t len;
	const uint8_t *at = take_counted(wire, size - 1, &len);

	if (at != NULL && memchr(at, '\0', len) != NULL) {
		wire->failed = true;
		len = 0;
	}
	if (at != NULL)
		memcpy(ret, at, len);
	ret[len] = '\0';
}

enum kt_err wire_finish(const struct wire *wire)
{
	if (wire->failed || wire_left(wire) > 0)
		return err_raise(KT_ERR_IO, "malformed frame");
	return KT_OK;
}

/* Whole or not at all: a fresh socket has room for a header and a PIN. */
static enum kt_err send_short(int fd, const void *data, size_t len)
{
	if (send(fd, data, len, MSG_NOSIGNAL) != (ssize_t)len)
		return err_raise(KT_ERR_IO, "cannot send: %s", strerror(errno));
	return KT_OK;
}

enum kt_err wire_send_pin(int fd, const struct kt_secret *pin)
{
	uint8_t header[WIRE_HEADER_LEN];

	if (pin->len > WIRE_PIN_MAX)
		return err_raise(KT_ERR_USAGE, "a PIN of more than %d bytes",
				 WIRE_PIN_MAX);
	header_put(header, WIRE_PIN, pin->len);
	TRY(send_short(fd, header, sizeof(header)));
	return pin->len > 0 ? send_short(fd, pin->data, pin->len) : KT_OK;
}

enum kt_err wire_receive_pin(int fd, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};
	uint8_t header[WIRE_HEADER_LEN];
	size_t len;

	TRY(fd_read_all(fd, header, sizeof(header)));
	TRY(header_check(header, &len));
	if (be16_get(header + 6) != WIRE_PIN || len > WIRE_PIN_MAX)
		return err_raise(KT_ERR_IO, "malformed frame");
	TRY(secret_new(len, &pin));
	TRY(fd_read_all(fd, pin.data, len));
	*ret = pin;
	pin = (struct kt_secret){0};
	return KT_OK;
}
