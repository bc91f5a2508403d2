/*
 * The name of a module's lock file.
 */
#include "hsm/lock.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/bytes.h"
#include "base/text.h"

#define LOCK_WAIT_MS 60000
#define NAME_BYTES 8

/* Two names of one module must give one lock. */
static const char *canonical(const char *module_path, char room[PATH_MAX])
{
	return realpath(module_path, room) != NULL ? room : module_path;
}

enum kt_err token_lock(const char *runtime_dir, const char *module_path,
		       enum lock_mode mode, int *ret_fd)
{
	char room[PATH_MAX], path[PATH_MAX];
	char name[2 * NAME_BYTES + 1];
	uint8_t digest[EVP_MAX_MD_SIZE];
	const char *module = canonical(module_path, room);

	if (EVP_Digest(module, strlen(module), digest, NULL, EVP_sha256(),
		       NULL) != 1)
		return err_raise(KT_ERR_FAILED, "SHA-256 failed");
	hex_encode(digest, NAME_BYTES, name);
	TRY(text_format(path, sizeof(path), "%s/module-%s.lock", runtime_dir,
			name));
	TRY(dir_make(runtime_dir));
	return lock_take(path, mode, LOCK_WAIT_MS, ret_fd);
}
