/*
 * SQLite's result codes in our words. Extended codes stand before the primary
 * code that they belong to; the first match counts.
 */
#include <string.h>

#include "store/sqlite/sqlite.h"

static const struct {
	int code;
	enum kt_err err;
	const char *text;
} codes[] = {
	{SQLITE_BUSY_SNAPSHOT, KT_ERR_CONFLICT,
	 "the database moved on meanwhile"},
	{SQLITE_BUSY, KT_ERR_BUSY, "database is locked by another process"},
	{SQLITE_LOCKED, KT_ERR_BUSY, "database is locked"},
	{SQLITE_PROTOCOL, KT_ERR_BUSY, "database is locked by others"},
	{SQLITE_FULL, KT_ERR_STORE, "disk is full"},
	{SQLITE_READONLY_DBMOVED, KT_ERR_STORE,
	 "database was removed or replaced while it was open"},
	{SQLITE_READONLY, KT_ERR_STORE, "database is read-only"},
	{SQLITE_IOERR_NOMEM, KT_ERR_MEMORY, "out of memory"},
	{SQLITE_IOERR, KT_ERR_STORE, "the disk reports an error"},
	{SQLITE_CANTOPEN, KT_ERR_STORE, "cannot open the file"},
	{SQLITE_PERM, KT_ERR_STORE, "no permission"},
	{SQLITE_AUTH, KT_ERR_STORE, "no permission"},
	{SQLITE_CORRUPT, KT_ERR_INTEGRITY, "database is damaged"},
	{SQLITE_NOTADB, KT_ERR_SCHEMA, "not a database"},
	{SQLITE_SCHEMA, KT_ERR_CONFLICT, "the schema changed meanwhile"},
	{SQLITE_ABORT, KT_ERR_CONFLICT, "cut off by a rollback"},
	{SQLITE_NOMEM, KT_ERR_MEMORY, "out of memory"},
	{SQLITE_TOOBIG, KT_ERR_USAGE, "value too large"},
	{SQLITE_CONSTRAINT_PRIMARYKEY, KT_ERR_EXISTS, "exists already"},
	{SQLITE_CONSTRAINT_UNIQUE, KT_ERR_EXISTS, "exists already"},
	{SQLITE_CONSTRAINT_ROWID, KT_ERR_EXISTS, "exists already"},
	{SQLITE_CONSTRAINT_FOREIGNKEY, KT_ERR_CONFLICT,
	 "a row that another one names is missing"},
	{SQLITE_CONSTRAINT, KT_ERR_FAILED, "the schema forbids it"},
};

/* Codes whose cause only errno names. */
static bool comes_from_system(int code)
{
	int primary = code & 0xff;

	return primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN ||
	       primary == SQLITE_FULL;
}

static const char *own_words(sqlite3 *sq, int code)
{
	int number = sq != NULL ? sqlite3_system_errno(sq) : 0;

	if (comes_from_system(code) && number != 0)
		return strerror(number);
	return sq != NULL ? sqlite3_errmsg(sq) : sqlite3_errstr(code);
}

static const char *find_text(int code, enum kt_err *ret)
{
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].code != code && codes[i].code != (code & 0xff))
			continue;
		*ret = codes[i].err;
		return codes[i].text;
	}
	*ret = KT_ERR_FAILED;
	return "the database reports an error";
}

enum kt_err sqlite_error(sqlite3 *sq, int code, const char *what)
{
	enum kt_err err;
	const char *text = find_text(code, &err);

	return err_raise(err, "%s%s%s (%s)", what != NULL ? what : "",
			 what != NULL ? ": " : "", text, own_words(sq, code));
}
