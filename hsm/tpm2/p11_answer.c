/*
 * Attributes as C_GetAttributeValue gives them out: stored values back in
 * PKCS#11's form, in the caller's room.
 */
#include "hsm/tpm2/p11_attrs.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

/* Room for len bytes in the caller's attribute, by the rules of PKCS#11 2.40
 * section 5.7 (C_GetAttributeValue). *ret: there is a buffer to write to. */
static CK_RV make_room(CK_ATTRIBUTE *into, size_t len, bool *ret)
{
	CK_ULONG room = into->ulValueLen;

	*ret = false;
	if (into->pValue == NULL) {
		into->ulValueLen = len;
		return CKR_OK;
	}
	if (room < len) {
		into->ulValueLen = CK_UNAVAILABLE_INFORMATION;
		return CKR_BUFFER_TOO_SMALL;
	}
	into->ulValueLen = len;
	*ret = true;
	return CKR_OK;
}

static CK_RV answer_bytes(CK_ATTRIBUTE *into, const void *value, size_t len)
{
	bool write;

	RV_TRY(make_room(into, len, &write));
	if (write && len > 0)
		memcpy(into->pValue, value, len);
	return CKR_OK;
}

static CK_RV answer_mechanisms(CK_ATTRIBUTE *into, const uint8_t *value,
			       size_t len)
{
	size_t n = len / ATTR_NUMBER_LEN;
	CK_MECHANISM_TYPE *list = into->pValue;
	bool write;

	RV_TRY(make_room(into, n * sizeof(*list), &write));
	for (size_t i = 0; write && i < n; i++)
		list[i] = be64_get(value + i * ATTR_NUMBER_LEN);
	return CKR_OK;
}

static size_t count_entries(const struct attrs *attrs)
{
	CK_ATTRIBUTE_TYPE type;
	size_t at = 0, n = 0;

	while (attrs_next(attrs, &at, &type))
		n++;
	return n;
}

/* The types are ours to write, in our order. The room behind each is the
 * caller's, who learns from a first call how much each needs. */
static CK_RV answer_template(CK_ATTRIBUTE *into, const struct attrs *inner)
{
	CK_ATTRIBUTE *list = into->pValue;
	CK_ATTRIBUTE_TYPE type;
	CK_RV rv = CKR_OK;
	size_t at = 0;
	bool write;

	RV_TRY(make_room(into, count_entries(inner) * sizeof(*list), &write));
	while (write && attrs_next(inner, &at, &type)) {
		CK_RV answer;

		list->type = type;
		answer = attrs_answer(inner, list++);
		rv = answer != CKR_OK ? answer : rv;
	}
	return rv;
}

static CK_RV answer(CK_ATTRIBUTE *into, enum attr_kind kind,
		    const uint8_t *value, size_t len)
{
	CK_ULONG number;

	switch (kind) {
	case ATTR_FLAG:
	case ATTR_BYTES:
		return answer_bytes(into, value, len);
	case ATTR_NUMBER:
		number = be64_get(value);
		return answer_bytes(into, &number, sizeof(number));
	case ATTR_MECHANISMS:
		return answer_mechanisms(into, value, len);
	case ATTR_TEMPLATE:
		return answer_template(into,
				       &(struct attrs){(uint8_t *)value, len});
	}
	abort();
}

CK_RV attrs_answer(const struct attrs *attrs, CK_ATTRIBUTE *ret)
{
	enum attr_kind kind;
	size_t len = 0;
	const uint8_t *value = attrs_bytes(attrs, ret->type, &len);

	if (value != NULL && attr_kind_of(ret->type, &kind))
		return answer(ret, kind, value, len);
	ret->ulValueLen = CK_UNAVAILABLE_INFORMATION;
	return CKR_ATTRIBUTE_TYPE_INVALID;
}
