/*
 * Where the values of an import come from, and in which format.
 */
#include "cli/import.h"

#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/secret.h"
#include "cli/import_dotenv.h"
#include "cli/import_json.h"

static enum kt_err format_by_name(const char *path, enum import_format *ret)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash != NULL ? slash + 1 : path;
	const char *dot = strrchr(base, '.');

	if (dot != NULL && strcmp(dot, ".json") == 0)
		*ret = IMPORT_JSON;
	else if ((dot != NULL && strcmp(dot, ".env") == 0) ||
		 strncmp(base, ".env.", 5) == 0)
		*ret = IMPORT_DOTENV;
	else
		return err_raise(KT_ERR_USAGE,
				 "the name '%s' does not say its format: "
				 "--format dotenv or --format json",
				 path);
	return KT_OK;
}

static enum kt_err read_whole(const char *path, struct kt_secret *ret)
{
	enum kt_err err;

	if (strcmp(path, "-") != 0)
		return secret_read_file(path, IMPORT_BYTES_MAX, ret);
	err = secret_read_fd(STDIN_FILENO, IMPORT_BYTES_MAX, ret);
	return err == KT_OK ? KT_OK : err_prefix(err, "standard input");
}

enum kt_err import_load(const char *path, enum import_format format,
			struct import_set *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	CLEANUP(import_done) struct import_set set = {0};
	const char *file = strcmp(path, "-") == 0 ? "<stdin>" : path;

	if (format == IMPORT_BY_NAME)
		TRY(format_by_name(path, &format));
	TRY(read_whole(path, &text));
	if (format == IMPORT_JSON)
		TRY(import_json(file, &text, &set));
	else
		TRY(import_dotenv(file, &text, &set));
	if (set.count == 0)
		return err_raise(KT_ERR_USAGE, "%s: no value in it", file);
	*ret = set;
	set = (struct import_set){0};
	return KT_OK;
}
