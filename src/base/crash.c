/*
 * What a crash point does. The one armed is state of the whole process, which
 * nothing else here has: a test arms it before anything runs, and a process
 * that hits it is gone.
 */
#include "base/crash.h"

#ifdef KEYTURN_CRASH_POINTS

#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/text.h"

/* The linker's, around the section; NULL in a program without a point. */
extern const char *const __start_crash_points[] __attribute__((weak));
extern const char *const __stop_crash_points[] __attribute__((weak));

static const struct {
	const char *name;
	int number;
} signals[] = {{"KILL", SIGKILL}, {"TERM", SIGTERM}, {"STOP", SIGSTOP}};

static struct {
	const char *name; /* NULL: none is armed */
	long long nth;
	int number;
	atomic_llong passed;
	bool trace;
} armed;

const char *crash_name(size_t index)
{
	size_t count = (size_t)(__stop_crash_points - __start_crash_points);

	return index < count ? __start_crash_points[index] : NULL;
}

static const char *find_name(const char *text, size_t len)
{
	const char *name;

	for (size_t i = 0; (name = crash_name(i)) != NULL; i++)
		if (strlen(name) == len && memcmp(name, text, len) == 0)
			return name;
	return NULL;
}

static int find_signal(const char *text)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (strcmp(signals[i].name, text) == 0)
			return signals[i].number;
	return 0;
}

static void say(const char *name)
{
	struct iovec line[] = {
		{(char *)"crash point ", 12},
		{(char *)(uintptr_t)name, strlen(name)},
		{(char *)"\n", 1},
	};

	(void)!writev(STDERR_FILENO, line, 3);
}

static bool arm(const char *text)
{
	size_t name_len = strcspn(text, ":");
	const char *nth = text + name_len + (text[name_len] == ':');
	size_t nth_len = strcspn(nth, ":");
	char number[20];

	if (nth[nth_len] != ':' || nth_len >= sizeof(number))
		return false;
	memcpy(number, nth, nth_len);
	number[nth_len] = '\0';
	if (text_to_int(number, 1, INT_MAX, "pass", &armed.nth) != KT_OK)
		return false;
	armed.number = find_signal(nth + nth_len + 1);
	armed.name = find_name(text, name_len);
	return armed.name != NULL && armed.number != 0;
}

bool crash_arm(const char *text)
{
	armed.trace = strcmp(text, "trace") == 0;
	return armed.trace || arm(text);
}

void crash_pass(const char *name)
{
	if (armed.trace)
		say(name);
	if (armed.name == NULL || strcmp(name, armed.name) != 0)
		return;
	if (atomic_fetch_add(&armed.passed, 1) + 1 == armed.nth)
		raise(armed.number);
}

#endif
