/*
 * One token from open to close. Module start and login happen under the lock
 * between processes; the PIN is asked for in between, so that a person at a
 * prompt holds up nobody, and only for a token that is there.
 */
#include "hsm/token.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/p11-kit.h>

#include "base/text.h"
#include "hsm/pin.h"
#include "hsm/state.h"

#define SESSIONS_DEFAULT 4
#define SESSIONS_BESIDE 2 /* anchor and read-write */

static const char *module_name(const struct token_params *params,
			       P11KitUri *uri)
{
	if (params->module != NULL)
		return params->module;
	if (p11_kit_uri_get_module_path(uri) != NULL)
		return p11_kit_uri_get_module_path(uri);
	return p11_kit_uri_get_module_name(uri);
}

static enum kt_err token_new(const struct token_params *params,
			     struct token **ret)
{
	struct token *token = calloc(1, sizeof(*token));

	if (token == NULL)
		return err_memory();
	token->runtime_dir = strdup(params->runtime_dir);
	if (token->runtime_dir == NULL) {
		free(token);
		return err_memory();
	}
	token->last_try = params->pin->last_try;
	token->max = params->max_sessions > 0 ? params->max_sessions
					      : SESSIONS_DEFAULT;
	token->rw_lock = -1;
	token->first_generation = 1;
	pthread_mutex_init(&token->login_mutex, NULL);
	pthread_mutex_init(&token->pool_mutex, NULL);
	pthread_cond_init(&token->returned, NULL);
	pthread_mutex_init(&token->rw_mutex, NULL);
	*ret = token;
	return KT_OK;
}

/* 0 says "no limit", as do numbers near the largest (openCryptoki). */
size_t token_sessions_max(const struct token *token)
{
	CK_ULONG most = token->slot.token.ulMaxSessionCount;

	if (most == CK_EFFECTIVELY_INFINITE ||
	    most == CK_UNAVAILABLE_INFORMATION)
		return SIZE_MAX;
	return most > SESSIONS_BESIDE + 1 ? most - SESSIONS_BESIDE : 1;
}

static void limit_sessions(struct token *token)
{
	size_t most = token_sessions_max(token);

	if (token->max > most)
		token->max = most;
}

static enum kt_err start(struct token *token, P11KitUri *uri,
			 const char *uri_text)
{
	CLEANUP(fd_close) int lock = -1;

	TRY(module_lock(token, LOCK_MODE_EXCLUSIVE, &lock));
	TRY(module_initialize(&token->module));
	TRY(slot_choose(&token->module, uri, uri_text, &token->slot));
	limit_sessions(token);
	return login_allowed(token);
}

static enum kt_err read_pin(struct token *token,
			    const struct kt_pin_source *source, P11KitUri *uri)
{
	char label[33];

	text_unpad(label, sizeof(label), token->slot.token.label,
		   sizeof(token->slot.token.label));
	return pin_read(source, p11_kit_uri_get_pin_source(uri), label,
			&token->pin);
}

static enum kt_err login_locked(struct token *token)
{
	CLEANUP(fd_close) int lock = -1;

	TRY(module_lock(token, LOCK_MODE_EXCLUSIVE, &lock));
	return login(token);
}

enum kt_err token_open(const struct token_params *params, struct token **ret)
{
	CLEANUP(p11_kit_uri_freep) P11KitUri *uri = NULL;
	CLEANUP(token_closep) struct token *token = NULL;

	if (params->runtime_dir == NULL)
		return err_raise(KT_ERR_CONFIG, "no runtime directory");
	TRY(token_uri_parse(params->uri, &uri));
	TRY(token_new(params, &token));
	TRY(module_load(module_name(params, uri), &token->module));
	TRY(start(token, uri, params->uri));
	TRY(read_pin(token, params->pin, uri));
	TRY(login_locked(token));
	*ret = TAKE(token);
	return KT_OK;
}

/* The sessions go one by one, not by C_CloseAllSessions: the module may be in
 * use elsewhere in the process. */
void token_close(struct token *token)
{
	if (token == NULL)
		return;
	if (token->module.initialized) {
		sessions_close(token);
		login_end(token);
	}
	module_done(&token->module);
	kt_secret_done(&token->pin);
	pthread_mutex_destroy(&token->login_mutex);
	pthread_mutex_destroy(&token->pool_mutex);
	pthread_cond_destroy(&token->returned);
	pthread_mutex_destroy(&token->rw_mutex);
	free(token->runtime_dir);
	free(token);
}

