/*
 * Lease and fence. On the same host the death of a process is known at once;
 * elsewhere only the time of the last renewal speaks.
 */
#include "core/lease.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/process.h"
#include "base/text.h"

static enum kt_err busy(const struct lease_row *lease)
{
	char since[TIME_TEXT_LEN + 1];
	enum kt_err err;

	time_format(lease->taken, since);
	err = err_raise(KT_ERR_BUSY, "%s is rotating since %s",
			lease->operator_name, since);
	return err_hint(err, "process (host, boot, pid, start): %s",
			lease->process);
}

/* A renewal ahead of this clock, which was set back since then, says as little
 * as one of long ago. */
static bool is_silent(const struct lease_row *lease, int64_t now,
		      int64_t seconds)
{
	return lease->renewed <= now - seconds ||
	       lease->renewed >= now + seconds;
}

static enum kt_err require_free(const struct kt_vault *vault,
				const struct lease_row *lease, int64_t now)
{
	int64_t seconds = vault->params.lease_seconds > 0
				  ? vault->params.lease_seconds
				  : LEASE_SECONDS_DEFAULT;

	if (id_is_zero(&lease->rotation) || process_is_gone(lease->process) ||
	    is_silent(lease, now, seconds))
		return KT_OK;
	return busy(lease);
}

enum kt_err lease_require_free(struct kt_vault *vault)
{
	struct lease_row lease;

	TRY(query_one(vault->store, Q_LEASE, &lease, ""));
	return require_free(vault, &lease, clock_now());
}

enum kt_err lease_take(struct kt_vault *vault, const struct kt_id *rotation,
		       int64_t *ret_fence)
{
	struct lease_row lease;
	int64_t now = clock_now();

	TRY(query_one(vault->store, Q_LEASE, &lease, ""));
	TRY(require_free(vault, &lease, now));
	lease.fence++;
	lease.rotation = *rotation;
	lease.taken = lease.renewed = now;
	text_cut(lease.operator_name, sizeof(lease.operator_name),
		 vault->actor.name);
	TRY(process_name(lease.process, sizeof(lease.process)));
	TRY(store_update(vault->store, ROW_LEASE, &lease));
	CRASH_POINT("lease.taken");
	*ret_fence = lease.fence;
	return KT_OK;
}

/* Whoever has it now, or had it last. */
static enum kt_err lost(struct kt_vault *vault)
{
	char taken[TIME_TEXT_LEN + 1];
	struct lease_row lease;
	enum kt_err err;

	TRY(query_one(vault->store, Q_LEASE, &lease, ""));
	time_format(lease.taken, taken);
	err = err_raise(KT_ERR_CONFLICT,
			"%s took the lease on rotations over at %s: stopped",
			lease.operator_name, taken);
	return err_hint(err, "nothing was stored after that; 'keyturn rotation "
			     "list' shows what became of the rotation");
}

enum kt_err lease_renew(struct kt_vault *vault, int64_t fence)
{
	int64_t changed = 0;

	TRY(store_exec(vault->store, S_LEASE_RENEW, &changed, "ii", fence,
		       clock_now()));
	return changed == 1 ? KT_OK : lost(vault);
}

enum kt_err lease_check(struct kt_vault *vault, int64_t fence)
{
	struct lease_row lease;

	TRY(query_one(vault->store, Q_LEASE, &lease, ""));
	return lease.fence == fence ? KT_OK : lost(vault);
}

enum kt_err lease_release(struct kt_vault *vault, int64_t fence)
{
	struct lease_row lease;

	TRY(query_one(vault->store, Q_LEASE, &lease, ""));
	if (lease.fence != fence)
		return KT_OK;
	lease.rotation = (struct kt_id){0};
	return store_update(vault->store, ROW_LEASE, &lease);
}
