/*
 * Values that every part of keyturn names: ids, secrets, roles and states of
 * keys (NIST SP 800-57 part 1, section 7). Times are seconds since the epoch,
 * UTC; 0 says "has not happened".
 */
#ifndef KEYTURN_TYPES_H
#define KEYTURN_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <keyturn/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define KT_ID_LEN 16
#define KT_ID_TEXT_LEN 36 /* 8-4-4-4-12 */
#define KT_NAME_MAX 255   /* bytes, without the NUL */
#define KT_VALUE_MAX (1024 * 1024)
#define KT_BACKUP_FILE_MAX 1023 /* bytes of its name, without the NUL */

/* UUIDv7 (RFC 9562) for what keyturn names, 16 random bytes for a CKA_ID. */
struct kt_id {
	uint8_t bytes[KT_ID_LEN];
};

/* Bytes on the secure heap: locked, not dumped, wiped by kt_secret_done(). */
struct kt_secret {
	uint8_t *data;
	size_t len;
};

/* Wipes and frees; accepts NULL and an empty one; leaves {NULL, 0}. */
void kt_secret_done(struct kt_secret *secret);

/* Copies len bytes of data into new secure memory; the caller owns *ret. */
enum kt_err kt_secret_copy(const void *data, size_t len, struct kt_secret *ret);

/* One key, one role. The numbers are stored. */
enum kt_key_role {
	KT_KEY_MASTER = 1,   /* token: wraps project keys */
	KT_KEY_RECOVERY = 2, /* token: wraps DEKs for the administrator */
	KT_KEY_PROJECT = 3,  /* wrapped: wraps the DEKs of one project */
	KT_KEY_DEK = 4,      /* wrapped: encrypts one secret version */
	KT_KEY_ROW_MAC = 5,  /* token: generic secret, HMAC */
	KT_KEY_AUDIT = 6,    /* token: EC P-256, signs checkpoints */
	KT_KEY_ROLE_MAX_
};

const char *kt_key_role_name(enum kt_key_role role);

/* Derived from a key's times, never stored. */
enum kt_key_state {
	KT_KEY_PRE_ACTIVE,
	KT_KEY_ACTIVE,
	KT_KEY_DEACTIVATED,
	KT_KEY_COMPROMISED,
	KT_KEY_DESTROYED,
	KT_KEY_STATE_MAX_
};

const char *kt_key_state_name(enum kt_key_state state);

/* How a key wraps others. The numbers are stored in the key's own row. */
enum kt_wrap_mech {
	KT_WRAP_NONE = 0,
	KT_WRAP_AES_KW = 1,        /* CKM_AES_KEY_WRAP, RFC 3394 */
	KT_WRAP_AES_KWP = 2,       /* CKM_AES_KEY_WRAP_KWP, RFC 5649 */
	KT_WRAP_AES_PAD_KWP = 3,   /* CKM_AES_KEY_WRAP_PAD that is RFC 5649 */
	KT_WRAP_AES_PAD_PKCS7 = 4, /* CKM_AES_KEY_WRAP_PAD, PKCS#7 then KW */
	KT_WRAP_TPM = 5,           /* a key of keyturn-tpm2.so, in a TPM */
	KT_WRAP_MECH_MAX_
};

const char *kt_wrap_mech_name(enum kt_wrap_mech mech);

enum kt_gate_level {
	KT_GATE_STRICT = 0, /* a token that fails the gate is refused */
	KT_GATE_WARN = 1,   /* what fails is recorded */
};

/* Writes the 36 characters and a NUL. */
void kt_id_format(const struct kt_id *id, char text[KT_ID_TEXT_LEN + 1]);

/* Accepts the 36 characters only. */
enum kt_err kt_id_parse(const char *text, struct kt_id *ret);

#ifdef __cplusplus
}
#endif

#endif
