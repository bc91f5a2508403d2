/*
 * A SoftHSM of a test's own: configuration, token and lock folder below one
 * temporary folder. Sets SOFTHSM2_CONF of the process, which the module reads
 * when it is initialised; programs that the test starts inherit it.
 */
#ifndef TESTS_UNIT_SOFTHSM_H
#define TESTS_UNIT_SOFTHSM_H

#include "hsm/token.h"

#define SOFTHSM_MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define SOFTHSM_LABEL "keyturn-test"
#define SOFTHSM_PIN "1234"
#define SOFTHSM_SO_PIN "12345678"

struct softhsm {
	char folder[64];
	char runtime_dir[128];
	char uri[128];
	struct kt_pin_source pin;
	struct token_params params; /* names SOFTHSM_LABEL */
};

/* Makes the folder and one token. The struct must not be moved afterwards. A
 * failure ends the test program: no test can do without. */
void softhsm_start(struct softhsm *hsm);

/* Fills the rest in from the folder's name: for a program that was started by
 * the one that made it. */
void softhsm_describe(struct softhsm *hsm);

/* One more token; labels may repeat. */
void softhsm_add_token(struct softhsm *hsm, const char *label);

/* Removes the folder. All tokens are closed by then. */
void softhsm_stop(struct softhsm *hsm);

#endif
