/*
 * Access tokens. Any bytes are tried as they are; besides, the input makes a
 * well-formed token with the right sum, which is taken apart again, and refused
 * with any one byte of it changed; with a new sum the shape alone decides.
 */
#include <string.h>

#include <zlib.h>

#include "base/secret.h"
#include "core/access.h"
#include "fuzz.h"

#define DIGITS                                                                 \
	"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"                                 \
	"abcdefghijklmnopqrstuvwxyz"
#define SECRET_AT (5 + KT_ACCESS_ID_LEN + 1)
#define CRC_AT (SECRET_AT + ACCESS_SECRET_LEN + 1)

static bool parse(const uint8_t *data, size_t len, struct access_parts *ret,
		  struct kt_secret *text)
{
	must(kt_secret_copy(data, len, text) == KT_OK);
	return access_text_parse(text, ret);
}

static void any(const uint8_t *data, size_t size)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	struct access_parts parts, before;

	memset(&parts, 0xa5, sizeof(parts));
	before = parts;
	if (!parse(data, size, &parts, &text)) {
		must(memcmp(&parts, &before, sizeof(parts)) == 0);
		return;
	}
	must(size == ACCESS_TEXT_LEN && memcmp(data, "kvt1_", 5) == 0);
	must(memcmp(parts.id, data + 5, KT_ACCESS_ID_LEN) == 0);
	must(strlen(parts.id) == KT_ACCESS_ID_LEN);
	must(parts.secret == text.data + SECRET_AT);
}

static void put_digits(struct input *input, uint8_t *ret, size_t len)
{
	for (size_t i = 0; i < len; i++)
		ret[i] = (uint8_t)DIGITS[input_u8(input) % 62];
}

static void put_sum(uint8_t token[ACCESS_TEXT_LEN])
{
	uint8_t crc[4];
	char sum[7];

	be32_put(crc, (uint32_t)crc32(0, token, CRC_AT - 1));
	base62_encode(crc, sizeof(crc), sum, 6);
	memcpy(token + CRC_AT, sum, 6);
}

static void build(struct input *input, uint8_t ret[ACCESS_TEXT_LEN])
{
	memcpy(ret, "kvt1_", 5);
	put_digits(input, ret + 5, KT_ACCESS_ID_LEN);
	ret[SECRET_AT - 1] = '_';
	put_digits(input, ret + SECRET_AT, ACCESS_SECRET_LEN);
	ret[CRC_AT - 1] = '_';
	put_sum(ret);
}

/* A digit in the place of a digit, before the sum. */
static bool keeps_shape(size_t at, uint8_t other)
{
	return at >= 5 && at < CRC_AT - 1 && at != SECRET_AT - 1 &&
	       other != '\0' && strchr(DIGITS, other) != NULL;
}

static void well_formed(struct input *input)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	CLEANUP(kt_secret_done) struct kt_secret changed = {0};
	CLEANUP(kt_secret_done) struct kt_secret summed = {0};
	uint8_t token[ACCESS_TEXT_LEN];
	struct access_parts parts;
	size_t at;
	uint8_t other;

	build(input, token);
	must(parse(token, sizeof(token), &parts, &text));
	at = input_u8(input) % CRC_AT;
	other = input_u8(input);
	if (token[at] == other)
		other ^= 1;
	token[at] = other;
	must(!parse(token, sizeof(token), &parts, &changed));
	put_sum(token);
	must(parse(token, sizeof(token), &parts, &summed) ==
	     keeps_shape(at, other));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};

	any(data, size);
	well_formed(&input);
	return 0;
}
