/*
 * Projects: created with a key of their own, listed, and deleted with all that
 * is theirs. A deleted project keeps its row and its keys' rows, stamped, as
 * evidence; what could bring a value back is gone.
 */
#include <keyturn/project.h>

#include <stdlib.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/access.h"
#include "core/audit.h"
#include "core/id_list.h"
#include "core/keys.h"
#include "core/names.h"
#include "core/rotation.h"
#include "core/secrets.h"

/* A project on its way in. */
struct creation {
	struct kt_vault *vault;
	const char *name;
	struct wrap_set masters;
	enum kt_wrap_mech master_mech;
	struct project_row project;
	struct key_row key;
	struct blob blobs[WRAP_SET_MAX];
};

static enum kt_err name_free(struct kt_vault *vault, const char *name)
{
	struct project_row row;
	enum kt_err err = project_by_name(vault, name, &row);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	return err_raise(KT_ERR_EXISTS, "project '%s' exists", name);
}

static enum kt_err create_prepare(struct creation *c)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct key_row master;

	TRY(store_begin(c->vault->store, STORE_READ, &tx));
	TRY(name_free(c->vault, c->name));
	TRY(wrap_set_read(c->vault, KT_KEY_PROJECT, NULL, &c->masters));
	TRY(key_active(c->vault, KT_KEY_MASTER, &(struct kt_id){0}, &master));
	TRY(id_new(&c->project.id));
	TRY(text_copy(c->project.name, sizeof(c->project.name), c->name,
		      "name"));
	TRY(key_row_new(KT_KEY_PROJECT, &c->project.id, 1, &c->key));
	c->master_mech = (enum kt_wrap_mech)master.mech;
	return KT_OK;
}

static enum kt_err create_key(struct creation *c)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	static const struct blob no_canary;
	enum kt_wrap_mech mech;

	TRY(wrap_mech_below(c->vault->token, c->master_mech, &mech));
	c->key.mech = mech;
	TRY(wrap_new(c->masters.key, c->masters.count, c->blobs));
	TRY(wrap_key_unwrap(c->masters.key[0], &c->blobs[0], mech, &no_canary,
			    &key));
	TRY(wrap_new(&key, 1, &c->key.canary));
	c->key.proven = c->key.activated = clock_now();
	c->project.created = c->key.activated;
	return KT_OK;
}

static enum kt_err create_commit(struct creation *c)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct store *store = c->vault->store;
	struct wrap_set masters;

	TRY(store_begin(store, STORE_WRITE, &tx));
	TRY(name_free(c->vault, c->name));
	TRY(wrap_set_read(c->vault, KT_KEY_PROJECT, NULL, &masters));
	if (!wrap_set_equal(&masters, &c->masters))
		return err_raise(KT_ERR_CONFLICT,
				 "the master keys changed meanwhile");
	TRY(store_insert(store, ROW_PROJECT, &c->project));
	TRY(store_insert(store, ROW_KEY, &c->key));
	TRY(wrap_set_store(c->vault, &c->masters, &c->key.id, c->blobs));
	TRY(audit_append(c->vault, "project.create", c->name, "mechanism=%s",
			 kt_wrap_mech_name((enum kt_wrap_mech)c->key.mech)));
	return store_commit(&tx);
}

static enum kt_err create_attempt(struct creation *c)
{
	TRY(create_prepare(c));
	TRY(create_key(c));
	return create_commit(c);
}

static enum kt_err describe(struct kt_vault *vault,
			    const struct project_row *row,
			    struct kt_project *ret)
{
	struct kt_project project = {.id = row->id, .created = row->created};
	struct count_row secrets;
	struct count_row access;
	struct key_row key;
	enum kt_err err = key_active(vault, KT_KEY_PROJECT, &row->id, &key);

	if (err == KT_ERR_NOT_FOUND)
		err = err_raise(KT_ERR_INTEGRITY, "its key is missing");
	if (err != KT_OK)
		return err_prefix(err, "project '%s'", row->name);
	text_cut(project.name, sizeof(project.name), row->name);
	TRY(query_one(vault->store, Q_SECRET_COUNT, &secrets, "b", &row->id));
	TRY(query_one(vault->store, Q_ACCESS_USABLE_COUNT, &access, "bi",
		      &row->id, clock_now()));
	TRY(key_describe(vault, &key, &project.key));
	project.secrets = secrets.n;
	project.access_tokens = access.n;
	*ret = project;
	return KT_OK;
}

enum kt_err kt_project_create(struct kt_vault *vault, const char *name,
			      struct kt_project *ret)
{
	struct creation c = {.vault = vault, .name = name};
	enum kt_err err = KT_ERR_CONFLICT;

	TRY(require_operator(vault));
	TRY(project_name_check(name));
	for (int i = 0; i < WRITE_ATTEMPTS && err == KT_ERR_CONFLICT; i++)
		err = create_attempt(&c);
	TRY(err);
	return describe(vault, &c.project, ret);
}

