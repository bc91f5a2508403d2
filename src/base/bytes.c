/*
 * Encoders of bytes. All of them work on lengths, none looks for a NUL.
 */
#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include <openssl/crypto.h>

#include "base/err.h"

enum kt_err blob_set(struct blob *blob, const void *data, size_t len)
{
	if (len > BLOB_MAX)
		return err_raise(KT_ERR_INTEGRITY, "blob of %zu bytes", len);
	memset(blob, 0, sizeof(*blob));
	blob->len = (uint16_t)len;
	if (len > 0)
		memcpy(blob->data, data, len);
	return KT_OK;
}

bool blob_equal(const struct blob *a, const struct blob *b)
{
	return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}

static void be_put(uint8_t *at, uint64_t value, size_t width)
{
	for (size_t i = 0; i < width; i++)
		at[i] = (uint8_t)(value >> (8 * (width - 1 - i)));
}

static uint64_t be_get(const uint8_t *at, size_t width)
{
	uint64_t value = 0;

	for (size_t i = 0; i < width; i++)
		value = value << 8 | at[i];
	return value;
}

void be16_put(uint8_t *at, uint16_t value)
{
	be_put(at, value, 2);
}

void be32_put(uint8_t *at, uint32_t value)
{
	be_put(at, value, 4);
}

void be64_put(uint8_t *at, uint64_t value)
{
	be_put(at, value, 8);
}

uint16_t be16_get(const uint8_t *at)
{
	return (uint16_t)be_get(at, 2);
}

uint32_t be32_get(const uint8_t *at)
{
	return (uint32_t)be_get(at, 4);
}

uint64_t be64_get(const uint8_t *at)
{
	return be_get(at, 8);
}

void hex_encode(const uint8_t *data, size_t len, char *ret)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		ret[2 * i] = digits[data[i] >> 4];
		ret[2 * i + 1] = digits[data[i] & 15];
	}
	ret[2 * len] = '\0';
}

/* Of a digit. */
static uint8_t hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return (uint8_t)(c - '0');
	return (uint8_t)((c | 0x20) - 'a' + 10);
}

bool hex_decode(const char *text, uint8_t *ret, size_t len)
{
	size_t digits = strspn(text, "0123456789abcdefABCDEF");

	if (digits != 2 * len || text[digits] != '\0')
		return false;
	for (size_t i = 0; i < len; i++)
		ret[i] = (uint8_t)(hex_value(text[2 * i]) << 4 |
				   hex_value(text[2 * i + 1]));
	return true;
}

/* Divides the big-endian number in place; returns the remainder. */
static unsigned divide(uint8_t *number, size_t len, unsigned divisor)
{
	unsigned rest = 0;

	for (size_t i = 0; i < len; i++) {
		rest = rest << 8 | number[i];
		number[i] = (uint8_t)(rest / divisor);
		rest %= divisor;
	}
	return rest;
}

void base62_encode(const uint8_t *data, size_t len, char *ret, size_t width)
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "abcdefghijklmnopqrstuvwxyz";
	uint8_t number[64];

	assert(len <= sizeof(number));
	memcpy(number, data, len);
	ret[width] = '\0';
	while (width > 0)
		ret[--width] = digits[divide(number, len, 62)];
	OPENSSL_cleanse(number, sizeof(number));
}

bool id_is_zero(const struct kt_id *id)
{
	static const struct kt_id zero;

	return memcmp(id, &zero, sizeof(zero)) == 0;
}

bool id_equal(const struct kt_id *a, const struct kt_id *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

enum kt_err random_bytes(void *data, size_t len)
{
	uint8_t *at = data;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno("getrandom");
		at += n;
		len -= (size_t)n;
	}
	return KT_OK;
}

enum kt_err id_random(struct kt_id *ret)
{
	return random_bytes(ret->bytes, sizeof(ret->bytes));
}

/* Milliseconds and a 12-bit count that only grow together. */
static uint64_t next_stamp(void)
{
	static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	static uint64_t last;
	struct timespec ts;
	uint64_t stamp;

	clock_gettime(CLOCK_REALTIME, &ts);
	stamp = ((uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000)
		<< 12;
	pthread_mutex_lock(&mutex);
	if (stamp <= last)
		stamp = last + 1;
	last = stamp;
	pthread_mutex_unlock(&mutex);
	return stamp;
}

enum kt_err id_new(struct kt_id *ret)
{
	uint64_t stamp = next_stamp();
	struct kt_id id;

	TRY(id_random(&id));
	be64_put(id.bytes, (stamp >> 12) << 16 | 0x7000 | (stamp & 0xfff));
	id.bytes[8] = (uint8_t)(0x80 | (id.bytes[8] & 0x3f));
	*ret = id;
	return KT_OK;
}

void kt_id_format(const struct kt_id *id, char text[KT_ID_TEXT_LEN + 1])
{
	char hex[2 * KT_ID_LEN + 1];
	size_t at = 0;

	hex_encode(id->bytes, KT_ID_LEN, hex);
	for (size_t i = 0; i < 2 * (size_t)KT_ID_LEN; i++) {
		if (i == 8 || i == 12 || i == 16 || i == 20)
			text[at++] = '-';
		text[at++] = hex[i];
	}
	text[at] = '\0';
}

enum kt_err kt_id_parse(const char *text, struct kt_id *ret)
{
	char hex[2 * KT_ID_LEN + 1];
	size_t used = 0;
	size_t len = strlen(text);
	bool good = len == KT_ID_TEXT_LEN;

	for (size_t i = 0; good && i < len; i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23)
			good = text[i] == '-';
		else
			hex[used++] = text[i];
	}
	hex[used] = '\0';
	if (!good || !hex_decode(hex, ret->bytes, KT_ID_LEN))
		return err_raise(KT_ERR_USAGE, "'%s' is not an id", text);
	return KT_OK;
}
