/*
 * The PKCS#11 surface as any program may meet it: in the wrong order, with the
 * wrong arguments, from several threads, after a fork. The token is the fake
 * one; the .bats files beside it do the same on a TPM.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/p11fault/functions.h"
#include "tests/tpm2/fake_token.h"
#include "tests/tpm2/surface.h"

#define NO_SESSION 4711UL

/* A call with nothing but zeros, and one with a first argument. */
#define PICK(a, b, c, d, e, f, g, h, n, ...) n
#define COUNT(...) PICK(__VA_ARGS__, 8, 7, 6, 5, 4, 3, 2, 1)
#define REST_1
#define REST_2 , 0
#define REST_3 , 0, 0
#define REST_4 , 0, 0, 0
#define REST_5 , 0, 0, 0, 0
#define REST_6 , 0, 0, 0, 0, 0
#define REST_7 , 0, 0, 0, 0, 0, 0
#define REST_8 , 0, 0, 0, 0, 0, 0, 0
#define JOIN_(a, b) a##b
#define JOIN(a, b) JOIN_(a, b)
#define REST(...) JOIN(REST_, COUNT(__VA_ARGS__))

struct answer {
	const char *name;
	CK_RV rv;
};

static int setup(void **state)
{
	(void)state;
	surface_start();
	surface_token();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	surface_stop();
	return 0;
}

#define CHECK_POINTER(name, parameters, arguments, output)                     \
	assert_non_null(p11->name);

static void test_all_functions(void **state)
{
	(void)state;
	surface_configure();
	assert_int_equal(p11->version.major, 2);
	assert_int_equal(p11->version.minor, 40);
	FUNCTIONS(CHECK_POINTER)
	assert_int_equal(FN_MAX_, 67);
	assert_non_null(p11->C_GetFunctionList);
	assert_int_equal(p11->C_GetFunctionList(NULL), CKR_ARGUMENTS_BAD);
}

#define CALL_ZEROS(name, parameters, arguments, output)                        \
	{#name, p11->name(0 REST arguments)},

static void test_not_initialised(void **state)
{
	(void)state;
	surface_configure();
	{
		const struct answer answers[] = {
			TOKEN_FUNCTIONS(CALL_ZEROS) SESSION_FUNCTIONS(
				CALL_ZEROS) OBJECT_FUNCTIONS(CALL_ZEROS)
				CRYPTO_FUNCTIONS(CALL_ZEROS) KEY_FUNCTIONS(
					CALL_ZEROS){"C_Finalize",
						    p11->C_Finalize(NULL)},
			{"C_GetInfo", p11->C_GetInfo(NULL)},
			{"C_GetSlotList", p11->C_GetSlotList(0, NULL, NULL)},
			{"C_GetSlotInfo", p11->C_GetSlotInfo(0, NULL)},
			{"C_WaitForSlotEvent",
			 p11->C_WaitForSlotEvent(0, NULL, NULL)},
		};

		for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]);
		     i++) {
			if (answers[i].rv != CKR_CRYPTOKI_NOT_INITIALIZED)
				fail_msg("%s: 0x%lx", answers[i].name,
					 answers[i].rv);
		}
	}
}

