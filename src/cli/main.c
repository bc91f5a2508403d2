/*
 * The command's entry: hardens the process, reads the environment (the only
 * place that does) and lists every command there is.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>
#include <openssl/crypto.h>

#include "base/crash.h"
#include "base/harden.h"
#include "base/secret.h"
#include "cli/commands.h"

/* In the order of the help. */
static const struct command *const commands[] = {
	&init_command,
	&status_command,
	&doctor_command,
	&project_create_command,
	&project_list_command,
	&project_show_command,
	&project_rotate_command,
	&project_verify_command,
	&project_compromise_command,
	&project_delete_command,
	&access_issue_command,
	&access_list_command,
	&access_revoke_command,
	&secret_set_command,
	&secret_get_command,
	&secret_list_command,
	&secret_delete_command,
	&secret_import_command,
	&secret_verify_command,
	&master_list_command,
	&master_show_command,
	&master_rotate_command,
	&master_resume_command,
	&master_rollback_command,
	&master_finish_command,
	&master_destroy_command,
	&master_verify_command,
	&master_compromise_command,
	&rotation_list_command,
	&rotation_show_command,
	&rotation_resume_command,
	&rotation_rollback_command,
	&rotation_finish_command,
	&audit_list_command,
	&audit_verify_command,
	&backup_create_command,
	&backup_list_command,
	&backup_verify_command,
	&backup_restore_command,
	&backup_forget_command,
	&token_bench_command,
	&token_init_command,
	&token_attest_command,
	&completion_command,
	&help_command,
	&version_command,
	&commands_command,
	&example_command,
	&complete_command,
#ifdef KEYTURN_CRASH_POINTS
	&crash_points_command,
#endif
	NULL,
};

static const struct noun nouns[] = {
	{"project", "projects and their keys"},
	{"access", "access tokens of projects"},
	{"secret", "secrets of a project"},
	{"master", "the master key in the token"},
	{"rotation", "records of rotations"},
	{"audit", "the audit trail"},
	{"backup", "copies of the database"},
	{"token", "the token's speed; a token in a TPM, and its evidence"},
	{NULL, NULL},
};

/* An empty variable says as much as none. */
static const char *variable(const char *name)
{
	const char *value = getenv(name);

	return value != NULL && value[0] != '\0' ? value : NULL;
}

static struct environment read_environment(void)
{
	return (struct environment){
		.config = variable("KEYTURN_CONFIG"),
		.store = variable("KEYTURN_STORE"),
		.token = variable("KEYTURN_TOKEN"),
		.pin = variable("KEYTURN_PIN"),
		.worker = variable("KEYTURN_WORKER"),
		.tpm2_conf = variable("KEYTURN_TPM2_CONF"),
		.credentials_directory = variable("CREDENTIALS_DIRECTORY"),
		.xdg_runtime_dir = variable("XDG_RUNTIME_DIR"),
		.xdg_config_home = variable("XDG_CONFIG_HOME"),
		.xdg_state_home = variable("XDG_STATE_HOME"),
		.home = variable("HOME"),
		.sudo_user = variable("SUDO_USER"),
		.logname = variable("LOGNAME"),
		.user = variable("USER"),
		.term = variable("TERM"),
	};
}

/* Only builds for tests have crash points. */
static void arm_crash_point(void)
{
#ifdef KEYTURN_CRASH_POINTS
	const char *plan = variable("KEYTURN_CRASH");

	if (plan == NULL || crash_arm(plan))
		return;
	fprintf(stderr, "keyturn: no such crash point: %s\n", plan);
	exit(EXIT_FAILURE);
#endif
}

static void *secure_new(size_t size)
{
	return OPENSSL_secure_malloc(size);
}

static void secure_free(void *data)
{
	OPENSSL_secure_free(data);
}

int main(int argc, char **argv)
{
	/* A worker that dies, or a reader that leaves, is an error to report
	 * and not the end of a rotation. */
	static const struct sigaction ignore = {.sa_handler = SIG_IGN};
	struct environment env;

	process_harden();
	arm_crash_point();
	sigaction(SIGPIPE, &ignore, NULL);
	if (!secret_heap_init())
		fputs("keyturn: warning: the memory for secrets is not locked "
		      "(see RLIMIT_MEMLOCK)\n",
		      stderr);
	json_set_alloc_funcs(secure_new, secure_free); /* values are secrets */
	env = read_environment();
	unsetenv("KEYTURN_PIN"); /* env keeps it; workers do not inherit it */
	return cli_main(commands, nouns, &env, argc, argv);
}
