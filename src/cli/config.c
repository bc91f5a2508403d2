/*
 * The configuration file. libcyaml checks the structure; every value comes out
 * of it as text and goes through a type of ours, because its own booleans take
 * any unknown word for true. Its messages are caught and said again with the
 * line of the key itself.
 */
#include "cli/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cyaml/cyaml.h>
#include <keyturn/rotation.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/config_source.h"
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

/* What libcyaml said first. */
struct complaint {
	char said[256];
	char field[64];     /* the innermost field of its backtrace */
	unsigned long line; /* 0: none said */
};

__attribute__((format(printf, 3, 0))) static void listen(cyaml_log_t level,
							 void *arg,
							 const char *format,
							 va_list args)
{
	struct complaint *first = arg;
	char text[256];
	const char *at;

	(void)level;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	if (first->said[0] == '\0')
		text_cut(first->said, sizeof(first->said),
			 strncmp(text, "Load: ", 6) == 0 ? text + 6 : text);
	at = strstr(text, "(line: ");
	if (at == NULL || first->line != 0)
		return;
	first->line = strtoul(at + 7, NULL, 10);
	sscanf(text, "  in mapping field '%63[^']", first->field);
}

static cyaml_config_t cyaml_for(struct complaint *first)
{
	return (cyaml_config_t){.log_fn = listen,
				.log_ctx = first,
				.mem_fn = cyaml_mem,
				.log_level = CYAML_LOG_ERROR};
}

static void node_freep(struct node **node)
{
	cyaml_config_t config = {.mem_fn = cyaml_mem};

	if (*node != NULL)
		(void)cyaml_free(&config, &schema, *node, 0);
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

static enum kt_err unknown_key(const struct config_source *source,
			       const char *key, unsigned long line)
{
	struct suggest suggest = {.word = key};
	char hint[96];

	offer_fields(&suggest, fields);
	suggest_text(&suggest, hint, sizeof(hint));
	return err_raise(KT_ERR_CONFIG, "%s:%lu: unknown key '%s'%s",
			 source->name, source_find_key(source, key, line), key,
			 hint);
}

/* libyaml's errors come without a line. It is the first that cannot be read
 * when the text ends there. */
static unsigned long syntax_line(const struct config_source *source)
{
	unsigned long number = 1;

	for (const char *line = source->text; line != NULL; number++) {
		struct complaint ignored = {0};
		cyaml_config_t config = cyaml_for(&ignored);
		CLEANUP(node_freep) struct node *node = NULL;
		const char *next = source_next_line(source, line);
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
static enum kt_err structure_error(const struct config_source *source,
				   const struct complaint *first,
				   cyaml_err_t err)
{
	static const char unexpected[] = "Unexpected key: ";
	static const char seen[] = "Mapping field already seen: ";
	const char *said = first->said;

	if (err == CYAML_ERR_LIBYAML_PARSER)
		return err_raise(KT_ERR_CONFIG, "%s:%lu: not YAML: %s",
				 source->name, syntax_line(source),
				 strncmp(said, "libyaml: ", 9) == 0 ? said + 9
								    : said);
	if (strncmp(said, unexpected, sizeof(unexpected) - 1) == 0)
		return unknown_key(source, said + sizeof(unexpected) - 1,
				   first->line);
	if (strncmp(said, seen, sizeof(seen) - 1) == 0)
		return err_raise(
			KT_ERR_CONFIG, "%s:%lu: key '%s' is there twice",
			source->name,
			source_find_key(source, first->field, first->line + 1),
			first->field);
	if (first->field[0] == '\0')
		return err_raise(KT_ERR_CONFIG,
				 "%s: not a mapping of keys to values",
				 source->name);
	if (strncmp(said, "STRING length <", 15) == 0)
		return err_raise(KT_ERR_CONFIG, "%s:%lu: '%s' has no value",
				 source->name, first->line, first->field);
	return err_raise(KT_ERR_CONFIG, "%s:%lu: '%s' is not usable: %s",
			 source->name, first->line, first->field,
			 strncmp(said, "Expecting ", 10) == 0
				 ? said
				 : cyaml_strerror(err));
}

/* Where a value stands, for its error: the key after the key of its section. */
static enum kt_err bad_value(const struct config_source *source,
			     const char *section, const char *key)
{
	unsigned long line = 1;

	if (section != NULL)
		line = source_find_key(source, section, 1);
	line = source_find_key(source, key, line);
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
	return to_int(text, KT_JOBS_MAX, ret);
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

static enum kt_err convert(const struct config_source *source,
			   const struct node *node, struct config *ret)
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
	VALUE(to_int(node->rotation.batch_size, KT_BATCH_MAX,
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
	const struct config_source source = {name, text, len};
	struct complaint first = {0};
	cyaml_config_t cyaml = cyaml_for(&first);
	CLEANUP(node_freep) struct node *node = NULL;
	CLEANUP(config_freep) struct config *config = NULL;
	cyaml_err_t err;

	TRY(source_require_plain_lines(&source));
	TRY(config_new(&config));
	err = cyaml_load_data((const uint8_t *)text, len, &cyaml, &schema,
			      (cyaml_data_t **)&node, NULL);
	if (err != CYAML_OK)
		return structure_error(&source, &first, err);
	TRY(source_require_one_document(&source));
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