/* A leased session of before is only freed when it comes back: its handle
 * means nothing to the module that was started anew. */
static void stop(struct token *token)
{
	if (!token->module.initialized)
		return;
	sessions_close(token);
	login_end(token);
	module_finalize(&token->module);
	token->first_generation = token->generation + 1;
}

enum kt_err token_reload(struct token *token)
{
	CLEANUP(fd_close) int lock = -1;
	struct slot slot;

	TRY(module_lock(token, LOCK_MODE_EXCLUSIVE, &lock));
	sync();
	stop(token);
	TRY(module_initialize(&token->module));
	TRY(slot_choose_again(&token->module, &token->slot, &slot));
	token->slot = slot;
	return login(token);
}

static void token_texts(const struct module *module, const CK_TOKEN_INFO *from,
			const CK_INFO *library, struct kt_token_info *ret)
{
	char description[33];

	text_unpad(ret->label, sizeof(ret->label), from->label,
		   sizeof(from->label));
	text_unpad(ret->manufacturer, sizeof(ret->manufacturer),
		   from->manufacturerID, sizeof(from->manufacturerID));
	text_unpad(ret->model, sizeof(ret->model), from->model,
		   sizeof(from->model));
	text_unpad(ret->serial, sizeof(ret->serial), from->serialNumber,
		   sizeof(from->serialNumber));
	text_cut(ret->module, sizeof(ret->module), module->path);
	text_unpad(description, sizeof(description),
		   library->libraryDescription,
		   sizeof(library->libraryDescription));
	snprintf(ret->library, sizeof(ret->library), "%s %u.%u", description,
		 library->libraryVersion.major, library->libraryVersion.minor);
}

struct kt_token_info token_describe(const struct module *module,
				    const CK_TOKEN_INFO *from,
				    const CK_INFO *library)
{
	struct kt_token_info info = {
		.pin_count_low = (from->flags & CKF_USER_PIN_COUNT_LOW) != 0,
		.pin_final_try = (from->flags & CKF_USER_PIN_FINAL_TRY) != 0,
		.pin_locked = (from->flags & CKF_USER_PIN_LOCKED) != 0,
	};

	token_texts(module, from, library, &info);
	return info;
}

enum kt_err token_info(struct token *token, struct kt_token_info *ret)
{
	CLEANUP(fd_close) int lock = -1;
	CK_FUNCTION_LIST *p11 = token->module.p11;
	CK_TOKEN_INFO from;
	CK_INFO library;

	TRY(module_lock(token, LOCK_MODE_SHARED, &lock));
	TRY(module_require(&token->module));
	TRY(p11_result(NULL, "C_GetTokenInfo",
		       p11->C_GetTokenInfo(token->slot.id, &from)));
	TRY(p11_result(NULL, "C_GetInfo", p11->C_GetInfo(&library)));
	*ret = token_describe(&token->module, &from, &library);
	return KT_OK;
}

/* Label and serial name the token; a module that p11-kit knows by name keeps
 * its name, with which come the options of its configuration. */
static void uri_name(const struct token *token, P11KitUri *uri)
{
	CK_TOKEN_INFO *info = p11_kit_uri_get_token_info(uri);
	const CK_TOKEN_INFO *from = &token->slot.token;

	memcpy(info->label, from->label, sizeof(info->label));
	memcpy(info->serialNumber, from->serialNumber,
	       sizeof(info->serialNumber));
	if (token->module.name[0] != '\0')
		p11_kit_uri_set_module_name(uri, token->module.name);
	else
		p11_kit_uri_set_module_path(uri, token->module.path);
}

enum kt_err token_uri(struct token *token, char *ret, size_t size)
{
	CLEANUP(p11_kit_uri_freep) P11KitUri *uri = p11_kit_uri_new();
	CLEANUP(freep) char *text = NULL;

	if (uri == NULL)
		return err_memory();
	uri_name(token, uri);
	if (p11_kit_uri_format(uri, P11_KIT_URI_FOR_ANY, &text) !=
	    P11_KIT_URI_OK)
		return err_memory();
	return text_copy(ret, size, text, "token URI");
}

const struct kt_secret *token_pin(const struct token *token)
{
	return &token->pin;
}
