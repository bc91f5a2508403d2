/*
 * The schema as the list of its migrations. What must hold in every state of
 * the database stands here as a constraint, so that a bug above ends in an
 * error instead of in a row that breaks it.
 *
 * A migration that was released is never edited, nor a macro that it uses: the
 * next one goes to the end of the list. docs/formats.md explains the columns.
 */
#include <stdlib.h>

#include "base/text.h"
#include "store/sqlite/sqlite.h"

#define BYTES(c, n) c " BLOB NOT NULL CHECK (length(" c ") = " n ")"
#define ID(c) BYTES(c, "16")
#define MAC(c) BYTES(c, "32")
#define BLOB(c) c " BLOB NOT NULL CHECK (length(" c ") <= 512)"
#define ID_OPT(c) c " BLOB CHECK (length(" c ") = 16 AND " c " != zeroblob(16))"
#define TEXT(c, max)                                                           \
	c " TEXT NOT NULL CHECK (length(CAST(" c " AS BLOB)) <= " max ")"
#define NAME(c)                                                                \
	c " TEXT NOT NULL"                                                     \
	  " CHECK (length(CAST(" c " AS BLOB)) BETWEEN 1 AND 255)"
#define INT(c, check) c " INTEGER NOT NULL CHECK (" c " " check ")"
#define TIME(c) INT(c, "> 0")
#define TIME_OPT(c) c " INTEGER CHECK (" c " > 0)"
#define REFERS(c, table)                                                       \
	"FOREIGN KEY (" c ") REFERENCES " table                                \
	" (id) DEFERRABLE INITIALLY DEFERRED"
#define AFTER(later, earlier)                                                  \
	"CHECK (" later " IS NULL OR " earlier " IS NOT NULL)"

/* clang-format off */
static const char version_1[] =
"CREATE TABLE vault ("
	ID("id") " PRIMARY KEY, "
	TIME("created") ", "
	TEXT("token_label", "32") ", "
	TEXT("token_serial", "16") ", "
	TEXT("token_model", "16") ", "
	TEXT("token_manufacturer", "32") ", "
	INT("recovery_wraps", "IN (0, 1)") ", "
	INT("gate_level", ">= 0") ", "
	TEXT("gate_report", "2047") ", "
	MAC("mac")
") STRICT;"
"CREATE UNIQUE INDEX vault_single ON vault ((1));"

"CREATE TABLE keys ("
	ID("id") " PRIMARY KEY, "
	INT("role", "BETWEEN 1 AND 6") ", "
	ID("owner") ", "
	INT("version", ">= 1") ", "
	ID_OPT("cka_id") ", "
	INT("mech", ">= 0") ", "
	BLOB("canary") ", "
	TEXT("token_serial", "16") ", "
	TEXT("attributes", "1023") ", "
	BLOB("public_key") ", "
	TIME("created") ", "
	TIME_OPT("proven") ", "
	TIME_OPT("activated") ", "
	TIME_OPT("deactivated") ", "
	TIME_OPT("compromised") ", "
	TIME_OPT("destroying") ", "
	TIME_OPT("destroyed") ", "
	MAC("mac") ", "
	"UNIQUE (role, owner, version), "
	/* 3 and 4 exist only wrapped; all others are objects on the token. */
	"CHECK ((role IN (3, 4)) = (cka_id IS NULL)), "
	/* A key on the token serves only after it was proven, and is destroyed
	 * only after the intent was committed. */
	"CHECK (role IN (3, 4) OR activated IS NULL OR proven IS NOT NULL), "
	"CHECK (role IN (3, 4) OR destroyed IS NULL OR destroying IS NOT NULL)"
") STRICT, WITHOUT ROWID;"
"CREATE INDEX keys_owner ON keys (owner, role, version);"
"CREATE UNIQUE INDEX keys_cka_id ON keys (cka_id) WHERE cka_id IS NOT NULL;"
"CREATE INDEX keys_on_token ON keys (role, version) WHERE cka_id IS NOT NULL;"

"CREATE TABLE wraps ("
	ID("wrapping_key") ", "
	ID("subject") ", "
	BLOB("blob") ", "
	MAC("mac") ", "
	"PRIMARY KEY (wrapping_key, subject), "
	"CHECK (wrapping_key != subject), "
	REFERS("wrapping_key", "keys") ", "
	REFERS("subject", "keys")
") STRICT, WITHOUT ROWID;"
"CREATE INDEX wraps_subject ON wraps (subject);"

"CREATE TABLE projects ("
	ID("id") " PRIMARY KEY, "
	NAME("name") ", "
	TIME("created") ", "
	TIME_OPT("deleted") ", "
	MAC("mac")
