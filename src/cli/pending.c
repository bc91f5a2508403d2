/*
 * The choice among unfinished rotations, newest first as the engine lists
 * them.
 */
#include "cli/pending.h"

#include <string.h>

#include "base/clock.h"
#include "cli/summary.h"

static bool is_finished(const struct kt_rotation *r)
{
	return r->contracted != 0 || r->rolled_back != 0;
}

/* Before its cut-over, or on the way back. */
static bool is_at_work(const struct kt_rotation *r, const void *arg)
{
	(void)arg;
	return !is_finished(r) &&
	       (r->activated == 0 || r->rollback_started != 0);
}

static bool is_contracting(const struct kt_rotation *r, const void *arg)
{
	(void)arg;
	return r->phase == KT_ROTATION_CONTRACTING;
}

static bool is_finishable(const struct kt_rotation *r, const void *arg)
{
	(void)arg;
	return r->phase == KT_ROTATION_DRAINING ||
	       r->phase == KT_ROTATION_CONTRACTING;
}

static bool is_of_target(const struct kt_rotation *r, const void *arg)
{
	const struct rotate_target *target = arg;

	return !is_finished(r) && r->kind == target->kind &&
	       (target->project == NULL ||
		strcmp(r->project, target->project) == 0);
}

typedef bool rule(const struct kt_rotation *r, const void *arg);

struct search {
	rule *fits;
	const void *arg;
	struct kt_rotation *ret;
	bool found;
};

/* An error is the way to end a list; it is not looked at then. */
static enum kt_err search_one(void *arg, const struct kt_rotation *r)
{
	struct search *search = arg;

	if (!search->fits(r, search->arg))
		return KT_OK;
	*search->ret = *r;
	search->found = true;
	return KT_ERR_EXISTS;
}

static enum kt_err newest(struct cli *cli, rule *fits, const void *arg,
			  struct kt_rotation *ret)
{
	struct search search = {fits, arg, ret, false};
	struct kt_vault *vault;
	enum kt_err err;

	TRY(cli_vault(cli, &vault));
	err = kt_rotation_list(vault, search_one, &search);
	if (search.found)
		return KT_OK;
	TRY(err);
	return err_raise(KT_ERR_NOT_FOUND, "no rotation is unfinished");
}

static enum kt_err check_kind(enum kt_rotation_kind kind,
			      const struct kt_rotation *r)
{
	char what[SUMMARY_SUBJECT_MAX];
	enum kt_err err;

	if (kind == 0 || r->kind == kind)
		return KT_OK;
	summary_subject(r->kind, r->project, what);
	err = err_raise(KT_ERR_CONFLICT, "the unfinished rotation is of %s",
			what);
	return err_hint(err, "keyturn rotation has the same verbs for any "
			     "rotation");
}

enum kt_err pending_resumable(struct cli *cli, enum kt_rotation_kind kind,
			      struct kt_rotation *ret)
{
	struct kt_rotation r;
	enum kt_err err = newest(cli, is_at_work, NULL, &r);

	if (err == KT_ERR_NOT_FOUND)
		err = newest(cli, is_contracting, NULL, &r);
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no rotation is interrupted");
	TRY(err);
	TRY(check_kind(kind, &r));
	*ret = r;
	return KT_OK;
}

enum kt_err pending_reversible(struct cli *cli, enum kt_rotation_kind kind,
			       struct kt_rotation *ret)
{
	struct kt_vault *vault;
	struct kt_rotation r;

	TRY(cli_vault(cli, &vault));
	TRY(kt_rotation_current(vault, &r));
	TRY(check_kind(kind, &r));
	*ret = r;
	return KT_OK;
}

enum kt_err pending_finishable(struct cli *cli, enum kt_rotation_kind kind,
			       struct kt_rotation *ret)
{
	struct kt_rotation r;
	enum kt_err err = newest(cli, is_finishable, NULL, &r);

	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no rotation is in its grace time");
	TRY(err);
	TRY(check_kind(kind, &r));
	*ret = r;
	return KT_OK;
}

enum kt_err pending_blocker(struct cli *cli, const struct rotate_target *target,
			    struct kt_rotation *ret)
{
	enum kt_err err = newest(cli, is_at_work, NULL, ret);

	if (err != KT_ERR_NOT_FOUND)
		return err;
	return newest(cli, is_of_target, target, ret);
}

enum kt_err pending_refuse(const struct kt_rotation *blocker)
{
	char what[SUMMARY_SUBJECT_MAX], since[TIME_TEXT_LEN + 1];
	enum kt_err err;

	summary_subject(blocker->kind, blocker->project, what);
	time_format(blocker->planned, since);
	err = err_raise(KT_ERR_BUSY,
			"the rotation of %s by %s, begun %s, is not finished "
			"(%s)",
			what, blocker->operator_name, since,
			kt_rotation_phase_name(blocker->phase));
	return err_hint(err, "%s", summary_how_on(blocker));
}
