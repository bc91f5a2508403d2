/*
 * Attributes in their stored form, and back in PKCS#11's. What comes from the
 * state folder is checked once, when it is read; everything behind that relies
 * on it.
 */
#include "hsm/tpm2/p11_attrs.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "hsm/tpm2/p11_template.h"

#define HEAD 8          /* type and length */
#define VALUE_MAX 65536 /* of one attribute */
#define TEMPLATE_ENTRIES 64
#define NESTING_MAX 2 /* a template, and the templates inside */

struct entry {
	CK_ATTRIBUTE_TYPE type;
	const uint8_t *value;
	size_t len;
};

void attrs_done(struct attrs *attrs)
{
	free(attrs->data);
	*attrs = (struct attrs){0};
}

static bool next_entry(const struct attrs *attrs, size_t *at, struct entry *ret)
{
	const uint8_t *head;

	if (*at >= attrs->len)
		return false;
	head = attrs->data + *at;
	*ret = (struct entry){be32_get(head), head + HEAD, be32_get(head + 4)};
	*at += HEAD + ret->len;
	return true;
}

bool attrs_next(const struct attrs *attrs, size_t *at, CK_ATTRIBUTE_TYPE *ret)
{
	struct entry entry;

	if (!next_entry(attrs, at, &entry))
		return false;
	*ret = entry.type;
	return true;
}

static bool find(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
		 struct entry *ret)
{
	struct entry entry;
	size_t at = 0;

	while (next_entry(attrs, &at, &entry)) {
		if (entry.type == type) {
			*ret = entry;
			return true;
		}
	}
	return false;
}

bool attrs_has(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type)
{
	struct entry entry;

	return find(attrs, type, &entry);
}

bool attrs_flag(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type)
{
	struct entry entry;

	return find(attrs, type, &entry) && entry.value[0] != 0;
}

CK_ULONG attrs_number(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type)
{
	struct entry entry;

	if (!find(attrs, type, &entry))
		return CK_UNAVAILABLE_INFORMATION;
	return be64_get(entry.value);
}

const uint8_t *attrs_bytes(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
			   size_t *ret_len)
{
	struct entry entry;

	if (!find(attrs, type, &entry))
		return NULL;
	*ret_len = entry.len;
	return entry.value;
}

struct attrs attrs_inner(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type)
{
	struct entry entry;

	if (!find(attrs, type, &entry))
		return (struct attrs){0};
	return (struct attrs){(uint8_t *)entry.value, entry.len};
}

bool attrs_allow(const struct attrs *attrs, CK_MECHANISM_TYPE mechanism)
{
	struct entry entry;

	if (!find(attrs, CKA_ALLOWED_MECHANISMS, &entry) || entry.len == 0)
		return true;
	for (size_t at = 0; at < entry.len; at += ATTR_NUMBER_LEN) {
		if (be64_get(entry.value + at) == mechanism)
			return true;
	}
	return false;
}

static void drop(struct attrs *attrs, CK_ATTRIBUTE_TYPE type)
{
	struct entry entry;
	uint8_t *from, *rest;

	if (!find(attrs, type, &entry))
		return;
	from = (uint8_t *)entry.value - HEAD;
	rest = (uint8_t *)entry.value + entry.len;
	memmove(from, rest, (size_t)(attrs->data + attrs->len - rest));
	attrs->len -= HEAD + entry.len;
}

CK_RV attrs_set_bytes(struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
		      const void *value, size_t len)
{
	uint8_t *data = realloc(attrs->data, attrs->len + HEAD + len);
	uint8_t *head;

	if (data == NULL)
		return rv_memory();
	attrs->data = data;
	drop(attrs, type);
	head = attrs->data + attrs->len;
	be32_put(head, (uint32_t)type);
	be32_put(head + 4, (uint32_t)len);
	if (len > 0)
		memcpy(head + HEAD, value, len);
	attrs->len += HEAD + len;
	return CKR_OK;
}

