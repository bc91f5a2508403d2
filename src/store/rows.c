/*
 * The one description of every row. Drivers bind, read and generate SQL by it
 * and row MACs are computed by it, so each entry names its member once and
 * takes name, offset and size from the compiler: a member whose type is not
 * that of its kind does not compile.
 */
#include "store/rows.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER(row, m) (((struct row *)NULL)->m)

/* A constant that exists only where the member has this type. */
#define SIZE_OF(row, m, type) _Generic(&MEMBER(row, m), type * : sizeof(type))

#define COLUMN(row, m, kind_, size_)                                           \
	.name = #m, .kind = kind_, .offset = offsetof(struct row, m),          \
	.size = size_

#define INT(row, m) COLUMN(row, m, COLUMN_INT, SIZE_OF(row, m, int64_t))
#define TIME(row, m) COLUMN(row, m, COLUMN_TIME, SIZE_OF(row, m, int64_t))
#define ID(row, m) COLUMN(row, m, COLUMN_ID, SIZE_OF(row, m, struct kt_id))
#define ID_OPT(row, m)                                                         \
	COLUMN(row, m, COLUMN_ID_OPT, SIZE_OF(row, m, struct kt_id))
#define BLOB(row, m) COLUMN(row, m, COLUMN_BLOB, SIZE_OF(row, m, struct blob))
#define MAC(row, m) COLUMN(row, m, COLUMN_MAC, SIZE_OF(row, m, struct mac))
#define TEXT(row, m)                                                           \
	COLUMN(row, m, COLUMN_TEXT,                                            \
	       _Generic(&MEMBER(row, m)[0], char *: sizeof(MEMBER(row, m))))
#define BYTES(row, m)                                                          \
	COLUMN(row, m, COLUMN_BYTES,                                           \
	       SIZE_OF(row, m.data, uint8_t *) + SIZE_OF(row, m.len, size_t))

#define PRIMARY .key = true

#define DESC(table_, row, mac_offset_, ...)                                    \
	{                                                                      \
		.table = table_, .size = sizeof(struct row),                   \
		.columns = sizeof((struct column[]){__VA_ARGS__}) /            \
			   sizeof(struct column),                              \
		.mac_offset = mac_offset_, .column = {__VA_ARGS__},            \
	}
#define SEALED(table_, row, ...)                                               \
	DESC(table_, row, offsetof(struct row, mac), __VA_ARGS__,              \
	     {MAC(row, mac)})
#define UNSEALED(table_, row, ...) DESC(table_, row, 0, __VA_ARGS__)

