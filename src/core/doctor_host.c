/*
 * Checks of the process and its files, before token and database are opened.
 */
#include "core/doctor.h"

#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/secret.h"
#include "hsm/pin.h"

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

static enum kt_err pin_source(struct doctor *d, struct finding *ret)
{
	const struct kt_pin_source *pin = &d->params->pin;
	const char *uri = d->params->token_uri;
	bool in_uri = uri != NULL && strstr(uri, "pin-source=") != NULL;
	char path[PATH_MAX];

	switch (pin_origin(pin, in_uri, path)) {
	case PIN_FROM_DESCRIPTOR:
		return finding_ok(ret, "from a descriptor");
	case PIN_FROM_FILE:
		return file_guarded(pin->file, REFUSE_READERS, ret);
	case PIN_FROM_URI:
		return finding_ok(ret, "the token URI names its file");
	case PIN_FROM_CREDENTIAL:
		return file_guarded(path, REFUSE_READERS_BUT_GROUP, ret);
	case PIN_FROM_ENVIRONMENT:
		finding_fix(ret, "use --pin-file with a file of mode 0600, or "
				 "the systemd credential 'pin'");
		return finding_warn(ret, "the PIN is in the environment, which "
					 "child processes inherit");
	case PIN_FROM_PROMPT:
	case PIN_FROM_NOWHERE:
		break;
	}
	return finding_ok(ret, "no PIN file in use");
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
