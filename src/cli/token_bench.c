/*
 * keyturn token: the operator's own token, measured.
 */
#include <stdio.h>

#include <keyturn/bench.h>
#include <keyturn/rotation.h>

#include "base/text.h"
#include "cli/commands.h"
#include "cli/table.h"

struct bench_options {
	int64_t jobs, seconds;
};

static const struct option_def bench_option[] = {
	{"jobs", 0, OPT_INT, offsetof(struct bench_options, jobs), "N",
	 "calls at the token at once, 1 to 64 (default auto: what pays)",
	 .min = 1, .max = KT_JOBS_MAX, .word = "auto"},
	{"seconds", 0, OPT_INT, offsetof(struct bench_options, seconds), "N",
	 "time for each number of jobs, 1 to 600 (default 1)", .min = 1,
	 .max = 600},
};

/* Numbers with a fraction are text here, whole ones in JSON. */
struct bench_row {
	int64_t jobs, rows, rows_per_s, row_us, start_ms;
};

#define ROW(member) offsetof(struct bench_row, member)

static const struct column bench_columns[] = {
	{"jobs", "JOBS", COLUMN_INT, ROW(jobs)},
	{"rows_per_s", "ROWS/S", COLUMN_INT, ROW(rows_per_s)},
	{"row_us", "US/ROW", COLUMN_INT, ROW(row_us)},
	{"start_ms", "START MS", COLUMN_INT, ROW(start_ms)},
	{"rows", "MEASURED", COLUMN_INT, ROW(rows)},
};

static enum kt_err add_bench(void *arg, const struct kt_bench *bench)
{
	const struct bench_row row = {
		.jobs = bench->jobs,
		.rows = bench->rows,
		.rows_per_s = (int64_t)bench->rows_per_s,
		.row_us = (int64_t)(bench->row_ms * 1000),
		.start_ms = (int64_t)(bench->start_s * 1000),
	};

	return table_add(arg, &row);
}

/* "0.4 s", "12 s", "1 h 05 min" */
static void seconds_format(double seconds, char *ret, size_t size)
{
	long long whole = (long long)(seconds + 0.5);

	if (seconds < 10)
		snprintf(ret, size, "%.1f s", seconds);
	else if (whole < 120)
		snprintf(ret, size, "%lld s", whole);
	else if (whole < 7200)
		snprintf(ret, size, "%lld min %02lld s", whole / 60,
			 whole % 60);
	else
		snprintf(ret, size, "%lld h %02lld min", whole / 3600,
			 whole / 60 % 60);
}

static enum kt_err bench_run(struct cli *cli, const void *opts,
			     const char *const *args)
{
	CLEANUP(table_freep) struct table *table = NULL;
	const struct bench_options *o = opts;
	struct kt_bench_options options = {
		.jobs = (int)(o->jobs == OPT_WORD ? 0 : o->jobs),
		.milliseconds = 1000 * o->seconds,
	};
	const struct config *config;
	struct kt_forecast forecast;
	struct kt_vault *vault;
	char time[48];

	(void)args;
	TRY(cli_config(cli, &config));
	options.sessions = (int)config->rotation.sessions;
	TRY(cli_vault(cli, &vault));
	TRY(table_new(cli, bench_columns, COLUMNS(bench_columns), &table));
	TRY(kt_token_bench(vault, &options, add_bench, table, &forecast));
	TRY(table_print(table));
	seconds_format(forecast.seconds, time, sizeof(time));
	cli_say(cli,
		"A rotation of the master key, %s with %s: about %s to the "
		"cut-over.",
		text_counted(forecast.rows, "row", "rows").text,
		text_counted(forecast.jobs, "job", "jobs").text, time);
	return KT_OK;
}

const struct command token_bench_command = {
	.path = "token bench",
	.help = "measure how fast the token rewraps, and what a rotation takes",
	.details = "Keys that are made for it are unwrapped and wrapped by the "
		   "vault's own\nwrapping key and thrown away; neither the "
		   "token nor the database changes.\n",
	.examples = "keyturn token bench\n"
		    "keyturn token bench --jobs 8 --seconds 10\n"
		    "keyturn token bench --json\n",
	OPTIONS(bench_option, struct bench_options, (.seconds = 1)),
	.lists = true,
	.run = bench_run,
};
