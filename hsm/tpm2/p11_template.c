/*
 * The table of attributes, and the rules over them. A row says what kind of
 * value an attribute has, which classes have it, when a caller may give it and
 * what it is when he does not.
 */
#include "hsm/tpm2/p11_template.h"

#include <string.h>

/* prime256v1, 1.2.840.10045.3.1.7, as DER (RFC 5480 section 2.1.1.1). */
const uint8_t p256_params[P256_PARAMS_LEN] = {0x06, 0x08, 0x2a, 0x86, 0x48,
					      0xce, 0x3d, 0x03, 0x01, 0x07};

#define SECRET_LEN_MIN 16
#define SECRET_LEN_MAX 512

/* Classes. */
#define SECRET 1u
#define PRIVATE 2u
#define PUBLIC 4u
#define KEYS (SECRET | PRIVATE | PUBLIC)
#define HIDDEN_KEYS (SECRET | PRIVATE)

/* When a caller may give it. */
#define GENERATE (1u << ORIGIN_GENERATED)
#define UNWRAP (1u << ORIGIN_UNWRAPPED)
#define CREATE (1u << ORIGIN_CREATED)
#define ANY (GENERATE | UNWRAP | CREATE)
#define LATER 8u
#define NEVER 0u

enum fallback { NONE, NO, YES, EMPTY };

static const struct rule {
	CK_ATTRIBUTE_TYPE type;
	enum attr_kind kind;
	unsigned classes, given;
	enum fallback fallback;
} rules[] = {
	{CKA_CLASS, ATTR_NUMBER, KEYS, ANY, NONE},
	{CKA_KEY_TYPE, ATTR_NUMBER, KEYS, ANY, NONE},
	{CKA_TOKEN, ATTR_FLAG, KEYS, ANY, NO},
	{CKA_PRIVATE, ATTR_FLAG, HIDDEN_KEYS, ANY, YES},
	{CKA_PRIVATE, ATTR_FLAG, PUBLIC, ANY, NO},
	{CKA_MODIFIABLE, ATTR_FLAG, KEYS, ANY, YES},
	{CKA_COPYABLE, ATTR_FLAG, KEYS, ANY, NO},
	{CKA_DESTROYABLE, ATTR_FLAG, KEYS, ANY, YES},
	{CKA_LABEL, ATTR_BYTES, KEYS, ANY | LATER, EMPTY},
	{CKA_ID, ATTR_BYTES, KEYS, ANY | LATER, EMPTY},
	{CKA_START_DATE, ATTR_BYTES, KEYS, ANY | LATER, EMPTY},
	{CKA_END_DATE, ATTR_BYTES, KEYS, ANY | LATER, EMPTY},
	{CKA_SUBJECT, ATTR_BYTES, PRIVATE | PUBLIC, ANY | LATER, EMPTY},
	{CKA_DERIVE, ATTR_FLAG, KEYS, ANY, NO},
	{CKA_LOCAL, ATTR_FLAG, KEYS, NEVER, NONE},
	{CKA_KEY_GEN_MECHANISM, ATTR_NUMBER, KEYS, NEVER, NONE},
	{CKA_ALLOWED_MECHANISMS, ATTR_MECHANISMS, KEYS, ANY, EMPTY},
	{CKA_SENSITIVE, ATTR_FLAG, HIDDEN_KEYS, ANY | LATER, YES},
	{CKA_EXTRACTABLE, ATTR_FLAG, HIDDEN_KEYS, ANY | LATER, NO},
	{CKA_ALWAYS_SENSITIVE, ATTR_FLAG, HIDDEN_KEYS, NEVER, NONE},
	{CKA_NEVER_EXTRACTABLE, ATTR_FLAG, HIDDEN_KEYS, NEVER, NONE},
	{CKA_WRAP_WITH_TRUSTED, ATTR_FLAG, HIDDEN_KEYS, ANY, NO},
	{CKA_DECRYPT, ATTR_FLAG, HIDDEN_KEYS, ANY, NO},
	{CKA_SIGN, ATTR_FLAG, HIDDEN_KEYS, ANY, NO},
	{CKA_UNWRAP, ATTR_FLAG, HIDDEN_KEYS, ANY, NO},
	{CKA_UNWRAP_TEMPLATE, ATTR_TEMPLATE, HIDDEN_KEYS, ANY, EMPTY},
	{CKA_ENCRYPT, ATTR_FLAG, SECRET | PUBLIC, ANY, NO},
	{CKA_VERIFY, ATTR_FLAG, SECRET | PUBLIC, ANY, NO},
	{CKA_WRAP, ATTR_FLAG, SECRET | PUBLIC, ANY, NO},
	{CKA_WRAP_TEMPLATE, ATTR_TEMPLATE, SECRET | PUBLIC, ANY, EMPTY},
	{CKA_TRUSTED, ATTR_FLAG, SECRET | PUBLIC, ANY, NO},
	{CKA_VALUE, ATTR_BYTES, SECRET, CREATE, NONE},
	{CKA_VALUE_LEN, ATTR_NUMBER, SECRET, GENERATE | UNWRAP, NONE},
	{CKA_SIGN_RECOVER, ATTR_FLAG, PRIVATE, ANY, NO},
	{CKA_ALWAYS_AUTHENTICATE, ATTR_FLAG, PRIVATE, ANY, NO},
	{CKA_VERIFY_RECOVER, ATTR_FLAG, PUBLIC, ANY, NO},
	{CKA_EC_PARAMS, ATTR_BYTES, PRIVATE | PUBLIC, ANY, NONE},
	{CKA_EC_POINT, ATTR_BYTES, PUBLIC, NEVER, NONE},
};