CK_RV attrs_set_flag(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, bool value)
{
	uint8_t byte = value ? 1 : 0;

	return attrs_set_bytes(attrs, type, &byte, 1);
}

CK_RV attrs_set_number(struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
		       CK_ULONG value)
{
	uint8_t bytes[ATTR_NUMBER_LEN];

	be64_put(bytes, value);
	return attrs_set_bytes(attrs, type, bytes, sizeof(bytes));
}

static CK_RV bad_value(CK_ATTRIBUTE_TYPE type)
{
	return rv_raise(CKR_ATTRIBUTE_VALUE_INVALID,
			"attribute 0x%lx: a value of a wrong length", type);
}

static CK_RV take(struct attrs *attrs, const CK_ATTRIBUTE *given, int depth);

static CK_RV take_all(struct attrs *attrs, const CK_ATTRIBUTE *given,
		      CK_ULONG n, int depth)
{
	if ((given == NULL && n > 0) || n > TEMPLATE_ENTRIES)
		return rv_raise(CKR_ARGUMENTS_BAD,
				"a template of %lu attributes", n);
	for (CK_ULONG i = 0; i < n; i++)
		RV_TRY(take(attrs, &given[i], depth));
	return CKR_OK;
}

static CK_RV take_mechanisms(struct attrs *attrs, const CK_ATTRIBUTE *given)
{
	const CK_MECHANISM_TYPE *list = given->pValue;
	size_t n = given->ulValueLen / sizeof(*list);
	CLEANUP(freep) uint8_t *bytes = malloc(n * ATTR_NUMBER_LEN + 1);

	if (given->ulValueLen % sizeof(*list) != 0)
		return bad_value(given->type);
	if (bytes == NULL)
		return rv_memory();
	for (size_t i = 0; i < n; i++)
		be64_put(bytes + i * ATTR_NUMBER_LEN, list[i]);
	return attrs_set_bytes(attrs, given->type, bytes, n * ATTR_NUMBER_LEN);
}

static CK_RV take_template(struct attrs *attrs, const CK_ATTRIBUTE *given,
			   int depth)
{
	CLEANUP(attrs_done) struct attrs inner = {0};

	if (given->ulValueLen % sizeof(*given) != 0 || depth >= NESTING_MAX)
		return bad_value(given->type);
	RV_TRY(take_all(&inner, given->pValue,
			given->ulValueLen / sizeof(*given), depth + 1));
	return attrs_set_bytes(attrs, given->type, inner.data, inner.len);
}

static CK_RV take_value(struct attrs *attrs, const CK_ATTRIBUTE *given,
			enum attr_kind kind, int depth)
{
	CK_ULONG len = given->ulValueLen;

	switch (kind) {
	case ATTR_FLAG:
		if (len != sizeof(CK_BBOOL))
			return bad_value(given->type);
		return attrs_set_flag(attrs, given->type,
				      *(CK_BBOOL *)given->pValue != CK_FALSE);
	case ATTR_NUMBER:
		if (len != sizeof(CK_ULONG))
			return bad_value(given->type);
		return attrs_set_number(attrs, given->type,
					*(CK_ULONG *)given->pValue);
	case ATTR_BYTES:
		return attrs_set_bytes(attrs, given->type, given->pValue, len);
	case ATTR_MECHANISMS:
		return take_mechanisms(attrs, given);
	case ATTR_TEMPLATE:
		return take_template(attrs, given, depth);
	}
	abort();
}

