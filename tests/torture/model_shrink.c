/*
 * Shrinking: what came after the failing step goes at once, then ever smaller
 * pieces of what came before, as long as the run still fails without them.
 * Operations do not depend on each other, so any of them can go.
 */
#include "tests/torture/model_shrink.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SECONDS 240
#define REPEATS 2 /* a crash at random does not come the same way each time */

/* What was found, without step, numbers and ids: so that a run which fails of
 * something else is not taken for it. */
static void keep_finding(const char *line, char *ret, size_t size)
{
	const char *at = strstr(line, ", ");
	size_t used = 0;

	for (; at != NULL && *at != '\0' && used + 1 < size; at++) {
		if (strchr("0123456789abcdef-\n", *at) == NULL)
			ret[used++] = *at;
	}
	ret[used] = '\0';
}

static void read_counts(FILE *out, bool show, struct counts *ret)
{
	char line[1024];

	*ret = (struct counts){0};
	while (fgets(line, sizeof(line), out) != NULL) {
		if (sscanf(line, "counts %u %ld %ld %ld %ld %ld %ld %ld %ld",
			   &ret->failed, &ret->steps, &ret->crashes,
			   &ret->rotations, &ret->rollbacks, &ret->restores,
			   &ret->compares, &ret->values, &ret->torn) == 9)
			continue;
		if (strncmp(line, "model: step ", 12) == 0)
			keep_finding(line, ret->finding, sizeof(ret->finding));
		if (show)
			fputs(line, stdout);
	}
	fflush(stdout);
}

static pid_t start(char *const argv[], int *ret_out)
{
	posix_spawn_file_actions_t actions;
	int pipe_fd[2];
	pid_t pid;

	if (pipe2(pipe_fd, O_CLOEXEC) != 0)
		abort();
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDOUT_FILENO);
	posix_spawn_file_actions_adddup2(&actions, pipe_fd[1], STDERR_FILENO);
	if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv,
			environ) != 0)
		abort();
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fd[1]);
	*ret_out = pipe_fd[0];
	return pid;
}

