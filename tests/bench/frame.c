/*
 * Time, medians and the report.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "tests/bench/bench.h"

static double cpu_us(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

struct span span_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (struct span){
		.us = (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3,
		.cpu_us = cpu_us(RUSAGE_SELF) + cpu_us(RUSAGE_CHILDREN),
	};
}

struct span span_since(struct span begin)
{
	struct span now = span_now();

	return (struct span){now.us - begin.us, now.cpu_us - begin.cpu_us};
}

void figure_print(const char *name, double rows, double us, double cpu_us_)
{
	printf("%s %.0f %.3f %.3f\n", name, rows, us, cpu_us_);
	fflush(stdout);
}

const struct figure *figure_find(const struct figures *figures,
				 const char *name)
{
	for (size_t i = 0; i < figures->count; i++) {
		if (strcmp(figures->at[i].name, name) == 0)
			return &figures->at[i];
	}
	return NULL;
}

void series_add(struct series *series, const struct figure *figure)
{
	if (figure == NULL || series->count == REPEATS_MAX)
		return;
	series->us[series->count] = figure->us / figure->rows;
	series->cpu_us[series->count] = figure->cpu_us / figure->rows;
	series->count++;
}

static int ascending(const void *a, const void *b)
{
	const double *left = a;
	const double *right = b;

	return (*left > *right) - (*left < *right);
}

static double quantile(const double *values, size_t count, double q)
{
	double sorted[REPEATS_MAX];

	if (count == 0)
		return NAN;
	memcpy(sorted, values, count * sizeof(*sorted));
	qsort(sorted, count, sizeof(*sorted), ascending);
	return sorted[(size_t)((double)(count - 1) * q + 0.5)];
}

struct span series_median(const struct series *series)
{
	return (struct span){quantile(series->us, series->count, 0.5),
			     quantile(series->cpu_us, series->count, 0.5)};
}

double series_quantile(const struct series *series, double q)
{
	return quantile(series->us, series->count, q);
}

/* What was reported, for the files at the end. */
struct line {
	char name[48];
	int64_t rows;
	struct span is, limit; /* limit.us 0: there is none */
	double mib;            /* memory: nothing else */
	struct calls calls;    /* single calls: nothing else */
};

static struct line lines[256];
static size_t line_count;

static struct line *line_new(const char *name, int64_t rows)
{
	static struct line spilled;
	const size_t room = sizeof(lines) / sizeof(lines[0]);
	struct line *line = line_count < room ? &lines[line_count++] : &spilled;

	*line = (struct line){.rows = rows};
	snprintf(line->name, sizeof(line->name), "%s", name);
	return line;
}

/* A cell of a table; empty when there is nothing to say. */
struct cell {
	char text[24];
};

static struct cell number(double value, int decimals)
{
	struct cell cell = {""};

	if (isfinite(value))
		snprintf(cell.text, sizeof(cell.text), "%.*f", decimals, value);
	return cell;
}

/* Of a row's time; a slow one to a tenth. */
static struct cell rate(double us)
{
	double rows = 1e6 / us;

	return number(rows, rows < 1000 ? 1 : 0);
}

static struct cell ratio(double limit, double is)
{
	return number(limit > 0 ? limit / is : NAN, 2);
}

static struct cell cost(double us)
{
	return number(us > 0 ? us : NAN, 1);
}

/* keyturn, limit, ratio: of the rate and of the processor time. */
#define CELLS 6

static void line_cells(const struct line *line, struct cell ret[CELLS])
{
	const struct span *is = &line->is, *limit = &line->limit;
	bool processor = isfinite(is->cpu_us);

	ret[0] = rate(is->us);
	ret[1] = rate(limit->us);
	ret[2] = ratio(limit->us, is->us);
	ret[3] = cost(is->cpu_us);
	ret[4] = cost(processor ? limit->cpu_us : NAN);
	ret[5] = ratio(processor ? limit->cpu_us : NAN, is->cpu_us);
}

static void print_header(void)
{
	static bool printed;

	if (!printed)
		printf("%-34s %8s %9s %9s %5s %9s %9s %5s\n", "", "rows",
		       "rows/s", "limit/s", "ratio", "cpu us", "limit us",
		       "ratio");
	printed = true;
}

