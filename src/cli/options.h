/*
 * From argv to structs, over getopt_long(3).
 */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include "cli/cli.h"

/* Options and the struct they go into. */
struct option_set {
	const struct option_def *defs;
	size_t count;
	void *target;
};

/* argv[0] is skipped. stop_at_word: options end at the first word; else words
 * are moved behind the options. *ret_first: index of the first word. The first
 * set that knows an option has it. KT_ERR_USAGE. */
enum kt_err options_parse(const struct option_set *sets, size_t set_count,
			  bool stop_at_word, int argc, char **argv,
			  int *ret_first);

/* The count of words against "REF [FILE]". KT_ERR_USAGE. */
enum kt_err arguments_check(const char *arguments, int count);

#endif
