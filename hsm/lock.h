/*
 * The lock between keyturn processes around what changes a token, logins
 * included. It is taken before C_Initialize, when no serial is known yet, so
 * it is a lock per module: its name is a hash of the module's path.
 */
#ifndef HSM_LOCK_H
#define HSM_LOCK_H

#include "base/file.h"

/* Waits up to 60 s (KT_ERR_BUSY); released by closing *ret_fd. */
enum kt_err token_lock(const char *runtime_dir, const char *module_path,
		       enum lock_mode mode, int *ret_fd);

#endif