#define CALL_SESSION(name, parameters, arguments, output)                      \
	{#name, p11->name(s REST arguments)},

#define SESSION_CALLS                                                          \
	OBJECT_FUNCTIONS(CALL_SESSION)                                         \
	CRYPTO_FUNCTIONS(CALL_SESSION) KEY_FUNCTIONS(CALL_SESSION)

static void test_no_such_session(void **state)
{
	const CK_SESSION_HANDLE s = NO_SESSION;
	const struct answer answers[] = {
		SESSION_CALLS{"C_CloseSession", p11->C_CloseSession(s)},
		{"C_GetSessionInfo", p11->C_GetSessionInfo(s, NULL)},
		{"C_Login", p11->C_Login(s, 0, NULL, 0)},
		{"C_Logout", p11->C_Logout(s)},
		{"C_InitPIN", p11->C_InitPIN(s, NULL, 0)},
		{"C_SetPIN", p11->C_SetPIN(s, NULL, 0, NULL, 0)},
		{"C_GetFunctionStatus", p11->C_GetFunctionStatus(s)},
		{"C_CancelFunction", p11->C_CancelFunction(s)},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
		if (answers[i].rv != CKR_SESSION_HANDLE_INVALID)
			fail_msg("%s: 0x%lx", answers[i].name, answers[i].rv);
	}
}

/* Zeros for everything else: an error each time, and never a crash. A search
 * for everything, and random bytes, none, are good calls. */
static void test_zero_arguments(void **state)
{
	const CK_SESSION_HANDLE s = surface_login();
	const struct answer answers[] = {SESSION_CALLS{NULL, CKR_OK}};

	(void)state;
	for (size_t i = 0; answers[i].name != NULL; i++) {
		bool good =
			strcmp(answers[i].name, "C_FindObjectsInit") == 0 ||
			strcmp(answers[i].name, "C_FindObjectsFinal") == 0 ||
			strcmp(answers[i].name, "C_GenerateRandom") == 0;

		if ((answers[i].rv == CKR_OK) != good)
			fail_msg("%s: 0x%lx", answers[i].name, answers[i].rv);
	}
	assert_int_equal(p11->C_DigestInit(s, NULL),
			 CKR_FUNCTION_NOT_SUPPORTED);
	assert_int_equal(p11->C_DeriveKey(s, NULL, 0, NULL, 0, NULL),
			 CKR_FUNCTION_NOT_SUPPORTED);
	assert_int_equal(p11->C_GetOperationState(s, NULL, NULL),
			 CKR_FUNCTION_NOT_SUPPORTED);
	assert_int_equal(p11->C_GetFunctionStatus(s),
			 CKR_FUNCTION_NOT_PARALLEL);
	assert_int_equal(p11->C_CancelFunction(s), CKR_FUNCTION_NOT_PARALLEL);
	assert_int_equal(p11->C_SeedRandom(s, NULL, 0),
			 CKR_RANDOM_SEED_NOT_SUPPORTED);
}

static CK_RV no_mutex(void **mutex)
{
	(void)mutex;
	return CKR_OK;
}

static CK_RV no_lock(void *mutex)
{
	(void)mutex;
	return CKR_OK;
}

static void test_initialize(void **state)
{
	CK_C_INITIALIZE_ARGS args = {.CreateMutex = no_mutex,
				     .DestroyMutex = no_lock};

	(void)state;
	surface_configure();
	assert_int_equal(p11->C_Initialize(&args), CKR_ARGUMENTS_BAD);
	args.LockMutex = args.UnlockMutex = no_lock;
	assert_int_equal(p11->C_Initialize(&args), CKR_CANT_LOCK);
	args.pReserved = &args;
	assert_int_equal(p11->C_Initialize(&args), CKR_ARGUMENTS_BAD);
	args.pReserved = NULL;
	args.flags = CKF_OS_LOCKING_OK;
	assert_int_equal(p11->C_Initialize(&args), CKR_OK);
	assert_int_equal(fake_token_commands(), 0);
	assert_int_equal(p11->C_Initialize(NULL),
			 CKR_CRYPTOKI_ALREADY_INITIALIZED);
	assert_int_equal(p11->C_Finalize(&args), CKR_ARGUMENTS_BAD);
	surface_token();
	assert_int_equal(p11->C_Finalize(NULL), CKR_OK);
	assert_int_equal(p11->C_Initialize(NULL), CKR_OK);
	surface_login();
	surface_stop();
}

/* A file that cannot be used gives no slots and says why; the module starts. */
static void bad_config(const char *text, const char *says)
{
	const char *path = getenv("KEYTURN_TPM2_CONF");
	CK_ULONG n = 7;
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_int_equal(p11->C_Initialize(NULL), CKR_OK);
	if (strstr(kt_err_detail(), says) == NULL)
		fail_msg("'%s' says '%s'", text, kt_err_detail());
	assert_int_equal(p11->C_GetSlotList(CK_TRUE, NULL, &n), CKR_OK);
	assert_int_equal(n, 0);
	assert_int_equal(p11->C_Finalize(NULL), CKR_OK);
}

static void test_config(void **state)
{
	(void)state;
	surface_configure();
	bad_config("tokens:\n- {tcti: x, state: /x, pin: 1234}\n", "pin");
	bad_config("token:\n- {tcti: x, state: /x}\n", "token");
	bad_config("tokens:\n- {tcti: x}\n", "state");
	bad_config("tokens:\n- {tcti: x, state: x}\n", "absolute");
	bad_config("tokens:\n- {tcti: x, state: /x, srk: 0x8100000g}\n",
		   "0x8100000g");
	bad_config("tokens:\n- {tcti: x, state: /x, slots: -1}\n", "-1");
	bad_config("tokens:\n- {tcti: x, state: /x, slots: 65537}\n",
		   "more slots");
	bad_config("tokens:\n- {tcti: x, state: /x, srk: 0x1000000}\n", "srk");
	bad_config("tokens:\n- {tcti: x, state: /x, handles: 0x817fff01}\n",
		   "handles");
	bad_config("tokens:\n- {tcti: x, state: /x, counters: 0x1fffffe, "
		   "slots: 3}\n",
		   "counters");
	bad_config("tokens: [\n", "libyaml");
	bad_config("tokens:\n- {tcti: x, state: /x}\n- {tcti: y, state: y}\n",
		   "absolute");
	assert_int_equal(unlink(getenv("KEYTURN_TPM2_CONF")), 0);
	bad_config("", "");
	assert_int_equal(unlink(getenv("KEYTURN_TPM2_CONF")), 0);
	assert_int_equal(p11->C_Initialize(NULL), CKR_OK);
	assert_non_null(strstr(kt_err_detail(), "no such file"));
	fake_token_forget();
	assert_int_equal(p11->C_Finalize(NULL), CKR_OK);
}

static void test_slots(void **state)
{
	CK_SLOT_ID slots[2] = {7, 7};
	CK_MECHANISM_TYPE types[32];
	CK_MECHANISM_INFO mechanism;
	CK_ULONG n = 0, all;
	CK_SLOT_INFO slot;
	CK_INFO info;

	(void)state;
	assert_int_equal(p11->C_GetInfo(&info), CKR_OK);
	assert_memory_equal(info.manufacturerID, "keyturn ", 8);
	assert_int_equal(p11->C_GetSlotList(CK_TRUE, slots, &n),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(n, 1);
	n = 2;
	assert_int_equal(p11->C_GetSlotList(CK_TRUE, slots, &n), CKR_OK);
	assert_int_equal(n, 1);
	assert_int_equal(slots[0], 0);
	assert_int_equal(p11->C_GetSlotInfo(1, &slot), CKR_SLOT_ID_INVALID);
	assert_int_equal(p11->C_GetSlotInfo(0, &slot), CKR_OK);
	assert_true((slot.flags & CKF_TOKEN_PRESENT) != 0);
	assert_int_equal(p11->C_GetMechanismList(0, NULL, &all), CKR_OK);
	n = all - 1;
	assert_int_equal(p11->C_GetMechanismList(0, types, &n),
			 CKR_BUFFER_TOO_SMALL);
	assert_int_equal(p11->C_GetMechanismList(0, types, &n), CKR_OK);
	for (CK_ULONG i = 0; i < n; i++)
		assert_int_equal(
			p11->C_GetMechanismInfo(0, types[i], &mechanism),
			CKR_OK);
	assert_int_equal(p11->C_GetMechanismInfo(0, CKM_AES_ECB, &mechanism),
			 CKR_MECHANISM_INVALID);
	assert_int_equal(p11->C_WaitForSlotEvent(CKF_DONT_BLOCK, slots, NULL),
			 CKR_NO_EVENT);
	assert_int_equal(p11->C_WaitForSlotEvent(0, slots, NULL),
			 CKR_FUNCTION_NOT_SUPPORTED);
}

static void test_init_token(void **state)
{
	CK_UTF8CHAR label[32] = "new";
	CK_SESSION_HANDLE s;
	CK_TOKEN_INFO info;

	(void)state;
	memset(label + 3, ' ', sizeof(label) - 3);
	assert_int_equal(p11->C_GetTokenInfo(0, &info), CKR_OK);
	assert_memory_equal(info.label, "test   ", 7);
	assert_int_equal(info.flags, CKF_RNG | CKF_LOGIN_REQUIRED |
					     CKF_USER_PIN_INITIALIZED |
					     CKF_TOKEN_INITIALIZED);
	s = surface_session(0);
	assert_int_equal(p11->C_InitToken(0, BYTES_OF(SURFACE_SO_PIN), label),
			 CKR_SESSION_EXISTS);
	assert_int_equal(p11->C_CloseSession(s), CKR_OK);
	assert_int_equal(p11->C_InitToken(0, BYTES_OF("123"), label),
			 CKR_PIN_LEN_RANGE);
	assert_int_equal(p11->C_InitToken(0, NULL, 4, label),
			 CKR_ARGUMENTS_BAD);
	assert_int_equal(p11->C_InitToken(0, BYTES_OF("wrong"), label),
			 CKR_PIN_INCORRECT);
	s = surface_login();
	surface_master(s);
	assert_int_equal(p11->C_CloseSession(s), CKR_OK);
	assert_int_equal(p11->C_InitToken(0, BYTES_OF(SURFACE_SO_PIN), label),
			 CKR_OK);
	assert_int_equal(p11->C_GetTokenInfo(0, &info), CKR_OK);
	assert_memory_equal(info.label, "new ", 4);
	assert_true((info.flags & CKF_USER_PIN_INITIALIZED) == 0);
	s = surface_session(CKF_RW_SESSION);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN)),
			 CKR_USER_PIN_NOT_INITIALIZED);
	assert_int_equal(surface_count(s, NULL, 0), 0);
}

