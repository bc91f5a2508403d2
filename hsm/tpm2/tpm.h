/*
 * A connection to a TPM: the TCTI it goes over, one salted session for all
 * that is secret, and what the TPM's response codes mean. Commands are built
 * and run by command.h. Not thread-safe: the token above holds its lock.
 *
 * tpm2-tss gives the transport and the marshalling; sessions are our own. Its
 * ESYS layer costs 2 ms of processor time a command, writes to stderr and
 * leaves authorisations in memory that it does not wipe.
 */
#ifndef HSM_TPM2_TPM_H
#define HSM_TPM2_TPM_H

#include <sys/types.h>

#include <tss2/tss2_tcti.h>
#include <tss2/tss2_tpm2_types.h>

#include "hsm/tpm2/crypto.h"
#include "hsm/tpm2/token.h"

#define TPM_NAME_MAX 66 /* algorithm, SHA-512; ours are by SHA-256 */
#define TPM_PUBLIC_MAX 512

/* What a command names: a handle, the Name that authorises it, its auth. */
struct tpm_object {
	uint32_t handle;
	uint8_t name[TPM_NAME_MAX];
	size_t name_len;
	struct span auth; /* not owned; trailing zeros do not count */
};

/* A marshalled TPMT_PUBLIC, as the TPM names it. */
struct tpm_public {
	uint8_t data[TPM_PUBLIC_MAX];
	size_t len;
};

struct tpm_session {
	uint32_t handle; /* 0: none */
	bool policy;
	bool auth_value; /* a policy that asks for the object's auth */
	struct kt_secret key;
	uint8_t nonce[HASH_LEN]; /* the TPM's newest */
	unsigned bits;           /* of AES-CFB */
};

struct tpm {
	char *tcti_name;
	struct crypto *crypto;
	TSS2_TCTI_CONTEXT *tcti;
	pid_t pid; /* that opened it */
	struct tpm_object srk;
	struct tpm_public srk_public; /* len 0: not pinned yet */
	struct tpm_session session;
	uint64_t commands; /* sent, for the bench */
	TSS2_RC last;      /* response code of the last command */
	bool session_lost; /* a new session may help */
	bool slots_full;   /* flushing what was left over may help */
	bool gone;         /* the connection is not to be used again */
};

/* Opens nothing. */
CK_RV tpm_new(const char *tcti, struct tpm **ret);
void tpm_free(struct tpm *tpm);
DEFINE_CLEANUP(struct tpm, tpm_free)

/* Connects where that has not happened, or not in this process. A child
 * forgets its parent's connection and session: they are not closed, as the
 * parent goes on using them. */
CK_RV tpm_connect(struct tpm *tpm);

/* Flushes the session and closes; the next tpm_connect() begins anew. */
void tpm_disconnect(struct tpm *tpm);

/* The storage root key whose public area was written down when the token was
 * made: salts go to it, whatever the TPM on the bus says now. */
CK_RV tpm_pin_srk(struct tpm *tpm, uint32_t handle,
		  const struct tpm_public *public);

/* The Name of a public area; CKR_DEVICE_ERROR when it is not by SHA-256. */
CK_RV tpm_public_name(const struct tpm *tpm, const struct tpm_public *public,
		      struct tpm_object *ret);

/* A permanent handle (TPM2_RH_OWNER ...), whose Name is its number. */
struct tpm_object tpm_permanent(uint32_t handle, struct span auth);

/* Whether the last command failed for a wrong authorisation. */
bool tpm_refused(const struct tpm *tpm);

/* Raises what a response code says; keeps it in tpm->last and sets the three
 * flags. */
CK_RV tpm_failed(struct tpm *tpm, const char *command, TSS2_RC rc);

#endif
