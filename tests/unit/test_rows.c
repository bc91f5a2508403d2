/*
 * The descriptions of rows against the structs, and members to values and
 * back: no member is left out, nothing that does not fit gets in.
 */
#include "store_fixture.h"

#include <stdio.h>

#include "store/column.h"

/* Columns follow each other with no more between them than alignment asks
 * for: a member without a column would leave a hole. */
static void columns_tile_the_struct(void **state)
{
	(void)state;
	for (int type = 0; type < ROW_TYPE_MAX_; type++) {
		const struct row_desc *desc = row_desc((enum row_type)type);
		size_t end = 0;

		for (size_t i = 0; i < desc->columns; i++) {
			assert_in_range(desc->column[i].offset, end, end + 7);
			end = desc->column[i].offset + desc->column[i].size;
		}
		assert_in_range(desc->size, end, end + 7);
	}
}

static void the_mac_is_the_last_column(void **state)
{
	(void)state;
	for (int type = 0; type < ROW_TYPE_MAX_; type++) {
		const struct row_desc *desc = row_desc((enum row_type)type);
		const struct column *last = &desc->column[desc->columns - 1];

		if (type == ROW_LEASE || type == ROW_COUNT) {
			assert_int_equal(desc->mac_offset, 0);
			continue;
		}
		assert_string_equal(last->name, "mac");
		assert_int_equal(last->kind, COLUMN_MAC);
		assert_int_equal(last->offset, desc->mac_offset);
	}
}

static void keys_of_rows_can_be_named(void **state)
{
	struct wrap_row wrap = wrap_of(1, 2);
	struct access_row access = access_of("abcdefghijkl", 1, 1);
	struct audit_row audit = {.seq = 17};
	struct version_row version = {.secret = id_of(3), .version = 4};
	char name[160];

	(void)state;
	row_name(ROW_WRAP, &wrap, name, sizeof(name));
	assert_string_equal(name, "wraps 01000000-0000-0000-0000-000000000001/"
				  "01000000-0000-0000-0000-000000000002");
	row_name(ROW_ACCESS, &access, name, sizeof(name));
	assert_string_equal(name, "access abcdefghijkl");
	row_name(ROW_AUDIT, &audit, name, sizeof(name));
	assert_string_equal(name, "audit 17");
	row_name(ROW_VERSION, &version, name, sizeof(name));
	assert_string_equal(name,
			    "versions 01000000-0000-0000-0000-000000000003/4");
	row_name(ROW_WRAP, &wrap, name, 10);
	assert_string_equal(name, "wraps 010");
}

static void done_clears_and_frees(void **state)
{
	struct version_row version = version_of(1, 1, 1, 100);

	(void)state;
	row_done(ROW_VERSION, NULL);
	row_done(ROW_VERSION, &version);
	assert_null(version.ciphertext.data);
	assert_int_equal(version.ciphertext.len, 0);
	row_done(ROW_VERSION, &version);
}

/* Any row, read from what would be written of it, is the same row. */
static void assert_round_trip(enum row_type type, const void *row, void *back)
{
	const struct row_desc *desc = row_desc(type);
	struct column_value value;

	memset(back, 0, desc->size);
	for (size_t i = 0; i < desc->columns; i++) {
		column_get(&desc->column[i], row, &value);
		assert_ok(column_set(&desc->column[i], &value, back));
	}
}

static void values_come_back(void **state)
{
	struct key_row key = key_of(KT_KEY_MASTER, 1, 0, 3), key_back;
	struct version_row version = version_of(1, 1, 1, 5), version_back;

	(void)state;
	memset(key.attributes, 'x', sizeof(key.attributes) - 1);
	assert_round_trip(ROW_KEY, &key, &key_back);
	assert_row_equal(ROW_KEY, &key, &key_back);
	assert_round_trip(ROW_VERSION, &version, &version_back);
	assert_row_equal(ROW_VERSION, &version, &version_back);
	row_done(ROW_VERSION, &version);
	row_done(ROW_VERSION, &version_back);
}

static const struct column *column_of(enum row_type type, const char *name)
{
	const struct row_desc *desc = row_desc(type);

	for (size_t i = 0; i < desc->columns; i++) {
		if (strcmp(desc->column[i].name, name) == 0)
			return &desc->column[i];
	}
	fail_msg("no column %s", name);
	return NULL;
}

