/*
 * The frame of the command. A command is const data: its words, arguments,
 * options and the function that runs it. Parsing, help, completion and the
 * lint of the manual pages come from this one description. A whole command:
 *
 *	struct create_options {
 *		int64_t size;
 *		bool dry_run;
 *	};
 *
 *	static const struct option_def create_option[] = {
 *		{"size", 's', OPT_INT, offsetof(struct create_options, size),
 *		 "N", "rooms, 1 to 9 (default 3)", .min = 1, .max = 9},
 *		{"dry-run", 'n', OPT_FLAG,
 *		 offsetof(struct create_options, dry_run), NULL,
 *		 "change nothing"},
 *	};
 *
 *	static enum kt_err create_run(struct cli *cli, const void *opts,
 *	                              const char *const *args)
 *	{
 *		const struct create_options *o = opts;
 *		struct kt_vault *vault;
 *
 *		TRY(cli_vault(cli, &vault));
 *		return house_create(vault, args[0], o->size, o->dry_run);
 *	}
 *
 *	const struct command house_create_command = {
 *		.path = "house create",
 *		.arguments = "NAME",
 *		.help = "make a house",
 *		.examples = "keyturn house create red --size 5\n",
 *		OPTIONS(create_option, struct create_options,
 *		        (.size = 3)),
 *		.run = create_run,
 *	};
 *
 * and its name in the array of main.c. A command returns an error and prints
 * none: the frame does. Data goes to stdout, talk to stderr by cli_say().
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <stddef.h>

#include <keyturn/keyturn.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "cli/config.h"

/* How the text of an option becomes a member of the command's struct. */
enum opt_type {
	OPT_FLAG,     /* bool: true */
	OPT_TEXT,     /* const char *: borrowed, NULL when not given */
	OPT_FILE,     /* the same; the shell completes file names */
	OPT_INT,      /* int64_t in [min, max] */
	OPT_DURATION, /* int64_t: seconds, from "90s", "15m", "24h", "30d" */
	OPT_CHOICE,   /* int: index of the word in choices */
};

struct option_def {
	const char *name; /* "batch-size" */
	char letter;      /* 'n', or 0 */
	enum opt_type type;
	size_t offset;
	const char *argument; /* "N", "FILE"; NULL for OPT_FLAG */
	const char *help;
	int64_t min, max;
	const char *const *choices; /* ends with NULL */
	const char *word;           /* of OPT_INT: instead of a number */
};

#define OPT_WORD (-1) /* the member's value then */

struct cli;

/* opts: the command's struct, filled. args: what is not an option, as many
 * as .arguments allows, ended by NULL. */
typedef enum kt_err command_run(struct cli *cli, const void *opts,
				const char *const *args);

struct command {
	const char *path;      /* "project create" */
	const char *arguments; /* "REF", "[PROJECT]", "WORD..."; NULL: none.
				* Bracketed ones are optional, "..." is any
				* number; the counts are checked by this. */
	const char *help;      /* one line, lower case, no full stop */
	const char *details;   /* paragraphs with newlines; may be NULL */
	const char *examples;  /* one a line */
	const struct option_def *options;
	size_t option_count;
	size_t opts_size;     /* of the command's struct */
	const void *defaults; /* of that struct; NULL: all zero */
	bool lists;           /* understands --json */
	bool hidden;          /* not in help and completion */
	command_run *run;
};

/* OPTIONS(array, struct type, (.member = value, ...)) or () for all zero. */
#define OPTIONS_UNPACK(...) __VA_ARGS__
#define OPTIONS(array, type, values)                                           \
	.options = (array),                                                    \
	.option_count = sizeof(array) / sizeof((array)[0]),                    \
	.opts_size = sizeof(type), .defaults = &(const type)                   \
	{                                                                      \
		OPTIONS_UNPACK values                                          \
	}

/* The first word of a two-word command, for help. */
struct noun {
	const char *name; /* "project" */
	const char *help; /* "projects and their keys" */
};

/* Options that every command takes. */
struct globals {
	const char *config, *store, *token, *module;
	const char *pin_file, *operator_name, *access_token_file;
	int64_t pin_fd, access_token_fd; /* -1: none */
	bool last_try, json, yes, no_input, quiet, help, version;
};

extern const struct option_def global_options[];
extern const size_t global_option_count;

struct settings;

/* One run of the command. Commands read args of globals and command. */
struct cli {
	const struct command *const *commands; /* ends with NULL */
	const struct noun *nouns;              /* ends with a NULL name */
	const struct environment *env;
	const struct command *command; /* NULL until it is known */
	struct globals globals;
	struct config *config;     /* by cli_config() */
	struct settings *settings; /* by cli_params() */
	struct kt_vault *vault;    /* by cli_vault() */
};

/* Runs argv and gives the exit status; prints the error there was. */
int cli_main(const struct command *const *commands, const struct noun *nouns,
	     const struct environment *env, int argc, char **argv);

/* The vault of this run, opened (and limited to the access token where one
 * was given) by the first call, closed by the frame. */
enum kt_err cli_vault(struct cli *cli, struct kt_vault **ret);

/* For a command that does not work through cli_vault() and is the operator's
 * alone: KT_ERR_DENIED where an access token was given. */
enum kt_err cli_operator_only(const struct cli *cli);

/* What the configuration file says; all defaults where there is none. */
enum kt_err cli_config(struct cli *cli, const struct config **ret);

/* Flags over environment over file over defaults; borrowed from cli. */
enum kt_err cli_params(struct cli *cli, const struct kt_params **ret);

/* A line on stderr, unless --quiet. */
void cli_say(const struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* All of it on stdout, and flushed. */
enum kt_err cli_write(const void *data, size_t len);

/* A command by its whole path; NULL when there is none. */
const struct command *cli_find(const struct cli *cli, const char *path);

/* The help of a command, of a noun, or (path "") of everything; on stdout. */
enum kt_err cli_help(const struct cli *cli, const char *path);

#endif
