/*
 * Splitting of references.
 */
#include "cli/ref.h"

#include <string.h>

#include "base/err.h"
#include "base/text.h"

#define SCHEME "kt://"

enum kt_err ref_parse(const char *text, struct ref *ret)
{
	bool full = strncmp(text, SCHEME, strlen(SCHEME)) == 0;
	const char *project = full ? text + strlen(SCHEME) : text;
	const char *slash = strchr(project, '/');
	struct ref ref;

	if (slash == NULL || slash == project || slash[1] == '\0')
		return err_raise(KT_ERR_USAGE,
				 "'%s' is not PROJECT/NAME or "
				 "kt://PROJECT/NAME",
				 text);
	if (slash - project > KT_NAME_MAX)
		return err_raise(KT_ERR_USAGE,
				 "the name of the project is longer than %d "
				 "bytes",
				 KT_NAME_MAX);
	memcpy(ref.project, project, (size_t)(slash - project));
	ref.project[slash - project] = '\0';
	TRY(text_copy(ref.name, sizeof(ref.name), slash + 1,
		      "the name of the secret"));
	*ret = ref;
	return KT_OK;
}