void report_figure(const char *name, int64_t rows, struct span is,
		   const struct span *limit)
{
	struct line *line = line_new(name, rows);
	struct cell cell[CELLS];

	line->is = is;
	if (limit != NULL)
		line->limit = *limit;
	line_cells(line, cell);
	print_header();
	printf("%-34s %8lld %9s %9s %5s %9s %9s %5s\n", name, (long long)rows,
	       cell[0].text, cell[1].text, cell[2].text, cell[3].text,
	       cell[4].text, cell[5].text);
	fflush(stdout);
}

void report_memory(const char *name, int64_t rows, double kib)
{
	struct line *line = line_new(name, rows);

	line->mib = kib / 1024;
	printf("%-34s %8lld %9.1f MiB\n", name, (long long)rows, line->mib);
	fflush(stdout);
}

void report_calls(const char *name, const struct calls *calls)
{
	line_new(name, calls->count)->calls = *calls;
	printf("%-34s %8lld in %.1f s: p50 %.3f ms, p99 %.3f ms\n", name,
	       (long long)calls->count, calls->seconds, calls->p50_us / 1000,
	       calls->p99_us / 1000);
	fflush(stdout);
}

static void json_number(FILE *f, const char *name, double value, int decimals)
{
	if (isfinite(value) && value > 0)
		fprintf(f, ", \"%s\": %.*f", name, decimals, value);
}

/* What was not measured is not there. */
static void json_line(FILE *f, const struct line *line)
{
	const struct span *is = &line->is, *limit = &line->limit;

	fprintf(f, "  {\"name\": \"%s\", \"rows\": %lld", line->name,
		(long long)line->rows);
	json_number(f, "us", is->us, 2);
	json_number(f, "cpu_us", is->cpu_us, 2);
	json_number(f, "limit_us", limit->us, 2);
	json_number(f, "limit_cpu_us", limit->cpu_us, 2);
	json_number(f, "ratio", limit->us / is->us, 3);
	json_number(f, "cpu_ratio", limit->cpu_us / is->cpu_us, 3);
	json_number(f, "mib", line->mib, 2);
	json_number(f, "seconds", line->calls.seconds, 2);
	json_number(f, "p50_us", line->calls.p50_us, 1);
	json_number(f, "p99_us", line->calls.p99_us, 1);
	fputc('}', f);
}

enum kt_err report_json(const char *path)
{
	FILE *f = fopen(path, "w");
	struct utsname machine;

	if (f == NULL || uname(&machine) != 0)
		return err_errno("cannot write %s", path);
	fprintf(f,
		"{\"version\": \"%s\", \"system\": \"%s %s %s\", "
		"\"processors\": %ld, \"jobs\": %u, \"figures\": [\n",
		kt_version(), machine.sysname, machine.release, machine.machine,
		sysconf(_SC_NPROCESSORS_ONLN), place.jobs);
	for (size_t i = 0; i < line_count; i++) {
		json_line(f, &lines[i]);
		fputs(i + 1 < line_count ? ",\n" : "\n", f);
	}
	fputs("]}\n", f);
	return fclose(f) == 0 ? KT_OK : err_errno("cannot write %s", path);
}

static void markdown_line(FILE *f, const struct line *line)
{
	struct cell cell[CELLS];

	if (line->mib > 0)
		fprintf(f, "| %s | %lld | %.1f MiB | | | | | |\n", line->name,
			(long long)line->rows, line->mib);
	if (line->calls.count > 0)
		fprintf(f,
			"| %s | %lld | p50 %.3f ms, p99 %.3f ms | | | | | |\n",
			line->name, (long long)line->rows,
			line->calls.p50_us / 1000, line->calls.p99_us / 1000);
	if (line->is.us <= 0)
		return;
	line_cells(line, cell);
	fprintf(f, "| %s | %lld |", line->name, (long long)line->rows);
	for (size_t i = 0; i < CELLS; i++)
		fprintf(f, "%s%s |", cell[i].text[0] != '\0' ? " " : "",
			cell[i].text);
	fputc('\n', f);
}

enum kt_err report_markdown(const char *path)
{
	FILE *f = fopen(path, "w");

	if (f == NULL)
		return err_errno("cannot write %s", path);
	fputs("| | rows | rows/s | limit | ratio | CPU us | limit | ratio |\n"
	      "|---|---|---|---|---|---|---|---|\n",
	      f);
	for (size_t i = 0; i < line_count; i++)
		markdown_line(f, &lines[i]);
	return fclose(f) == 0 ? KT_OK : err_errno("cannot write %s", path);
}
