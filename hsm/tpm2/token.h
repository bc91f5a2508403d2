/*
 * A token on a TPM 2.0: what the PKCS#11 surface calls. A token is a TPM,
 * named by its TCTI, and a state folder; its keys are born in the TPM, stay at
 * persistent handles, and end when their NV counter is undefined. This part
 * knows nothing of sessions, objects and templates of PKCS#11; it answers in
 * CK_RV because that is the error of a provider, and kt_err_detail() says in
 * words what failed last in the calling thread.
 *
 * Every function may be called from any thread; one lock per token orders them
 * (a TPM is serial anyway). A lock file orders processes in all that changes
 * the token or takes more than one command; the use of a key is one command,
 * which the TPM orders by itself, and takes that lock only where it failed.
 */
#ifndef HSM_TPM2_TOKEN_H
#define HSM_TPM2_TOKEN_H

#include <p11-kit/pkcs11.h>

#include <keyturn/types.h>

#define TPM_MUST_USE __attribute__((warn_unused_result))

#define TPM_LABEL_MAX 32  /* bytes, without the NUL */
#define TPM_SERIAL_LEN 16 /* hexadecimal digits */
#define TPM_PIN_MIN 4
#define TPM_PIN_MAX 255
#define TPM_POINT_LEN 65     /* 04 || x || y on P-256 */
#define TPM_SIGNATURE_LEN 64 /* r || s */
#define TPM_MAC_LEN 32
#define TPM_DIGEST_LEN 32
#define TPM_WRAP_OVERHEAD 72   /* a wrap is that much longer than its value */
#define TPM_WRAP_VALUE_MAX 440 /* a wrap fits BLOB_MAX */
#define TPM_AAD_MAX 65536
#define TPM_ATTRIBUTES_MAX 16384
#define TPM_NONCE_MAX 32
#define TPM_SLOTS_DEFAULT 256

struct tpm_token;

/* Where a token is. Zero in a number asks for its default. */
struct tpm_config {
	const char *tcti;  /* "device:/dev/tpmrm0", "swtpm:path=/run/x" */
	const char *state; /* the folder; made by tpm_token_init() */
	uint32_t srk;      /* persistent handle: 0x81000001 */
	uint32_t handles;  /* first persistent handle for keys: 0x81024b00 */
	uint32_t counters; /* first NV index for counters: 0x01804b00 */
	uint32_t slots;    /* so many of each from there: 256 */
};

/* Copies config; opens nothing, talks to no TPM. */
TPM_MUST_USE CK_RV tpm_token_new(const struct tpm_config *config,
				 struct tpm_token **ret);

/* Logs out and gives the TPM back. In a child of the process that opened it
 * only memory is freed. Accepts NULL. */
void tpm_token_free(struct tpm_token *token);

/* From the folder. The flags of the TPM's lockout are there when the TPM
 * answers; a token without its TPM still has its info. */
struct tpm_token_info {
	char label[TPM_LABEL_MAX + 1];
	char serial[TPM_SERIAL_LEN + 1];
	char manufacturer[5]; /* of the TPM, "IBM", "INTC"; "" unknown */
	bool initialised;
	bool user_pin_set;
	bool tpm_answers;
	bool count_low; /* a wrong PIN was given; counts for user and SO */
	bool final_try;
	bool locked;
};

TPM_MUST_USE CK_RV tpm_token_info(struct tpm_token *token,
				  struct tpm_token_info *ret);

/* Before tpm_token_init(): what only the TPM's owner can do. Authorisations
 * are at most 32 bytes; data NULL says empty for the current one and "leave it
 * alone" for the new one. */
struct tpm_provision {
	const uint8_t *owner, *new_owner, *lockout, *new_lockout;
	size_t owner_len, new_owner_len, lockout_len, new_lockout_len;
	uint32_t pcrs; /* bit n: bind the user PIN to PCR n (SHA-256 bank) */
	unsigned keys; /* slots that must be free; 0: 4 (see tpm.md) */
};

/* Checks the TPM (algorithms, SRK, free persistent handles and counters)
 * before anything is written, then changes the authorisations. The owner's
 * authorisation and pcrs are kept in memory for the tpm_token_init() that
 * follows. CKR_DEVICE_MEMORY: too few slots. */
TPM_MUST_USE CK_RV tpm_token_provision(struct tpm_token *token,
				       const struct tpm_provision *provision);

/* Makes the folder and the token in it; label is UTF-8 without padding. On an
 * initialised token the SO PIN must be the present one; every key is
 * destroyed for good first. Logged out afterwards, no user PIN. */
TPM_MUST_USE CK_RV tpm_token_init(struct tpm_token *token, const uint8_t *pin,
				  size_t pin_len, const char *label);

enum tpm_role { TPM_NOBODY, TPM_SO, TPM_USER };

/* Proves the PIN by the TPM, once: CKR_PIN_INCORRECT, CKR_PIN_LOCKED (the
 * TPM's, whoever caused it), CKR_USER_PIN_NOT_INITIALIZED,
 * CKR_ACTION_PROHIBITED (a PCR differs from the state the user PIN is bound
 * to; the text names it), CKR_USER_ALREADY_LOGGED_IN,
 * CKR_USER_ANOTHER_ALREADY_LOGGED_IN. Then finishes what a power cut left:
 * half-made keys go, half-destroyed ones are destroyed. */
