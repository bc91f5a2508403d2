/*
 * keyturn init: a vault and the configuration that names it. Everything that
 * can be refused is looked at before the token makes a key.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crash.h"
#include "base/file.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/gate.h"
#include "cli/settings.h"

static const char *const on_off[] = {"on", "off", NULL};
static const char *const gates[] = {"strict", "warn", NULL};

struct init_options {
	int recovery_wraps; /* index into on_off: enum kt_recovery */
	int gate;           /* index into gates: enum kt_gate_level */
};

static const struct option_def init_option[] = {
	{"recovery-wraps", 0, OPT_CHOICE,
	 offsetof(struct init_options, recovery_wraps), "on|off",
	 "keep a wrap of each secret's key for the administrator (default on, "
	 "off on a TPM)",
	 .choices = on_off},
	{"gate", 0, OPT_CHOICE, offsetof(struct init_options, gate),
	 "strict|warn",
	 "what to do with a token that breaks the key policy (default strict)",
	 .choices = gates},
};

/* From the command line into the configuration being made, as a whole path. */
static enum kt_err take_path(const char **given, char **ret)
{
	char whole[PATH_MAX];

	if (*given == NULL)
		return KT_OK;
	TRY(settings_whole_path(*given, whole));
	*ret = strdup(whole);
	if (*ret == NULL)
		return err_memory();
	*given = NULL;
	return KT_OK;
}

struct init_paths {
	char config[PATH_MAX], store[PATH_MAX];
};

static enum kt_err find_config(const struct cli *cli, struct init_paths *paths)
{
	char given[PATH_MAX];
	bool named;

	TRY(settings_config_path(&cli->globals, cli->env, given, &named));
	TRY(settings_whole_path(given, paths->config));
	if (!file_exists(paths->config))
		return KT_OK;
	return err_hint(err_raise(KT_ERR_EXISTS, "configuration %s exists",
				  paths->config),
			"--config FILE writes another one");
}

/* No configuration is read: this run makes it. */
static enum kt_err make_config(struct cli *cli, const struct init_options *o)
{
	struct globals *g = &cli->globals;

	TRY(config_new(&cli->config));
	cli->config->token.gate = (enum kt_gate_level)o->gate;
	if (g->token == NULL && cli->env->token == NULL)
		return err_hint(
			err_raise(KT_ERR_USAGE, "--token is missing"),
			"--token 'pkcs11:token=LABEL'; pkcs11-tool -L and "
			"p11-kit list-modules show tokens");
	TRY(take_path(&g->pin_file, &cli->config->pin.file));
	/* Without a slash it is a name that p11-kit knows. */
	if (g->module != NULL && strchr(g->module, '/') != NULL)
		TRY(take_path(&g->module, &cli->config->token.module));
	return KT_OK;
}

/* The directories are made first: a configuration that cannot be written is
 * found out while there is no vault yet. */
static enum kt_err make_directory(const char *file, enum kt_err otherwise,
				  const char *what)
{
	char dir[PATH_MAX];
	enum kt_err err;

	TRY(dir_of(file, dir, sizeof(dir)));
	err = dir_make(dir);
	if (err == KT_OK && access(dir, W_OK) != 0)
		err = err_errno("%s", dir);
	return err == KT_OK ? KT_OK : err_prefix(otherwise, "%s", what);
}

static enum kt_err set_up(struct cli *cli, const struct init_options *o,
			  struct init_paths *paths)
{
	const struct kt_params *params;

	TRY(find_config(cli, paths));
	TRY(make_config(cli, o));
	TRY(cli_params(cli, &params));
	TRY(settings_whole_path(params->store_path, paths->store));
	TRY(text_copy(cli->settings->store, sizeof(cli->settings->store),
		      paths->store, "store path"));
	TRY(make_directory(paths->config, KT_ERR_CONFIG, "configuration"));
	return make_directory(paths->store, KT_ERR_STORE, "store");
}

static struct config_values values_of(const struct cli *cli,
				      const struct init_paths *paths,
				      const char *uri)
{
	return (struct config_values){
		.store = paths->store,
		.uri = uri,
		.module = cli->settings->params.module,
		.pin_file = cli->config->pin.file,
		.gate = cli->config->token.gate,
	};
}

/* What the file could not hold is found out while there is no vault yet. */
static enum kt_err try_config(const struct cli *cli,
			      const struct init_paths *paths)
{
	const struct config_values values =
		values_of(cli, paths, cli->settings->params.token_uri);
	CLEANUP(freep) char *text = NULL;

	return config_text(&values, &text);
}

