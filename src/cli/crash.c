/*
 * keyturn __crash-points: the crash points of a build for tests, so that the
 * tests know every one of them. Other builds do not have the command.
 */
#include "base/crash.h"
#include "cli/commands.h"

#ifdef KEYTURN_CRASH_POINTS

#include <string.h>

static enum kt_err points_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const char *name;

	(void)cli;
	(void)opts;
	(void)args;
	for (size_t i = 0; (name = crash_name(i)) != NULL; i++) {
		TRY(cli_write(name, strlen(name)));
		TRY(cli_write("\n", 1));
	}
	return KT_OK;
}

const struct command crash_points_command = {
	.path = "__crash-points",
	.help = "list the crash points of this build",
	.examples = "keyturn __crash-points\n",
	.hidden = true,
	.run = points_run,
};

#endif
