/*
 * Where each setting comes from. What is refused here: a PIN inside a token
 * URI, a runtime directory that somebody else owns or can enter, and an
 * operator name with control characters.
 */
#include "cli/settings.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/installed.h"

/* The first that is set. */
static const char *first(const char *a, const char *b, const char *c)
{
	return a != NULL ? a : b != NULL ? b : c;
}

/* tail below an XDG directory of the user; base NULL: below home. */
static enum kt_err user_path(const struct environment *env, const char *base,
			     const char *home_base, const char *tail,
			     char ret[PATH_MAX])
{
	const struct passwd *user;
	const char *home = env->home;

	if (base != NULL && base[0] == '/')
		return text_format(ret, PATH_MAX, "%s/%s", base, tail);
	user = home == NULL ? getpwuid(geteuid()) : NULL;
	if (user != NULL)
		home = user->pw_dir;
	if (home == NULL)
		return err_raise(KT_ERR_CONFIG,
				 "neither HOME nor the user's entry names a "
				 "home directory");
	return text_format(ret, PATH_MAX, "%s/%s/%s", home, home_base, tail);
}

enum kt_err settings_config_path(const struct globals *globals,
				 const struct environment *env,
				 char ret[PATH_MAX], bool *ret_named)
{
	const char *named = first(globals->config, env->config, NULL);

	if (named != NULL)
		TRY(text_copy(ret, PATH_MAX, named, "configuration path"));
	else if (geteuid() == 0)
		TRY(text_format(ret, PATH_MAX, "/etc/keyturn/keyturn.yaml"));
	else
		TRY(user_path(env, env->xdg_config_home, ".config",
			      "keyturn/keyturn.yaml", ret));
	*ret_named = named != NULL;
	return KT_OK;
}

enum kt_err settings_whole_path(const char *path, char ret[PATH_MAX])
{
	char here[PATH_MAX];

	if (path[0] == '/')
		return text_copy(ret, PATH_MAX, path, "path");
	if (getcwd(here, sizeof(here)) == NULL)
		return err_errno("current directory");
	if (strncmp(path, "./", 2) == 0)
		path += 2;
	return text_format(ret, PATH_MAX, "%s/%s", here, path);
}

static enum kt_err resolve_store(const char *named,
				 const struct environment *env,
				 char ret[PATH_MAX])
{
	if (named != NULL)
		return text_copy(ret, PATH_MAX, named, "store path");
	if (geteuid() == 0)
		return text_format(ret, PATH_MAX,
				   "/var/lib/keyturn/keyturn.db");
	return user_path(env, env->xdg_state_home, ".local/state",
			 "keyturn/keyturn.db", ret);
}

enum kt_err settings_tpm_state(const struct environment *env,
			       char ret[PATH_MAX])
{
	if (geteuid() == 0)
		return text_format(ret, PATH_MAX, "/var/lib/keyturn/tpm2");
	return user_path(env, env->xdg_state_home, ".local/state",
			 "keyturn/tpm2", ret);
}

static bool is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	       st.st_uid == geteuid();
}

/* The same for a login shell and a timer of one user, or their locks would not
 * meet: so root's does not depend on the session, and a user's session
 * directory is used even where the environment does not name it. */
static enum kt_err default_runtime_dir(const struct environment *env,
				       char ret[PATH_MAX])
{
	char session[64];

	if (geteuid() == 0)
		return text_format(ret, PATH_MAX, "/run/keyturn");
	if (env->xdg_runtime_dir != NULL)
		return text_format(ret, PATH_MAX, "%s/keyturn",
				   env->xdg_runtime_dir);
	snprintf(session, sizeof(session), "/run/user/%u", (unsigned)geteuid());
	if (is_directory(session))
		return text_format(ret, PATH_MAX, "%s/keyturn", session);
	return text_format(ret, PATH_MAX, "/tmp/keyturn-%u",
			   (unsigned)geteuid());
}

