/*
 * Members to values and back. What comes out of a database is not trusted:
 * every length is checked, and a text that holds a NUL is refused because the
 * struct could not keep it.
 */
#include "store/column.h"

#include <stdlib.h>
#include <string.h>

/* How a COLUMN_BYTES lies in its row. */
struct heap_bytes {
	uint8_t *data;
	size_t len;
};

_Static_assert(sizeof(((struct version_row *)0)->ciphertext) ==
		       sizeof(struct heap_bytes),
	       "a COLUMN_BYTES is laid out as struct heap_bytes");

static const void *member(const struct column *column, const void *row)
{
	return (const char *)row + column->offset;
}

static void get_bytes(const void *data, size_t len, struct column_value *ret)
{
	*ret = (struct column_value){VALUE_BYTES, 0, data, len};
}

void column_get(const struct column *column, const void *row,
		struct column_value *ret)
{
	const void *at = member(column, row);
	const struct heap_bytes *bytes = at;
	const struct blob *blob = at;
	const int64_t *number = at;

	*ret = (struct column_value){.kind = VALUE_NULL};
	switch (column->kind) {
	case COLUMN_INT:
		*ret = (struct column_value){VALUE_INT, *number, NULL, 0};
		break;
	case COLUMN_TIME:
		if (*number != 0)
			*ret = (struct column_value){VALUE_INT, *number, NULL,
						     0};
		break;
	case COLUMN_ID:
		get_bytes(at, KT_ID_LEN, ret);
		break;
	case COLUMN_ID_OPT:
		if (!id_is_zero(at))
			get_bytes(at, KT_ID_LEN, ret);
		break;
	case COLUMN_TEXT:
		*ret = (struct column_value){VALUE_TEXT, 0, at,
					     strnlen(at, column->size)};
		break;
	case COLUMN_BLOB:
		get_bytes(blob->data, blob->len, ret);
		break;
	case COLUMN_MAC:
		get_bytes(at, MAC_LEN, ret);
		break;
	case COLUMN_BYTES:
		get_bytes(bytes->data, bytes->len, ret);
		break;
	}
}

static enum kt_err wrong_length(const struct column *column,
				const struct column_value *value)
{
	return err_raise(KT_ERR_INTEGRITY, "%s: wrong length of %zu bytes",
			 column->name, value->len);
}

static enum kt_err set_fixed(const struct column *column,
			     const struct column_value *value, void *at)
{
	if (value->len != column->size)
		return wrong_length(column, value);
	memcpy(at, value->data, value->len);
	return KT_OK;
}

static enum kt_err set_text(const struct column *column,
			    const struct column_value *value, char *at)
{
	if (value->len >= column->size)
		return wrong_length(column, value);
	if (value->len > 0 && memchr(value->data, 0, value->len) != NULL)
		return err_raise(KT_ERR_INTEGRITY, "%s: holds a NUL",
				 column->name);
	if (value->len > 0)
		memcpy(at, value->data, value->len);
	at[value->len] = '\0';
	return KT_OK;
}

static enum kt_err set_heap(const struct column *column,
			    const struct column_value *value,
			    struct heap_bytes *at)
{
	if (value->len > COLUMN_BYTES_MAX)
		return wrong_length(column, value);
	at->data = malloc(value->len > 0 ? value->len : 1);
	if (at->data == NULL)
		return err_memory();
	if (value->len > 0)
		memcpy(at->data, value->data, value->len);
	at->len = value->len;
	return KT_OK;
}

static enum value_kind kind_of(const struct column *column)
{
	switch (column->kind) {
	case COLUMN_INT:
	case COLUMN_TIME:
		return VALUE_INT;
	case COLUMN_TEXT:
		return VALUE_TEXT;
	case COLUMN_ID:
	case COLUMN_ID_OPT:
	case COLUMN_BLOB:
	case COLUMN_MAC:
	case COLUMN_BYTES:
		return VALUE_BYTES;
	}
	return VALUE_NULL;
}

enum kt_err column_set(const struct column *column,
		       const struct column_value *value, void *row)
{
	void *at = (char *)row + column->offset;

	if (value->kind == VALUE_NULL &&
	    (column->kind == COLUMN_TIME || column->kind == COLUMN_ID_OPT))
		return KT_OK;
	if (value->kind != kind_of(column))
		return err_raise(KT_ERR_INTEGRITY, "%s: value of another type",
				 column->name);
	switch (column->kind) {
	case COLUMN_INT:
	case COLUMN_TIME:
		*(int64_t *)at = value->number;
		return KT_OK;
	case COLUMN_ID:
	case COLUMN_ID_OPT:
	case COLUMN_MAC:
		return set_fixed(column, value, at);
	case COLUMN_TEXT:
		return set_text(column, value, at);
	case COLUMN_BLOB:
		if (value->len > BLOB_MAX)
			return wrong_length(column, value);
		return blob_set(at, value->data, value->len);
	case COLUMN_BYTES:
		return set_heap(column, value, at);
	}
	return KT_OK;
}
