/*
 * Help, made from the descriptions of the commands, and the commands that
 * print it. A text is composed in memory and written at once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/commands.h"

#define HELP_COLUMN 28
#define HELP_WIDTH 80

static const char *last_word(const struct command *command)
{
	const char *space = strrchr(command->path, ' ');

	return space != NULL ? space + 1 : command->path;
}

/* The command belongs to the noun; noun "": it has none. */
static bool belongs(const struct command *command, const char *noun)
{
	size_t len = strlen(noun);

	if (command->hidden)
		return false;
	if (len == 0)
		return strchr(command->path, ' ') == NULL;
	return strncmp(command->path, noun, len) == 0 &&
	       command->path[len] == ' ';
}

/* The right text in lines of its own column, the first one beside the left. */
static void put_line(FILE *out, const char *left, const char *right)
{
	size_t len;

	if (strlen(left) + 2 > HELP_COLUMN) {
		fprintf(out, "%s\n", left);
		left = "";
	}
	do {
		len = text_fold(right, HELP_WIDTH - HELP_COLUMN);
		fprintf(out, "%-*s%.*s\n", HELP_COLUMN, left, (int)len, right);
		left = "";
		right += len + strspn(right + len, " ");
	} while (*right != '\0');
}

static void put_title(FILE *out, const struct command *command)
{
	char title[160];
	const char *at = title;

	snprintf(title, sizeof(title), "keyturn %s: %s", command->path,
		 command->help);
	while (*at != '\0') {
		size_t len = text_fold(at, HELP_WIDTH);

		fprintf(out, "%.*s\n", (int)len, at);
		at += len + strspn(at + len, " ");
	}
}

static void put_options(FILE *out, const struct option_def *defs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char left[80];
		char letter[8] = "    ";

		if (defs[i].letter != 0)
			snprintf(letter, sizeof(letter), "-%c, ",
				 defs[i].letter);
		snprintf(left, sizeof(left), "  %s--%s%s%s", letter,
			 defs[i].name, defs[i].argument != NULL ? " " : "",
			 defs[i].argument != NULL ? defs[i].argument : "");
		put_line(out, left, defs[i].help);
	}
}

static void put_commands(FILE *out, const struct cli *cli, const char *noun)
{
	for (const struct command *const *at = cli->commands; *at != NULL;
	     at++) {
		char left[80];

		if (!belongs(*at, noun))
			continue;
		snprintf(left, sizeof(left), "  %s %s", last_word(*at),
			 (*at)->arguments != NULL ? (*at)->arguments : "");
		put_line(out, left, (*at)->help);
	}
}

static void put_examples(FILE *out, const char *examples)
{
	if (examples == NULL)
		return;
	fputs("\nExamples:\n", out);
	while (*examples != '\0') {
		size_t len = strcspn(examples, "\n");

		fprintf(out, "  %.*s\n", (int)len, examples);
		examples += len + (examples[len] == '\n');
	}
}

static void put_command(FILE *out, const struct command *command)
{
	put_title(out, command);
	fprintf(out, "\nUsage: keyturn %s [OPTION...]%s%s\n", command->path,
		command->arguments != NULL ? " " : "",
		command->arguments != NULL ? command->arguments : "");
	if (command->details != NULL)
		fprintf(out, "\n%s", command->details);
	if (command->option_count > 0)
		fputs("\nOptions:\n", out);
	put_options(out, command->options, command->option_count);
	if (command->lists)
		put_line(out, "      --json", "print JSON");
	put_examples(out, command->examples);
	fputs("\n'keyturn --help' lists the options that every command "
	      "takes.\n",
	      out);
}

static void put_noun(FILE *out, const struct cli *cli, const struct noun *noun)
{
	fprintf(out,
		"keyturn %s: %s\n\nUsage: keyturn %s COMMAND\n\n"
		"Commands:\n",
		noun->name, noun->help, noun->name);
	put_commands(out, cli, noun->name);
	fprintf(out, "\n'keyturn %s COMMAND --help' says more.\n", noun->name);
}

