/*
 * One run of the command: find it in the table, parse its options, run it,
 * print the error it returns. The frame owns what a run opens, the vault above
 * all, and gives it back on every path.
 */
#include "cli/cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/options.h"
#include "cli/settings.h"
#include "cli/suggest.h"

#define PATH_LEN_MAX 64
#define ACCESS_TOKEN_MAX 512
#define PIN_MAX 255
#define HINT_MAX 240

#define GLOBAL(member) offsetof(struct globals, member)

const struct option_def global_options[] = {
	{"config", 0, OPT_FILE, GLOBAL(config), "FILE", "configuration file"},
	{"store", 0, OPT_FILE, GLOBAL(store), "PATH", "database of the vault"},
	{"token", 0, OPT_TEXT, GLOBAL(token), "URI",
	 "token as an RFC 7512 URI, without a PIN"},
	{"module", 0, OPT_FILE, GLOBAL(module), "MODULE",
	 "PKCS#11 module: a path or a name p11-kit knows"},
	{"pin-file", 0, OPT_FILE, GLOBAL(pin_file), "FILE",
	 "read the PIN from a private file"},
	{"pin-fd", 0, OPT_INT, GLOBAL(pin_fd), "N",
	 "read the PIN from this descriptor", .max = 65535},
	{"last-try", 0, OPT_FLAG, GLOBAL(last_try), NULL,
	 "log in although a wrong PIN would lock the token"},
	{"access-token-file", 0, OPT_FILE, GLOBAL(access_token_file), "FILE",
	 "act with the rights of this access token only"},
	{"access-token-fd", 0, OPT_INT, GLOBAL(access_token_fd), "N",
	 "the same, read from a descriptor", .max = 65535},
	{"operator", 0, OPT_TEXT, GLOBAL(operator_name), "NAME",
	 "who acts, for records and audit (default: user@host)"},
	{"json", 0, OPT_FLAG, GLOBAL(json), NULL, "print listings as JSON"},
	{"yes", 'y', OPT_FLAG, GLOBAL(yes), NULL,
	 "answer the question before dangerous work"},
	{"no-input", 0, OPT_FLAG, GLOBAL(no_input), NULL, "never ask"},
	{"quiet", 'q', OPT_FLAG, GLOBAL(quiet), NULL,
	 "nothing on stderr but errors"},
	{"help", 'h', OPT_FLAG, GLOBAL(help), NULL, "help on this command"},
	{"version", 0, OPT_FLAG, GLOBAL(version), NULL, "print the version"},
};

const size_t global_option_count =
	sizeof(global_options) / sizeof(global_options[0]);

const struct command *cli_find(const struct cli *cli, const char *path)
{
	for (const struct command *const *at = cli->commands; *at != NULL; at++)
		if (strcmp((*at)->path, path) == 0)
			return *at;
	return NULL;
}

/* What a token calls itself, or a name in an error, must not reach the terminal
 * as an escape sequence. */
static void put_safely(char *text)
{
	for (char *at = text; *at != '\0'; at++)
		if (((unsigned char)*at < ' ' && *at != '\n') || *at == 0x7f)
			*at = '?';
	fputs(text, stderr);
	fputc('\n', stderr);
}

void cli_say(const struct cli *cli, const char *format, ...)
{
	char text[8192];
	va_list args;

	if (cli->globals.quiet)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	put_safely(text);
}

/* Past stdio: it could be a secret, and buffers are not wiped. */
enum kt_err cli_write(const void *data, size_t len)
{
	enum kt_err err = fd_write_all(STDOUT_FILENO, data, len);

	return err == KT_OK ? KT_OK : err_prefix(err, "standard output");
}

/* "get" alone: the commands whose last word it is, as far as there is room. */
static void full_commands(const struct cli *cli, const char *verb,
			  char ret[HINT_MAX])
{
	size_t used = 0;

	ret[0] = '\0';
	for (const struct command *const *at = cli->commands; *at != NULL;
	     at++) {
		const char *space = strchr((*at)->path, ' ');
		int len;

		if (space == NULL || strcmp(space + 1, verb) != 0)
			continue;
		len = snprintf(ret + used, HINT_MAX - used, "%skeyturn %s",
			       used > 0 ? ", " : "", (*at)->path);
		if (len < 0 || (size_t)len >= HINT_MAX - used) {
			ret[used] = '\0';
			return;
		}
		used += (size_t)len;
	}
}

