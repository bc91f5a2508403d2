/*
 * Where a bench runs: a SoftHSM and a vault in a temporary folder, and the
 * starting of children in it.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/bench/bench.h"

extern char **environ;

struct place place = {.repeats = 5, .jobs = 2};

static void set_paths(void)
{
	char folder[sizeof(place.self)];

	if (readlink("/proc/self/exe", place.self, sizeof(place.self) - 1) < 0)
		exit(EXIT_FAILURE);
	snprintf(folder, sizeof(folder), "%s", place.self);
	snprintf(place.bin, sizeof(place.bin), "%s", dirname(folder));
	snprintf(place.worker, sizeof(place.worker), "%s/keyturn-worker",
		 place.bin);
	snprintf(place.command, sizeof(place.command), "%s/keyturn", place.bin);
	snprintf(place.bare, sizeof(place.bare), "%s/keyturn-bare", place.bin);
	snprintf(place.pin_file, sizeof(place.pin_file), "%s/pin",
		 place.hsm.folder);
	snprintf(place.store, sizeof(place.store), "%s/vault.db",
		 place.hsm.folder);
}

void place_make(void)
{
	softhsm_start(&place.hsm);
	setenv("KT_BENCH_FOLDER", place.hsm.folder, 1);
	set_paths();
	if (file_write_new(place.pin_file, SOFTHSM_PIN, strlen(SOFTHSM_PIN)) !=
	    KT_OK)
		exit(EXIT_FAILURE);
}

void place_find(void)
{
	struct softhsm *hsm = &place.hsm;
	const char *module = getenv("KT_BENCH_MODULE");

	snprintf(hsm->folder, sizeof(hsm->folder), "%s",
		 getenv("KT_BENCH_FOLDER"));
	softhsm_describe(hsm);
	if (module != NULL)
		hsm->params.module = module;
	set_paths();
}

void place_done(void)
{
	softhsm_stop(&place.hsm);
}

void place_params(struct kt_params *ret)
{
	*ret = (struct kt_params){
		.token_uri = place.hsm.params.uri,
		.module = place.hsm.params.module,
		.pin = place.hsm.pin,
		.runtime_dir = place.hsm.params.runtime_dir,
		.worker = place.worker,
		.store_path = place.store,
		.operator_name = "bench",
	};
}

struct child_process {
	pid_t pid;
	int out;
	char text[4096];
	size_t len;
};

static enum kt_err child_start(const char *const *arguments, int gate,
			       struct child_process *ret)
{
	const char *argv[16] = {place.self};
	posix_spawn_file_actions_t actions;
	size_t count = 1;
	int fds[2], error;

	for (; *arguments != NULL && count < 15; arguments++)
		argv[count++] = *arguments;
	if (pipe2(fds, O_CLOEXEC) != 0)
		return err_errno("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, gate, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, fds[1], STDOUT_FILENO);
	error = posix_spawn(&ret->pid, place.self, &actions, NULL,
			    (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(fds[1]);
	ret->out = fds[0];
	ret->len = 0;
	if (error == 0)
		return KT_OK;
	close(fds[0]);
	return err_raise(KT_ERR_FAILED, "cannot start %s", place.self);
}

/* Reads up to the end of a line, or of the output. */
static void child_read(struct child_process *child, char until)
{
	while (child->len + 1 < sizeof(child->text)) {
		ssize_t n = read(child->out, child->text + child->len, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		child->len++;
		if (until != '\0' && child->text[child->len - 1] == until)
			break;
	}
	child->text[child->len] = '\0';
}

static void add_figure(struct figures *figures, const struct figure *figure)
{
	for (size_t i = 0; i < figures->count; i++) {
		struct figure *is = &figures->at[i];

		if (strcmp(is->name, figure->name) != 0)
			continue;
		is->rows += figure->rows;
		is->us = is->us > figure->us ? is->us : figure->us;
		is->cpu_us += figure->cpu_us;
		is->rate += figure->rate;
		return;
	}
	if (figures->count < FIGURES_MAX)
		figures->at[figures->count++] = *figure;
}

static void gather(struct child_process *child, struct figures *ret)
{
	char *rest = NULL;
	char *line = strtok_r(child->text, "\n", &rest);

	for (; line != NULL; line = strtok_r(NULL, "\n", &rest)) {
		struct figure figure;

		if (sscanf(line, "%31s %lf %lf %lf", figure.name, &figure.rows,
			   &figure.us, &figure.cpu_us) != 4)
			continue;
		figure.rate = figure.rows / figure.us;
		add_figure(ret, &figure);
	}
}

static bool child_end(struct child_process *child)
{
	int status = -1;

	close(child->out);
	while (waitpid(child->pid, &status, 0) < 0 && errno == EINTR)
		continue;
	return status == 0;
}

/* Starts so many, and lets all go on when they are ready. Returns how many
 * could be started. */
static unsigned children_start(unsigned count, const char *const *arguments,
			       struct child_process *child)
{
	unsigned started = 0;
	int gate[2];

	if (pipe2(gate, O_CLOEXEC) != 0)
		return 0;
	while (started < count &&
	       child_start(arguments, gate[0], &child[started]) == KT_OK)
		started++;
	for (unsigned i = 0; i < started; i++)
		child_read(&child[i], '\n');
	close(gate[0]);
	close(gate[1]); /* go */
	return started;
}

static bool children_end(struct child_process *child, unsigned count,
			 struct figures *ret)
{
	bool good = true;

	*ret = (struct figures){0};
	for (unsigned i = 0; i < count; i++) {
		child_read(&child[i], '\0');
		good = child_end(&child[i]) && good;
		gather(&child[i], ret);
	}
	return good;
}

enum kt_err child_run(unsigned count, const char *const *arguments,
		      struct figures *ret)
{
	struct child_process child[CHILDREN_MAX];
	unsigned started;

	if (count > CHILDREN_MAX)
		return err_raise(KT_ERR_USAGE, "more than %d children",
				 CHILDREN_MAX);
	started = children_start(count, arguments, child);
	return children_end(child, started, ret) && started == count
		       ? KT_OK
		       : err_raise(KT_ERR_FAILED, "bench %s failed",
				   arguments[0]);
}

enum kt_err child_begin(const char *const *arguments,
			struct child_process **ret)
{
	CLEANUP(freep) struct child_process *child = calloc(1, sizeof(*child));

	if (child == NULL)
		return err_memory();
	if (children_start(1, arguments, child) != 1)
		return err_raise(KT_ERR_FAILED, "cannot start bench %s",
				 arguments[0]);
	*ret = TAKE(child);
	return KT_OK;
}

bool child_runs(const struct child_process *child)
{
	siginfo_t info = {0};

	return waitid(P_PID, (id_t)child->pid, &info,
		      WEXITED | WNOHANG | WNOWAIT) == 0 &&
	       info.si_pid == 0;
}

enum kt_err child_finish(struct child_process *child)
{
	struct figures figures;
	bool good = children_end(child, 1, &figures);

	free(child);
	return good ? KT_OK : err_raise(KT_ERR_FAILED, "a child failed");
}

void child_ready(void)
{
	char c;

	puts("ready");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		continue;
}

enum kt_err program_run(const char *const *argv, struct figure *ret)
{
	posix_spawn_file_actions_t actions;
	struct span begin = span_now();
	struct rusage usage;
	int status = -1;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	if (posix_spawn(&pid, argv[0], &actions, NULL,
			(char *const *)(uintptr_t)argv, environ) != 0)
		return err_raise(KT_ERR_FAILED, "cannot start %s", argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	while (wait4(pid, &status, 0, &usage) < 0 && errno == EINTR)
		continue;
	if (status != 0)
		return err_raise(KT_ERR_FAILED, "%s ended with %d", argv[0],
				 status);
	begin = span_since(begin);
	*ret = (struct figure){"process", 1, begin.us, begin.cpu_us,
			       1 / begin.us};
	return KT_OK;
}