/* A directory somebody else made in /tmp could hold our locks for ever. */
static enum kt_err check_runtime_dir(const char *path)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return errno == ENOENT
			       ? KT_OK
			       : err_errno("runtime directory %s", path);
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & 0777) != 0700)
		return err_raise(KT_ERR_CONFIG,
				 "runtime directory %s is not yours with mode "
				 "0700",
				 path);
	return KT_OK;
}

static enum kt_err resolve_worker(const struct environment *env,
				  char ret[PATH_MAX])
{
	if (env->worker != NULL)
		return text_copy(ret, PATH_MAX, env->worker, "worker path");
	return installed_worker(ret);
}

/* NULL where the URI says it, or nobody. */
static enum kt_err resolve_module(const char *named, struct settings *s)
{
	if (named == NULL)
		return KT_OK;
	TRY(installed_module(named, s->module));
	s->params.module = s->module;
	return KT_OK;
}

static enum kt_err resolve_operator(const char *given,
				    const struct environment *env,
				    char ret[KT_NAME_MAX + 1])
{
	const struct passwd *user = getpwuid(getuid());
	const char *name = first(env->sudo_user, env->logname, env->user);
	char host[256] = "localhost";

	if (name == NULL)
		name = user != NULL ? user->pw_name : "unknown";
	if (gethostname(host, sizeof(host) - 1) != 0)
		return err_errno("host name");
	if (given != NULL)
		TRY(text_copy(ret, KT_NAME_MAX + 1, given, "operator name"));
	else
		TRY(text_format(ret, KT_NAME_MAX + 1, "%s@%s", name, host));
	for (const char *at = ret; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return err_raise(KT_ERR_USAGE,
					 "control character in the operator "
					 "name");
	return KT_OK;
}

/* argv and configuration files are no place for a PIN. */
static enum kt_err check_uri(const char *uri)
{
	if (uri == NULL)
		return KT_OK;
	if (strncasecmp(uri, "pkcs11:", 7) != 0)
		return err_raise(KT_ERR_CONFIG,
				 "token URI does not begin with pkcs11:");
	if (strcasestr(uri, "pin-value") == NULL)
		return KT_OK;
	return err_hint(err_raise(KT_ERR_CONFIG,
				  "a PIN inside the token URI is refused"),
			"name its file with pin-source or --pin-file");
}

static struct kt_pin_source pin_source(const struct globals *globals,
				       const struct environment *env,
				       const struct config *config)
{
	return (struct kt_pin_source){
		.fd = (int)globals->pin_fd,
		.file = first(globals->pin_file, config->pin.file, NULL),
		.credentials_dir = env->credentials_directory,
		.environment = config->pin.allow_environment ? env->pin : NULL,
		.last_try = globals->last_try,
	};
}

enum kt_err settings_resolve(const struct globals *globals,
			     const struct environment *env,
			     const struct config *config, struct settings **ret)
{
	CLEANUP(freep) struct settings *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_memory();
	TRY(resolve_store(first(globals->store, env->store, config->store), env,
			  s->store));
	if (config->runtime_dir != NULL)
		TRY(text_copy(s->runtime_dir, sizeof(s->runtime_dir),
			      config->runtime_dir, "runtime directory"));
	else
		TRY(default_runtime_dir(env, s->runtime_dir));
	TRY(check_runtime_dir(s->runtime_dir));
	TRY(resolve_worker(env, s->worker));
	TRY(resolve_operator(globals->operator_name, env, s->operator_name));
	s->params = (struct kt_params){
		.token_uri =
			first(globals->token, env->token, config->token.uri),
		.gate = config->token.gate,
		.pin = pin_source(globals, env, config),
		.runtime_dir = s->runtime_dir,
		.worker = s->worker,
		.store_path = s->store,
		.operator_name = s->operator_name,
		.lease_seconds = config->rotation.lease,
	};
	TRY(resolve_module(first(globals->module, config->token.module, NULL),
			   s));
	TRY(check_uri(s->params.token_uri));
	*ret = TAKE(s);
	return KT_OK;
}
