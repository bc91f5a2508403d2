/*
 * What the TPM says of itself: properties, handles, PCRs. None of it is
 * authenticated, and nothing that must be true rests on it.
 */
#ifndef HSM_TPM2_CAPS_H
#define HSM_TPM2_CAPS_H

#include "hsm/tpm2/command.h"

#define PCR_MAX 24

CK_RV caps_property(struct tpm *tpm, uint32_t property, uint32_t *ret);

CK_RV caps_has_command(struct tpm *tpm, uint32_t code, bool *ret);
CK_RV caps_has_curve(struct tpm *tpm, uint16_t curve, bool *ret);

/* Whether something is at this handle (persistent, NV, session). */
CK_RV caps_handle_there(struct tpm *tpm, uint32_t handle, bool *ret);

/* The first handle within [first, first + count) with nothing at it;
 * CKR_DEVICE_MEMORY when there is none. */
CK_RV caps_handle_free(struct tpm *tpm, uint32_t first, uint32_t count,
		       uint32_t *ret);

/* Flushes the objects and sessions that nobody can be using, but keep: the
 * caller holds the lock between processes, so that what is loaded was left by
 * one that died, or is a session that its owner starts anew. */
CK_RV caps_flush_all(struct tpm *tpm, uint32_t keep);

/* SHA-256 values of the PCRs in mask, in order of their numbers. */
CK_RV caps_pcrs(struct tpm *tpm, uint32_t mask, uint8_t ret[PCR_MAX][HASH_LEN]);

/* TPML_PCR_SELECTION of these PCRs. */
void caps_put_pcrs(struct cmd *cmd, uint32_t mask);

#endif
