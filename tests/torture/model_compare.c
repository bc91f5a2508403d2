/*
 * What can be listed of the vault, which costs no token call, against the
 * model: nothing is missing, and nothing is there that should not be.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/torture/model.h"

#define SOON 3 /* seconds around which a token's end is not judged */

struct match {
	struct run *r;
	const struct model *m;
	int seen;
	int project;
	bool bad;
	char *why; /* 512 */
};

__attribute__((format(printf, 2, 3))) static enum kt_err no_match(
	struct match *x, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(x->why, 512, format, args);
	va_end(args);
	x->bad = true;
	return KT_ERR_FAILED;
}

static int number_of(const char *name, char letter, int max)
{
	if (name[0] != letter || name[1] < '0' || name[1] >= '0' + max ||
	    name[2] != '\0')
		return -1;
	return name[1] - '0';
}

static int64_t usable_tokens(const struct model *m, int project, bool *unsure)
{
	const struct kt_id *id = &m->project[project].id;
	int64_t now = time(NULL), usable = 0;

	for (int i = 0; i < m->accesses; i++) {
		const struct m_access *a = &m->access[i];

		if (!a->there || a->revoked ||
		    memcmp(&a->owner, id, sizeof(*id)) != 0)
			continue;
		usable += a->expires > now;
		*unsure |= llabs(a->expires - now) <= SOON;
	}
	return usable;
}

static enum kt_err match_project(void *arg, const struct kt_project *p)
{
	struct match *x = arg;
	int i = number_of(p->name, 'p', PROJECTS);
	const struct m_project *want = i < 0 ? NULL : &x->m->project[i];
	int version = want == NULL ? 0 : serving(&want->keys);
	bool unsure = false;
	int secrets = 0;

	x->seen++;
	if (want == NULL || !want->there)
		return no_match(x, "there is a project %s", p->name);
	for (int s = 0; s < SECRETS; s++)
		secrets += want->secret[s].versions > 0;
	if (memcmp(&p->id, &want->id, sizeof(p->id)) != 0)
		return no_match(x, "%s is another project", p->name);
	if (p->key.version != version ||
	    (p->key.state == KT_KEY_COMPROMISED) !=
		    want->keys.key[version].compromised)
		return no_match(x, "%s: key %lld serves, %s; not %d", p->name,
				(long long)p->key.version,
				kt_key_state_name(p->key.state), version);
	if (p->secrets != secrets || p->key.rows != values_of(want))
		return no_match(
			x, "%s: %lld secrets in %lld rows, not %d in %d",
			p->name, (long long)p->secrets, (long long)p->key.rows,
			secrets, values_of(want));
	if (p->access_tokens != usable_tokens(x->m, i, &unsure) && !unsure)
		return no_match(x, "%s: %lld access tokens are usable", p->name,
				(long long)p->access_tokens);
	return KT_OK;
}

static enum kt_err match_secret(void *arg, const struct kt_secret_info *info)
{
	struct match *x = arg;
	int i = number_of(info->name, 's', SECRETS);
	const struct m_secret *want;

	x->seen++;
	if (i < 0 || x->m->project[x->project].secret[i].versions == 0)
		return no_match(x, "there is a secret p%d/%s", x->project,
				info->name);
	want = &x->m->project[x->project].secret[i];
	if (info->version != want->versions ||
	    info->size != want->value[want->versions - 1].len)
		return no_match(x,
				"p%d/%s is version %lld with %lld bytes, not "
				"%d with %u",
				x->project, info->name,
				(long long)info->version, (long long)info->size,
				want->versions,
				want->value[want->versions - 1].len);
	return KT_OK;
}

static bool ended(struct match *x, const char *list, enum kt_err err, int want)
{
	if (x->bad)
		return false;
	if (err != KT_OK)
		(void)no_match(x, "%s: %s", list, kt_err_detail());
	else if (x->seen != want)
		(void)no_match(x, "%s: %d, not %d", list, x->seen, want);
	x->seen = 0;
	return !x->bad;
}

static bool match_projects(struct match *x)
{
	int there = 0;
	enum kt_err err = kt_project_list(x->r->vault, match_project, x);

	for (int p = 0; p < PROJECTS; p++)
		there += x->m->project[p].there;
	if (!ended(x, "projects", err, there))
		return false;
	for (x->project = 0; x->project < PROJECTS; x->project++) {
		const struct m_project *p = &x->m->project[x->project];
		char name[16];
		int secrets = 0;

		if (!p->there)
			continue;
		for (int s = 0; s < SECRETS; s++)
			secrets += p->secret[s].versions > 0;
		snprintf(name, sizeof(name), "p%d", x->project);
		err = kt_secret_list(x->r->vault, name, match_secret, x);
		if (!ended(x, "secrets", err, secrets))
			return false;
	}
	return true;
}

static enum kt_err match_access(void *arg, const struct kt_access *access)
{
	struct match *x = arg;

