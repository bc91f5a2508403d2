/*
 * A TPM of a test's own: swtpm in a temporary folder, and a state folder for a
 * token beside it. The TPM ends when its test does.
 */
#ifndef TESTS_TPM2_SWTPM_H
#define TESTS_TPM2_SWTPM_H

#include <stdbool.h>
#include <string.h>
#include <sys/types.h>

#include "hsm/tpm2/token.h"

#define BYTES(text) (const uint8_t *)(text), strlen(text)
#define OK(call) assert_int_equal((call), CKR_OK)

/* For what may succeed or fail. */
static inline void either_way(CK_RV rv)
{
	(void)rv;
}

struct swtpm {
	char dir[64];
	char tcti[128];  /* "swtpm:path=..." */
	char shim[512];  /* the same behind the shim */
	char state[128]; /* of the token; not made yet */
	pid_t pid;
};

void swtpm_open(struct swtpm *tpm);
void swtpm_close(struct swtpm *tpm);

/* Ends it, as the power goes, and starts it. A TPM takes a power cut for an
 * attack when a PIN was used before it, and counts one failure. */
void swtpm_stop(struct swtpm *tpm);
void swtpm_start(struct swtpm *tpm);

/* Both, and the failures are forgiven. */
void swtpm_power_cycle(struct swtpm *tpm);
void swtpm_forgive(const struct swtpm *tpm);

/* Runs a shell command in its folder; it must succeed. */
void swtpm_shell(const struct swtpm *tpm, const char *command);

struct tpm_token *swtpm_token(const struct swtpm *tpm);

/* The same with another TCTI. */
struct tpm_token *swtpm_token_by(const struct swtpm *tpm, const char *tcti);

#define SO_PIN "so-pin-1"
#define USER_PIN "user-pin-1"

/* Initialised, the user's PIN set, the user logged in. */
struct tpm_token *swtpm_ready_token(const struct swtpm *tpm);

void login_user(struct tpm_token *token);

/* Live keys on disk; persistent handles and counters in the TPM. */
unsigned keys_live_count(struct tpm_token *token);
unsigned places_taken(const struct swtpm *tpm);
unsigned counters_taken(const struct swtpm *tpm);

/* That the key wraps and unwraps. */
void assert_key_works(struct tpm_token *token, const struct kt_id *id);

/* The file with this name, or NULL. */
const uint8_t *evidence_find(const struct tpm_evidence *evidence,
			     const char *name, size_t *ret_len);

/* What the owner of the TPM might do behind the token's back. */
struct tpm *owner_open(const struct swtpm *tpm);

#endif
