/*
 * The command and the checker: started, killed, waited for. Nothing here forks:
 * a process that has the module in it starts others by posix_spawn() only.
 */
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/torture/model.h"

static pid_t spawn(const char *const *argv, const char *output)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
					 O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, output,
					 O_WRONLY | O_CREAT | O_TRUNC, 0600);
	posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO,
					 STDERR_FILENO);
	require(posix_spawnp(&pid, argv[0], &actions, NULL,
			     (char *const *)(uintptr_t)argv, environ) == 0,
		argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static int wait_for(pid_t pid, int options)
{
	int status;

	require(waitpid(pid, &status, options) == pid, "waitpid");
	return status;
}

int program_run(const struct run *r, const char *const *argv)
{
	char output[256];

	snprintf(output, sizeof(output), "%s/out", r->folder);
	return wait_for(spawn(argv, output), 0);
}

/* SoftHSM rewrites token.object in place in C_Login: who is killed in there
 * leaves it empty. That is not what this test is about, so the file is put
 * back, and counted. */
static void token_file(const struct run *r, char ret[PATH_MAX])
{
	char pattern[256];
	glob_t found;

	snprintf(pattern, sizeof(pattern), "%s/tokens/*/token.object",
		 r->folder);
	require(glob(pattern, 0, NULL, &found) == 0, pattern);
	snprintf(ret, PATH_MAX, "%s", found.gl_pathv[0]);
	globfree(&found);
}

static void copy_file(const char *from, const char *to)
{
	char bytes[65536];
	FILE *in = fopen(from, "r");
	FILE *out = fopen(to, "w");
	size_t len;

	require(in != NULL && out != NULL, from);
	len = fread(bytes, 1, sizeof(bytes), in);
	require(fwrite(bytes, 1, len, out) == len, to);
	fclose(in);
	require(fclose(out) == 0, to);
}

void keep_token_file(const struct run *r)
{
	char path[PATH_MAX], kept[256];

	token_file(r, path);
	snprintf(kept, sizeof(kept), "%s/token.object", r->folder);
	copy_file(path, kept);
}

/* A worker of a killed parent may be in its login still: it has the lock. */
static int lock_token(const struct run *r)
{
	char pattern[256];
	glob_t found;
	int fd;

	snprintf(pattern, sizeof(pattern), "%s/run/*.lock", r->folder);
	require(glob(pattern, 0, NULL, &found) == 0, pattern);
	fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
	require(fd >= 0 && flock(fd, LOCK_EX) == 0, found.gl_pathv[0]);
	globfree(&found);
	return fd;
}

static void mend_token_file(struct run *r)
{
	char path[PATH_MAX], kept[256];
	int lock = lock_token(r);
	struct stat st;

	token_file(r, path);
	require(stat(path, &st) == 0, path);
	if (st.st_size == 0) {
		snprintf(kept, sizeof(kept), "%s/token.object", r->folder);
		copy_file(kept, path);
		r->counts.torn++;
	}
	close(lock);
}

void command_add(struct command *c, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(c->text[c->argc], sizeof(c->text[0]), format, args);
	va_end(args);
	c->argv[c->argc] = c->text[c->argc];
	c->argc++;
}

pid_t command_start(struct run *r, const struct command *c)
{
	const char *argv[22];
	char keyturn[300], output[256];
	pid_t pid;

	snprintf(keyturn, sizeof(keyturn), "%s/keyturn", r->bin);
	snprintf(output, sizeof(output), "%s/out", r->folder);
	argv[0] = keyturn;
	memcpy(argv + 1, c->argv, sizeof(c->argv));
	argv[c->argc + 1] = NULL;
	if (c->crash[0] != '\0')
		setenv("KEYTURN_CRASH", c->crash, 1);
	pid = spawn(argv, output);
	unsetenv("KEYTURN_CRASH");
	return pid;
}

int command_wait(struct run *r, pid_t pid, int options)
{
	int status = wait_for(pid, options);

	if (WIFSIGNALED(status))
		mend_token_file(r);
	return status;
}

void command_output(struct run *r)
{
	char path[256], line[512];
	FILE *file;

	snprintf(path, sizeof(path), "%s/out", r->folder);
	file = fopen(path, "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		printf("  | %s", line);
	if (file != NULL)
		fclose(file);
}

#define POINTS 128

/* The command's own list, once. */
static uint32_t crash_points(struct run *r, char (**ret)[48])
{
	static char names[POINTS][48];
	static uint32_t count;
	struct command c = {0};
	char path[256];
	FILE *file;

	*ret = names;
	if (count > 0)
		return count;
	command_add(&c, "__crash-points");
	require(wait_for(command_start(r, &c), 0) == 0, "__crash-points");
	snprintf(path, sizeof(path), "%s/out", r->folder);
	file = fopen(path, "r");
	require(file != NULL, path);
	while (count < POINTS && fgets(names[count], sizeof(names[0]), file)) {
		names[count][strcspn(names[count], "\n")] = '\0';
		count += names[count][0] != '\0';
	}
	fclose(file);
	require(count > 0, "__crash-points: none");
	return count;
}

/* Where the names of points begin like this, only these operations pass them;
 * those of every transaction are passed by all, and the rest by rotations. */
static bool passes(enum op_kind kind, const char *point)
{
	static const struct {
		const char *begins;
		enum op_kind first, last;
	} areas[] = {
		{"secret.", OP_SET, OP_IMPORT},
		{"destroy.", OP_DESTROY, OP_DESTROY},
		{"backup.", OP_BACKUP, OP_BACKUP},
		{"restore.", OP_RESTORE, OP_RESTORE},
		{"compromise.", OP_LEAVE, OP_REENCRYPT},
		{"reencrypt.", OP_REENCRYPT, OP_REENCRYPT},
		{"store.", OP_SET, OP_FORGET},
		{"open.", OP_SET, OP_FORGET},
		{"init.", OP_KIND_MAX_, OP_KIND_MAX_},
	};

	for (size_t i = 0; i < sizeof(areas) / sizeof(areas[0]); i++) {
		if (strncmp(point, areas[i].begins, strlen(areas[i].begins)) ==
		    0)
			return kind >= areas[i].first && kind <= areas[i].last;
	}
	return kind >= OP_ROTATE && kind <= OP_REENCRYPT;
}

const char *crash_point(struct run *r, const struct op *op)
{
	char(*names)[48];
	uint32_t count = crash_points(r, &names);
	uint32_t at = op->point % count;

	while (!passes(op->kind, names[at]))
		at = (at + 1) % count;
	return names[at];
}

bool checker_run(struct run *r)
{
	char checker[300], pin[256], output[256];
	const char *const argv[] = {checker, r->store, r->params.module,
				    "test",  pin,      NULL};
	int lock = lock_token(r);
	int status;

	snprintf(checker, sizeof(checker), "%s/checker", r->bin);
	snprintf(pin, sizeof(pin), "%s/pin", r->folder);
	snprintf(output, sizeof(output), "%s/out", r->folder);
	status = wait_for(spawn(argv, output), 0);
	close(lock);
	if (status == 0)
		return true;
	command_output(r);
	return finding(r, "the checker found something");
}
