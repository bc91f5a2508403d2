/*
 * Between a member of a row and what a database keeps in a column: the same
 * rules for every driver. Internal to the store.
 */
#ifndef STORE_COLUMN_H
#define STORE_COLUMN_H

#include "base/err.h"
#include "store/rows.h"

/* The longest value of a COLUMN_BYTES: a secret's and its tag. */
#define COLUMN_BYTES_MAX (KT_VALUE_MAX + 16)

enum value_kind { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_BYTES };

/* data is borrowed: from the row, or from the driver's result. */
struct column_value {
	enum value_kind kind;
	int64_t number;
	const void *data;
	size_t len;
};

/* What to store for a member. */
void column_get(const struct column *column, const void *row,
		struct column_value *ret);

/* Fills a member from what was stored. KT_ERR_INTEGRITY: no value of this
 * kind, or it does not fit; the detail begins with the column's name, the
 * caller puts the row's in front. The row was cleared before. */
enum kt_err column_set(const struct column *column,
		       const struct column_value *value, void *row);

#endif
