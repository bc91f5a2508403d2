/*
 * What the engine is to be opened with: flags over environment over
 * configuration file over defaults.
 */
#ifndef CLI_SETTINGS_H
#define CLI_SETTINGS_H

#include <limits.h>

#include "cli/cli.h"

/* params borrows from these buffers, the configuration, the environment and
 * argv. */
struct settings {
	struct kt_params params;
	char store[PATH_MAX];
	char module[PATH_MAX];
	char runtime_dir[PATH_MAX];
	char worker[PATH_MAX];
	char operator_name[KT_NAME_MAX + 1];
};

/* The file of the configuration. *ret_named: somebody named it, so that it
 * must be there. */
enum kt_err settings_config_path(const struct globals *globals,
				 const struct environment *env,
				 char ret[PATH_MAX], bool *ret_named);

/* What a file or a record keeps is read from anywhere later: a relative path
 * begins at the working directory. */
enum kt_err settings_whole_path(const char *path, char ret[PATH_MAX]);

/* Where a token in a TPM has its folder unless it is said. */
enum kt_err settings_tpm_state(const struct environment *env,
			       char ret[PATH_MAX]);

/* All but the prompt. token_uri stays NULL where no token is named. The
 * caller frees *ret. */
enum kt_err settings_resolve(const struct globals *globals,
			     const struct environment *env,
			     const struct config *config,
			     struct settings **ret);

#endif
