/*
 * The choice among unfinished rotations, newest first as the engine lists
 * them.
 */
#include "cli/pending.h"

#include <string.h>

struct search {
	bool (*fits)(const struct kt_rotation *r);
	enum kt_rotation_kind kind; /* 0: any */
	const char *project;        /* NULL: any */
	struct kt_rotation *ret;
	bool found;
};

static bool is_unfinished(const struct kt_rotation *r)
{
	return r->contracted == 0 && r->rolled_back == 0;
}

/* Only the grace time is waited for, where there is one, and there is none
 * after a compromise; in every other phase of an unfinished rotation some
 * process works, or should. */
static bool is_resumable(const struct kt_rotation *r)
{
	bool waits = r->phase == KT_ROTATION_DRAINING && r->grace != 0 &&
		     r->leg[0].old_key.compromised == 0;

	return is_unfinished(r) && !waits;
}

static bool is_reversible(const struct kt_rotation *r)
{
	return is_unfinished(r) && r->phase != KT_ROTATION_CONTRACTING;
}

static bool is_finishable(const struct kt_rotation *r)
{
	return r->phase == KT_ROTATION_DRAINING ||
	       r->phase == KT_ROTATION_CONTRACTING;
}

/* The list is newest first; the first that fits is kept. */
static enum kt_err look_at(void *arg, const struct kt_rotation *r)
{
	struct search *search = arg;

	if (search->found || !search->fits(r) ||
	    (search->kind != 0 && r->kind != search->kind) ||
	    (search->project != NULL &&
	     strcmp(r->project, search->project) != 0))
		return KT_OK;
	*search->ret = *r;
	search->found = true;
	return KT_OK;
}

static enum kt_err find(struct cli *cli, struct search *search,
			const char *none)
{
	struct kt_vault *vault;

	TRY(cli_vault(cli, &vault));
	TRY(kt_rotation_list(vault, look_at, search));
	return search->found ? KT_OK : err_raise(KT_ERR_NOT_FOUND, "%s", none);
}

static enum kt_err named(struct cli *cli, enum kt_rotation_kind kind,
			 const char *text, struct kt_rotation *ret)
{
	struct kt_vault *vault;
	struct kt_rotation r;
	struct kt_id id;

	TRY(kt_id_parse(text, &id));
	TRY(cli_vault(cli, &vault));
	TRY(kt_rotation_get(vault, &id, &r));
	if (kind != 0 && r.kind != kind)
		return err_raise(KT_ERR_CONFLICT,
				 "rotation %s is not of the master key", text);
	*ret = r;
	return KT_OK;
}

enum kt_err pending_resumable(struct cli *cli, enum kt_rotation_kind kind,
			      const char *text, struct kt_rotation *ret)
{
	struct search search = {.fits = is_resumable, .kind = kind, .ret = ret};

	if (text != NULL)
		return named(cli, kind, text, ret);
	return find(cli, &search, "no rotation is interrupted");
}

enum kt_err pending_reversible(struct cli *cli, enum kt_rotation_kind kind,
			       const char *text, struct kt_rotation *ret)
{
	struct search search = {
		.fits = is_reversible, .kind = kind, .ret = ret};

	if (text != NULL)
		return named(cli, kind, text, ret);
	return find(cli, &search, "no rotation has a way back");
}

enum kt_err pending_finishable(struct cli *cli, enum kt_rotation_kind kind,
			       const char *text, struct kt_rotation *ret)
{
	struct search search = {
		.fits = is_finishable, .kind = kind, .ret = ret};

	if (text != NULL)
		return named(cli, kind, text, ret);
	return find(cli, &search, "no rotation is in its grace time");
}

enum kt_err pending_of_project(struct cli *cli, const char *project,
			       struct kt_rotation *ret)
{
	struct search search = {.fits = is_unfinished,
				.kind = KT_ROTATION_PROJECT,
				.project = project,
				.ret = ret};

	return find(cli, &search, "no rotation of this project is unfinished");
}