") STRICT, WITHOUT ROWID;"
"CREATE UNIQUE INDEX projects_name ON projects (name) WHERE deleted IS NULL;"
"CREATE INDEX projects_any_name ON projects (name, id);"

"CREATE TABLE secrets ("
	ID("id") " PRIMARY KEY, "
	ID("project") ", "
	NAME("name") ", "
	INT("version", ">= 1") ", "
	TIME("created") ", "
	TIME("updated") ", "
	MAC("mac") ", "
	"UNIQUE (project, name), "
	REFERS("project", "projects")
") STRICT, WITHOUT ROWID;"

/* With a rowid: the ciphertext may be a megabyte. */
"CREATE TABLE versions ("
	ID("secret") ", "
	INT("version", ">= 1") ", "
	ID("dek") " UNIQUE, "
	INT("algorithm", ">= 1") ", "
	BYTES("nonce", "12") ", "
	"ciphertext BLOB NOT NULL"
	" CHECK (length(ciphertext) BETWEEN 16 AND 1048592), "
	TIME("created") ", "
	MAC("mac") ", "
	"PRIMARY KEY (secret, version), "
	REFERS("secret", "secrets") ", "
	REFERS("dek", "keys")
") STRICT;"

"CREATE TABLE access ("
	"id TEXT NOT NULL PRIMARY KEY CHECK (length(id) BETWEEN 1 AND 15), "
	ID("project") ", "
	INT("scope", "IN (1, 2)") ", "
	TEXT("label", "255") ", "
	MAC("tag") ", "
	TIME("created") ", "
	TIME("expires") ", "
	TIME_OPT("revoked") ", "
	MAC("mac") ", "
	REFERS("project", "projects")
") STRICT, WITHOUT ROWID;"
"CREATE INDEX access_project ON access (project, created, id);"

"CREATE TABLE rotations ("
	ID("id") " PRIMARY KEY, "
	INT("kind", "IN (1, 2)") ", "
	ID_OPT("project") ", "
	TEXT("operator_name", "255") ", "
	TEXT("reason", "511") ", "
	INT("grace", ">= 0") ", "
	TIME("planned") ", "
	TIME_OPT("keyed") ", "
	TIME_OPT("staged") ", "
	TIME_OPT("verified") ", "
	TIME_OPT("activated") ", "
	TIME_OPT("contracting") ", "
	TIME_OPT("contracted") ", "
	TIME_OPT("destroyed") ", "
	TIME_OPT("rollback_started") ", "
	TIME_OPT("rolled_back") ", "
	INT("resumed", ">= 0") ", "
	TIME_OPT("reencrypted") ", "
	INT("values_reencrypted", ">= 0") ", "
	MAC("mac") ", "
	"CHECK ((kind = 1) = (project IS NULL)), "
	AFTER("staged", "keyed") ", "
	AFTER("verified", "staged") ", "
	AFTER("activated", "verified") ", "
	AFTER("contracting", "activated") ", "
	AFTER("contracted", "contracting") ", "
	AFTER("destroyed", "contracted") ", "
	AFTER("rolled_back", "rollback_started") ", "
	/* From contraction on there is no way back. */
	"CHECK (contracting IS NULL OR rollback_started IS NULL), "
	REFERS("project", "projects")
") STRICT, WITHOUT ROWID;"
"CREATE UNIQUE INDEX rotations_running ON rotations ((1))"
	" WHERE rolled_back IS NULL AND contracted IS NULL"
	" AND (activated IS NULL OR rollback_started IS NOT NULL);"
"CREATE UNIQUE INDEX rotations_master ON rotations ((1))"
	" WHERE kind = 1 AND contracted IS NULL AND rolled_back IS NULL;"
"CREATE UNIQUE INDEX rotations_project ON rotations (project)"
	" WHERE kind = 2 AND contracted IS NULL AND rolled_back IS NULL;"

"CREATE TABLE legs ("
	ID("rotation") ", "
	INT("leg", "IN (0, 1)") ", "
	ID("old_key") ", "
	ID("new_key") ", "
	ID("stage_cursor") ", "
	ID("verify_cursor") ", "
	INT("rows_total", ">= 0") ", "
	INT("rows_rewrapped", ">= 0") ", "
	INT("rows_verified", ">= 0") ", "
	INT("rows_contracted", ">= 0") ", "
	MAC("mac") ", "
	"PRIMARY KEY (rotation, leg), "
	"CHECK (old_key != new_key), "
	REFERS("rotation", "rotations") ", "
	REFERS("old_key", "keys") ", "
	REFERS("new_key", "keys")
") STRICT, WITHOUT ROWID;"

