/*
 * What is true of projects, secrets and access tokens, from the manual pages.
 */
#include <string.h>

#include "tests/torture/model.h"

/* The highest that was switched to and not retired again; 0: none. */
int serving(const struct m_keys *keys)
{
	for (int v = keys->highest; v > 0; v--) {
		const struct m_key *key = &keys->key[v];

		if (key->activated && !key->retired && !key->destroyed)
			return v;
	}
	return 0;
}

static bool serves_compromised(const struct m_keys *keys)
{
	return keys->key[serving(keys)].compromised;
}

bool master_compromised(const struct model *m)
{
	return serves_compromised(&m->master);
}

bool any_compromised(const struct model *m)
{
	bool any = master_compromised(m);

	for (int p = 0; p < PROJECTS; p++)
		any |= serves_compromised(&m->project[p].keys);
	return any;
}

/* Nothing new is wrapped under a compromised key, and readers would look for it
 * there: a data key goes under the project key and the recovery key. */
enum kt_err predict_set(struct model *m, int project, int secret,
			const struct m_value *value)
{
	struct m_project *p = &m->project[project];
	struct m_secret *s = &p->secret[secret];

	if (!p->there)
		return KT_ERR_NOT_FOUND;
	if (serves_compromised(&p->keys) ||
	    (m->recovery && master_compromised(m)))
		return KT_ERR_CONFLICT;
	s->value[s->versions++] = *value;
	return KT_OK;
}

enum kt_err predict_get(const struct model *m, int project, int secret,
			int version)
{
	const struct m_project *p = &m->project[project];
	int versions = p->secret[secret].versions;

	if (!p->there || versions == 0 || version > versions)
		return KT_ERR_NOT_FOUND;
	return KT_OK;
}

enum kt_err predict_delete(struct model *m, int project, int secret)
{
	struct m_project *p = &m->project[project];

	if (!p->there || p->secret[secret].versions == 0)
		return KT_ERR_NOT_FOUND;
	p->secret[secret].versions = 0;
	return KT_OK;
}

enum kt_err predict_project_create(struct model *m, int project)
{
	struct m_project *p = &m->project[project];

	if (p->there)
		return KT_ERR_EXISTS;
	if (master_compromised(m))
		return KT_ERR_CONFLICT;
	*p = (struct m_project){.there = true};
	p->keys.highest = 1;
	p->keys.key[1] = (struct m_key){.proven = true, .activated = true};
	m->rotation[1 + project] = (struct m_rotation){0};
	return KT_OK;
}

void revoke_all(struct model *m, int project)
{
	for (int i = 0; i < m->accesses; i++) {
		struct m_access *access = &m->access[i];

		if (memcmp(&access->owner, &m->project[project].id,
			   sizeof(access->owner)) == 0)
			access->revoked = true;
	}
}

enum kt_err predict_project_delete(struct model *m, int project)
{
	if (!m->project[project].there)
		return KT_ERR_NOT_FOUND;
	if (m->rotation[1 + project].unfinished)
		return KT_ERR_BUSY;
	revoke_all(m, project);
	m->project[project] = (struct m_project){0};
	return KT_OK;
}

enum kt_err predict_access(const struct m_access *access, int64_t now)
{
	if (!access->there || access->revoked || access->expires <= now)
		return KT_ERR_DENIED;
	return KT_OK;
}

int values_of(const struct m_project *project)
{
	int values = 0;

	for (int s = 0; s < SECRETS; s++)
		values += project->secret[s].versions;
	return values;
}
