/*
 * Proves a vault from outside: reads the database with SQLite and the token
 * with PKCS#11, by the formats as documented, and shares no code with keyturn.
 *
 *	checker DATABASE MODULE TOKEN-LABEL PIN-FILE [STEP]
 *
 * With STEP n only every n-th value is opened; MACs, keys and the audit are
 * always checked whole.
 *
 * Prints one line a finding ("I4: ...") and then a summary; the last line is
 * "values SHA256", a digest over the names, versions and plaintexts of all
 * secrets, equal before and after whatever must not change them. Exit status 0
 * when nothing was found, 1 when something was, 2 when it could not look.
 */
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <p11-kit/pkcs11.h>
#include <sqlite3.h>

static sqlite3 *db;
static CK_FUNCTION_LIST *p11;
static CK_SESSION_HANDLE session;
static unsigned char vault_id[16], mac_key[32];
static long findings;
static long step = 1;

__attribute__((noreturn)) static void die(const char *what, const char *why)
{
	fprintf(stderr, "checker: %s: %s\n", what, why);
	exit(2);
}

static void must(CK_RV rv, const char *what)
{
	char code[32];

	if (rv == CKR_OK)
		return;
	snprintf(code, sizeof(code), "CKR 0x%lx", rv);
	die(what, code);
}

static void found(const char *invariant, const char *what, const void *id,
		  int len)
{
	const unsigned char *at = id;

	findings++;
	printf("%s: %s ", invariant, what);
	for (int i = 0; i < len; i++)
		printf("%02x", at[i]);
	putchar('\n');
}

static sqlite3_stmt *query(const char *sql)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
		die(sql, sqlite3_errmsg(db));
	return statement;
}

static bool next(sqlite3_stmt *statement)
{
	int rc = sqlite3_step(statement);

	if (rc != SQLITE_ROW && rc != SQLITE_DONE)
		die(sqlite3_sql(statement), sqlite3_errmsg(db));
	if (rc == SQLITE_DONE)
		sqlite3_finalize(statement);
	return rc == SQLITE_ROW;
}

static long number(const char *sql)
{
	sqlite3_stmt *statement = query(sql);
	long value =
		next(statement) ? (long)sqlite3_column_int64(statement, 0) : 0;

	sqlite3_finalize(statement);
	return value;
}

/* --- the token --------------------------------------------------------- */

static void read_pin(const char *path, char *pin, size_t size)
{
	FILE *file = fopen(path, "r");

	if (file == NULL || fgets(pin, (int)size, file) == NULL)
		die(path, "no PIN");
	pin[strcspn(pin, "\n")] = '\0';
	fclose(file);
}

static CK_SLOT_ID find_slot(const char *label)
{
	CK_SLOT_ID slots[64];
	CK_ULONG count = 64;
	CK_TOKEN_INFO info;

	must(p11->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
	for (CK_ULONG i = 0; i < count; i++) {
		size_t len = strlen(label);

		if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
		    memcmp(info.label, label, len) == 0 &&
		    (len == sizeof(info.label) || info.label[len] == ' '))
			return slots[i];
	}
	die(label, "no such token");
}

static void open_token(const char *module, const char *label,
		       const char *pin_file)
{
	void *handle = dlopen(module, RTLD_NOW);
	CK_RV (*get)(CK_FUNCTION_LIST **);
	char pin[256];

	if (handle == NULL)
		die(module, dlerror());
	*(void **)&get = dlsym(handle, "C_GetFunctionList");
	if (get == NULL || get(&p11) != CKR_OK)
		die(module, "no function list");
	must(p11->C_Initialize(NULL), "C_Initialize");
	must(p11->C_OpenSession(find_slot(label), CKF_SERIAL_SESSION, NULL,
				NULL, &session),
	     "C_OpenSession");
	read_pin(pin_file, pin, sizeof(pin));
	must(p11->C_Login(session, CKU_USER, (CK_UTF8CHAR *)pin, strlen(pin)),
	     "C_Login");
}

static CK_ULONG find_objects(const void *cka_id, CK_OBJECT_CLASS class,
			     CK_OBJECT_HANDLE *ret)
{
	CK_ATTRIBUTE want[] = {{CKA_CLASS, &class, sizeof(class)},
			       {CKA_ID, (void *)cka_id, 16}};
	CK_OBJECT_HANDLE objects[8];
	CK_ULONG count;

	must(p11->C_FindObjectsInit(session, want, 2), "C_FindObjectsInit");
	must(p11->C_FindObjects(session, objects, 8, &count), "C_FindObjects");
	must(p11->C_FindObjectsFinal(session), "C_FindObjectsFinal");
	*ret = count > 0 ? objects[0] : CK_INVALID_HANDLE;
	return count;
}

