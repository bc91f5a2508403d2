/*
 * Who acts, and which project they reach. An operator reaches all by their
 * names. The holder of an access token reaches one: every call reads the
 * token's row again, so a revocation holds from its commit on, in every
 * process. All denials are one: same code, same text, same work.
 */
#include <string.h>

#include "base/clock.h"
#include "core/access.h"

enum kt_err denied(void)
{
	return err_raise(KT_ERR_DENIED, "access denied");
}

enum kt_err require_operator(const struct kt_vault *vault)
{
	return vault->actor.limited ? denied() : KT_OK;
}

bool access_usable(const struct access_row *row, int64_t now)
{
	return row->revoked == 0 && now < row->expires;
}

enum kt_err project_by_name(struct kt_vault *vault, const char *name,
			    struct project_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct project_row row;
	enum kt_err err;

	TRY(query_start(vault->store, Q_PROJECTS_BY_NAME, &query, "s", name));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (row.deleted != 0)
			continue;
		*ret = row;
		return KT_OK;
	}
	if (err == KT_ERR_NOT_FOUND)
		return err_raise(err, "no project is named '%s'", name);
	return err_prefix(err, "project '%s'", name);
}

/* The project is looked up by the token's id for it, not by the name given:
 * unknown and foreign names cannot be told apart. */
static enum kt_err limited_find(struct kt_vault *vault, const char *name,
				enum kt_access_scope scope,
				struct project_row *ret)
{
	const struct actor *actor = &vault->actor;
	struct access_row access;
	struct project_row project;
	enum kt_err err = query_one(vault->store, Q_ACCESS, &access, "s",
				    actor->access_id);

	if (err == KT_ERR_NOT_FOUND)
		return denied();
	TRY(err);
	if (!access_usable(&access, clock_now()) ||
	    access.scope < (int64_t)scope ||
	    !id_equal(&access.project, &actor->project))
		return denied();
	err = query_one(vault->store, Q_PROJECT, &project, "b",
			&actor->project);
	if (err == KT_ERR_NOT_FOUND)
		return denied();
	TRY(err);
	if (project.deleted != 0 || strcmp(project.name, name) != 0)
		return denied();
	*ret = project;
	return KT_OK;
}

enum kt_err project_find(struct kt_vault *vault, const char *name,
			 enum kt_access_scope scope, struct project_row *ret)
{
	if (vault->actor.limited)
		return limited_find(vault, name, scope, ret);
	return project_by_name(vault, name, ret);
}
