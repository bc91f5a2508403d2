/*
 * Modules and slots. p11-kit loads modules, so that one module used twice in a
 * process is initialised and finalised once. A token is found by what it says
 * of itself, and only where it is exactly one.
 */
#include "hsm/module.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>

#include "base/text.h"
#include "hsm/tpm2/keyturn-tpm2.h"

#define SLOTS_MAX 256

static const char *reason(void)
{
	const char *message = p11_kit_message();

	return message != NULL ? message : "unknown reason";
}

static enum kt_err load_path(const char *path, struct module *ret)
{
	if (access(path, R_OK) != 0)
		return err_raise(KT_ERR_TOKEN, "PKCS#11 module %s: %s", path,
				 strerror(errno));
	TRY(text_copy(ret->path, sizeof(ret->path), path, "module path"));
	ret->p11 = p11_kit_module_load(path, 0);
	if (ret->p11 == NULL)
		return err_raise(KT_ERR_TOKEN, "PKCS#11 module %s: %s", path,
				 reason());
	return KT_OK;
}

/* Loads what p11-kit is configured to know, keeps one, initialises none. */
static enum kt_err load_name(const char *name, struct module *ret)
{
	CLEANUP(freep) char *path = NULL;

	TRY(text_copy(ret->name, sizeof(ret->name), name, "module name"));
	ret->configured = p11_kit_modules_load(NULL, 0);
	if (ret->configured != NULL)
		ret->p11 = p11_kit_module_for_name(ret->configured, name);
	if (ret->p11 == NULL) {
		(void)err_raise(KT_ERR_TOKEN,
				"p11-kit knows no module named '%s'", name);
		return err_hint(KT_ERR_TOKEN,
				"p11-kit list-modules shows what it knows");
	}
	path = p11_kit_module_get_filename(ret->p11);
	return text_copy(ret->path, sizeof(ret->path),
			 path != NULL ? path : name, "module path");
}

/* p11-kit keeps the handle of a module to itself; the module stays loaded
 * without ours. */
void *module_symbol(const struct module *module, const char *name)
{
	void *handle = dlopen(module->path, RTLD_LAZY | RTLD_NOLOAD);
	void *symbol;

	if (handle == NULL)
		return NULL;
	symbol = dlsym(handle, name);
	dlclose(handle);
	return symbol;
}

enum kt_err module_load(const char *name, struct module *ret)
{
	CLEANUP(module_done) struct module module = {0};

	if (name == NULL || name[0] == '\0') {
		(void)err_raise(KT_ERR_CONFIG, "no PKCS#11 module is named");
		return err_hint(KT_ERR_CONFIG,
				"module-path in the token URI names one");
	}
	if (name[0] != '/' && strchr(name, '/') != NULL)
		return err_raise(KT_ERR_CONFIG,
				 "PKCS#11 module '%s' is not an absolute path",
				 name);
	TRY(name[0] == '/' ? load_path(name, &module)
			   : load_name(name, &module));
	module.words = (keyturn_tpm2_error_fn *)module_symbol(
		&module, "keyturn_tpm2_error");
	*ret = module;
	module = (struct module){0};
	return KT_OK;
}

enum kt_err module_initialize(struct module *module)
{
	assert(!module->initialized);
	TRY(p11_result(NULL, "C_Initialize",
		       p11_kit_module_initialize(module->p11)));
	module->initialized = true;
	return KT_OK;
}

enum kt_err module_require(const struct module *module)
{
	if (module->initialized)
		return KT_OK;
	return err_raise(KT_ERR_TOKEN, "the module could not be started again");
}

void module_finalize(struct module *module)
{
	if (module->initialized)
		p11_kit_module_finalize(module->p11);
	module->initialized = false;
}

void module_done(struct module *module)
{
	module_finalize(module);
	if (module->configured != NULL)
		p11_kit_modules_release(module->configured);
	else if (module->p11 != NULL)
		p11_kit_module_release(module->p11);
	*module = (struct module){0};
}

/* What is looked for: a URI, or a token seen before. */
struct search {
	P11KitUri *uri;
	const struct slot *before;
};

