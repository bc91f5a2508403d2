/*
 * Reading what is on record of rotations: one with its legs and keys, the one
 * at work, the one that is in the way, and what would rotate. Every record is
 * read and checked, so that a forged one hides nothing.
 */
#include <string.h>

#include "base/clock.h"
#include "core/rotation.h"

static enum kt_err load_leg(struct kt_vault *vault, const struct leg_row *row,
			    struct rotation_run *run)
{
	struct rotation_leg *leg;

	if (run->legs == KT_ROTATION_LEGS_MAX || row->leg != (int64_t)run->legs)
		return err_raise(
			KT_ERR_INTEGRITY,
			"rotation has leg %lld where leg %zu should be",
			(long long)row->leg, run->legs);
	leg = &run->leg[run->legs];
	leg->row = *row;
	TRY(query_one(vault->store, Q_KEY, &leg->old_key, "b", &row->old_key));
	TRY(query_one(vault->store, Q_KEY, &leg->new_key, "b", &row->new_key));
	run->legs++;
	return KT_OK;
}

/* A leg that is gone would be rows that are never looked at. */
static enum kt_err require_legs(const struct rotation_run *run)
{
	bool two = run->row.kind == KT_ROTATION_MASTER &&
		   run->vault->row.recovery_wraps != 0;

	if (run->legs == (two ? 2 : 1))
		return KT_OK;
	return err_raise(KT_ERR_INTEGRITY, "rotation has %zu legs, not %d",
			 run->legs, two ? 2 : 1);
}

enum kt_err rotation_load(struct kt_vault *vault, const struct kt_id *id,
			  struct rotation_run *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_run run = *ret;
	struct leg_row row;
	enum kt_err err;

	run.vault = vault;
	run.legs = 0;
	TRY(query_one(vault->store, Q_ROTATION, &run.row, "b", id));
	TRY(query_start(vault->store, Q_LEGS, &query, "b", id));
	while ((err = query_next(query, &row)) == KT_OK)
		TRY(load_leg(vault, &row, &run));
	if (err != KT_ERR_NOT_FOUND)
		return err;
	TRY(require_legs(&run));
	*ret = run;
	return KT_OK;
}

static enum kt_err name_blocker(const struct rotation_row *other)
{
	enum kt_rotation_phase phase = rotation_phase(other);
	char id[KT_ID_TEXT_LEN + 1], since[TIME_TEXT_LEN + 1];
	enum kt_err err;

	kt_id_format(&other->id, id);
	time_format(other->planned, since);
	err = err_raise(KT_ERR_BUSY,
			"a rotation of %s by %s since %s is unfinished (%s)",
			other->kind == KT_ROTATION_MASTER ? "the master key"
							  : "a project key",
			other->operator_name, since,
			kt_rotation_phase_name(phase));
	if (phase == KT_ROTATION_DRAINING)
		return err_hint(err,
				"'keyturn rotation finish %s' or 'keyturn "
				"rotation rollback %s' ends it",
				id, id);
	return err_hint(err,
			"if its process is gone: 'keyturn rotation resume "
			"%s' or 'keyturn rotation rollback %s'",
			id, id);
}

enum kt_err rotation_find(struct kt_vault *vault,
			  bool (*fits)(const struct rotation_row *row,
				       const void *arg),
			  const void *arg, struct rotation_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_row row, found;
	bool any = false;
	enum kt_err err;

	TRY(query_start(vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (!any && fits(&row, arg)) {
			found = row;
			any = true;
		}
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	if (!any)
		return err_raise(KT_ERR_NOT_FOUND, "no such rotation");
	*ret = found;
	return KT_OK;
}

enum kt_err rotation_refuse(struct kt_vault *vault,
			    bool (*fits)(const struct rotation_row *row,
					 const void *arg),
			    const void *arg)
{
	struct rotation_row other;
	enum kt_err err = rotation_find(vault, fits, arg, &other);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	return name_blocker(&other);
}

static bool is_running(const struct rotation_row *row, const void *arg)
{
	(void)arg;
	return rotation_is_running(row);
}

static bool is_unfinished(const struct rotation_row *row, const void *arg)
{
	(void)arg;
	return rotation_is_unfinished(row);
}

enum kt_err rotation_current(struct kt_vault *vault, struct rotation_row *ret)
{
	enum kt_err err = rotation_find(vault, is_running, NULL, ret);

	if (err == KT_ERR_NOT_FOUND)
		err = rotation_find(vault, is_unfinished, NULL, ret);
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no rotation is unfinished");
	return err;
}

struct wanted {
	enum kt_rotation_kind kind;
	const struct kt_id *project;
};

static bool is_in_the_way(const struct rotation_row *row, const void *arg)
{
	const struct wanted *wanted = arg;

	return rotation_is_running(row) ||
	       (rotation_is_unfinished(row) &&
		row->kind == (int64_t)wanted->kind &&
		id_equal(&row->project, wanted->project));
}

enum kt_err rotation_refuse_second(struct kt_vault *vault,
				   enum kt_rotation_kind kind,
				   const struct kt_id *project)
{
	const struct wanted wanted = {kind, project};

	return rotation_refuse(vault, is_in_the_way, &wanted);
}

enum kt_err rotation_old_keys(struct kt_vault *vault,
			      enum kt_rotation_kind kind, const char *project,
			      struct key_row *ret_keys, size_t *ret_count,
			      struct project_row *ret_project)
{
	static const struct kt_id nobody;
	bool recovery = vault->row.recovery_wraps != 0;

	*ret_count = 1;
	memset(ret_project, 0, sizeof(*ret_project));
	if (kind == KT_ROTATION_PROJECT) {
		TRY(project_find(vault, project, KT_ACCESS_WRITE, ret_project));
		return key_active(vault, KT_KEY_PROJECT, &ret_project->id,
				  &ret_keys[0]);
	}
	TRY(key_active(vault, KT_KEY_MASTER, &nobody, &ret_keys[0]));
	if (!recovery)
		return KT_OK;
	*ret_count = 2;
	return key_active(vault, KT_KEY_RECOVERY, &nobody, &ret_keys[1]);
}
