/*
 * Rotations of a vault of a given size. The rows are real: every DEK is a key
 * that the token made and wrapped under each of its keys. Only the values are
 * missing, which a rotation never reads.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/text.h"
#include "core/keys.h"
#include "core/open.h"
#include "hsm/wrap_key.h"
#include "tests/bench/bench.h"

#define PROJECT "bench"
#define FILL_BATCH 2000

struct fill {
	struct kt_vault *vault;
	struct wrap_set set;
	struct blob blobs[WRAP_SET_MAX];
};

/* Made and wrapped, not proven: half the token calls of a secret's DEK. */
static enum kt_err make_dek(struct session *s, void *arg)
{
	CLEANUP(object_drop) struct object object = {0};
	struct fill *fill = arg;

	TRY(subject_generate(fill->set.key[0], s, &object));
	for (size_t i = 0; i < fill->set.count; i++)
		TRY(subject_wrap(fill->set.key[i], s, object.handle,
				 &fill->blobs[i]));
	return KT_OK;
}

static enum kt_err add_dek(struct fill *fill)
{
	struct key_row key;
	struct kt_id owner;

	TRY(token_retry(fill->vault->token, make_dek, fill));
	TRY(id_new(&owner));
	TRY(key_row_new(KT_KEY_DEK, &owner, 1, &key));
	key.proven = key.activated = key.created;
	TRY(store_insert(fill->vault->store, ROW_KEY, &key));
	return wrap_set_store(fill->vault, &fill->set, &key.id, fill->blobs);
}

static enum kt_err fill_batch(struct fill *fill, long long rows)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(fill->vault->store, STORE_WRITE, &tx));
	for (long long i = 0; i < rows; i++)
		TRY(add_dek(fill));
	return store_commit(&tx);
}

static enum kt_err open_vault(struct kt_vault **ret)
{
	struct kt_params params;

	place_params(&params);
	return kt_vault_open(&params, ret);
}

/* fill ROWS */
static enum kt_err fill_role(int argc, char **argv)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	struct fill fill = {0};
	struct kt_project project;
	long long rows;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "fill ROWS");
	TRY(text_to_int(argv[0], 0, 10000000, "rows", &rows));
	TRY(open_vault(&vault));
	TRY(kt_project_get(vault, PROJECT, &project));
	fill.vault = vault;
	TRY(wrap_set_read(vault, KT_KEY_DEK, &project.id, &fill.set));
	for (; rows > 0; rows -= FILL_BATCH)
		TRY(fill_batch(&fill, rows < FILL_BATCH ? rows : FILL_BATCH));
	return KT_OK;
}

/* new: makes the vault */
static enum kt_err new_role(int argc, char **argv)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	struct kt_init_options options = {.recovery_wraps = KT_RECOVERY_ON};
	struct kt_project project;
	struct kt_params params;
	struct kt_status status;

	(void)argc;
	(void)argv;
	place_params(&params);
	TRY(kt_vault_init(&params, &options, &status));
	TRY(kt_vault_open(&params, &vault));
	return kt_project_create(vault, PROJECT, &project);
}

static enum kt_err run_quietly(const char *role, const char *argument)
{
	const char *const arguments[] = {role, argument, NULL};
	struct figures figures;

	return child_run(1, arguments, &figures);
}

enum kt_err place_vault(int64_t rows)
{
	char count[24];

	unlink(place.store);
	snprintf(count, sizeof(count), "%lld", (long long)rows);
	TRY(run_quietly("new", NULL));
	return run_quietly("fill", count);
}

/* Steps as the engine reports them: one ends where the next begins, with its
 * workers, so that their processor time is known. */
struct watch {
	char step[32];
	int64_t rows;
	struct span begin, whole;
};

static void step_end(struct watch *w)
{
	struct span span = span_since(w->begin);

	for (char *c = w->step; *c != '\0'; c++)
		*c = *c == ' ' ? '-' : *c;
	if (w->step[0] != '\0')
		figure_print(w->step, w->rows > 0 ? (double)w->rows : 1,
			     span.us, span.cpu_us);
}

