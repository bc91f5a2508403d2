/*
 * The configuration file. What is accepted keeps to its bounds, means the same
 * when init would write it, and is refused as soon as a second document stands
 * behind it.
 */
#include <string.h>

#include "cli/config.h"
#include "fuzz.h"

/* A second document, behind each kind of line break that YAML knows. */
static const char *const seconds[] = {
	"\n---\nno-such-key: 1\n",
	"\r---\rno-such-key: 1\r",
	"\xc2\x85---\xc2\x85no-such-key: 1",
	"\xe2\x80\xa8---\xe2\x80\xa8no-such-key: 1",
};

static bool equal(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool absolute(const char *path)
{
	return path == NULL || path[0] == '/';
}

static void within_bounds(const struct config *c)
{
	must(absolute(c->store) && absolute(c->pin.file) &&
	     absolute(c->runtime_dir));
	must(c->rotation.batch_size >= 0 && c->rotation.batch_size <= 10000);
	must(c->rotation.jobs >= 0 && c->rotation.jobs <= 64);
	must(c->rotation.sessions >= 0 && c->rotation.sessions <= 64);
	must(c->rotation.grace >= -1);
	must(c->rotation.lease >= 0 && c->rotation.lease <= 86400);
	must(c->token.gate == KT_GATE_STRICT || c->token.gate == KT_GATE_WARN);
}

static void written_and_read(const struct config *c)
{
	const struct config_values values = {c->store,        c->token.uri,
					     c->token.module, c->pin.file,
					     c->runtime_dir,  c->token.gate};
	CLEANUP(config_freep) struct config *again = NULL;
	CLEANUP(freep) char *text = NULL;

	if (config_text(&values, &text) != KT_OK) {
		must(text == NULL);
		return;
	}
	must(config_parse("again", text, strlen(text), &again) == KT_OK);
	must(equal(c->store, again->store));
	must(equal(c->token.uri, again->token.uri));
	must(equal(c->token.module, again->token.module));
	must(equal(c->pin.file, again->pin.file));
	must(equal(c->runtime_dir, again->runtime_dir));
	must(c->token.gate == again->token.gate);
}

static void not_two_documents(const uint8_t *data, size_t size,
			      const char *second)
{
	CLEANUP(config_freep) struct config *config = NULL;
	CLEANUP(freep) char *text = calloc(1, size + strlen(second) + 1);

	must(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	memcpy(text + size, second, strlen(second));
	must(config_parse("two", text, size + strlen(second), &config) ==
	     KT_ERR_CONFIG);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(config_freep) struct config *config = NULL;
	enum kt_err err =
		config_parse("file", (const char *)data, size, &config);

	if (err != KT_OK) {
		must(err == KT_ERR_CONFIG && config == NULL);
		must(strncmp(kt_err_detail(), "file:", 5) == 0);
		must(error_lacks("\n"));
		return 0;
	}
	within_bounds(config);
	written_and_read(config);
	for (size_t i = 0; i < sizeof(seconds) / sizeof(seconds[0]); i++)
		not_two_documents(data, size, seconds[i]);
	return 0;
}
