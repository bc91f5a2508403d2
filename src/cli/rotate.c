/*
 * The running of rotations for a person: nothing irreversible without a
 * question, and after every end, good or bad, the command that goes on.
 */
#include "cli/rotate.h"

#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/progress.h"
#include "cli/summary.h"

enum kt_err rotate_options(struct cli *cli, const struct rotate_flags *flags,
			   struct kt_rotate_options *ret)
{
	const struct config *config;

	TRY(cli_config(cli, &config));
	*ret = (struct kt_rotate_options){
		.batch_size = flags->batch_size > 0
				      ? flags->batch_size
				      : config->rotation.batch_size,
		.jobs = (int)(flags->jobs == OPT_WORD ? 0
			      : flags->jobs > 0       ? flags->jobs
						      : config->rotation.jobs),
		.sessions = (int)config->rotation.sessions,
		.reason = flags->reason,
		.grace = flags->grace,
		.skip_quarantined = flags->skip_quarantined,
	};
	return KT_OK;
}

static enum kt_err plan(struct cli *cli, const struct rotate_target *target,
			const struct kt_rotate_options *options,
			struct kt_rotation_plan *ret)
{
	struct kt_vault *vault;

	TRY(cli_vault(cli, &vault));
	return kt_rotation_plan(vault, target->kind, target->project, options,
				ret);
}

static int64_t plan_rows(const struct kt_rotation_plan *plan)
{
	int64_t rows = 0;

	for (size_t i = 0; i < plan->legs; i++)
		rows += plan->rows[i];
	return rows;
}

enum kt_err rotate_ask(struct cli *cli, const struct rotate_target *target,
		       const struct kt_rotate_options *options)
{
	struct kt_rotation_plan p;
	char what[SUMMARY_SUBJECT_MAX], grace[DURATION_TEXT_LEN + 1];

	TRY(plan(cli, target, options, &p));
	summary_subject(p.kind, p.project, what);
	duration_format_exact(options->grace, grace);
	cli_say(cli, "rotate %s: version %lld -> %lld", what,
		(long long)p.old_version, (long long)p.new_version);
	cli_say(cli, "  %s, batches of %lld, %s%s",
		text_counted(plan_rows(&p), "row", "rows").text,
		(long long)p.batch_size,
		text_counted(p.jobs, "job", "jobs").text,
		p.jobs_max > p.jobs ? ", more where that pays" : "");
	if (p.access_tokens > 0)
		cli_say(cli, "  %s revoked at the cut-over",
			text_counted(p.access_tokens, "access token is",
				     "access tokens are")
				.text);
	if (p.compromised)
		cli_say(cli, "  the old key is compromised: no grace time, no "
			     "way back after the cut-over");
	else if (options->grace > 0)
		cli_say(cli, "  the way back stays open for %s", grace);
	else
		cli_say(cli, "  no grace time: no way back after the cut-over");
	return ask_confirm(cli, "Rotate %s?", what);
}

struct dry_run {
	const struct cli *cli;
	int64_t faults;
};

static void count_fault(void *arg, const char *text)
{
	struct dry_run *dry = arg;

	dry->faults++;
	cli_say(dry->cli, "would fail: %s", text);
}

static enum kt_err try_every_row(struct cli *cli,
				 const struct rotate_target *target,
				 const struct kt_rotate_options *options,
				 struct dry_run *dry)
{
	CLEANUP(progress_end) struct progress progress;
	struct kt_vault *vault;

	progress_begin(&progress, cli);
	TRY(cli_vault(cli, &vault));
	return kt_rotation_dry_run(vault, target->kind, target->project,
				   options, &progress.port, count_fault, dry);
}

static enum kt_err print_dry_run(const struct kt_rotation_plan *p,
				 int64_t faults)
{
	char text[160];

	TRY(text_format(text, sizeof(text),
			"%s would be rewrapped; %lld would fail\n",
			text_counted(plan_rows(p) - faults, "row", "rows").text,
			(long long)faults));
	return cli_write(text, strlen(text));
}

enum kt_err rotate_dry_run(struct cli *cli, const struct rotate_target *target,
			   const struct kt_rotate_options *options)
{
	struct dry_run dry = {.cli = cli};
	struct kt_rotation_plan p;
	struct err_saved saved;
	enum kt_err err;

	TRY(plan(cli, target, options, &p));
	err = try_every_row(cli, target, options, &dry);
	if (err != KT_OK && dry.faults == 0)
		return err;
	err_save(err, &saved);
	TRY(print_dry_run(&p, dry.faults));
	return err == KT_OK ? KT_OK : err_restore(&saved);
}

/* What the engine is to do, so that one function shows and judges it. */
enum work {
	WORK_START,
	WORK_RESUME,
	WORK_ROLLBACK,
	WORK_FINISH,
	WORK_COMPROMISED
};

struct job {
	enum work work;
	const struct kt_id *id; /* of the rotation; not for WORK_START */
	const struct rotate_target *target;
	const struct kt_key_ref *ref; /* for WORK_COMPROMISED */
	const struct kt_rotate_options *options;
	bool now;
};