static enum kt_err unknown_word(const struct cli *cli, const char *path,
				const char *word)
{
	size_t len = strlen(path);
	struct suggest suggest = {.word = word};
	char hint[96], full[HINT_MAX];
	enum kt_err err;

	for (const struct command *const *at = cli->commands; *at != NULL;
	     at++) {
		static const char none[] = "";
		const char *rest = (*at)->path;

		if ((*at)->hidden)
			continue;
		if (len > 0)
			rest = strncmp(rest, path, len) == 0 && rest[len] == ' '
				       ? rest + len + 1
				       : none;
		if (strchr(rest, ' ') == NULL)
			suggest_offer(&suggest, rest);
	}
	for (const struct noun *noun = cli->nouns;
	     len == 0 && noun->name != NULL; noun++)
		suggest_offer(&suggest, noun->name);
	suggest_text(&suggest, hint, sizeof(hint));
	err = err_raise(KT_ERR_USAGE, "unknown command '%s%s%s'%s", path,
			len > 0 ? " " : "", word, hint);
	full_commands(cli, len > 0 ? "" : word, full);
	return full[0] != '\0' ? err_hint(err, "%s", full) : err;
}

static bool is_noun(const struct cli *cli, const char *word)
{
	for (const struct noun *noun = cli->nouns; noun->name != NULL; noun++)
		if (strcmp(noun->name, word) == 0)
			return true;
	return false;
}

/* The noun as far as it is known, for the help and for what is missing. */
static enum kt_err no_command(struct cli *cli, const char *noun)
{
	if (cli->globals.version)
		return cli_find(cli, "version")->run(cli, NULL, NULL);
	if (cli->globals.help || noun[0] == '\0')
		return cli_help(cli, noun);
	return err_raise(KT_ERR_USAGE,
			 "%s: a command is missing; keyturn %s --help lists "
			 "them",
			 noun, noun);
}

/* Reads one or two words and the global options around them. Leaves *argv at
 * the last word; cli->command stays NULL and path names the noun, if any,
 * when the words end too early. */
static enum kt_err find_command(struct cli *cli, int *argc, char ***argv,
				char path[PATH_LEN_MAX])
{
	const struct option_set set = {global_options, global_option_count,
				       &cli->globals};

	path[0] = '\0';
	for (int words = 1; words <= 2; words++) {
		char longer[PATH_LEN_MAX];
		const char *word;
		int at;

		TRY(options_parse(&set, 1, true, *argc, *argv, &at));
		*argc -= at;
		*argv += at;
		if (*argc == 0)
			return KT_OK;
		word = (*argv)[0];
		if (text_format(longer, sizeof(longer), "%s%s%s", path,
				words > 1 ? " " : "", word) != KT_OK)
			return unknown_word(cli, path, word);
		cli->command = cli_find(cli, longer);
		if (cli->command != NULL)
			return KT_OK;
		if (words > 1 || !is_noun(cli, word))
			return unknown_word(cli, path, word);
		text_cut(path, PATH_LEN_MAX, longer);
	}
	return KT_OK;
}

static enum kt_err check_globals(const struct cli *cli)
{
	const struct globals *g = &cli->globals;

	if (g->json && !cli->command->lists)
		return err_raise(KT_ERR_USAGE, "--json: no listing to print");
	if (g->access_token_fd >= 0 && g->access_token_file != NULL)
		return err_raise(KT_ERR_USAGE, "--access-token-file and "
					       "--access-token-fd exclude "
					       "each other");
	return KT_OK;
}

static enum kt_err run_command(struct cli *cli, int argc, char **argv)
{
	const struct command *command = cli->command;
	CLEANUP(freep) void *opts = calloc(1, command->opts_size + 1);
	const struct option_set sets[] = {
		{command->options, command->option_count, opts},
		{global_options, global_option_count, &cli->globals},
	};
	int at;

	if (opts == NULL)
		return err_memory();
	if (command->defaults != NULL)
		memcpy(opts, command->defaults, command->opts_size);
	TRY(options_parse(sets, 2, false, argc, argv, &at));
	if (cli->globals.help)
		return cli_help(cli, command->path);
	TRY(check_globals(cli));
	TRY(arguments_check(command->arguments, argc - at));
	return command->run(cli, opts, (const char *const *)(argv + at));
}

static enum kt_err run(struct cli *cli, int argc, char **argv)
{
	char path[PATH_LEN_MAX];

	TRY(find_command(cli, &argc, &argv, path));
	if (cli->command == NULL)
		return no_command(cli, path);
	return run_command(cli, argc, argv);
}

static bool has_access_token(const struct globals *globals)
{
	return globals->access_token_file != NULL ||
	       globals->access_token_fd >= 0;
}

/* Which of these it was is not for the holder to know. */
static enum kt_err explain_denied(const struct cli *cli, enum kt_err err)
{
	if (err != KT_ERR_DENIED || !has_access_token(&cli->globals) ||
	    kt_err_hint()[0] != '\0')
		return err;
	return err_hint(err, "the access token is wrong, expired or revoked, "
			     "or not for this project, scope or command");
}

/* It is there and was not read: that is what to say. */
static enum kt_err explain_pin(const struct cli *cli, enum kt_err err)
{
	const struct kt_pin_source *pin;

