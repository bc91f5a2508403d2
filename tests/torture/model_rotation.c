/*
 * What is true of keys and their rotations: how far each goes, what stands in
 * its way, and what its phases change for everybody else.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/torture/model.h"

struct m_keys *slot_keys(struct model *m, int slot)
{
	return slot == 0 ? &m->master : &m->project[slot - 1].keys;
}

static struct m_key *old_key(struct model *m, int slot)
{
	return &slot_keys(m, slot)->key[m->rotation[slot].old_version];
}

static struct m_key *new_key(struct model *m, int slot)
{
	return &slot_keys(m, slot)->key[m->rotation[slot].new_version];
}

static bool is_running(const struct m_rotation *rotation)
{
	return rotation->unfinished &&
	       (rotation->phase < KT_ROTATION_DRAINING ||
		rotation->phase == KT_ROTATION_ROLLING_BACK);
}

static bool other_is_running(const struct model *m, int slot)
{
	for (int i = 0; i < SLOTS; i++) {
		if (i != slot && is_running(&m->rotation[i]))
			return true;
	}
	return false;
}

bool any_unfinished(const struct model *m)
{
	for (int i = 0; i < SLOTS; i++) {
		if (m->rotation[i].unfinished)
			return true;
	}
	return false;
}

/* A project key exists only wrapped: it is destroyed with its last row. */
static void give_up(struct model *m, int slot, struct m_key *key)
{
	key->retired = true;
	key->destroyed = slot > 0;
	m->rotation[slot].unfinished = false;
}

static void enter(struct model *m, int slot, enum kt_rotation_phase phase)
{
	switch (phase) {
	case KT_ROTATION_STAGING:
		new_key(m, slot)->proven = true;
		break;
	case KT_ROTATION_DRAINING:
		new_key(m, slot)->activated = true;
		if (slot > 0)
			revoke_all(m, slot - 1);
		break;
	case KT_ROTATION_CONTRACTING:
		old_key(m, slot)->retired = true;
		break;
	case KT_ROTATION_CONTRACTED:
		give_up(m, slot, old_key(m, slot));
		break;
	case KT_ROTATION_ROLLING_BACK:
		new_key(m, slot)->retired = true;
		break;
	case KT_ROTATION_ROLLED_BACK:
		give_up(m, slot, new_key(m, slot));
		break;
	case KT_ROTATION_PLANNED:
	case KT_ROTATION_STAGED:
	case KT_ROTATION_VERIFIED:
	case KT_ROTATION_DESTROYED:
	case KT_ROTATION_PHASE_MAX_:
		break;
	}
	m->rotation[slot].phase = phase;
}

/* Through every phase on the way. Whether an old key is destroyed too, the
 * key says. */
void rotation_advance(struct model *m, int slot, enum kt_rotation_phase phase)
{
	enum kt_rotation_phase at = m->rotation[slot].phase;

	if (phase == KT_ROTATION_DESTROYED)
		phase = KT_ROTATION_CONTRACTED;
	if (phase >= KT_ROTATION_ROLLING_BACK && at < KT_ROTATION_ROLLING_BACK)
		enter(m, slot, at = KT_ROTATION_ROLLING_BACK);
	while (at < phase)
		enter(m, slot, ++at);
}

static bool same_rotation(const struct m_rotation *a,
			  const struct m_rotation *b)
{
	return a->known == b->known &&
	       memcmp(&a->id, &b->id, sizeof(a->id)) == 0;
}

static bool on_the_way(enum kt_rotation_phase from, enum kt_rotation_phase at,
		       enum kt_rotation_phase to)
{
	if (to >= KT_ROTATION_ROLLING_BACK)
		return at == from || (at >= KT_ROTATION_ROLLING_BACK &&
				      at >= from && at <= to);
	return at >= from && at <= to;
}

/* Leaving a key may end one rotation and begin another. */
bool rotation_between(const struct m_rotation *before,
		      const struct m_rotation *seen,
		      const struct m_rotation *after)
{
	bool begins = after->new_version != before->new_version;

	if (!same_rotation(before, seen))
		return begins && seen->new_version == after->new_version &&
		       on_the_way(KT_ROTATION_PLANNED, seen->phase,
				  after->phase);
	if (begins && before->unfinished)
		return seen->phase >= before->phase;
	return on_the_way(before->phase, seen->phase,
			  begins ? before->phase : after->phase);
}

/* As far as it can go from here; the code tells why not further. */
static enum kt_err run_on(struct model *m, int slot, bool end_grace)
{
	struct m_rotation *rotation = &m->rotation[slot];

	if (rotation->phase == KT_ROTATION_ROLLING_BACK) {
		rotation_advance(m, slot, KT_ROTATION_ROLLED_BACK);
		return KT_OK;
	}
	if (rotation->phase < KT_ROTATION_DRAINING) {
		if (new_key(m, slot)->compromised)
			return KT_ERR_CONFLICT;
		if (rotation->phase == KT_ROTATION_PLANNED && slot > 0 &&
		    master_compromised(m))
			return KT_ERR_CONFLICT;
		rotation_advance(m, slot, KT_ROTATION_DRAINING);
	}
	if (rotation->phase == KT_ROTATION_CONTRACTING || !rotation->grace ||
	    end_grace || old_key(m, slot)->compromised)
		rotation_advance(m, slot, KT_ROTATION_CONTRACTED);
	return KT_OK;
}

enum kt_err predict_start(struct model *m, int slot, bool grace, int *objects)
{
	struct m_keys *keys = slot_keys(m, slot);
	int old = serving(keys);

