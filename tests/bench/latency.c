/*
 * A token far away: every call of a rewrap takes longer by a fixed time, as
 * over a network, and the staging of a rotation by more and more workers. Two
 * figures of each: the steady rate, between two commits while every worker has
 * work, and the rate of the whole step, from before the first worker is started
 * until the last has ended.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "core/open.h"
#include "core/rotation.h"
#include "tests/bench/bench.h"

#define CALLS 3 /* C_UnwrapKey, C_WrapKey, C_DestroyObject */

/* Milliseconds of work. A batch is short, so that there are many commits; the
 * four that are under way at once are the tail, and as many are the lead. */
#define BATCH_MS 500
#define EDGE_MS 2000
#define STEADY_MS 6000
#define SEARCH_MS 8000 /* the lead where keyturn looks for the number */
#define LIMIT_MS 2000
#define BRIEF 10 /* times shorter */

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

/* Staging as it is watched. A batch is reported when it is committed, in
 * order. Rows of later batches that workers have done already count at neither
 * end of the window: since all workers have rows at both, they are about as
 * many. At the end of the sweep there are none, which is why that is no end of
 * a window. */
struct staging {
	int64_t from, to; /* rows: the window begins and ends within */
	int64_t first, last;
	struct span first_at, last_at;
	struct span whole;
	bool begun, over;
};

static void note_commit(struct staging *s, int64_t done)
{
	if (done < s->from || done > s->to)
		return;
	if (s->first == 0) {
		s->first = done;
		s->first_at = span_now();
	}
	s->last = done;
	s->last_at = span_now();
}

static void staging_report(void *arg, const char *step, int64_t done,
			   int64_t total)
{
	struct staging *s = arg;

	if (total > 0 && s->begun && !s->over) {
		note_commit(s, done);
	} else if (strcmp(step, "rewrap") == 0) {
		s->begun = true;
		s->whole = span_now();
	} else if (s->begun && !s->over) {
		s->over = true;
		s->whole = span_since(s->whole);
	}
}

static bool staging_over(void *arg)
{
	const struct staging *s = arg;

	return s->over;
}

static enum kt_err print_staging(const struct staging *s, int64_t rows)
{
	if (!s->over || s->last == s->first)
		return err_raise(KT_ERR_FAILED, "too few batches");
	figure_print("steady", (double)(s->last - s->first),
		     s->last_at.us - s->first_at.us, NAN);
	figure_print("whole", (double)rows, s->whole.us, s->whole.cpu_us);
	return KT_OK;
}

struct sweep_plan {
	int jobs; /* 0: as keyturn chooses */
	int64_t rows, batch, from, to;
};

#define PLAN_ARGUMENTS 5 /* its members, as arguments of a child */

static enum kt_err plan_read(char **argv, struct sweep_plan *ret)
{
	long long value[PLAN_ARGUMENTS];

	for (size_t i = 0; i < PLAN_ARGUMENTS; i++)
		TRY(text_to_int(argv[i], 0, 10000000, "plan", &value[i]));
	*ret = (struct sweep_plan){
		.jobs = (int)value[0],
		.rows = value[1],
		.batch = value[2],
		.from = value[3],
		.to = value[4],
	};
	return KT_OK;
}

/* stage JOBS ROWS BATCH FROM TO: a rotation that is stopped once it has
 * staged */
static enum kt_err stage_role(int argc, char **argv)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	struct kt_rotate_options options = {.reason = "bench"};
	struct staging staging = {0};
	struct kt_progress progress = {
		.report = staging_report,
		.stop = staging_over,
		.arg = &staging,
	};
	struct kt_rotation rotation;
	struct sweep_plan plan;
	struct kt_params params;
	enum kt_err err;

	if (argc != PLAN_ARGUMENTS)
		return err_raise(KT_ERR_USAGE, "stage JOBS ROWS BATCH FROM TO");
	TRY(plan_read(argv, &plan));
	options.jobs = plan.jobs;
	options.batch_size = plan.batch;
	staging.from = plan.from;
	staging.to = plan.to;
	place_params(&params);
	TRY(kt_vault_open(&params, &vault));
	child_ready();
	err = kt_rotation_start(vault, KT_ROTATION_MASTER, NULL, &options,
				&progress, &rotation);
	return err == KT_ERR_INTERRUPTED ? print_staging(&staging, plan.rows)
					 : err;
}

const struct role latency_roles[] = {{"stage", stage_role}, {NULL, NULL}};