static CK_RV take(struct attrs *attrs, const CK_ATTRIBUTE *given, int depth)
{
	enum attr_kind kind;

	if (!attr_kind_of(given->type, &kind))
		return rv_raise(CKR_ATTRIBUTE_TYPE_INVALID,
				"attribute 0x%lx is not known", given->type);
	if (attrs_has(attrs, given->type))
		return rv_raise(CKR_TEMPLATE_INCONSISTENT,
				"attribute 0x%lx is there twice", given->type);
	if (given->ulValueLen > VALUE_MAX ||
	    (given->pValue == NULL && given->ulValueLen > 0))
		return bad_value(given->type);
	if (given->type == CKA_VALUE)
		return CKR_OK;
	return take_value(attrs, given, kind, depth);
}

CK_RV attrs_take(struct attrs *attrs, const CK_ATTRIBUTE *given, CK_ULONG n)
{
	return take_all(attrs, given, n, 0);
}

static bool same(const struct entry *a, const struct entry *b)
{
	return a->len == b->len &&
	       (a->len == 0 || memcmp(a->value, b->value, a->len) == 0);
}

CK_RV attrs_impose(struct attrs *attrs, const struct attrs *imposed)
{
	struct entry wanted, have;
	size_t at = 0;

	while (next_entry(imposed, &at, &wanted)) {
		if (!find(attrs, wanted.type, &have))
			RV_TRY(attrs_set_bytes(attrs, wanted.type, wanted.value,
					       wanted.len));
		else if (!same(&wanted, &have))
			return rv_raise(CKR_TEMPLATE_INCONSISTENT,
					"attribute 0x%lx is not what the "
					"wrapping key's template wants",
					wanted.type);
	}
	return CKR_OK;
}

bool attrs_contain(const struct attrs *attrs, const struct attrs *wanted)
{
	struct entry entry, have;
	size_t at = 0;

	while (next_entry(wanted, &at, &entry)) {
		if (!find(attrs, entry.type, &have) || !same(&entry, &have))
			return false;
	}
	return true;
}

static bool whole(const uint8_t *data, size_t len, int depth);

static bool whole_value(enum attr_kind kind, const uint8_t *value, size_t len,
			int depth)
{
	switch (kind) {
	case ATTR_FLAG:
		return len == 1 && value[0] <= 1;
	case ATTR_NUMBER:
		return len == ATTR_NUMBER_LEN;
	case ATTR_BYTES:
		return true;
	case ATTR_MECHANISMS:
		return len % ATTR_NUMBER_LEN == 0;
	case ATTR_TEMPLATE:
		return depth < NESTING_MAX && whole(value, len, depth + 1);
	}
	return false;
}

/* One entry, behind others that are whole. No type is there twice, and no
 * secret is an attribute. */
static bool whole_entry(const uint8_t *data, size_t at, size_t len, int depth)
{
	const struct attrs before = {(uint8_t *)data, at};
	CK_ATTRIBUTE_TYPE type;
	enum attr_kind kind;
	size_t value_len;

	if (len - at < HEAD)
		return false;
	type = be32_get(data + at);
	value_len = be32_get(data + at + 4);
	return value_len <= VALUE_MAX && value_len <= len - at - HEAD &&
	       attr_kind_of(type, &kind) && type != CKA_VALUE &&
	       !attrs_has(&before, type) &&
	       whole_value(kind, data + at + HEAD, value_len, depth);
}

static bool whole(const uint8_t *data, size_t len, int depth)
{
	size_t at = 0, n = 0;

	while (at < len) {
		if (++n > TEMPLATE_ENTRIES ||
		    !whole_entry(data, at, len, depth))
			return false;
		at += HEAD + be32_get(data + at + 4);
	}
	return true;
}

CK_RV attrs_parse(const void *data, size_t len, struct attrs *ret)
{
	struct attrs attrs = {malloc(len + 1), len};

	if (attrs.data == NULL)
		return rv_memory();
	if (len > 0)
		memcpy(attrs.data, data, len);
	if (!whole(attrs.data, len, 0)) {
		attrs_done(&attrs);
		return rv_raise(CKR_DEVICE_ERROR,
				"stored attributes are not whole");
	}
	*ret = attrs;
	return CKR_OK;
}