/* Before anything else there is no token to open a session with. */
static void test_no_token(void **state)
{
	CK_SESSION_HANDLE s;
	CK_TOKEN_INFO info;

	(void)state;
	surface_start();
	assert_int_equal(p11->C_GetTokenInfo(0, &info), CKR_OK);
	assert_true((info.flags & CKF_TOKEN_INITIALIZED) == 0);
	assert_int_equal(
		p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &s),
		CKR_TOKEN_NOT_RECOGNIZED);
	surface_stop();
}

static void test_login(void **state)
{
	CK_SESSION_HANDLE s = surface_session(CKF_RW_SESSION), ro, other;
	CK_SESSION_INFO info;
	CK_TOKEN_INFO token;

	(void)state;
	assert_int_equal(p11->C_OpenSession(0, 0, NULL, NULL, &other),
			 CKR_SESSION_PARALLEL_NOT_SUPPORTED);
	assert_int_equal(p11->C_Login(s, 7, BYTES_OF(SURFACE_PIN)),
			 CKR_USER_TYPE_INVALID);
	assert_int_equal(
		p11->C_Login(s, CKU_CONTEXT_SPECIFIC, BYTES_OF(SURFACE_PIN)),
		CKR_OPERATION_NOT_INITIALIZED);
	assert_int_equal(p11->C_Logout(s), CKR_USER_NOT_LOGGED_IN);
	assert_int_equal(p11->C_InitPIN(s, BYTES_OF(SURFACE_PIN)),
			 CKR_USER_NOT_LOGGED_IN);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF("4321")),
			 CKR_PIN_INCORRECT);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF("4321")),
			 CKR_PIN_INCORRECT);
	assert_int_equal(p11->C_GetTokenInfo(0, &token), CKR_OK);
	assert_true((token.flags & CKF_USER_PIN_FINAL_TRY) != 0);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN)),
			 CKR_OK);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN)),
			 CKR_USER_ALREADY_LOGGED_IN);
	assert_int_equal(p11->C_Login(s, CKU_SO, BYTES_OF(SURFACE_SO_PIN)),
			 CKR_USER_ANOTHER_ALREADY_LOGGED_IN);
	ro = surface_session(0);
	assert_int_equal(p11->C_GetSessionInfo(ro, &info), CKR_OK);
	assert_int_equal(info.state, CKS_RO_USER_FUNCTIONS);
	assert_int_equal(
		p11->C_SetPIN(ro, BYTES_OF(SURFACE_PIN), BYTES_OF("abcdef")),
		CKR_SESSION_READ_ONLY);
	assert_int_equal(
		p11->C_SetPIN(s, BYTES_OF(SURFACE_PIN), BYTES_OF("abcdef")),
		CKR_OK);
	assert_int_equal(p11->C_Logout(ro), CKR_OK);
	assert_int_equal(p11->C_GetSessionInfo(s, &info), CKR_OK);
	assert_int_equal(info.state, CKS_RW_PUBLIC_SESSION);
	assert_int_equal(p11->C_Login(s, CKU_SO, BYTES_OF(SURFACE_SO_PIN)),
			 CKR_SESSION_READ_ONLY_EXISTS);
	assert_int_equal(p11->C_CloseSession(ro), CKR_OK);
	assert_int_equal(p11->C_Login(s, CKU_SO, BYTES_OF(SURFACE_SO_PIN)),
			 CKR_OK);
	assert_int_equal(p11->C_GetSessionInfo(s, &info), CKR_OK);
	assert_int_equal(info.state, CKS_RW_SO_FUNCTIONS);
	assert_int_equal(
		p11->C_OpenSession(0, CKF_SERIAL_SESSION, NULL, NULL, &other),
		CKR_SESSION_READ_WRITE_SO_EXISTS);
	assert_int_equal(p11->C_CloseAllSessions(0), CKR_OK);
	s = surface_session(CKF_RW_SESSION);
	assert_int_equal(p11->C_GetSessionInfo(s, &info), CKR_OK);
	assert_int_equal(info.state, CKS_RW_PUBLIC_SESSION);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF("abcdef")), CKR_OK);
}

