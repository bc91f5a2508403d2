/*
 * The rows of the database: one struct each, and one table that describes
 * their columns. The drivers bind and read by that table and the engine
 * computes row MACs by it, so a column cannot be stored without being covered.
 * docs/formats.md says what each column means.
 */
#ifndef STORE_ROWS_H
#define STORE_ROWS_H

#include <keyturn/types.h>

#include "base/bytes.h"

#define MAC_LEN 32
#define HASH_LEN 32

struct mac {
	uint8_t bytes[MAC_LEN];
};

struct vault_row {
	struct kt_id id;
	int64_t created;
	char token_label[33];
	char token_serial[17];
	char token_model[17];
	char token_manufacturer[33];
	int64_t recovery_wraps; /* 0 or 1 */
	int64_t gate_level;     /* enum kt_gate_level */
	char gate_report[2048];
	struct mac mac;
};

struct key_row {
	struct kt_id id;
	int64_t role;        /* enum kt_key_role */
	struct kt_id owner;  /* project, secret, or zero */
	int64_t version;     /* per role and owner, from 1 */
	struct kt_id cka_id; /* zero where it is not a token object */
	int64_t mech;        /* enum kt_wrap_mech it wraps with */
	struct blob canary;  /* a random key wrapped under it */
	char token_serial[17];
	char attributes[1024];
	struct blob public_key; /* audit key: uncompressed EC point */
	int64_t created;
	int64_t proven; /* found after a reload, gate passed, canary made */
	int64_t activated;
	int64_t deactivated;
	int64_t compromised;
	int64_t destroying; /* intent */
	int64_t destroyed;
	struct mac mac;
};

struct wrap_row {
	struct kt_id wrapping_key;
	struct kt_id subject;
	struct blob blob;
	struct mac mac;
};

struct project_row {
	struct kt_id id;
	char name[KT_NAME_MAX + 1];
	int64_t created;
	int64_t deleted;
	struct mac mac;
};

struct secret_row {
	struct kt_id id;
	struct kt_id project;
	char name[KT_NAME_MAX + 1];
	int64_t version; /* the current one */
	int64_t created;
	int64_t updated;
	struct mac mac;
};

/* ciphertext is on the heap: give it back with row_done(). */
struct version_row {
	struct kt_id secret;
	int64_t version;
	struct kt_id dek;
	int64_t algorithm; /* 1: AES-256-GCM */
	struct blob nonce; /* 12 bytes */
	struct {
		uint8_t *data;
		size_t len;
	} ciphertext; /* the 16-byte tag at its end */
	int64_t created;
	struct mac mac;
};

struct access_row {
	char id[16]; /* 12 characters */
	struct kt_id project;
	int64_t scope; /* enum kt_access_scope */
	char label[KT_NAME_MAX + 1];
	struct mac tag; /* HMAC of the token's secret */
	int64_t created;
	int64_t expires;
	int64_t revoked;
	struct mac mac;
};

struct rotation_row {
	struct kt_id id;
	int64_t kind;         /* enum kt_rotation_kind */
	struct kt_id project; /* zero for the master */
	char operator_name[KT_NAME_MAX + 1];
	char reason[512];
	int64_t grace; /* seconds */
	int64_t planned, keyed, staged, verified, activated;
	int64_t contracting; /* intent: no way back from here */
	int64_t contracted, destroyed;
	int64_t rollback_started, rolled_back;
	int64_t resumed; /* count */
	int64_t reencrypted;
	int64_t values_reencrypted; /* count */
	struct mac mac;
};

struct leg_row {
	struct kt_id rotation;
	int64_t leg; /* 0 or 1 */
	struct kt_id old_key, new_key;
	struct kt_id stage_cursor;  /* last subject looked at */
	struct kt_id verify_cursor; /* last subject proven */
	int64_t rows_total;
	int64_t rows_rewrapped, rows_verified, rows_contracted;
	struct mac mac;
};

/* A quarantined row. */
struct fault_row {
	struct kt_id rotation;
	struct kt_id wrapping_key;
	struct kt_id subject;
	int64_t found;
	char reason[256];
	struct mac mac;
};