static bool attribute(CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type)
{
	CK_BBOOL value = CK_TRUE;
	CK_ATTRIBUTE want = {type, &value, sizeof(value)};

	must(p11->C_GetAttributeValue(session, object, &want, 1),
	     "C_GetAttributeValue");
	return value == CK_TRUE;
}

/* A generic secret is a TPM's, and wraps by CKM_KEYTURN_TPM_WRAP. */
static CK_MECHANISM_TYPE mechanism_of(CK_OBJECT_HANDLE wrapping)
{
	CK_KEY_TYPE type = CKK_AES;
	CK_ATTRIBUTE want = {CKA_KEY_TYPE, &type, sizeof(type)};

	must(p11->C_GetAttributeValue(session, wrapping, &want, 1),
	     "C_GetAttributeValue");
	return type == CKK_GENERIC_SECRET ? 0xD4504D01UL : CKM_AES_KEY_WRAP;
}

/* Unwraps a key for use: role 3 wraps others, role 4 encrypts. */
static CK_OBJECT_HANDLE unwrap(CK_OBJECT_HANDLE wrapping, const void *blob,
			       int len, int role)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE type = CKK_AES;
	CK_BBOOL *wraps = role == 3 ? &yes : &no;
	CK_BBOOL *encrypts = role == 4 ? &yes : &no;
	CK_MECHANISM mechanism = {mechanism_of(wrapping), NULL, 0};
	CK_ATTRIBUTE template[] = {
		{CKA_CLASS, &class, sizeof(class)},
		{CKA_KEY_TYPE, &type, sizeof(type)},
		{CKA_TOKEN, &no, 1},
		{CKA_PRIVATE, &yes, 1},
		{CKA_SENSITIVE, &yes, 1},
		{CKA_EXTRACTABLE, &no, 1},
		{CKA_WRAP, wraps, 1},
		{CKA_UNWRAP, wraps, 1},
		{CKA_ENCRYPT, encrypts, 1},
		{CKA_DECRYPT, encrypts, 1},
		{CKA_SIGN, &no, 1},
		{CKA_VERIFY, &no, 1},
		{CKA_DERIVE, &no, 1},
	};
	CK_OBJECT_HANDLE key;

	if (p11->C_UnwrapKey(session, &mechanism, wrapping, (CK_BYTE *)blob,
			     (CK_ULONG)len, template,
			     sizeof(template) / sizeof(template[0]),
			     &key) != CKR_OK)
		return CK_INVALID_HANDLE;
	return key;
}

/* --- row MACs ----------------------------------------------------------- */

static void derive_mac_key(void)
{
	sqlite3_stmt *statement =
		query("SELECT k.cka_id, v.id FROM keys k, vault v "
		      "WHERE k.role = 5 ORDER BY k.version DESC LIMIT 1");
	CK_MECHANISM mechanism = {CKM_SHA256_HMAC, NULL, 0};
	CK_ULONG len = sizeof(mac_key);
	CK_OBJECT_HANDLE key;
	char text[64] = "keyturn row mac 1";
	size_t used = strlen(text);

	if (!next(statement))
		die("database", "no row-MAC key");
	memcpy(vault_id, sqlite3_column_blob(statement, 1), 16);
	if (find_objects(sqlite3_column_blob(statement, 0), CKO_SECRET_KEY,
			 &key) != 1)
		die("token", "no row-MAC key");
	sqlite3_finalize(statement);
	memcpy(text + used, vault_id, 16);
	must(p11->C_SignInit(session, &mechanism, key), "C_SignInit");
	must(p11->C_Sign(session, (CK_BYTE *)text, used + 16, mac_key, &len),
	     "C_Sign");
}

static size_t put_column(sqlite3_stmt *row, int i, unsigned char *at)
{
	static const unsigned char zero[16];
	const char *declared = sqlite3_column_decltype(row, i);
	bool integer = strcmp(declared, "INTEGER") == 0;
	int64_t value = sqlite3_column_int64(row, i);
	const void *data = sqlite3_column_blob(row, i);
	size_t len = (size_t)sqlite3_column_bytes(row, i);
	unsigned char digits[8];

	if (integer) {
		for (int b = 0; b < 8; b++)
			digits[b] = (unsigned char)((uint64_t)value >>
						    (56 - 8 * b));
		data = digits;
		len = 8;
	} else if (sqlite3_column_type(row, i) == SQLITE_NULL) {
		data = zero;
		len = 16;
	}
	at[0] = (unsigned char)(len >> 24);
	at[1] = (unsigned char)(len >> 16);
	at[2] = (unsigned char)(len >> 8);
	at[3] = (unsigned char)len;
	if (len > 0)
		memcpy(at + 4, data, len);
	return len + 4;
}

