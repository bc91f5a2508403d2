/*
 * Names of projects and secrets and labels, against the rules of the headers
 * written down once more.
 */
#include <ctype.h>
#include <string.h>

#include "base/text.h"
#include "core/names.h"
#include "fuzz.h"

static bool is_ascii_alnum(char c)
{
	return (c & 0x80) == 0 && isalnum(c) != 0;
}

static bool may_name_project(const char *name)
{
	size_t len = strlen(name);

	for (const char *at = name; *at != '\0'; at++) {
		if (isupper((unsigned char)*at) ||
		    (!is_ascii_alnum(*at) && strchr("._-", *at) == NULL))
			return false;
	}
	return len >= 1 && len <= 255 && is_ascii_alnum(name[0]);
}

static bool may_name_secret(const char *name)
{
	size_t len = strlen(name);

	for (const char *at = name; *at != '\0'; at++) {
		if (!is_ascii_alnum(*at) && strchr("._/-", *at) == NULL)
			return false;
	}
	return len >= 1 && len <= 255 && strchr("-./", name[0]) == NULL;
}

static bool may_label(const char *label)
{
	for (const char *at = label; *at != '\0'; at++) {
		if (*at < ' ' || *at > '~')
			return false;
	}
	return strlen(label) <= 255;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	CLEANUP(freep) char *text = input_text(&input);

	must((project_name_check(text) == KT_OK) == may_name_project(text));
	must(error_lacks("\n"));
	must((secret_name_check(text) == KT_OK) == may_name_secret(text));
	must(error_lacks("\n"));
	must((label_check(text) == KT_OK) == may_label(text));
	return 0;
}
