/*
 * What a restore takes over from the database that it replaces.
 */
#ifndef CORE_BACKUP_CARRY_H
#define CORE_BACKUP_CARRY_H

#include <keyturn/backup.h>

#include "core/vault.h"

struct carry {
	struct kt_vault *copy;             /* proven; is edited */
	struct kt_vault *present;          /* NULL: none that can be read */
	const struct audit_head_row *head; /* of the present one */
	const struct kt_restore_plan *plan;
	const char *path;         /* of the copy, as given */
	int64_t revoked, records; /* that were carried over */
};

/* One transaction on the copy: frees the lease, carries over, records the copy
 * and what it replaces as backups, leaves an audit entry and signs it. */
enum kt_err carry_over(struct carry *carry);

#endif
