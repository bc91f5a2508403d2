/*
 * Evidence of keys as files in a folder.
 */
#ifndef CLI_EVIDENCE_H
#define CLI_EVIDENCE_H

#include <keyturn/token.h>

struct nonce {
	uint8_t bytes[KT_NONCE_MAX];
	size_t len;
};

/* From hexadecimal digits; NULL: random bytes. KT_ERR_USAGE. */
enum kt_err nonce_parse(const char *text, struct nonce *ret);

/* Writes the files of one key, version 0 the active one, and prints their
 * paths. The folder is made where it is missing; no file is replaced. */
enum kt_err evidence_write(struct kt_vault *vault, enum kt_key_role role,
			   int64_t version, const struct nonce *nonce,
			   const char *dir);

/* Before a version of the master key is destroyed: whether there will be
 * something to write, and a place for it. KT_ERR_EXISTS. */
enum kt_err evidence_prepare(struct kt_vault *vault, int64_t version,
			     const char *dir);

/* After it: of both of its keys, in dir/master and dir/recovery. */
enum kt_err evidence_write_version(struct kt_vault *vault, int64_t version,
				   const char *dir);

#endif
