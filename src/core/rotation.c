/*
 * The verbs: start, resume, roll back, finish. Each commits what is meant, with
 * the lease and an audit entry, in one transaction; the executor does the rest.
 */
#include "core/rotation.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"

/* A new key's version follows the highest there ever was, not the active one:
 * a rolled-back version is not used again. */
static enum kt_err plan_leg(struct rotation_run *run, size_t index,
			    const struct key_row *old_key)
{
	struct store *store = run->vault->store;
	struct rotation_leg *leg = &run->leg[index];
	struct key_row latest;
	struct count_row rows;

	leg->old_key = *old_key;
	TRY(query_one(store, Q_KEY_LATEST, &latest, "ib", old_key->role,
		      &old_key->owner));
	TRY(key_row_new((enum kt_key_role)old_key->role, &old_key->owner,
			latest.version + 1, &leg->new_key));
	TRY(query_one(store, Q_WRAP_COUNT, &rows, "b", &old_key->id));
	leg->row = (struct leg_row){
		.rotation = run->row.id,
		.leg = (int64_t)index,
		.old_key = old_key->id,
		.new_key = leg->new_key.id,
		.rows_total = rows.n,
	};
	TRY(store_insert(store, ROW_KEY, &leg->new_key));
	return store_insert(store, ROW_LEG, &leg->row);
}

static enum kt_err audit_plan(struct rotation_run *run, const char *project)
{
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&run->row.id, id);
	return audit_append(
		run->vault, "rotation.planned", id,
		"%s%s, version %lld to %lld, %lld rows, reason: %.400s",
		run->row.kind == KT_ROTATION_MASTER ? "master" : "project ",
		project, (long long)run->leg[0].old_key.version,
		(long long)run->leg[0].new_key.version,
		(long long)(run->leg[0].row.rows_total +
			    run->leg[1].row.rows_total),
		run->row.reason);
}

static enum kt_err plan(struct rotation_run *run, enum kt_rotation_kind kind,
			const char *project_name,
			const struct kt_rotate_options *options)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_vault *vault = run->vault;
	struct key_row old_keys[KT_ROTATION_LEGS_MAX];
	struct project_row project;
	const char *reason = options != NULL ? options->reason : NULL;

	CRASH_POINT("plan.begin");
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(rotation_old_keys(vault, kind, project_name, old_keys, &run->legs,
			      &project));
	TRY(rotation_refuse_second(vault, kind, &project.id));
	TRY(id_new(&run->row.id));
	run->row.kind = kind;
	run->row.project = project.id;
	run->row.planned = clock_now();
	run->row.grace = options != NULL ? options->grace : 0;
	text_cut(run->row.operator_name, sizeof(run->row.operator_name),
		 vault->actor.name);
	TRY(text_copy(run->row.reason, sizeof(run->row.reason),
		      reason != NULL ? reason : "", "reason"));
	TRY(lease_take(vault, &run->row.id, &run->fence));
	TRY(store_insert(vault->store, ROW_ROTATION, &run->row));
	for (size_t i = 0; i < run->legs; i++)
		TRY(plan_leg(run, i, &old_keys[i]));
	TRY(audit_plan(run, project.name));
	return store_commit(&tx);
}

/* "Proven before": a key that is missing from the token is found out before a
 * new one is made and a rotation stands that cannot go on. */
static enum kt_err require_old_keys(struct kt_vault *vault,
				    enum kt_rotation_kind kind,
				    const char *project)
{
	struct key_row keys[KT_ROTATION_LEGS_MAX];
	struct project_row row;
	struct wrap_key *key;
	size_t count;

	TRY(rotation_old_keys(vault, kind, project, keys, &count, &row));
	for (size_t i = 0; i < count; i++)
		TRY(key_wrapper(vault, &keys[i], &key));
	return KT_OK;
}

enum kt_err kt_rotation_start(struct kt_vault *vault,
			      enum kt_rotation_kind kind, const char *project,
			      const struct kt_rotate_options *options,
			      const struct kt_progress *progress,
			      struct kt_rotation *ret)
{
	struct rotation_run run = {.vault = vault};

	TRY(require_operator(vault));
	TRY(rotation_options(options, &run));
	TRY(require_old_keys(vault, kind, project));
	TRY(plan(&run, kind, project, options));
	CRASH_POINT("plan.committed");
	return run_and_describe(&run, progress, ret);
}

/* Takes the lease on the rotation and lets change() stamp what begins. */
static enum kt_err take_over(struct rotation_run *run, const struct kt_id *id,
			     enum kt_err (*change)(struct rotation_run *run))
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(run->vault->store, STORE_WRITE, &tx));
	TRY(rotation_load(run->vault, id, run));
	CRASH_POINT("take-over.loaded");
	TRY(lease_take(run->vault, id, &run->fence));
	TRY(change(run));
	return store_commit(&tx);
}

/* A grace time is given to be in. Without one a rotation that is draining was
 * cut off on its way to the end. */
static bool was_given_time(const struct rotation_run *run)
{
	return run->row.grace != 0 && run->leg[0].old_key.compromised == 0;
}

