/*
 * The executor: asks rotation_next() what to do, does that one thing, and asks
 * again. Everything it knows it reads from committed rows, so starting and
 * resuming differ in nothing but the lease.
 */
#include "core/rotation.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"

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

static int processors(void)
{
	long count = sysconf(_SC_NPROCESSORS_ONLN);

	return count < 1               ? 1
	       : count > JOBS_AUTO_MAX ? JOBS_AUTO_MAX
				       : (int)count;
}

enum kt_err rotation_options(const struct kt_rotate_options *options,
			     struct rotation_run *run)
{
	static const struct kt_rotate_options defaults;
	const struct kt_rotate_options *o =
		options != NULL ? options : &defaults;

	if (o->batch_size < 0 || o->batch_size > BATCH_MAX)
		return err_raise(KT_ERR_USAGE,
				 "batch size %lld is not between 1 and %d",
				 (long long)o->batch_size, BATCH_MAX);
	if (o->jobs < 0 || o->jobs > JOBS_MAX)
		return err_raise(KT_ERR_USAGE, "%d jobs: not between 1 and %d",
				 o->jobs, JOBS_MAX);
	if (o->grace < 0)
		return err_raise(KT_ERR_USAGE, "negative grace time");
	run->batch_size = o->batch_size > 0 ? o->batch_size : BATCH_DEFAULT;
	run->skip_quarantined = o->skip_quarantined;
	run->jobs = o->jobs > 0 ? o->jobs : processors();
	run->jobs_max = o->jobs > 0 ? o->jobs : JOBS_AUTO_MAX;
	return KT_OK;
}

enum kt_err run_begin(struct rotation_run *run, struct store_tx **ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(run->vault->store, STORE_WRITE, &tx));
	TRY(lease_renew(run->vault, run->fence));
	*ret = TAKE(tx);
	return KT_OK;
}

static enum kt_err new_key_compromised(const struct rotation_leg *leg)
{
	enum kt_err err = err_raise(
		KT_ERR_CONFLICT, "the new %s key, version %lld, is compromised",
		kt_key_role_name((enum kt_key_role)leg->new_key.role),
		(long long)leg->new_key.version);

	return err_hint(err, "'keyturn rotation rollback' takes it away");
}

enum kt_err run_refuse_compromised(struct rotation_run *run)
{
	for (size_t i = 0; i < run->legs; i++) {
		struct rotation_leg *leg = &run->leg[i];

		TRY(query_one(run->vault->store, Q_KEY, &leg->new_key, "b",
			      &leg->row.new_key));
		if (leg->new_key.compromised != 0)
			return new_key_compromised(leg);
	}
	return KT_OK;
}

enum kt_err run_stamp(struct rotation_run *run, enum rotation_event event)
{
	struct rotation_row row = run->row;
	char action[64], id[KT_ID_TEXT_LEN + 1];

	TRY(rotation_apply(&row, event, clock_now()));
	TRY(store_update(run->vault->store, ROW_ROTATION, &row));
	TRY(text_format(action, sizeof(action), "rotation.%s",
			rotation_event_name(event)));
	kt_id_format(&row.id, id);
	TRY(audit_append(
		run->vault, action, id, "%s key, version %lld to %lld",
		kt_key_role_name((enum kt_key_role)run->leg[0].old_key.role),
		(long long)run->leg[0].old_key.version,
		(long long)run->leg[0].new_key.version));
	run->row = row;
	return KT_OK;
}

void run_report(const struct rotation_run *run, const char *step, int64_t done,
		int64_t total)
{
	if (run->progress.report != NULL)
		run->progress.report(run->progress.arg, step, done, total);
}

enum kt_err run_check_stop(const struct rotation_run *run)
{
	if (run->progress.stop == NULL ||
	    !run->progress.stop(run->progress.arg))
		return KT_OK;
	return err_raise(KT_ERR_INTERRUPTED, "stopped at a batch edge");
}