/* Rows for so long, of which one takes us. */
static int64_t rows_in(int ms, double us)
{
	int64_t rows = (int64_t)(ms * 1000.0 / us);

	if (place.brief)
		rows /= BRIEF;
	return rows > 0 ? rows : 1;
}

static struct sweep_plan plan_make(int jobs, const struct span *limit)
{
	int64_t lead = rows_in(jobs == 0 ? SEARCH_MS : EDGE_MS, limit->us);
	int64_t steady = rows_in(STEADY_MS, limit->us);
	int64_t tail = rows_in(EDGE_MS, limit->us);
	int64_t batch = rows_in(BATCH_MS, limit->us);

	return (struct sweep_plan){
		.jobs = jobs,
		.rows = lead + steady + tail,
		.batch = batch < 1000 ? batch : 1000,
		.from = lead,
		.to = lead + steady,
	};
}

/* The bare loop through the same proxy, by as many processes: a sleep is never
 * exact, least of all on a busy machine. Their rates are summed: the slowest of
 * many says little of the rest. */
static enum kt_err measure_limit(unsigned processes, unsigned ms,
				 struct span *ret)
{
	double us = CALLS * ms * 1000.0 / processes;
	struct figure figure;

	TRY(token_far(ms));
	TRY(raw_measure("token", processes, 1,
			rows_in(LIMIT_MS, us) + processes, &figure));
	token_near();
	*ret = (struct span){1 / figure.rate, figure.cpu_us / figure.rows};
	return KT_OK;
}

static enum kt_err run_plan(const struct sweep_plan *plan, unsigned ms,
			    struct figures *ret)
{
	const long long values[PLAN_ARGUMENTS] = {
		plan->jobs, plan->rows, plan->batch, plan->from, plan->to};
	char text[PLAN_ARGUMENTS][24];
	const char *const arguments[] = {"stage", text[0], text[1], text[2],
					 text[3], text[4], NULL};

	for (size_t i = 0; i < PLAN_ARGUMENTS; i++)
		snprintf(text[i], sizeof(text[i]), "%lld", values[i]);
	TRY(place_vault(plan->rows));
	TRY(token_far(ms));
	TRY(child_run(1, arguments, ret));
	token_near();
	return KT_OK;
}

static enum kt_err report_part(const char *what, const char *part,
			       const struct figures *figures,
			       const struct span *limit)
{
	const struct figure *figure = figure_find(figures, part);
	char name[64];

	if (figure == NULL)
		return err_raise(KT_ERR_FAILED, "no figure '%s'", part);
	TRY(text_format(name, sizeof(name), "%s, %s", what, part));
	report_figure(name, (int64_t)figure->rows,
		      (struct span){figure->us / figure->rows,
				    figure->cpu_us / figure->rows},
		      limit);
	return KT_OK;
}

/* The limit is measured before and after, and the better one counts. */
static enum kt_err measure(const char *what, int jobs, unsigned processes,
			   unsigned ms)
{
	struct sweep_plan plan;
	struct figures figures;
	struct span limit, after;

	TRY(measure_limit(processes, ms, &limit));
	plan = plan_make(jobs, &limit);
	TRY(run_plan(&plan, ms, &figures));
	TRY(measure_limit(processes, ms, &after));
	if (after.us < limit.us)
		limit = after;
	TRY(report_part(what, "steady", &figures, &limit));
	return report_part(what, "whole", &figures, &limit);
}

static enum kt_err measure_jobs(unsigned jobs, unsigned ms)
{
	char what[48];

	TRY(text_format(what, sizeof(what), "latency %u ms, %u jobs", ms,
			jobs));
	return measure(what, (int)jobs, jobs, ms);
}

/* Against what the most workers can do that keyturn takes unasked. */
static enum kt_err measure_auto(unsigned ms)
{
	char what[48];

	TRY(text_format(what, sizeof(what), "latency %u ms, auto to %u", ms,
			JOBS_AUTO_MAX));
	return measure(what, 0, JOBS_AUTO_MAX, ms);
}

enum kt_err section_latency(void)
{
	static const unsigned delays[] = {1, 5, 20};
	static const unsigned jobs[] = {1, 2, 4, 8, 16};

	if (place.brief)
		return measure_jobs(2, 1);
	for (size_t d = 0; d < sizeof(delays) / sizeof(delays[0]); d++) {
		for (size_t i = 0; i < sizeof(jobs) / sizeof(jobs[0]); i++)
			TRY(measure_jobs(jobs[i], delays[d]));
		TRY(measure_auto(delays[d]));
	}
	return KT_OK;
}
