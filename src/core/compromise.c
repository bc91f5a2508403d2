/*
 * Marking a key as compromised, and getting off it. The mark is one small
 * transaction and takes effect with it, in every process; what follows is an
 * ordinary rotation. Which one is asked of the committed records each time, so
 * whatever interrupts this, the same call goes on.
 */
#include "base/clock.h"
#include "base/crash.h"
#include "core/audit.h"
#include "core/exposure.h"
#include "core/rotation.h"

/* More than any order of unfinished rotations needs. */
#define STEPS_MAX 8

enum step { STEP_NONE, STEP_START, STEP_RESUME, STEP_FINISH, STEP_ROLL_BACK };

static enum kt_err audit_mark(const struct exposure *e, const char *reason)
{
	bool master = e->kind == KT_ROTATION_MASTER;
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&e->key[0].id, id);
	return audit_append(e->vault,
			    master ? "master.compromise" : "project.compromise",
			    master ? id : e->project.name,
			    "key version %lld, reason: %.400s",
			    (long long)e->key[0].version, reason);
}

static enum kt_err require_reason(const char *reason)
{
	if (reason == NULL || reason[0] == '\0')
		return err_raise(KT_ERR_USAGE,
				 "a compromise needs a reason, for the record");
	return KT_OK;
}

enum kt_err kt_compromise_mark(struct kt_vault *vault,
			       const struct kt_key_ref *ref, const char *reason)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct exposure e;

	TRY(require_operator(vault));
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(exposure_find(vault, ref, &e));
	if (e.key[0].compromised != 0)
		return KT_OK;
	TRY(require_reason(reason));
	for (size_t i = 0; i < e.keys; i++) {
		e.key[i].compromised = clock_now();
		TRY(store_update(vault->store, ROW_KEY, &e.key[i]));
	}
	TRY(audit_mark(&e, reason));
	TRY(audit_checkpoint(vault));
	CRASH_POINT("compromise.marked");
	return store_commit(&tx);
}

struct search {
	struct kt_vault *vault;
	const struct kt_id *key;
	struct rotation_run *ret;
	bool found;
};

static enum kt_err look_at(struct search *search,
			   const struct rotation_row *row)
{
	struct rotation_run run = {0};

	if (search->found || !rotation_is_unfinished(row))
		return KT_OK;
	TRY(rotation_load(search->vault, &row->id, &run));
	for (size_t i = 0; i < run.legs; i++) {
		if (!id_equal(&run.leg[i].old_key.id, search->key) &&
		    !id_equal(&run.leg[i].new_key.id, search->key))
			continue;
		*search->ret = run;
		search->found = true;
		return KT_OK;
	}
	return KT_OK;
}

/* The unfinished rotation that turns this key, from it or to it. */
static enum kt_err find_unfinished(struct search *search)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct rotation_row row;
	enum kt_err err;

	TRY(query_start(search->vault->store, Q_ROTATIONS, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK)
		TRY(look_at(search, &row));
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* A marked old key is left by going on; a marked new one by going back, unless
 * the cut-over was away from a key that is marked as well. */
static enum step step_of(const struct rotation_run *run)
{
	bool from_marked = run->leg[0].old_key.compromised != 0;
	bool to_marked = run->leg[0].new_key.compromised != 0;

	switch (rotation_phase(&run->row)) {
	case KT_ROTATION_PLANNED:
	case KT_ROTATION_STAGING:
	case KT_ROTATION_STAGED:
	case KT_ROTATION_VERIFIED:
		return to_marked ? STEP_ROLL_BACK : STEP_RESUME;
	case KT_ROTATION_DRAINING:
		return from_marked ? STEP_FINISH : STEP_ROLL_BACK;
	case KT_ROTATION_CONTRACTING:
	case KT_ROTATION_ROLLING_BACK:
		return STEP_RESUME;
	case KT_ROTATION_CONTRACTED:
	case KT_ROTATION_DESTROYED:
	case KT_ROTATION_ROLLED_BACK:
	case KT_ROTATION_PHASE_MAX_:
		break;
	}
	return STEP_NONE;
}

static enum kt_err next_step(struct kt_vault *vault,
			     const struct kt_key_ref *ref, enum step *ret,
			     struct kt_id *ret_id)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct rotation_run run = {0};
	struct search search = {.vault = vault, .ret = &run};
	struct exposure e;

	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(exposure_find(vault, ref, &e));
	if (e.key[0].compromised == 0)
		return err_raise(KT_ERR_CONFLICT,
				 "the key is not marked as compromised");
	search.key = &e.key[0].id;
	TRY(find_unfinished(&search));
	*ret_id = run.row.id;
	if (search.found)
		*ret = step_of(&run);
	else
		*ret = e.key[0].activated != 0 && e.key[0].deactivated == 0
			       ? STEP_START
			       : STEP_NONE;
	return KT_OK;
}

struct leaving {
	struct kt_vault *vault;
	const struct kt_key_ref *ref;
	struct kt_rotate_options options;
	const struct kt_progress *progress;
	struct kt_rotation *ret;
};

static enum kt_err take_step(struct leaving *l, enum step step,
			     const struct kt_id *id)
{
	switch (step) {
	case STEP_START:
		return kt_rotation_start(l->vault, l->ref->kind,
					 l->ref->project, &l->options,
					 l->progress, l->ret);
	case STEP_RESUME:
		return kt_rotation_resume(l->vault, id, &l->options,
					  l->progress, l->ret);
	case STEP_FINISH:
		return kt_rotation_finish(l->vault, id, true, l->progress,
					  l->ret);
	case STEP_ROLL_BACK:
		return kt_rotation_rollback(l->vault, id, l->progress, l->ret);
	case STEP_NONE:
		break;
	}
	return KT_OK;
}

enum kt_err kt_compromise_rotate(struct kt_vault *vault,
				 const struct kt_key_ref *ref,
				 const struct kt_rotate_options *options,
				 const struct kt_progress *progress,
				 struct kt_rotation *ret)
{
	struct leaving l = {vault, ref, {0}, progress, ret};
	enum step step = STEP_NONE;
	struct kt_id id;

	TRY(require_operator(vault));
	if (options != NULL)
		l.options = *options;
	l.options.grace = 0;
	*ret = (struct kt_rotation){0};
	for (int i = 0; i < STEPS_MAX; i++) {
		TRY(next_step(vault, ref, &step, &id));
		if (step == STEP_NONE)
			return KT_OK;
		TRY(take_step(&l, step, &id));
	}
	return err_raise(KT_ERR_FAILED, "the key serves still");
}
