/*
 * NV counters: the life of a key. A key hangs below a gate whose policy says
 * "counter <= value"; when the counter's index is undefined the policy cannot
 * be met again, not even by the owner who defines the same index anew: a new
 * counter starts above every value that any counter of this TPM ever had
 * (TPM library specification, part 3, TPM2_NV_Increment).
 */
#ifndef HSM_TPM2_COUNTER_H
#define HSM_TPM2_COUNTER_H

#include "hsm/tpm2/session.h"

struct counter {
	struct tpm_object fresh;   /* its Name before the first increment */
	struct tpm_object written; /* and from then on */
	struct kt_id key;          /* stands in its public area: it is ours */
	uint64_t value;            /* once it is written */
};

/* Computes the Names; no TPM. */
CK_RV counter_init(const struct tpm *tpm, uint32_t index,
		   const struct kt_id *key, uint64_t value,
		   struct counter *ret);

/* Defines and increments it once; counter->value is what it counts then. */
CK_RV counter_define(struct tpm *tpm, const struct tpm_object *owner,
		     struct counter *counter);

/* For good. audit: the session that digests the command, or NULL. */
struct audit;
CK_RV counter_undefine(struct tpm *tpm, const struct tpm_object *owner,
		       const struct counter *counter, struct audit *audit);

enum counter_state {
	COUNTER_NONE,    /* nothing at its index */
	COUNTER_OURS,    /* defined; perhaps not written yet */
	COUNTER_FOREIGN, /* somebody else's */
};

CK_RV counter_look(struct tpm *tpm, const struct counter *counter,
		   enum counter_state *ret);

/* CKR_OK proves, as object_prove() does, that another counter is at its place;
 * CKR_DEVICE_ERROR when it is this one. */
CK_RV counter_prove_foreign(struct tpm *tpm, const struct counter *counter);

/* Its public area once it is written: a marshalled TPMS_NV_PUBLIC, for an
 * auditor who computes its Name. */
CK_RV counter_area(const struct tpm *tpm, const struct counter *counter,
		   struct cmd *ret);

/* The gate's policy, and proving it in a policy session. */
CK_RV counter_policy(const struct tpm *tpm, const struct counter *counter,
		     uint8_t ret[HASH_LEN]);
CK_RV counter_prove(struct tpm *tpm, const struct counter *counter,
		    const struct tpm_session *policy);

#endif
