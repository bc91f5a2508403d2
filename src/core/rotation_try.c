/*
 * A rotation before it begins: its plan, and the dry run that tries every row
 * and changes nothing.
 */
#include "base/clock.h"
#include "base/text.h"
#include "core/sweep.h"

static enum kt_err count_access(struct kt_vault *vault,
				const struct kt_id *project, int64_t *ret)
{
	struct count_row count;

	TRY(query_one(vault->store, Q_ACCESS_USABLE_COUNT, &count, "bi",
		      project, clock_now()));
	*ret = count.n;
	return KT_OK;
}

enum kt_err kt_rotation_plan(struct kt_vault *vault, enum kt_rotation_kind kind,
			     const char *project,
			     const struct kt_rotate_options *options,
			     struct kt_rotation_plan *ret)
{
	struct rotation_run run = {.vault = vault};
	struct key_row keys[KT_ROTATION_LEGS_MAX];
	struct kt_rotation_plan plan = {.kind = kind};
	struct project_row row;
	struct key_row latest;

	TRY(require_operator(vault));
	TRY(rotation_options(options, &run));
	TRY(rotation_old_keys(vault, kind, project, keys, &plan.legs, &row));
	TRY(rotation_refuse_second(vault, kind, &row.id));
	TRY(query_one(vault->store, Q_KEY_LATEST, &latest, "ib", keys[0].role,
		      &keys[0].owner));
	text_cut(plan.project, sizeof(plan.project), row.name);
	plan.old_version = keys[0].version;
	plan.compromised = keys[0].compromised != 0;
	plan.new_version = latest.version + 1;
	plan.batch_size = run.batch_size;
	plan.jobs = run.jobs;
	plan.jobs_max = run.jobs_max;
	for (size_t i = 0; i < plan.legs; i++) {
		struct count_row rows;

		TRY(query_one(vault->store, Q_WRAP_COUNT, &rows, "b",
			      &keys[i].id));
		plan.rows[i] = rows.n;
	}
	if (kind == KT_ROTATION_PROJECT)
		TRY(count_access(vault, &row.id, &plan.access_tokens));
	*ret = plan;
	return KT_OK;
}

/* Whether a row can be rewrapped is its own matter, so each is. Whether what
 * the token wraps can be opened again is the token's: a sample shows it, and
 * the rotation then proves every row it staged. */
#define PROVEN_IN 16

struct dry_run {
	void (*fault)(void *arg, const char *text);
	void *arg;
	int64_t faults;
};

static enum kt_err count_faults(struct sweep *sweep, struct sweep_batch *batch)
{
	int64_t *faults = sweep->arg;

	*faults += (int64_t)batch->fault_count;
	return KT_OK;
}

static enum kt_err report_faults(struct sweep *sweep, struct sweep_batch *batch)
{
	struct dry_run *dry = sweep->arg;
	char text[512];

	for (size_t i = 0; i < batch->fault_count; i++) {
		const struct sweep_fault *fault = &batch->faults[i];

		fault_text(&fault->wrapping_key, &fault->subject, fault->reason,
			   text, sizeof(text));
		dry->faults++;
		if (dry->fault != NULL)
			dry->fault(dry->arg, text);
	}
	return KT_OK;
}

static enum kt_err try_rows(struct sweep *sweep)
{
	struct count_row rows;

	sweep->op = REWRAP_TRY;
	sweep->query = Q_WRAPS_AFTER;
	TRY(query_one(sweep->run->vault->store, Q_WRAP_COUNT, &rows, "b",
		      &sweep->leg->old_key.id));
	sweep->total = rows.n;
	return sweep_run(sweep);
}

/* Once something is wrong a sample says no longer which rows are. */
static enum kt_err try_leg(struct rotation_run *run, struct rotation_leg *leg,
			   struct dry_run *dry)
{
	int64_t found = 0, before = dry->faults;
	struct sweep sample = {
		.run = run,
		.leg = leg,
		.step = "dry run",
		.proven_in = PROVEN_IN,
		.commit = count_faults,
		.arg = &found,
	};
	struct sweep all = {
		.run = run,
		.leg = leg,
		.step = "dry run, each row proven",
		.proven_in = 1,
		.commit = report_faults,
		.arg = dry,
	};

	TRY(try_rows(&sample));
	if (found == 0)
		return KT_OK;
	TRY(try_rows(&all));
	if (dry->faults > before)
		return KT_OK;
	return err_raise(KT_ERR_TOKEN, "%s failed once and not again",
			 text_counted(found, "row", "rows").text);
}

enum kt_err kt_rotation_dry_run(struct kt_vault *vault,
				enum kt_rotation_kind kind, const char *project,
				const struct kt_rotate_options *options,
				const struct kt_progress *progress,
				void (*fault)(void *arg, const char *text),
				void *fault_arg)
{
	struct rotation_run run = {.vault = vault};
	struct key_row keys[KT_ROTATION_LEGS_MAX];
	struct dry_run dry = {fault, fault_arg, 0};
	struct project_row row;

	TRY(require_operator(vault));
	TRY(rotation_options(options, &run));
	if (progress != NULL)
		run.progress = *progress;
	TRY(rotation_old_keys(vault, kind, project, keys, &run.legs, &row));
	for (size_t i = 0; i < run.legs; i++) {
		run.leg[i].old_key = keys[i];
		TRY(try_leg(&run, &run.leg[i], &dry));
	}
	if (dry.faults == 0)
		return KT_OK;
	return err_raise(KT_ERR_INTEGRITY, "%s would fail",
			 text_counted(dry.faults, "row", "rows").text);
}