int attempt(uint64_t seed, uint32_t steps, const char *without,
	    const char *script, bool show, struct counts *ret)
{
	char seed_text[24], steps_text[16], without_text[128] = "";
	char script_text[128] = "", name[] = "model", run[] = "--run";
	char *argv[] = {name,         run,
			seed_text,    steps_text,
			without_text, script == NULL ? NULL : script_text,
			NULL};
	int out, status;
	FILE *file;
	pid_t pid;

	snprintf(seed_text, sizeof(seed_text), "%llu",
		 (unsigned long long)seed);
	snprintf(steps_text, sizeof(steps_text), "%u", steps);
	if (without != NULL)
		snprintf(without_text, sizeof(without_text), "%s", without);
	if (script != NULL)
		snprintf(script_text, sizeof(script_text), "%s", script);
	pid = start(argv, &out);
	file = fdopen(out, "r");
	if (file == NULL)
		abort();
	read_counts(file, show, ret);
	fclose(file);
	if (waitpid(pid, &status, 0) != pid)
		abort();
	if (WIFSIGNALED(status) && show)
		printf("model: the run died of signal %d\n", WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

struct shrinking {
	uint64_t seed;
	uint32_t steps;
	bool *without;
	char file[64], script[64];
	const char *finding;
	time_t end;
};

void shrink_read(const char *path, bool *without, uint32_t steps)
{
	FILE *file = fopen(path, "r");
	uint32_t step;

	while (file != NULL && fscanf(file, "%u", &step) == 1) {
		if (step < steps)
			without[step] = true;
	}
	if (file != NULL)
		fclose(file);
}

static void write_without(const struct shrinking *s)
{
	FILE *file = fopen(s->file, "w");

	if (file == NULL)
		abort();
	for (uint32_t i = 0; i < s->steps; i++) {
		if (s->without[i])
			fprintf(file, "%u\n", i);
	}
	fclose(file);
}

static bool still_fails(const struct shrinking *s)
{
	struct counts counts;

	write_without(s);
	for (int i = 0; i < REPEATS; i++) {
		if (attempt(s->seed, s->steps, s->file, NULL, false, &counts) ==
		    1)
			return true;
	}
	return false;
}

/* Leaves out a piece, of one kind or of all; puts it back where the failure
 * goes with it. */
static void try_piece(struct shrinking *s, uint32_t at, uint32_t len,
		      enum op_kind kind)
{
	CLEANUP(freep) bool *kept = malloc(s->steps);
	bool any = false;

	if (kept == NULL)
		abort();
	memcpy(kept, s->without, s->steps);
	for (uint32_t i = at; i < at + len && i < s->steps; i++) {
		if (s->without[i] ||
		    (kind != OP_KIND_MAX_ && op_make(s->seed, i).kind != kind))
			continue;
		any = true;
		s->without[i] = true;
	}
	if (any && !still_fails(s))
		memcpy(s->without, kept, s->steps);
}

static void leave_out(struct shrinking *s)
{
	for (int kind = 0; kind < OP_KIND_MAX_; kind++) {
		if (time(NULL) <= s->end)
			try_piece(s, 0, s->steps, (enum op_kind)kind);
	}
	for (uint32_t len = (s->steps + 1) / 2; len > 0; len /= 2) {
		for (uint32_t at = 0; at < s->steps; at += len) {
			if (time(NULL) > s->end)
				return;
			try_piece(s, at, len, OP_KIND_MAX_);
		}
	}
}

static void print_script(const struct shrinking *s)
{
	uint32_t left = 0;
	struct counts counts;
	char line[512];
	FILE *file;

	for (uint32_t i = 0; i < s->steps; i++)
		left += !s->without[i];
	printf("model: %u operations are left; as commands:\n\n", left);
	write_without(s);
	for (int i = 0; i < REPEATS; i++) {
		if (attempt(s->seed, s->steps, s->file, s->script, true,
			    &counts) == 1)
			break;
	}
	file = fopen(s->script, "r");
	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		printf("\t%s", line);
	if (file != NULL)
		fclose(file);
	putchar('\n');
}

/* With nothing shown before, it takes the same way as the run that failed. */
void shrink(uint64_t seed, uint32_t steps, const struct counts *was)
{
	struct shrinking s = {.seed = seed,
			      .steps = was->failed + 1 < steps ? was->failed + 1
							       : steps,
			      .finding = was->finding,
			      .end = time(NULL) + SECONDS};
	char folder[] = "/tmp/keyturn-shrink-XXXXXX";

	s.without = calloc(s.steps, sizeof(*s.without));
	if (s.without == NULL || mkdtemp(folder) == NULL)
		abort();
	snprintf(s.file, sizeof(s.file), "%s/without", folder);
	snprintf(s.script, sizeof(s.script), "%s/script", folder);
	printf("model: shrinking %u steps\n", s.steps);
	fflush(stdout);
	if (still_fails(&s)) {
		leave_out(&s);
		print_script(&s);
	} else {
		printf("model: it does not fail again\n");
	}
	unlink(s.file);
	unlink(s.script);
	rmdir(folder);
	free(s.without);
}

/* Ids are another run's, paths another folder's. */
static void write_word(const struct run *r, const char *word)
{
	size_t folder = strlen(r->folder);
	struct kt_id id;

	if (kt_id_parse(word, &id) == KT_OK)
		fputs(" \"$ID\"", r->script);
	else if (strncmp(word, r->folder, folder) == 0)
		fprintf(r->script, " %s", strrchr(word, '/') + 1);
	else
		fprintf(r->script, " %s", word);
}

static void write_crash(struct run *r, const struct op *op)
{
	if (op->kind == OP_SECOND_OPERATOR)
		fprintf(r->script, "KEYTURN_CRASH=sweep.committed:%u:STOP ",
			op->pass);
	else if (op->how == AT_POINT)
		fprintf(r->script, "KEYTURN_CRASH=%s:%u:KILL ",
			crash_point(r, op), op->pass);
	else if (op->how == AFTER_A_WHILE)
		fprintf(r->script, "timeout -s KILL %.3f ", op->delay_us / 1e6);
	else if (op->stop != 0 && op->kind >= OP_ROTATE &&
		 op->kind <= OP_REENCRYPT)
		fprintf(r->script, "KEYTURN_CRASH=sweep.committed:%u:TERM ",
			op->stop);
}

void script_write(struct run *r, const struct op *op)
{
	struct op shown = *op;
	struct command c;

	if (op->kind == OP_SECOND_OPERATOR)
		shown.kind = r->model.rotation[op->slot].unfinished ? OP_RESUME
								    : OP_ROTATE;
	if (!command_make(r, &shown, &c)) {
		fprintf(r->script, "# step %u: %s (project p%d, secret s%d)\n",
			r->step, op_name(op->kind), op->project, op->secret);
		return;
	}
	write_crash(r, op);
	fputs("keyturn", r->script);
	for (int i = 0; i < c.argc; i++)
		write_word(r, c.argv[i]);
	fprintf(r->script, " # step %u\n", r->step);
	fflush(r->script);
}