static void zero_times_and_ids_are_null(void **state)
{
	struct key_row key = {0};
	struct column_value value;

	(void)state;
	column_get(column_of(ROW_KEY, "activated"), &key, &value);
	assert_int_equal(value.kind, VALUE_NULL);
	column_get(column_of(ROW_KEY, "cka_id"), &key, &value);
	assert_int_equal(value.kind, VALUE_NULL);
	column_get(column_of(ROW_KEY, "owner"), &key, &value);
	assert_int_equal(value.kind, VALUE_BYTES);
	column_get(column_of(ROW_KEY, "version"), &key, &value);
	assert_int_equal(value.kind, VALUE_INT);
}

static void what_does_not_fit_is_refused(void **state)
{
	static const char bytes[2048];
	static const struct {
		enum row_type type;
		const char *column;
		struct column_value value;
	} bad[] = {
		{ROW_KEY, "id", {VALUE_BYTES, 0, bytes, 15}},
		{ROW_KEY, "id", {VALUE_BYTES, 0, bytes, 17}},
		{ROW_KEY, "id", {VALUE_NULL, 0, NULL, 0}},
		{ROW_KEY, "id", {VALUE_TEXT, 0, bytes, 16}},
		{ROW_KEY, "cka_id", {VALUE_BYTES, 0, bytes, 0}},
		{ROW_KEY, "mac", {VALUE_BYTES, 0, bytes, 31}},
		{ROW_KEY, "role", {VALUE_NULL, 0, NULL, 0}},
		{ROW_KEY, "role", {VALUE_TEXT, 0, "1", 1}},
		{ROW_KEY, "activated", {VALUE_BYTES, 0, bytes, 8}},
		{ROW_KEY, "canary", {VALUE_BYTES, 0, bytes, BLOB_MAX + 1}},
		{ROW_KEY,
		 "token_serial",
		 {VALUE_TEXT, 0, "12345678901234567", 17}},
		{ROW_KEY,
		 "token_serial",
		 {VALUE_TEXT, 0,
		  "12\0"
		  "45",
		  5}},
		{ROW_VERSION,
		 "ciphertext",
		 {VALUE_BYTES, 0, bytes, COLUMN_BYTES_MAX + 1}},
		{ROW_VERSION, "ciphertext", {VALUE_NULL, 0, NULL, 0}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct column *column =
			column_of(bad[i].type, bad[i].column);
		union {
			struct key_row key;
			struct version_row version;
		} row, before;

		memset(&row, 0, sizeof(row));
		memset(&before, 0, sizeof(before));
		assert_err(column_set(column, &bad[i].value, &row),
			   KT_ERR_INTEGRITY);
		assert_ptr_equal(strstr(kt_err_detail(), column->name),
				 kt_err_detail());
		assert_memory_equal(&row, &before, sizeof(row));
	}
}

/* Reads the whole of a text file; the caller frees it. */
static char *slurp(const char *path)
{
	FILE *file = fopen(path, "re");
	size_t room = 1 << 20, len;
	char *text = calloc(1, room);

	assert_non_null(file);
	assert_non_null(text);
	len = fread(text, 1, room - 1, file);
	assert_in_range(len, 1, room - 2);
	fclose(file);
	return text;
}

/* Each table has its chapter, and each column stands in it. */
static void the_document_names_every_column(void **state)
{
	CLEANUP(freep) char *text = slurp("docs/formats.md");

	(void)state;
	for (int type = 0; type < ROW_COUNT; type++) {
		const struct row_desc *desc = row_desc((enum row_type)type);
		char head[64], name[64];
		char *chapter, *end;

		snprintf(head, sizeof(head), "\n### `%s`\n", desc->table);
		chapter = strstr(text, head);
		if (chapter == NULL)
			fail_msg("no chapter on %s", desc->table);
		end = strstr(chapter + 1, "\n### ");
		if (end != NULL)
			*end = '\0';
		for (size_t i = 0; i < desc->columns; i++) {
			snprintf(name, sizeof(name), "`%s`",
				 desc->column[i].name);
			if (strstr(chapter, name) == NULL)
				fail_msg("%s.%s is not in the document",
					 desc->table, desc->column[i].name);
		}
		if (end != NULL)
			*end = '\n';
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(columns_tile_the_struct),
		cmocka_unit_test(the_mac_is_the_last_column),
		cmocka_unit_test(keys_of_rows_can_be_named),
		cmocka_unit_test(done_clears_and_frees),
		cmocka_unit_test(values_come_back),
		cmocka_unit_test(zero_times_and_ids_are_null),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(the_document_names_every_column),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
