/*
 * Inside of encrypting again: one call of kt_reencrypt(), and its batch.
 */
#ifndef CORE_REENCRYPT_H
#define CORE_REENCRYPT_H

#include "core/exposure.h"
#include "core/progress.h"
#include "core/secrets.h"
#include "hsm/wrap.h"

#define REENCRYPT_BATCH 32 /* values are up to 1 MiB: memory, not speed */

struct reencrypt_item {
	struct reading old;
	struct kt_id dek; /* the new one */
	struct sealed_value sealed;
	struct blob blobs[WRAP_SET_MAX];
};

struct reencryption {
	struct kt_vault *vault;
	struct exposure exposure;
	const struct kt_rotate_options *options;
	struct kt_progress progress;
	void (*fault)(void *arg, const char *text);
	void *fault_arg;
	struct kt_id record; /* of the rotation away from the key; zero: none */
	bool stamped;        /* it says that nothing is exposed */
	struct project_row project; /* the one at work */
	struct wrap_set keys;
	struct reencrypt_item item[REENCRYPT_BATCH];
	size_t count;
	int64_t done, total, faults;
};

/* Reads the value that this data key was made for into the batch; a full batch
 * is flushed. What does not verify is noted. */
enum kt_err reencrypt_add(struct reencryption *r, const struct secret_row *head,
			  const struct kt_id *dek);

/* Seals and commits the batch and leaves it empty, whatever it returns.
 * KT_ERR_INTERRUPTED: it is committed, and the caller asked to stop. */
enum kt_err reencrypt_flush(struct reencryption *r);

/* KT_ERR_INTEGRITY is one value's trouble: named, counted, and left as it is.
 * Any other code is returned. */
enum kt_err reencrypt_note(struct reencryption *r, enum kt_err err);

void reencrypt_clear(struct reencryption *r);

#endif
