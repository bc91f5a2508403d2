/*
 * The configuration file. libcyaml checks its shape, with every value as text,
 * because its numbers and booleans take what they do not understand; unknown
 * keys are refused. This is the provider's one look into the environment, and
 * a privileged program's environment is not believed.
 */
#include "hsm/tpm2/p11_config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cyaml/cyaml.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/text.h"

#define CONFIG_DEFAULT "/etc/keyturn/tpm2.yaml"
#define CONFIG_MAX (64 * 1024)
#define TEXT_MAX 4000
#define TOKENS_MAX 256
#define SLOTS_MOST 65536

struct token_node {
	char *tcti, *state, *srk, *handles, *counters, *slots;
};

struct node {
	struct token_node *tokens;
	uint64_t tokens_count;
};

#define TEXT_FIELD(key, flags, member)                                         \
	CYAML_FIELD_STRING_PTR(key, CYAML_FLAG_POINTER | (flags),              \
			       struct token_node, member, 1, TEXT_MAX)

static const cyaml_schema_field_t token_fields[] = {
	TEXT_FIELD("tcti", 0, tcti),
	TEXT_FIELD("state", 0, state),
	TEXT_FIELD("srk", CYAML_FLAG_OPTIONAL, srk),
	TEXT_FIELD("handles", CYAML_FLAG_OPTIONAL, handles),
	TEXT_FIELD("counters", CYAML_FLAG_OPTIONAL, counters),
	TEXT_FIELD("slots", CYAML_FLAG_OPTIONAL, slots),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t token_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct token_node,
			    token_fields),
};

static const cyaml_schema_field_t fields[] = {
	CYAML_FIELD_SEQUENCE("tokens", CYAML_FLAG_POINTER, struct node, tokens,
			     &token_schema, 0, TOKENS_MAX),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct node, fields),
};

/* libcyaml's first message, without the name it leads it with. */
struct said {
	char text[256];
};

__attribute__((format(printf, 3, 0))) static void listen(cyaml_log_t level,
							 void *arg,
							 const char *format,
							 va_list args)
{
	struct said *said = arg;
	char text[256];

	(void)level;
	if (said->text[0] != '\0')
		return;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	text_cut(said->text, sizeof(said->text),
		 strncmp(text, "Load: ", 6) == 0 ? text + 6 : text);
}

static void node_freep(struct node **node)
{
	const cyaml_config_t config = {.mem_fn = cyaml_mem};

	if (*node != NULL)
		(void)cyaml_free(&config, &schema, *node, 0);
}

static CK_RV unusable(const char *path, const char *what)
{
	return rv_raise(CKR_ARGUMENTS_BAD, "%s: %s", path, what);
}

/* "0x81000001" or a decimal number; NULL is 0, the default. */
static CK_RV to_number(const char *path, const char *text, uint32_t *ret)
{
	unsigned long long value;
	char *end;

	*ret = 0;
	if (text == NULL)
		return CKR_OK;
	value = strtoull(text, &end, 0);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || value == 0 ||
	    value > UINT32_MAX)
		return rv_raise(CKR_ARGUMENTS_BAD, "%s: '%s' is not a number",
				path, text);
	*ret = (uint32_t)value;
	return CKR_OK;
}

/* 0 is the default, around which there is room. */
static bool within(uint32_t from, uint32_t count, uint32_t first, uint32_t last)
{
	return from == 0 ||
	       (from >= first && from <= last && count - 1 <= last - from);
}

/* Where the TPM lets its owner make objects persistent (part 3,
 * TPM2_EvictControl) and define NV indices: a range that is partly elsewhere
 * would only show at its last keys. */
static CK_RV check_ranges(const char *path, const struct tpm_config *config)
{
	uint32_t slots = config->slots > 0 ? config->slots : TPM_SLOTS_DEFAULT;

	if (slots > SLOTS_MOST)
		return unusable(path, "more slots than any TPM has");
	if (!within(config->srk, 1, 0x81000000, 0x817fffff) ||
	    !within(config->handles, slots, 0x81000000, 0x817fffff))
		return unusable(path, "srk, and handles with all slots, are "
				      "from 0x81000000 to 0x817fffff");
	if (!within(config->counters, slots, 0x01000000, 0x01ffffff))
		return unusable(path, "counters, with all slots, are from "
				      "0x01000000 to 0x01ffffff");
	return CKR_OK;
}

static CK_RV to_config(const char *path, const struct token_node *node,
		       struct tpm_config *ret)
{
	*ret = (struct tpm_config){.tcti = node->tcti, .state = node->state};
	if (node->state[0] != '/')
		return rv_raise(CKR_ARGUMENTS_BAD,
				"%s: '%s' is not an absolute path", path,
				node->state);
	RV_TRY(to_number(path, node->srk, &ret->srk));
	RV_TRY(to_number(path, node->handles, &ret->handles));
	RV_TRY(to_number(path, node->counters, &ret->counters));
	RV_TRY(to_number(path, node->slots, &ret->slots));
	return check_ranges(path, ret);
}

struct text {
	uint8_t *data;
	size_t len;
};

static void text_done(struct text *text)
{
	free(text->data);
}

static CK_RV read_file(const char *path, struct text *ret)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) != 0) {
		(void)err_errno("%s", path);
		return CKR_ARGUMENTS_BAD;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > CONFIG_MAX)
		return unusable(path, "not a file of 64 KiB or less");
	ret->len = (size_t)st.st_size;
	ret->data = malloc(ret->len + 1);
	if (ret->data == NULL)
		return rv_memory();
	return fd_read_all(fd, ret->data, ret->len) == KT_OK
		       ? CKR_OK
		       : unusable(path, "cannot be read");
}

static CK_RV parse(const char *path, const struct text *text, struct node **ret)
{
	struct said said = {0};
	const cyaml_config_t config = {.log_fn = listen,
				       .log_ctx = &said,
				       .mem_fn = cyaml_mem,
				       .log_level = CYAML_LOG_ERROR};
	cyaml_err_t err;

	err = cyaml_load_data(text->data, text->len, &config, &schema,
			      (cyaml_data_t **)ret, NULL);
	if (err == CYAML_ERR_OOM)
		return rv_memory();
	if (err != CYAML_OK)
		return unusable(path, said.text[0] != '\0'
					      ? said.text
					      : cyaml_strerror(err));
	return CKR_OK;
}

CK_RV config_each(CK_RV (*each)(void *arg, const struct tpm_config *config),
		  void *arg)
{
	CLEANUP(text_done) struct text text = {0};
	CLEANUP(node_freep) struct node *node = NULL;
	const char *path = secure_getenv("KEYTURN_TPM2_CONF");
	struct tpm_config config;

	/* tpm2-tss talks to the standard error of whoever loaded us, unless it
	 * is told what to say. */
	setenv("TSS2_LOG", "all+NONE", 0);
	if (path == NULL)
		path = CONFIG_DEFAULT;
	if (!file_exists(path))
		return rv_raise(CKR_OK, "%s: no such file, so no tokens", path);
	RV_TRY(read_file(path, &text));
	RV_TRY(parse(path, &text, &node));
	for (uint64_t i = 0; node != NULL && i < node->tokens_count; i++) {
		RV_TRY(to_config(path, &node->tokens[i], &config));
		RV_TRY(each(arg, &config));
	}
	return CKR_OK;
}
