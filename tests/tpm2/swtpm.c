/*
 * Starting and stopping swtpm.
 */
#include "swtpm.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

extern char **environ;

#define BYTES(text) (const uint8_t *)(text), strlen(text)

static bool answers(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool good;

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	good = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0;
	close(fd);
	return good;
}

static void wait_until_it_answers(const char *path)
{
	struct timespec pause = {.tv_nsec = 10000000};

	for (int i = 0; i < 1000; i++) {
		if (answers(path))
			return;
		nanosleep(&pause, NULL);
	}
	fail_msg("swtpm does not answer at %s", path);
}

void swtpm_start(struct swtpm *tpm)
{
	posix_spawn_file_actions_t quiet;
	char state[128], server[128], control[128], path[128], ctrl[128];
	const char *argv[] = {"swtpm",
			      "socket",
			      "--tpm2",
			      "--tpmstate",
			      state,
			      "--server",
			      server,
			      "--ctrl",
			      control,
			      "--flags",
			      "not-need-init,startup-clear",
			      NULL};

	snprintf(state, sizeof(state), "dir=%s/tpm", tpm->dir);
	snprintf(path, sizeof(path), "%s/sock", tpm->dir);
	snprintf(ctrl, sizeof(ctrl), "%s/sock.ctrl", tpm->dir);
	snprintf(server, sizeof(server), "type=unixio,path=%s", path);
	snprintf(control, sizeof(control), "type=unixio,path=%s", ctrl);
	unlink(path);
	unlink(ctrl);
	posix_spawn_file_actions_init(&quiet);
	posix_spawn_file_actions_addopen(&quiet, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	posix_spawn_file_actions_adddup2(&quiet, STDOUT_FILENO, STDERR_FILENO);
	assert_int_equal(posix_spawnp(&tpm->pid, "swtpm", &quiet, NULL,
				      (char **)argv, environ),
			 0);
	posix_spawn_file_actions_destroy(&quiet);
	/* The control channel too: a TCTI asks there at once. */
	wait_until_it_answers(ctrl);
	wait_until_it_answers(path);
}

void swtpm_stop(struct swtpm *tpm)
{
	if (tpm->pid <= 0)
		return;
	kill(tpm->pid, SIGKILL);
	waitpid(tpm->pid, NULL, 0);
	tpm->pid = 0;
}

void swtpm_shell(const struct swtpm *tpm, const char *command)
{
	char line[512];

	snprintf(line, sizeof(line), "cd '%s' && %s", tpm->dir, command);
	assert_int_equal(system(line), 0);
}

void swtpm_open(struct swtpm *tpm)
{
	*tpm = (struct swtpm){.dir = "/tmp/keyturn-tpm2-XXXXXX"};
	assert_non_null(mkdtemp(tpm->dir));
	snprintf(tpm->tcti, sizeof(tpm->tcti), "swtpm:path=%s/sock", tpm->dir);
	snprintf(tpm->state, sizeof(tpm->state), "%s/state", tpm->dir);
	swtpm_shell(tpm, "mkdir tpm");
	swtpm_start(tpm);
}

void swtpm_close(struct swtpm *tpm)
{
	swtpm_stop(tpm);
	swtpm_shell(
		tpm,
		"rm -rf tpm state sock* saved && cd / && rmdir \"$OLDPWD\"");
}

struct tpm_token *swtpm_token_by(const struct swtpm *tpm, const char *tcti)
{
	struct tpm_config config = {.tcti = tcti, .state = tpm->state};
	struct tpm_token *token = NULL;

	assert_int_equal(tpm_token_new(&config, &token), CKR_OK);
	return token;
}

struct tpm_token *swtpm_token(const struct swtpm *tpm)
{
	return swtpm_token_by(tpm, tpm->tcti);
}

void login_user(struct tpm_token *token)
{
	assert_int_equal(tpm_token_login(token, TPM_USER, BYTES(USER_PIN)),
			 CKR_OK);
}

struct tpm_token *swtpm_ready_token(const struct swtpm *tpm)
{
	struct tpm_token *token = swtpm_token(tpm);

	assert_int_equal(tpm_token_init(token, BYTES(SO_PIN), "test"), CKR_OK);
	assert_int_equal(tpm_token_login(token, TPM_SO, BYTES(SO_PIN)), CKR_OK);
	assert_int_equal(tpm_token_init_pin(token, BYTES(USER_PIN)), CKR_OK);
	assert_int_equal(tpm_token_logout(token), CKR_OK);
	login_user(token);
	return token;
}
