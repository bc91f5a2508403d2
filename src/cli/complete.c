/*
 * Shell completion. The three scripts are stubs that hand the words typed so
 * far to `keyturn __complete -- WORD...`, which prints one candidate a line
 * with its help behind a tab, and a last line ":files" where the shell is to
 * complete file names. Nothing is read from a vault: that would need the PIN
 * at every key stroke.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char bash_script[] =
	"_keyturn()\n"
	"{\n"
	"\tlocal line files=\n"
	"\tCOMPREPLY=()\n"
	"\twhile IFS= read -r line; do\n"
	"\t\tcase $line in\n"
	"\t\t:files) files=1 ;;\n"
	"\t\t*) COMPREPLY+=(\"${line%%$'\\t'*}\") ;;\n"
	"\t\tesac\n"
	"\tdone < <(\"${COMP_WORDS[0]}\" __complete -- "
	"\"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
	"\tif [[ -n $files ]]; then\n"
	"\t\tcompopt -o filenames 2>/dev/null\n"
	"\t\twhile IFS= read -r line; do\n"
	"\t\t\tCOMPREPLY+=(\"$line\")\n"
	"\t\tdone < <(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\")\n"
	"\tfi\n"
	"}\n"
	"complete -F _keyturn keyturn\n";

static const char zsh_script[] =
	"#compdef keyturn\n"
	"_keyturn()\n"
	"{\n"
	"\tlocal line files=\n"
	"\tlocal -a found\n"
	"\tfor line in \"${(@f)$(\"${words[1]}\" __complete -- "
	"\"${(@)words[2,CURRENT]}\" 2>/dev/null)}\"; do\n"
	"\t\tcase $line in\n"
	"\t\t:files) files=1 ;;\n"
	"\t\t?*) found+=(\"${${line//:/\\\\:}/$'\\t'/:}\") ;;\n"
	"\t\tesac\n"
	"\tdone\n"
	"\t(( ${#found} )) && _describe keyturn found\n"
	"\t[[ -n $files ]] && _files\n"
	"\treturn 0\n"
	"}\n"
	"if [[ ${funcstack[1]-} == _keyturn ]]; then\n"
	"\t_keyturn \"$@\"\n"
	"else\n"
	"\tcompdef _keyturn keyturn\n"
	"fi\n";

static const char fish_script[] =
	"function __keyturn_complete\n"
	"\tset -l words (commandline -opc) (commandline -ct)\n"
	"\tfor line in (command $words[1] __complete -- $words[2..-1] "
	"2>/dev/null)\n"
	"\t\tif test \"$line\" = :files\n"
	"\t\t\t__fish_complete_path (commandline -ct)\n"
	"\t\telse\n"
	"\t\t\techo $line\n"
	"\t\tend\n"
	"\tend\n"
	"end\n"
	"complete -c keyturn -f -a '(__keyturn_complete)'\n";

/* In the order of the names that completion_run() compares. */
static const struct {
	const char *shell, *script;
} scripts[] = {
	{"bash", bash_script},
	{"zsh", zsh_script},
	{"fish", fish_script},
};

static enum kt_err completion_run(struct cli *cli, const void *opts,
				  const char *const *args)
{
	(void)cli;
	(void)opts;
	for (size_t i = 0; i < COUNT(scripts); i++)
		if (strcmp(scripts[i].shell, args[0]) == 0)
			return cli_write(scripts[i].script,
					 strlen(scripts[i].script));
	return err_raise(KT_ERR_USAGE, "'%s' is none of bash, zsh, fish",
			 args[0]);
}

const struct command completion_command = {
	.path = "completion",
	.arguments = "SHELL",
	.help = "print the completion script for bash, zsh or fish",
	.examples = "keyturn completion bash > "
		    "/etc/bash_completion.d/keyturn\n"
		    "source <(keyturn completion zsh)\n",
	.run = completion_run,
};

/* What has been typed, as far as completion understands it. */
struct typed {
	const struct command *command; /* NULL: its words are not complete */
	char path[64];                 /* the noun, or "" */
	const struct option_def *open; /* waits for its value */
	const char *last;              /* the word to complete */
};

static const struct option_def *find_option(const struct option_def *defs,
					    size_t count, const char *word)
{
	for (size_t i = 0; i < count; i++) {
		bool is_long = strncmp(word, "--", 2) == 0 &&
			       strcmp(word + 2, defs[i].name) == 0;
		bool is_short = word[0] == '-' && word[1] != '\0' &&
				word[1] == defs[i].letter && word[2] == '\0';

		if (is_long || is_short)
			return &defs[i];
	}
	return NULL;
}

static const struct option_def *option_of(const struct typed *typed,
					  const char *word)
{
	const struct option_def *def = NULL;

	if (typed->command != NULL)
		def = find_option(typed->command->options,
				  typed->command->option_count, word);
	return def != NULL
		       ? def
		       : find_option(global_options, global_option_count, word);
}

