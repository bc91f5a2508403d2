/*
 * Reading back: what a token says of an object, compared attribute by attribute
 * with the template that it should have kept to, and written as text for the
 * records. A token that dropped, changed or does not know an attribute is found
 * out here.
 */
#include "hsm/template.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "hsm/tpm2/keyturn-tpm2.h"

#define VALUE_MAX 64

enum kind {
	KIND_BYTES,
	KIND_FLAG,
	KIND_NUMBER,
	KIND_CLASS,
	KIND_KEY_TYPE,
	KIND_MECHANISM, /* one, or an array of them */
	KIND_TEMPLATE
};

struct name {
	CK_ULONG value;
	const char *name;
};

static const struct attribute {
	CK_ATTRIBUTE_TYPE type;
	const char *name;
	enum kind kind;
} attributes[] = {
	{CKA_CLASS, "class", KIND_CLASS},
	{CKA_KEY_TYPE, "key-type", KIND_KEY_TYPE},
	{CKA_VALUE_LEN, "value-len", KIND_NUMBER},
	{CKA_EC_PARAMS, "ec-params", KIND_BYTES},
	{CKA_TOKEN, "token", KIND_FLAG},
	{CKA_PRIVATE, "private", KIND_FLAG},
	{CKA_SENSITIVE, "sensitive", KIND_FLAG},
	{CKA_EXTRACTABLE, "extractable", KIND_FLAG},
	{CKA_ENCRYPT, "encrypt", KIND_FLAG},
	{CKA_DECRYPT, "decrypt", KIND_FLAG},
	{CKA_WRAP, "wrap", KIND_FLAG},
	{CKA_UNWRAP, "unwrap", KIND_FLAG},
	{CKA_SIGN, "sign", KIND_FLAG},
	{CKA_VERIFY, "verify", KIND_FLAG},
	{CKA_DERIVE, "derive", KIND_FLAG},
	{CKA_COPYABLE, "copyable", KIND_FLAG},
	{CKA_MODIFIABLE, "modifiable", KIND_FLAG},
	{CKA_LOCAL, "local", KIND_FLAG},
	{CKA_ALWAYS_SENSITIVE, "always-sensitive", KIND_FLAG},
	{CKA_NEVER_EXTRACTABLE, "never-extractable", KIND_FLAG},
	{CKA_KEY_GEN_MECHANISM, "key-gen-mechanism", KIND_MECHANISM},
	{CKA_ALLOWED_MECHANISMS, "allowed-mechanisms", KIND_MECHANISM},
	{CKA_UNWRAP_TEMPLATE, "unwrap-template", KIND_TEMPLATE},
	{CKA_ID, "id", KIND_BYTES},
	{CKA_LABEL, "label", KIND_BYTES},
};

static const struct name classes[] = {
	{CKO_SECRET_KEY, "secret-key"},
	{CKO_PRIVATE_KEY, "private-key"},
	{CKO_PUBLIC_KEY, "public-key"},
	{0, NULL},
};

static const struct name key_types[] = {
	{CKK_AES, "aes"},
	{CKK_GENERIC_SECRET, "generic-secret"},
	{CKK_EC, "ec"},
	{0, NULL},
};

static const struct name mechanisms[] = {
	{CKM_AES_KEY_WRAP, "aes-key-wrap"},
	{CKM_AES_KEY_WRAP_KWP, "aes-key-wrap-kwp"},
	{CKM_AES_KEY_WRAP_PAD, "aes-key-wrap-pad"},
	{CKM_KEYTURN_TPM_WRAP, "keyturn-tpm-wrap"},
	{CKM_AES_GCM, "aes-gcm"},
	{CKM_SHA256_HMAC, "sha256-hmac"},
	{CKM_ECDSA, "ecdsa"},
	{CKM_AES_KEY_GEN, "aes-key-gen"},
	{CKM_GENERIC_SECRET_KEY_GEN, "generic-secret-key-gen"},
	{CKM_EC_KEY_PAIR_GEN, "ec-key-pair-gen"},
	{CK_UNAVAILABLE_INFORMATION, "none"},
	{0, NULL},
};

/* Text that is cut where it does not fit: it is only shown. */
struct text {
	char *at;
	size_t room;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text,
						      const char *format, ...)
{
	va_list args;
	int n;

	if (text->room == 0)
		return;
	va_start(args, format);
	n = vsnprintf(text->at, text->room, format, args);
	va_end(args);
	if (n < 0 || (size_t)n >= text->room)
		n = (int)text->room - 1;
	text->at += n;
	text->room -= (size_t)n;
}

static struct attribute attribute_of(CK_ATTRIBUTE_TYPE type)
{
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]);
	     i++) {
		if (attributes[i].type == type)
			return attributes[i];
	}
	return (struct attribute){type, "unknown", KIND_BYTES};
}

