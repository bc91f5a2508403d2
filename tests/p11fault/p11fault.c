/*
 * p11fault: a PKCS#11 module that stands in front of a real one, forwards every
 * call to it, and injects faults by a plan. It is used like any module:
 *
 *	P11FAULT_MODULE=/usr/lib/softhsm/libsofthsm2.so
 *	P11FAULT_PLAN=plan P11FAULT_LOG=log
 *	pkcs11-tool --module p11fault.so ...
 *
 * Plan and log are described in p11fault(7). The module keeps no secret and
 * writes none: the log has names, counts and return codes only. A call costs a
 * few atomic additions where there is no plan, so that what is timed behind it
 * stays what it is.
 */
#include <fcntl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/p11fault/plan.h"

/* In the process, or in a file that processes share. */
struct counters {
	_Atomic long all;
	_Atomic long gone; /* so many calls more find no token */
	_Atomic long of[FN_MAX_];
};

static struct counters own_counters;
static struct counters *counters = &own_counters;
static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;
static struct plan plan;
static int log_fd = -1;

struct call {
	enum function f;
	long n, all; /* the how manieth of this function, of all */
	CK_RV rv;
	bool done; /* the module has been asked, or is not to be */
	const struct rule *fault;
	bool gone;
};

/* One write(2) a line, so that processes can share a log. */
static void log_call(const struct call *call)
{
	char line[160], room[32];
	const struct rule *fault = call->fault;
	int len;

	if (log_fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%ld %ld %s %ld %s%s%s\n",
		       (long)getpid(), call->all, function_name(call->f),
		       call->n, code_name(call->rv, room, sizeof(room)),
		       fault == NULL           ? call->gone ? " gone" : ""
		       : fault->when == BEFORE ? " before:"
					       : " after:",
		       fault != NULL ? action_name(fault->action) : "");
	if (write(log_fd, line, (size_t)len) != len)
		die("cannot write the log");
}

static bool applies(const struct rule *rule, const struct call *call,
		    enum when when)
{
	long count = rule->function == FN_MAX_ ? call->all : call->n;

	return rule->when == when &&
	       (rule->function == FN_MAX_ || rule->function == call->f) &&
	       count >= rule->first && count <= rule->last;
}

static void pause_ms(unsigned long ms)
{
	struct timespec ts = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

static size_t output_size(const struct output *out)
{
	if (out->data == NULL)
		return 0;
	if (out->count == NULL)
		return out->unit;
	return *out->count == CK_UNAVAILABLE_INFORMATION
		       ? 0
		       : *out->count * out->unit;
}

/* False where the call gave nothing back that could be damaged. */
static bool damage(const struct rule *rule, const struct output *out)
{
	size_t size = output_size(out);
	CK_BYTE *data = out->data;

	if (size == 0 || (rule->action == ACT_SHORTEN && out->count == NULL))
		return false;
	if (rule->action == ACT_CORRUPT)
		data[size / 2] ^= 1;
	else if (rule->action == ACT_FILL)
		memset(data, (int)rule->argument, size);
	else if (rule->action == ACT_SHORTEN)
		--*out->count;
	else
		((CK_TOKEN_INFO *)out->data)->flags |= rule->argument;
	return true;
}

static void die_by(const struct rule *rule, struct call *call)
{
	call->fault = rule;
	log_call(call);
	raise((int)rule->argument);
}

static void apply(const struct rule *rule, struct call *call,
		  const struct output *out)
{
	bool injected = true;

	switch (rule->action) {
	case ACT_RV:
		call->rv = rule->argument;
		call->done = true;
		break;
	case ACT_KILL:
		die_by(rule, call);
		break;
	case ACT_DELAY:
		pause_ms(rule->argument);
		break;
	case ACT_GONE:
		atomic_store(&counters->gone, (long)rule->argument);
		break;
	case ACT_CORRUPT:
	case ACT_FILL:
	case ACT_SHORTEN:
	case ACT_FLAGS:
		injected = call->rv == CKR_OK && damage(rule, out);
		break;
	case ACT_MAX_:
		break;
	}
	if (injected)
		call->fault = rule;
}

static void apply_all(struct call *call, enum when when,
		      const struct output *out)
{
	for (size_t i = 0; i < plan.count; i++) {
		if (applies(&plan.rules[i], call, when))
			apply(&plan.rules[i], call, out);
	}
}

/* A reader without its token still has a library that answers. */
static bool needs_token(enum function f)
{
#define CASE(name, ...) case FN_##name:
	switch ((int)f) {
		GENERAL_FUNCTIONS(CASE)
		return false;
	}
	return true;
}

static bool take_gone(void)
{
	long left = atomic_load(&counters->gone);

	while (left > 0 &&
	       !atomic_compare_exchange_weak(&counters->gone, &left, left - 1))
		continue;
	return left > 0;
}

/* False: the call does not reach the module. */
static bool enter(struct call *call, enum function f)
{
	*call = (struct call){
		.f = f,
		.n = atomic_fetch_add(&counters->of[f], 1) + 1,
		.all = atomic_fetch_add(&counters->all, 1) + 1,
	};
	apply_all(call, BEFORE, NULL);
	if (!call->done && needs_token(f) && take_gone()) {
		call->rv = CKR_TOKEN_NOT_PRESENT;
		call->gone = true;
		call->done = true;
	}
	return !call->done;
}

static CK_RV leave(struct call *call, struct output out)
{
	apply_all(call, AFTER, &out);
	log_call(call);
	return call->rv;
}

#define STAND_IN(name, parameters, arguments, output)                          \
	static CK_RV fault_##name parameters                                   \
	{                                                                      \
		struct call call;                                              \
                                                                               \
		if (!enter(&call, FN_##name)) {                                \
			log_call(&call);                                       \
			return call.rv;                                        \
		}                                                              \
		call.rv = real->name arguments;                                \
		return leave(&call, output);                                   \
	}

FUNCTIONS(STAND_IN)

static CK_RV get_list(CK_FUNCTION_LIST **ret)
{
	if (ret == NULL)
		return CKR_ARGUMENTS_BAD;
	*ret = &list;
	return CKR_OK;
}

static void load_real(const char *path)
{
	CK_RV (*get)(CK_FUNCTION_LIST **);
	void *handle;

	if (path == NULL)
		die("P11FAULT_MODULE names no module");
	handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (handle == NULL)
		die("%s", dlerror());
	*(void **)&get = dlsym(handle, "C_GetFunctionList");
	if (get == NULL || get(&real) != CKR_OK)
		die("%s: no function list", path);
}

static void open_log(const char *path)
{
	if (path == NULL)
		return;
	log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (log_fd < 0)
		die("cannot open the log %s", path);
}

/* A new file is as long as it needs to be, and zero. */
static void share_counters(const char *path)
{
	int fd;

	if (path == NULL)
		return;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*counters)) != 0)
		die("cannot open the counters %s", path);
	counters = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE,
			MAP_SHARED, fd, 0);
	if (counters == MAP_FAILED)
		die("cannot map the counters %s", path);
	close(fd);
}

static void load(void)
{
	load_real(getenv("P11FAULT_MODULE"));
	open_log(getenv("P11FAULT_LOG"));
	share_counters(getenv("P11FAULT_COUNTER"));
	plan_read(getenv("P11FAULT_PLAN"), &plan);
	list = *real;
	list.C_GetFunctionList = get_list;
#define INSTALL(name, ...) list.name = fault_##name;
	FUNCTIONS(INSTALL)
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(
	CK_FUNCTION_LIST **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return get_list(ret);
}