"CREATE TABLE faults ("
	ID("rotation") ", "
	ID("wrapping_key") ", "
	ID("subject") ", "
	TIME("found") ", "
	TEXT("reason", "255") ", "
	MAC("mac") ", "
	"PRIMARY KEY (rotation, wrapping_key, subject), "
	REFERS("rotation", "rotations")
") STRICT, WITHOUT ROWID;"

"CREATE TABLE lease ("
	"id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "
	INT("fence", ">= 0") ", "
	ID_OPT("rotation") ", "
	TEXT("operator_name", "255") ", "
	TEXT("process", "255") ", "
	TIME_OPT("taken") ", "
	TIME_OPT("renewed") ", "
	REFERS("rotation", "rotations")
") STRICT;"

"CREATE TABLE audit ("
	"seq INTEGER NOT NULL PRIMARY KEY CHECK (seq >= 1), "
	TIME("time") ", "
	TEXT("actor", "255") ", "
	TEXT("action", "63") ", "
	TEXT("object", "255") ", "
	TEXT("detail", "1023") ", "
	MAC("prev") ", "
	MAC("hash") ", "
	MAC("mac")
") STRICT;"

"CREATE TABLE audit_head ("
	"id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1), "
	INT("seq", ">= 0") ", "
	MAC("hash") ", "
	MAC("mac")
") STRICT;"

"CREATE TABLE checkpoints ("
	"seq INTEGER NOT NULL PRIMARY KEY CHECK (seq >= 1), "
	MAC("hash") ", "
	ID("key") ", "
	BLOB("signature") ", "
	TIME("time") ", "
	MAC("mac") ", "
	"FOREIGN KEY (seq) REFERENCES audit (seq)"
	" DEFERRABLE INITIALLY DEFERRED, "
	REFERS("key", "keys")
") STRICT;"

"CREATE TABLE backups ("
	ID("id") " PRIMARY KEY, "
	TIME("created") ", "
	TIME_OPT("expires") ", "
	TEXT("file", "1023") ", "
	INT("size", ">= 1") ", "
	MAC("sha256") ", "
	TEXT("versions", "63") ", "
	MAC("mac") ", "
	"CHECK (expires IS NULL OR expires > created)"
") STRICT, WITHOUT ROWID;";
/* clang-format on */

static const char *const migrations[] = {
	version_1,
};

#define NEWEST ((int)(sizeof(migrations) / sizeof(migrations[0])))

int schema_newest(void)
{
	return NEWEST;
}

static enum kt_err ask_number(sqlite3 *sq, const char *sql, long *ret)
{
	char text[32];

	TRY(sqlite_ask(sq, sql, text, sizeof(text)));
	*ret = strtol(text, NULL, 10);
	return KT_OK;
}

/* Nothing of anybody's is in a database without a table. */
static enum kt_err not_ours(const struct sqlite_db *db)
{
	enum kt_err err;
	long tables;

	TRY(ask_number(db->sq, "SELECT count(*) FROM sqlite_schema", &tables));
	err = err_raise(KT_ERR_SCHEMA, "%s is not a keyturn database",
			db->path);
	if (tables > 0)
		return err;
	return err_hint(err, "it is empty, as an interrupted init leaves it: "
			     "remove it and run 'keyturn init' again");
}

enum kt_err schema_check(struct sqlite_db *db, int *ret_version)
{
	long application, version;

	TRY(ask_number(db->sq, "PRAGMA application_id", &application));
	TRY(ask_number(db->sq, "PRAGMA user_version", &version));
	if (application != APPLICATION_ID || version < 1)
		return not_ours(db);
	if (version > NEWEST)
		return err_raise(KT_ERR_SCHEMA,
				 "%s has schema %ld, made by a newer keyturn; "
				 "this one knows schema %d",
				 db->path, version, NEWEST);
	*ret_version = (int)version;
	return KT_OK;
}

static enum kt_err apply(sqlite3 *sq, int version)
{
	char mark[128];

	for (; version < NEWEST; version++)
		TRY(sqlite_run(sq, migrations[version]));
	TRY(text_format(mark, sizeof(mark),
			"PRAGMA application_id = %d; PRAGMA user_version = %d",
			APPLICATION_ID, NEWEST));
	return sqlite_run(sq, mark);
}

enum kt_err schema_migrate(struct sqlite_db *db, int version)
{
	enum kt_err err;

	if (version == NEWEST)
		return KT_OK;
	TRY(sqlite_run(db->sq, "BEGIN IMMEDIATE"));
	err = apply(db->sq, version);
	if (err == KT_OK)
		err = sqlite_run(db->sq, "COMMIT");
	if (err != KT_OK)
		sqlite3_exec(db->sq, "ROLLBACK", NULL, NULL, NULL);
	return err;
}