static void read_word(const struct cli *cli, struct typed *typed,
		      const char *word)
{
	size_t used = strlen(typed->path);

	if (typed->open != NULL) {
		typed->open = NULL;
		return;
	}
	if (word[0] == '-') {
		typed->open = option_of(typed, word);
		if (typed->open != NULL && typed->open->type == OPT_FLAG)
			typed->open = NULL;
		return;
	}
	if (typed->command != NULL)
		return;
	snprintf(typed->path + used, sizeof(typed->path) - used, "%s%.40s",
		 used > 0 ? " " : "", word);
	typed->command = cli_find(cli, typed->path);
	if (typed->command != &help_command)
		return;
	/* What help is asked for is typed like the thing itself. */
	typed->command = NULL;
	typed->path[0] = '\0';
}

static void offer(FILE *out, const struct typed *typed, const char *prefix,
		  const char *word, const char *help)
{
	size_t dashes = strlen(prefix);
	const char *last = typed->last;

	if (strncmp(last, prefix,
		    strlen(last) < dashes ? strlen(last) : dashes) != 0)
		return;
	last += strlen(last) < dashes ? strlen(last) : dashes;
	if (strncmp(word, last, strlen(last)) == 0)
		fprintf(out, "%s%s\t%s\n", prefix, word, help);
}

static void offer_options(FILE *out, const struct typed *typed,
			  const struct option_def *defs, size_t count)
{
	for (size_t i = 0; i < count; i++)
		offer(out, typed, "--", defs[i].name, defs[i].help);
}

static void offer_value(FILE *out, const struct typed *typed)
{
	const struct option_def *def = typed->open;

	if (def->type == OPT_FILE)
		fputs(":files\n", out);
	if (def->word != NULL)
		offer(out, typed, "", def->word, def->help);
	for (size_t i = 0; def->type == OPT_CHOICE && def->choices[i] != NULL;
	     i++)
		offer(out, typed, "", def->choices[i], def->help);
}

static void offer_commands(FILE *out, const struct cli *cli,
			   const struct typed *typed)
{
	size_t len = strlen(typed->path);

	for (const struct command *const *at = cli->commands; *at != NULL;
	     at++) {
		const char *path = (*at)->path;
		bool below = len > 0 && strncmp(path, typed->path, len) == 0 &&
			     path[len] == ' ';

		if ((*at)->hidden || (len > 0 && !below))
			continue;
		path += len > 0 ? len + 1 : 0;
		if (strchr(path, ' ') == NULL)
			offer(out, typed, "", path, (*at)->help);
	}
	for (const struct noun *noun = cli->nouns;
	     len == 0 && noun->name != NULL; noun++)
		offer(out, typed, "", noun->name, noun->help);
}

static void offer_arguments(FILE *out, const struct typed *typed)
{
	static const enum kt_key_role roles[] = {KT_KEY_MASTER, KT_KEY_RECOVERY,
						 KT_KEY_ROW_MAC, KT_KEY_AUDIT};
	const struct command *command = typed->command;

	if (command->arguments != NULL &&
	    strstr(command->arguments, "FILE") != NULL)
		fputs(":files\n", out);
	for (size_t i = 0; command == &completion_command && i < COUNT(scripts);
	     i++)
		offer(out, typed, "", scripts[i].shell, "shell");
	for (size_t i = 0; command == &token_attest_command && i < COUNT(roles);
	     i++)
		offer(out, typed, "", kt_key_role_name(roles[i]), "key");
}

static void put_candidates(FILE *out, const struct cli *cli,
			   const struct typed *typed)
{
	const struct command *command = typed->command;

	if (typed->open != NULL) {
		offer_value(out, typed);
		return;
	}
	if (typed->last[0] == '-') {
		if (command != NULL)
			offer_options(out, typed, command->options,
				      command->option_count);
		offer_options(out, typed, global_options, global_option_count);
		return;
	}
	if (command == NULL)
		offer_commands(out, cli, typed);
	else
		offer_arguments(out, typed);
}

static enum kt_err complete_run(struct cli *cli, const void *opts,
				const char *const *args)
{
	CLEANUP(freep) char *text = NULL;
	struct typed typed = {.last = ""};
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	(void)opts;
	if (out == NULL)
		return err_memory();
	for (; args[0] != NULL && args[1] != NULL; args++)
		read_word(cli, &typed, args[0]);
	if (args[0] != NULL)
		typed.last = args[0];
	put_candidates(out, cli, &typed);
	if (fclose(out) != 0)
		return err_memory();
	return cli_write(text, len);
}

const struct command complete_command = {
	.path = "__complete",
	.arguments = "[WORD...]",
	.help = "candidates for the last word",
	.hidden = true,
	.run = complete_run,
};
