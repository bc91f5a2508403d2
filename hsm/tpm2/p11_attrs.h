/*
 * The attributes of an object as one string of bytes, the same in memory and
 * in the state folder: entries of type (4 bytes, big endian), length (4) and
 * value. A flag is one byte, 0 or 1; a number has 8 bytes, big endian; a list
 * of mechanisms has 8 bytes for each; a template is such a string itself.
 */
#ifndef HSM_TPM2_P11_ATTRS_H
#define HSM_TPM2_P11_ATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hsm/tpm2/rv.h"

enum attr_kind {
	ATTR_FLAG,
	ATTR_NUMBER,
	ATTR_BYTES,
	ATTR_MECHANISMS,
	ATTR_TEMPLATE
};

#define ATTR_NUMBER_LEN 8

struct attrs {
	uint8_t *data;
	size_t len;
};

void attrs_done(struct attrs *attrs);

/* Takes in what a caller gave, in any order. CKR_ATTRIBUTE_TYPE_INVALID,
 * CKR_ATTRIBUTE_VALUE_INVALID (a wrong length), CKR_TEMPLATE_INCONSISTENT (a
 * type that is there already). CKA_VALUE is left out: it is no attribute of
 * ours but the secret itself. */
CK_RV attrs_take(struct attrs *attrs, const CK_ATTRIBUTE *given, CK_ULONG n);

/* Sets or replaces one. */
CK_RV attrs_set_flag(struct attrs *attrs, CK_ATTRIBUTE_TYPE type, bool value);
CK_RV attrs_set_number(struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
		       CK_ULONG value);
CK_RV attrs_set_bytes(struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
		      const void *value, size_t len);

/* Takes in what is missing; what is there with another value is
 * CKR_TEMPLATE_INCONSISTENT. */
CK_RV attrs_impose(struct attrs *attrs, const struct attrs *imposed);

bool attrs_has(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type);

/* False, or CK_UNAVAILABLE_INFORMATION, when it is not there. */
bool attrs_flag(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type);
CK_ULONG attrs_number(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type);

/* The value as it is stored; NULL when it is not there. Lives as long as the
 * attributes are unchanged. */
const uint8_t *attrs_bytes(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
			   size_t *ret_len);

/* A template inside: a view, not to be freed. Empty when it is not there. */
struct attrs attrs_inner(const struct attrs *attrs, CK_ATTRIBUTE_TYPE type);

/* Whether a list of mechanisms names this one. */
bool attrs_allow(const struct attrs *attrs, CK_MECHANISM_TYPE mechanism);

/* Answers one entry of C_GetAttributeValue: CKR_ATTRIBUTE_TYPE_INVALID,
 * CKR_BUFFER_TOO_SMALL, with its length set as PKCS#11 wants it. */
CK_RV attrs_answer(const struct attrs *attrs, CK_ATTRIBUTE *ret);

/* Every entry of wanted is in attrs with the same value. */
bool attrs_contain(const struct attrs *attrs, const struct attrs *wanted);

/* Walks the entries; *at starts at 0. False at the end. */
bool attrs_next(const struct attrs *attrs, size_t *at, CK_ATTRIBUTE_TYPE *ret);

/* Copies stored attributes, checked entry by entry. */
CK_RV attrs_parse(const void *data, size_t len, struct attrs *ret);

/* False: a type that this provider does not know. */
bool attr_kind_of(CK_ATTRIBUTE_TYPE type, enum attr_kind *ret);

#endif
