/*
 * p11fault: a PKCS#11 module that stands in front of a real one, forwards every
 * call to it, and injects faults by a plan. It is used like any module:
 *
 *	P11FAULT_MODULE=/usr/lib/softhsm/libsofthsm2.so
 *	P11FAULT_PLAN=plan P11FAULT_LOG=log
 *	pkcs11-tool --module p11fault.so ...
 *
 * The plan and the log are described in p11fault.7. The module keeps no secret
 * and writes none: the log has names, counts and return codes only.
 */
#include <ctype.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

/* Every function that faults are injected into: name, parameters, arguments,
 * and the output buffer and its length where there is one to corrupt. */
#define NO_OUTPUT NULL, NULL
#define FUNCTIONS(X)                                                           \
	X(C_Initialize, (void *init), (init), NO_OUTPUT)                       \
	X(C_Finalize, (void *reserved), (reserved), NO_OUTPUT)                 \
	X(C_GetInfo, (CK_INFO * info), (info), NO_OUTPUT)                      \
	X(C_GetSlotList, (CK_BBOOL present, CK_SLOT_ID * slots, CK_ULONG * n), \
	  (present, slots, n), NO_OUTPUT)                                      \
	X(C_GetSlotInfo, (CK_SLOT_ID slot, CK_SLOT_INFO * info), (slot, info), \
	  NO_OUTPUT)                                                           \
	X(C_GetTokenInfo, (CK_SLOT_ID slot, CK_TOKEN_INFO * info),             \
	  (slot, info), NO_OUTPUT)                                             \
	X(C_GetMechanismList,                                                  \
	  (CK_SLOT_ID slot, CK_MECHANISM_TYPE * types, CK_ULONG * n),          \
	  (slot, types, n), NO_OUTPUT)                                         \
	X(C_GetMechanismInfo,                                                  \
	  (CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO * info), \
	  (slot, type, info), NO_OUTPUT)                                       \
	X(C_OpenSession,                                                       \
	  (CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify,       \
	   CK_SESSION_HANDLE *session),                                        \
	  (slot, flags, app, notify, session), NO_OUTPUT)                      \
	X(C_CloseSession, (CK_SESSION_HANDLE s), (s), NO_OUTPUT)               \
	X(C_CloseAllSessions, (CK_SLOT_ID slot), (slot), NO_OUTPUT)            \
	X(C_GetSessionInfo, (CK_SESSION_HANDLE s, CK_SESSION_INFO * info),     \
	  (s, info), NO_OUTPUT)                                                \
	X(C_Login,                                                             \
	  (CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR * pin,          \
	   CK_ULONG len),                                                      \
	  (s, user, pin, len), NO_OUTPUT)                                      \
	X(C_Logout, (CK_SESSION_HANDLE s), (s), NO_OUTPUT)                     \
	X(C_CreateObject,                                                      \
	  (CK_SESSION_HANDLE s, CK_ATTRIBUTE * t, CK_ULONG n,                  \
	   CK_OBJECT_HANDLE * object),                                         \
	  (s, t, n, object), NO_OUTPUT)                                        \
	X(C_CopyObject,                                                        \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE from, CK_ATTRIBUTE * t,       \
	   CK_ULONG n, CK_OBJECT_HANDLE * object),                             \
	  (s, from, t, n, object), NO_OUTPUT)                                  \
	X(C_DestroyObject, (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object),     \
	  (s, object), NO_OUTPUT)                                              \
	X(C_GetAttributeValue,                                                 \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object, CK_ATTRIBUTE * t,     \
	   CK_ULONG n),                                                        \
	  (s, object, t, n), n == 1 ? t->pValue : NULL, &t->ulValueLen)        \
	X(C_SetAttributeValue,                                                 \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE object, CK_ATTRIBUTE * t,     \
	   CK_ULONG n),                                                        \
	  (s, object, t, n), NO_OUTPUT)                                        \
	X(C_FindObjectsInit,                                                   \
	  (CK_SESSION_HANDLE s, CK_ATTRIBUTE * t, CK_ULONG n), (s, t, n),      \
	  NO_OUTPUT)                                                           \
	X(C_FindObjects,                                                       \
	  (CK_SESSION_HANDLE s, CK_OBJECT_HANDLE * objects, CK_ULONG max,      \
	   CK_ULONG * n),                                                      \
	  (s, objects, max, n), NO_OUTPUT)                                     \
	X(C_FindObjectsFinal, (CK_SESSION_HANDLE s), (s), NO_OUTPUT)           \
	X(C_EncryptInit,                                                       \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE key),       \
	  (s, m, key), NO_OUTPUT)                                              \
	X(C_Encrypt,                                                           \
	  (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len, CK_BYTE * out,  \
	   CK_ULONG * len),                                                    \
	  (s, in, in_len, out, len), out, len)                                 \
	X(C_DecryptInit,                                                       \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE key),       \
	  (s, m, key), NO_OUTPUT)                                              \
	X(C_Decrypt,                                                           \
	  (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len, CK_BYTE * out,  \
	   CK_ULONG * len),                                                    \
	  (s, in, in_len, out, len), out, len)                                 \
	X(C_SignInit,                                                          \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE key),       \
	  (s, m, key), NO_OUTPUT)                                              \
	X(C_Sign,                                                              \
	  (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len, CK_BYTE * out,  \
	   CK_ULONG * len),                                                    \
	  (s, in, in_len, out, len), out, len)                                 \
	X(C_VerifyInit,                                                        \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE key),       \
	  (s, m, key), NO_OUTPUT)                                              \
	X(C_Verify,                                                            \
	  (CK_SESSION_HANDLE s, CK_BYTE * in, CK_ULONG in_len,                 \
	   CK_BYTE * signature, CK_ULONG len),                                 \
	  (s, in, in_len, signature, len), NO_OUTPUT)                          \
	X(C_GenerateKey,                                                       \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_ATTRIBUTE * t,            \
	   CK_ULONG n, CK_OBJECT_HANDLE * key),                                \
	  (s, m, t, n, key), NO_OUTPUT)                                        \
	X(C_GenerateKeyPair,                                                   \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_ATTRIBUTE * pub,          \
	   CK_ULONG pub_n, CK_ATTRIBUTE * priv, CK_ULONG priv_n,               \
	   CK_OBJECT_HANDLE * pub_key, CK_OBJECT_HANDLE * priv_key),           \
	  (s, m, pub, pub_n, priv, priv_n, pub_key, priv_key), NO_OUTPUT)      \
	X(C_WrapKey,                                                           \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE wrapping,   \
	   CK_OBJECT_HANDLE key, CK_BYTE * out, CK_ULONG * len),               \
	  (s, m, wrapping, key, out, len), out, len)                           \
	X(C_UnwrapKey,                                                         \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE unwrapping, \
	   CK_BYTE * in, CK_ULONG in_len, CK_ATTRIBUTE * t, CK_ULONG n,        \
	   CK_OBJECT_HANDLE * key),                                            \
	  (s, m, unwrapping, in, in_len, t, n, key), NO_OUTPUT)                \
	X(C_DeriveKey,                                                         \
	  (CK_SESSION_HANDLE s, CK_MECHANISM * m, CK_OBJECT_HANDLE base,       \
	   CK_ATTRIBUTE * t, CK_ULONG n, CK_OBJECT_HANDLE * key),              \
	  (s, m, base, t, n, key), NO_OUTPUT)                                  \
	X(C_GenerateRandom,                                                    \
	  (CK_SESSION_HANDLE s, CK_BYTE * out, CK_ULONG len), (s, out, len),   \
	  out, &len)

