/*
 * Summaries of rotations. A person who reads only the last line must know
 * what to do.
 */
#include "cli/summary.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

void summary_subject(enum kt_rotation_kind kind, const char *project,
		     char ret[SUMMARY_SUBJECT_MAX])
{
	if (kind == KT_ROTATION_MASTER)
		snprintf(ret, SUMMARY_SUBJECT_MAX, "the master key");
	else
		snprintf(ret, SUMMARY_SUBJECT_MAX, "the key of project '%s'",
			 project);
}

int64_t summary_rewrapped(const struct kt_rotation *r)
{
	int64_t rows = 0;

	for (size_t i = 0; i < r->legs; i++)
		rows += r->leg[i].rows_rewrapped;
	return rows;
}

static int64_t total(const struct kt_rotation *r)
{
	int64_t rows = 0;

	for (size_t i = 0; i < r->legs; i++)
		rows += r->leg[i].rows_total;
	return rows;
}

/* `master` and `rotation` have these verbs, a project has not. */
static const char *noun(const struct kt_rotation *r)
{
	return r->kind == KT_ROTATION_MASTER ? "master" : "rotation";
}

static void say_rows(const struct cli *cli, int64_t rows, int64_t milliseconds)
{
	double seconds = (double)milliseconds / 1000;

	if (rows <= 0)
		return;
	if (milliseconds > 0)
		cli_say(cli, "%s in %.1f s (%.0f rows/s)",
			text_counted(rows, "row", "rows").text, seconds,
			(double)rows / seconds);
	else
		cli_say(cli, "%s", text_counted(rows, "row", "rows").text);
}

static void say_draining(const struct cli *cli, const struct kt_rotation *r)
{
	char until[TIME_TEXT_LEN + 1];

	if (r->leg[0].old_key.compromised != 0) {
		cli_say(cli, "next: %s", summary_how_on(r));
		return;
	}
	time_format(r->activated + r->grace, until);
	cli_say(cli, "until %s: keyturn %s rollback", until, noun(r));
	cli_say(cli, "after that: keyturn %s finish", noun(r));
}

static void say_destroy(const struct cli *cli, const struct kt_rotation *r,
			long long version)
{
	if (r->kind == KT_ROTATION_MASTER)
		cli_say(cli,
			"nothing needs version %lld any more; next: keyturn "
			"master destroy %lld --confirm %lld",
			version, version, version);
}

static void say_next(const struct cli *cli, const struct kt_rotation *r)
{
	switch (r->phase) {
	case KT_ROTATION_DRAINING:
		say_draining(cli, r);
		break;
	case KT_ROTATION_CONTRACTED:
		say_destroy(cli, r, r->leg[0].old_key.version);
		break;
	case KT_ROTATION_PLANNED:
	case KT_ROTATION_STAGING:
	case KT_ROTATION_STAGED:
	case KT_ROTATION_VERIFIED:
	case KT_ROTATION_CONTRACTING:
	case KT_ROTATION_ROLLING_BACK:
		cli_say(cli, "next: %s", summary_how_on(r));
		break;
	case KT_ROTATION_ROLLED_BACK:
		say_destroy(cli, r, r->leg[0].new_key.version);
		break;
	case KT_ROTATION_DESTROYED:
	case KT_ROTATION_PHASE_MAX_:
		break;
	}
}

/* "destroyed" alone would frighten: it is the old key that is. */
static const char *outcome(const struct kt_rotation *r)
{
	switch (r->phase) {
	case KT_ROTATION_DRAINING:
		return "cut over";
	case KT_ROTATION_CONTRACTED:
		return "done";
	case KT_ROTATION_DESTROYED:
		return "done, the old key is destroyed";
	case KT_ROTATION_PLANNED:
	case KT_ROTATION_STAGING:
	case KT_ROTATION_STAGED:
	case KT_ROTATION_VERIFIED:
	case KT_ROTATION_CONTRACTING:
	case KT_ROTATION_ROLLING_BACK:
	case KT_ROTATION_ROLLED_BACK:
	case KT_ROTATION_PHASE_MAX_:
		break;
	}
	return kt_rotation_phase_name(r->phase);
}

void summary_say(const struct cli *cli, const struct kt_rotation *r,
		 int64_t rows, int64_t milliseconds)
{
	const struct kt_rotation_leg *leg = &r->leg[0];
	char what[SUMMARY_SUBJECT_MAX];

	summary_subject(r->kind, r->project, what);
	if (r->phase == KT_ROTATION_ROLLED_BACK)
		cli_say(cli, "rolled back: version %lld of %s is as before",
			(long long)leg->old_key.version, what);
	else
		cli_say(cli, "%s: version %lld -> %lld, %s", what,
			(long long)leg->old_key.version,
			(long long)leg->new_key.version, outcome(r));
	say_rows(cli, rows, milliseconds);
	say_next(cli, r);
}

void summary_say_stopped(const struct cli *cli, const struct kt_rotation *r)
{
	cli_say(cli,
		"stopped in phase %s: %lld of %lld rows are rewrapped, "
		"%lld failed",
		kt_rotation_phase_name(r->phase),
		(long long)summary_rewrapped(r), (long long)total(r),
		(long long)r->rows_failed);
}

bool summary_tokens_are_revoked(const struct kt_rotation *r)
{
	return r->kind == KT_ROTATION_PROJECT && r->activated != 0 &&
	       r->rollback_started == 0;
}

void summary_say_tokens(const struct cli *cli, const struct kt_rotation *r)
{
	if (summary_tokens_are_revoked(r))
		cli_say(cli,
			"the access tokens of '%s' from before are revoked; "
			"next: keyturn access issue %s",
			r->project, r->project);
}

const char *summary_how_on(const struct kt_rotation *r)
{
	bool master = r->kind == KT_ROTATION_MASTER;

	if (r->phase == KT_ROTATION_DRAINING &&
	    r->leg[0].old_key.compromised == 0)
		return master ? "keyturn master finish, or keyturn master "
				"rollback"
			      : "keyturn rotation finish, or keyturn rotation "
				"rollback";
	if (r->rows_failed > 0)
		return "keyturn rotation show last names the rows";
	return master ? "keyturn master resume"
		      : "keyturn project rotate again, or keyturn rotation "
			"resume";
}
