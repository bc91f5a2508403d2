/*
 * A vault: one database of wrapped keys and sealed values under the keys of
 * one PKCS#11 token. A handle opens both, logs in once, and proves the row-MAC
 * key; all other calls of the library take it. A handle belongs to one thread
 * at a time.
 */
#ifndef KEYTURN_VAULT_H
#define KEYTURN_VAULT_H

#include <keyturn/types.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kt_vault;

/* Where the PIN comes from; tried in the order of the members, the URI's
 * pin-source between file and credentials_dir. Read at most once. */
struct kt_pin_source {
	int fd;                      /* -1: none */
	const char *file;            /* NULL: none */
	const char *credentials_dir; /* holds a file "pin"; NULL: none */
	const char *environment;     /* a PIN the configuration allowed */
	/* Asks a person; NULL: nobody to ask. *ret is on the secure heap. */
	enum kt_err (*prompt)(void *arg, const char *token_label,
			      struct kt_secret *ret);
	void *prompt_arg;
	bool last_try; /* go on although one wrong PIN locks the token */
};

/* All strings are borrowed for the lifetime of the vault. */
struct kt_params {
	const char *token_uri; /* RFC 7512; names the token */
	const char *module;    /* path or p11-kit name; NULL: in the URI */
	enum kt_gate_level gate;
	struct kt_pin_source pin;
	const char *runtime_dir;   /* lock files; made 0700 when missing */
	const char *worker;        /* path of keyturn-worker */
	const char *store_path;    /* the SQLite database */
	const char *operator_name; /* who acts: into rotations and the audit */
	/* For how long a rotation's process may be silent before another one
	 * may take the rotation over; 0: 60. One that is known to be gone is
	 * not waited for. */
	int64_t lease_seconds;
};

/* Whether each DEK is wrapped for the administrator too. */
enum kt_recovery {
	KT_RECOVERY_ON,
	KT_RECOVERY_OFF,
	KT_RECOVERY_BY_TOKEN, /* on, but off where the master is in a TPM */
};

struct kt_init_options {
	enum kt_recovery recovery_wraps;
};

#define KT_GATE_TEXT_MAX 2047

struct kt_token_info {
	char label[33];
	char manufacturer[33];
	char model[17];
	char serial[17];
	char module[256]; /* path as loaded */
	char library[64]; /* description and version */
	bool pin_count_low;
	bool pin_final_try;
	bool pin_locked;
};

struct kt_key {
	struct kt_id id;
	enum kt_key_role role;
	int64_t version;
	enum kt_key_state state;
	enum kt_wrap_mech mech;
	struct kt_id cka_id; /* zero where the key is not a token object */
	char token_serial[17];
	char attributes[1024]; /* as read back from the token */
	int64_t created, proven, activated, deactivated, compromised, destroyed;
	int64_t rows; /* wraps under this key now */
};

struct kt_status {
	struct kt_id vault;
	int64_t created;
	struct kt_token_info token;
	char uri[512]; /* names the token by serial; for the configuration */
	char store_path[512];
	char store_library[32];
	char journal_mode[16];
	bool recovery_wraps;
	struct kt_key master; /* the active one */
	int64_t projects, secrets, access_tokens;
	bool rotation_unfinished;
	struct kt_id rotation;
	char rotation_phase[16];
	char rotation_operator[KT_NAME_MAX + 1];
	int64_t rotation_started;
	char gate[KT_GATE_TEXT_MAX + 1]; /* what the gate recorded at init */
};

/* Makes a new vault: policy probe, keys, database. Refuses with KT_ERR_EXISTS
 * where a database stands. Leaves nothing behind when it fails, but for token
 * keys that the detail then names. */
enum kt_err kt_vault_init(const struct kt_params *params,
			  const struct kt_init_options *options,
			  struct kt_status *ret);

/* Opens token and database and logs in: one attempt. Close with
 * kt_vault_close(). */
enum kt_err kt_vault_open(const struct kt_params *params,
			  struct kt_vault **ret);

/* Logs out, wipes, frees; accepts NULL. */
void kt_vault_close(struct kt_vault *vault);

/* From here on the handle acts with the rights of this access token only, by
 * the project key; after an error with no rights at all. Wrong, expired and
 * revoked tokens all give KT_ERR_DENIED, with one text, as does every later
 * call beyond its rights. */
enum kt_err kt_vault_authorize(struct kt_vault *vault,
			       const struct kt_secret *access_token);

enum kt_err kt_vault_status(struct kt_vault *vault, struct kt_status *ret);

/* One check of the doctor. The strings are borrowed for the call. */
enum kt_check_result { KT_CHECK_OK, KT_CHECK_WARN, KT_CHECK_FAIL };

struct kt_check {
	const char *id; /* "D05" */
	const char *title;
	enum kt_check_result result;
	const char *detail;
	const char *fix; /* "" when there is nothing to fix */
};

/* Runs every check it can reach, even where the vault does not open; calls
 * each() for each. KT_ERR_ATTENTION when one failed. */
enum kt_err kt_doctor(const struct kt_params *params,
		      enum kt_err (*each)(void *arg,
					  const struct kt_check *check),
		      void *arg);

/* "0.1.0" */
const char *kt_version(void);

#ifdef __cplusplus
}
#endif

#endif
