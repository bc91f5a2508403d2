/*
 * The lease on rotating: one process at a time, with a fencing number that
 * every transaction of a rotation checks. A lease is taken over when its
 * process is gone, or when it was not renewed for as long as the one who asks
 * lets pass. That time is for convenience: safe it is by the fence alone.
 */
#ifndef CORE_LEASE_H
#define CORE_LEASE_H

#include "core/vault.h"

#define LEASE_SECONDS_DEFAULT 60

/* In the caller's write transaction. KT_ERR_BUSY names the other's operator
 * and time. */
enum kt_err lease_take(struct kt_vault *vault, const struct kt_id *rotation,
		       int64_t *ret_fence);

/* KT_ERR_BUSY, as lease_take(), while a process that lives has it. */
enum kt_err lease_require_free(struct kt_vault *vault);

/* In the caller's write transaction; KT_ERR_CONFLICT when it was taken over:
 * the transaction must not commit. */
enum kt_err lease_renew(struct kt_vault *vault, int64_t fence);

/* For what is no transaction: work on the token, and the belief that what is
 * committed is one's own doing. KT_ERR_CONFLICT as lease_renew(). */
enum kt_err lease_check(struct kt_vault *vault, int64_t fence);

/* In the caller's write transaction; does nothing when it was taken over. */
enum kt_err lease_release(struct kt_vault *vault, int64_t fence);

#endif