/* A key of the token is there after the login alone, in every session; one of
 * a session goes with it, and with the logout. */
static void test_lifetimes(void **state)
{
	CK_SESSION_HANDLE s = surface_login(), other = surface_session(0);
	CK_OBJECT_HANDLE dek, dek2;
	struct list master = master_list(true);
	CK_SESSION_INFO info;
	CK_ULONG size;

	(void)state;
	assert_int_equal(surface_generate(other, CKM_GENERIC_SECRET_KEY_GEN,
					  &master, &dek),
			 CKR_SESSION_READ_ONLY);
	surface_master(s);
	dek = surface_dek(other);
	dek2 = surface_dek(s);
	assert_int_equal(surface_count(other, NULL, 0), 3);
	assert_int_equal(p11->C_CloseSession(other), CKR_OK);
	assert_int_equal(surface_count(s, NULL, 0), 2);
	assert_int_equal(p11->C_GetObjectSize(s, dek, &size),
			 CKR_OBJECT_HANDLE_INVALID);
	assert_int_equal(p11->C_GetObjectSize(s, dek2, &size), CKR_OK);
	assert_int_equal(p11->C_Logout(s), CKR_OK);
	assert_int_equal(surface_count(s, NULL, 0), 0);
	assert_int_equal(p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN)),
			 CKR_OK);
	assert_int_equal(surface_count(s, NULL, 0), 1);
	assert_int_equal(p11->C_CloseSession(s), CKR_OK);
	s = surface_session(0);
	assert_int_equal(p11->C_GetSessionInfo(s, &info), CKR_OK);
	assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION);
	fake_token_lose_keys();
	s = surface_login();
	assert_int_equal(surface_count(s, NULL, 0), 0);
}

