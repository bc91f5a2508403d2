/*
 * Bytes in fixed room, big-endian numbers, hexadecimal and base62.
 */
#ifndef BASE_BYTES_H
#define BASE_BYTES_H

#include <keyturn/types.h>

#define BLOB_MAX 512

/* A wrapped key, a canary, a MAC: short bytes that need no heap. */
struct blob {
	uint16_t len;
	uint8_t data[BLOB_MAX];
};

/* KT_ERR_INTEGRITY when len is over BLOB_MAX. */
enum kt_err blob_set(struct blob *blob, const void *data, size_t len);

/* Constant time for equal lengths. */
bool blob_equal(const struct blob *a, const struct blob *b);

void be16_put(uint8_t *at, uint16_t value);
void be32_put(uint8_t *at, uint32_t value);
void be64_put(uint8_t *at, uint64_t value);
uint16_t be16_get(const uint8_t *at);
uint32_t be32_get(const uint8_t *at);
uint64_t be64_get(const uint8_t *at);

/* ret has room for 2 * len + 1. */
void hex_encode(const uint8_t *data, size_t len, char *ret);

/* Exactly 2 * len digits of either case, then the end. */
bool hex_decode(const char *text, uint8_t *ret, size_t len);

/* The bytes as one big-endian number in digits [0-9A-Za-z], padded with '0'
 * to width; ret has room for width + 1. len is at most 64. */
void base62_encode(const uint8_t *data, size_t len, char *ret, size_t width);

bool id_is_zero(const struct kt_id *id);
bool id_equal(const struct kt_id *a, const struct kt_id *b);

/* 16 bytes of getrandom(2). */
enum kt_err id_random(struct kt_id *ret);

/* UUIDv7 (RFC 9562): sorts by time of creation, and within one process and
 * millisecond by order of creation. */
enum kt_err id_new(struct kt_id *ret);

/* getrandom(2), whole. */
enum kt_err random_bytes(void *data, size_t len);

#endif