static enum kt_err wait_for_grace(struct rotation_run *run)
{
	(void)run;
	return KT_OK;
}

static const struct {
	const char *step;
	enum kt_err (*run)(struct rotation_run *run);
} actions[ROTATION_ACTION_MAX_] = {
	[DO_NOTHING] = {NULL, NULL},
	[DO_KEY] = {"new key", rotation_make_keys},
	[DO_STAGE] = {"rewrap", rotation_stage},
	[DO_VERIFY] = {"verify", rotation_verify},
	[DO_CUT_OVER] = {"cut over", rotation_cut_over},
	[DO_WAIT] = {"drain", wait_for_grace},
	[DO_DEACTIVATE] = {"retire old key", rotation_deactivate},
	[DO_CONTRACT] = {"contract", rotation_contract},
	[DO_UNSTAGE] = {"roll back", rotation_unstage},
};

/* A way back to a compromised key is no way back: then there is no grace. */
static enum rotation_action next_action(const struct rotation_run *run)
{
	enum rotation_action action = rotation_next(&run->row, clock_now());

	if (action == DO_WAIT &&
	    (run->end_grace || run->leg[0].old_key.compromised != 0))
		return DO_DEACTIVATE;
	return action;
}

static bool fills_new_key(enum rotation_action action)
{
	return action == DO_KEY || action == DO_STAGE || action == DO_VERIFY ||
	       action == DO_CUT_OVER;
}

/* After an error inside a transaction the rows in memory may be ahead of the
 * committed ones; each step starts from what is committed. */
static enum kt_err run_loop(struct rotation_run *run)
{
	enum rotation_action action;

	for (;;) {
		TRY(rotation_load(run->vault, &run->row.id, run));
		action = next_action(run);
		if (action == DO_NOTHING || action == DO_WAIT)
			return KT_OK;
		if (fills_new_key(action))
			TRY(run_refuse_compromised(run));
		TRY(run_check_stop(run));
		CRASH_POINT("run.step");
		run_report(run, actions[action].step, 0, 0);
		TRY(actions[action].run(run));
	}
}

static enum kt_err release(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(store_begin(run->vault->store, STORE_WRITE, &tx));
	CRASH_POINT("lease.release");
	TRY(lease_release(run->vault, run->fence));
	return store_commit(&tx);
}

/* Runs, gives the lease back whatever happened, and describes what is
 * committed now. The first error is the one returned. */
static enum kt_err run_and_describe(struct rotation_run *run,
				    const struct kt_progress *progress,
				    struct kt_rotation *ret)
{
	struct err_saved saved;
	enum kt_err err;

	if (progress != NULL)
		run->progress = *progress;
	err = run_loop(run);
	err_save(err, &saved);
	err = release(run);
	if (saved.err == KT_OK && err != KT_OK)
		err_save(err, &saved);
	err = rotation_load(run->vault, &run->row.id, run);
	if (err == KT_OK)
		err = rotation_describe(run, ret);
	return saved.err != KT_OK ? err_restore(&saved) : err;
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
	struct rotation_row other;
	enum kt_err err = rotation_find(vault, is_in_the_way, &wanted, &other);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	return name_blocker(&other);
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

static enum kt_err count_resume(struct rotation_run *run)
{
	enum rotation_action next = next_action(run);
	char id[KT_ID_TEXT_LEN + 1];

	if (next == DO_NOTHING || next == DO_WAIT ||
	    (next == DO_DEACTIVATE && run->leg[0].old_key.compromised == 0))
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

/* From here on new rows are wrapped under the old keys only. */
static enum kt_err begin_rollback(struct rotation_run *run)
{
	if (rotation_phase(&run->row) == KT_ROTATION_ROLLING_BACK)
		return count_resume(run);
	TRY(refuse_way_back(run));
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
	if (next_action(run) != DO_WAIT)
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
