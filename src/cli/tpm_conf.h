/*
 * The configuration of keyturn-tpm2.so: a list of tokens, each a TPM and a
 * state folder. keyturn adds to it and reads nothing else from it.
 */
#ifndef CLI_TPM_CONF_H
#define CLI_TPM_CONF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

#define TPM_CONF_DEFAULT "/etc/keyturn/tpm2.yaml"

/* A token's entry while its token is being made. Taken back when it goes out
 * of scope, unless it is kept. */
struct tpm_entry {
	const char *path; /* borrowed */
	char *before;     /* the file's text; NULL: there was none */
	size_t slot;      /* its place in the list, from 0 */
	bool added;       /* false: it was there already */
};

/* Adds TPM and folder to the file, or finds them in it. KT_ERR_CONFLICT: the
 * folder stands there with another TPM. KT_ERR_CONFIG: not a file that an
 * entry can be added to. */
enum kt_err tpm_entry_add(const char *path, const char *tcti, const char *state,
			  struct tpm_entry *ret);

void tpm_entry_keep(struct tpm_entry *entry);
void tpm_entry_done(struct tpm_entry *entry);

#endif