#define RULES (sizeof(rules) / sizeof(rules[0]))

static unsigned class_bit(CK_OBJECT_CLASS class)
{
	if (class == CKO_SECRET_KEY)
		return SECRET;
	return class == CKO_PRIVATE_KEY ? PRIVATE : PUBLIC;
}

static const struct rule *rule_of(CK_ATTRIBUTE_TYPE type, unsigned class)
{
	for (size_t i = 0; i < RULES; i++) {
		if (rules[i].type == type && (rules[i].classes & class) != 0)
			return &rules[i];
	}
	return NULL;
}

bool attr_kind_of(CK_ATTRIBUTE_TYPE type, enum attr_kind *ret)
{
	const struct rule *rule = rule_of(type, KEYS);

	if (rule != NULL)
		*ret = rule->kind;
	return rule != NULL;
}

static CK_RV inconsistent(const char *why)
{
	return rv_raise(CKR_TEMPLATE_INCONSISTENT, "%s", why);
}

static CK_RV check_given(unsigned class, enum origin origin,
			 const CK_ATTRIBUTE *given, CK_ULONG n)
{
	for (CK_ULONG i = 0; i < n; i++) {
		const struct rule *rule = rule_of(given[i].type, class);

		if (rule == NULL)
			return rv_raise(CKR_ATTRIBUTE_TYPE_INVALID,
					"attribute 0x%lx is not one of this "
					"class of objects",
					given[i].type);
		if ((rule->given & (1u << origin)) == 0)
			return rv_raise(CKR_ATTRIBUTE_READ_ONLY,
					"attribute 0x%lx cannot be given here",
					given[i].type);
	}
	return CKR_OK;
}

/* Class or key type: what the mechanism makes, and the template agrees. */
static CK_RV settle(struct attrs *attrs, CK_ATTRIBUTE_TYPE type,
		    CK_ULONG implied)
{
	bool given = attrs_has(attrs, type);

	if (implied == CK_UNAVAILABLE_INFORMATION)
		return given ? CKR_OK
			     : rv_raise(CKR_TEMPLATE_INCOMPLETE,
					"attribute 0x%lx is missing", type);
	if (given && attrs_number(attrs, type) != implied)
		return inconsistent("the mechanism makes another kind of key");
	return attrs_set_number(attrs, type, implied);
}

