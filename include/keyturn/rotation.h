/*
 * Rotation: a new key, every row rewrapped and proven, a cut-over, a way back
 * until the old rows are gone. Master and project rotation are one engine.
 * A phase is derived from the times of its record.
 */
#ifndef KEYTURN_ROTATION_H
#define KEYTURN_ROTATION_H

#include <keyturn/vault.h>

#ifdef __cplusplus
extern "C" {
#endif

enum kt_rotation_kind { KT_ROTATION_MASTER = 1, KT_ROTATION_PROJECT = 2 };

enum kt_rotation_phase {
	KT_ROTATION_PLANNED,
	KT_ROTATION_STAGING, /* keyed; batches are being staged */
	KT_ROTATION_STAGED,
	KT_ROTATION_VERIFIED,
	KT_ROTATION_DRAINING,    /* cut over; the grace time */
	KT_ROTATION_CONTRACTING, /* no way back from here */
	KT_ROTATION_CONTRACTED,
	KT_ROTATION_DESTROYED,
	KT_ROTATION_ROLLING_BACK,
	KT_ROTATION_ROLLED_BACK,
	KT_ROTATION_PHASE_MAX_
};

const char *kt_rotation_phase_name(enum kt_rotation_phase phase);

#define KT_ROTATION_LEGS_MAX 2
#define KT_REASON_MAX 511

/* One pair of keys. A master rotation has a leg for the wrapping key and,
 * where recovery wraps are on, one for the recovery key. */
struct kt_rotation_leg {
	struct kt_key old_key, new_key;
	int64_t rows_total; /* under the old key when it was planned */
	int64_t rows_rewrapped, rows_verified, rows_contracted;
};

struct kt_rotation {
	struct kt_id id;
	enum kt_rotation_kind kind;
	enum kt_rotation_phase phase;
	char project[KT_NAME_MAX + 1]; /* "" for the master */
	char operator_name[KT_NAME_MAX + 1];
	char reason[KT_REASON_MAX + 1];
	int64_t planned, keyed, staged, verified, activated, contracting;
	int64_t contracted, destroyed, rollback_started, rolled_back;
	int64_t grace;       /* seconds between cut-over and contraction */
	int64_t resumed;     /* how often */
	int64_t rows_failed; /* quarantined now */
	/* After a compromise of the old key: values encrypted again under new
	 * data keys, and when the last one was. */
	int64_t reencrypted, values_reencrypted;
	size_t legs;
	struct kt_rotation_leg leg[KT_ROTATION_LEGS_MAX];
};

/* What the engine says while it works. Called between batches. */
struct kt_progress {
	/* done of total rows of this step; total 0: a step without rows. */
	void (*report)(void *arg, const char *step, int64_t done,
		       int64_t total);
	bool (*stop)(void *arg); /* true: stop at the next batch edge */
	void *arg;
};

#define KT_BATCH_MAX 10000 /* rows in one transaction */
#define KT_JOBS_MAX 64     /* worker processes */

struct kt_rotate_options {
	int64_t batch_size; /* rows, 1 to KT_BATCH_MAX; 0: 1000 */
	int jobs; /* calls at the token at once, 1 to KT_JOBS_MAX; 0: one per
		   * core, and more where the token makes them wait and they
		   * pay */
	int sessions; /* of a worker process, at most, 1 to KT_JOBS_MAX; 0: as
		       * many as let one process per core do the jobs */
	const char *reason;
	int64_t grace; /* seconds; none where the old key is compromised */
	/* With rows in quarantine: also read back and prove the good ones. The
	 * rotation does not get beyond staging all the same. */
	bool skip_quarantined;
};

/* What a rotation would do, for the question before it. KT_ERR_BUSY names the
 * unfinished rotation that does not let it begin. */
struct kt_rotation_plan {
	enum kt_rotation_kind kind;
	char project[KT_NAME_MAX + 1];
	int64_t old_version, new_version;
	int64_t rows[KT_ROTATION_LEGS_MAX];
	size_t legs;
	int64_t batch_size;
	int jobs, jobs_max;    /* to begin with; what it may come to */
	int64_t access_tokens; /* that the cut-over would revoke */
	bool compromised;      /* the old key is: no grace time, no way back */
};

enum kt_err kt_rotation_plan(struct kt_vault *vault, enum kt_rotation_kind kind,
			     const char *project,
			     const struct kt_rotate_options *options,
			     struct kt_rotation_plan *ret);

/* Unwraps every row and wraps it under a session key; opens a sample of these
 * wraps and compares, and all of them when one fails. Changes neither a
 * database byte nor a token object. KT_ERR_INTEGRITY when a row would fail;
 * fault() names it. */
enum kt_err kt_rotation_dry_run(struct kt_vault *vault,
				enum kt_rotation_kind kind, const char *project,
				const struct kt_rotate_options *options,
				const struct kt_progress *progress,
				void (*fault)(void *arg, const char *text),
				void *fault_arg);

/* Runs as far as it can: to draining, or to the end where grace is 0.
 * KT_ERR_INTERRUPTED at a batch edge, KT_ERR_BUSY naming the other operator,
 * KT_ERR_INTEGRITY when rows are quarantined. *ret is written whenever the
 * rotation exists, whatever is returned. */
enum kt_err kt_rotation_start(struct kt_vault *vault,
			      enum kt_rotation_kind kind, const char *project,
			      const struct kt_rotate_options *options,
			      const struct kt_progress *progress,
			      struct kt_rotation *ret);

/* Goes on with an interrupted rotation, rollback or contraction.
 * KT_ERR_CONFLICT when it is not interrupted but in its grace time or at its
 * end, KT_ERR_BUSY while its process lives. */
enum kt_err kt_rotation_resume(struct kt_vault *vault, const struct kt_id *id,
			       const struct kt_rotate_options *options,
			       const struct kt_progress *progress,
			       struct kt_rotation *ret);

/* Back to the old key; possible until contraction began. */
enum kt_err kt_rotation_rollback(struct kt_vault *vault, const struct kt_id *id,
				 const struct kt_progress *progress,
				 struct kt_rotation *ret);

/* Contracts a draining rotation; before its grace time is over only with
 * now. */
enum kt_err kt_rotation_finish(struct kt_vault *vault, const struct kt_id *id,
			       bool now, const struct kt_progress *progress,
			       struct kt_rotation *ret);

/* The rotation at work, or else the newest that is unfinished;
 * KT_ERR_NOT_FOUND when there is none. */
enum kt_err kt_rotation_current(struct kt_vault *vault,
				struct kt_rotation *ret);

enum kt_err kt_rotation_get(struct kt_vault *vault, const struct kt_id *id,
			    struct kt_rotation *ret);

/* Newest first. */
enum kt_err kt_rotation_list(struct kt_vault *vault,
			     enum kt_err (*each)(void *arg,
						 const struct kt_rotation *r),
			     void *arg);

/* Quarantined rows of a rotation: text names row and reason. */
enum kt_err kt_rotation_faults(struct kt_vault *vault, const struct kt_id *id,
			       enum kt_err (*each)(void *arg, const char *text),
			       void *arg);

/* Master key versions, both keys of a version one after the other. */
enum kt_err kt_master_list(struct kt_vault *vault,
			   enum kt_err (*each)(void *arg,
					       const struct kt_key *key),
			   void *arg);

/* What a verification found of one key. */
struct kt_verification {
	struct kt_key key;
	int64_t rows;   /* under it, that were looked at */
	int64_t twins;  /* of them: compared with a row under another key */
	int64_t faults; /* rows that do not hold */
};

/* Proves every row under a master key version (0: the one that serves): its
 * MAC, that it unwraps, and where its subject has a row under another key,
 * that both hold the same key. Reads only; works beside a rotation. each() is
 * called for each key of the version, fault() names each bad row;
 * KT_ERR_INTEGRITY when there was one. */
enum kt_err kt_master_verify(
	struct kt_vault *vault, int64_t version,
	const struct kt_rotate_options *options,
	const struct kt_progress *progress,
	enum kt_err (*each)(void *arg, const struct kt_verification *v),
	void (*fault)(void *arg, const char *text), void *arg);

/* The same for the rows under the keys of a project that are not destroyed. */
enum kt_err kt_project_verify(
	struct kt_vault *vault, const char *project,
	const struct kt_rotate_options *options,
	const struct kt_progress *progress,
	enum kt_err (*each)(void *arg, const struct kt_verification *v),
	void (*fault)(void *arg, const char *text), void *arg);

/* Destroys the token objects of a version after recounting every row that
 * could need it; looks again after a reload. KT_ERR_CONFLICT while a row, an
 * unfinished rotation or, without ignore_backups, a backup that is not expired
 * needs it. */
enum kt_err kt_master_destroy(struct kt_vault *vault, int64_t version,
			      bool ignore_backups);

#ifdef __cplusplus
}
#endif

#endif