static void check_macs(const char *table, unsigned type)
{
	static unsigned char input[2 << 20];
	char sql[64];
	sqlite3_stmt *row;

	snprintf(sql, sizeof(sql), "SELECT * FROM %s", table);
	row = query(sql);
	while (next(row)) {
		int mac_column = sqlite3_column_count(row) - 1;
		unsigned char mac[32];
		unsigned len;
		size_t used = 22;

		memcpy(input, "kvM1", 4);
		input[4] = 0;
		input[5] = (unsigned char)type;
		memcpy(input + 6, vault_id, 16);
		for (int i = 0; i < mac_column; i++)
			used += put_column(row, i, input + used);
		HMAC(EVP_sha256(), mac_key, 32, input, used, mac, &len);
		if (sqlite3_column_bytes(row, mac_column) != 32 ||
		    memcmp(mac, sqlite3_column_blob(row, mac_column), 32) != 0)
			found("I13", table, sqlite3_column_blob(row, 0),
			      sqlite3_column_bytes(row, 0));
	}
}

static void check_all_macs(void)
{
	static const struct {
		const char *table;
		unsigned type;
	} tables[] = {{"vault", 0},        {"keys", 1},      {"wraps", 2},
		      {"projects", 3},     {"secrets", 4},   {"versions", 5},
		      {"access", 6},       {"rotations", 7}, {"legs", 8},
		      {"faults", 9},       {"audit", 11},    {"audit_head", 12},
		      {"checkpoints", 13}, {"backups", 14}};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		check_macs(tables[i].table, tables[i].type);
}

/* --- keys ---------------------------------------------------------------- */

static void check_attributes(CK_OBJECT_HANDLE key, const void *cka_id)
{
	if (attribute(key, CKA_EXTRACTABLE) || !attribute(key, CKA_SENSITIVE) ||
	    attribute(key, CKA_ENCRYPT) || attribute(key, CKA_DECRYPT) ||
	    attribute(key, CKA_MODIFIABLE))
		found("I6", "attributes of token key", cka_id, 16);
}

static void check_token_keys(void)
{
	sqlite3_stmt *row = query("SELECT cka_id, role, destroyed, proven "
				  "IS NOT NULL AND destroying IS NULL "
				  "FROM keys WHERE cka_id IS NOT NULL");

	while (next(row)) {
		const void *id = sqlite3_column_blob(row, 0);
		int role = sqlite3_column_int(row, 1);
		CK_OBJECT_HANDLE key;
		CK_ULONG count = find_objects(
			id, role == 6 ? CKO_PRIVATE_KEY : CKO_SECRET_KEY, &key);

		if (sqlite3_column_int64(row, 2) != 0) {
			if (count != 0)
				found("I2", "destroyed key is on the token", id,
				      16);
		} else if (count > 1 ||
			   (count == 0 && sqlite3_column_int(row, 3))) {
			found("I4", "not exactly one object has CKA_ID", id,
			      16);
		} else if (count == 1 && role <= 2) {
			check_attributes(key, id);
		}
	}
}

static void check_rows_of_keys(void)
{
	if (number("SELECT count(*) FROM wraps w JOIN keys k ON k.id = "
		   "w.wrapping_key WHERE k.proven IS NULL") != 0)
		found("I3", "rows are under a key that was never proven", "",
		      0);
	if (number("SELECT count(*) FROM wraps w JOIN keys k ON k.id = "
		   "w.wrapping_key WHERE k.destroyed IS NOT NULL OR "
		   "k.destroying IS NOT NULL") != 0)
		found("I2", "rows are under a key that was given up", "", 0);
	if (number("SELECT count(*) FROM keys k WHERE k.role IN (3, 4) AND "
		   "k.proven IS NOT NULL AND k.destroyed IS NULL AND NOT "
		   "EXISTS (SELECT 1 FROM wraps w WHERE w.subject = k.id)") !=
	    0)
		found("I1", "live keys have no row at all", "", 0);
	if (number("SELECT count(*) FROM rotations WHERE rolled_back IS NULL "
		   "AND activated IS NULL") > 1)
		found("I9", "two rotations are running", "", 0);
}

/* --- values --------------------------------------------------------------- */

