/*
 * Evidence as a set of named files, in memory and in a key's folder, in the
 * forms that OpenSSL reads.
 */
#ifndef HSM_TPM2_EVIDENCE_H
#define HSM_TPM2_EVIDENCE_H

#include "hsm/tpm2/keyfile.h"

CK_RV evidence_add(struct tpm_evidence *evidence, const char *name,
		   struct span data);

/* A P-256 key as SubjectPublicKeyInfo, PEM (RFC 5480, RFC 7468). */
CK_RV evidence_add_key(struct tpm_evidence *evidence, const char *name,
		       const uint8_t point[TPM_POINT_LEN]);

/* Ecdsa-Sig-Value, DER (RFC 3279). */
CK_RV evidence_add_signature(struct tpm_evidence *evidence, const char *name,
			     const uint8_t signature[TPM_SIGNATURE_LEN]);

/* keys/<id>/evidence-<name>. */
CK_RV evidence_save(const struct folder *folder, const struct kt_id *id,
		    const struct tpm_evidence *evidence);
CK_RV evidence_load(const struct folder *folder, const struct kt_id *id,
		    struct tpm_evidence *ret);

#endif