static void test_fork(void **state)
{
	CK_SESSION_HANDLE s = surface_login();
	CK_OBJECT_HANDLE master = surface_master(s);
	int status = -1;
	pid_t child;

	(void)state;
	child = fork();
	if (child == 0) {
		CK_SESSION_INFO info;

		if (p11->C_GetSessionInfo(s, &info) !=
			    CKR_CRYPTOKI_NOT_INITIALIZED ||
		    p11->C_Finalize(NULL) != CKR_CRYPTOKI_NOT_INITIALIZED ||
		    p11->C_Initialize(NULL) != CKR_OK)
			_exit(1);
		s = surface_login();
		_exit(surface_count(s, NULL, 0) == 1 ? 0 : 2);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(surface_flag(s, master, CKA_WRAP), CK_TRUE);
}

/* A fork that the C library knows nothing of. */
static void test_raw_fork(void **state)
{
	CK_SESSION_HANDLE s = surface_login();
	int status = -1;
	CK_SESSION_INFO info;
	long child;

	(void)state;
	child = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
	if (child == 0)
		_exit(p11->C_GetSessionInfo(s, &info) ==
				      CKR_CRYPTOKI_NOT_INITIALIZED
			      ? 0
			      : 1);
	assert_int_equal(waitpid((pid_t)child, &status, 0), child);
	assert_int_equal(status, 0);
}

static atomic_bool stop;

static void *keep_calling(void *arg)
{
	CK_SESSION_INFO info;

	while (!stop)
		p11->C_GetSessionInfo(*(CK_SESSION_HANDLE *)arg, &info);
	return NULL;
}

/* The child's one thread does not wait for what others held at the fork. */
static void test_fork_under_load(void **state)
{
	CK_SESSION_HANDLE s = surface_login();
	pthread_t thread;

	(void)state;
	stop = false;
	assert_int_equal(pthread_create(&thread, NULL, keep_calling, &s), 0);
	for (int i = 0; i < 40; i++) {
		int status = -1;
		pid_t child = fork();

		if (child == 0) {
			alarm(10);
			_exit(p11->C_Initialize(NULL) == CKR_OK ? 0 : 1);
		}
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
	stop = true;
	pthread_join(thread, NULL);
}

struct worker {
	pthread_t thread;
	CK_OBJECT_HANDLE master;
	int rounds;
};

/* A session of its own, wrapping and unwrapping keys of its own. */
static void *work(void *arg)
{
	CK_MECHANISM mechanism = {CKM_KEYTURN_TPM_WRAP, NULL, 0};
	struct worker *worker = arg;

	for (int i = 0; i < 100; i++) {
		CK_SESSION_HANDLE s = surface_session(0);
		CK_OBJECT_HANDLE dek = surface_dek(s), back;
		struct list list = work_list();
		CK_BYTE blob[200];
		CK_ULONG len = sizeof(blob);

		if (p11->C_WrapKey(s, &mechanism, worker->master, dek, blob,
				   &len) != CKR_OK ||
		    p11->C_UnwrapKey(s, &mechanism, worker->master, blob, len,
				     list_use(&list), list.n,
				     &back) != CKR_OK ||
		    surface_count(s, NULL, 0) < 3 ||
		    p11->C_DestroyObject(s, dek) != CKR_OK ||
		    p11->C_CloseSession(s) != CKR_OK)
			return NULL;
		worker->rounds++;
	}
	return NULL;
}

static void test_threads(void **state)
{
	CK_SESSION_HANDLE s = surface_login();
	struct worker workers[4];

	(void)state;
	for (int i = 0; i < 4; i++) {
		workers[i] = (struct worker){.master = surface_master(s)};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work,
						&workers[i]),
				 0);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].rounds, 100);
	}
	assert_int_equal(surface_count(s, NULL, 0), 4);
}