enum kt_err kt_project_get(struct kt_vault *vault, const char *name,
			   struct kt_project *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row row;

	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(project_find(vault, name, KT_ACCESS_READ, &row));
	return describe(vault, &row, ret);
}

/* Projects as they were when the list began. */
struct project_list {
	struct kt_project *projects;
	size_t count;
	size_t room;
	struct err_saved bad; /* the first row that did not verify */
};

static void project_list_done(struct project_list *list)
{
	free(list->projects);
}

static enum kt_err project_list_add(struct project_list *list,
				    const struct kt_project *project)
{
	if (list->count == list->room) {
		size_t room = list->room > 0 ? 2 * list->room : 32;
		struct kt_project *projects =
			reallocarray(list->projects, room, sizeof(*projects));

		if (projects == NULL)
			return err_memory();
		list->projects = projects;
		list->room = room;
	}
	list->projects[list->count++] = *project;
	return KT_OK;
}

static enum kt_err project_list_read(struct kt_vault *vault,
				     struct project_list *list)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	CLEANUP(query_donep) struct query *query = NULL;
	struct project_row row;
	struct kt_project project;
	enum kt_err err;

	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(query_start(vault->store, Q_PROJECTS, &query, ""));
	while ((err = query_next(query, &row)) != KT_ERR_NOT_FOUND) {
		if (err == KT_OK)
			err = describe(vault, &row, &project);
		if (err == KT_OK)
			TRY(project_list_add(list, &project));
		else if (err != KT_ERR_INTEGRITY)
			return err;
		else if (list->bad.err == KT_OK)
			err_save(err, &list->bad);
	}
	return KT_OK;
}

enum kt_err kt_project_list(struct kt_vault *vault,
			    enum kt_err (*each)(void *arg,
						const struct kt_project *p),
			    void *arg)
{
	CLEANUP(project_list_done) struct project_list list = {0};

	TRY(require_operator(vault));
	TRY(project_list_read(vault, &list));
	for (size_t i = 0; i < list.count; i++)
		TRY(each(arg, &list.projects[i]));
	return list.bad.err == KT_OK ? KT_OK : err_restore(&list.bad);
}

static bool is_of_project(const struct rotation_row *row, const void *arg)
{
	return rotation_is_unfinished(row) && id_equal(&row->project, arg);
}

/* A rotation in progress owns the rows that a deletion would take away. */
static enum kt_err no_rotation(struct kt_vault *vault,
			       const struct project_row *project)
{
	struct rotation_row rotation;
	char id[KT_ID_TEXT_LEN + 1];
	enum kt_err err =
		rotation_find(vault, is_of_project, &project->id, &rotation);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	kt_id_format(&rotation.id, id);
	return err_raise(KT_ERR_BUSY,
			 "project '%s' has the unfinished rotation %s",
			 project->name, id);
}

/* The first secret that is left; KT_ERR_NOT_FOUND after the last one. */
static enum kt_err next_secret(struct kt_vault *vault,
			       const struct kt_id *project,
			       struct secret_row *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;

	TRY(query_start(vault->store, Q_SECRETS, &query, "bsi", project, "",
			(int64_t)1));
	return query_next(query, ret);
}

static enum kt_err erase_secrets(struct kt_vault *vault,
				 const struct kt_id *project, int64_t now,
				 int64_t *ret_count)
{
	struct secret_row head;
	int64_t count = 0;
	enum kt_err err;

	while ((err = next_secret(vault, project, &head)) == KT_OK) {
		TRY(secret_erase(vault, &head, now));
		count++;
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	*ret_count = count;
	return KT_OK;
}

static enum kt_err erase_keys(struct kt_vault *vault,
			      const struct kt_id *project, int64_t now)
{
	CLEANUP(id_list_done) struct id_list keys = {0};

	TRY(id_list_keys(&keys, vault->store, project));
	for (size_t i = 0; i < keys.count; i++)
		TRY(key_erase(vault, &keys.ids[i], now));
	return KT_OK;
}

static enum kt_err delete_once(struct kt_vault *vault, const char *name)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row row;
	int64_t now = clock_now();
	int64_t secrets;
	int64_t access;

	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(project_find(vault, name, KT_ACCESS_WRITE, &row));
	TRY(no_rotation(vault, &row));
	TRY(erase_secrets(vault, &row.id, now, &secrets));
	TRY(erase_keys(vault, &row.id, now));
	TRY(access_revoke_all(vault, &row.id, &access));
	row.deleted = now;
	TRY(store_update(vault->store, ROW_PROJECT, &row));
	TRY(audit_append(vault, "project.delete", name,
			 "secrets=%lld access-tokens=%lld", (long long)secrets,
			 (long long)access));
	return store_commit(&tx);
}

enum kt_err kt_project_delete(struct kt_vault *vault, const char *name)
{
	enum kt_err err = KT_ERR_CONFLICT;

	TRY(require_operator(vault));
	for (int i = 0; i < WRITE_ATTEMPTS && err == KT_ERR_CONFLICT; i++)
		err = delete_once(vault, name);
	return err;
}
