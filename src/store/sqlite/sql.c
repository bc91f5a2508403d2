/*
 * All SQL but the schema's: one array of queries, one of statements, and the
 * verbs that every table shares, made from its description. "%c" is the
 * list of the columns of the row that a query returns.
 */
#include <string.h>

#include "store/sqlite/sqlite.h"

/* Whether wrap w has a twin under another key. */
#define TWIN(other)                                                            \
	"EXISTS (SELECT 1 FROM wraps AS t WHERE t.wrapping_key = " other       \
	" AND t.subject = w.subject)"

static const char *const queries[STORE_QUERY_MAX_] = {
	[Q_VAULT] = "SELECT %c FROM vault",
	[Q_KEY] = "SELECT %c FROM keys WHERE id = ?1",
	[Q_KEY_VERSION] = "SELECT %c FROM keys"
			  " WHERE role = ?1 AND owner = ?2 AND version = ?3",
	[Q_KEY_LATEST] = "SELECT %c FROM keys WHERE role = ?1 AND owner = ?2"
			 " ORDER BY version DESC LIMIT 1",
	[Q_KEYS_BY_ROLE] = "SELECT %c FROM keys WHERE role = ?1"
			   " ORDER BY owner, version",
	[Q_KEYS_BY_OWNER] = "SELECT %c FROM keys WHERE owner = ?1"
			    " ORDER BY role, version",
	[Q_KEYS_ON_TOKEN] = "SELECT %c FROM keys WHERE cka_id IS NOT NULL"
			    " ORDER BY role, version",
	[Q_WRAP] = "SELECT %c FROM wraps"
		   " WHERE wrapping_key = ?1 AND subject = ?2",
	[Q_WRAPS_AFTER] = "SELECT %c FROM wraps"
			  " WHERE wrapping_key = ?1 AND subject > ?2"
			  " ORDER BY subject LIMIT ?3",
	[Q_WRAPS_MISSING] = "SELECT %c FROM wraps AS w"
			    " WHERE wrapping_key = ?1 AND subject > ?3"
			    " AND NOT " TWIN("?2") " ORDER BY subject LIMIT ?4",
	[Q_WRAPS_TWINS] = "SELECT %c FROM wraps AS w"
			  " WHERE wrapping_key = ?2 AND subject > ?3"
			  " AND " TWIN("?1") " ORDER BY subject LIMIT ?4",
	[Q_WRAPS_TWINNED] = "SELECT %c FROM wraps AS w"
			    " WHERE wrapping_key = ?1 AND subject > ?3"
			    " AND " TWIN("?2") " ORDER BY subject LIMIT ?4",
	[Q_WRAP_COUNT] = "SELECT count(*) FROM wraps WHERE wrapping_key = ?1",
	[Q_WRAP_MISSING_COUNT] = "SELECT count(*) FROM wraps AS w"
				 " WHERE wrapping_key = ?1 AND NOT " TWIN("?2"),
	[Q_PROJECT] = "SELECT %c FROM projects WHERE id = ?1",
	[Q_PROJECTS_BY_NAME] = "SELECT %c FROM projects WHERE name = ?1"
			       " ORDER BY id",
	[Q_PROJECTS] = "SELECT %c FROM projects WHERE deleted IS NULL"
		       " ORDER BY name",
	[Q_PROJECT_COUNT] = "SELECT count(*) FROM projects"
			    " WHERE deleted IS NULL",
	[Q_SECRET] = "SELECT %c FROM secrets WHERE id = ?1",
	[Q_SECRET_BY_NAME] = "SELECT %c FROM secrets"
			     " WHERE project = ?1 AND name = ?2",
	[Q_SECRETS] = "SELECT %c FROM secrets WHERE project = ?1 AND name > ?2"
		      " ORDER BY name LIMIT ?3",
	[Q_SECRET_COUNT] = "SELECT count(*) FROM secrets WHERE project = ?1",
	[Q_SECRET_COUNT_ALL] = "SELECT count(*) FROM secrets",
	[Q_VERSION] = "SELECT %c FROM versions"
		      " WHERE secret = ?1 AND version = ?2",
	[Q_VERSIONS] = "SELECT %c FROM versions WHERE secret = ?1"
		       " ORDER BY version",
	[Q_ACCESS] = "SELECT %c FROM access WHERE id = ?1",
	[Q_ACCESS_OF_PROJECT] = "SELECT %c FROM access WHERE project = ?1"
				" ORDER BY created, id",
	[Q_ACCESS_ALL] = "SELECT %c FROM access ORDER BY created, id",
	[Q_ACCESS_USABLE_COUNT] = "SELECT count(*) FROM access"
				  " WHERE project = ?1 AND revoked IS NULL"
				  " AND expires > ?2",
	[Q_ROTATION] = "SELECT %c FROM rotations WHERE id = ?1",
	[Q_ROTATIONS] = "SELECT %c FROM rotations"
			" ORDER BY planned DESC, id DESC",
	[Q_LEGS] = "SELECT %c FROM legs WHERE rotation = ?1 ORDER BY leg",
	[Q_FAULTS] = "SELECT %c FROM faults WHERE rotation = ?1"
		     " ORDER BY wrapping_key, subject",
	[Q_FAULT_COUNT] = "SELECT count(*) FROM faults WHERE rotation = ?1",
	[Q_LEASE] = "SELECT %c FROM lease",
	[Q_AUDIT] = "SELECT %c FROM audit WHERE seq = ?1",
	[Q_AUDIT_FROM] = "SELECT %c FROM audit WHERE seq >= ?1"
			 " ORDER BY seq LIMIT ?2",
	[Q_AUDIT_HEAD] = "SELECT %c FROM audit_head",
	[Q_CHECKPOINTS] = "SELECT %c FROM checkpoints ORDER BY seq",
	[Q_CHANGES] = "PRAGMA data_version",
};

