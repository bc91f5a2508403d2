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

/* What was reported, for the JSON at the end. */
struct line {
	char text[384];
};

static struct line lines[256];
static size_t line_count;

static struct line *line_new(void)
{
	static struct line spilled;

	if (line_count == sizeof(lines) / sizeof(lines[0]))
		return &spilled;
	return &lines[line_count++];
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
	struct line *line = line_new();

	print_header();
	if (limit == NULL) {
		printf("%-34s %8lld %9.0f %9s %5s %9.1f\n", name,
		       (long long)rows, 1e6 / is.us, "", "", is.cpu_us);
		snprintf(line->text, sizeof(line->text),
			 "{\"name\": \"%s\", \"rows\": %lld, \"us\": %.2f, "
			 "\"cpu_us\": %.2f}",
			 name, (long long)rows, is.us, is.cpu_us);
	} else {
		printf("%-34s %8lld %9.0f %9.0f %5.2f %9.1f %9.1f %5.2f\n",
		       name, (long long)rows, 1e6 / is.us, 1e6 / limit->us,
		       limit->us / is.us, is.cpu_us, limit->cpu_us,
		       limit->cpu_us / is.cpu_us);
		snprintf(line->text, sizeof(line->text),
			 "{\"name\": \"%s\", \"rows\": %lld, \"us\": %.2f, "
			 "\"cpu_us\": %.2f, \"limit_us\": %.2f, "
			 "\"limit_cpu_us\": %.2f, \"ratio\": %.3f, "
			 "\"cpu_ratio\": %.3f}",
			 name, (long long)rows, is.us, is.cpu_us, limit->us,
			 limit->cpu_us, limit->us / is.us,
			 limit->cpu_us / is.cpu_us);
	}
	fflush(stdout);
}

void report_memory(const char *name, int64_t rows, double kib)
{
	printf("%-34s %8lld %9.1f MiB\n", name, (long long)rows, kib / 1024);
	snprintf(line_new()->text, sizeof(lines[0].text),
		 "{\"name\": \"%s\", \"rows\": %lld, \"mib\": %.2f}", name,
		 (long long)rows, kib / 1024);
	fflush(stdout);
}

void report_latency(const char *name, double p50_us, double p99_us)
{
	printf("%-34s %8s p50 %9.3f ms, p99 %9.3f ms\n", name, "",
	       p50_us / 1000, p99_us / 1000);
	snprintf(line_new()->text, sizeof(lines[0].text),
		 "{\"name\": \"%s\", \"p50_us\": %.1f, \"p99_us\": %.1f}", name,
		 p50_us, p99_us);
	fflush(stdout);
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
	for (size_t i = 0; i < line_count; i++)
		fprintf(f, "  %s%s\n", lines[i].text,
			i + 1 < line_count ? "," : "");
	fputs("]}\n", f);
	return fclose(f) == 0 ? KT_OK : err_errno("cannot write %s", path);
}