static void watch_report(void *arg, const char *step, int64_t done,
			 int64_t total)
{
	struct watch *w = arg;

	if (done == 0 && total == 0) {
		step_end(w);
		if (strcmp(step, "retire old key") == 0)
			w->whole = span_since(w->whole);
		text_cut(w->step, sizeof(w->step), step);
		w->rows = 0;
		w->begin = span_now();
	} else if (w->step[0] == '\0') { /* a dry run has one step */
		text_cut(w->step, sizeof(w->step), step);
	}
	if (total > w->rows)
		w->rows = total;
}

/* The program's peak, and that of the largest of its workers times their
 * number, which is more than all took at once. */
static void print_memory(unsigned jobs)
{
	struct rusage self, workers;

	getrusage(RUSAGE_SELF, &self);
	getrusage(RUSAGE_CHILDREN, &workers);
	figure_print("memory", 1, (double)self.ru_maxrss,
		     (double)workers.ru_maxrss * jobs);
}

static enum kt_err turn(struct kt_vault *vault, const char *what,
			const struct kt_rotate_options *options,
			const struct kt_progress *progress)
{
	struct kt_rotation rotation;

	if (strcmp(what, "dry") == 0)
		return kt_rotation_dry_run(vault, KT_ROTATION_MASTER, NULL,
					   options, progress, NULL, NULL);
	if (strcmp(what, "project") != 0)
		return kt_rotation_start(vault, KT_ROTATION_MASTER, NULL,
					 options, progress, &rotation);
	return kt_rotation_start(vault, KT_ROTATION_PROJECT, PROJECT, options,
				 progress, &rotation);
}

/* rotate master|project|dry JOBS ROWS */
static enum kt_err rotate_role(int argc, char **argv)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	struct watch watch = {0};
	struct kt_progress progress = {.report = watch_report, .arg = &watch};
	struct kt_rotate_options options = {.reason = "bench"};
	long long jobs, rows;

	if (argc != 3)
		return err_raise(KT_ERR_USAGE, "rotate WHAT JOBS ROWS");
	TRY(text_to_int(argv[1], 1, 64, "jobs", &jobs));
	TRY(text_to_int(argv[2], 1, 10000000, "rows", &rows));
	options.jobs = (int)jobs;
	TRY(open_vault(&vault));
	child_ready();
	watch.begin = watch.whole = span_now();
	TRY(turn(vault, argv[0], &options, &progress));
	step_end(&watch);
	figure_print("whole", (double)rows, watch.whole.us, watch.whole.cpu_us);
	print_memory((unsigned)jobs);
	return KT_OK;
}

/* open: what opening takes */
static enum kt_err open_role(int argc, char **argv)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	struct span begin;

	(void)argc;
	(void)argv;
	child_ready();
	begin = span_now();
	TRY(open_vault(&vault));
	begin = span_since(begin);
	figure_print("open", 1, begin.us, begin.cpu_us);
	return KT_OK;
}

const struct role vault_roles[] = {{"new", new_role},
				   {"fill", fill_role},
				   {"rotate", rotate_role},
				   {"open", open_role},
				   {NULL, NULL}};

/* One size, measured in turns. */
struct measured {
	struct series raw, raw_session, raw_trial;
	struct series stage, verify, master, contract, project_stage,
		project_verify, project, dry, open;
	double memory;
};

static enum kt_err rotate(const char *what, int64_t rows, struct figures *ret)
{
	char count[24], jobs[24];
	const char *const arguments[] = {"rotate", what, jobs, count, NULL};

	snprintf(count, sizeof(count), "%lld", (long long)rows);
	snprintf(jobs, sizeof(jobs), "%u", place.jobs);
	return child_run(1, arguments, ret);
}

/* Enough of the raw loop to be as long as a rotation of a medium size. */
static int64_t raw_rows(int64_t rows)
{
	return rows < 50000 ? rows : 50000;
}

