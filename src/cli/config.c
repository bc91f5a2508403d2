/*
 * The configuration file. libcyaml checks the structure; every value comes out
 * of it as text and goes through a type of ours, because its own booleans take
 * any unknown word for true. Its messages are caught and said again with the
 * line of the key itself. What it passes over in silence, a second document,
 * is refused here.
 */
#include "cli/config.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cyaml/cyaml.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/suggest.h"

#define FILE_MAX ((size_t)64 * 1024)
#define TEXT_MAX 4000
#define LEASE_MAX 86400

/* The shape of the file, as libcyaml fills it. */
struct token_node {
	char *uri, *module, *gate;
};

struct pin_node {
	char *file, *allow_environment;
};

struct rotation_node {
	char *batch_size, *jobs, *sessions, *grace, *lease;
};

struct node {
	char *store, *runtime_dir;
	struct token_node token;
	struct pin_node pin;
	struct rotation_node rotation;
};

#define TEXT_FIELD(key, type, member)                                          \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,  \
			       type, member, 1, TEXT_MAX)

static const cyaml_schema_field_t token_fields[] = {
	TEXT_FIELD("uri", struct token_node, uri),
	TEXT_FIELD("module", struct token_node, module),
	TEXT_FIELD("gate", struct token_node, gate), CYAML_FIELD_END};

static const cyaml_schema_field_t pin_fields[] = {
	TEXT_FIELD("file", struct pin_node, file),
	TEXT_FIELD("allow-environment", struct pin_node, allow_environment),
	CYAML_FIELD_END};

static const cyaml_schema_field_t rotation_fields[] = {
	TEXT_FIELD("batch-size", struct rotation_node, batch_size),
	TEXT_FIELD("jobs", struct rotation_node, jobs),
	TEXT_FIELD("sessions", struct rotation_node, sessions),
	TEXT_FIELD("grace", struct rotation_node, grace),
	TEXT_FIELD("lease", struct rotation_node, lease),
	CYAML_FIELD_END};

static const cyaml_schema_field_t fields[] = {
	TEXT_FIELD("store", struct node, store),
	TEXT_FIELD("runtime-dir", struct node, runtime_dir),
	CYAML_FIELD_MAPPING("token", CYAML_FLAG_OPTIONAL, struct node, token,
			    token_fields),
	CYAML_FIELD_MAPPING("pin", CYAML_FLAG_OPTIONAL, struct node, pin,
			    pin_fields),
	CYAML_FIELD_MAPPING("rotation", CYAML_FLAG_OPTIONAL, struct node,
			    rotation, rotation_fields),
	CYAML_FIELD_END};

static const cyaml_schema_value_t schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct node, fields)};

/* The text being read, and what libcyaml said of it first. */
struct source {
	const char *name, *text;
	size_t len;
	char said[256];     /* its first message */
	char field[64];     /* the innermost field of its backtrace */
	unsigned long line; /* 0: none said */
};

__attribute__((format(printf, 3, 0))) static void listen(cyaml_log_t level,
							 void *arg,
							 const char *format,
							 va_list args)
{
	struct source *source = arg;
	char text[256];
	const char *at;

	(void)level;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	if (source->said[0] == '\0')
		text_cut(source->said, sizeof(source->said),
			 strncmp(text, "Load: ", 6) == 0 ? text + 6 : text);
	at = strstr(text, "(line: ");
	if (at == NULL || source->line != 0)
		return;
	source->line = strtoul(at + 7, NULL, 10);
	sscanf(text, "  in mapping field '%63[^']", source->field);
}

static cyaml_config_t cyaml_for(struct source *source)
{
	return (cyaml_config_t){.log_fn = listen,
				.log_ctx = source,
				.mem_fn = cyaml_mem,
				.log_level = CYAML_LOG_ERROR};
}

static void node_freep(struct node **node)
{
	cyaml_config_t config = {.mem_fn = cyaml_mem};

	if (*node != NULL)
		(void)cyaml_free(&config, &schema, *node, 0);
}

/* The next line of the source, NULL at its end. */
static const char *next_line(const struct source *source, const char *line)
{
	const char *end = source->text + source->len;
	const char *newline = memchr(line, '\n', (size_t)(end - line));

	return newline != NULL && newline + 1 < end ? newline + 1 : NULL;
}