#define ENUMERATOR(name, ...) FN_##name,
enum function { FUNCTIONS(ENUMERATOR) FN_MAX_ };

#define NAME(name, ...) [FN_##name] = #name,
static const char *const names[FN_MAX_] = {FUNCTIONS(NAME)};

enum when { BEFORE, AFTER };
enum action { ACT_RV, ACT_KILL, ACT_DELAY, ACT_CORRUPT, ACT_SHORTEN, ACT_GONE };

struct rule {
	int function; /* enum function, or -1: any */
	long first, last;
	enum when when;
	enum action action;
	unsigned long argument;
};

#define RULES_MAX 64

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;
static struct rule rules[RULES_MAX];
static size_t rule_count;
static int log_fd = -1;

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long calls[FN_MAX_]; /* per function, under the mutex */
static long all_calls;
static long gone; /* so many calls more find no token */

static const struct {
	const char *name;
	CK_RV rv;
} codes[] = {
	{"CKR_OK", CKR_OK},
	{"CKR_HOST_MEMORY", CKR_HOST_MEMORY},
	{"CKR_GENERAL_ERROR", CKR_GENERAL_ERROR},
	{"CKR_FUNCTION_FAILED", CKR_FUNCTION_FAILED},
	{"CKR_ARGUMENTS_BAD", CKR_ARGUMENTS_BAD},
	{"CKR_DATA_INVALID", CKR_DATA_INVALID},
	{"CKR_DEVICE_ERROR", CKR_DEVICE_ERROR},
	{"CKR_DEVICE_MEMORY", CKR_DEVICE_MEMORY},
	{"CKR_DEVICE_REMOVED", CKR_DEVICE_REMOVED},
	{"CKR_ENCRYPTED_DATA_INVALID", CKR_ENCRYPTED_DATA_INVALID},
	{"CKR_KEY_HANDLE_INVALID", CKR_KEY_HANDLE_INVALID},
	{"CKR_MECHANISM_INVALID", CKR_MECHANISM_INVALID},
	{"CKR_OPERATION_ACTIVE", CKR_OPERATION_ACTIVE},
	{"CKR_PIN_INCORRECT", CKR_PIN_INCORRECT},
	{"CKR_PIN_LOCKED", CKR_PIN_LOCKED},
	{"CKR_PIN_EXPIRED", CKR_PIN_EXPIRED},
	{"CKR_SESSION_CLOSED", CKR_SESSION_CLOSED},
	{"CKR_SESSION_COUNT", CKR_SESSION_COUNT},
	{"CKR_SESSION_HANDLE_INVALID", CKR_SESSION_HANDLE_INVALID},
	{"CKR_TEMPLATE_INCONSISTENT", CKR_TEMPLATE_INCONSISTENT},
	{"CKR_TOKEN_NOT_PRESENT", CKR_TOKEN_NOT_PRESENT},
	{"CKR_USER_NOT_LOGGED_IN", CKR_USER_NOT_LOGGED_IN},
	{"CKR_WRAPPED_KEY_INVALID", CKR_WRAPPED_KEY_INVALID},
};

