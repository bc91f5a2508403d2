/*
 * Small text files: one line per field, its name, a blank, its value as a
 * number or in hexadecimal. A field that is missing, twice there or not what
 * it should be is an error; so is a line that nobody asked for.
 */
#ifndef HSM_TPM2_RECORD_H
#define HSM_TPM2_RECORD_H

#include "hsm/tpm2/crypto.h"

#define RECORD_MAX (64 * 1024)

/* Zeroed is empty. CLEANUP(record_done). */
struct record {
	char *text;
	size_t len, size;
	size_t lines, read; /* of a parsed one: there, and asked for */
	bool failed;
};

void record_done(struct record *record);

void record_put_number(struct record *record, const char *name, uint64_t value);
void record_put_bytes(struct record *record, const char *name,
		      struct span value);

/* CKR_HOST_MEMORY when one of the fields had no room. */
CK_RV record_check(const struct record *record);

/* Copies text. */
CK_RV record_parse(const void *text, size_t len, struct record *ret);

/* These remember failure for record_end(). */
uint64_t record_number(struct record *record, const char *name);
size_t record_bytes(struct record *record, const char *name, uint8_t *ret,
		    size_t max);
/* Exactly len. */
void record_exact(struct record *record, const char *name, void *ret,
		  size_t len);

/* CKR_DEVICE_ERROR "what is damaged". */
CK_RV record_end(const struct record *record, const char *what);

#endif
