/*
 * Objects of the TPM: made from a few fixed templates, loaded, kept at
 * persistent handles. Attributes are chosen here and nowhere else.
 */
#ifndef HSM_TPM2_OBJECT_H
#define HSM_TPM2_OBJECT_H

#include "hsm/tpm2/session.h"

#define TPM_PRIVATE_MAX 512
#define TPM_CREATION_MAX 256

enum object_form {
	OBJECT_GATE,     /* storage key by policy alone, symmetric */
	OBJECT_GATE_ECC, /* the same for TPMs that have no such key */
	OBJECT_HMAC,     /* keyed hash, unrestricted, for TPM2_HMAC */
	OBJECT_EC,       /* ECDSA P-256 */
	OBJECT_AK,       /* ECDSA P-256 that signs what the TPM says */
	OBJECT_SEALED,   /* data of ours, under dictionary attack protection */
	OBJECT_SRK,      /* the TCG's default storage root, P-256 */
	OBJECT_FORM_MAX_
};

/* As Create gives it and Load takes it. */
struct object_blob {
	struct tpm_public public;
	uint8_t private[TPM_PRIVATE_MAX];
	size_t private_len;
};

/* What CertifyCreation asks for later. */
struct object_creation {
	uint8_t data[TPM_CREATION_MAX];
	size_t len;
	uint8_t hash[HASH_LEN];
	uint8_t ticket[TPM_CREATION_MAX]; /* marshalled TPMT_TK_CREATION */
	size_t ticket_len;
};

/* How a parent is used: by its own authorisation in the main session, or by a
 * policy session; the main session then only encrypts. */
struct object_parent {
	const struct tpm_object *object;
	struct tpm_session *policy;
};

struct object_wish {
	enum object_form form;
	struct span policy;  /* digest; len 0: by authorisation */
	struct span auth;    /* of the new object */
	struct span data;    /* OBJECT_SEALED */
	struct span outside; /* goes into the creation data, public */
};

/* ret_creation may be NULL. */
CK_RV object_create(struct tpm *tpm, const struct object_parent *parent,
		    const struct object_wish *wish, struct object_blob *ret,
		    struct object_creation *ret_creation);

/* A primary key of a hierarchy, in a transient slot. session NULL: the
 * hierarchy's empty password. */
CK_RV object_create_primary(struct tpm *tpm, const struct tpm_object *hierarchy,
			    struct tpm_session *session, enum object_form form,
			    struct tpm_object *ret,
			    struct tpm_public *ret_public);

/* Into a transient slot; the TPM's Name must be the one of blob's public
 * area. ret's auth is set by the caller. */
CK_RV object_load(struct tpm *tpm, const struct object_parent *parent,
		  const struct object_blob *blob, struct tpm_object *ret);

/* Frees a transient slot; raises nothing. */
void object_flush(struct tpm *tpm, struct tpm_object *object);

/* A transient object's copy to a free persistent handle, or, with object at
 * that handle, its removal. audit: may be NULL. */
struct audit;
CK_RV object_evict(struct tpm *tpm, const struct tpm_object *owner,
		   const struct tpm_object *object, uint32_t handle,
		   struct audit *audit);

CK_RV object_read_public(struct tpm *tpm, uint32_t handle,
			 struct tpm_public *ret);

/* What is at a handle, by the Name that whoever answers gives it. */
CK_RV object_read_name(struct tpm *tpm, uint32_t handle,
		       struct tpm_object *ret);

/* CKR_OK proves that what is at this handle has this Name: the Name goes into
 * what the main session authenticates, and nobody on the bus can answer in it.
 */
CK_RV object_prove(struct tpm *tpm, const struct tpm_object *object);

/* Whether public has the attributes of form and a type it may have. */
bool object_is(const struct tpm_public *public, enum object_form form);

/* 04 || x || y; false when public is not a P-256 key. */
bool object_point(const struct tpm_public *public, uint8_t ret[TPM_POINT_LEN]);

#endif