static enum kt_err write_config(const struct cli *cli,
				const struct init_paths *paths,
				const struct kt_status *status)
{
	const struct config_values values = values_of(cli, paths, status->uri);
	CLEANUP(freep) char *text = NULL;
	enum kt_err err = config_text(&values, &text);

	if (err == KT_OK)
		err = file_write_new(paths->config, text, strlen(text));
	if (err == KT_OK)
		return KT_OK;
	return err_hint(err_prefix(err, "the vault is made, but not its "
					"configuration"),
			"'keyturn init' again writes it; the vault opens with "
			"--store '%s' --token '%s'",
			paths->store, status->uri);
}

static enum kt_err refuse_other(const struct init_options *o,
				const struct kt_status *status)
{
	int has = status->recovery_wraps ? KT_RECOVERY_ON : KT_RECOVERY_OFF;

	if (o->recovery_wraps == KT_RECOVERY_BY_TOKEN ||
	    o->recovery_wraps == has)
		return KT_OK;
	return err_raise(KT_ERR_EXISTS,
			 "the vault in %s is made already, with recovery wraps "
			 "%s",
			 status->store_path, on_off[has]);
}

/* An init that was killed behind its last commit left a whole vault: all that
 * it lacks is the configuration. */
static enum kt_err find_vault(struct cli *cli, const struct init_options *o,
			      struct kt_status *ret)
{
	struct kt_status status;
	struct kt_vault *vault;

	TRY(cli_vault(cli, &vault));
	TRY(kt_vault_status(vault, &status));
	TRY(refuse_other(o, &status));
	*ret = status;
	return KT_OK;
}

/* What is there and is no whole vault is refused by the library. */
static enum kt_err make_or_find(struct cli *cli, const struct init_options *o,
				const char **ret_done, struct kt_status *ret)
{
	const struct kt_init_options options = {
		.recovery_wraps = (enum kt_recovery)o->recovery_wraps};
	const struct kt_params *params = &cli->settings->params;

	if (file_exists(params->store_path)) {
		enum kt_err err = find_vault(cli, o, ret);

		*ret_done = "Found";
		if (err != KT_ERR_STORE && err != KT_ERR_SCHEMA)
			return err;
	}
	*ret_done = "Made";
	return kt_vault_init(params, &options, ret);
}

static void say_next(const struct cli *cli, const struct init_paths *paths,
		     const char *done, const struct kt_status *status)
{
	char option[PATH_MAX + 16] = "";
	char gate[512];

	if (cli->globals.config != NULL)
		snprintf(option, sizeof(option), " --config %s", paths->config);
	cli_say(cli,
		"%s a vault in %s\n"
		"under a master key in token '%s' (%s, serial %s).\n"
		"Wrote %s.",
		done, paths->store, status->token.label, status->token.model,
		status->token.serial, paths->config);
	gate_summary(status->gate, gate, sizeof(gate));
	cli_say(cli, "The gate tried the token's enforcement: %s.", gate);
	cli_say(cli,
		"\nNext:\n"
		"  keyturn%s doctor\n"
		"  keyturn%s project create NAME\n"
		"  keyturn%s secret set NAME/SECRET",
		option, option, option);
}

static enum kt_err init_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	const struct init_options *o = opts;
	struct init_paths paths = {0};
	struct kt_status status;
	const char *done;

	(void)args;
	TRY(cli_operator_only(cli));
	TRY(set_up(cli, o, &paths));
	TRY(try_config(cli, &paths));
	TRY(make_or_find(cli, o, &done, &status));
	CRASH_POINT("init.whole");
	TRY(write_config(cli, &paths, &status));
	say_next(cli, &paths, done, &status);
	return KT_OK;
}

const struct command init_command = {
	.path = "init",
	.help = "make a vault: keys in the token, a database, a configuration",
	.details =
		"Checks that the token keeps to the key policy, makes the\n"
		"master, row-MAC and audit keys in it, makes the database\n"
		"(--store) and writes a commented configuration (--config).\n"
		"Nothing that exists is touched; a vault that lacks only its\n"
		"configuration gets one. The token is named by\n"
		"--token or KEYTURN_TOKEN; pkcs11-tool -L shows those there\n"
		"are.\n",
	.examples = "keyturn init --token 'pkcs11:token=keyturn'\n"
		    "keyturn init --module /usr/lib/softhsm/libsofthsm2.so \\\n"
		    "    --token 'pkcs11:token=dev' --store ./dev.db "
		    "--config dev.yaml\n",
	OPTIONS(init_option, struct init_options,
		(.recovery_wraps = KT_RECOVERY_BY_TOKEN)),
	.run = init_run,
};