static void put_named(struct text *text, const struct name *names,
		      CK_ULONG value)
{
	for (; names->name != NULL; names++) {
		if (names->value == value) {
			put(text, "%s", names->name);
			return;
		}
	}
	put(text, "0x%lx", value);
}

static void put_bytes(struct text *text, const CK_ATTRIBUTE *attr)
{
	const uint8_t *bytes = attr->pValue;

	for (CK_ULONG i = 0; i < attr->ulValueLen; i++)
		put(text, "%02x", bytes[i]);
}

static void put_mechanisms(struct text *text, const CK_ATTRIBUTE *attr)
{
	const CK_MECHANISM_TYPE *list = attr->pValue;

	for (CK_ULONG i = 0; i < attr->ulValueLen / sizeof(*list); i++) {
		put(text, "%s", i > 0 ? "," : "");
		put_named(text, mechanisms, list[i]);
	}
}

static void put_value(struct text *text, const CK_ATTRIBUTE *attr);

static void put_nested(struct text *text, const CK_ATTRIBUTE *attr)
{
	const CK_ATTRIBUTE *inner = attr->pValue;

	put(text, "{");
	for (CK_ULONG i = 0; i < attr->ulValueLen / sizeof(*inner); i++) {
		put(text, "%s%s=", i > 0 ? " " : "",
		    attribute_of(inner[i].type).name);
		put_value(text, &inner[i]);
	}
	put(text, "}");
}

/* A value of a wrong length is shown as bytes. */
static void put_value(struct text *text, const CK_ATTRIBUTE *attr)
{
	enum kind kind = attribute_of(attr->type).kind;
	bool number = attr->ulValueLen == sizeof(CK_ULONG);

	if (kind == KIND_TEMPLATE)
		put_nested(text, attr);
	else if (kind == KIND_FLAG && attr->ulValueLen == sizeof(CK_BBOOL))
		put(text, "%s",
		    *(CK_BBOOL *)attr->pValue == CK_FALSE ? "false" : "true");
	else if (kind == KIND_CLASS && number)
		put_named(text, classes, *(CK_ULONG *)attr->pValue);
	else if (kind == KIND_KEY_TYPE && number)
		put_named(text, key_types, *(CK_ULONG *)attr->pValue);
	else if (kind == KIND_NUMBER && number)
		put(text, "%lu", *(CK_ULONG *)attr->pValue);
	else if (kind == KIND_MECHANISM)
		put_mechanisms(text, attr);
	else
		put_bytes(text, attr);
}

/* What was read, in fixed room: one entry for each of the template. */
struct readback {
	CK_ATTRIBUTE attr[TEMPLATE_MAX];
	_Alignas(CK_ULONG) uint8_t value[TEMPLATE_MAX][VALUE_MAX];
	CK_ATTRIBUTE nested[TEMPLATE_MAX];
	_Alignas(CK_ULONG) uint8_t nested_value[TEMPLATE_MAX][sizeof(CK_ULONG)];
};

/* CK_UNAVAILABLE_INFORMATION is the largest length of all. */
static enum kt_err refused(const CK_ATTRIBUTE *attr)
{
	return err_raise(KT_ERR_POLICY, "the token cannot read attribute %s",
			 attribute_of(attr->type).name);
}

/* Everything but the nested template in one call: a token answers for each
 * attribute by itself, so the one it does not know can be named. */
static enum kt_err read_plain(struct session *s, CK_OBJECT_HANDLE object,
			      const struct template *t, struct readback *ret)
{
	CK_ATTRIBUTE attr[TEMPLATE_MAX];
	CK_ULONG n = 0;
	enum kt_err err;

	for (CK_ULONG i = 0; i < t->count; i++) {
		if (attribute_of(t->attr[i].type).kind != KIND_TEMPLATE)
			attr[n++] = (CK_ATTRIBUTE){t->attr[i].type,
						   ret->value[i], VALUE_MAX};
	}
	err = CALL(s, C_GetAttributeValue, object, attr, n);
	for (CK_ULONG i = 0; i < n; i++) {
		if ((err == KT_OK || err == KT_ERR_POLICY) &&
		    attr[i].ulValueLen > VALUE_MAX)
			return refused(&attr[i]);
	}
	TRY(err);
	for (CK_ULONG i = 0, at = 0; i < t->count; i++) {
		if (attribute_of(t->attr[i].type).kind != KIND_TEMPLATE)
			ret->attr[i] = attr[at++];
	}
	return KT_OK;
}

/* The array names the types that were set: SoftHSM looks each of them up and
 * says CKR_GENERAL_ERROR where one is missing, CKR_BUFFER_TOO_SMALL where there
 * are more. Other tokens write the types that they have. */