static void put64(unsigned char *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (unsigned char)(value >> (56 - 8 * i));
}

struct value {
	const unsigned char *project, *secret, *dek, *nonce, *data;
	int64_t version;
	int len;
	const char *name;
};

/* Decrypts into plain; the length, or -1. */
static long decrypt(CK_OBJECT_HANDLE key, const struct value *v,
		    unsigned char *plain, CK_ULONG size)
{
	unsigned char aad[80] = "kvA1";
	struct {
		CK_BYTE *iv;
		CK_ULONG iv_len, iv_bits;
		CK_BYTE *aad;
		CK_ULONG aad_len, tag_bits;
	} gcm = {(CK_BYTE *)v->nonce, 12, 96, aad, 80, 128};
	CK_MECHANISM mechanism = {CKM_AES_GCM, &gcm, sizeof(gcm)};

	memcpy(aad + 4, vault_id, 16);
	memcpy(aad + 20, v->project, 16);
	memcpy(aad + 36, v->secret, 16);
	put64(aad + 52, (uint64_t)v->version);
	memcpy(aad + 60, v->dek, 16);
	aad[77] = 1; /* algorithm 1, flags 0 */
	if (p11->C_DecryptInit(session, &mechanism, key) != CKR_OK ||
	    p11->C_Decrypt(session, (CK_BYTE *)v->data, (CK_ULONG)v->len, plain,
			   &size) != CKR_OK)
		return -1;
	return (long)size;
}

/* The wrapping keys that rows name, unwrapped once each. */
struct wrapping {
	unsigned char id[16];
	CK_OBJECT_HANDLE handle;
};

static struct wrapping *wrappings;
static size_t wrapping_count;

static CK_OBJECT_HANDLE wrapping_key(const void *id);

static CK_OBJECT_HANDLE open_wrapping_key(const void *id)
{
	sqlite3_stmt *row = query("SELECT role, cka_id FROM keys WHERE id = ?");
	CK_OBJECT_HANDLE handle = CK_INVALID_HANDLE;
	int role;

	sqlite3_bind_blob(row, 1, id, 16, SQLITE_STATIC);
	if (!next(row))
		return CK_INVALID_HANDLE;
	role = sqlite3_column_int(row, 0);
	if (role != 3) {
		find_objects(sqlite3_column_blob(row, 1), CKO_SECRET_KEY,
			     &handle);
		sqlite3_finalize(row);
		return handle;
	}
	sqlite3_finalize(row);
	row = query("SELECT wrapping_key, blob FROM wraps WHERE subject = ?");
	sqlite3_bind_blob(row, 1, id, 16, SQLITE_STATIC);
	while (next(row)) { /* every one of its rows must unwrap */
		handle = unwrap(wrapping_key(sqlite3_column_blob(row, 0)),
				sqlite3_column_blob(row, 1),
				sqlite3_column_bytes(row, 1), 3);
		if (handle == CK_INVALID_HANDLE)
			found("I1", "project key does not unwrap", id, 16);
	}
	return handle;
}

static CK_OBJECT_HANDLE wrapping_key(const void *id)
{
	unsigned char copy[16];
	CK_OBJECT_HANDLE handle;

	for (size_t i = 0; i < wrapping_count; i++) {
		if (memcmp(wrappings[i].id, id, 16) == 0)
			return wrappings[i].handle;
	}
	memcpy(copy, id, 16);
	handle = open_wrapping_key(copy);
	wrappings =
		realloc(wrappings, (wrapping_count + 1) * sizeof(*wrappings));
	if (wrappings == NULL)
		die("memory", "none left");
	memcpy(wrappings[wrapping_count].id, copy, 16);
	wrappings[wrapping_count++].handle = handle;
	return handle;
}

/* Opens the value through every row of its DEK; they must all agree. */
static long open_value(const struct value *v, sqlite3_stmt *wraps,
		       unsigned char *plain)
{
	static unsigned char other[1 << 20];
	long len = -1;

	sqlite3_reset(wraps);
	sqlite3_bind_blob(wraps, 1, v->dek, 16, SQLITE_STATIC);
	while (sqlite3_step(wraps) == SQLITE_ROW) {
		CK_OBJECT_HANDLE dek =
			unwrap(wrapping_key(sqlite3_column_blob(wraps, 0)),
			       sqlite3_column_blob(wraps, 1),
			       sqlite3_column_bytes(wraps, 1), 4);
		long n = dek == CK_INVALID_HANDLE
				 ? -1
				 : decrypt(dek, v, len < 0 ? plain : other,
					   1 << 20);

		if (n < 0)
			found("I1", "DEK or value does not open, DEK", v->dek,
			      16);
		else if (len < 0)
			len = n;
		else if (n != len || memcmp(plain, other, (size_t)n) != 0)
			found("I5", "two wraps give two values, DEK", v->dek,
			      16);
		if (dek != CK_INVALID_HANDLE)
			p11->C_DestroyObject(session, dek);
	}
	return len;
}

