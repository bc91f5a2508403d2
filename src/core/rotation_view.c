/*
 * What others see of rotations: their records and the rows in quarantine.
 */
#include <string.h>

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