/* Logs in and leaves again, with nobody's session left in between or not. */
static void *come_and_go(void *arg)
{
	struct worker *worker = arg;

	for (int i = 0; i < 200; i++) {
		CK_SESSION_HANDLE s = surface_session(CKF_RW_SESSION);
		CK_RV rv = p11->C_Login(s, CKU_USER, BYTES_OF(SURFACE_PIN));

		if ((rv != CKR_OK && rv != CKR_USER_ALREADY_LOGGED_IN) ||
		    p11->C_CloseSession(s) != CKR_OK)
			return NULL;
		worker->rounds++;
	}
	return NULL;
}

static void test_come_and_go(void **state)
{
	struct worker workers[4] = {0};
	CK_SESSION_INFO info;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL,
						come_and_go, &workers[i]),
				 0);
	for (int i = 0; i < 4; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].rounds, 200);
	}
	assert_int_equal(fake_token_double_logins(), 0);
	assert_int_equal(p11->C_GetSessionInfo(surface_session(0), &info),
			 CKR_OK);
	assert_int_equal(info.state, CKS_RO_PUBLIC_SESSION);
}

static void test_random(void **state)
{
	CK_SESSION_HANDLE s = surface_session(0);
	CK_BYTE zero[64] = {0}, bytes[64] = {0};

	(void)state;
	assert_int_equal(p11->C_GenerateRandom(s, bytes, sizeof(bytes)),
			 CKR_OK);
	assert_memory_not_equal(bytes, zero, sizeof(bytes));
	assert_int_equal(p11->C_GenerateRandom(s, NULL, 1), CKR_ARGUMENTS_BAD);
	fake_token_fail(CKR_DEVICE_REMOVED);
	assert_int_equal(p11->C_GenerateRandom(s, bytes, sizeof(bytes)),
			 CKR_DEVICE_REMOVED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_functions),
		cmocka_unit_test(test_not_initialised),
		cmocka_unit_test(test_initialize),
		cmocka_unit_test(test_config),
		cmocka_unit_test(test_no_token),
		cmocka_unit_test_setup_teardown(test_no_such_session, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_zero_arguments, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_slots, setup, teardown),
		cmocka_unit_test_setup_teardown(test_init_token, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_login, setup, teardown),
		cmocka_unit_test_setup_teardown(test_lifetimes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_raw_fork, setup, teardown),
		cmocka_unit_test_setup_teardown(test_fork_under_load, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
		cmocka_unit_test_setup_teardown(test_come_and_go, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
