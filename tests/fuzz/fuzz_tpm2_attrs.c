/*
 * The attributes of a token key as the provider's folder has them. What is
 * accepted reads out whole, through the calls that a program makes to learn
 * what room each value needs, and taken in again it is the same string.
 */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "hsm/tpm2/p11_attrs.h"

#define CALLS 4 /* lengths, and one more for each template in another */
#define LIST_MAX 64

static bool is_template(const CK_ATTRIBUTE *attr)
{
	enum attr_kind kind = ATTR_BYTES;

	return attr_kind_of(attr->type, &kind) && kind == ATTR_TEMPLATE;
}

static CK_ULONG inner_count(const CK_ATTRIBUTE *attr)
{
	return attr->pValue != NULL && is_template(attr)
		       ? attr->ulValueLen / sizeof(*attr)
		       : 0;
}

/* Room for what the last call said is needed. */
static void make_room(CK_ATTRIBUTE *attr)
{
	CK_ATTRIBUTE *inner = attr->pValue;

	for (CK_ULONG i = 0; i < inner_count(attr); i++)
		make_room(&inner[i]);
	if (attr->pValue == NULL && attr->ulValueLen > 0) {
		attr->pValue = calloc(1, attr->ulValueLen);
		must(attr->pValue != NULL);
	}
}

static void drop(CK_ATTRIBUTE *attr)
{
	CK_ATTRIBUTE *inner = attr->pValue;

	for (CK_ULONG i = 0; i < inner_count(attr); i++)
		drop(&inner[i]);
	free(attr->pValue);
}

static void check(const struct attrs *attrs)
{
	CLEANUP(attrs_done) struct attrs again = {0};
	CK_ATTRIBUTE list[LIST_MAX] = {0};
	CK_ATTRIBUTE_TYPE type;
	size_t at = 0;
	CK_ULONG n = 0;

	while (attrs_next(attrs, &at, &type)) {
		must(n < LIST_MAX);
		list[n].type = type;
		for (int i = 0; i < CALLS; i++) {
			must(attrs_answer(attrs, &list[n]) == CKR_OK);
			make_room(&list[n]);
		}
		must(attrs_answer(attrs, &list[n++]) == CKR_OK);
	}
	must(attrs_take(&again, list, n) == CKR_OK);
	must(again.len == attrs->len);
	must(again.len == 0 || memcmp(again.data, attrs->data, again.len) == 0);
	must(attrs_contain(attrs, &again));
	for (CK_ULONG i = 0; i < n; i++)
		drop(&list[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(attrs_done) struct attrs attrs = {0};

	if (attrs_parse(data, size, &attrs) == CKR_OK)
		check(&attrs);
	return 0;
}
