/*
 * What only the vault knows of what the model foresaw: the ids it chose, the
 * name of the file that a restore kept, the versions that a copy needs.
 */
#include <string.h>

#include "tests/torture/model.h"

struct learning {
	struct run *r;
	struct model *m;
};

bool is_record(const struct m_record *record, const struct kt_backup *backup)
{
	return memcmp(&record->id, &backup->id, sizeof(backup->id)) == 0;
}

static bool is_known(const struct model *m, const struct kt_backup *backup)
{
	for (int i = 0; i < m->records; i++) {
		if (is_record(&m->record[i], backup))
			return true;
	}
	return false;
}

static struct m_record *find_new(struct model *m, int file)
{
	static const struct kt_backup unknown;

	for (int i = 0; i < m->records; i++) {
		if (m->record[i].file == file &&
		    is_record(&m->record[i], &unknown))
			return &m->record[i];
	}
	return NULL;
}

/* A name may have been another file's, which was forgotten and removed. That
 * the versions are the right ones, a destruction and a restore show. */
static enum kt_err learn_record(void *arg, const struct kt_backup *backup)
{
	struct learning *l = arg;
	int file = file_number(l->r, backup->file);
	struct m_record *record = file == 0 ? NULL : find_new(l->m, file);

	if (is_known(l->m, backup))
		return KT_OK;
	if (record == NULL) {
		record = find_new(l->m, 0);
		if (record == NULL)
			return KT_OK;
		record->file = file != 0 ? file : file_new(l->r, backup->file);
	}
	record->id = backup->id;
	memcpy(record->versions, backup->versions, sizeof(record->versions));
	return KT_OK;
}

static enum kt_err learn_access(void *arg, const struct kt_access *access)
{
	struct learning *l = arg;
	struct m_access *unknown = NULL;

	for (int i = 0; i < l->m->accesses; i++) {
		if (strcmp(l->m->access[i].id, access->id) == 0)
			return KT_OK;
		if (l->m->access[i].id[0] == '\0')
			unknown = &l->m->access[i];
	}
	if (unknown != NULL) {
		memcpy(unknown->id, access->id, sizeof(unknown->id));
		unknown->expires = access->expires;
	}
	return KT_OK;
}

static enum kt_err learn_key(void *arg, const struct kt_key *key)
{
	struct learning *l = arg;
	struct m_key *want;

	if (key->version > l->m->master.highest)
		return KT_OK;
	want = &l->m->master.key[key->version];
	if (l->r->object[want->object] == OBJECT_UNSURE && want->retired)
		want->destroyed = key->state == KT_KEY_DESTROYED;
	return KT_OK;
}

static bool learn_project(struct run *r, struct m_project *project, int number)
{
	static const struct kt_id none;
	struct kt_project about;
	char name[16];

	if (!project->there || memcmp(&project->id, &none, sizeof(none)) != 0)
		return true;
	snprintf(name, sizeof(name), "p%d", number);
	if (kt_project_get(r->vault, name, &about) == KT_OK)
		project->id = about.id;
	return true;
}

bool learn(struct run *r, struct model *m)
{
	struct learning l = {r, m};

	for (int p = 0; p < PROJECTS; p++)
		learn_project(r, &m->project[p], p);
	if (kt_backup_list(r->vault, learn_record, &l) != KT_OK ||
	    kt_access_list(r->vault, NULL, learn_access, &l) != KT_OK ||
	    kt_master_list(r->vault, learn_key, &l) != KT_OK)
		return finding(r, "a list: %s", kt_err_detail());
	return true;
}