static CK_RV fill(struct attrs *attrs, unsigned class)
{
	for (size_t i = 0; i < RULES; i++) {
		const struct rule *rule = &rules[i];

		if ((rule->classes & class) == 0 || rule->fallback == NONE ||
		    attrs_has(attrs, rule->type))
			continue;
		if (rule->fallback == EMPTY)
			RV_TRY(attrs_set_bytes(attrs, rule->type, NULL, 0));
		else
			RV_TRY(attrs_set_flag(attrs, rule->type,
					      rule->fallback == YES));
	}
	return CKR_OK;
}

static CK_RV add_history(struct attrs *attrs, const struct making *making,
			 unsigned class)
{
	bool born = making->origin == ORIGIN_GENERATED;
	bool sensitive = attrs_flag(attrs, CKA_SENSITIVE);
	bool leaves = attrs_flag(attrs, CKA_EXTRACTABLE);

	RV_TRY(attrs_set_flag(attrs, CKA_LOCAL, born));
	RV_TRY(attrs_set_number(attrs, CKA_KEY_GEN_MECHANISM,
				born ? making->mechanism
				     : CK_UNAVAILABLE_INFORMATION));
	if (class == PUBLIC)
		return CKR_OK;
	RV_TRY(attrs_set_flag(attrs, CKA_ALWAYS_SENSITIVE, born && sensitive));
	return attrs_set_flag(attrs, CKA_NEVER_EXTRACTABLE, born && !leaves);
}

static bool any_flag(const struct attrs *attrs, const CK_ATTRIBUTE_TYPE *types,
		     size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (attrs_flag(attrs, types[i]))
			return true;
	}
	return false;
}

/* Whoever wraps and decrypts with one key has everything under it in clear;
 * whoever knows a wrapping key, or can take one out, has it too. */
static CK_RV check_role(const struct attrs *attrs, enum origin origin)
{
	static const CK_ATTRIBUTE_TYPE others[] = {
		CKA_ENCRYPT, CKA_DECRYPT, CKA_SIGN,
		CKA_VERIFY,  CKA_DERIVE,  CKA_SIGN_RECOVER,
	};

	if (!attrs_flag(attrs, CKA_WRAP) && !attrs_flag(attrs, CKA_UNWRAP))
		return CKR_OK;
	if (any_flag(attrs, others, sizeof(others) / sizeof(others[0])))
		return inconsistent("a key that wraps does nothing else");
	if (origin == ORIGIN_CREATED)
		return inconsistent("a key from outside does not wrap");
	if (!attrs_flag(attrs, CKA_SENSITIVE) ||
	    attrs_flag(attrs, CKA_EXTRACTABLE))
		return inconsistent(
			"a key that wraps is sensitive and not extractable");
	return CKR_OK;
}

static CK_RV check_hidden(const struct attrs *attrs, enum origin origin)
{
	if (!attrs_flag(attrs, CKA_PRIVATE))
		return inconsistent("a secret or private key is private");
	if (origin == ORIGIN_UNWRAPPED && !attrs_flag(attrs, CKA_SENSITIVE))
		return inconsistent("an unwrapped key is sensitive");
	if (attrs_flag(attrs, CKA_ALWAYS_AUTHENTICATE))
		return inconsistent("no key asks for its PIN at each use");
	return check_role(attrs, origin);
}

static CK_RV check_rules(const struct attrs *attrs, enum origin origin,
			 unsigned class)
{
	size_t len;

	if (attrs_flag(attrs, CKA_TRUSTED))
		return rv_raise(CKR_ATTRIBUTE_READ_ONLY,
				"no key is CKA_TRUSTED on this token");
	if (class != SECRET && attrs_has(attrs, CKA_EC_PARAMS) &&
	    (attrs_bytes(attrs, CKA_EC_PARAMS, &len) == NULL ||
	     len != P256_PARAMS_LEN ||
	     memcmp(attrs_bytes(attrs, CKA_EC_PARAMS, &len), p256_params,
		    len) != 0))
		return rv_raise(CKR_CURVE_NOT_SUPPORTED,
				"the curve is not P-256");
	return class == PUBLIC ? CKR_OK : check_hidden(attrs, origin);
}

