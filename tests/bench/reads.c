/*
 * What readers notice of a rotation: the same reads, once a millisecond, with
 * nothing beside and while another process rotates the master key.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/text.h"
#include "core/open.h"
#include "tests/bench/bench.h"

#define READS_MAX 200000
#define READS_ALONE 4000
#define ROTATION_ROWS 40000 /* some seconds of a rotation on SoftHSM */

struct reads {
	struct kt_vault *vault;
	struct span begin;
	double us[READS_MAX];
	size_t count;
};

static int ascending(const void *a, const void *b)
{
	const double *left = a;
	const double *right = b;

	return (*left > *right) - (*left < *right);
}

static enum kt_err read_once(struct reads *reads)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct timespec pause = {.tv_nsec = 1000000};
	struct span begin = span_now();

	TRY(kt_secret_get(reads->vault, "bench", "ONE", 0, &value));
	reads->us[reads->count++] = span_since(begin).us;
	nanosleep(&pause, NULL);
	return KT_OK;
}

static enum kt_err read_alone(struct reads *reads, size_t count)
{
	reads->begin = span_now();
	while (reads->count < count)
		TRY(read_once(reads));
	return KT_OK;
}

/* From when the rotation, with a login and an open vault, is let go until it
 * ends. */
static enum kt_err read_beside(struct reads *reads, const char *rows)
{
	char jobs[24];
	const char *const arguments[] = {"rotate", "master", jobs, rows, NULL};
	struct child_process *rotation = NULL;
	struct err_saved saved = {.err = KT_OK};
	enum kt_err err;

	snprintf(jobs, sizeof(jobs), "%u", place.jobs);
	TRY(child_begin(arguments, &rotation));
	reads->begin = span_now();
	while (saved.err == KT_OK && reads->count < READS_MAX &&
	       child_runs(rotation))
		err_save(read_once(reads), &saved);
	err = child_finish(rotation);
	return saved.err != KT_OK ? err_restore(&saved) : err;
}

static enum kt_err print_reads(struct reads *reads)
{
	struct span span = span_since(reads->begin);
	size_t n = reads->count;

	if (n == 0)
		return err_raise(KT_ERR_FAILED, "nothing was read");
	qsort(reads->us, n, sizeof(*reads->us), ascending);
	figure_print("reads", (double)n, span.us, 0);
	figure_print("p50", 1, reads->us[n / 2], 0);
	figure_print("p99", 1, reads->us[(n * 99) / 100], 0);
	return KT_OK;
}

/* read COUNT ROWS: so often, or, COUNT 0, beside a rotation of ROWS */
static enum kt_err read_role(int argc, char **argv)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	static struct reads reads;
	struct kt_params params;
	long long count;

	if (argc != 2)
		return err_raise(KT_ERR_USAGE, "read COUNT ROWS");
	TRY(text_to_int(argv[0], 0, READS_MAX, "count", &count));
	place_params(&params);
	TRY(kt_vault_open(&params, &vault));
	reads.vault = vault;
	child_ready();
	if (count > 0)
		TRY(read_alone(&reads, (size_t)count));
	else
		TRY(read_beside(&reads, argv[1]));
	return print_reads(&reads);
}

const struct role read_roles[] = {{"read", read_role}, {NULL, NULL}};

static enum kt_err measure_reads(const char *name, int64_t count, int64_t rows)
{
	char count_text[24], rows_text[24];
	const char *const arguments[] = {"read", count_text, rows_text, NULL};
	const struct figure *reads, *p50, *p99;
	struct figures figures;

	snprintf(count_text, sizeof(count_text), "%lld", (long long)count);
	snprintf(rows_text, sizeof(rows_text), "%lld", (long long)rows);
	TRY(child_run(1, arguments, &figures));
	reads = figure_find(&figures, "reads");
	p50 = figure_find(&figures, "p50");
	p99 = figure_find(&figures, "p99");
	if (reads == NULL || p50 == NULL || p99 == NULL)
		return err_raise(KT_ERR_FAILED, "nothing was read");
	report_calls(name, &(struct calls){(int64_t)reads->rows,
					   reads->us / 1e6, p50->us, p99->us});
	return KT_OK;
}

enum kt_err section_reads(void)
{
	static const char *const set[] = {"set", "1", NULL};
	int64_t rows = place.brief ? 300 : ROTATION_ROWS;
	struct figures figures;

	TRY(place_vault(rows));
	TRY(child_run(1, set, &figures));
	TRY(measure_reads("secret get, nothing beside",
			  place.brief ? 100 : READS_ALONE, rows));
	return measure_reads("secret get, beside a rotation", 0, rows);
}