/* This line gives this key. */
static bool line_has_key(const struct source *source, const char *line,
			 const char *key)
{
	size_t left = source->len - (size_t)(line - source->text);
	size_t len = strlen(key);

	while (left > 0 && (*line == ' ' || *line == '"' || *line == '\'')) {
		line++;
		left--;
	}
	if (left <= len || memcmp(line, key, len) != 0)
		return false;
	return strchr(": \"'", line[len]) != NULL;
}

/* The first line from line `from` on that gives the key; from when none. */
static unsigned long find_key(const struct source *source, const char *key,
			      unsigned long from)
{
	unsigned long number = 1;

	for (const char *line = source->text; line != NULL;
	     line = next_line(source, line)) {
		if (number >= from && line_has_key(source, line, key))
			return number;
		number++;
	}
	return from;
}

/* Every key of the schema, for "did you mean". */
static void offer_fields(struct suggest *suggest,
			 const cyaml_schema_field_t *field)
{
	for (; field->key != NULL; field++) {
		suggest_offer(suggest, field->key);
		if (field->value.type == CYAML_MAPPING)
			offer_fields(suggest, field->value.mapping.fields);
	}
}

static enum kt_err unknown_key(const struct source *source, const char *key)
{
	struct suggest suggest = {.word = key};
	char hint[96];

	offer_fields(&suggest, fields);
	suggest_text(&suggest, hint, sizeof(hint));
	return err_raise(KT_ERR_CONFIG, "%s:%lu: unknown key '%s'%s",
			 source->name, find_key(source, key, source->line), key,
			 hint);
}

/* libyaml's errors come without a line. It is the first that cannot be read
 * when the text ends there. */
static unsigned long syntax_line(const struct source *source)
{
	unsigned long number = 1;

	for (const char *line = source->text; line != NULL; number++) {
		struct source part = {0};
		cyaml_config_t config = cyaml_for(&part);
		CLEANUP(node_freep) struct node *node = NULL;
		const char *next = next_line(source, line);
		size_t len = next != NULL ? (size_t)(next - source->text)
					  : source->len;

		if (cyaml_load_data((const uint8_t *)source->text, len, &config,
				    &schema, (cyaml_data_t **)&node,
				    NULL) == CYAML_ERR_LIBYAML_PARSER)
			break;
		line = next;
	}
	return number;
}

/* What libcyaml said, in our words. */
static enum kt_err structure_error(const struct source *source, cyaml_err_t err)
{
	static const char unexpected[] = "Unexpected key: ";
	static const char seen[] = "Mapping field already seen: ";
	const char *said = source->said;

	if (err == CYAML_ERR_LIBYAML_PARSER)
		return err_raise(KT_ERR_CONFIG, "%s:%lu: not YAML: %s",
				 source->name, syntax_line(source),
				 strncmp(said, "libyaml: ", 9) == 0 ? said + 9
								    : said);
	if (strncmp(said, unexpected, sizeof(unexpected) - 1) == 0)
		return unknown_key(source, said + sizeof(unexpected) - 1);
	if (strncmp(said, seen, sizeof(seen) - 1) == 0)
		return err_raise(
			KT_ERR_CONFIG, "%s:%lu: key '%s' is there twice",
			source->name,
			find_key(source, source->field, source->line + 1),
			source->field);
	if (source->field[0] == '\0')
		return err_raise(KT_ERR_CONFIG,
				 "%s: not a mapping of keys to values",
				 source->name);
	if (strncmp(said, "STRING length <", 15) == 0)
		return err_raise(KT_ERR_CONFIG, "%s:%lu: '%s' has no value",
				 source->name, source->line, source->field);
	return err_raise(KT_ERR_CONFIG, "%s:%lu: '%s' is not usable: %s",
			 source->name, source->line, source->field,
			 strncmp(said, "Expecting ", 10) == 0
				 ? said
				 : cyaml_strerror(err));
}

/* libyaml ends a line at other breaks too. Behind them a key, or a document,
 * would stand where neither we nor an editor see one. */
static enum kt_err plain_lines(const struct source *source)
{
	static const char *const breaks[] = {"\xc2\x85", "\xe2\x80\xa8",
					     "\xe2\x80\xa9"};
	const char *end = source->text + source->len;
	bool plain = true;

