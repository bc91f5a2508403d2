/*
 * Backups: each file is kept with the model of its moment, so that a restore
 * puts the model back too, but for what a restore must not undo.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/torture/model.h"

struct backup *backup_pick(struct run *r, const struct op *op)
{
	int places[BACKUPS], count = 0;

	for (int i = 0; i < BACKUPS; i++) {
		if (r->backup[i].file != 0)
			places[count++] = i;
	}
	return count == 0 ? NULL
			  : &r->backup[places[op->pick % (uint32_t)count]];
}

struct m_record *record_pick(struct model *m, const struct op *op)
{
	return m->records == 0 ? NULL
			       : &m->record[op->pick % (uint32_t)m->records];
}

static void drop_file(struct run *r, int file)
{
	unlink(r->path[file]);
	for (int i = 0; i < BACKUPS; i++) {
		if (r->backup[i].file == file)
			r->backup[i].file = 0;
	}
}

void backup_keep(struct run *r, int file, const struct model *state,
		 const struct model *records)
{
	struct backup *place = NULL;

	for (int i = 0; i < BACKUPS && place == NULL; i++) {
		if (r->backup[i].file == 0)
			place = &r->backup[i];
	}
	if (place == NULL)
		return;
	if (place->state == NULL)
		place->state = malloc(sizeof(*place->state));
	if (place->state == NULL)
		abort();
	*place->state = *state;
	place->file = file;
	for (int i = 0; i < records->records; i++) {
		if (records->record[i].file == file)
			memcpy(place->versions, records->record[i].versions,
			       sizeof(place->versions));
	}
}

/* Room for what a restore adds. */
static bool has_room(const struct run *r)
{
	return r->model.records < RECORDS - 3 && r->files < FILES - 3;
}

static void add_record(struct run *r, struct model *m, int file)
{
	m->record[m->records++] =
		(struct m_record){.number = ++r->records, .file = file};
}

enum kt_err predict_create(struct run *r, struct model *m, int file)
{
	add_record(r, m, file);
	return KT_OK;
}

enum kt_err predict_forget(struct model *m, const struct op *op)
{
	struct m_record *record = record_pick(m, op);

	if (record == NULL)
		return KT_ERR_NOT_FOUND;
	*record = m->record[--m->records];
	return KT_OK;
}

static bool needs(const struct backup *backup, int version)
{
	char *end;

	for (long n = strtol(backup->versions, &end, 10); n != 0;
	     n = strtol(end, &end, 10)) {
		if (n == version)
			return true;
	}
	return false;
}

/* OBJECT_GONE when a key that it needs is. */
static enum object keys_of(const struct run *r, const struct backup *backup)
{
	const struct m_keys *keys = &backup->state->master;
	enum object worst = OBJECT_THERE;

	for (int v = 1; v <= keys->highest; v++) {
		enum object object = r->object[keys->key[v].object];

		if (needs(backup, v) && object > worst)
			worst = object;
	}
	return worst;
}

/* Tokens that were revoked since stay revoked; those that were issued since
 * are none any more. */
static void carry_access(struct model *m, const struct model *present)
{
	int known = m->accesses;

	for (int i = 0; i < present->accesses; i++) {
		struct m_access *access = &m->access[i];
		bool there = i < known && access->there;
		bool revoked = access->revoked;

		*access = present->access[i];
		access->revoked =
			(there && revoked) || (present->access[i].there &&
					       present->access[i].revoked);
		access->there = there;
	}
	m->accesses = present->accesses;
}

static void carry_records(struct run *r, struct model *m,
			  const struct model *present, int file)
{
	bool itself = false;

	for (int i = 0; i < present->records; i++) {
		bool known = false;

		for (int k = 0; k < m->records; k++)
			known |= m->record[k].number ==
				 present->record[i].number;
		if (!known && m->records < RECORDS - 2)
			m->record[m->records++] = present->record[i];
	}
	for (int k = 0; k < m->records; k++)
		itself |= m->record[k].file == file;
	if (!itself)
		add_record(r, m, file);
	add_record(r, m, 0); /* the database that is replaced */
}

static void carry_destructions(const struct run *r, struct model *m,
			       const struct backup *backup)
{
	for (int v = 1; v <= m->master.highest; v++) {
		struct m_key *key = &m->master.key[v];

		if (key->proven && !needs(backup, v) &&
		    r->object[key->object] == OBJECT_GONE)
			key->destroyed = true;
	}
}

