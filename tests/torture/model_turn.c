/*
 * Rotations, compromises and destructions, run here through the library. A
 * rotation that was asked to stop at a batch edge may be anywhere on its way:
 * where it is, its record says, and the model goes there with it.
 */
#include <string.h>

#include "tests/torture/model.h"

struct reading {
	struct run *r;
	struct model *m;
	bool seen[SLOTS];
	bool bad;
};

/* A project of the same name was perhaps there before: ids sort by time. */
static int slot_of(const struct model *m, const struct kt_rotation *rotation)
{
	int project;

	if (rotation->kind == KT_ROTATION_MASTER)
		return 0;
	project = rotation->project[1] - '0';
	if (!m->project[project].there ||
	    memcmp(&rotation->id, &m->project[project].id,
		   sizeof(rotation->id)) < 0)
		return -1;
	return 1 + project;
}

static void begin(struct reading *reading, int slot,
		  const struct kt_rotation *rotation)
{
	struct m_keys *keys = slot_keys(reading->m, slot);
	int version = (int)rotation->leg[0].new_key.version;

	if (version != keys->highest + 1)
		reading->bad = !finding(reading->r,
					"a rotation makes version %d after %d",
					version, keys->highest);
	keys->highest = version;
	keys->key[version] = (struct m_key){
		.object = slot == 0 ? ++reading->r->objects : 0,
	};
	reading->m->rotation[slot] = (struct m_rotation){
		.known = true,
		.unfinished = true,
		.id = rotation->id,
		.phase = KT_ROTATION_PLANNED,
		.grace = rotation->grace > 0,
		.old_version = (int)rotation->leg[0].old_key.version,
		.new_version = version,
	};
}

/* Newest first: the first of a slot counts, and one before it that the model
 * has as unfinished has ended meanwhile. */
static enum kt_err read_one(void *arg, const struct kt_rotation *rotation)
{
	struct reading *reading = arg;
	int slot = slot_of(reading->m, rotation);
	struct m_rotation *known;

	if (slot < 0 || reading->seen[slot])
		return KT_OK;
	reading->seen[slot] = true;
	known = &reading->m->rotation[slot];
	if (!known->known ||
	    memcmp(&known->id, &rotation->id, sizeof(known->id)) != 0) {
		struct kt_rotation last;

		if (known->unfinished &&
		    kt_rotation_get(reading->r->vault, &known->id, &last) ==
			    KT_OK)
			rotation_advance(reading->m, slot, last.phase);
		begin(reading, slot, rotation);
	}
	rotation_advance(reading->m, slot, rotation->phase);
	return KT_OK;
}

bool rotations_read(struct run *r, struct model *m)
{
	struct reading reading = {.r = r, .m = m};

	if (kt_rotation_list(r->vault, read_one, &reading) != KT_OK)
		return finding(r, "rotation list: %s", kt_err_detail());
	return !reading.bad;
}

bool rotations_as_predicted(struct run *r, bool interrupted)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct m_rotation *seen = &r->model.rotation[i];
		const struct m_rotation *want = &r->after.rotation[i];

		if (interrupted &&
		    rotation_between(&r->before.rotation[i], seen, want))
			continue;
		if (!interrupted && seen->phase == want->phase &&
		    seen->unfinished == want->unfinished &&
		    seen->new_version == want->new_version)
			continue;
		return finding(
			r,
			"slot %d: from %s to %s (version %d), not %s "
			"(version %d)",
			i, kt_rotation_phase_name(r->before.rotation[i].phase),
			kt_rotation_phase_name(seen->phase), seen->new_version,
			kt_rotation_phase_name(want->phase), want->new_version);
	}
	return true;
}

static bool mark_read(struct run *r, const struct kt_key_ref *ref,
		      struct m_key *key)
{
	struct kt_exposure exposure;

	if (kt_exposure_get(r->vault, ref, &exposure) != KT_OK)
		return finding(r, "exposure: %s", kt_err_detail());
	key->compromised |= exposure.compromised != 0;
	return true;
}

bool marks_read(struct run *r, struct model *m)
{
	for (int slot = 0; slot < SLOTS; slot++) {
		struct m_keys *keys = slot_keys(m, slot);
		char name[16];

		if (slot > 0 && !m->project[slot - 1].there)
			continue;
		snprintf(name, sizeof(name), "p%d", slot - 1);
		for (int v = 1; v <= keys->highest; v++) {
			const struct kt_key_ref ref = {
				slot == 0 ? KT_ROTATION_MASTER
					  : KT_ROTATION_PROJECT,
				name, v};

			if (!mark_read(r, &ref, &keys->key[v]))
				return false;
		}
	}
	return true;
}

