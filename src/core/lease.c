/*
 * Lease and fence. A process is named by host, boot id, pid and start time, so
 * that on the same host its death is known at once; elsewhere only the time of
 * the last renewal speaks.
 */
#include "core/lease.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"

/* The first line of a small file; "" when it cannot be read. */
static void read_line(const char *path, char *ret, size_t size)
{
	FILE *file = fopen(path, "re");

	ret[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(ret, (int)size, file) == NULL)
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	fclose(file);
}

/* Clock ticks since boot at which a process started (proc(5), field 22, after
 * a command name in parentheses); 0 when there is no such process. */
static unsigned long long start_time(long pid)
{
	unsigned long long ticks = 0;
	char path[64], line[1024];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%ld/stat", pid);
	read_line(path, line, sizeof(line));
	at = strrchr(line, ')');
	if (at == NULL ||
	    sscanf(at + 1,
		   " %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
		   "%*s %*s %*s %*s %*s %*s %*s %llu",
		   &ticks) != 1)
		return 0;
	return ticks;
}

static enum kt_err name_process(long pid, char *ret, size_t size)
{
	char host[65] = "";
	char boot[64];

	if (gethostname(host, sizeof(host) - 1) != 0)
		return err_errno("gethostname");
	read_line("/proc/sys/kernel/random/boot_id", boot, sizeof(boot));
	return text_format(ret, size, "%s %s %ld %llu", host, boot, pid,
			   start_time(pid));
}

/* True when the process surely is gone: it ran here, and the pid is free or
 * another process has it now. */
static bool is_gone(const char *process)
{
	char now[256], host[65], boot[64], other_host[65], other_boot[64];
	long pid;

	if (sscanf(process, "%64s %63s %ld", other_host, other_boot, &pid) != 3)
		return false;
	if (name_process(pid, now, sizeof(now)) != KT_OK ||
	    sscanf(now, "%64s %63s", host, boot) != 2)
		return false;
	if (strcmp(host, other_host) != 0)
		return false;
	return strcmp(boot, other_boot) != 0 || strcmp(now, process) != 0;
}

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

static enum kt_err require_free(const struct kt_vault *vault,
				const struct lease_row *lease, int64_t now)
{
	int64_t seconds = vault->params.lease_seconds > 0
				  ? vault->params.lease_seconds
				  : LEASE_SECONDS_DEFAULT;

	if (id_is_zero(&lease->rotation) || is_gone(lease->process) ||
	    now - lease->renewed >= seconds)
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
	TRY(name_process(getpid(), lease.process, sizeof(lease.process)));
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
