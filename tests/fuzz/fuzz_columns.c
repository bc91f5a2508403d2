/*
 * Rows out of a database that somebody else wrote. The first byte chooses the
 * table, then comes a value for each column, of any kind and length. A value
 * that is accepted is the value that would be stored; one that is refused
 * leaves its member alone.
 */
#include <string.h>

#include "fuzz.h"
#include "store/column.h"

static void read_value(struct input *input, struct column_value *ret,
		       char **ret_data)
{
	unsigned head = input_u8(input);
	size_t len = head >> 2;

	*ret = (struct column_value){.kind = (enum value_kind)(head & 3)};
	if (ret->kind == VALUE_NULL)
		return;
	if (ret->kind == VALUE_INT) {
		ret->number = (int32_t)input_u32(input);
		return;
	}
	/* 63 stands for all lengths that do not fit into six bits. */
	if (len == 63)
		len = input_u32(input) % 4096;
	*ret_data = input_take(input, len, &ret->len);
	ret->data = *ret_data;
}

/* 0 and a zero id are how a row says NULL. */
static bool stands_for_null(const struct column *column,
			    const struct column_value *value)
{
	static const uint8_t zero[KT_ID_LEN];

	if (column->kind == COLUMN_TIME)
		return value->kind == VALUE_NULL || value->number == 0;
	if (column->kind == COLUMN_ID_OPT)
		return value->kind == VALUE_NULL ||
		       memcmp(value->data, zero, sizeof(zero)) == 0;
	return false;
}

static void must_be_stored(const struct column *column, const void *row,
			   const struct column_value *value)
{
	struct column_value stored;

	column_get(column, row, &stored);
	if (stands_for_null(column, value)) {
		must(stored.kind == VALUE_NULL);
		return;
	}
	must(stored.kind == value->kind && stored.number == value->number);
	must(stored.len == value->len);
	must(stored.len == 0 ||
	     memcmp(stored.data, value->data, stored.len) == 0);
}

/* Nothing but the member was written, and a text ends inside of it. */
static void must_fit(const struct row_desc *desc, const struct column *column,
		     const void *before, const void *row)
{
	size_t end = column->offset + column->size;

	must(memcmp(row, before, column->offset) == 0);
	must(memcmp((const char *)row + end, (const char *)before + end,
		    desc->size - end) == 0);
	if (column->kind == COLUMN_TEXT)
		must(memchr((const char *)row + column->offset, 0,
			    column->size) != NULL);
}

static void set_column(struct input *input, const struct row_desc *desc,
		       const struct column *column, void *row)
{
	CLEANUP(freep) void *before = malloc(desc->size);
	CLEANUP(freep) char *data = NULL;
	struct column_value value;
	enum kt_err err;

	must(before != NULL);
	memcpy(before, row, desc->size);
	read_value(input, &value, &data);
	err = column_set(column, &value, row);
	if (err == KT_OK) {
		must_fit(desc, column, before, row);
		must_be_stored(column, row, &value);
		return;
	}
	must(err == KT_ERR_INTEGRITY && error_lacks("~"));
	must(strncmp(kt_err_detail(), column->name, strlen(column->name)) == 0);
	must(memcmp(row, before, desc->size) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	enum row_type type = (enum row_type)(input_u8(&input) % ROW_TYPE_MAX_);
	const struct row_desc *desc = row_desc(type);
	CLEANUP(freep) void *row = calloc(1, desc->size);
	char name[160], small[8];

	must(row != NULL);
	for (size_t i = 0; i < desc->columns; i++)
		set_column(&input, desc, &desc->column[i], row);
	row_name(type, row, name, sizeof(name));
	row_name(type, row, small, sizeof(small));
	must(strncmp(small, name, strlen(small)) == 0);
	row_done(type, row);
	return 0;
}