static enum kt_err raw_once(const char *kind, int64_t rows,
			    struct series *series)
{
	struct figure figure;

	TRY(raw_measure(kind, place.jobs, 1, raw_rows(rows), &figure));
	series_add(series, &figure);
	return KT_OK;
}

static enum kt_err master_once(int64_t rows, struct measured *m)
{
	const struct figure *memory;
	struct figures figures;

	TRY(raw_once("token", rows, &m->raw));
	TRY(rotate("master", rows, &figures));
	series_add(&m->stage, figure_find(&figures, "rewrap"));
	series_add(&m->verify, figure_find(&figures, "verify"));
	series_add(&m->contract, figure_find(&figures, "contract"));
	series_add(&m->master, figure_find(&figures, "whole"));
	memory = figure_find(&figures, "memory");
	if (memory != NULL && memory->us + memory->cpu_us > m->memory)
		m->memory = memory->us + memory->cpu_us;
	return KT_OK;
}

static enum kt_err project_once(int64_t rows, struct measured *m)
{
	struct figures figures;

	TRY(raw_once("session", rows, &m->raw_session));
	TRY(rotate("project", rows, &figures));
	series_add(&m->project_stage, figure_find(&figures, "rewrap"));
	series_add(&m->project_verify, figure_find(&figures, "verify"));
	series_add(&m->project, figure_find(&figures, "whole"));
	return KT_OK;
}

static enum kt_err dry_once(int64_t rows, struct measured *m)
{
	const char *const arguments[] = {"open", NULL};
	struct figures figures;

	TRY(raw_once("trial", rows, &m->raw_trial));
	TRY(rotate("dry", rows, &figures));
	series_add(&m->dry, figure_find(&figures, "dry-run"));
	TRY(child_run(1, arguments, &figures));
	series_add(&m->open, figure_find(&figures, "open"));
	return KT_OK;
}

/* A step that was renamed is not to vanish from the report. */
static enum kt_err report(const char *name, int64_t rows,
			  const struct series *is, const struct span *limit)
{
	if (is->count == 0)
		return err_raise(KT_ERR_FAILED, "no figure for '%s'", name);
	report_figure(name, rows, series_median(is), limit);
	return KT_OK;
}

static enum kt_err report_measured(int64_t rows, const struct measured *m)
{
	struct span raw = series_median(&m->raw);
	struct span session = series_median(&m->raw_session);
	struct span trial = series_median(&m->raw_trial);
	struct span staging = series_median(&m->stage);
	struct span twice = {2 * raw.us, 2 * raw.cpu_us};
	struct span twice_session = {2 * session.us, 2 * session.cpu_us};

	TRY(report("master: staging", rows, &m->stage, &raw));
	TRY(report("master: verification", rows, &m->verify, &raw));
	TRY(report("master: plan to cut-over", rows, &m->master, &twice));
	TRY(report("master: contraction", rows, &m->contract, NULL));
	TRY(report("master: dry run", rows, &m->dry, &trial));
	TRY(report("master: dry run, of staging", rows, &m->dry, &staging));
	TRY(report("project: staging", rows, &m->project_stage, &session));
	TRY(report("project: verification", rows, &m->project_verify,
		   &session));
	TRY(report("project: plan to cut-over", rows, &m->project,
		   &twice_session));
	TRY(report("opening the vault", rows, &m->open, NULL));
	report_memory("master: memory, workers included", rows, m->memory);
	return KT_OK;
}

enum kt_err section_rotation(int64_t rows)
{
	struct measured m = {0};
	/* What takes minutes is measured once. */
	int repeats = rows > 300000 ? 1 : place.repeats;

	TRY(place_vault(rows));
	for (int i = 0; i < repeats; i++) {
		TRY(master_once(rows, &m));
		TRY(project_once(rows, &m));
		TRY(dry_once(rows, &m));
	}
	return report_measured(rows, &m);
}
