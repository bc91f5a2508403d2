/*
 * Secrets and projects, through the library.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/torture/model.h"

struct names {
	char project[16], secret[16];
};

static struct names names_of(const struct op *op)
{
	struct names names;

	snprintf(names.project, sizeof(names.project), "p%d", op->project);
	snprintf(names.secret, sizeof(names.secret), "s%d", op->secret);
	return names;
}

static void make_value(const struct m_value *value, struct kt_secret *ret)
{
	CLEANUP(freep) char *text = value_text(value);

	if (text == NULL || kt_secret_copy(text, value->len, ret) != KT_OK)
		abort();
}

/* The operator, or whoever the handle acts for. */
static bool set(struct run *r, const struct op *op)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct names names = names_of(op);
	struct kt_secret_info info;
	enum kt_err want =
		predict_set(&r->model, op->project, op->secret, &op->value);

	make_value(&op->value, &value);
	return expect_code(r, want,
			   kt_secret_set(r->vault, names.project, names.secret,
					 &value, &info));
}

static bool same_value(struct run *r, const struct kt_secret *got,
		       const struct m_value *want)
{
	CLEANUP(freep) char *text = value_text(want);

	return (got->len == want->len &&
		memcmp(got->data, text, got->len) == 0) ||
	       finding(r, "%zu bytes that are not v%u", got->len, want->seed);
}

static bool get(struct run *r, const struct op *op)
{
	CLEANUP(kt_secret_done) struct kt_secret got = {0};
	const struct m_secret *s =
		&r->model.project[op->project].secret[op->secret];
	struct names names = names_of(op);
	int version = (int)(op->pick % (VERSIONS + 1));
	enum kt_err want =
		predict_get(&r->model, op->project, op->secret, version);
	enum kt_err err = kt_secret_get(r->vault, names.project, names.secret,
					version, &got);

	if (!expect_code(r, want, err))
		return false;
	if (want != KT_OK)
		return true;
	version = version == 0 ? s->versions : version;
	return same_value(r, &got, &s->value[version - 1]);
}

static bool delete (struct run *r, const struct op *op)
{
	struct names names = names_of(op);
	enum kt_err want = predict_delete(&r->model, op->project, op->secret);

	return expect_code(
		r, want,
		kt_secret_delete(r->vault, names.project, names.secret));
}

/* Neighbours of the secret, as far as they have room; short values, so that a
 * person can read the file. */
void import_make(const struct model *m, const struct op *op,
		 struct m_import *ret)
{
	const struct m_project *p = &m->project[op->project];
	int wanted = 1 + (int)(op->pick % SECRETS);

	*ret = (struct m_import){0};
	for (int i = 0; i < wanted; i++) {
		int secret = (op->secret + i) % SECRETS;

		if (p->secret[secret].versions == VERSIONS)
			continue;
		ret->secret[ret->count] = secret;
		ret->value[ret->count++] = (struct m_value){
			op->value.seed + (uint32_t)i, op->value.len % 200};
	}
}

enum kt_err predict_import(struct model *m, int project,
			   const struct m_import *import)
{
	enum kt_err err = m->project[project].there ? KT_OK : KT_ERR_NOT_FOUND;

	for (int i = 0; i < import->count && err == KT_OK; i++)
		err = predict_set(m, project, import->secret[i],
				  &import->value[i]);
	return err;
}

static bool import(struct run *r, const struct op *op)
{
	struct kt_import_item items[SECRETS] = {0};
	struct names names = names_of(op);
	struct m_import import;
	enum kt_err want, err;

	import_make(&r->model, op, &import);
	if (import.count == 0)
		return true;
	want = predict_import(&r->model, op->project, &import);
	for (int i = 0; i < import.count; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "s%d",
			 import.secret[i]);
		make_value(&import.value[i], &items[i].value);
	}
	err = kt_secret_import(r->vault, names.project, items,
			       (size_t)import.count);
	for (int i = 0; i < import.count; i++)
		kt_secret_done(&items[i].value);
	return expect_code(r, want, err);
}

bool run_secret(struct run *r, const struct op *op)
{
	if (op->kind == OP_SET)
		return set(r, op);
	if (op->kind == OP_GET)
		return get(r, op);
	if (op->kind == OP_DELETE)
		return delete (r, op);
	return import(r, op);
}

bool run_project(struct run *r, const struct op *op)
{
	struct names names = names_of(op);
	struct kt_project project = {0};
	enum kt_err want;

	if (op->kind == OP_PROJECT_DELETE) {
		want = predict_project_delete(&r->model, op->project);
		return expect_code(r, want,
				   kt_project_delete(r->vault, names.project));
	}
	want = predict_project_create(&r->model, op->project);
	if (!expect_code(r, want,
			 kt_project_create(r->vault, names.project, &project)))
		return false;
	if (want == KT_OK)
		r->model.project[op->project].id = project.id;
	return true;
}
