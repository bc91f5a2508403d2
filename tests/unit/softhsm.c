/*
 * Makes SoftHSM tokens with softhsm2-util, as a user of SoftHSM would.
 */
#include "tests/unit/softhsm.h"

#include <fcntl.h>
#include <ftw.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static void require(bool held, const char *what)
{
	if (held)
		return;
	fprintf(stderr, "softhsm: %s failed\n", what);
	exit(1);
}

static void write_config(const struct softhsm *hsm, const char *path)
{
	FILE *f = fopen(path, "w");

	require(f != NULL, "writing the configuration");
	fprintf(f,
		"directories.tokendir = %s/tokens\n"
		"objectstore.backend = file\n"
		"log.level = ERROR\n"
		"slots.removable = false\n",
		hsm->folder);
	require(fclose(f) == 0, "writing the configuration");
}

/* softhsm2-util says on stdout which slot it used: nobody wants to know. */
static void run(const char *const argv[])
{
	posix_spawn_file_actions_t actions;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	require(posix_spawnp(&pid, argv[0], &actions, NULL,
			     (char *const *)(uintptr_t)argv, environ) == 0,
		argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	require(waitpid(pid, &status, 0) == pid && status == 0, argv[0]);
}

void softhsm_add_token(struct softhsm *hsm, const char *label)
{
	const char *const argv[] = {
		"softhsm2-util", "--init-token", "--free",    "--label",
		label,           "--pin",        SOFTHSM_PIN, "--so-pin",
		SOFTHSM_SO_PIN,  NULL,
	};

	(void)hsm;
	run(argv);
}

void softhsm_start(struct softhsm *hsm)
{
	char path[128];

	memset(hsm, 0, sizeof(*hsm));
	snprintf(hsm->folder, sizeof(hsm->folder), "/tmp/keyturn-hsm-XXXXXX");
	require(mkdtemp(hsm->folder) != NULL, "mkdtemp");
	snprintf(path, sizeof(path), "%s/tokens", hsm->folder);
	require(mkdir(path, 0700) == 0, "mkdir");
	snprintf(path, sizeof(path), "%s/softhsm2.conf", hsm->folder);
	write_config(hsm, path);
	require(setenv("SOFTHSM2_CONF", path, 1) == 0, "setenv");
	softhsm_add_token(hsm, SOFTHSM_LABEL);

	softhsm_describe(hsm);
}

void softhsm_describe(struct softhsm *hsm)
{
	snprintf(hsm->runtime_dir, sizeof(hsm->runtime_dir), "%s/run",
		 hsm->folder);
	snprintf(hsm->uri, sizeof(hsm->uri), "pkcs11:token=%s", SOFTHSM_LABEL);
	hsm->pin = (struct kt_pin_source){.fd = -1, .environment = SOFTHSM_PIN};
	hsm->params = (struct token_params){
		.uri = hsm->uri,
		.module = SOFTHSM_MODULE,
		.runtime_dir = hsm->runtime_dir,
		.pin = &hsm->pin,
	};
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void softhsm_stop(struct softhsm *hsm)
{
	nftw(hsm->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	unsetenv("SOFTHSM2_CONF");
}
