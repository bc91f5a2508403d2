/*
 * Questions to a person. They go to the terminal itself, not to stdout or
 * stderr, so they work in a pipeline; nobody is asked with --no-input or where
 * stderr is not a terminal.
 */
#ifndef CLI_ASK_H
#define CLI_ASK_H

#include "cli/cli.h"

/* Somebody is there to answer. */
bool ask_possible(const struct cli *cli);

/* stdout is a terminal: a secret must not go there unasked. */
bool ask_stdout_is_terminal(void);

/* stdin is a terminal: there is no data to read from it. */
bool ask_stdin_is_terminal(void);

/* For dangerous work: "QUESTION [y/N] ". KT_OK when the answer is yes or with
 * --yes; KT_ERR_USAGE "needs --yes without a terminal" when nobody can be
 * asked; KT_ERR_FAILED "not confirmed" for any other answer. */
enum kt_err ask_confirm(const struct cli *cli, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* A choice with a default for the empty answer; with --yes or nobody there
 * the default is taken. */
enum kt_err ask_choice(const struct cli *cli, bool preset, bool *ret,
		       const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* For severe work: given is the text of --confirm and must equal what. NULL:
 * the person types it. KT_ERR_USAGE when nobody can be asked. */
enum kt_err ask_name(const struct cli *cli, const char *given,
		     const char *what);

/* Reads a line without echo, at most max bytes; no newline in it. twice: asks
 * again and compares. KT_ERR_USAGE when nobody can be asked. */
enum kt_err ask_secret(const struct cli *cli, const char *prompt, bool twice,
		       size_t max, struct kt_secret *ret);

#endif
