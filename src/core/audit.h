/*
 * Appending to the audit chain. Every security operation appends inside the
 * write transaction of its effect; no entry, no operation.
 */
#ifndef CORE_AUDIT_H
#define CORE_AUDIT_H

#include "core/vault.h"

/* In the caller's write transaction. action: "secret.set", "rotation.staged";
 * object: a name or id; format: detail without any secret. */
enum kt_err audit_append(struct kt_vault *vault, const char *action,
			 const char *object, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* Signs the head of the chain with the audit key and stores the signature, in
 * the caller's write transaction. */
enum kt_err audit_checkpoint(struct kt_vault *vault);

#endif
