/*
 * Every value by both ways in, and what others say of the vault: the audit
 * trail, the proofs of every row, the checker from outside.
 */
#include <string.h>

#include "tests/torture/model.h"

static bool value_matches(struct kt_vault *vault, const char *project,
			  const char *secret, int version,
			  const struct m_value *want, char why[512])
{
	CLEANUP(kt_secret_done) struct kt_secret got = {0};
	CLEANUP(freep) char *text = value_text(want);
	enum kt_err err = kt_secret_get(vault, project, secret, version, &got);

	if (err != KT_OK)
		snprintf(why, 512, "%s/%s version %d: %s", project, secret,
			 version, kt_err_detail());
	else if (got.len != want->len || memcmp(got.data, text, got.len) != 0)
		snprintf(why, 512, "%s/%s version %d is another value", project,
			 secret, version);
	else
		return true;
	return false;
}

bool values_match(struct run *r, struct kt_vault *vault, int project,
		  char why[512])
{
	const struct m_project *p = &r->model.project[project];
	char name[16], secret[16];

	snprintf(name, sizeof(name), "p%d", project);
	for (int s = 0; s < SECRETS; s++) {
		CLEANUP(kt_secret_done) struct kt_secret none = {0};
		int versions = p->secret[s].versions;

		snprintf(secret, sizeof(secret), "s%d", s);
		for (int v = 1; v <= versions; v++) {
			r->counts.values++;
			if (!value_matches(vault, name, secret, v,
					   &p->secret[s].value[v - 1], why))
				return false;
		}
		if (kt_secret_get(vault, name, secret, versions + 1, &none) !=
		    KT_ERR_NOT_FOUND) {
			snprintf(why, 512, "%s/%s has a version %d", name,
				 secret, versions + 1);
			return false;
		}
	}
	return true;
}

/* By an access token made for it, so by the project's key. */
static bool compare_as_holder(struct run *r, int project, char why[512])
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct kt_vault *vault = NULL;
	struct m_access *access = &r->model.access[r->model.accesses];
	struct kt_access issued;
	char name[16];
	bool good;

	if (r->model.accesses == ACCESSES)
		return true;
	snprintf(name, sizeof(name), "p%d", project);
	if (kt_access_issue(r->vault, name, KT_ACCESS_READ, 3600, "", &issued,
			    &token) != KT_OK)
		return finding(r, "access issue: %s", kt_err_detail());
	*access = (struct m_access){.there = true,
				    .revoked = true,
				    .project = project,
				    .owner = r->model.project[project].id,
				    .expires = issued.expires};
	memcpy(access->id, issued.id, sizeof(access->id));
	memcpy(access->text, token.data, token.len);
	r->model.accesses++;
	if (kt_vault_open(&r->params, &vault) != KT_OK ||
	    kt_vault_authorize(vault, &token) != KT_OK)
		return finding(r, "a new access token: %s", kt_err_detail());
	good = values_match(r, vault, project, why);
	kt_vault_close(vault);
	if (kt_access_revoke(r->vault, issued.id) != KT_OK)
		return finding(r, "access revoke: %s", kt_err_detail());
	return good || finding(r, "by an access token: %s", why);
}

static enum kt_err each_verified(void *arg, const struct kt_verification *v)
{
	(void)arg;
	(void)v;
	return KT_OK;
}

static bool compare_project(struct run *r, int project)
{
	char why[512], name[16];

	if (!r->model.project[project].there)
		return true;
	snprintf(name, sizeof(name), "p%d", project);
	if (!values_match(r, r->vault, project, why))
		return finding(r, "by the operator: %s", why);
	if (!compare_as_holder(r, project, why))
		return false;
	if (kt_project_verify(r->vault, name, NULL, NULL, each_verified, NULL,
			      NULL) != KT_OK)
		return finding(r, "project verify %s: %s", name,
			       kt_err_detail());
	return true;
}

bool compare_all(struct run *r)
{
	struct kt_audit_summary audit;
	char why[512];

	r->counts.compares++;
	if (!lists_match(r, &r->model, why))
		return finding(r, "%s", why);
	for (int p = 0; p < PROJECTS; p++) {
		if (!compare_project(r, p))
			return false;
	}
	if (kt_master_verify(r->vault, 0, NULL, NULL, each_verified, NULL,
			     NULL) != KT_OK)
		return finding(r, "master verify: %s", kt_err_detail());
	if (kt_audit_verify(r->vault, &audit) != KT_OK)
		return finding(r, "audit verify: %s", kt_err_detail());
	return checker_run(r);
}
