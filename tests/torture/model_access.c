/*
 * Access tokens: issued and revoked by the operator, used by a handle of their
 * own, which must see its project and nothing else, and that only as long as
 * the token is good.
 */
#include <string.h>
#include <time.h>

#include "tests/torture/model.h"

DEFINE_CLEANUP(struct kt_vault, kt_vault_close)

/* A token in four lives a second. */
static int64_t lifetime_of(const struct op *op)
{
	return op->pick % 4 == 0 ? 1 : 3600;
}

static enum kt_access_scope scope_of(const struct op *op)
{
	return op->flag & 1 ? KT_ACCESS_WRITE : KT_ACCESS_READ;
}

struct m_access *access_pick(struct model *m, const struct op *op)
{
	uint32_t recent = m->accesses < 12 ? (uint32_t)m->accesses : 12;

	if (m->accesses == 0)
		return NULL;
	if (op->pick % 8 == 0) /* an old one */
		return &m->access[op->pick / 8 % (uint32_t)m->accesses];
	return &m->access[m->accesses - 1 - (int)(op->pick / 8 % recent)];
}

enum kt_err predict_issue(struct model *m, const struct op *op)
{
	struct m_project *p = &m->project[op->project];

	if (!p->there)
		return KT_ERR_NOT_FOUND;
	m->access[m->accesses++] = (struct m_access){
		.there = true,
		.project = op->project,
		.owner = p->id,
		.scope = scope_of(op),
		.expires = time(NULL) + lifetime_of(op),
	};
	return KT_OK;
}

enum kt_err predict_revoke(struct model *m, const struct op *op)
{
	struct m_access *access = access_pick(m, op);

	if (access == NULL || !access->there)
		return KT_ERR_NOT_FOUND;
	access->revoked = true;
	return KT_OK;
}

static bool issue(struct run *r, const struct op *op)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct m_access *access = &r->model.access[r->model.accesses];
	enum kt_err want = predict_issue(&r->model, op);
	struct kt_access issued;
	char project[16];

	snprintf(project, sizeof(project), "p%d", op->project);
	if (!expect_code(r, want,
			 kt_access_issue(r->vault, project, scope_of(op),
					 lifetime_of(op), "model", &issued,
					 &token)))
		return false;
	if (want != KT_OK)
		return true;
	memcpy(access->id, issued.id, sizeof(access->id));
	memcpy(access->text, token.data, token.len);
	access->expires = issued.expires;
	return true;
}

static bool revoke(struct run *r, const struct op *op)
{
	const struct m_access *access = access_pick(&r->model, op);
	const char *id = access != NULL ? access->id : "000000000000";
	enum kt_err want = predict_revoke(&r->model, op);

	return expect_code(r, want, kt_access_revoke(r->vault, id));
}

/* A token may end between two looks at the clock; then either is right. */
static bool expect_access(struct run *r, const struct m_access *access,
			  int64_t since, enum kt_err good, enum kt_err got)
{
	enum kt_err first = predict_access(access, since);
	enum kt_err last = predict_access(access, time(NULL));

	if (first != last && got == KT_ERR_DENIED)
		return true;
	return expect_code(r, first == KT_OK ? good : KT_ERR_DENIED, got);
}

static enum kt_err read_as(struct kt_vault *vault, int project, int secret)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	char name[16], secret_name[16];

	snprintf(name, sizeof(name), "p%d", project);
	snprintf(secret_name, sizeof(secret_name), "s%d", secret);
	return kt_secret_get(vault, name, secret_name, 0, &value);
}

static enum kt_err write_as(struct kt_vault *vault, const struct op *op,
			    int project)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	CLEANUP(freep) char *text = value_text(&op->value);
	struct kt_secret_info info;
	char name[16], secret[16];
	enum kt_err err = kt_secret_copy(text, op->value.len, &value);

	snprintf(name, sizeof(name), "p%d", project);
	snprintf(secret, sizeof(secret), "s%d", op->secret);
	if (err == KT_OK)
		err = kt_secret_set(vault, name, secret, &value, &info);
	return err;
}

static enum kt_err no_project(void *arg, const struct kt_project *project)
{
	(void)arg;
	(void)project;
	return KT_OK;
}

/* Another project, and what only an operator may do. */
static bool stays_inside(struct run *r, const struct op *op,
			 const struct m_access *access, struct kt_vault *vault)
{
	int other = (access->project + 1 + (int)(op->flag % 2)) % PROJECTS;
	struct kt_rotation rotation;

	return expect_code(r, KT_ERR_DENIED,
			   read_as(vault, other, op->secret)) &&
	       expect_code(r, KT_ERR_DENIED,
			   kt_project_list(vault, no_project, NULL)) &&
	       expect_code(r, KT_ERR_DENIED,
			   kt_rotation_start(vault, KT_ROTATION_MASTER, NULL,
					     NULL, NULL, &rotation)) &&
	       expect_code(r, KT_ERR_DENIED, write_as(vault, op, other));
}

/* The model changes only where the vault did: a token may end in between. */
static bool write_inside(struct run *r, const struct op *op,
			 const struct m_access *access, int64_t since,
			 struct kt_vault *vault)
{
	int project = access->project;
	enum kt_err want, got;

	if (r->model.project[project].secret[op->secret].versions == VERSIONS)
		return true;
	r->after = r->model;
	want = access->scope == KT_ACCESS_WRITE
		       ? predict_set(&r->after, project, op->secret, &op->value)
		       : KT_ERR_DENIED;
	got = write_as(vault, op, project);
	if (!expect_access(r, access, since, want, got))
		return false;
	if (got == KT_OK)
		r->model = r->after;
	return true;
}

/* I16: the first request after the commit fails, in a handle that is open. */
static bool is_cut_off(struct run *r, const struct op *op,
		       struct m_access *access, struct kt_vault *vault)
{
	if (!expect_code(r, KT_OK, kt_access_revoke(r->vault, access->id)))
		return false;
	access->revoked = true;
	return expect_code(r, KT_ERR_DENIED,
			   read_as(vault, access->project, op->secret));
}

static bool use(struct run *r, const struct op *op)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct m_access *access = access_pick(&r->model, op);
	int64_t since = time(NULL);
	enum kt_err err;

	if (access == NULL || access->text[0] == '\0')
		return true;
	if (!expect_code(r, KT_OK, kt_vault_open(&r->params, &vault)) ||
	    kt_secret_copy(access->text, strlen(access->text), &token) != KT_OK)
		return false;
	err = kt_vault_authorize(vault, &token);
	if (!expect_access(r, access, since, KT_OK, err))
		return false;
	if (err != KT_OK)
		return true;
	if (!stays_inside(r, op, access, vault) ||
	    !expect_access(
		    r, access, since,
		    predict_get(&r->model, access->project, op->secret, 0),
		    read_as(vault, access->project, op->secret)) ||
	    !write_inside(r, op, access, since, vault))
		return false;
	return op->flag % 8 != 0 || is_cut_off(r, op, access, vault);
}

bool run_access(struct run *r, const struct op *op)
{
	if (op->kind == OP_USE)
		return use(r, op);
	if (op->kind == OP_REVOKE)
		return revoke(r, op);
	return r->model.accesses == ACCESSES || issue(r, op);
}