static void put_overview(FILE *out, const struct cli *cli)
{
	fputs("keyturn: key manager and secrets vault under a PKCS#11 token\n\n"
	      "Usage: keyturn [OPTION...] COMMAND\n\n"
	      "Commands:\n",
	      out);
	put_commands(out, cli, "");
	fputs("\nGroups of commands:\n", out);
	for (const struct noun *noun = cli->nouns; noun->name != NULL; noun++) {
		char left[80];

		snprintf(left, sizeof(left), "  %s", noun->name);
		put_line(out, left, noun->help);
	}
	fputs("\nOptions of every command:\n", out);
	put_options(out, global_options, global_option_count);
	fputs("\n'keyturn help GROUP' and 'keyturn help COMMAND' say more.\n",
	      out);
}

static enum kt_err put_help(FILE *out, const struct cli *cli, const char *path)
{
	const struct command *command = cli_find(cli, path);

	if (command != NULL)
		return put_command(out, command), KT_OK;
	if (path[0] == '\0')
		return put_overview(out, cli), KT_OK;
	for (const struct noun *noun = cli->nouns; noun->name != NULL; noun++)
		if (strcmp(noun->name, path) == 0)
			return put_noun(out, cli, noun), KT_OK;
	return err_raise(KT_ERR_USAGE, "no command is named '%s'", path);
}

static enum kt_err put_version(FILE *out, const struct cli *cli,
			       const char *unused)
{
	(void)cli;
	(void)unused;
	fprintf(out, "keyturn %s\n", kt_version());
	return KT_OK;
}

/* One a line: "project rotate", then "project rotate --batch-size". */
static enum kt_err put_all(FILE *out, const struct cli *cli, const char *unused)
{
	(void)unused;
	for (size_t i = 0; i < global_option_count; i++)
		fprintf(out, "--%s\n", global_options[i].name);
	for (const struct command *const *at = cli->commands; *at != NULL;
	     at++) {
		if ((*at)->hidden)
			continue;
		fprintf(out, "%s\n", (*at)->path);
		for (size_t i = 0; i < (*at)->option_count; i++)
			fprintf(out, "%s --%s\n", (*at)->path,
				(*at)->options[i].name);
	}
	return KT_OK;
}

static enum kt_err put_example(FILE *out, const struct cli *cli,
			       const char *unused)
{
	CLEANUP(freep) char *text = NULL;

	(void)cli;
	(void)unused;
	TRY(config_text(&(struct config_values){0}, &text));
	fputs(text, out);
	return KT_OK;
}

typedef enum kt_err put_fn(FILE *out, const struct cli *cli, const char *path);

static enum kt_err print(put_fn *put, const struct cli *cli, const char *path)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	enum kt_err err;

	if (out == NULL)
		return err_memory();
	err = put(out, cli, path);
	if (fclose(out) != 0)
		return err_memory();
	TRY(err);
	return cli_write(text, len);
}

enum kt_err cli_help(const struct cli *cli, const char *path)
{
	return print(put_help, cli, path);
}

static enum kt_err help_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	char path[64];

	(void)opts;
	TRY(text_format(path, sizeof(path), "%s%s%s",
			args[0] != NULL ? args[0] : "",
			args[0] != NULL && args[1] != NULL ? " " : "",
			args[0] != NULL && args[1] != NULL ? args[1] : ""));
	return cli_help(cli, path);
}

const struct command help_command = {
	.path = "help",
	.arguments = "[GROUP] [COMMAND]",
	.help = "help on a command, a group or everything",
	.examples = "keyturn help\n"
		    "keyturn help master\n"
		    "keyturn help master rotate\n",
	.run = help_run,
};

static enum kt_err version_run(struct cli *cli, const void *opts,
			       const char *const *args)
{
	(void)opts;
	(void)args;
	return print(put_version, cli, "");
}

const struct command version_command = {
	.path = "version",
	.help = "print the version",
	.examples = "keyturn version\n",
	.run = version_run,
};

static enum kt_err commands_run(struct cli *cli, const void *opts,
				const char *const *args)
{
	(void)opts;
	(void)args;
	return print(put_all, cli, "");
}

const struct command commands_command = {
	.path = "__commands",
	.help = "every command and option, one a line",
	.hidden = true,
	.run = commands_run,
};

static enum kt_err example_run(struct cli *cli, const void *opts,
			       const char *const *args)
{
	(void)opts;
	(void)args;
	return print(put_example, cli, "");
}

const struct command example_command = {
	.path = "__config",
	.help = "the commented configuration of conf/",
	.hidden = true,
	.run = example_run,
};
