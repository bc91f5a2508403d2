/*
 * A token far away: every call of a rewrap takes longer by a fixed time, as
 * over a network, and rotations by more and more workers. And what readers
 * notice of a rotation.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "tests/bench/bench.h"

#define CALLS 3 /* C_UnwrapKey, C_WrapKey, C_DestroyObject */
#define READS_MAX 200000

extern char **environ;

static enum kt_err write_plan(unsigned ms, char *ret, size_t size)
{
	static const char *const calls[CALLS] = {"C_UnwrapKey", "C_WrapKey",
						 "C_DestroyObject"};
	FILE *f;

	TRY(text_format(ret, size, "%s/plan-%u", place.hsm.folder, ms));
	f = fopen(ret, "w");
	if (f == NULL)
		return err_errno("cannot write %s", ret);
	for (size_t i = 0; i < CALLS; i++)
		fprintf(f, "%s * before delay %u\n", calls[i], ms);
	return fclose(f) == 0 ? KT_OK : err_errno("cannot write %s", ret);
}

static void token_near(void)
{
	unsetenv("KT_BENCH_MODULE");
	unsetenv("P11FAULT_MODULE");
	unsetenv("P11FAULT_PLAN");
}

static enum kt_err token_far(unsigned ms)
{
	char plan[160];

	TRY(write_plan(ms, plan, sizeof(plan)));
	setenv("KT_BENCH_MODULE", KEYTURN_P11FAULT, 1);
	setenv("P11FAULT_MODULE", place.hsm.params.module, 1);
	setenv("P11FAULT_PLAN", plan, 1);
	return KT_OK;
}

/* Rows for about a second and a half by so many workers. */
static int64_t rows_for(unsigned jobs, unsigned ms)
{
	return 1500 * (int64_t)jobs / (CALLS * (int64_t)ms) + 4 * jobs;
}

/* The bare loop through the same proxy, by as many processes: a sleep is never
 * exact, least of all on a busy machine. */
static enum kt_err measure_limit(unsigned jobs, unsigned ms, struct span *ret)
{
	struct figure figure;

	TRY(token_far(ms));
	TRY(raw_measure("token", jobs, 1, rows_for(jobs, ms) / 2, &figure));
	token_near();
	*ret = (struct span){figure.us / figure.rows,
			     figure.cpu_us / figure.rows};
	return KT_OK;
}

static enum kt_err rotate_far(unsigned jobs, unsigned ms, int64_t rows,
			      const char *which, struct span *ret)
{
	struct figures figures;
	const struct figure *figure;
	char job_text[24], count[24];
	const char *const arguments[] = {"rotate", "paced", job_text, count,
					 NULL};

	snprintf(count, sizeof(count), "%lld", (long long)rows);
	snprintf(job_text, sizeof(job_text), "%u", jobs);
	TRY(place_vault(rows));
	TRY(token_far(ms));
	TRY(child_run(1, arguments, &figures));
	token_near();
	figure = figure_find(&figures, which);
	if (figure == NULL)
		return err_raise(KT_ERR_FAILED, "no figure '%s'", which);
	*ret = (struct span){figure->us / figure->rows,
			     figure->cpu_us / figure->rows};
	return KT_OK;
}

/* From the first batch that was committed: before it workers start. */
static enum kt_err measure(unsigned jobs, unsigned ms, struct span *ret_limit)
{
	int64_t rows = rows_for(jobs, ms);
	struct span is;
	char name[64];

	TRY(measure_limit(jobs, ms, ret_limit));
	TRY(rotate_far(jobs, ms, rows, "steady", &is));
	snprintf(name, sizeof(name), "latency %u ms, %u jobs", ms, jobs);
	report_figure(name, rows, is, ret_limit);
	return KT_OK;
}

/* The second half of a longer one, by when the knee should be found; against
 * what the most jobs measured can do. */
static enum kt_err measure_auto(unsigned ms, const struct span *limit)
{
	int64_t rows = 4 * rows_for(16, ms);
	struct span is;
	char name[64];

