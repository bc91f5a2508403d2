/*
 * Checks of the process and its files, before token and database are opened.
 */
#include "core/doctor.h"

#include <limits.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

static enum kt_err no_core_dump(struct doctor *d, struct finding *ret)
{
	struct rlimit limit;

	(void)d;
	if (getrlimit(RLIMIT_CORE, &limit) != 0)
		return err_errno("getrlimit");
	if (limit.rlim_cur != 0)
		return finding_fail(ret, "RLIMIT_CORE is not 0");
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return finding_fail(ret, "the process can be dumped");
	return finding_ok(ret, "no core dumps, not dumpable");
}

static enum kt_err locked_memory(struct doctor *d, struct finding *ret)
{
	(void)d;
	if (!secret_heap_init())
		return finding_fail(ret, "the heap for secrets is not locked "
					 "in memory and may be swapped out");
	return finding_ok(ret, "the heap for secrets is locked in memory");
}

static bool credential_path(const char *dir, char *ret, size_t size)
{
	return dir != NULL && text_format(ret, size, "%s/pin", dir) == KT_OK &&
	       file_exists(ret);
}

/* In the order in which a login looks for it. */
static enum kt_err pin_source(struct doctor *d, struct finding *ret)
{
	const struct kt_pin_source *pin = &d->params->pin;
	const char *uri = d->params->token_uri;
	char path[PATH_MAX];

	if (pin->fd >= 0)
		return finding_ok(ret, "from a descriptor");
	if (pin->file != NULL)
		return file_guarded(pin->file, REFUSE_READERS, ret);
	if (uri != NULL && strstr(uri, "pin-source=") != NULL)
		return finding_ok(ret, "the token URI names its file");
	if (credential_path(pin->credentials_dir, path, sizeof(path)))
		return file_guarded(path, REFUSE_READERS_BUT_GROUP, ret);
	if (pin->environment == NULL)
		return finding_ok(ret, "no PIN file in use");
	finding_fix(ret, "use --pin-file with a file of mode 0600, or the "
			 "systemd credential 'pin'");
	return finding_warn(ret, "the PIN is in the environment, which child "
				 "processes inherit");
}

const struct check doctor_host_checks[] = {
	{"D35", "no memory leaves the process", NEED_NOTHING, no_core_dump,
	 "set RLIMIT_CORE to 0 and PR_SET_DUMPABLE to 0 before the library "
	 "is used"},
	{"D35", "secret memory is locked", NEED_NOTHING, locked_memory,
	 "raise the limit of locked memory (ulimit -l, LimitMEMLOCK=) to 64 "
	 "MiB"},
	{"D36", "PIN source is private", NEED_NOTHING, pin_source,
	 "make the PIN file readable for its owner only"},
};

const size_t doctor_host_count =
	sizeof(doctor_host_checks) / sizeof(doctor_host_checks[0]);
