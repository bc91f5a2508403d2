/*
 * Access tokens inside the engine: their text, and their revocation in bulk.
 *
 *     kvt1_<id, 12>_<secret, 43>_<crc, 6>      base62 [0-9A-Za-z]
 *
 * The id is 71 random bits, the secret 256, the crc zlib's CRC-32 of all that
 * stands before its underscore. It only spares a lookup after a typing error:
 * what proves a token is HMAC-SHA-256(access MAC key, id || secret), over the
 * characters as they stand in the text.
 */
#ifndef CORE_ACCESS_H
#define CORE_ACCESS_H

#include "core/vault.h"

#define ACCESS_SECRET_LEN 43
#define ACCESS_TEXT_LEN (5 + KT_ACCESS_ID_LEN + 1 + ACCESS_SECRET_LEN + 1 + 6)

/* A token taken apart. secret points at ACCESS_SECRET_LEN characters of the
 * text it was taken from, without a NUL. */
struct access_parts {
	char id[KT_ACCESS_ID_LEN + 1];
	const uint8_t *secret;
};

/* A new random token on the secure heap; no NUL. The caller owns *ret_text;
 * parts->secret points into it. */
enum kt_err access_text_new(struct kt_secret *ret_text,
			    struct access_parts *ret_parts);

/* Exactly this shape with the right crc. */
bool access_text_parse(const struct kt_secret *text, struct access_parts *ret);

/* Usable: not revoked, not expired; a token expires at `expires`, not after. */
bool access_usable(const struct access_row *row, int64_t now);

/* Revokes every usable token of a project, in the caller's write transaction;
 * *ret_revoked is their number. The caller writes the audit entry. */
enum kt_err access_revoke_all(struct kt_vault *vault,
			      const struct kt_id *project,
			      int64_t *ret_revoked);

#endif
