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

#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/object.h"

extern char **environ;

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
	char state[96], server[160], control[160], path[96], ctrl[96];
	/* It dies with a test that crashes. */
	const char *argv[] = {"setpriv",    "--pdeathsig",
			      "KILL",       "swtpm",
			      "socket",     "--tpm2",
			      "--tpmstate", state,
			      "--server",   server,
			      "--ctrl",     control,
			      "--flags",    "not-need-init,startup-clear",
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
	assert_int_equal(posix_spawnp(&tpm->pid, "setpriv", &quiet, NULL,
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
	setenv("TSS2_LOG", "all+NONE", 0);
	*tpm = (struct swtpm){.dir = "/tmp/keyturn-tpm2-XXXXXX"};
	assert_non_null(mkdtemp(tpm->dir));
	snprintf(tpm->tcti, sizeof(tpm->tcti), "swtpm:path=%s/sock", tpm->dir);
	snprintf(tpm->shim, sizeof(tpm->shim), "%s:%s", SHIM, tpm->tcti);
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

static CK_RV count_key(const struct tpm_key *key, void *arg)
{
	assert_int_equal(key->state, TPM_KEY_LIVE);
	++*(unsigned *)arg;
	return CKR_OK;
}

unsigned keys_live_count(struct tpm_token *token)
{
	unsigned count = 0;

	OK(tpm_key_each(token, TPM_KEY_LIVE, count_key, &count));
	return count;
}

struct tpm *owner_open(const struct swtpm *tpm)
{
	struct tpm *owner = NULL;
	struct tpm_public public = {0};

	OK(tpm_new(tpm->tcti, &owner));
	OK(tpm_connect(owner));
	OK(object_read_public(owner, 0x81000001, &public));
	OK(tpm_pin_srk(owner, 0x81000001, &public));
	return owner;
}

static unsigned taken(const struct swtpm *tpm, uint32_t first)
{
	struct tpm *owner = owner_open(tpm);
	unsigned count = 0;

	for (uint32_t i = 0; i < 16; i++) {
		bool there = false;

		OK(caps_handle_there(owner, first + i, &there));
		count += there;
	}
	tpm_free(owner);
	return count;
}

unsigned places_taken(const struct swtpm *tpm)
{
	return taken(tpm, 0x81024b00);
}

unsigned counters_taken(const struct swtpm *tpm)
{
	return taken(tpm, 0x01804b00);
}

void assert_key_works(struct tpm_token *token, const struct kt_id *id)
{
	const uint8_t value[32] = {1, 2, 3};
	uint8_t wrap[32 + TPM_WRAP_OVERHEAD];
	struct kt_secret back = {0};

	OK(tpm_key_wrap(token, id, BYTES("aad"), value, sizeof(value), wrap));
	OK(tpm_key_unwrap(token, id, BYTES("aad"), wrap, sizeof(wrap), &back));
	assert_int_equal(back.len, sizeof(value));
	assert_memory_equal(back.data, value, sizeof(value));
	kt_secret_done(&back);
}

const uint8_t *evidence_find(const struct tpm_evidence *evidence,
			     const char *name, size_t *ret_len)
{
	for (size_t i = 0; i < evidence->count; i++) {
		if (strcmp(evidence->files[i].name, name) != 0)
			continue;
		*ret_len = evidence->files[i].len;
		return evidence->files[i].data;
	}
	return NULL;
}

void swtpm_forgive(const struct swtpm *tpm)
{
	struct cmd cmd = CMD(DictionaryAttackLockReset);
	struct tpm_object lockout =
		tpm_permanent(TPM2_RH_LOCKOUT, SPAN(NULL, 0));
	struct tpm *owner = owner_open(tpm);

	cmd_handle(&cmd, &lockout);
	cmd_auth(&cmd, NULL, &lockout, CMD_PLAIN);
	OK(cmd_run(owner, &cmd));
	tpm_free(owner);
}

void swtpm_power_cycle(struct swtpm *tpm)
{
	swtpm_stop(tpm);
	swtpm_start(tpm);
	swtpm_forgive(tpm);
}
