/*
 * What is installed with this program. It is looked for from where the program
 * itself stands, so that an installation is whole wherever it was put, and two
 * of them do not mix. A build folder has other places than an installation.
 */
#include "cli/installed.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

static const char *const worker_places[] = {
	KEYTURN_LIBEXEC_FROM_BIN "/keyturn-worker", "keyturn-worker", NULL};

static const char *const module_places[] = {KEYTURN_LIB_FROM_BIN
					    "/pkcs11/keyturn-tpm2.so",
					    "../lib/keyturn-tpm2.so", NULL};

/* The folder of this program. */
static enum kt_err own_folder(char ret[PATH_MAX])
{
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return err_errno("/proc/self/exe");
	self[len] = '\0';
	return dir_of(self, ret, PATH_MAX);
}

static enum kt_err find(const char *const *places, char ret[PATH_MAX])
{
	char folder[PATH_MAX], place[PATH_MAX], found[PATH_MAX];

	TRY(own_folder(folder));
	for (; *places != NULL; places++) {
		TRY(text_format(place, sizeof(place), "%s/%s", folder,
				*places));
		if (realpath(place, found) != NULL)
			return text_copy(ret, PATH_MAX, found, "path");
	}
	return err_raise(KT_ERR_NOT_FOUND, "not installed with %s", folder);
}

enum kt_err installed_worker(char ret[PATH_MAX])
{
	if (find(worker_places, ret) == KT_OK)
		return KT_OK;
	return text_copy(ret, PATH_MAX, KEYTURN_LIBEXEC_DIR "/keyturn-worker",
			 "worker path");
}

enum kt_err installed_module(const char *name, char ret[PATH_MAX])
{
	if (strcmp(name, TPM_MODULE_NAME) == 0 &&
	    find(module_places, ret) == KT_OK)
		return KT_OK;
	return text_copy(ret, PATH_MAX, name, "module");
}