static enum kt_err count_resume(struct rotation_run *run)
{
	enum rotation_action next = run_next(run);
	char id[KT_ID_TEXT_LEN + 1];

	if (next == DO_NOTHING || next == DO_WAIT ||
	    (next == DO_DEACTIVATE && was_given_time(run)))
		return err_raise(
			KT_ERR_CONFLICT,
			"the rotation is %s: nothing to resume",
			kt_rotation_phase_name(rotation_phase(&run->row)));
	run->row.resumed++;
	kt_id_format(&run->row.id, id);
	TRY(store_update(run->vault->store, ROW_ROTATION, &run->row));
	return audit_append(run->vault, "rotation.resumed", id, "%s, time %lld",
			    kt_rotation_phase_name(rotation_phase(&run->row)),
			    (long long)run->row.resumed);
}

enum kt_err kt_rotation_resume(struct kt_vault *vault, const struct kt_id *id,
			       const struct kt_rotate_options *options,
			       const struct kt_progress *progress,
			       struct kt_rotation *ret)
{
	struct rotation_run run = {.vault = vault};

	TRY(require_operator(vault));
	TRY(rotation_options(options, &run));
	TRY(take_over(&run, id, count_resume));
	return run_and_describe(&run, progress, ret);
}

/* Before the cut-over a rollback gives up the new key, and the old one serves
 * readers as it did all the time; after it, it would serve again. */
static enum kt_err refuse_way_back(const struct rotation_run *run)
{
	const struct key_row *old_key = &run->leg[0].old_key;
	enum kt_err err;

	if (old_key->compromised == 0 || run->row.activated == 0)
		return KT_OK;
	err = err_raise(KT_ERR_CONFLICT,
			"%s key version %lld is compromised: there is no way "
			"back to it",
			kt_key_role_name((enum kt_key_role)old_key->role),
			(long long)old_key->version);
	return err_hint(err, "'keyturn rotation resume' retires it");
}

static bool is_other_running(const struct rotation_row *row, const void *id)
{
	return rotation_is_running(row) && !id_equal(&row->id, id);
}

/* Only one rotation runs: one that began in the grace time of this and is
 * interrupted ends first. */
static enum kt_err refuse_beside_other(const struct rotation_run *run)
{
	if (rotation_phase(&run->row) != KT_ROTATION_DRAINING)
		return KT_OK;
	return rotation_refuse(run->vault, is_other_running, &run->row.id);
}

/* From here on new rows are wrapped under the old keys only. */
static enum kt_err begin_rollback(struct rotation_run *run)
{
	if (rotation_phase(&run->row) == KT_ROTATION_ROLLING_BACK)
		return count_resume(run);
	TRY(refuse_way_back(run));
	TRY(refuse_beside_other(run));
	TRY(run_stamp(run, EVENT_ROLLBACK_STARTED));
	for (size_t i = 0; i < run->legs; i++) {
		run->leg[i].new_key.deactivated = clock_now();
		TRY(store_update(run->vault->store, ROW_KEY,
				 &run->leg[i].new_key));
	}
	return KT_OK;
}

enum kt_err kt_rotation_rollback(struct kt_vault *vault, const struct kt_id *id,
				 const struct kt_progress *progress,
				 struct kt_rotation *ret)
{
	struct rotation_run run = {.vault = vault};

	TRY(require_operator(vault));
	TRY(rotation_options(NULL, &run));
	TRY(take_over(&run, id, begin_rollback));
	return run_and_describe(&run, progress, ret);
}

static enum kt_err require_cut_over(const struct rotation_run *run)
{
	enum kt_rotation_phase phase = rotation_phase(&run->row);

	if (phase == KT_ROTATION_DRAINING || phase == KT_ROTATION_CONTRACTING)
		return KT_OK;
	return err_raise(KT_ERR_CONFLICT, "the rotation is %s, not draining",
			 kt_rotation_phase_name(phase));
}

static enum kt_err refuse_early(struct rotation_run *run)
{
	char until[TIME_TEXT_LEN + 1];
	enum kt_err err;

	TRY(require_cut_over(run));
	if (run_next(run) != DO_WAIT)
		return KT_OK;
	time_format(run->row.activated + run->row.grace, until);
	err = err_raise(KT_ERR_CONFLICT, "the grace time ends at %s", until);
	return err_hint(err, "--now ends it at once; after that there is no "
			     "rollback");
}

static enum kt_err end_grace(struct rotation_run *run)
{
	char id[KT_ID_TEXT_LEN + 1];

	TRY(require_cut_over(run));
	kt_id_format(&run->row.id, id);
	run->end_grace = true;
	return audit_append(run->vault, "rotation.grace-ended", id,
			    "by the operator, %lld s after the cut-over",
			    (long long)(clock_now() - run->row.activated));
}

enum kt_err kt_rotation_finish(struct kt_vault *vault, const struct kt_id *id,
			       bool now, const struct kt_progress *progress,
			       struct kt_rotation *ret)
{
	struct rotation_run run = {.vault = vault};

	TRY(require_operator(vault));
	TRY(rotation_options(NULL, &run));
	TRY(take_over(&run, id, now ? end_grace : refuse_early));
	return run_and_describe(&run, progress, ret);
}
