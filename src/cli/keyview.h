/*
 * How a key is named and shown, the same under every noun. The CKA_ID is
 * written as other PKCS#11 tools write it, so that an auditor finds it there.
 */
#ifndef CLI_KEYVIEW_H
#define CLI_KEYVIEW_H

#include "base/bytes.h"
#include "cli/screen.h"

/* A row of a table. */
struct key_view {
	struct kt_key key;
	char cka_id[2 * KT_ID_LEN + 1]; /* "" where there is none */
};

void key_view_make(const struct kt_key *key, struct key_view *ret);

/* Words of a row that is a struct key_view. */
const char *key_role_word(const void *view);
const char *key_state_word(const void *view);
const char *key_mech_word(const void *view);

/* The VERSION argument of a command. KT_ERR_USAGE. */
enum kt_err key_version_parse(const char *text, int64_t *ret);

/* A whole key as a section of a screen. */
enum kt_err key_section(struct screen *screen, const char *name,
			const char *heading, const struct kt_key *key);

#endif