	for (const char *at = source->text; plain && at < end; at++)
		plain = *at != '\r' || (at + 1 < end && at[1] == '\n');
	for (size_t i = 0; i < sizeof(breaks) / sizeof(breaks[0]); i++)
		plain = plain && memmem(source->text, source->len, breaks[i],
					strlen(breaks[i])) == NULL;
	if (source->len >= 2 && (memcmp(source->text, "\xff\xfe", 2) == 0 ||
				 memcmp(source->text, "\xfe\xff", 2) == 0))
		return err_raise(KT_ERR_CONFIG, "%s: UTF-16, not UTF-8",
				 source->name);
	if (!plain)
		return err_raise(KT_ERR_CONFIG,
				 "%s: a line break that is not a newline",
				 source->name);
	return KT_OK;
}

/* More than blanks and a comment. */
static bool has_content(const struct source *source, const char *line)
{
	const char *end = source->text + source->len;

	while (line < end && (*line == ' ' || *line == '\t' || *line == '\r'))
		line++;
	return line < end && *line != '\n' && *line != '#';
}

static enum kt_err one_document(const struct source *source)
{
	unsigned long number = 1;
	bool content = false;

	for (const char *line = source->text; line != NULL;
	     line = next_line(source, line)) {
		size_t left = source->len - (size_t)(line - source->text);

		if (left >= 3 && content &&
		    (memcmp(line, "---", 3) == 0 ||
		     memcmp(line, "...", 3) == 0))
			return err_raise(KT_ERR_CONFIG,
					 "%s:%lu: a second document",
					 source->name, number);
		content = content || has_content(source, line);
		number++;
	}
	return KT_OK;
}

/* Where a value stands, for its error: the key after the key of its section. */
static enum kt_err bad_value(const struct source *source, const char *section,
			     const char *key)
{
	unsigned long line = 1;

	if (section != NULL)
		line = find_key(source, section, 1);
	line = find_key(source, key, line);
	return err_prefix(KT_ERR_CONFIG, "%s:%lu: %s", source->name, line, key);
}

/* Converters: text of the file to value; NULL text leaves the value alone. */

static enum kt_err to_path(const char *text, char **ret)
{
	if (text == NULL)
		return KT_OK;
	if (text[0] != '/')
		return err_raise(KT_ERR_CONFIG, "'%s' is not an absolute path",
				 text);
	*ret = strdup(text);
	return *ret != NULL ? KT_OK : err_memory();
}

static enum kt_err to_text(const char *text, char **ret)
{
	if (text == NULL)
		return KT_OK;
	*ret = strdup(text);
	return *ret != NULL ? KT_OK : err_memory();
}

static enum kt_err to_gate(const char *text, enum kt_gate_level *ret)
{
	if (text == NULL || strcmp(text, "strict") == 0)
		*ret = KT_GATE_STRICT;
	else if (strcmp(text, "warn") == 0)
		*ret = KT_GATE_WARN;
	else
		return err_raise(KT_ERR_CONFIG,
				 "'%s' is neither strict nor warn", text);
	return KT_OK;
}

static enum kt_err to_bool(const char *text, bool *ret)
{
	if (text == NULL || strcmp(text, "false") == 0)
		*ret = false;
	else if (strcmp(text, "true") == 0)
		*ret = true;
	else
		return err_raise(KT_ERR_CONFIG,
				 "'%s' is neither true nor false", text);
	return KT_OK;
}

static enum kt_err to_int(const char *text, int64_t max, int64_t *ret)
{
	long long value;

	if (text == NULL)
		return KT_OK;
	TRY(text_to_int(text, 1, max, "value", &value));
	*ret = value;
	return KT_OK;
}

/* 0 for "auto", as where nothing is said. */
static enum kt_err to_jobs(const char *text, int64_t *ret)
{
	if (text != NULL && strcmp(text, "auto") == 0)
		return KT_OK;
	return to_int(text, 64, ret);
}

static enum kt_err to_duration(const char *text, int64_t *ret)
{
	long long value;

	if (text == NULL)
		return KT_OK;
	TRY(text_to_duration(text, "value", &value));
	*ret = value;
	return KT_OK;
}

