/*
 * Inside of the rotation engine: one run of one rotation by one process. The
 * run holds the lease; each of its write transactions checks the fence.
 */
#ifndef CORE_ROTATION_H
#define CORE_ROTATION_H

#include "core/audit.h"
#include "core/keys.h"
#include "core/lease.h"
#include "core/rotation_state.h"
#include "hsm/rewrap.h"

#define BATCH_DEFAULT 1000
#define JOBS_AUTO_MAX 32 /* unasked */

struct rotation_leg {
	struct leg_row row;
	struct key_row old_key, new_key;
};

struct rotation_run {
	struct kt_vault *vault;
	struct rotation_row row;
	size_t legs;
	struct rotation_leg leg[KT_ROTATION_LEGS_MAX];
	int64_t fence;
	int64_t batch_size;
	int jobs, jobs_max;    /* to begin with; what it may come to */
	int sessions;          /* of a worker process, at most; 0: any */
	bool end_grace;        /* do not wait for it */
	bool skip_quarantined; /* prove the good rows beside bad ones */
	struct kt_progress progress;
};

/* Reads record, legs and keys of a rotation. */
enum kt_err rotation_load(struct kt_vault *vault, const struct kt_id *id,
			  struct rotation_run *ret);

/* The newest rotation that fits; every record is read and checked, so a forged
 * one hides nothing. KT_ERR_NOT_FOUND. */
enum kt_err rotation_find(struct kt_vault *vault,
			  bool (*fits)(const struct rotation_row *row,
				       const void *arg),
			  const void *arg, struct rotation_row *ret);

/* The one at work, or else the newest that is unfinished. */
enum kt_err rotation_current(struct kt_vault *vault, struct rotation_row *ret);

/* KT_ERR_BUSY naming the newest rotation that fits, where there is one. */
enum kt_err rotation_refuse(struct kt_vault *vault,
			    bool (*fits)(const struct rotation_row *row,
					 const void *arg),
			    const void *arg);

/* KT_ERR_BUSY naming it when a rotation does not let one of this kind begin:
 * one at work, or an unfinished one of the same key. */
enum kt_err rotation_refuse_second(struct kt_vault *vault,
				   enum kt_rotation_kind kind,
				   const struct kt_id *project);

/* Checks bounds and fills the defaults in. options may be NULL. */
enum kt_err rotation_options(const struct kt_rotate_options *options,
			     struct rotation_run *run);

/* A write transaction that fails when the lease is lost. */
enum kt_err run_begin(struct rotation_run *run, struct store_tx **ret);

/* KT_ERR_CONFLICT when a new key of it was marked as compromised: nothing is
 * put under it any more, in no transaction that asked this. */
enum kt_err run_refuse_compromised(struct rotation_run *run);

/* In a write transaction: stamps the event's time and appends to the audit. */
enum kt_err run_stamp(struct rotation_run *run, enum rotation_event event);

/* Says where the work is. */
void run_report(const struct rotation_run *run, const char *step, int64_t done,
		int64_t total);

/* KT_ERR_INTERRUPTED when the caller asked to stop. */
enum kt_err run_check_stop(const struct rotation_run *run);

/* What is to be done now. A way back to a compromised key is no way back: then
 * there is no grace. */
enum rotation_action run_next(const struct rotation_run *run);

/* Runs to the end or to a pause, gives the lease back whatever happened, and
 * describes what is committed then. The first error is the one returned. */
enum kt_err run_and_describe(struct rotation_run *run,
			     const struct kt_progress *progress,
			     struct kt_rotation *ret);

/* The actions; each goes on where an interrupted one left off. */
enum kt_err rotation_make_keys(struct rotation_run *run);  /* DO_KEY */
enum kt_err rotation_stage(struct rotation_run *run);      /* DO_STAGE */
enum kt_err rotation_verify(struct rotation_run *run);     /* DO_VERIFY */
enum kt_err rotation_cut_over(struct rotation_run *run);   /* DO_CUT_OVER */
enum kt_err rotation_deactivate(struct rotation_run *run); /* DO_DEACTIVATE */
enum kt_err rotation_contract(struct rotation_run *run);   /* DO_CONTRACT */
enum kt_err rotation_unstage(struct rotation_run *run);    /* DO_UNSTAGE */

/* The count that a query of one or, with b, two keys gives. */
enum kt_err rotation_count(struct kt_vault *vault, enum store_query which,
			   const struct kt_id *a, const struct kt_id *b,
			   int64_t *ret);

/* Removes one row whose other is known to be good. Its own MAC does not matter
 * any more: it goes as it is. KT_OK when it has gone with its secret. */
enum kt_err rotation_remove_row(struct store *store, const struct kt_id *key,
				const struct kt_id *subject);

/* Rows under old keys without a twin under the new ones, over all legs. */
enum kt_err rotation_missing(struct rotation_run *run, int64_t *ret);

/* Fills the public record. */
enum kt_err rotation_describe(struct rotation_run *run,
			      struct kt_rotation *ret);

/* "wraps KEY/SUBJECT: reason", once, for a row in quarantine. */
void fault_text(const struct kt_id *wrapping_key, const struct kt_id *subject,
		const char *reason, char *ret, size_t size);

/* What rotates: the keys whose twins a rotation of this kind makes, active
 * now. KT_ERR_NOT_FOUND names an unknown project. */
enum kt_err rotation_old_keys(struct kt_vault *vault,
			      enum kt_rotation_kind kind, const char *project,
			      struct key_row *ret_keys, size_t *ret_count,
			      struct project_row *ret_project);

#endif