	x->seen++;
	for (int i = 0; i < x->m->accesses; i++) {
		const struct m_access *want = &x->m->access[i];

		if (strcmp(want->id, access->id) != 0)
			continue;
		if (!want->there)
			break;
		if ((access->revoked != 0) != want->revoked)
			return no_match(x, "access token %s is %srevoked",
					access->id,
					want->revoked ? "not " : "");
		return KT_OK;
	}
	return no_match(x, "there is an access token %s", access->id);
}

static bool match_accesses(struct match *x)
{
	int there = 0;

	for (int i = 0; i < x->m->accesses; i++)
		there += x->m->access[i].there;
	return ended(x, "access tokens",
		     kt_access_list(x->r->vault, NULL, match_access, x), there);
}

static enum kt_key_state state_of(const struct m_key *key)
{
	if (key->destroyed)
		return KT_KEY_DESTROYED;
	if (key->compromised)
		return KT_KEY_COMPROMISED;
	if (key->retired)
		return KT_KEY_DEACTIVATED;
	return key->activated ? KT_KEY_ACTIVE : KT_KEY_PRE_ACTIVE;
}

/* Rows under the master key that serves: each living project key, or each
 * value. */
static int64_t rows_under(const struct model *m, enum kt_key_role role)
{
	int64_t rows = 0;

	for (int i = 0; i < PROJECTS; i++) {
		const struct m_project *p = &m->project[i];

		if (role == KT_KEY_RECOVERY)
			rows += values_of(p);
		for (int v = 1; role == KT_KEY_MASTER && v <= p->keys.highest;
		     v++)
			rows += p->keys.key[v].proven &&
				!p->keys.key[v].destroyed;
	}
	return rows;
}

static bool turns(const struct m_rotation *rotation, int64_t version)
{
	return rotation->unfinished && (rotation->old_version == version ||
					rotation->new_version == version);
}

static enum kt_err match_master(void *arg, const struct kt_key *key)
{
	struct match *x = arg;
	const struct model *m = x->m;
	int64_t rows;

	x->seen++;
	if (key->version > m->master.highest)
		return no_match(x, "there is a master key version %lld",
				(long long)key->version);
	if (key->state != state_of(&m->master.key[key->version]))
		return no_match(x, "master key version %lld is %s, not %s",
				(long long)key->version,
				kt_key_state_name(key->state),
				kt_key_state_name(state_of(
					&m->master.key[key->version])));
	if (key->version == serving(&m->master))
		rows = rows_under(m, key->role);
	else if (turns(&m->rotation[0], key->version))
		return KT_OK;
	else
		rows = 0;
	if (key->rows != rows)
		return no_match(
			x, "%s key version %lld has %lld rows, not %lld",
			kt_key_role_name(key->role), (long long)key->version,
			(long long)key->rows, (long long)rows);
	return KT_OK;
}

static bool match_masters(struct match *x)
{
	return ended(x, "master keys",
		     kt_master_list(x->r->vault, match_master, x),
		     x->m->master.highest * (x->m->recovery ? 2 : 1));
}

static bool match_rotations(struct match *x)
{
	static struct model seen;
	struct kt_rotation current;
	enum kt_err err;

	seen = *x->m;
	if (!rotations_read(x->r, &seen)) {
		(void)no_match(x, "rotations: see above");
		return false;
	}
	for (int i = 0; i < SLOTS; i++) {
		const struct m_rotation *want = &x->m->rotation[i];

		if (memcmp(&seen.rotation[i].id, &want->id, sizeof(want->id)) !=
			    0 ||
		    (want->known && seen.rotation[i].phase != want->phase)) {
			(void)no_match(
				x, "the rotation of slot %d is %s, not %s", i,
				kt_rotation_phase_name(seen.rotation[i].phase),
				kt_rotation_phase_name(want->phase));
			return false;
		}
	}
	err = kt_rotation_current(x->r->vault, &current);
	if ((err == KT_OK) == any_unfinished(x->m) &&
	    (err == KT_OK || err == KT_ERR_NOT_FOUND))
		return true;
	(void)no_match(x, "the unfinished rotation: %s", kt_err_name(err));
	return false;
}

static enum kt_err match_record(void *arg, const struct kt_backup *backup)
{
	struct match *x = arg;
	int file = file_number(x->r, backup->file);

	x->seen++;
	for (int i = 0; i < x->m->records; i++) {
		if (!is_record(&x->m->record[i], backup) ||
		    x->m->record[i].file != file)
			continue;
		if (strcmp(x->m->record[i].versions, backup->versions) == 0)
			return KT_OK;
		return no_match(x, "%s needs '%s', not '%s'", backup->file,
				backup->versions, x->m->record[i].versions);
	}
	return no_match(x, "there is a record of %s", backup->file);
}

bool lists_match(struct run *r, const struct model *m, char why[512])
{
	struct match x = {.r = r, .m = m, .why = why};

	return match_projects(&x) && match_accesses(&x) && match_masters(&x) &&
	       match_rotations(&x) &&
	       ended(&x, "backups", kt_backup_list(r->vault, match_record, &x),
		     m->records);
}

bool expect_lists(struct run *r, const struct model *m)
{
	char why[512];

	return lists_match(r, m, why) || finding(r, "%s", why);
}