static enum kt_err to_lease(const char *text, int64_t *ret)
{
	int64_t value = 0;

	if (text == NULL)
		return KT_OK;
	TRY(to_duration(text, &value));
	if (value < 1 || value > LEASE_MAX)
		return err_raise(KT_ERR_CONFIG,
				 "'%s' is not between 1s and 24h", text);
	*ret = value;
	return KT_OK;
}

#define VALUE(call, section, key)                                              \
	do {                                                                   \
		if ((call) != KT_OK)                                           \
			return bad_value(source, section, key);                \
	} while (0)

static enum kt_err convert(const struct source *source, const struct node *node,
			   struct config *ret)
{
	VALUE(to_path(node->store, &ret->store), NULL, "store");
	VALUE(to_path(node->runtime_dir, &ret->runtime_dir), NULL,
	      "runtime-dir");
	VALUE(to_text(node->token.uri, &ret->token.uri), "token", "uri");
	VALUE(to_text(node->token.module, &ret->token.module), "token",
	      "module");
	VALUE(to_gate(node->token.gate, &ret->token.gate), "token", "gate");
	VALUE(to_path(node->pin.file, &ret->pin.file), "pin", "file");
	VALUE(to_bool(node->pin.allow_environment, &ret->pin.allow_environment),
	      "pin", "allow-environment");
	VALUE(to_int(node->rotation.batch_size, 10000,
		     &ret->rotation.batch_size),
	      "rotation", "batch-size");
	VALUE(to_jobs(node->rotation.jobs, &ret->rotation.jobs), "rotation",
	      "jobs");
	VALUE(to_jobs(node->rotation.sessions, &ret->rotation.sessions),
	      "rotation", "sessions");
	VALUE(to_duration(node->rotation.grace, &ret->rotation.grace),
	      "rotation", "grace");
	VALUE(to_lease(node->rotation.lease, &ret->rotation.lease), "rotation",
	      "lease");
	return KT_OK;
}

enum kt_err config_new(struct config **ret)
{
	struct config *config = calloc(1, sizeof(*config));

	if (config == NULL)
		return err_memory();
	config->rotation.grace = -1;
	*ret = config;
	return KT_OK;
}

enum kt_err config_parse(const char *name, const char *text, size_t len,
			 struct config **ret)
{
	struct source source = {.name = name, .text = text, .len = len};
	cyaml_config_t cyaml = cyaml_for(&source);
	CLEANUP(node_freep) struct node *node = NULL;
	CLEANUP(config_freep) struct config *config = NULL;
	cyaml_err_t err;

	TRY(plain_lines(&source));
	TRY(config_new(&config));
	err = cyaml_load_data((const uint8_t *)text, len, &cyaml, &schema,
			      (cyaml_data_t **)&node, NULL);
	if (err != CYAML_OK)
		return structure_error(&source, err);
	TRY(one_document(&source));
	if (node != NULL) /* not a single key: all defaults */
		TRY(convert(&source, node, config));
	*ret = TAKE(config);
	return KT_OK;
}

/* Whoever can write the file can name a module, which then runs as us. */
static enum kt_err check_owner(int fd, const char *path)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_errno("%s", path);
	if (!S_ISREG(st.st_mode))
		return err_raise(KT_ERR_CONFIG, "%s: not a regular file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_raise(KT_ERR_CONFIG,
				 "%s: belongs to user %u, neither to root nor "
				 "to you",
				 path, (unsigned)st.st_uid);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) == 0)
		return KT_OK;
	return err_hint(
		err_raise(KT_ERR_CONFIG, "%s: others can write it", path),
		"chmod go-w %s", path);
}

enum kt_err config_load(const char *path, struct config **ret)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	enum kt_err err;

	if (fd < 0)
		return err_errno("%s", path);
	TRY(check_owner(fd, path));
	err = secret_read_fd(fd, FILE_MAX, &text);
	if (err != KT_OK)
		return err_prefix(err, "%s", path);
	return config_parse(path, (const char *)text.data, text.len, ret);
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	free(config->store);
	free(config->token.uri);
	free(config->token.module);
	free(config->pin.file);
	free(config->runtime_dir);
	free(config);
}