TPM_MUST_USE CK_RV tpm_token_login(struct tpm_token *token, enum tpm_role role,
				   const uint8_t *pin, size_t pin_len);

/* Wipes every secret of the login. */
CK_RV tpm_token_logout(struct tpm_token *token);

enum tpm_role tpm_token_role(struct tpm_token *token);

/* The user's PIN by the SO, who is logged in; binds it to the PCRs as they are
 * now. CKR_USER_NOT_LOGGED_IN. */
TPM_MUST_USE CK_RV tpm_token_init_pin(struct tpm_token *token,
				      const uint8_t *pin, size_t pin_len);

/* Of the role that is logged in, else of the user. */
TPM_MUST_USE CK_RV tpm_token_set_pin(struct tpm_token *token,
				     const uint8_t *old, size_t old_len,
				     const uint8_t *new, size_t new_len);

/* From the TPM's generator, any length; no login needed. */
TPM_MUST_USE CK_RV tpm_token_random(struct tpm_token *token, uint8_t *ret,
				    size_t len);

/* The numbers are stored. */
enum tpm_kind {
	TPM_KEY_WRAP = 1, /* HMAC key that only derives wrapping keys */
	TPM_KEY_HMAC = 2, /* HMAC-SHA-256 */
	TPM_KEY_EC = 3    /* ECDSA on P-256 over SHA-256 */
};

enum tpm_key_state {
	TPM_KEY_LIVE,
	TPM_KEY_DESTROYED /* its folder keeps the evidence */
};

/* Valid until the callback or the owner's tpm_key_done(). */
struct tpm_key {
	struct kt_id id; /* random; stands in every wrap */
	enum tpm_kind kind;
	enum tpm_key_state state;
	uint8_t point[TPM_POINT_LEN]; /* public half, TPM_KEY_EC only */
	uint8_t *attributes;          /* the surface's own, as given */
	size_t attributes_len;
};

void tpm_key_done(struct tpm_key *key);

/* Needs the user's login. attributes are stored before the key is born and
 * cannot change later. A key that is reported is on disk, at its persistent
 * handle and attested; after a power cut it is whole or gone.
 * CKR_DEVICE_MEMORY: no free slot. The caller owns *ret. */
TPM_MUST_USE CK_RV tpm_key_create(struct tpm_token *token, enum tpm_kind kind,
				  const uint8_t *attributes,
				  size_t attributes_len, struct tpm_key *ret);

/* Reads the folder afresh: keys of other processes are there. Stops at the
 * first answer of fn that is not CKR_OK and returns it. No login, no TPM. */
TPM_MUST_USE CK_RV
tpm_key_each(struct tpm_token *token, enum tpm_key_state state,
	     CK_RV (*fn)(const struct tpm_key *key, void *arg), void *arg);

/* For good: neither a copy of the folder nor the TPM's owner brings it back.
 * Needs the user's login. */
TPM_MUST_USE CK_RV tpm_key_destroy(struct tpm_token *token,
				   const struct kt_id *id);

/* What follows needs the user's login: CKR_USER_NOT_LOGGED_IN.
 * CKR_KEY_HANDLE_INVALID: no such live key. CKR_KEY_TYPE_INCONSISTENT: it is of
 * another kind. CKR_DEVICE_ERROR: the TPM has another key in its place. */

/* ret has room for len + TPM_WRAP_OVERHEAD. The same key, AAD and value give
 * the same wrap. One TPM command. */
TPM_MUST_USE CK_RV tpm_key_wrap(struct tpm_token *token, const struct kt_id *id,
				const uint8_t *aad, size_t aad_len,
				const uint8_t *value, size_t len, uint8_t *ret);

/* The caller owns *ret. CKR_WRAPPED_KEY_INVALID: changed, of another key or
 * with other AAD; CKR_WRAPPED_KEY_LEN_RANGE. One TPM command. */
TPM_MUST_USE CK_RV tpm_key_unwrap(struct tpm_token *token,
				  const struct kt_id *id, const uint8_t *aad,
				  size_t aad_len, const uint8_t *wrap,
				  size_t len, struct kt_secret *ret);

TPM_MUST_USE CK_RV tpm_key_hmac(struct tpm_token *token, const struct kt_id *id,
				const uint8_t *data, size_t len,
				uint8_t ret[TPM_MAC_LEN]);

TPM_MUST_USE CK_RV tpm_key_sign(struct tpm_token *token, const struct kt_id *id,
				const uint8_t digest[TPM_DIGEST_LEN],
				uint8_t ret[TPM_SIGNATURE_LEN]);

/* Files that show an auditor where a key was born, or that it is no more. */
#define TPM_EVIDENCE_MAX 16

struct tpm_evidence {
	size_t count;
	struct {
		char name[32];
		uint8_t *data;
		size_t len;
	} files[TPM_EVIDENCE_MAX];
};

void tpm_evidence_done(struct tpm_evidence *evidence);

/* Of a live key: certified anew with the nonce (1 to TPM_NONCE_MAX bytes) by
 * the attestation key. Of a destroyed one: what its destruction left; the
 * nonce is not used, no login is needed. */
TPM_MUST_USE CK_RV tpm_key_attest(struct tpm_token *token,
				  const struct kt_id *id, const uint8_t *nonce,
				  size_t nonce_len, struct tpm_evidence *ret);

#endif