static const char *const statements[STORE_STATEMENT_MAX_] = {
	[S_WRAP_DELETE] = ("DELETE FROM wraps"
			   " WHERE wrapping_key = ?1 AND subject = ?2"),
	[S_WRAPS_DELETE_SUBJECT] = "DELETE FROM wraps WHERE subject = ?1",
	[S_VERSIONS_DELETE] = "DELETE FROM versions WHERE secret = ?1",
	[S_FAULTS_DELETE] = "DELETE FROM faults WHERE rotation = ?1",
	[S_LEASE_RENEW] = "UPDATE lease SET renewed = ?2 WHERE fence = ?1",
};

static void append_columns(sqlite3_str *sql, const struct row_desc *desc)
{
	for (size_t i = 0; i < desc->columns; i++)
		sqlite3_str_appendf(sql, "%s%s", i > 0 ? ", " : "",
				    desc->column[i].name);
}

static void append_query(sqlite3_str *sql, enum store_query which)
{
	const struct row_desc *desc = row_desc(store_query_type(which));
	const char *text = queries[which];
	const char *at;

	for (; (at = strstr(text, "%c")) != NULL; text = at + 2) {
		sqlite3_str_append(sql, text, (int)(at - text));
		append_columns(sql, desc);
	}
	sqlite3_str_appendall(sql, text);
}

static void append_insert(sqlite3_str *sql, const struct row_desc *desc)
{
	sqlite3_str_appendf(sql, "INSERT INTO %s (", desc->table);
	append_columns(sql, desc);
	sqlite3_str_appendall(sql, ") VALUES (");
	for (size_t i = 0; i < desc->columns; i++)
		sqlite3_str_appendf(sql, "%s?%d", i > 0 ? ", " : "",
				    (int)i + 1);
	sqlite3_str_appendall(sql, ")");
}

static void append_key(sqlite3_str *sql, const struct row_desc *desc)
{
	const char *before = " WHERE ";

	for (size_t i = 0; i < desc->columns; i++) {
		if (!desc->column[i].key)
			continue;
		sqlite3_str_appendf(sql, "%s%s = ?%d", before,
				    desc->column[i].name, (int)i + 1);
		before = " AND ";
	}
}

/* By the key and, as the parameter after the columns, the MAC of before. */
static void append_where(sqlite3_str *sql, const struct row_desc *desc)
{
	append_key(sql, desc);
	if (desc->mac_offset != 0)
		sqlite3_str_appendf(sql, " AND mac = ?%d",
				    (int)desc->columns + 1);
}

static void append_update(sqlite3_str *sql, const struct row_desc *desc)
{
	const char *before = " SET ";

	sqlite3_str_appendf(sql, "UPDATE %s", desc->table);
	for (size_t i = 0; i < desc->columns; i++) {
		if (desc->column[i].key)
			continue;
		sqlite3_str_appendf(sql, "%s%s = ?%d", before,
				    desc->column[i].name, (int)i + 1);
		before = ", ";
	}
	append_where(sql, desc);
}

static void append_remove(sqlite3_str *sql, const struct row_desc *desc)
{
	sqlite3_str_appendf(sql, "DELETE FROM %s", desc->table);
	append_where(sql, desc);
}

static void append_select(sqlite3_str *sql, const struct row_desc *desc)
{
	sqlite3_str_appendall(sql, "SELECT ");
	append_columns(sql, desc);
	sqlite3_str_appendf(sql, " FROM %s", desc->table);
}

static void append_scan(sqlite3_str *sql, const struct row_desc *desc)
{
	const char *before = " ORDER BY ";

	append_select(sql, desc);
	for (size_t i = 0; i < desc->columns; i++) {
		if (!desc->column[i].key)
			continue;
		sqlite3_str_appendf(sql, "%s%s", before, desc->column[i].name);
		before = ", ";
	}
}

static void append_find(sqlite3_str *sql, const struct row_desc *desc)
{
	append_select(sql, desc);
	append_key(sql, desc);
}

static void append_verb(sqlite3_str *sql, size_t slot)
{
	static void (*const append[ROW_VERB_MAX_])(sqlite3_str *,
						   const struct row_desc *) = {
		[VERB_INSERT] = append_insert, [VERB_UPDATE] = append_update,
		[VERB_REMOVE] = append_remove, [VERB_SCAN] = append_scan,
		[VERB_FIND] = append_find,
	};
	size_t at = slot - SLOT_ROW(0, 0);

	append[at / ROW_TYPE_MAX_](
		sql, row_desc((enum row_type)(at % ROW_TYPE_MAX_)));
}

char *sql_text(size_t slot)
{
	sqlite3_str *sql = sqlite3_str_new(NULL);

	if (slot < SLOT_STATEMENT(0))
		append_query(sql, (enum store_query)slot);
	else if (slot < SLOT_ROW(0, 0))
		sqlite3_str_appendall(sql,
				      statements[slot - SLOT_STATEMENT(0)]);
	else
		append_verb(sql, slot);
	return sqlite3_str_finish(sql);
}
