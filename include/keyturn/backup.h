/*
 * Backups: copies of the database, proof that one is whole and opens with the
 * token, and the way back from one. A copy holds wrapped keys and sealed
 * values only: it is worth nothing without the token. Each is recorded with
 * the versions of the master key that it needs, and these are not destroyed
 * before it expires or is forgotten.
 */
#ifndef KEYTURN_BACKUP_H
#define KEYTURN_BACKUP_H

#include <keyturn/rotation.h>
#include <keyturn/vault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kt_backup {
	struct kt_id id;
	int64_t created;
	int64_t expires;                   /* 0: never */
	char file[KT_BACKUP_FILE_MAX + 1]; /* as it was given */
	int64_t size;                      /* bytes */
	char sha256[65];
	char versions[64]; /* of the master key that it needs: "1" or "1 2" */
};

/* Copies the database while it is in use; the file must not exist. Complete,
 * synced and recorded when it returns. lifetime: seconds; 0: until it is
 * forgotten. */
enum kt_err kt_backup_create(struct kt_vault *vault, const char *path,
			     int64_t lifetime, struct kt_backup *ret);

/* The records, oldest first, expired ones too. */
enum kt_err kt_backup_list(struct kt_vault *vault,
			   enum kt_err (*each)(void *arg,
					       const struct kt_backup *b),
			   void *arg);

/* The record goes: the operator says that the file is gone. */
enum kt_err kt_backup_forget(struct kt_vault *vault, const struct kt_id *id);

/* Those that are not expired and need this version of the master key. */
enum kt_err kt_backup_needing(struct kt_vault *vault, int64_t version,
			      enum kt_err (*each)(void *arg,
						  const struct kt_backup *b),
			      void *arg);

/* What a proof of a copy found. */
struct kt_backup_report {
	struct kt_id vault;
	int64_t size; /* bytes */
	char sha256[65];
	char versions[64];     /* of the master key that it needs */
	struct kt_id recorded; /* the record of it in the vault; zero: none */
	char unread[256];      /* why the vault's records could not be read */
	int64_t rows;          /* with a right MAC */
	int64_t wraps;         /* that were unwrapped on the token */
	int64_t faults;
	int64_t audit_entries, audit_checkpoints;
	char audit_head[65];
};

/* Proves every row of a copy: its MAC, the audit chain, and on the token every
 * wrap. Changes neither the copy nor the vault, which need not be there.
 * KT_ERR_INTEGRITY when a row is bad, and fault() names each; KT_ERR_TOKEN
 * when a key that the copy needs is not on the token; KT_ERR_CONFLICT when it
 * is another vault's. *ret is written in the first case too. */
enum kt_err kt_backup_verify(const struct kt_params *params, const char *path,
			     const struct kt_progress *progress,
			     void (*fault)(void *arg, const char *text),
			     void *fault_arg, struct kt_backup_report *ret);

/* What a restore would do, for the question before it. */
struct kt_restore_plan {
	struct kt_backup_report backup;
	bool present; /* there is a database now: it goes aside */
	char kept[4096];
	char damage[256]; /* why it cannot be read; "": it can */
	bool newer;       /* it has what the backup lacks */
	int64_t present_entries;
	char lacking[160]; /* a row that the backup lacks; "" where the audit
			    * trail alone tells */
};

struct kt_restore_options {
	/* A database that is newer than the backup, or that cannot be compared
	 * with it, is replaced only with this. */
	bool replace_newer;
	/* After the proof and before anything is changed; its error ends the
	 * restore. NULL: nobody is asked. */
	enum kt_err (*confirm)(void *arg, const struct kt_restore_plan *plan);
	void (*fault)(void *arg, const char *text);
	void *arg;
};

/* Puts a proven copy in the place of the vault's database, which is kept
 * beside it. What a restore must not undo is carried over: revoked access
 * tokens, records of backups. Refused while a rotation is at work
 * (KT_ERR_BUSY), when the database is newer (KT_ERR_CONFLICT) and where
 * kt_backup_verify() would fail. At every moment either database is whole. */
enum kt_err kt_backup_restore(const struct kt_params *params, const char *path,
			      const struct kt_restore_options *options,
			      const struct kt_progress *progress,
			      struct kt_restore_plan *ret);

#ifdef __cplusplus
}
#endif

#endif
