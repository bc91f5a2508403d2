/*
 * The rules for names, byte by byte: no locale has a say in what a letter is.
 */
#include "core/names.h"

#include <stdbool.h>
#include <string.h>

#include <keyturn/types.h>

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static bool well_formed(const char *name, const char *first, const char *all)
{
	size_t len = strlen(name);

	return len >= 1 && len <= KT_NAME_MAX &&
	       strchr(first, name[0]) != NULL && strspn(name, all) == len;
}

enum kt_err project_name_check(const char *name)
{
	if (well_formed(name, LOWER DIGIT, LOWER DIGIT "._-"))
		return KT_OK;
	return err_raise(KT_ERR_USAGE,
			 "'%.64s' cannot name a project: 1 to 255 of a-z, 0-9, "
			 "'.', '_', '-', beginning with a letter or a digit",
			 name);
}

enum kt_err secret_name_check(const char *name)
{
	if (well_formed(name, LOWER UPPER DIGIT "_", LOWER UPPER DIGIT "._/-"))
		return KT_OK;
	return err_raise(KT_ERR_USAGE,
			 "'%.64s' cannot name a secret: 1 to 255 of A-Z, a-z, "
			 "0-9, '.', '_', '/', '-', not beginning with '-', '.' "
			 "or '/'",
			 name);
}

enum kt_err label_check(const char *label)
{
	size_t len = strlen(label);
	bool good = len <= KT_NAME_MAX;

	for (size_t i = 0; good && i < len; i++)
		good = label[i] >= 0x20 && label[i] <= 0x7e;
	if (good)
		return KT_OK;
	return err_raise(KT_ERR_USAGE,
			 "a label is at most 255 printable ASCII characters");
}