static enum kt_err call_engine(struct kt_vault *vault, const struct job *job,
			       const struct kt_progress *port,
			       struct kt_rotation *r)
{
	switch (job->work) {
	case WORK_START:
		return kt_rotation_start(vault, job->target->kind,
					 job->target->project, job->options,
					 port, r);
	case WORK_RESUME:
		return kt_rotation_resume(vault, job->id, job->options, port,
					  r);
	case WORK_ROLLBACK:
		return kt_rotation_rollback(vault, job->id, port, r);
	case WORK_FINISH:
		return kt_rotation_finish(vault, job->id, job->now, port, r);
	case WORK_COMPROMISED:
		return kt_compromise_rotate(vault, job->ref, job->options, port,
					    r);
	}
	return KT_OK;
}

static enum kt_err with_progress(struct cli *cli, const struct job *job,
				 struct kt_rotation *r)
{
	CLEANUP(progress_end) struct progress progress;
	struct kt_vault *vault;

	progress_begin(&progress, cli);
	TRY(cli_vault(cli, &vault));
	return call_engine(vault, job, &progress.port, r);
}

/* before: rows that an earlier run had rewrapped. */
static enum kt_err run(struct cli *cli, const struct job *job, int64_t before,
		       struct kt_rotation *ret)
{
	int64_t began = clock_monotonic_ms();
	struct kt_rotation r = {0};
	struct err_saved saved;
	enum kt_err err = with_progress(cli, job, &r);

	if (err == KT_OK) {
		if (r.planned != 0)
			summary_say(cli, &r, summary_rewrapped(&r) - before,
				    clock_monotonic_ms() - began);
		*ret = r;
		return KT_OK;
	}
	if (r.planned == 0 || err == KT_ERR_BUSY)
		return err;
	if (kt_err_hint()[0] == '\0' || err == KT_ERR_INTERRUPTED)
		err = err_hint(err, "%s", summary_how_on(&r));
	err_save(err, &saved);
	summary_say_stopped(cli, &r);
	return err_restore(&saved);
}

enum kt_err rotate_start(struct cli *cli, const struct rotate_target *target,
			 const struct kt_rotate_options *options,
			 struct kt_rotation *ret)
{
	const struct job job = {
		.work = WORK_START, .target = target, .options = options};

	return run(cli, &job, 0, ret);
}

enum kt_err rotate_resume(struct cli *cli, const struct kt_rotation *unfinished,
			  const struct kt_rotate_options *options,
			  struct kt_rotation *ret)
{
	const struct job job = {
		.work = WORK_RESUME, .id = &unfinished->id, .options = options};
	char what[SUMMARY_SUBJECT_MAX];

	summary_subject(unfinished->kind, unfinished->project, what);
	cli_say(cli, "resuming the rotation of %s in phase %s", what,
		kt_rotation_phase_name(unfinished->phase));
	return run(cli, &job, summary_rewrapped(unfinished), ret);
}

enum kt_err rotate_compromised(struct cli *cli, const struct kt_key_ref *ref,
			       const struct kt_rotate_options *options,
			       struct kt_rotation *ret)
{
	const struct job job = {
		.work = WORK_COMPROMISED, .ref = ref, .options = options};

	return run(cli, &job, 0, ret);
}

static enum kt_err roll_back(struct cli *cli,
			     const struct kt_rotation *unfinished)
{
	const struct job job = {.work = WORK_ROLLBACK, .id = &unfinished->id};
	const struct kt_rotation_leg *leg = &unfinished->leg[0];
	struct kt_rotation r;
	char what[SUMMARY_SUBJECT_MAX];

	summary_subject(unfinished->kind, unfinished->project, what);
	TRY(ask_confirm(cli, "Go back to version %lld of %s?",
			(long long)leg->old_key.version, what));
	return run(cli, &job, summary_rewrapped(unfinished), &r);
}

static enum kt_err finish(struct cli *cli, const struct kt_rotation *unfinished,
			  bool now)
{
	const struct job job = {
		.work = WORK_FINISH, .id = &unfinished->id, .now = now};
	const struct kt_rotation_leg *leg = &unfinished->leg[0];
	struct kt_rotation r;
	char what[SUMMARY_SUBJECT_MAX];

	summary_subject(unfinished->kind, unfinished->project, what);
	if (now)
		TRY(ask_confirm(cli,
				"Delete the rows under version %lld of %s? "
				"There is no way back then.",
				(long long)leg->old_key.version, what));
	return run(cli, &job, summary_rewrapped(unfinished), &r);
}

enum kt_err resume_command(struct cli *cli, enum kt_rotation_kind kind,
			   const char *id, const struct resume_options *o)
{
	struct kt_rotate_options options;
	struct kt_rotation unfinished, r;

	TRY(pending_resumable(cli, kind, id, &unfinished));
	TRY(rotate_options(cli, &o->rotate, &options));
	TRY(rotate_resume(cli, &unfinished, &options, &r));
	summary_say_tokens(cli, &r);
	return KT_OK;
}

enum kt_err rollback_command(struct cli *cli, enum kt_rotation_kind kind,
			     const char *id)
{
	struct kt_rotation unfinished;

	TRY(pending_reversible(cli, kind, id, &unfinished));
	return roll_back(cli, &unfinished);
}

enum kt_err finish_command(struct cli *cli, enum kt_rotation_kind kind,
			   const char *id, const struct finish_options *o)
{
	struct kt_rotation unfinished;

	TRY(pending_finishable(cli, kind, id, &unfinished));
	return finish(cli, &unfinished, o->now);
}
