/*
 * The module's life: C_Initialize, C_Finalize, and what every call between
 * them begins with. C_Initialize reads the configuration and nothing else; a
 * TPM is asked when a token is used. A child of fork() has to start anew: the
 * parent's connections and locks are not its own, so it leaves all of them.
 */
#include "hsm/tpm2/p11_module.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/secret.h"
#include "hsm/tpm2/p11_config.h"
#include "hsm/tpm2/p11_object.h"

/* Locked memory is scarce in programs that did not ask for it. */
#define ARENA_MOST ((size_t)16 << 20)

static struct module *current;
/* Calls read it, C_Initialize and C_Finalize write. */
static pthread_rwlock_t life = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* In the child: whoever held the locks is not here to give them back. */
static void leave_parent(void)
{
	current = NULL;
	life = (pthread_rwlock_t)PTHREAD_RWLOCK_INITIALIZER;
}

static void watch_forks(void)
{
	pthread_atfork(NULL, NULL, leave_parent);
}

static bool is_ours(const struct module *module)
{
	return module != NULL && module->pid == getpid();
}

CK_RV call_begin(struct call *call)
{
	pthread_rwlock_rdlock(&life);
	call->module = current;
	if (!is_ours(current)) {
		call->module = NULL;
		pthread_rwlock_unlock(&life);
		return rv_raise(CKR_CRYPTOKI_NOT_INITIALIZED,
				"C_Initialize was not called");
	}
	call_lock(call);
	return CKR_OK;
}

void call_end(struct call *call)
{
	if (call->module == NULL)
		return;
	if (call->locked)
		call_unlock(call);
	pthread_rwlock_unlock(&life);
}

void call_lock(struct call *call)
{
	pthread_mutex_lock(&call->module->lock);
	call->locked = true;
}

void call_unlock(struct call *call)
{
	call->locked = false;
	pthread_mutex_unlock(&call->module->lock);
}

struct slot *slot_lock_admin(struct call *call, struct slot *slot)
{
	call_unlock(call);
	pthread_mutex_lock(&slot->admin);
	call_lock(call);
	return slot;
}

void slot_unlock_admin(struct slot **slot)
{
	if (*slot != NULL)
		pthread_mutex_unlock(&(*slot)->admin);
}

void module_forget(struct module *module)
{
	struct session *session;

	while ((session = module->sessions) != NULL) {
		module->sessions = session->next;
		session_free(session);
	}
	while (module->objects != NULL)
		object_remove(module, module->objects);
}

static void module_free(struct module *module)
{
	if (module == NULL)
		return;
	module_forget(module);
	for (size_t i = 0; i < module->slot_count; i++) {
		tpm_token_free(module->slots[i].token);
		pthread_mutex_destroy(&module->slots[i].admin);
	}
	pthread_mutex_destroy(&module->lock);
	free(module);
}
DEFINE_CLEANUP(struct module, module_free)

static CK_RV add_slot(void *arg, const struct tpm_config *config)
{
	struct module *module = arg;
	struct slot *slot = &module->slots[module->slot_count];

	if (module->slot_count == SLOTS_MAX)
		return rv_raise(CKR_ARGUMENTS_BAD, "more than %d tokens",
				SLOTS_MAX);
	RV_TRY(tpm_token_new(config, &slot->token));
	slot->id = module->slot_count++;
	pthread_mutex_init(&slot->admin, NULL);
	return CKR_OK;
}

/* A configuration that cannot be used gives no slots, and its error is there
 * to be read: a module that refuses to start would take p11-kit's others with
 * it. */
static CK_RV add_slots(struct module *module)
{
	CK_RV rv = config_each(add_slot, module);

	if (rv == CKR_HOST_MEMORY)
		return rv;
	if (rv != CKR_OK) {
		for (size_t i = 0; i < module->slot_count; i++) {
			tpm_token_free(module->slots[i].token);
			pthread_mutex_destroy(&module->slots[i].admin);
		}
		module->slot_count = 0;
	}
	return CKR_OK;
}

static CK_RV module_new(struct module **ret)
{
	CLEANUP(module_freep) struct module *module = NULL;

	module = calloc(1, sizeof(*module));
	if (module == NULL)
		return rv_memory();
	module->pid = getpid();
	pthread_mutex_init(&module->lock, NULL);
	secret_heap_limit(ARENA_MOST);
	RV_TRY(add_slots(module));
	*ret = TAKE(module);
	return CKR_OK;
}

/* PKCS#11 2.40 section 5.4: all four or none. Ours are the system's locks, so
 * an application that insists on its own cannot be served. */
static CK_RV check_locking(const CK_C_INITIALIZE_ARGS *args)
{
	int given;

	if (args == NULL)
		return CKR_OK;
	if (args->pReserved != NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "pReserved is not NULL");
	given = (args->CreateMutex != NULL) + (args->DestroyMutex != NULL) +
		(args->LockMutex != NULL) + (args->UnlockMutex != NULL);
	if (given != 0 && given != 4)
		return rv_raise(CKR_ARGUMENTS_BAD,
				"%d mutex functions, not all or none", given);
	if (given == 4 && (args->flags & CKF_OS_LOCKING_OK) == 0)
		return rv_raise(CKR_CANT_LOCK,
				"locks of the application cannot be used");
	return CKR_OK;
}

static CK_RV initialize(void)
{
	if (is_ours(current))
		return rv_raise(CKR_CRYPTOKI_ALREADY_INITIALIZED,
				"C_Initialize was called before");
	/* What a parent left is not freed: its locks may be held for ever. */
	current = NULL;
	return module_new(&current);
}

CK_RV C_Initialize(void *init_args)
{
	CK_RV rv;

	RV_TRY(check_locking(init_args));
	pthread_once(&fork_once, watch_forks);
	pthread_rwlock_wrlock(&life);
	rv = initialize();
	pthread_rwlock_unlock(&life);
	return rv;
}

static CK_RV finalize(void)
{
	if (!is_ours(current))
		return rv_raise(CKR_CRYPTOKI_NOT_INITIALIZED,
				"C_Initialize was not called");
	module_free(TAKE(current));
	return CKR_OK;
}

CK_RV C_Finalize(void *reserved)
{
	CK_RV rv;

	if (reserved != NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "pReserved is not NULL");
	pthread_rwlock_wrlock(&life);
	rv = finalize();
	pthread_rwlock_unlock(&life);
	return rv;
}
