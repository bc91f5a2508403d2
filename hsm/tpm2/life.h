/*
 * Inside of the life of keys: the gate that a key is born behind.
 */
#ifndef HSM_TPM2_LIFE_H
#define HSM_TPM2_LIFE_H

#include "hsm/tpm2/counter.h"
#include "hsm/tpm2/state.h"

/* A gate in a transient slot and a policy session for it. */
struct gate {
	struct tpm_object object;
	struct tpm_session policy;
	const struct counter *counter; /* not owned */
};

CK_RV life_counter(struct tpm_token *token, const struct key_file *file,
		   struct counter *ret);

CK_RV life_open_gate(struct tpm_token *token, const struct counter *counter,
		     const struct object_blob *blob, struct gate *ret);
void life_close_gate(struct tpm_token *token, struct gate *gate);

/* As a parent for the one command that comes next. */
CK_RV life_pass_gate(struct tpm_token *token, struct gate *gate,
		     struct object_parent *ret);

/* Loads the key through its gate and gives it its persistent handle. */
CK_RV life_place(struct tpm_token *token, struct gate *gate,
		 const struct object_blob *blob, uint32_t handle);

/* What was made of a key is unmade. */
CK_RV life_undo(struct tpm_token *token, const struct key_file *file);

#endif
