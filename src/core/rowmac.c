/*
 * One encoder for every type of row, driven by the column table: what the
 * store can write is what the MAC covers.
 */
#include "core/rowmac.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/params.h>

DEFINE_CLEANUP(EVP_MAC, EVP_MAC_free)
DEFINE_CLEANUP(EVP_MAC_CTX, EVP_MAC_CTX_free)
DEFINE_CLEANUP(EVP_MD_CTX, EVP_MD_CTX_free)

struct rowmac {
	struct kt_id vault;
	EVP_MAC_CTX *keyed; /* its key is kept; started afresh for each row */
	struct store_sealer sealer;
};

/* Where encoded bytes go: a MAC or a digest. */
struct sink {
	EVP_MAC_CTX *mac;
	EVP_MD_CTX *digest;
	bool failed;
};

static void feed(struct sink *sink, const void *data, size_t len)
{
	int good = sink->mac != NULL
			   ? EVP_MAC_update(sink->mac, data, len)
			   : EVP_DigestUpdate(sink->digest, data, len);

	if (good != 1)
		sink->failed = true;
}

static void feed_sized(struct sink *sink, const void *data, size_t len)
{
	uint8_t size[4];

	be32_put(size, (uint32_t)len);
	feed(sink, size, sizeof(size));
	if (len > 0)
		feed(sink, data, len);
}

static void feed_column(struct sink *sink, const struct column *column,
			const void *row)
{
	const void *at = (const char *)row + column->offset;
	const struct version_row *version = row;
	const struct blob *blob = at;
	uint8_t number[8];

	switch (column->kind) {
	case COLUMN_INT:
	case COLUMN_TIME:
		be64_put(number, (uint64_t) * (const int64_t *)at);
		feed_sized(sink, number, sizeof(number));
		break;
	case COLUMN_ID:
	case COLUMN_ID_OPT:
		feed_sized(sink, at, KT_ID_LEN);
		break;
	case COLUMN_TEXT:
		feed_sized(sink, at, strlen(at));
		break;
	case COLUMN_BLOB:
		feed_sized(sink, blob->data, blob->len);
		break;
	case COLUMN_MAC:
		feed_sized(sink, at, MAC_LEN);
		break;
	case COLUMN_BYTES: /* only version_row has one */
		feed_sized(sink, version->ciphertext.data,
			   version->ciphertext.len);
		break;
	}
}

/* All columns before the one named; NULL: before the row's MAC. */
static void feed_columns(struct sink *sink, enum row_type type, const void *row,
			 const char *until)
{
	const struct row_desc *desc = row_desc(type);

	for (size_t i = 0; i < desc->columns; i++) {
		const struct column *column = &desc->column[i];

		if (until != NULL ? strcmp(column->name, until) == 0
				  : column->offset == desc->mac_offset)
			return;
		feed_column(sink, column, row);
	}
}

static enum kt_err compute(const struct rowmac *rowmac, enum row_type type,
			   const void *row, struct mac *ret)
{
	struct sink sink = {.mac = rowmac->keyed};
	uint8_t number[2];
	size_t len;

	if (EVP_MAC_init(rowmac->keyed, NULL, 0, NULL) != 1)
		return err_raise(KT_ERR_FAILED, "HMAC-SHA-256 failed");
	be16_put(number, (uint16_t)type);
	feed(&sink, "kvM1", 4);
	feed(&sink, number, sizeof(number));
	feed(&sink, rowmac->vault.bytes, KT_ID_LEN);
	feed_columns(&sink, type, row, NULL);
	if (sink.failed ||
	    EVP_MAC_final(rowmac->keyed, ret->bytes, &len, MAC_LEN) != 1)
		return err_raise(KT_ERR_FAILED, "HMAC-SHA-256 failed");
	return KT_OK;
}

static enum kt_err seal(void *arg, enum row_type type, void *row)
{
	const struct row_desc *desc = row_desc(type);

	return compute(arg, type, row,
		       (struct mac *)((char *)row + desc->mac_offset));
}

static enum kt_err check(void *arg, enum row_type type, const void *row)
{
	const struct row_desc *desc = row_desc(type);
	const struct mac *stored =
		(const struct mac *)((const char *)row + desc->mac_offset);
	struct mac right;
	char name[160];

	TRY(compute(arg, type, row, &right));
	if (CRYPTO_memcmp(&right, stored, sizeof(right)) == 0)
		return KT_OK;
	row_name(type, row, name, sizeof(name));
	return err_raise(KT_ERR_INTEGRITY, "%s: the row's MAC is wrong", name);
}

/* A MAC context that holds the key. */
static enum kt_err keyed_context(const struct kt_secret *key, EVP_MAC_CTX **ret)
{
	CLEANUP(EVP_MAC_freep) EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	CLEANUP(EVP_MAC_CTX_freep) EVP_MAC_CTX *ctx = NULL;
	char digest[] = "SHA256";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string("digest", digest, 0),
		OSSL_PARAM_construct_end(),
	};

	if (mac == NULL || (ctx = EVP_MAC_CTX_new(mac)) == NULL)
		return err_memory();
	if (EVP_MAC_init(ctx, key->data, key->len, params) != 1)
		return err_raise(KT_ERR_FAILED, "HMAC-SHA-256 failed");
	*ret = TAKE(ctx);
	return KT_OK;
}

enum kt_err rowmac_new(const struct kt_id *vault, const struct kt_secret *key,
		       struct rowmac **ret)
{
	CLEANUP(rowmac_freep)
	struct rowmac *rowmac = calloc(1, sizeof(*rowmac));

	if (rowmac == NULL)
		return err_memory();
	rowmac->vault = *vault;
	rowmac->sealer = (struct store_sealer){seal, check, rowmac};
	TRY(keyed_context(key, &rowmac->keyed));
	*ret = TAKE(rowmac);
	return KT_OK;
}

void rowmac_free(struct rowmac *rowmac)
{
	if (rowmac == NULL)
		return;
	EVP_MAC_CTX_free(rowmac->keyed);
	free(rowmac);
}

const struct store_sealer *rowmac_sealer(const struct rowmac *rowmac)
{
	return &rowmac->sealer;
}

enum kt_err row_hash(enum row_type type, const void *row, const char *tag,
		     const char *until, struct mac *ret)
{
	CLEANUP(EVP_MD_CTX_freep) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct sink sink = {.digest = ctx};

	if (ctx == NULL)
		return err_memory();
	if (EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1)
		return err_raise(KT_ERR_FAILED, "SHA-256 failed");
	feed(&sink, tag, 4);
	feed_columns(&sink, type, row, until);
	if (sink.failed || EVP_DigestFinal_ex(ctx, ret->bytes, NULL) != 1)
		return err_raise(KT_ERR_FAILED, "SHA-256 failed");
	return KT_OK;
}

enum kt_err hmac_sha256(const struct kt_secret *key, const void *a,
			size_t a_len, const void *b, size_t b_len,
			struct mac *ret)
{
	CLEANUP(EVP_MAC_CTX_freep) EVP_MAC_CTX *ctx = NULL;
	struct sink sink;
	size_t len;

	TRY(keyed_context(key, &ctx));
	sink = (struct sink){.mac = ctx};
	feed(&sink, a, a_len);
	feed(&sink, b, b_len);
	if (sink.failed || EVP_MAC_final(ctx, ret->bytes, &len, MAC_LEN) != 1)
		return err_raise(KT_ERR_FAILED, "HMAC-SHA-256 failed");
	return KT_OK;
}