#define CODES (sizeof(codes) / sizeof(codes[0]))

__attribute__((noreturn, format(printf, 1, 2))) static void
die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("p11fault: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	_exit(70);
}

/* --- the plan ------------------------------------------------------------- */

static int parse_function(const char *word)
{
	if (strcmp(word, "*") == 0)
		return -1;
	for (int i = 0; i < FN_MAX_; i++) {
		if (strcmp(word, names[i]) == 0)
			return i;
	}
	die("plan: no function '%s'", word);
}

/* "3", "3-5", "3+", "*" */
static void parse_range(const char *word, struct rule *rule)
{
	char *end;

	rule->first = 1;
	rule->last = LONG_MAX;
	if (strcmp(word, "*") == 0)
		return;
	rule->first = rule->last = strtol(word, &end, 10);
	if (strcmp(end, "+") == 0)
		rule->last = LONG_MAX;
	else if (*end == '-')
		rule->last = strtol(end + 1, &end, 10);
	if (rule->first < 1 || (*end != '\0' && *end != '+'))
		die("plan: '%s' is not a count", word);
}

static unsigned long parse_code(const char *word)
{
	char *end;
	unsigned long value;

	for (size_t i = 0; i < CODES; i++) {
		if (strcmp(word, codes[i].name) == 0)
			return codes[i].rv;
	}
	value = strtoul(word, &end, 0);
	if (*end != '\0' || end == word)
		die("plan: no return code '%s'", word);
	return value;
}

static void parse_action(const char *word, const char *argument,
                         struct rule *rule)
{
	static const char *const actions[] = {
		[ACT_RV] = "rv",           [ACT_KILL] = "kill",
		[ACT_DELAY] = "delay",     [ACT_CORRUPT] = "corrupt",
		[ACT_SHORTEN] = "shorten", [ACT_GONE] = "gone",
	};
	size_t action = 0;

	while (action <= ACT_GONE && strcmp(word, actions[action]) != 0)
		action++;
	if (action > ACT_GONE)
		die("plan: no action '%s'", word);
	rule->action = (enum action)action;
	if (rule->action == ACT_RV)
		rule->argument = parse_code(argument);
	else
		rule->argument = strtoul(argument, NULL, 0);
}

static void parse_line(char *line)
{
	struct rule *rule = &rules[rule_count];
	char function[64], range[32], when[16], action[16], argument[64] = "0";
	int words;

	line[strcspn(line, "#\n")] = '\0';
	words = sscanf(line, "%63s %31s %15s %15s %63s", function, range, when,
	               action, argument);
	if (words <= 0)
		return;
	if (words < 4 || rule_count == RULES_MAX)
		die("plan: not a rule: '%s'", line);
	rule->function = parse_function(function);
	parse_range(range, rule);
	if (strcmp(when, "before") != 0 && strcmp(when, "after") != 0)
		die("plan: '%s' is neither before nor after", when);
	rule->when = strcmp(when, "before") == 0 ? BEFORE : AFTER;
	parse_action(action, argument, rule);
	rule_count++;
}

static void read_plan(const char *path)
{
	char line[256];
	FILE *file;

	if (path == NULL)
		return;
	file = fopen(path, "re");
	if (file == NULL)
		die("cannot read the plan %s", path);
	while (fgets(line, sizeof(line), file) != NULL)
		parse_line(line);
	fclose(file);
}

/* --- a call --------------------------------------------------------------- */

