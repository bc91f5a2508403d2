/*
 * Access tokens: issuing, listing and revoking them, and turning a handle into
 * one that acts for a token's holder.
 */
#include "core/access.h"

#include <string.h>

#include <openssl/crypto.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/audit.h"
#include "core/names.h"

static enum kt_err tag_make(struct kt_vault *vault,
			    const struct access_parts *parts, struct mac *ret)
{
	return hmac_sha256(&vault->access_mac_key, parts->id, KT_ACCESS_ID_LEN,
			   parts->secret, ACCESS_SECRET_LEN, ret);
}

/* Takes the text apart; what stands in for a malformed one is looked up and
 * compared like any other. */
static bool parts_of(const struct kt_secret *text, struct access_parts *ret)
{
	static const uint8_t nothing[ACCESS_SECRET_LEN] = {0};

	if (access_text_parse(text, ret))
		return true;
	*ret = (struct access_parts){"------------", nothing};
	return false;
}

static void become_limited(struct kt_vault *vault, const struct access_row *row)
{
	struct actor actor = {.limited = true, .project = row->project};

	text_cut(actor.access_id, sizeof(actor.access_id), row->id);
	text_cut(actor.name, sizeof(actor.name), "access:");
	text_cut(actor.name + 7, sizeof(actor.name) - 7, row->id);
	vault->actor = actor;
}

/* A row that is not there costs as much as one that is: its MAC too. */
static enum kt_err access_read(struct kt_vault *vault, const char *id,
			       struct access_row *ret, bool *ret_known)
{
	const struct store_sealer *sealer = rowmac_sealer(vault->rowmac);
	struct access_row row = {0};
	enum kt_err err = query_one(vault->store, Q_ACCESS, &row, "s", id);

	if (err == KT_ERR_NOT_FOUND)
		err = sealer->seal(sealer->arg, ROW_ACCESS, &row);
	TRY(err);
	*ret_known = row.id[0] != '\0';
	*ret = row;
	return KT_OK;
}

enum kt_err kt_vault_authorize(struct kt_vault *vault,
			       const struct kt_secret *access_token)
{
	static const struct access_row nobody;
	struct access_parts parts;
	struct access_row row;
	struct mac tag;
	bool good = parts_of(access_token, &parts);
	bool known;

	become_limited(vault, &nobody);
	TRY(access_read(vault, parts.id, &row, &known));
	TRY(tag_make(vault, &parts, &tag));
	good &= known;
	good &= CRYPTO_memcmp(&tag, &row.tag, sizeof(tag)) == 0;
	good &= access_usable(&row, clock_now());
	if (!good)
		return denied();
	become_limited(vault, &row);
	return KT_OK;
}

static void access_fill(const struct access_row *row, const char *project,
			struct kt_access *ret)
{
	struct kt_access access = {
		.scope = (enum kt_access_scope)row->scope,
		.created = row->created,
		.expires = row->expires,
		.revoked = row->revoked,
	};

	text_cut(access.id, sizeof(access.id), row->id);
	text_cut(access.project, sizeof(access.project), project);
	text_cut(access.label, sizeof(access.label), row->label);
	*ret = access;
}

static enum kt_err issue_check(enum kt_access_scope scope, int64_t lifetime,
			       const char *label)
{
	if (scope != KT_ACCESS_READ && scope != KT_ACCESS_WRITE)
		return err_raise(KT_ERR_USAGE, "scope is read or write");
	if (lifetime < 1 || lifetime > KT_ACCESS_LIFETIME_MAX)
		return err_raise(KT_ERR_USAGE,
				 "an access token lives 1 second to 366 days");
	return label_check(label);
}

static const char *scope_name(int64_t scope)
{
	return scope == KT_ACCESS_WRITE ? "write" : "read";
}

/* One transaction: the project is there, the row, its audit entry. */
static enum kt_err issue_store(struct kt_vault *vault, const char *project_name,
			       struct access_row *row)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct project_row project;
	char expires[TIME_TEXT_LEN + 1];

	time_format(row->expires, expires);
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	TRY(project_find(vault, project_name, KT_ACCESS_WRITE, &project));
	row->project = project.id;
	TRY(store_insert(vault->store, ROW_ACCESS, row));
	TRY(audit_append(vault, "access.issue", row->id,
			 "project=%s scope=%s expires=%s label=%s",
			 project.name, scope_name(row->scope), expires,
			 row->label));
	return store_commit(&tx);
}

enum kt_err kt_access_issue(struct kt_vault *vault, const char *project,
			    enum kt_access_scope scope, int64_t lifetime,
			    const char *label, struct kt_access *ret,
			    struct kt_secret *ret_token)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	struct access_row row = {.scope = scope, .created = clock_now()};
	struct access_parts parts;

	TRY(require_operator(vault));
	label = label != NULL ? label : "";
	TRY(issue_check(scope, lifetime, label));
	row.expires = row.created + lifetime;
	TRY(access_text_new(&text, &parts));
	text_cut(row.id, sizeof(row.id), parts.id);
	text_cut(row.label, sizeof(row.label), label);
	TRY(tag_make(vault, &parts, &row.tag));
	TRY(issue_store(vault, project, &row));
	access_fill(&row, project, ret);
	*ret_token = text;
	text = (struct kt_secret){0};
	return KT_OK;
}

