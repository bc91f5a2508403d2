/*
 * Encoding and storing evidence.
 */
#include "hsm/tpm2/evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/text.h"

#define PREFIX "evidence-"

void tpm_evidence_done(struct tpm_evidence *evidence)
{
	for (size_t i = 0; i < evidence->count; i++)
		free(evidence->files[i].data);
	*evidence = (struct tpm_evidence){0};
}

CK_RV evidence_add(struct tpm_evidence *evidence, const char *name,
		   struct span data)
{
	size_t at = evidence->count;
	uint8_t *copy;

	if (at == TPM_EVIDENCE_MAX)
		return rv_raise(CKR_GENERAL_ERROR, "too much evidence");
	RV_TRY(rv_of(text_copy(evidence->files[at].name,
			       sizeof(evidence->files[at].name), name,
			       "a name")));
	copy = malloc(data.len > 0 ? data.len : 1);
	if (copy == NULL)
		return rv_memory();
	if (data.len > 0)
		memcpy(copy, data.data, data.len);
	evidence->files[at].data = copy;
	evidence->files[at].len = data.len;
	evidence->count++;
	return CKR_OK;
}

/* SEQUENCE { SEQUENCE { ecPublicKey, prime256v1 }, BIT STRING } */
static const uint8_t key_prefix[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a,
				     0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
				     0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
				     0x01, 0x07, 0x03, 0x42, 0x00};

CK_RV evidence_add_key(struct tpm_evidence *evidence, const char *name,
		       const uint8_t point[TPM_POINT_LEN])
{
	uint8_t der[sizeof(key_prefix) + TPM_POINT_LEN];
	char base64[4 * ((sizeof(der) + 2) / 3) + 1], pem[256];

	memcpy(der, key_prefix, sizeof(key_prefix));
	memcpy(der + sizeof(key_prefix), point, TPM_POINT_LEN);
	EVP_EncodeBlock((unsigned char *)base64, der, sizeof(der));
	RV_TRY(rv_of(text_format(pem, sizeof(pem),
				 "-----BEGIN PUBLIC KEY-----\n%.64s\n%s\n"
				 "-----END PUBLIC KEY-----\n",
				 base64, base64 + 64)));
	return evidence_add(evidence, name, SPAN(pem, strlen(pem)));
}

/* INTEGER: no leading zeros, but one where the first bit is set. */
static size_t put_integer(uint8_t *at, const uint8_t number[32])
{
	size_t skip = 0, pad;

	while (skip < 31 && number[skip] == 0)
		skip++;
	pad = number[skip] >> 7;
	at[0] = 0x02;
	at[1] = (uint8_t)(32 - skip + pad);
	at[2] = 0;
	memcpy(at + 2 + pad, number + skip, 32 - skip);
	return 2 + pad + 32 - skip;
}

CK_RV evidence_add_signature(struct tpm_evidence *evidence, const char *name,
			     const uint8_t signature[TPM_SIGNATURE_LEN])
{
	uint8_t der[2 + 2 * 35];
	size_t len = 2;

	len += put_integer(der + len, signature);
	len += put_integer(der + len, signature + 32);
	der[0] = 0x30;
	der[1] = (uint8_t)(len - 2);
	return evidence_add(evidence, name, SPAN(der, len));
}

CK_RV evidence_save(const struct folder *folder, const struct kt_id *id,
		    const struct tpm_evidence *evidence)
{
	for (size_t i = 0; i < evidence->count; i++) {
		char name[48];

		RV_TRY(rv_of(text_format(name, sizeof(name), PREFIX "%s",
					 evidence->files[i].name)));
		RV_TRY(folder_write(
			folder, key_path(id, name).text,
			SPAN(evidence->files[i].data, evidence->files[i].len)));
	}
	return CKR_OK;
}

struct loading {
	const struct folder *folder;
	const struct kt_id *id;
	struct tpm_evidence evidence;
};

static CK_RV load_one(const char *name, void *arg)
{
	CLEANUP(freep) uint8_t *data = NULL;
	struct loading *loading = arg;
	size_t len = 0;

	if (strncmp(name, PREFIX, strlen(PREFIX)) != 0)
		return CKR_OK;
	RV_TRY(folder_read(loading->folder, key_path(loading->id, name).text,
			   &data, &len));
	return evidence_add(&loading->evidence, name + strlen(PREFIX),
			    SPAN(data, len));
}

CK_RV evidence_load(const struct folder *folder, const struct kt_id *id,
		    struct tpm_evidence *ret)
{
	struct loading loading = {folder, id, {0}};
	CK_RV rv =
		folder_each(folder, key_path(id, "").text, load_one, &loading);

	if (rv != CKR_OK) {
		tpm_evidence_done(&loading.evidence);
		return rv;
	}
	*ret = loading.evidence;
	return CKR_OK;
}