	if (slot > 0 && !m->project[slot - 1].there)
		return KT_ERR_NOT_FOUND;
	if (other_is_running(m, slot) || m->rotation[slot].unfinished)
		return KT_ERR_BUSY;
	keys->key[++keys->highest] = (struct m_key){
		.object = slot == 0 ? ++*objects : 0,
	};
	m->rotation[slot] = (struct m_rotation){
		.known = true,
		.unfinished = true,
		.phase = KT_ROTATION_PLANNED,
		.grace = grace,
		.old_version = old,
		.new_version = keys->highest,
	};
	return run_on(m, slot, false);
}

/* What only waits for the end of its grace time is not interrupted. */
enum kt_err predict_resume(struct model *m, int slot)
{
	struct m_rotation *rotation = &m->rotation[slot];

	if (!rotation->known)
		return KT_ERR_NOT_FOUND;
	if (!rotation->unfinished ||
	    (rotation->phase == KT_ROTATION_DRAINING && rotation->grace &&
	     !old_key(m, slot)->compromised))
		return KT_ERR_CONFLICT;
	return run_on(m, slot, false);
}

enum kt_err predict_rollback(struct model *m, int slot)
{
	struct m_rotation *rotation = &m->rotation[slot];

	if (!rotation->known)
		return KT_ERR_NOT_FOUND;
	if (!rotation->unfinished || rotation->phase == KT_ROTATION_CONTRACTING)
		return KT_ERR_CONFLICT;
	if (rotation->phase == KT_ROTATION_DRAINING &&
	    old_key(m, slot)->compromised)
		return KT_ERR_CONFLICT;
	if (rotation->phase == KT_ROTATION_DRAINING &&
	    other_is_running(m, slot))
		return KT_ERR_BUSY;
	rotation_advance(m, slot, KT_ROTATION_ROLLED_BACK);
	return KT_OK;
}

enum kt_err predict_finish(struct model *m, int slot, bool now)
{
	struct m_rotation *rotation = &m->rotation[slot];

	if (!rotation->known)
		return KT_ERR_NOT_FOUND;
	if (!rotation->unfinished ||
	    (rotation->phase != KT_ROTATION_DRAINING &&
	     rotation->phase != KT_ROTATION_CONTRACTING))
		return KT_ERR_CONFLICT;
	if (!now && rotation->phase == KT_ROTATION_DRAINING &&
	    rotation->grace && !old_key(m, slot)->compromised)
		return KT_ERR_CONFLICT;
	return run_on(m, slot, now);
}

enum kt_err predict_mark(struct model *m, int slot, int version)
{
	struct m_keys *keys = slot_keys(m, slot);

	if (slot > 0 && !m->project[slot - 1].there)
		return KT_ERR_NOT_FOUND;
	if (version < 1 || version > keys->highest)
		return KT_ERR_NOT_FOUND;
	keys->key[version].compromised = true;
	return KT_OK;
}

/* What leaves a marked key: on with a rotation from it, back from one to it,
 * or a new one. */
static enum kt_err leave_step(struct model *m, int slot, int version,
			      int *objects, bool *ret_done)
{
	struct m_keys *keys = slot_keys(m, slot);
	struct m_rotation *rotation = &m->rotation[slot];

	if (!rotation->unfinished || (rotation->old_version != version &&
				      rotation->new_version != version)) {
		*ret_done = serving(keys) != version;
		return *ret_done ? KT_OK
				 : predict_start(m, slot, false, objects);
	}
	if (rotation->phase == KT_ROTATION_CONTRACTING ||
	    rotation->phase == KT_ROTATION_ROLLING_BACK)
		return predict_resume(m, slot);
	if (rotation->phase == KT_ROTATION_DRAINING)
		return old_key(m, slot)->compromised
			       ? predict_finish(m, slot, true)
			       : predict_rollback(m, slot);
	return new_key(m, slot)->compromised ? predict_rollback(m, slot)
					     : predict_resume(m, slot);
}

enum kt_err predict_leave(struct model *m, int slot, int version, int *objects)
{
	struct m_keys *keys = slot_keys(m, slot);
	enum kt_err err = KT_OK;
	bool done = false;

	if (slot > 0 && !m->project[slot - 1].there)
		return KT_ERR_NOT_FOUND;
	if (version < 1 || version > keys->highest)
		return KT_ERR_NOT_FOUND;
	if (!keys->key[version].compromised)
		return KT_ERR_CONFLICT;
	while (!done && err == KT_OK)
		err = leave_step(m, slot, version, objects, &done);
	return err;
}

static bool lists_version(const char *versions, int version)
{
	char *end;

	for (long n = strtol(versions, &end, 10); n != 0;
	     n = strtol(end, &end, 10)) {
		if (n == version)
			return true;
	}
	return false;
}

enum kt_err predict_destroy(struct model *m, int version, bool ignore_backups)
{
	const struct m_rotation *rotation = &m->rotation[0];
	struct m_key *key;

	if (version < 1 || version > m->master.highest)
		return KT_ERR_NOT_FOUND;
	key = &m->master.key[version];
	if (key->destroyed || !key->retired)
		return KT_ERR_CONFLICT;
	if (rotation->unfinished && (rotation->old_version == version ||
				     rotation->new_version == version))
		return KT_ERR_CONFLICT;
	for (int i = 0; i < m->records && !ignore_backups; i++) {
		if (lists_version(m->record[i].versions, version))
			return KT_ERR_CONFLICT;
	}
	key->destroyed = true;
	return KT_OK;
}