static long check_values(EVP_MD_CTX *digest)
{
	static unsigned char plain[1 << 20];
	sqlite3_stmt *wraps = query("SELECT wrapping_key, blob FROM wraps "
				    "WHERE subject = ?");
	sqlite3_stmt *row =
		query("SELECT s.project, s.id, v.version, v.dek, v.nonce, "
		      "v.ciphertext, p.name || '/' || s.name FROM versions v "
		      "JOIN secrets s ON s.id = v.secret "
		      "JOIN projects p ON p.id = s.project "
		      "ORDER BY p.name, s.name, v.version");
	long count = 0;

	while (next(row)) {
		if (count++ % step != 0)
			continue;
		struct value v = {
			.project = sqlite3_column_blob(row, 0),
			.secret = sqlite3_column_blob(row, 1),
			.version = sqlite3_column_int64(row, 2),
			.dek = sqlite3_column_blob(row, 3),
			.nonce = sqlite3_column_blob(row, 4),
			.data = sqlite3_column_blob(row, 5),
			.len = sqlite3_column_bytes(row, 5),
			.name = (const char *)sqlite3_column_text(row, 6),
		};
		long len = open_value(&v, wraps, plain);

		if (len < 0)
			found("I1", "no wrap opens the value, DEK", v.dek, 16);
		EVP_DigestUpdate(digest, v.name, strlen(v.name) + 1);
		EVP_DigestUpdate(digest, &v.version, sizeof(v.version));
		EVP_DigestUpdate(digest, &len, sizeof(len));
		if (len > 0)
			EVP_DigestUpdate(digest, plain, (size_t)len);
	}
	sqlite3_finalize(wraps);
	return count;
}

/* --- the audit ------------------------------------------------------------ */

static long check_audit(void)
{
	sqlite3_stmt *row = query("SELECT * FROM audit ORDER BY seq");
	unsigned char prev[32] = {0};
	long seq = 0;

	while (next(row)) {
		static unsigned char input[1 << 16];
		int columns = sqlite3_column_count(row);
		unsigned char hash[32];
		size_t used = 4;
		unsigned len;

		seq++;
		memcpy(input, "kvL1", 4);
		for (int i = 0; i < columns - 2; i++)
			used += put_column(row, i, input + used);
		EVP_Digest(input, used, hash, &len, EVP_sha256(), NULL);
		if (sqlite3_column_int64(row, 0) != seq ||
		    memcmp(sqlite3_column_blob(row, columns - 3), prev, 32) ||
		    memcmp(sqlite3_column_blob(row, columns - 2), hash, 32))
			found("I17", "audit chain breaks at entry", "", 0);
		memcpy(prev, hash, 32);
	}
	if (number("SELECT seq FROM audit_head") != seq)
		found("I17", "the head is not the last entry", "", 0);
	return seq;
}

int main(int argc, char **argv)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char hash[32];
	long values, entries;

	if (argc != 5 && argc != 6)
		die("usage",
		    "checker DATABASE MODULE TOKEN-LABEL PIN-FILE [STEP]");
	if (argc == 6)
		step = strtol(argv[5], NULL, 10);
	if (step < 1)
		die("usage", "STEP is a number from 1");
	if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL) !=
	    SQLITE_OK)
		die(argv[1], "cannot open");
	sqlite3_exec(db, "BEGIN", NULL, NULL, NULL);
	open_token(argv[2], argv[3], argv[4]);
	derive_mac_key();
	check_all_macs();
	check_token_keys();
	check_rows_of_keys();
	EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
	values = check_values(digest);
	entries = check_audit();
	EVP_DigestFinal_ex(digest, hash, NULL);
	EVP_MD_CTX_free(digest);
	printf("%ld values, %ld wraps, %ld audit entries, %ld findings\n",
	       values, number("SELECT count(*) FROM wraps"), entries, findings);
	printf("values ");
	for (size_t i = 0; i < sizeof(hash); i++)
		printf("%02x", hash[i]);
	putchar('\n');
	p11->C_Finalize(NULL);
	sqlite3_close(db);
	free(wrappings);
	return findings == 0 ? 0 : 1;
}