enum kt_err predict_restore(struct run *r, const struct op *op, struct model *m,
			    bool *ret_unsure)
{
	const struct backup *backup = backup_pick(r, op);
	enum object keys = keys_of(r, backup);
	const struct model *present = &r->before;

	*ret_unsure = keys == OBJECT_UNSURE;
	if (keys == OBJECT_GONE)
		return KT_ERR_TOKEN;
	if (op->flag % 4 == 0) /* without --replace-newer */
		return KT_ERR_CONFLICT;
	*m = *backup->state;
	carry_access(m, present);
	carry_records(r, m, present, backup->file);
	carry_destructions(r, m, backup);
	return KT_OK;
}

/* Keys that serve, or will, must be among what a new copy needs; what was given
 * up long ago must not. */
static bool versions_are_right(struct run *r, const char *versions)
{
	const struct m_rotation *rotation = &r->model.rotation[0];
	struct backup copy = {0};

	snprintf(copy.versions, sizeof(copy.versions), "%s", versions);
	for (int v = 1; v <= r->model.master.highest; v++) {
		const struct m_key *key = &r->model.master.key[v];
		bool turns =
			rotation->unfinished && (v == rotation->old_version ||
						 v == rotation->new_version);
		bool live = key->proven && !key->retired && !key->destroyed;

		if ((live && !needs(&copy, v)) ||
		    (!live && !turns && needs(&copy, v)))
			return finding(r,
				       "the copy needs '%s', says keyturn; "
				       "version %d is wrong in it",
				       versions, v);
	}
	return true;
}

static bool create(struct run *r)
{
	struct kt_backup backup;
	int file = r->files;

	if (!has_room(r))
		return true;
	if (!expect_code(
		    r, predict_create(r, &r->model, file),
		    kt_backup_create(r->vault, r->path[file], 0, &backup)) ||
	    !learn(r, &r->model) || !versions_are_right(r, backup.versions))
		return false;
	backup_keep(r, file, &r->before, &r->model);
	return true;
}

static bool verify(struct run *r, const struct op *op)
{
	const struct backup *backup = backup_pick(r, op);
	struct kt_backup_report report;
	enum object keys;
	enum kt_err err;

	if (backup == NULL)
		return true;
	keys = keys_of(r, backup);
	err = kt_backup_verify(&r->params, r->path[backup->file], NULL, NULL,
			       NULL, &report);
	if (keys == OBJECT_UNSURE && err == KT_ERR_TOKEN)
		return true;
	return expect_code(r, keys == OBJECT_GONE ? KT_ERR_TOKEN : KT_OK, err);
}

static bool restore(struct run *r, const struct op *op)
{
	const struct backup *backup = backup_pick(r, op);
	const struct kt_restore_options options = {.replace_newer =
							   op->flag % 4 != 0};
	struct kt_restore_plan plan;
	enum kt_err want, err;
	bool unsure;

	if (backup == NULL || !has_room(r))
		return true;
	want = predict_restore(r, op, &r->model, &unsure);
	vault_close(r);
	err = kt_backup_restore(&r->params, r->path[backup->file], &options,
				NULL, &plan);
	vault_open(r);
	if (unsure && err == KT_ERR_TOKEN) {
		r->model = r->before;
		return true;
	}
	if (!expect_code(r, want, err))
		return false;
	if (want != KT_OK)
		return true;
	if (!learn(r, &r->model))
		return false;
	backup_keep(r, r->model.record[r->model.records - 1].file, &r->before,
		    &r->model);
	r->counts.restores++;
	return expect_lists(r, &r->model);
}

static bool forget(struct run *r, const struct op *op)
{
	struct m_record *record = record_pick(&r->model, op);
	struct kt_id id = record != NULL ? record->id : (struct kt_id){{0}};
	int file = record != NULL ? record->file : 0;

	if (!expect_code(r, predict_forget(&r->model, op),
			 kt_backup_forget(r->vault, &id)))
		return false;
	if (file != 0 && op->flag % 4 != 0)
		drop_file(r, file);
	return true;
}

bool run_backup(struct run *r, const struct op *op)
{
	if (op->kind == OP_BACKUP)
		return create(r);
	if (op->kind == OP_BACKUP_VERIFY)
		return verify(r, op);
	if (op->kind == OP_RESTORE)
		return restore(r, op);
	return forget(r, op);
}