static const char *code_name(CK_RV rv, char *room, size_t size)
{
	for (size_t i = 0; i < CODES; i++) {
		if (codes[i].rv == rv)
			return codes[i].name;
	}
	snprintf(room, size, "0x%lx", rv);
	return room;
}

/* One write(2) a line, so that processes can share a log. */
static void log_call(enum function f, long n, CK_RV rv, bool injected)
{
	char line[160], room[32];
	int len;

	if (log_fd < 0)
		return;
	len = snprintf(line, sizeof(line), "%ld %s %ld %s%s\n", (long)getpid(),
	               names[f], n, code_name(rv, room, sizeof(room)),
	               injected ? " injected" : "");
	if (write(log_fd, line, (size_t)len) != len)
		die("cannot write the log");
}

static bool applies(const struct rule *rule, enum function f, long n,
                    long any, enum when when)
{
	long count = rule->function < 0 ? any : n;

	return rule->when == when &&
	       (rule->function < 0 || rule->function == (int)f) &&
	       count >= rule->first && count <= rule->last;
}

static void pause_ms(unsigned long ms)
{
	struct timespec ts = {(time_t)(ms / 1000),
	                      (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

struct call {
	enum function f;
	long n, any;
	CK_RV rv;
	bool injected;
};

static void apply(const struct rule *rule, struct call *call, CK_BYTE *out,
                  CK_ULONG *len)
{
	switch (rule->action) {
	case ACT_RV:
		call->rv = rule->argument;
		call->injected = true;
		break;
	case ACT_KILL:
		log_call(call->f, call->n, call->rv, true);
		kill(getpid(), rule->argument != 0 ? (int)rule->argument
		                                   : SIGKILL);
		break;
	case ACT_DELAY:
		pause_ms(rule->argument);
		break;
	case ACT_CORRUPT:
		if (out != NULL && len != NULL && *len > 0)
			out[*len / 2] ^= 1;
		call->injected = true;
		break;
	case ACT_SHORTEN:
		if (len != NULL && *len > 0)
			--*len;
		call->injected = true;
		break;
	case ACT_GONE:
		pthread_mutex_lock(&mutex);
		gone = (long)rule->argument;
		pthread_mutex_unlock(&mutex);
		break;
	}
}

static bool is_gone(void)
{
	bool now;

	pthread_mutex_lock(&mutex);
	now = gone > 0;
	gone -= now;
	pthread_mutex_unlock(&mutex);
	return now;
}

/* False: the call does not reach the module. */
static bool enter(struct call *call, enum function f)
{
	pthread_mutex_lock(&mutex);
	*call = (struct call){.f = f, .n = ++calls[f], .any = ++all_calls};
	pthread_mutex_unlock(&mutex);
	for (size_t i = 0; i < rule_count; i++) {
		if (applies(&rules[i], f, call->n, call->any, BEFORE))
			apply(&rules[i], call, NULL, NULL);
	}
	if (!call->injected && is_gone()) {
		call->rv = CKR_TOKEN_NOT_PRESENT;
		call->injected = true;
	}
	return !call->injected;
}

static CK_RV leave(struct call *call, CK_BYTE *out, CK_ULONG *len)
{
	for (size_t i = 0; i < rule_count; i++) {
		if (applies(&rules[i], call->f, call->n, call->any, AFTER))
			apply(&rules[i], call, out, len);
	}
	log_call(call->f, call->n, call->rv, call->injected);
	return call->rv;
}

#define STAND_IN(name, parameters, arguments, ...)                             \
	static CK_RV fault_##name parameters                                   \
	{                                                                      \
		struct call call;                                              \
                                                                               \
		if (!enter(&call, FN_##name)) {                                \
			log_call(call.f, call.n, call.rv, true);               \
			return call.rv;                                        \
		}                                                              \
		call.rv = real->name arguments;                                \
		return leave(&call, __VA_ARGS__);                              \
	}

FUNCTIONS(STAND_IN)

static CK_RV get_list(CK_FUNCTION_LIST **ret)
{
	if (ret == NULL)
		return CKR_ARGUMENTS_BAD;
	*ret = &list;
	return CKR_OK;
}

static void load(void)
{
	const char *path = getenv("P11FAULT_MODULE");
	const char *log = getenv("P11FAULT_LOG");
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
	if (log != NULL) {
		log_fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC,
		              0600);
		if (log_fd < 0)
			die("cannot open the log %s", log);
	}
	read_plan(getenv("P11FAULT_PLAN"));
	list = *real;
	list.C_GetFunctionList = get_list;
#define INSTALL(name, ...) list.name = fault_##name;
	FUNCTIONS(INSTALL)
}

__attribute__((visibility("default"))) CK_RV
C_GetFunctionList(CK_FUNCTION_LIST **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return get_list(ret);
}
