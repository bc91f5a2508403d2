/*
 * A token without a TPM, for tests of the PKCS#11 surface alone: the contract
 * of hsm/tpm2/token.h over plain memory, by state folder. What it keeps lives
 * until fake_token_forget(), whatever the module does in between.
 */
#ifndef TESTS_TPM2_FAKE_TOKEN_H
#define TESTS_TPM2_FAKE_TOKEN_H

#include "hsm/tpm2/token.h"

void fake_token_forget(void);

/* Every command of the "TPM" so far. */
unsigned fake_token_commands(void);

/* Logins while somebody was logged in: the surface lets none through. */
unsigned fake_token_double_logins(void);

/* The next command answers this. */
void fake_token_fail(CK_RV rv);

/* Another process destroys all keys. */
void fake_token_lose_keys(void);

#endif
