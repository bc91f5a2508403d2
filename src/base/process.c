/*
 * Names of processes, from what proc(5) says. That is not everything
 * everywhere: it may not be mounted, or hide other users' processes.
 */
#include "base/process.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"

/* Fields of /proc/PID/stat by their numbers in proc(5). */
#define STAT_STATE 3
#define STAT_START 22

#define FIELD_SIZE 24

struct name {
	char host[65], boot[64], pid[FIELD_SIZE], start[FIELD_SIZE];
};

/* The first line of a small file; "" when it cannot be read. */
static void read_line(const char *path, char *ret, size_t size)
{
	FILE *file = fopen(path, "re");

	ret[0] = '\0';
	if (file == NULL)
		return;
	if (fgets(ret, (int)size, file) == NULL)
		ret[0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
	fclose(file);
}

/* The fields from the third on stand behind the command's name, which is in
 * parentheses and may hold anything. */
static bool stat_field(pid_t pid, int number, char ret[FIELD_SIZE])
{
	char path[64], line[1024];
	const char *at;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	read_line(path, line, sizeof(line));
	at = strrchr(line, ')');
	if (at == NULL)
		return false;
	at++;
	for (int field = STAT_STATE; field <= number; field++) {
		if (!text_word(&at, ret, FIELD_SIZE))
			return false;
	}
	return true;
}

static bool this_boot(char *ret, size_t size)
{
	read_line("/proc/sys/kernel/random/boot_id", ret, size);
	return ret[0] != '\0';
}

enum kt_err process_name(char *ret, size_t size)
{
	struct name name = {.start = "0"};

	if (gethostname(name.host, sizeof(name.host) - 1) != 0)
		return err_errno("gethostname");
	(void)this_boot(name.boot, sizeof(name.boot));
	(void)stat_field(getpid(), STAT_START, name.start);
	return text_format(ret, size, "%s %s %ld %s", name.host, name.boot,
			   (long)getpid(), name.start);
}

static bool parse(const char *text, struct name *ret)
{
	return text_word(&text, ret->host, sizeof(ret->host)) &&
	       text_word(&text, ret->boot, sizeof(ret->boot)) &&
	       text_word(&text, ret->pid, sizeof(ret->pid)) &&
	       text_word(&text, ret->start, sizeof(ret->start));
}

/* The pid of a process of this boot. */
static bool pid_is_another(const struct name *name)
{
	char start[FIELD_SIZE];
	long long pid;

	if (!text_read_int(name->pid, 1, INT_MAX, &pid))
		return false;
	if (kill((pid_t)pid, 0) != 0 && errno == ESRCH)
		return true;
	return stat_field((pid_t)pid, STAT_START, start) &&
	       strcmp(start, name->start) != 0;
}

bool process_is_gone(const char *text)
{
	struct name name;
	char host[65] = "", boot[64];

	if (!parse(text, &name) || gethostname(host, sizeof(host) - 1) != 0 ||
	    strcmp(name.host, host) != 0 || !this_boot(boot, sizeof(boot)))
		return false;
	return strcmp(name.boot, boot) != 0 || pid_is_another(&name);
}

bool process_is_stopped(pid_t pid)
{
	char state[FIELD_SIZE];

	return stat_field(pid, STAT_STATE, state) &&
	       (strcmp(state, "T") == 0 || strcmp(state, "t") == 0);
}