/* A version that is marked, and retired or not; 0: there is none. */
static int marked_version(const struct m_keys *keys, bool retired)
{
	for (int v = keys->highest; v > 0; v--) {
		if (keys->key[v].compromised && keys->key[v].retired == retired)
			return v;
	}
	return 0;
}

/* Mostly one that the call is made for, or the newest; now and then one that
 * there is not. False where no version can be named. */
bool version_of(const struct run *r, const struct op *op, int *ret)
{
	const struct m_keys *keys =
		op->slot == 0 ? &r->before.master
			      : &r->before.project[op->slot - 1].keys;
	bool leaves = op->kind == OP_LEAVE || op->kind == OP_REENCRYPT;

	*ret = keys->highest + 1 - (int)(op->pick % 4);
	if (leaves && op->flag % 4 != 0 &&
	    marked_version(keys, op->kind == OP_REENCRYPT) != 0)
		*ret = marked_version(keys, op->kind == OP_REENCRYPT);
	if (op->kind == OP_DESTROY)
		*ret = 1 + (int)(op->pick % (uint32_t)(keys->highest + 1));
	return *ret >= 1 || (op->kind != OP_MARK && !leaves);
}

enum kt_err predict_turn(struct run *r, const struct op *op, struct model *m)
{
	int objects = r->objects;
	bool flag = op->flag & 1;
	int version = 0;

	(void)version_of(r, op, &version);
	if (op->kind == OP_ROTATE)
		return predict_start(m, op->slot, flag, &objects);
	if (op->kind == OP_RESUME)
		return predict_resume(m, op->slot);
	if (op->kind == OP_ROLLBACK)
		return predict_rollback(m, op->slot);
	if (op->kind == OP_FINISH)
		return predict_finish(m, op->slot, flag);
	if (op->kind == OP_LEAVE)
		return predict_leave(m, op->slot, version, &objects);
	if (op->kind == OP_MARK)
		return predict_mark(m, op->slot, version);
	return predict_destroy(m, version, flag);
}

struct edges {
	uint32_t stop_at, count;
	bool stopped;
};

static bool at_edge(void *arg)
{
	struct edges *edges = arg;

	edges->count++;
	if (edges->stop_at != 0 && edges->count >= edges->stop_at)
		edges->stopped = true;
	return edges->stopped;
}

/* Everything that any of the calls wants. */
struct call {
	enum kt_rotation_kind kind;
	char project[16];
	struct kt_key_ref ref;
	struct kt_rotate_options options;
	struct kt_id id;
	struct kt_rotation ret;
	int64_t values;
};

static void call_make(const struct run *r, const struct op *op, struct call *c)
{
	int version = 0;

	(void)version_of(r, op, &version);
	*c = (struct call){
		.kind = op->slot == 0 ? KT_ROTATION_MASTER
				      : KT_ROTATION_PROJECT,
		.id = r->before.rotation[op->slot].id,
		.options = {.batch_size = op->batch,
			    .jobs = 1,
			    .reason = "model",
			    .grace = op->flag & 1 ? 3600 : 0},
	};
	snprintf(c->project, sizeof(c->project), "p%d", op->slot - 1);
	c->ref = (struct kt_key_ref){c->kind, c->project, version};
}

static enum kt_err call(struct run *r, const struct op *op,
			const struct kt_progress *progress)
{
	struct kt_vault *vault = r->vault;
	bool flag = op->flag & 1;
	struct call c;

	call_make(r, op, &c);
	if (op->kind == OP_ROTATE)
		return kt_rotation_start(vault, c.kind, c.project, &c.options,
					 progress, &c.ret);
	if (op->kind == OP_RESUME)
		return kt_rotation_resume(vault, &c.id, &c.options, progress,
					  &c.ret);
	if (op->kind == OP_ROLLBACK)
		return kt_rotation_rollback(vault, &c.id, progress, &c.ret);
	if (op->kind == OP_FINISH)
		return kt_rotation_finish(vault, &c.id, flag, progress, &c.ret);
	if (op->kind == OP_LEAVE)
		return kt_compromise_rotate(vault, &c.ref, &c.options, progress,
					    &c.ret);
	if (op->kind == OP_MARK)
		return kt_compromise_mark(vault, &c.ref, "model");
	if (op->kind == OP_REENCRYPT)
		return kt_reencrypt(vault, &c.ref, &c.options, progress, NULL,
				    NULL, &c.values);
	if (op->kind == OP_DESTROY)
		return kt_master_destroy(vault, c.ref.version, flag);
	return kt_rotation_dry_run(vault, c.kind, c.project, &c.options,
				   progress, NULL, NULL);
}

