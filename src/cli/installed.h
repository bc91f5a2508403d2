/*
 * What is installed with this program.
 */
#ifndef CLI_INSTALLED_H
#define CLI_INSTALLED_H

#include <limits.h>

#include <keyturn/error.h>

/* p11-kit's name for it, which is also ours. */
#define TPM_MODULE_NAME "keyturn-tpm2"

/* The path of keyturn-worker: where it should be, when it is nowhere. */
enum kt_err installed_worker(char ret[PATH_MAX]);

/* A module as it was named; keyturn-tpm2 becomes the path of the one that was
 * installed with this program, because p11-kit reads no more than the
 * configuration below the prefix it was built for. */
enum kt_err installed_module(const char *name, char ret[PATH_MAX]);

#endif
