/*
 * A TPM of a test's own: swtpm in a temporary folder, and a state folder for a
 * token beside it. The TPM ends when its test does.
 */
#ifndef TESTS_TPM2_SWTPM_H
#define TESTS_TPM2_SWTPM_H

#include <stdbool.h>
#include <sys/types.h>

#include "hsm/tpm2/token.h"

struct swtpm {
	char dir[64];
	char tcti[128];  /* "swtpm:path=..." */
	char state[128]; /* of the token; not made yet */
	pid_t pid;
};

void swtpm_open(struct swtpm *tpm);
void swtpm_close(struct swtpm *tpm);

/* Ends it, as a machine is switched off, and switches it on again. */
void swtpm_stop(struct swtpm *tpm);
void swtpm_start(struct swtpm *tpm);

/* Copies a file or directory of the state folder aside and back. */
void swtpm_shell(const struct swtpm *tpm, const char *command);

struct tpm_token *swtpm_token(const struct swtpm *tpm);

/* The same with another TCTI. */
struct tpm_token *swtpm_token_by(const struct swtpm *tpm, const char *tcti);

#define SO_PIN "so-pin-1"
#define USER_PIN "user-pin-1"

/* Initialised, the user's PIN set, the user logged in. */
struct tpm_token *swtpm_ready_token(const struct swtpm *tpm);

void login_user(struct tpm_token *token);

#endif
