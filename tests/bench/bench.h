/*
 * The frame of the bench. The program that reports does no work of its own: it
 * starts itself again for every measurement, so that each has a process with a
 * login, processor time and a memory peak of its own, and raw limits and
 * keyturn's figures can be measured in turns. A child prints a line per figure;
 * the parent takes medians and prints ratios.
 */
#ifndef TESTS_BENCH_BENCH_H
#define TESTS_BENCH_BENCH_H

#include <keyturn/keyturn.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "tests/unit/softhsm.h"

/* What a child measured: so many rows in so much time. us is the time of the
 * clock, cpu_us that of the processor, its own children's included. */
struct figure {
	char name[32];
	double rows, us, cpu_us;
	double rate; /* rows/us; of several children the sum of theirs */
};

#define FIGURES_MAX 32

struct figures {
	struct figure at[FIGURES_MAX];
	size_t count;
};

/* NULL when the child did not measure it. */
const struct figure *figure_find(const struct figures *figures,
				 const char *name);

/* The child's side: a line on stdout. */
void figure_print(const char *name, double rows, double us, double cpu_us);

struct span {
	double us, cpu_us;
};

struct span span_now(void);
struct span span_since(struct span begin);

/* Measurements of one thing, a row each; medians are taken of them. */
#define REPEATS_MAX 31

struct series {
	double us[REPEATS_MAX], cpu_us[REPEATS_MAX];
	size_t count;
};

void series_add(struct series *series, const struct figure *figure);
struct span series_median(const struct series *series);
double series_quantile(const struct series *series, double q); /* of us */

/* Single calls: how many within how long, and what they took. */
struct calls {
	int64_t count;
	double seconds, p50_us, p99_us;
};

/* The report: a table as it grows, JSON and Markdown at the end. limit NULL:
 * there is none. Times are of one row, cpu_us NAN where it was not measured;
 * the ratio is limit to figure, 1 being the limit. */
void report_figure(const char *name, int64_t rows, struct span is,
		   const struct span *limit);
void report_memory(const char *name, int64_t rows, double kib);
void report_calls(const char *name, const struct calls *calls);
enum kt_err report_json(const char *path);
enum kt_err report_markdown(const char *path);

/* Where a measurement finds its token and vault; the parent makes it. */
struct place {
	struct softhsm hsm;
	char store[160];
	char self[4096]; /* this program */
	char bin[4096];  /* the folder of keyturn and keyturn-worker */
	char worker[4128], command[4128], bare[4128];
	char pin_file[160];
	int repeats;
	bool brief; /* to see that it runs, not what it says */
	unsigned jobs;
};

extern struct place place;

/* Children find the same place by their environment. */
void place_make(void);
void place_find(void);
void place_done(void);
void place_params(struct kt_params *ret);

/* A fresh vault with one project; DEKs are filled in by a child. */
enum kt_err place_vault(int64_t rows);

#define CHILDREN_MAX 32

/* Starts itself count times with these arguments, ended by NULL; lets all go on
 * at once when they are ready and gathers what they print: rows are summed,
 * the time is the longest, processor times are summed. */
enum kt_err child_run(unsigned count, const char *const *arguments,
		      struct figures *ret);

/* One of them, beside which the caller goes on once it is let go. */
struct child_process;

enum kt_err child_begin(const char *const *arguments,
			struct child_process **ret);
bool child_runs(const struct child_process *child);

/* Waits for its end; what it printed is not wanted. */
enum kt_err child_finish(struct child_process *child);

/* Any program to its end; its output goes nowhere. */
enum kt_err program_run(const char *const *argv, struct figure *ret);

/* In a child: says it is ready and waits for the word to go. */
void child_ready(void);

/* What the program can be started as; ends with a NULL name. */
struct role {
	const char *name;
	enum kt_err (*run)(int argc, char **argv);
};

extern const struct role raw_roles[], store_roles[], vault_roles[],
	secret_roles[], latency_roles[], read_roles[];

/* The sections of the report. */
enum kt_err section_token(void);
enum kt_err section_store(int64_t rows);
enum kt_err section_rotation(int64_t rows);
enum kt_err section_secrets(void);
enum kt_err section_reads(void);
enum kt_err section_latency(void);

/* The raw loop a ratio is taken to, by as many processes as there are jobs. */
enum kt_err raw_measure(const char *kind, unsigned processes, unsigned threads,
			int64_t rows, struct figure *ret);

#endif
