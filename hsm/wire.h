/*
 * Frames between keyturn and its workers: magic, version, type and length,
 * then numbers in big-endian order and bytes behind their length. A struct
 * wire is room for frames, written, sent, received or read. Trouble sticks to
 * it, so that a reader or writer asks once, at the end; no length is believed
 * before it was checked against what is there.
 */
#ifndef HSM_WIRE_H
#define HSM_WIRE_H

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/err.h"

enum wire_type {
	WIRE_PIN = 1, /* to the worker, once, first */
	WIRE_HELLO,   /* to the worker, once */
	WIRE_READY,   /* logged in, keys found */
	WIRE_BATCH,   /* to the worker */
	WIRE_RESULT,  /* of a batch */
	WIRE_ERROR,   /* instead of WIRE_READY or WIRE_RESULT */
	WIRE_TYPE_MAX_
};

#define WIRE_HEADER_LEN 12
#define WIRE_PAYLOAD_MAX ((size_t)12 << 20) /* 10,000 pairs of full blobs */
#define WIRE_PIN_MAX 1024

struct wire {
	uint8_t *data;
	size_t room;
	size_t len;   /* bytes that are there */
	size_t at;    /* next to be sent or read */
	size_t start; /* of the frame being written */
	bool failed;
};

void wire_done(struct wire *wire);

/* Empties it and keeps the room. */
void wire_clear(struct wire *wire);

/* Writing: begin, put..., end. Frames queue up behind each other. When a frame
 * has no room, wire_end() takes it back and gives KT_ERR_MEMORY. */
void wire_begin(struct wire *wire, enum wire_type type);
void wire_put_u8(struct wire *wire, uint8_t value);
void wire_put_u32(struct wire *wire, uint32_t value);
void wire_put_u64(struct wire *wire, uint64_t value);
void wire_put_bytes(struct wire *wire, const void *data, size_t len);
void wire_put_blob(struct wire *wire, const struct blob *blob);
void wire_put_text(struct wire *wire, const char *text); /* cut at 65,535 */
enum kt_err wire_end(struct wire *wire);

bool wire_unsent(const struct wire *wire);

/* Sends until all is sent or a nonblocking socket is full. Never raises
 * SIGPIPE: a closed peer is KT_ERR_IO. */
enum kt_err wire_send(int fd, struct wire *wire);

enum wire_state {
	WIRE_PART,  /* a nonblocking socket has no more for now */
	WIRE_WHOLE, /* a frame is there, to be read and cleared */
	WIRE_END,   /* the peer closed between two frames */
};

/* Receives one frame into a cleared wire, over as many calls as it takes.
 * KT_ERR_IO when the peer does not speak this protocol or breaks off. */
enum kt_err wire_receive(int fd, struct wire *wire, enum wire_state *ret);

/* Reading a whole frame. What is not there reads as 0 or empty;
 * wire_finish() then gives KT_ERR_IO, as it does when bytes are left over. */
enum wire_type wire_type(const struct wire *wire);
size_t wire_left(const struct wire *wire);
uint8_t wire_get_u8(struct wire *wire);
uint32_t wire_get_u32(struct wire *wire);
uint64_t wire_get_u64(struct wire *wire);
bool wire_get_bool(struct wire *wire);
void wire_get_bytes(struct wire *wire, void *ret, size_t len);
void wire_get_blob(struct wire *wire, struct blob *ret);
void wire_get_text(struct wire *wire, char *ret, size_t size);
enum kt_err wire_finish(const struct wire *wire);

/* The PIN never lies in a wire: it goes from the secure heap to the socket and
 * from there to the secure heap. */
enum kt_err wire_send_pin(int fd, const struct kt_secret *pin);
enum kt_err wire_receive_pin(int fd, struct kt_secret *ret);

#endif
