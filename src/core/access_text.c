/*
 * The text of an access token: built and taken apart, nothing else. It knows
 * no vault, so that a test can feed it every damaged token there is.
 */
#include "core/access.h"

#include <assert.h>
#include <string.h>

#include <zlib.h>

#include "base/secret.h"

#define PREFIX "kvt1_"
#define PREFIX_LEN (sizeof(PREFIX) - 1)
#define ID_AT PREFIX_LEN
#define SECRET_AT (ID_AT + KT_ACCESS_ID_LEN + 1)
#define CRC_AT (SECRET_AT + ACCESS_SECRET_LEN + 1)
#define CRC_LEN 6

static_assert(CRC_AT + CRC_LEN == ACCESS_TEXT_LEN);

static void crc_encode(const uint8_t *text, char ret[CRC_LEN + 1])
{
	uint8_t crc[4];

	be32_put(crc, (uint32_t)crc32(0, text, CRC_AT - 1));
	base62_encode(crc, sizeof(crc), ret, CRC_LEN);
}

/* 12 digits hold 71 bits; a 72nd would make some ids more likely. */
static enum kt_err id_text_new(char ret[KT_ACCESS_ID_LEN + 1])
{
	uint8_t bits[9];

	TRY(random_bytes(bits, sizeof(bits)));
	bits[0] &= 0x7f;
	base62_encode(bits, sizeof(bits), ret, KT_ACCESS_ID_LEN);
	return KT_OK;
}

/* base62_encode() ends with a NUL, for which the secret heap has room here. */
static enum kt_err secret_text_new(struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret bits = {0};
	CLEANUP(kt_secret_done) struct kt_secret text = {0};

	TRY(secret_new(32, &bits));
	TRY(secret_new(ACCESS_SECRET_LEN + 1, &text));
	TRY(random_bytes(bits.data, bits.len));
	base62_encode(bits.data, bits.len, (char *)text.data,
		      ACCESS_SECRET_LEN);
	*ret = text;
	text = (struct kt_secret){0};
	return KT_OK;
}

enum kt_err access_text_new(struct kt_secret *ret_text,
			    struct access_parts *ret_parts)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	CLEANUP(kt_secret_done) struct kt_secret secret = {0};
	struct access_parts parts = {0};
	char crc[CRC_LEN + 1];

	TRY(secret_new(ACCESS_TEXT_LEN, &text));
	TRY(id_text_new(parts.id));
	TRY(secret_text_new(&secret));
	memcpy(text.data, PREFIX, PREFIX_LEN);
	memcpy(text.data + ID_AT, parts.id, KT_ACCESS_ID_LEN);
	text.data[SECRET_AT - 1] = '_';
	memcpy(text.data + SECRET_AT, secret.data, ACCESS_SECRET_LEN);
	text.data[CRC_AT - 1] = '_';
	crc_encode(text.data, crc);
	memcpy(text.data + CRC_AT, crc, CRC_LEN);
	parts.secret = text.data + SECRET_AT;
	*ret_parts = parts;
	*ret_text = text;
	text = (struct kt_secret){0};
	return KT_OK;
}

static bool is_base62(const uint8_t *text, size_t len)
{
	bool good = true;

	for (size_t i = 0; i < len; i++)
		good &= (text[i] >= '0' && text[i] <= '9') ||
			(text[i] >= 'A' && text[i] <= 'Z') ||
			(text[i] >= 'a' && text[i] <= 'z');
	return good;
}

bool access_text_parse(const struct kt_secret *text, struct access_parts *ret)
{
	const uint8_t *at = text->data;
	char crc[CRC_LEN + 1];

	if (text->len != ACCESS_TEXT_LEN ||
	    memcmp(at, PREFIX, PREFIX_LEN) != 0 || at[SECRET_AT - 1] != '_' ||
	    at[CRC_AT - 1] != '_' || !is_base62(at + ID_AT, KT_ACCESS_ID_LEN) ||
	    !is_base62(at + SECRET_AT, ACCESS_SECRET_LEN))
		return false;
	crc_encode(at, crc);
	if (memcmp(crc, at + CRC_AT, CRC_LEN) != 0)
		return false;
	memcpy(ret->id, at + ID_AT, KT_ACCESS_ID_LEN);
	ret->id[KT_ACCESS_ID_LEN] = '\0';
	ret->secret = at + SECRET_AT;
	return true;
}