static bool turn(struct run *r, const struct op *op)
{
	struct edges edges = {.stop_at = op->stop};
	const struct kt_progress progress = {.stop = at_edge, .arg = &edges};
	enum kt_err want, got;

	r->after = r->model;
	want = predict_turn(r, op, &r->after);
	got = call(r, op, &progress);
	if (!expect_code(r, edges.stopped ? KT_ERR_INTERRUPTED : want, got))
		return false;
	return rotations_read(r, &r->model) &&
	       rotations_as_predicted(r, edges.stopped) &&
	       expect_lists(r, &r->model);
}

static bool mark(struct run *r, const struct op *op)
{
	enum kt_err want = predict_turn(r, op, &r->model);

	return expect_code(r, want, call(r, op, NULL));
}

static bool destroy(struct run *r, const struct op *op)
{
	enum kt_err want = predict_turn(r, op, &r->model);
	int version;

	if (!expect_code(r, want, call(r, op, NULL)))
		return false;
	if (want == KT_OK && version_of(r, op, &version))
		r->object[r->model.master.key[version].object] = OBJECT_GONE;
	return true;
}

static enum kt_err predict_reencrypt(struct model *m, int slot, int version)
{
	const struct m_keys *keys = slot_keys(m, slot);

	if ((slot > 0 && !m->project[slot - 1].there) ||
	    version > keys->highest)
		return KT_ERR_NOT_FOUND;
	return keys->key[version].compromised && keys->key[version].retired
		       ? KT_OK
		       : KT_ERR_CONFLICT;
}

static bool nothing_is_exposed(struct run *r, const struct op *op)
{
	struct kt_exposure left;
	struct call c;

	call_make(r, op, &c);
	if (kt_exposure_get(r->vault, &c.ref, &left) != KT_OK)
		return finding(r, "exposure: %s", kt_err_detail());
	return (left.values == 0 && left.project_keys == 0) ||
	       finding(r, "%lld values and %lld keys are exposed still",
		       (long long)left.values, (long long)left.project_keys);
}

/* Which project keys a marked master key exposed is a matter of seconds, which
 * the model does not count: it is told by the records, and asked whether
 * anything is exposed still. */
static bool reencrypt(struct run *r, const struct op *op)
{
	struct edges edges = {.stop_at = op->stop};
	const struct kt_progress progress = {.stop = at_edge, .arg = &edges};
	enum kt_err want, got;
	int version;

	(void)version_of(r, op, &version);
	want = predict_reencrypt(&r->model, op->slot, version);
	got = call(r, op, &progress);
	if (edges.stopped)
		want = KT_ERR_INTERRUPTED;
	else if (want == KT_OK && got == KT_ERR_BUSY)
		want = any_unfinished(&r->model) ? KT_ERR_BUSY : KT_OK;
	else if (want == KT_OK && got == KT_ERR_CONFLICT)
		want = any_unfinished(&r->model) || any_compromised(&r->model)
			       ? KT_ERR_CONFLICT
			       : KT_OK;
	if (!expect_code(r, want, got) || !marks_read(r, &r->model) ||
	    !rotations_read(r, &r->model))
		return false;
	return got != KT_OK || nothing_is_exposed(r, op);
}

static uint64_t file_hash(const char *path)
{
	uint64_t hash = 0xcbf29ce484222325;
	FILE *file = fopen(path, "r");
	int byte;

	while (file != NULL && (byte = getc(file)) != EOF)
		hash = (hash ^ (uint64_t)byte) * 0x100000001b3;
	if (file != NULL)
		fclose(file);
	return hash;
}

/* I10: not a byte of the database. */
static bool dry_run(struct run *r, const struct op *op)
{
	bool there = op->slot == 0 || r->model.project[op->slot - 1].there;
	uint64_t before = file_hash(r->store);

	if (!expect_code(r, there ? KT_OK : KT_ERR_NOT_FOUND,
			 call(r, op, NULL)))
		return false;
	return file_hash(r->store) == before ||
	       finding(r, "a dry run changed the database");
}

bool run_rotation(struct run *r, const struct op *op)
{
	int version;

	if (!version_of(r, op, &version)) /* 0 would be the one that serves */
		return true;
	if (op->kind == OP_DRY_RUN)
		return dry_run(r, op);
	if (op->kind == OP_DESTROY)
		return destroy(r, op);
	if (op->kind == OP_MARK)
		return mark(r, op);
	if (op->kind == OP_REENCRYPT)
		return reencrypt(r, op);
	return turn(r, op);
}