	if (err != KT_ERR_PIN || cli->settings == NULL)
		return err;
	pin = &cli->settings->params.pin;
	if (pin->fd >= 0 || pin->file != NULL || pin->environment != NULL ||
	    cli->env->pin == NULL)
		return err;
	return err_hint(err, "KEYTURN_PIN counts only where the configuration "
			     "has pin.allow-environment: true");
}

static void print_error(const struct cli *cli, enum kt_err err)
{
	const char *detail = kt_err_detail();
	char text[2048];

	snprintf(text, sizeof(text), "keyturn: %s%s%s",
		 cli->command != NULL ? cli->command->path : "",
		 cli->command != NULL ? ": " : "",
		 detail[0] != '\0' ? detail : kt_err_name(err));
	put_safely(text);
	if (kt_err_hint()[0] == '\0')
		return;
	snprintf(text, sizeof(text), "keyturn: hint: %s", kt_err_hint());
	put_safely(text);
}

int cli_main(const struct command *const *commands, const struct noun *nouns,
	     const struct environment *env, int argc, char **argv)
{
	struct cli cli = {
		.commands = commands,
		.nouns = nouns,
		.env = env,
		.globals = {.pin_fd = -1, .access_token_fd = -1},
	};
	enum kt_err err = run(&cli, argc, argv);

	if (err != KT_OK)
		print_error(&cli, explain_pin(&cli, explain_denied(&cli, err)));
	kt_vault_close(cli.vault);
	config_free(cli.config);
	free(cli.settings);
	return kt_err_exit_status(err);
}

enum kt_err cli_config(struct cli *cli, const struct config **ret)
{
	char path[PATH_MAX];
	bool named;
	enum kt_err err;

	if (cli->config == NULL) {
		TRY(settings_config_path(&cli->globals, cli->env, path,
					 &named));
		err = config_load(path, &cli->config);
		if (err == KT_ERR_NOT_FOUND && !named)
			err = config_new(&cli->config);
		else if (err == KT_ERR_NOT_FOUND) /* not "no such secret" */
			err = err_prefix(KT_ERR_CONFIG, "configuration");
		TRY(err);
	}
	*ret = cli->config;
	return KT_OK;
}

static enum kt_err prompt_pin(void *arg, const char *token_label,
			      struct kt_secret *ret)
{
	char prompt[96];

	snprintf(prompt, sizeof(prompt), "PIN of token '%s': ", token_label);
	return ask_secret(arg, prompt, false, PIN_MAX, ret);
}

enum kt_err cli_params(struct cli *cli, const struct kt_params **ret)
{
	const struct config *config;

	if (cli->settings == NULL) {
		TRY(cli_config(cli, &config));
		TRY(settings_resolve(&cli->globals, cli->env, config,
				     &cli->settings));
		if (ask_possible(cli)) {
			cli->settings->params.pin.prompt = prompt_pin;
			cli->settings->params.pin.prompt_arg = cli;
		}
	}
	if (cli->settings->params.token_uri == NULL)
		return err_hint(
			err_raise(KT_ERR_CONFIG, "no token is configured"),
			"'keyturn init' makes a vault and its configuration; "
			"--token and KEYTURN_TOKEN name a token");
	*ret = &cli->settings->params;
	return KT_OK;
}

/* A newline at the end is of the file, not of the token. */
static enum kt_err read_access_token(const struct globals *globals,
				     struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};

	if (globals->access_token_file != NULL)
		TRY(secret_read_file(globals->access_token_file,
				     ACCESS_TOKEN_MAX, &token));
	else
		TRY(secret_read_fd((int)globals->access_token_fd,
				   ACCESS_TOKEN_MAX, &token));
	while (token.len > 0 && (token.data[token.len - 1] == '\n' ||
				 token.data[token.len - 1] == '\r'))
		secret_shrink(&token, token.len - 1);
	*ret = token;
	token = (struct kt_secret){0};
	return KT_OK;
}

enum kt_err cli_operator_only(const struct cli *cli)
{
	if (has_access_token(&cli->globals))
		return err_raise(KT_ERR_DENIED, "access denied");
	return KT_OK;
}

DEFINE_CLEANUP(struct kt_vault, kt_vault_close)

enum kt_err cli_vault(struct cli *cli, struct kt_vault **ret)
{
	const struct globals *globals = &cli->globals;
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	const struct kt_params *params;
	bool limited = has_access_token(globals);

	if (cli->vault == NULL) {
		TRY(cli_params(cli, &params));
		if (limited)
			TRY(read_access_token(globals, &token));
		TRY(kt_vault_open(params, &vault));
		if (limited)
			TRY(kt_vault_authorize(vault, &token));
		cli->vault = TAKE(vault);
	}
	*ret = cli->vault;
	return KT_OK;
}
