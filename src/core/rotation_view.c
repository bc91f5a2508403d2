/*
 * What others see of rotations: records, the plan before one, and the dry run
 * that proves every row and changes nothing.
 */
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/sweep.h"

static enum kt_err describe_leg(struct rotation_run *run,
				const struct rotation_leg *leg,
				struct kt_rotation_leg *ret)
{
	ret->rows_total = leg->row.rows_total;
	ret->rows_rewrapped = leg->row.rows_rewrapped;
	ret->rows_verified = leg->row.rows_verified;
	ret->rows_contracted = leg->row.rows_contracted;
	TRY(key_describe(run->vault, &leg->old_key, &ret->old_key));
	return key_describe(run->vault, &leg->new_key, &ret->new_key);
}

static enum kt_err name_project(struct rotation_run *run, char *ret,
				size_t size)
{
	struct project_row project;

	if (run->row.kind != KT_ROTATION_PROJECT)
		return KT_OK;
	TRY(query_one(run->vault->store, Q_PROJECT, &project, "b",
		      &run->row.project));
	text_cut(ret, size, project.name);
	return KT_OK;
}

enum kt_err rotation_describe(struct rotation_run *run, struct kt_rotation *ret)
{
	struct kt_rotation r = {
		.id = run->row.id,
		.kind = (enum kt_rotation_kind)run->row.kind,
		.phase = rotation_phase(&run->row),
		.planned = run->row.planned,
		.keyed = run->row.keyed,
		.staged = run->row.staged,
		.verified = run->row.verified,
		.activated = run->row.activated,
		.contracting = run->row.contracting,
		.contracted = run->row.contracted,
		.destroyed = run->row.destroyed,
		.rollback_started = run->row.rollback_started,
		.rolled_back = run->row.rolled_back,
		.grace = run->row.grace,
		.resumed = run->row.resumed,
		.reencrypted = run->row.reencrypted,
		.values_reencrypted = run->row.values_reencrypted,
		.legs = run->legs,
	};
	struct count_row faults;

	text_cut(r.operator_name, sizeof(r.operator_name),
		 run->row.operator_name);
	text_cut(r.reason, sizeof(r.reason), run->row.reason);
	TRY(name_project(run, r.project, sizeof(r.project)));
	TRY(query_one(run->vault->store, Q_FAULT_COUNT, &faults, "b",
		      &run->row.id));
	r.rows_failed = faults.n;
	for (size_t i = 0; i < run->legs; i++)
		TRY(describe_leg(run, &run->leg[i], &r.leg[i]));
	*ret = r;
	return KT_OK;
}

static enum kt_err describe_id(struct kt_vault *vault, const struct kt_id *id,
			       struct kt_rotation *ret)
{
	struct rotation_run run = {0};

	TRY(rotation_load(vault, id, &run));
	return rotation_describe(&run, ret);
}

enum kt_err kt_rotation_get(struct kt_vault *vault, const struct kt_id *id,
			    struct kt_rotation *ret)
{
	char text[KT_ID_TEXT_LEN + 1];
	enum kt_err err;

	TRY(require_operator(vault));
	err = describe_id(vault, id, ret);
	if (err != KT_ERR_NOT_FOUND)
		return err;
	kt_id_format(id, text);
	return err_raise(KT_ERR_NOT_FOUND, "no rotation has the id %s", text);
}

enum kt_err kt_rotation_current(struct kt_vault *vault, struct kt_rotation *ret)
{
	struct rotation_row row;

	TRY(require_operator(vault));
	TRY(rotation_current(vault, &row));
	return describe_id(vault, &row.id, ret);
}

enum kt_err kt_rotation_list(struct kt_vault *vault,
			     enum kt_err (*each)(void *arg,
						 const struct kt_rotation *r),
			     void *arg)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_row row;
	struct kt_rotation rotation;
	enum kt_err err;

	TRY(require_operator(vault));
	TRY(query_start(vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		TRY(describe_id(vault, &row.id, &rotation));
		TRY(each(arg, &rotation));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

void fault_text(const struct kt_id *wrapping_key, const struct kt_id *subject,
		const char *reason, char *ret, size_t size)
{
	struct wrap_row row = {.wrapping_key = *wrapping_key,
			       .subject = *subject};
	char name[160];

	row_name(ROW_WRAP, &row, name, sizeof(name));
	if (strstr(reason, name) != NULL)
		text_cut(ret, size, reason);
	else if (text_format(ret, size, "%s: %s", name, reason) != KT_OK)
		text_cut(ret, size, name);
}

enum kt_err kt_rotation_faults(struct kt_vault *vault, const struct kt_id *id,
			       enum kt_err (*each)(void *arg, const char *text),
			       void *arg)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct fault_row row;
	char text[512];
	enum kt_err err;

	TRY(require_operator(vault));
	TRY(query_start(vault->store, Q_FAULTS, &query, "b", id));
	while ((err = query_next(query, &row)) == KT_OK) {
		fault_text(&row.wrapping_key, &row.subject, row.reason, text,
			   sizeof(text));
		TRY(each(arg, text));
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

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

static enum kt_err on_token(const struct key_row *key,
			    struct wrap_key_spec *ret)
{
	ret->role = (enum kt_key_role)key->role;
	ret->cka_id = key->cka_id;
	ret->mech = (enum kt_wrap_mech)key->mech;
	ret->canary = key->canary;
	return KT_OK;
}

enum kt_err rotation_rewrap_key(struct kt_vault *vault,
				const struct key_row *key,
				struct rewrap_key *ret)
{
	struct rewrap_key about = {0};
	struct key_row master;
	struct wrap_row wrap;

	if (key->role != KT_KEY_PROJECT) {
		TRY(on_token(key, &about.token_key));
		*ret = about;
		return KT_OK;
	}
	TRY(key_active(vault, KT_KEY_MASTER, &(struct kt_id){0}, &master));
	TRY(query_one(vault->store, Q_WRAP, &wrap, "bb", &master.id, &key->id));
	TRY(on_token(&master, &about.token_key));
	about.wrapped = true;
	about.blob = wrap.blob;
	about.mech = (enum kt_wrap_mech)key->mech;
	about.canary = key->canary;
	*ret = about;
	return KT_OK;
}

struct dry_run {
	void (*fault)(void *arg, const char *text);
	void *arg;
	int64_t faults;
};

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

static enum kt_err try_leg(struct rotation_run *run, struct rotation_leg *leg,
			   struct dry_run *dry)
{
	struct count_row rows;
	struct sweep sweep = {
		.run = run,
		.leg = leg,
		.step = "dry run",
		.op = REWRAP_TRY,
		.query = Q_WRAPS_AFTER,
		.commit = report_faults,
		.arg = dry,
	};

	TRY(query_one(run->vault->store, Q_WRAP_COUNT, &rows, "b",
		      &leg->old_key.id));
	sweep.total = rows.n;
	return sweep_run(&sweep);
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
	return err_raise(KT_ERR_INTEGRITY, "%lld rows would fail",
			 (long long)dry.faults);
}