static bool same_token(const CK_TOKEN_INFO *a, const CK_TOKEN_INFO *b)
{
	return memcmp(a->serialNumber, b->serialNumber,
		      sizeof(a->serialNumber)) == 0 &&
	       memcmp(a->label, b->label, sizeof(a->label)) == 0 &&
	       memcmp(a->model, b->model, sizeof(a->model)) == 0 &&
	       memcmp(a->manufacturerID, b->manufacturerID,
		      sizeof(a->manufacturerID)) == 0;
}

static bool matches(const struct module *module, const struct search *search,
		    CK_SLOT_ID id, const CK_TOKEN_INFO *token)
{
	CK_SLOT_INFO slot;
	CK_INFO library;

	if (search->before != NULL)
		return same_token(token, &search->before->token);
	return module->p11->C_GetInfo(&library) == CKR_OK &&
	       module->p11->C_GetSlotInfo(id, &slot) == CKR_OK &&
	       p11_kit_uri_match_module_info(search->uri, &library) == 1 &&
	       p11_kit_uri_match_slot_info(search->uri, &slot) == 1 &&
	       p11_kit_uri_match_token_info(search->uri, token) == 1;
}

/* The tokens that are there, for people: 'label' (serial). */
struct listing {
	char text[400];
	size_t used;
};

static void list_token(struct listing *list, const CK_TOKEN_INFO *token)
{
	size_t room = sizeof(list->text) - list->used;
	char label[33], serial[17];
	int n;

	text_unpad(label, sizeof(label), token->label, sizeof(token->label));
	text_unpad(serial, sizeof(serial), token->serialNumber,
		   sizeof(token->serialNumber));
	n = snprintf(list->text + list->used, room, "%s'%s' (serial %s)",
		     list->used > 0 ? ", " : "", label, serial);
	if (n > 0 && (size_t)n < room)
		list->used += (size_t)n;
	else
		list->text[list->used] = '\0';
}

struct found {
	struct slot slot;
	size_t count;
	struct listing there, fitting;
};

/* A slot that cannot be asked, or whose token nobody initialised, is none. */
static void consider(const struct module *module, const struct search *search,
		     CK_SLOT_ID id, struct found *found)
{
	CK_TOKEN_INFO token;

	if (module->p11->C_GetTokenInfo(id, &token) != CKR_OK ||
	    (token.flags & CKF_TOKEN_INITIALIZED) == 0)
		return;
	list_token(&found->there, &token);
	if (!matches(module, search, id, &token))
		return;
	list_token(&found->fitting, &token);
	found->slot = (struct slot){id, token};
	found->count++;
}

static enum kt_err find_slots(const struct module *module,
			      const struct search *search, struct found *ret)
{
	CK_SLOT_ID slots[SLOTS_MAX];
	CK_ULONG n = SLOTS_MAX;

	TRY(p11_result(NULL, "C_GetSlotList",
		       module->p11->C_GetSlotList(CK_TRUE, slots, &n)));
	for (CK_ULONG i = 0; i < n; i++)
		consider(module, search, slots[i], ret);
	return KT_OK;
}

static enum kt_err judge(const struct found *found, const char *what)
{
	if (found->count == 1)
		return KT_OK;
	if (found->count > 1) {
		(void)err_raise(KT_ERR_TOKEN, "%zu tokens match %s",
				found->count, what);
		return err_hint(KT_ERR_TOKEN, "serial= names one of them: %s",
				found->fitting.text);
	}
	(void)err_raise(KT_ERR_TOKEN, "no token matches %s", what);
	if (found->there.used == 0)
		return err_hint(KT_ERR_TOKEN,
				"the module shows no initialised token");
	return err_hint(KT_ERR_TOKEN, "the module shows %s", found->there.text);
}

enum kt_err slot_choose(const struct module *module, P11KitUri *uri,
			const char *uri_text, struct slot *ret)
{
	const struct search search = {.uri = uri};
	struct found found = {0};

	TRY(find_slots(module, &search, &found));
	TRY(judge(&found, uri_text));
	*ret = found.slot;
	return KT_OK;
}

enum kt_err slot_choose_again(const struct module *module,
			      const struct slot *before, struct slot *ret)
{
	const struct search search = {.before = before};
	struct found found = {0};

	TRY(find_slots(module, &search, &found));
	TRY(judge(&found, "the one that was open"));
	*ret = found.slot;
	return KT_OK;
}