static enum kt_err read_nested(struct session *s, CK_OBJECT_HANDLE object,
			       const CK_ATTRIBUTE *expected, struct readback *r,
			       CK_ATTRIBUTE *ret)
{
	CK_ULONG n = expected->ulValueLen / sizeof(CK_ATTRIBUTE);
	const CK_ATTRIBUTE *inner = expected->pValue;
	enum kt_err err;

	for (CK_ULONG i = 0; i < n; i++)
		r->nested[i] = (CK_ATTRIBUTE){inner[i].type, r->nested_value[i],
					      sizeof(r->nested_value[i])};
	*ret = (CK_ATTRIBUTE){expected->type, r->nested, expected->ulValueLen};
	err = CALL(s, C_GetAttributeValue, object, ret, 1);
	if (err == KT_ERR_POLICY || (err == KT_ERR_TOKEN && s->ambiguous))
		return err_prefix(KT_ERR_POLICY,
				  "attribute %s does not read as it was set",
				  attribute_of(expected->type).name);
	TRY(err);
	for (CK_ULONG i = 0; i < n; i++) {
		if (r->nested[i].ulValueLen > sizeof(r->nested_value[i]))
			return refused(expected);
	}
	return ret->ulValueLen <= expected->ulValueLen ? KT_OK
						       : refused(expected);
}

static bool same_bytes(const CK_ATTRIBUTE *a, const CK_ATTRIBUTE *b)
{
	return a->ulValueLen == b->ulValueLen &&
	       memcmp(a->pValue, b->pValue, a->ulValueLen) == 0;
}

static bool has_entry(const CK_ATTRIBUTE *list, CK_ULONG n,
		      const CK_ATTRIBUTE *entry)
{
	for (CK_ULONG i = 0; i < n; i++) {
		if (list[i].type == entry->type && same_bytes(&list[i], entry))
			return true;
	}
	return false;
}

/* Any order will do: what was set has no type twice, so that equal counts and
 * every entry found make equal sets. */
static bool same_nested(const CK_ATTRIBUTE *want, const CK_ATTRIBUTE *have)
{
	const CK_ATTRIBUTE *wanted = want->pValue;
	CK_ULONG n = want->ulValueLen / sizeof(*wanted);

	if (have->ulValueLen != want->ulValueLen)
		return false;
	for (CK_ULONG i = 0; i < n; i++) {
		if (!has_entry(have->pValue, n, &wanted[i]))
			return false;
	}
	return true;
}

static bool same(const CK_ATTRIBUTE *want, const CK_ATTRIBUTE *have)
{
	if (attribute_of(want->type).kind == KIND_TEMPLATE)
		return same_nested(want, have);
	/* A CK_BBOOL is any byte; true is not always 1. */
	if (attribute_of(want->type).kind == KIND_FLAG)
		return have->ulValueLen == sizeof(CK_BBOOL) &&
		       (*(CK_BBOOL *)want->pValue != CK_FALSE) ==
			       (*(CK_BBOOL *)have->pValue != CK_FALSE);
	return same_bytes(want, have);
}

static enum kt_err differs(const CK_ATTRIBUTE *want, const CK_ATTRIBUTE *have)
{
	char asked[256], got[256];

	put_value(&(struct text){asked, sizeof(asked)}, want);
	put_value(&(struct text){got, sizeof(got)}, have);
	return err_raise(KT_ERR_POLICY, "attribute %s reads %s, not %s",
			 attribute_of(want->type).name, got, asked);
}

static enum kt_err compare_one(const CK_ATTRIBUTE *want,
			       const CK_ATTRIBUTE *have, struct text *text)
{
	if (!same(want, have))
		return differs(want, have);
	put(text, "%s=", attribute_of(want->type).name);
	put_value(text, have);
	put(text, " ");
	return KT_OK;
}

enum kt_err template_compare(const struct template *t, struct session *s,
			     CK_OBJECT_HANDLE object, char *ret, size_t size)
{
	char line[2048] = "";
	struct text text = {line, ret != NULL ? sizeof(line) : 0};
	struct readback r = {0};

	TRY(read_plain(s, object, t, &r));
	for (CK_ULONG i = 0; i < t->count; i++) {
		const CK_ATTRIBUTE *want = &t->attr[i];

		if (attribute_of(want->type).kind == KIND_TEMPLATE)
			TRY(read_nested(s, object, want, &r, &r.attr[i]));
		TRY(compare_one(want, &r.attr[i], &text));
	}
	if (ret != NULL)
		text_unpad(ret, size, (const unsigned char *)line,
			   strlen(line));
	return KT_OK;
}
