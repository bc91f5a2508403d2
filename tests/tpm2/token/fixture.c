/*
 * The beginning and the end of a test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fixture.h"
#include "shim.h"

struct swtpm tpm;
struct tpm_token *token;
struct tpm_key key;

int setup(void **state)
{
	(void)state;
	swtpm_open(&tpm);
	token = swtpm_ready_token(&tpm);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("wrap"), &key));
	return 0;
}

int setup_shimmed(void **state)
{
	(void)state;
	shim_reset();
	swtpm_open(&tpm);
	tpm_token_free(swtpm_ready_token(&tpm));
	token = swtpm_token_by(&tpm, tpm.shim);
	login_user(token);
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("wrap"), &key));
	shim_reset();
	return 0;
}

int teardown(void **state)
{
	(void)state;
	shim_reset();
	tpm_key_done(&key);
	tpm_token_free(token);
	swtpm_close(&tpm);
	return 0;
}
