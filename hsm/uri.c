/*
 * Token URIs (RFC 7512). p11-kit parses them, but takes the last of a repeated
 * attribute and lets some unknown ones pass; here a URI means exactly what it
 * says or is refused. A URI is never shown in an error of parsing: it could
 * hold a PIN.
 */
#include <string.h>
#include <strings.h>

#include "hsm/module.h"

#define SCHEME "pkcs11:"

static const struct uri_attribute {
	const char *name;
	bool query;
	bool names_token;
	const char *refusal; /* why it cannot be used; NULL: it can */
} known[] = {
	{"token", false, true, NULL},
	{"manufacturer", false, true, NULL},
	{"model", false, true, NULL},
	{"serial", false, true, NULL},
	{"library-manufacturer", false, false, NULL},
	{"library-description", false, false, NULL},
	{"library-version", false, false, NULL},
	{"slot-manufacturer", false, false, NULL},
	{"slot-description", false, false, NULL},
	{"slot-id", false, false, "slot numbers change: name token or serial"},
	{"object", false, false, "it names an object, not a token"},
	{"type", false, false, "it names an object, not a token"},
	{"id", false, false, "it names an object, not a token"},
	{"module-path", true, false, NULL},
	{"module-name", true, false, NULL},
	{"pin-source", true, false, NULL},
	{"pin-value", true, false, "others could read it: use pin-source"},
};

#define KNOWN (sizeof(known) / sizeof(known[0]))

static size_t look_up(const char *name, size_t len, bool query)
{
	for (size_t i = 0; i < KNOWN; i++) {
		if (known[i].query == query && strlen(known[i].name) == len &&
		    memcmp(known[i].name, name, len) == 0)
			return i;
	}
	return KNOWN;
}

/* One "name=value"; ret_seen has a mark for each known attribute. */
static enum kt_err check_attribute(const char *text, size_t len, bool query,
				   bool ret_seen[KNOWN])
{
	const char *equals = memchr(text, '=', len);
	size_t name_len = equals != NULL ? (size_t)(equals - text) : len;
	size_t i = look_up(text, name_len, query);

	if (i == KNOWN)
		return err_raise(KT_ERR_CONFIG,
				 "token URI: attribute '%.*s' is not known",
				 (int)name_len, text);
	if (known[i].refusal != NULL)
		return err_raise(KT_ERR_CONFIG, "token URI: no %s here: %s",
				 known[i].name, known[i].refusal);
	if (equals == NULL || name_len + 1 == len)
		return err_raise(KT_ERR_CONFIG, "token URI: %s has no value",
				 known[i].name);
	if (ret_seen[i])
		return err_raise(KT_ERR_CONFIG, "token URI: %s stands twice",
				 known[i].name);
	ret_seen[i] = true;
	return KT_OK;
}

static enum kt_err check_part(const char *text, size_t len, bool query,
			      bool ret_seen[KNOWN])
{
	const char *end = text + len;

	while (text < end) {
		size_t n = 0;

		while (text + n < end && text[n] != (query ? '&' : ';'))
			n++;
		TRY(check_attribute(text, n, query, ret_seen));
		text += n < (size_t)(end - text) ? n + 1 : n;
	}
	return KT_OK;
}

/* p11-kit takes blanks out before it reads, so that "my token" would name
 * another one; and a value that begins with a NUL is to it none at all, so that
 * "token=%00" would name every token. */
static enum kt_err refuse_blanks(const char *uri)
{
	if (strstr(uri, "%00") != NULL)
		return err_raise(KT_ERR_CONFIG, "token URI: a NUL in a value");
	for (; *uri != '\0'; uri++) {
		if ((unsigned char)*uri <= ' ' || *uri == 0x7f)
			return err_raise(KT_ERR_CONFIG,
					 "token URI: a blank is written %%20, "
					 "and there are no control characters");
	}
	return KT_OK;
}

static enum kt_err check_attributes(const char *uri)
{
	const char *path = uri + strlen(SCHEME);
	size_t path_len = strcspn(path, "?");
	const char *query = path + path_len + (path[path_len] == '?');
	bool seen[KNOWN] = {false};
	bool named = false;

	TRY(check_part(path, path_len, false, seen));
	TRY(check_part(query, strlen(query), true, seen));
	for (size_t i = 0; i < KNOWN; i++)
		named = named || (seen[i] && known[i].names_token);
	if (!named)
		return err_raise(KT_ERR_CONFIG,
				 "token URI names no token: it needs token, "
				 "serial, model or manufacturer");
	return KT_OK;
}

enum kt_err token_uri_parse(const char *text, P11KitUri **ret)
{
	CLEANUP(p11_kit_uri_freep) P11KitUri *uri = NULL;
	int status;

	if (text == NULL || strncasecmp(text, SCHEME, strlen(SCHEME)) != 0)
		return err_raise(KT_ERR_CONFIG,
				 "token URI does not begin with " SCHEME);
	TRY(refuse_blanks(text));
	TRY(check_attributes(text));
	uri = p11_kit_uri_new();
	if (uri == NULL)
		return err_memory();
	status = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri);
	if (status == P11_KIT_URI_NO_MEMORY)
		return err_memory();
	if (status != P11_KIT_URI_OK)
		return err_raise(KT_ERR_CONFIG, "token URI: %s",
				 p11_kit_uri_message(status));
	if (p11_kit_uri_any_unrecognized(uri) != 0)
		return err_raise(KT_ERR_CONFIG,
				 "token URI has an attribute of wrong form");
	*ret = TAKE(uri);
	return KT_OK;
}