	TRY(rotate_far(0, ms, rows, "late", &is));
	snprintf(name, sizeof(name), "latency %u ms, jobs auto to 16", ms);
	report_figure(name, rows, is, limit);
	return KT_OK;
}

static int ascending(const void *a, const void *b)
{
	const double *left = a;
	const double *right = b;

	return (*left > *right) - (*left < *right);
}

static enum kt_err read_timed(struct kt_vault *vault, double *ret_us)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct span begin = span_now();

	TRY(kt_secret_get(vault, "bench", "ONE", 0, &value));
	*ret_us = span_since(begin).us;
	return KT_OK;
}

static bool has_ended(pid_t pid)
{
	return pid != 0 && waitpid(pid, NULL, WNOHANG) != 0;
}

/* Reads once a millisecond until the other ends, or so often. */
static enum kt_err read_until(struct kt_vault *vault, pid_t pid, size_t max)
{
	static double us[READS_MAX];
	struct timespec pause = {.tv_nsec = 1000000};
	size_t n = 0;

	while (n < max && !has_ended(pid)) {
		TRY(read_timed(vault, &us[n++]));
		nanosleep(&pause, NULL);
	}
	if (n == 0)
		return err_raise(KT_ERR_FAILED, "nothing was read");
	qsort(us, n, sizeof(*us), ascending);
	figure_print("p50", 1, us[n / 2], 0);
	figure_print("p99", 1, us[(n * 99) / 100], 0);
	return KT_OK;
}

static enum kt_err spawn_rotation(char *rows, pid_t *ret)
{
	char jobs[24];
	char *argv[] = {
		place.self, (char *)"rotate", (char *)"master", jobs, rows,
		NULL};
	posix_spawn_file_actions_t actions;
	int error;

	snprintf(jobs, sizeof(jobs), "%u", place.jobs);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null",
					 O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null",
					 O_WRONLY, 0);
	error = posix_spawn(ret, place.self, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error == 0 ? KT_OK : err_raise(KT_ERR_FAILED, "cannot start");
}

/* read ROWS: beside a rotation of as many; 0: without one */
static enum kt_err read_role(int argc, char **argv)
{
	struct kt_vault *vault = NULL;
	struct kt_params params;
	pid_t pid = 0;
	enum kt_err err;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "read ROWS");
	place_params(&params);
	TRY(kt_vault_open(&params, &vault));
	child_ready();
	err = strcmp(argv[0], "0") != 0 ? spawn_rotation(argv[0], &pid) : KT_OK;
	if (err == KT_OK)
		err = read_until(vault, pid, pid != 0 ? READS_MAX : 500);
	kt_vault_close(vault);
	return err;
}

const struct role latency_roles[] = {{"read", read_role}, {NULL, NULL}};

static enum kt_err report_reads(const char *name, const char *rows)
{
	const char *const arguments[] = {"read", rows, NULL};
	const struct figure *p50, *p99;
	struct figures figures;

	TRY(child_run(1, arguments, &figures));
	p50 = figure_find(&figures, "p50");
	p99 = figure_find(&figures, "p99");
	if (p50 == NULL || p99 == NULL)
		return err_raise(KT_ERR_FAILED, "nothing was read");
	report_latency(name, p50->us, p99->us);
	return KT_OK;
}

static enum kt_err section_reads(int64_t rows)
{
	const char *const set[] = {"set", "1", NULL};
	struct figures figures;
	char count[24];

	snprintf(count, sizeof(count), "%lld", (long long)rows);
	TRY(place_vault(rows));
	TRY(child_run(1, set, &figures));
	TRY(report_reads("secret get, nothing beside", "0"));
	return report_reads("secret get, beside a rotation", count);
}

static enum kt_err section_delay(unsigned ms)
{
	static const unsigned jobs[] = {1, 2, 4, 8, 16};
	struct span limit;

	for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
		TRY(measure(jobs[i], ms, &limit));
	return measure_auto(ms, &limit);
}

enum kt_err section_latency(int64_t rows)
{
	struct span limit;

	TRY(section_reads(rows));
	if (place.brief)
		return measure(2, 1, &limit);
	TRY(section_delay(1));
	TRY(section_delay(5));
	return section_delay(20);
}