/* clang-format off */
static const struct row_desc descs[ROW_TYPE_MAX_] = {
[ROW_VAULT] = SEALED("vault", vault_row,
	{ID(vault_row, id), PRIMARY},
	{TIME(vault_row, created)},
	{TEXT(vault_row, token_label)},
	{TEXT(vault_row, token_serial)},
	{TEXT(vault_row, token_model)},
	{TEXT(vault_row, token_manufacturer)},
	{INT(vault_row, recovery_wraps)},
	{INT(vault_row, gate_level)},
	{TEXT(vault_row, gate_report)}),
[ROW_KEY] = SEALED("keys", key_row,
	{ID(key_row, id), PRIMARY},
	{INT(key_row, role)},
	{ID(key_row, owner)},
	{INT(key_row, version)},
	{ID_OPT(key_row, cka_id)},
	{INT(key_row, mech)},
	{BLOB(key_row, canary)},
	{TEXT(key_row, token_serial)},
	{TEXT(key_row, attributes)},
	{BLOB(key_row, public_key)},
	{TIME(key_row, created)},
	{TIME(key_row, proven)},
	{TIME(key_row, activated)},
	{TIME(key_row, deactivated)},
	{TIME(key_row, compromised)},
	{TIME(key_row, destroying)},
	{TIME(key_row, destroyed)}),
[ROW_WRAP] = SEALED("wraps", wrap_row,
	{ID(wrap_row, wrapping_key), PRIMARY},
	{ID(wrap_row, subject), PRIMARY},
	{BLOB(wrap_row, blob)}),
[ROW_PROJECT] = SEALED("projects", project_row,
	{ID(project_row, id), PRIMARY},
	{TEXT(project_row, name)},
	{TIME(project_row, created)},
	{TIME(project_row, deleted)}),
[ROW_SECRET] = SEALED("secrets", secret_row,
	{ID(secret_row, id), PRIMARY},
	{ID(secret_row, project)},
	{TEXT(secret_row, name)},
	{INT(secret_row, version)},
	{TIME(secret_row, created)},
	{TIME(secret_row, updated)}),
[ROW_VERSION] = SEALED("versions", version_row,
	{ID(version_row, secret), PRIMARY},
	{INT(version_row, version), PRIMARY},
	{ID(version_row, dek)},
	{INT(version_row, algorithm)},
	{BLOB(version_row, nonce)},
	{BYTES(version_row, ciphertext)},
	{TIME(version_row, created)}),
[ROW_ACCESS] = SEALED("access", access_row,
	{TEXT(access_row, id), PRIMARY},
	{ID(access_row, project)},
	{INT(access_row, scope)},
	{TEXT(access_row, label)},
	{MAC(access_row, tag)},
	{TIME(access_row, created)},
	{TIME(access_row, expires)},
	{TIME(access_row, revoked)}),
[ROW_ROTATION] = SEALED("rotations", rotation_row,
	{ID(rotation_row, id), PRIMARY},
	{INT(rotation_row, kind)},
	{ID_OPT(rotation_row, project)},
	{TEXT(rotation_row, operator_name)},
	{TEXT(rotation_row, reason)},
	{INT(rotation_row, grace)},
	{TIME(rotation_row, planned)},
	{TIME(rotation_row, keyed)},
	{TIME(rotation_row, staged)},
	{TIME(rotation_row, verified)},
	{TIME(rotation_row, activated)},
	{TIME(rotation_row, contracting)},
	{TIME(rotation_row, contracted)},
	{TIME(rotation_row, destroyed)},
	{TIME(rotation_row, rollback_started)},
	{TIME(rotation_row, rolled_back)},
	{INT(rotation_row, resumed)},
	{TIME(rotation_row, reencrypted)},
	{INT(rotation_row, values_reencrypted)}),
[ROW_LEG] = SEALED("legs", leg_row,
	{ID(leg_row, rotation), PRIMARY},
	{INT(leg_row, leg), PRIMARY},
	{ID(leg_row, old_key)},
	{ID(leg_row, new_key)},
	{ID(leg_row, stage_cursor)},
	{ID(leg_row, verify_cursor)},
	{INT(leg_row, rows_total)},
	{INT(leg_row, rows_rewrapped)},
	{INT(leg_row, rows_verified)},
	{INT(leg_row, rows_contracted)}),
[ROW_FAULT] = SEALED("faults", fault_row,
	{ID(fault_row, rotation), PRIMARY},
	{ID(fault_row, wrapping_key), PRIMARY},
	{ID(fault_row, subject), PRIMARY},
	{TIME(fault_row, found)},
	{TEXT(fault_row, reason)}),
[ROW_LEASE] = UNSEALED("lease", lease_row,
	{INT(lease_row, id), PRIMARY},
	{INT(lease_row, fence)},
	{ID_OPT(lease_row, rotation)},
	{TEXT(lease_row, operator_name)},
	{TEXT(lease_row, process)},
	{TIME(lease_row, taken)},
	{TIME(lease_row, renewed)}),
[ROW_AUDIT] = SEALED("audit", audit_row,
	{INT(audit_row, seq), PRIMARY},
	{TIME(audit_row, time)},
	{TEXT(audit_row, actor)},
	{TEXT(audit_row, action)},
	{TEXT(audit_row, object)},
	{TEXT(audit_row, detail)},
	{MAC(audit_row, prev)},
	{MAC(audit_row, hash)}),
[ROW_AUDIT_HEAD] = SEALED("audit_head", audit_head_row,
	{INT(audit_head_row, id), PRIMARY},
	{INT(audit_head_row, seq)},
	{MAC(audit_head_row, hash)}),
[ROW_CHECKPOINT] = SEALED("checkpoints", checkpoint_row,
	{INT(checkpoint_row, seq), PRIMARY},
	{MAC(checkpoint_row, hash)},
	{ID(checkpoint_row, key)},
	{BLOB(checkpoint_row, signature)},
	{TIME(checkpoint_row, time)}),
[ROW_BACKUP] = SEALED("backups", backup_row,
	{ID(backup_row, id), PRIMARY},
	{TIME(backup_row, created)},
	{TIME(backup_row, expires)},
	{TEXT(backup_row, file)},
	{INT(backup_row, size)},
	{MAC(backup_row, sha256)},
	{TEXT(backup_row, versions)}),
[ROW_COUNT] = UNSEALED(NULL, count_row,
	{INT(count_row, n)}),
};
/* clang-format on */

const struct row_desc *row_desc(enum row_type type)
{
	assert((unsigned)type < ROW_TYPE_MAX_);
	return &descs[type];
}

void row_done(enum row_type type, void *row)
{
	struct version_row *version = row;

	if (row == NULL)
		return;
	if (type == ROW_VERSION)
		free(version->ciphertext.data);
	memset(row, 0, row_desc(type)->size);
}

/* One column of a primary key: an id, a number or a short text. */
static void key_name(const struct column *column, const void *row,
		     char ret[KT_ID_TEXT_LEN + 1])
{
	const void *at = (const char *)row + column->offset;

	if (column->kind == COLUMN_ID)
		kt_id_format(at, ret);
	else if (column->kind == COLUMN_INT)
		snprintf(ret, KT_ID_TEXT_LEN + 1, "%" PRId64,
			 *(const int64_t *)at);
	else
		snprintf(ret, KT_ID_TEXT_LEN + 1, "%.*s", (int)column->size,
			 (const char *)at);
}

void row_name(enum row_type type, const void *row, char *ret, size_t size)
{
	const struct row_desc *desc = row_desc(type);
	char part[KT_ID_TEXT_LEN + 1];
	char between = ' ';
	size_t used;

	assert(size > 0);
	snprintf(ret, size, "%s", desc->table != NULL ? desc->table : "count");
	for (size_t i = 0; i < desc->columns; i++) {
		if (!desc->column[i].key)
			continue;
		key_name(&desc->column[i], row, part);
		used = strlen(ret);
		snprintf(ret + used, size - used, "%c%s", between, part);
		between = '/';
	}
}