/* The kinds of keys that there are at all. */
static CK_RV check_type(const struct attrs *attrs, unsigned class)
{
	CK_KEY_TYPE type = attrs_number(attrs, CKA_KEY_TYPE);

	if (class == SECRET ? type == CKK_AES || type == CKK_GENERIC_SECRET
			    : type == CKK_EC)
		return CKR_OK;
	return inconsistent("there are no keys of this type");
}

static CK_RV complete(const struct making *making, const CK_ATTRIBUTE *given,
		      CK_ULONG n, struct attrs *attrs)
{
	unsigned class;

	RV_TRY(attrs_take(attrs, given, n));
	if (making->imposed != NULL)
		RV_TRY(attrs_impose(attrs, making->imposed));
	RV_TRY(settle(attrs, CKA_CLASS, making->class));
	class = class_bit(attrs_number(attrs, CKA_CLASS));
	RV_TRY(settle(attrs, CKA_KEY_TYPE, making->type));
	RV_TRY(check_type(attrs, class));
	RV_TRY(check_given(class, making->origin, given, n));
	RV_TRY(fill(attrs, class));
	RV_TRY(check_rules(attrs, making->origin, class));
	return add_history(attrs, making, class);
}

CK_RV template_complete(const struct making *making, const CK_ATTRIBUTE *given,
			CK_ULONG n, struct attrs *ret)
{
	struct attrs attrs = {0};
	CK_RV rv = complete(making, given, n, &attrs);

	if (rv != CKR_OK)
		attrs_done(&attrs);
	else
		*ret = attrs;
	return rv;
}

CK_RV template_length(struct attrs *attrs, size_t len)
{
	CK_ULONG given = attrs_number(attrs, CKA_VALUE_LEN);

	if (given != CK_UNAVAILABLE_INFORMATION && given != len)
		return inconsistent("the key is not as long as it should be");
	if (attrs_number(attrs, CKA_KEY_TYPE) == CKK_AES
		    ? len != 16 && len != 24 && len != 32
		    : len < SECRET_LEN_MIN || len > SECRET_LEN_MAX)
		return rv_raise(CKR_KEY_SIZE_RANGE,
				"a key of this type has not %zu bytes", len);
	return attrs_set_number(attrs, CKA_VALUE_LEN, len);
}

/* Sensitive and unextractable are one-way. */
static bool backwards(const struct attrs *changed, CK_ATTRIBUTE_TYPE type)
{
	return (type == CKA_SENSITIVE && !attrs_flag(changed, type)) ||
	       (type == CKA_EXTRACTABLE && attrs_flag(changed, type));
}

static CK_RV replace(struct attrs *attrs, const struct attrs *changed,
		     CK_ATTRIBUTE_TYPE type)
{
	size_t len = 0;
	const uint8_t *value = attrs_bytes(changed, type, &len);

	return attrs_set_bytes(attrs, type, value, len);
}

CK_RV template_change(struct attrs *attrs, const CK_ATTRIBUTE *given)
{
	unsigned class = class_bit(attrs_number(attrs, CKA_CLASS));
	const struct rule *rule = rule_of(given->type, class);
	struct attrs changed = {0};
	CK_RV rv;

	if (rule == NULL)
		return rv_raise(CKR_ATTRIBUTE_TYPE_INVALID,
				"attribute 0x%lx is not one of this object",
				given->type);
	if ((rule->given & LATER) == 0)
		return rv_raise(CKR_ATTRIBUTE_READ_ONLY,
				"attribute 0x%lx cannot change", given->type);
	rv = attrs_take(&changed, given, 1);
	if (rv == CKR_OK && backwards(&changed, given->type))
		rv = rv_raise(CKR_ATTRIBUTE_READ_ONLY,
			      "attribute 0x%lx cannot go back", given->type);
	if (rv == CKR_OK)
		rv = replace(attrs, &changed, given->type);
	attrs_done(&changed);
	return rv;
}
