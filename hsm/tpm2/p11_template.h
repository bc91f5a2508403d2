/*
 * What an object may be: from the caller's template to the whole set of its
 * attributes. Each attribute of a class is there afterwards, given or by
 * default, so that reading one back always says what holds. One key has one
 * role: a key that wraps or unwraps does nothing else, is sensitive, never
 * leaves, and was not brought in by somebody who knows it.
 */
#ifndef HSM_TPM2_P11_TEMPLATE_H
#define HSM_TPM2_P11_TEMPLATE_H

#include "hsm/tpm2/p11_attrs.h"

enum origin { ORIGIN_GENERATED, ORIGIN_UNWRAPPED, ORIGIN_CREATED };

struct making {
	enum origin origin;
	/* CK_UNAVAILABLE_INFORMATION: the template has to say it. */
	CK_OBJECT_CLASS class;
	CK_KEY_TYPE type;
	CK_MECHANISM_TYPE mechanism;
	const struct attrs *imposed; /* an unwrap template, or NULL */
};

/* The attributes of the object that the template asks for. The length of a
 * secret's value stands in CKA_VALUE_LEN where the template gave it. */
CK_RV template_complete(const struct making *making, const CK_ATTRIBUTE *given,
			CK_ULONG n, struct attrs *ret);

/* A secret's length, now that it is known, as CKA_VALUE_LEN. What the template
 * said before must agree: CKR_TEMPLATE_INCONSISTENT. CKR_KEY_SIZE_RANGE. */
CK_RV template_length(struct attrs *attrs, size_t len);

/* What a later C_SetAttributeValue may still change, for one attribute. */
CK_RV template_change(struct attrs *attrs, const CK_ATTRIBUTE *given);

#define P256_PARAMS_LEN 10
extern const uint8_t p256_params[P256_PARAMS_LEN];

#endif
