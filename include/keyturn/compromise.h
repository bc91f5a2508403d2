/*
 * When a key is known, or feared, to be in other hands: it is marked, what it
 * protects moves to a new key, and what it ever protected can be encrypted
 * again. What has been under a key is derived from the times of the keys'
 * rows, so each of these calls may be interrupted and made again.
 */
#ifndef KEYTURN_COMPROMISE_H
#define KEYTURN_COMPROMISE_H

#include <keyturn/rotation.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The key that is meant: a version of the master key (both its keys) or of a
 * project's key. */
struct kt_key_ref {
	enum kt_rotation_kind kind;
	const char *project; /* NULL for the master */
	int64_t version;     /* 0: the one that serves; KT_ERR_CONFLICT while an
			      * older one of it still exposes values */
};

/* What whoever has the key and copies of the database can know. */
struct kt_exposure {
	char project[KT_NAME_MAX + 1]; /* "" for the master */
	int64_t version;
	enum kt_key_state state;
	int64_t compromised;  /* 0: not marked */
	bool retired;         /* it serves nobody any more */
	int64_t project_keys; /* of a master key: serving now, once under it */
	int64_t secrets;      /* that have such a value */
	int64_t values;       /* versions of them whose data key was under it */
};

enum kt_err kt_exposure_get(struct kt_vault *vault,
			    const struct kt_key_ref *ref,
			    struct kt_exposure *ret);

/* Marks the key as compromised, with the reason in the audit. From then on
 * nothing new is wrapped under it; while it still serves readers, whatever
 * would need a wrap under it is KT_ERR_CONFLICT. KT_OK when it is marked. */
enum kt_err kt_compromise_mark(struct kt_vault *vault,
			       const struct kt_key_ref *ref,
			       const char *reason);

/* Brings everything off a marked key: starts a rotation without grace time, or
 * resumes, finishes or rolls back the one that is unfinished. *ret is the last
 * rotation's record, all zero where none was needed; written whenever there is
 * one, whatever is returned. */
enum kt_err kt_compromise_rotate(struct kt_vault *vault,
				 const struct kt_key_ref *ref,
				 const struct kt_rotate_options *options,
				 const struct kt_progress *progress,
				 struct kt_rotation *ret);

/* Gives every value that a marked and retired key exposed a new data key, in
 * batches; versions keep their numbers and times. For a master key the project
 * keys that were under it are marked and rotated first. A value that does not
 * open is named by fault() and left: KT_ERR_INTEGRITY at the end. *ret_values,
 * the number done by this call, is written whatever is returned. */
enum kt_err kt_reencrypt(struct kt_vault *vault, const struct kt_key_ref *ref,
			 const struct kt_rotate_options *options,
			 const struct kt_progress *progress,
			 void (*fault)(void *arg, const char *text),
			 void *fault_arg, int64_t *ret_values);

#ifdef __cplusplus
}
#endif

#endif
