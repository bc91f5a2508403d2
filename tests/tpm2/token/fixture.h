/*
 * What most tests of a token begin with: a TPM, a token with the user logged
 * in, and a wrapping key in it.
 */
#ifndef TESTS_TPM2_FIXTURE_H
#define TESTS_TPM2_FIXTURE_H

#include "swtpm.h"

extern struct swtpm tpm;
extern struct tpm_token *token;
extern struct tpm_key key;

/* The token by itself, or behind the shim, which has seen no command yet. */
int setup(void **state);
int setup_shimmed(void **state);
int teardown(void **state);

#endif
