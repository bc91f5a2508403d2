/*
 * Token URIs. What is accepted carries no PIN and no slot number and means the
 * same once it was formatted; an error shows no value of the URI.
 */
#include <stdio.h>
#include <string.h>

#include "fuzz.h"
#include "hsm/module.h"

#define MARK "hunter2"

static char *format(P11KitUri *uri)
{
	char *text = NULL;

	must(p11_kit_uri_format(uri, P11_KIT_URI_FOR_ANY, &text) ==
	     P11_KIT_URI_OK);
	return text;
}

/* An attribute taken for another, or twice, changes their number. */
static int attributes(const char *text)
{
	bool path = true, fresh = true;
	int count = 0;

	for (text += strlen("pkcs11:"); *text != '\0'; text++) {
		bool ends = strchr(path ? ";?" : "&", *text) != NULL;

		path = path && *text != '?';
		count += fresh && !ends;
		fresh = ends;
	}
	return count;
}

static void accepted(const char *given, P11KitUri *uri)
{
	CLEANUP(p11_kit_uri_freep) P11KitUri *again = NULL;
	CLEANUP(freep) char *text = format(uri);
	CLEANUP(freep) char *twice = NULL;

	must(attributes(given) == attributes(text));
	must(p11_kit_uri_get_pin_value(uri) == NULL);
	must(p11_kit_uri_get_slot_id(uri) == (CK_SLOT_ID)-1);
	if (token_uri_parse(text, &again) != KT_OK) {
		/* A value of %20 is padding, like what pads the token's. */
		must(strstr(kt_err_detail(), "has no value") != NULL);
		return;
	}
	twice = format(again);
	must(strcmp(text, twice) == 0);
}

/* The same URI with a mark for each value. */
static void marked(const char *text)
{
	size_t size = strlen(text) * (sizeof(MARK) + 1) + 1;
	CLEANUP(p11_kit_uri_freep) P11KitUri *uri = NULL;
	CLEANUP(freep) char *with = calloc(1, size);
	bool in_value = false;
	size_t len = 0;

	must(with != NULL);
	for (; *text != '\0'; text++) {
		bool ends = strchr(";?&", *text) != NULL;

		if (!in_value || ends)
			with[len++] = *text;
		if (!in_value && *text == '=')
			len += (size_t)snprintf(with + len, size - len, MARK);
		in_value = !ends && (in_value || *text == '=');
	}
	if (token_uri_parse(with, &uri) != KT_OK)
		must(error_lacks(MARK));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	CLEANUP(p11_kit_uri_freep) P11KitUri *uri = NULL;
	CLEANUP(freep) char *text = input_text(&input);

	if (token_uri_parse(text, &uri) == KT_OK) {
		must(strpbrk(text, " \t\r\n\v\f") == NULL);
		accepted(text, uri);
	} else {
		must(uri == NULL && error_lacks("\n"));
	}
	if (strstr(text, MARK) == NULL)
		marked(text);
	return 0;
}