/* Rows are collected first: each() may call the library again. */
struct access_list {
	struct access_row *rows;
	size_t count;
	size_t room;
	struct err_saved bad; /* the first row that did not verify */
};

static void access_list_done(struct access_list *list)
{
	free(list->rows);
}

static enum kt_err access_list_add(struct access_list *list,
				   const struct access_row *row)
{
	if (list->count == list->room) {
		size_t room = list->room > 0 ? 2 * list->room : 32;
		struct access_row *rows =
			reallocarray(list->rows, room, sizeof(*rows));

		if (rows == NULL)
			return err_memory();
		list->rows = rows;
		list->room = room;
	}
	list->rows[list->count++] = *row;
	return KT_OK;
}

/* project NULL: all projects. */
static enum kt_err access_list_read(struct kt_vault *vault,
				    const struct kt_id *project,
				    struct access_list *list)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct access_row row;
	enum kt_err err;

	if (project != NULL)
		TRY(query_start(vault->store, Q_ACCESS_OF_PROJECT, &query, "b",
				project));
	else
		TRY(query_start(vault->store, Q_ACCESS_ALL, &query, ""));
	while ((err = query_next(query, &row)) != KT_ERR_NOT_FOUND) {
		if (err == KT_OK)
			TRY(access_list_add(list, &row));
		else if (err != KT_ERR_INTEGRITY)
			return err;
		else if (list->bad.err == KT_OK)
			err_save(err, &list->bad);
	}
	return KT_OK;
}

enum kt_err kt_access_list(struct kt_vault *vault, const char *project,
			   enum kt_err (*each)(void *arg,
					       const struct kt_access *a),
			   void *arg)
{
	CLEANUP(access_list_done) struct access_list list = {0};
	struct project_row row = {0};
	struct kt_access access;

	TRY(require_operator(vault));
	if (project != NULL)
		TRY(project_find(vault, project, KT_ACCESS_READ, &row));
	TRY(access_list_read(vault, project != NULL ? &row.id : NULL, &list));
	for (size_t i = 0; i < list.count; i++) {
		const struct access_row *at = &list.rows[i];

		if (!id_equal(&row.id, &at->project))
			TRY(query_one(vault->store, Q_PROJECT, &row, "b",
				      &at->project));
		access_fill(at, row.name, &access);
		TRY(each(arg, &access));
	}
	return list.bad.err == KT_OK ? KT_OK : err_restore(&list.bad);
}

/* In the caller's write transaction; does nothing to a revoked one. */
static enum kt_err revoke_row(struct kt_vault *vault, struct access_row *row,
			      int64_t now)
{
	if (row->revoked != 0)
		return KT_OK;
	row->revoked = now;
	return store_update(vault->store, ROW_ACCESS, row);
}

enum kt_err access_revoke_all(struct kt_vault *vault,
			      const struct kt_id *project, int64_t *ret_revoked)
{
	CLEANUP(access_list_done) struct access_list list = {0};
	int64_t now = clock_now();
	int64_t revoked = 0;

	TRY(access_list_read(vault, project, &list));
	if (list.bad.err != KT_OK)
		return err_restore(&list.bad);
	for (size_t i = 0; i < list.count; i++) {
		revoked += access_usable(&list.rows[i], now);
		TRY(revoke_row(vault, &list.rows[i], now));
	}
	*ret_revoked = revoked;
	return KT_OK;
}

/* What is longer than an id may be a whole token: it is not repeated. */
static enum kt_err unknown_id(const char *id)
{
	if (strlen(id) > KT_ACCESS_ID_LEN)
		return err_raise(KT_ERR_NOT_FOUND,
				 "no access token has this id; an id is the "
				 "%d characters behind 'kvt1_'",
				 KT_ACCESS_ID_LEN);
	return err_raise(KT_ERR_NOT_FOUND, "no access token has the id '%s'",
			 id);
}

enum kt_err kt_access_revoke(struct kt_vault *vault, const char *id)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct access_row row;
	enum kt_err err;

	TRY(require_operator(vault));
	TRY(store_begin(vault->store, STORE_WRITE, &tx));
	err = query_one(vault->store, Q_ACCESS, &row, "s", id);
	if (err == KT_ERR_NOT_FOUND)
		return unknown_id(id);
	TRY(err);
	if (row.revoked != 0)
		return KT_OK;
	TRY(revoke_row(vault, &row, clock_now()));
	TRY(audit_append(vault, "access.revoke", row.id, "label=%s",
			 row.label));
	return store_commit(&tx);
}
