/*
 * The executor: asks rotation_next() what to do, does that one thing, and asks
 * again. Everything it knows it reads from committed rows, so starting and
 * resuming differ in nothing but the lease.
 */
#include <assert.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/progress.h"
#include "core/rotation.h"

static_assert(KT_BATCH_MAX <= REWRAP_ITEMS_MAX &&
		      KT_JOBS_MAX <= REWRAP_JOBS_MAX,
	      "the token layer takes what is promised");

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

	if (o->batch_size < 0 || o->batch_size > KT_BATCH_MAX)
		return err_raise(KT_ERR_USAGE,
				 "batch size %lld is not between 1 and %d",
				 (long long)o->batch_size, KT_BATCH_MAX);
	if (o->jobs < 0 || o->jobs > KT_JOBS_MAX)
		return err_raise(KT_ERR_USAGE, "%d jobs: not between 1 and %d",
				 o->jobs, KT_JOBS_MAX);
	if (o->sessions < 0 || o->sessions > KT_JOBS_MAX)
		return err_raise(KT_ERR_USAGE,
				 "%d sessions: not between 1 and %d",
				 o->sessions, KT_JOBS_MAX);
	if (o->grace < 0)
		return err_raise(KT_ERR_USAGE, "negative grace time");
	run->batch_size = o->batch_size > 0 ? o->batch_size : BATCH_DEFAULT;
	run->skip_quarantined = o->skip_quarantined;
	run->jobs = o->jobs > 0 ? o->jobs : processors();
	run->jobs_max = o->jobs > 0 ? o->jobs : JOBS_AUTO_MAX;
	run->sessions = o->sessions;
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
	progress_report(&run->progress, step, done, total);
}

enum kt_err run_check_stop(const struct rotation_run *run)
{
	return progress_check_stop(&run->progress);
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

enum rotation_action run_next(const struct rotation_run *run)
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
 * committed ones; each step starts from what is committed. That nobody took
 * over is asked afterwards: another's end would look like our own. */
static enum kt_err run_loop(struct rotation_run *run)
{
	enum rotation_action action;

	for (;;) {
		TRY(rotation_load(run->vault, &run->row.id, run));
		TRY(lease_check(run->vault, run->fence));
		action = run_next(run);
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

enum kt_err run_and_describe(struct rotation_run *run,
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