/* One row, fence only grows. No MAC: it protects against accidents. */
struct lease_row {
	int64_t id; /* 1 */
	int64_t fence;
	struct kt_id rotation; /* zero: free */
	char operator_name[KT_NAME_MAX + 1];
	char process[256]; /* host, boot id, pid, start time */
	int64_t taken;
	int64_t renewed;
};

struct audit_row {
	int64_t seq; /* from 1, without gaps */
	int64_t time;
	char actor[KT_NAME_MAX + 1];
	char action[64];
	char object[KT_NAME_MAX + 1];
	char detail[1024];
	struct mac prev; /* hash of the entry before; zero for the first */
	struct mac hash; /* SHA-256 over all of the above */
	struct mac mac;
};

/* One row: the end of the chain, so that cutting entries off shows. */
struct audit_head_row {
	int64_t id; /* 1 */
	int64_t seq;
	struct mac hash;
	struct mac mac;
};

struct checkpoint_row {
	int64_t seq; /* of the entry it signs */
	struct mac hash;
	struct kt_id key;      /* the audit key */
	struct blob signature; /* ECDSA P-256 over hash, r || s */
	int64_t time;
	struct mac mac;
};

/* A copy of the database that was made and, as far as is known, is there. */
struct backup_row {
	struct kt_id id;
	int64_t created;
	int64_t expires;                   /* 0: never */
	char file[KT_BACKUP_FILE_MAX + 1]; /* as given */
	int64_t size;
	struct mac sha256;
	char versions[64]; /* of the master key that it needs: "1 2" */
	struct mac mac;
};

/* What a count query returns. Not a table. */
struct count_row {
	int64_t n;
};

/* The numbers go into row MACs: append only. */
enum row_type {
	ROW_VAULT,
	ROW_KEY,
	ROW_WRAP,
	ROW_PROJECT,
	ROW_SECRET,
	ROW_VERSION,
	ROW_ACCESS,
	ROW_ROTATION,
	ROW_LEG,
	ROW_FAULT,
	ROW_LEASE,
	ROW_AUDIT,
	ROW_AUDIT_HEAD,
	ROW_CHECKPOINT,
	ROW_BACKUP,
	ROW_COUNT,
	ROW_TYPE_MAX_
};

/* How a column lies in its struct and in the database. */
enum column_kind {
	COLUMN_INT,    /* int64_t; INTEGER NOT NULL */
	COLUMN_TIME,   /* int64_t; INTEGER, 0 is NULL */
	COLUMN_ID,     /* struct kt_id; BLOB NOT NULL, 16 bytes */
	COLUMN_ID_OPT, /* struct kt_id; BLOB, zero is NULL */
	COLUMN_TEXT,   /* char[size]; TEXT NOT NULL */
	COLUMN_BLOB,   /* struct blob; BLOB NOT NULL, up to BLOB_MAX */
	COLUMN_MAC,    /* struct mac; BLOB NOT NULL, 32 bytes */
	COLUMN_BYTES,  /* {uint8_t *data; size_t len}; BLOB, on the heap */
};

struct column {
	const char *name;
	enum column_kind kind;
	size_t offset;
	size_t size; /* of a COLUMN_TEXT's array */
	bool key;    /* part of the primary key */
};

#define ROW_COLUMNS_MAX 24

struct row_desc {
	const char *table; /* NULL where there is none */
	size_t size;       /* of the struct */
	size_t columns;    /* in the order of the table */
	size_t mac_offset; /* of the row's MAC, its last column; 0: none */
	struct column column[ROW_COLUMNS_MAX];
};

/* Never NULL for a type below ROW_TYPE_MAX_. */
const struct row_desc *row_desc(enum row_type type);

/* Frees what a row holds on the heap and clears it; accepts NULL. */
void row_done(enum row_type type, void *row);

/* "wraps 0190.../0190...": table and primary key, for messages. */
void row_name(enum row_type type, const void *row, char *ret, size_t size);

#endif
