/*
 * The configuration file (YAML) and what the environment says. Unknown keys
 * and bad values are refused with file and line; a file that others can write
 * is refused altogether.
 */
#ifndef CLI_CONFIG_H
#define CLI_CONFIG_H

#include <stdio.h>

#include <keyturn/vault.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Read by main(), the only place that may; NULL where unset or empty. */
struct environment {
	/* KEYTURN_... */
	const char *config, *store, *token, *pin, *worker, *tpm2_conf;
	const char *credentials_directory;
	const char *xdg_runtime_dir, *xdg_config_home, *xdg_state_home;
	const char *home, *sudo_user, *logname, *user;
	const char *term;
};

/* NULL or 0 says "not in the file". */
struct config {
	char *store;
	struct {
		char *uri;
		char *module;
		enum kt_gate_level gate;
	} token;
	struct {
		char *file;
		bool allow_environment;
	} pin;
	struct {
		int64_t batch_size;
		int64_t jobs;
		int64_t sessions;
		int64_t grace; /* seconds; -1: not in the file */
		int64_t lease; /* seconds */
	} rotation;
	char *runtime_dir;
};

/* KT_ERR_NOT_FOUND when there is no file, KT_ERR_CONFIG with its line when it
 * is not usable. The caller frees *ret. */
enum kt_err config_load(const char *path, struct config **ret);

/* The same from text; name stands for the file in errors. */
enum kt_err config_parse(const char *name, const char *text, size_t len,
			 struct config **ret);

/* The defaults. */
enum kt_err config_new(struct config **ret);

void config_free(struct config *config);
DEFINE_CLEANUP(struct config, config_free)

/* What init writes. uri NULL gives the commented example in conf/; the caller
 * frees *ret. KT_ERR_USAGE when a value cannot stand in one line of YAML or
 * would not be read again as it is. */
struct config_values {
	const char *store, *uri, *module, *pin_file, *runtime_dir;
	enum kt_gate_level gate;
};
enum kt_err config_text(const struct config_values *values, char **ret);

/* A value in quotes and the end of its line. KT_ERR_USAGE: control
 * characters. */
enum kt_err config_put_quoted(FILE *out, const char *value);

#endif
