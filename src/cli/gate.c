/*
 * The findings are kept whole in records and JSON; on a screen only those that
 * are not "pass" have a name.
 */
#include "cli/gate.h"

#include <stdio.h>
#include <string.h>

static size_t count_passed(const char *at)
{
	size_t passed = 0;

	while ((at = strstr(at, "=pass")) != NULL) {
		passed++;
		at++;
	}
	return passed;
}

/* ", fail: NAME NAME" behind what is there; nothing when none did. */
static void append(const char *findings, const char *result, char *ret,
		   size_t size)
{
	size_t result_len = strlen(result);
	const char *front = ", ";

	for (const char *at = findings; *at != '\0'; at += strspn(at, " ")) {
		size_t len = strcspn(at, " ");
		size_t name = strcspn(at, "= ");
		size_t used = strlen(ret);

		if (len == name + 1 + result_len &&
		    strncmp(at + name + 1, result, result_len) == 0) {
			snprintf(ret + used, size - used, "%s%s%s%.*s", front,
				 front[0] == ',' ? result : "",
				 front[0] == ',' ? ": " : "", (int)name, at);
			front = " ";
		}
		at += len;
	}
}

void gate_summary(const char *findings, char *ret, size_t size)
{
	snprintf(ret, size, "%zu pass", count_passed(findings));
	append(findings, "known", ret, size);
	append(findings, "fail", ret, size);
}
