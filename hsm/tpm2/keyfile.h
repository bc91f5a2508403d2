/*
 * A key's folder, keys/<id>/: "meta" says how far its life is and where in the
 * TPM it has its places, "gate" and "master" are the blobs that the TPM made,
 * "creation" its birth certificate, "evidence-..." what an auditor gets.
 */
#ifndef HSM_TPM2_KEYFILE_H
#define HSM_TPM2_KEYFILE_H

#include "hsm/tpm2/folder.h"
#include "hsm/tpm2/object.h"
#include "hsm/tpm2/token.h"

/* Written before the TPM acts on it. The numbers are stored. */
enum key_stage {
	KEY_MAKING = 1,     /* will be undone */
	KEY_LIVE = 2,       /* all of it is there */
	KEY_DESTROYING = 3, /* will be finished */
	KEY_DESTROYED = 4   /* evidence only */
};

struct key_file {
	struct tpm_key key;
	enum key_stage stage;
	uint32_t counter, handle;
	uint64_t value; /* of the counter; 0 while it is being made */
};

void key_file_done(struct key_file *file);

/* New: the folder too. */
CK_RV key_file_save(const struct folder *folder, const struct key_file *file);

/* CKR_DATA_INVALID: there is no such key. A live key has its point. */
CK_RV key_file_load(const struct folder *folder, const struct kt_id *id,
		    struct key_file *ret);

/* A file below keys/<id>/. */
#define KEY_PATH_MAX 96
struct key_path {
	char text[KEY_PATH_MAX];
};
struct key_path key_path(const struct kt_id *id, const char *name);

CK_RV blob_save(const struct folder *folder, const char *name,
		const struct object_blob *blob);
CK_RV blob_load(const struct folder *folder, const char *name,
		struct object_blob *ret);

CK_RV creation_save(const struct folder *folder, const struct kt_id *id,
		    const struct object_creation *creation);
CK_RV creation_load(const struct folder *folder, const struct kt_id *id,
		    struct object_creation *ret);

#endif
