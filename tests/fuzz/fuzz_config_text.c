/*
 * What init writes: five values, a line each. Whatever can be written at all
 * is read again as it was meant.
 */
#include <string.h>

#include "cli/config.h"
#include "fuzz.h"

/* NULL for an empty line. */
static char *value(struct input *input)
{
	char *text = input_line(input);

	if (text[0] != '\0')
		return text;
	free(text);
	return NULL;
}

static bool equal(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Printable, and a path where it has to be one: always to be written. */
static bool plain(const char *text, bool path)
{
	if (text == NULL)
		return true;
	for (const char *at = text; *at != '\0'; at++) {
		if (*at < ' ' || *at > '~')
			return false;
	}
	return strlen(text) <= 4000 && (!path || text[0] == '/');
}

static bool all_plain(const struct config_values *values)
{
	return plain(values->store, true) && plain(values->uri, false) &&
	       plain(values->module, false) && plain(values->pin_file, true) &&
	       plain(values->runtime_dir, true);
}

static void read_again(const struct config_values *values, const char *text)
{
	CLEANUP(config_freep) struct config *config = NULL;

	must(config_parse("file", text, strlen(text), &config) == KT_OK);
	must(equal(values->store, config->store));
	must(equal(values->uri, config->token.uri));
	must(equal(values->module, config->token.module));
	must(equal(values->pin_file, config->pin.file));
	must(equal(values->runtime_dir, config->runtime_dir));
	must(values->gate == config->token.gate);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	CLEANUP(freep) char *store = value(&input);
	CLEANUP(freep) char *uri = value(&input);
	CLEANUP(freep) char *module = value(&input);
	CLEANUP(freep) char *pin_file = value(&input);
	CLEANUP(freep) char *runtime_dir = value(&input);
	const struct config_values values = {
		store,
		uri,
		module,
		pin_file,
		runtime_dir,
		input_u8(&input) % 2 == 0 ? KT_GATE_STRICT : KT_GATE_WARN};
	CLEANUP(freep) char *text = NULL;
	enum kt_err err = config_text(&values, &text);

	if (err == KT_OK)
		read_again(&values, text);
	else
		must(err == KT_ERR_USAGE && text == NULL && error_lacks("\n"));
	if (all_plain(&values))
		must(err == KT_OK);
	return 0;
}
