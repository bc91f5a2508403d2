/*
 * Adding a token to the module's configuration. What stands in the file stays
 * as it is, comments included: an entry is text at its end, and the file is
 * read again to see that it became what was meant before it replaces the old
 * one.
 */
#include "cli/tpm_conf.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cyaml/cyaml.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/config.h"

#define FILE_MAX ((size_t)64 * 1024)
#define VALUE_MAX 4000

struct token_node {
	char *tcti, *state;
};

struct list_node {
	struct token_node *tokens;
	uint64_t tokens_count;
};

static const cyaml_schema_field_t token_fields[] = {
	CYAML_FIELD_STRING_PTR("tcti", CYAML_FLAG_POINTER, struct token_node,
			       tcti, 1, VALUE_MAX),
	CYAML_FIELD_STRING_PTR("state", CYAML_FLAG_POINTER, struct token_node,
			       state, 1, VALUE_MAX),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t token_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct token_node,
			    token_fields),
};

static const cyaml_schema_field_t list_fields[] = {
	CYAML_FIELD_SEQUENCE("tokens", CYAML_FLAG_POINTER, struct list_node,
			     tokens, &token_schema, 0, 256),
	CYAML_FIELD_END,
};

static const cyaml_schema_value_t list_schema = {
	CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct list_node, list_fields),
};

/* The numbers of an entry are the module's to judge. */
static const cyaml_config_t lenient = {
	.mem_fn = cyaml_mem,
	.flags = CYAML_CFG_IGNORE_UNKNOWN_KEYS,
};

static void list_freep(struct list_node **list)
{
	if (*list != NULL)
		(void)cyaml_free(&lenient, &list_schema, *list, 0);
}

static enum kt_err unusable(const char *path)
{
	return err_raise(KT_ERR_CONFIG, "%s is not a list of tokens", path);
}

static enum kt_err parse(const char *path, const char *text,
			 struct list_node **ret)
{
	cyaml_err_t err =
		cyaml_load_data((const uint8_t *)text, strlen(text), &lenient,
				&list_schema, (cyaml_data_t **)ret, NULL);

	if (err == CYAML_ERR_OOM)
		return err_memory();
	return err == CYAML_OK && *ret != NULL ? KT_OK : unusable(path);
}

/* NULL: there is no file. */
static enum kt_err read_text(const char *path, char **ret)
{
	CLEANUP(kt_secret_done) struct kt_secret content = {0};

	*ret = NULL;
	if (!file_exists(path))
		return KT_OK;
	TRY(secret_read_file(path, FILE_MAX, &content));
	*ret = strndup((const char *)content.data, content.len);
	if (*ret == NULL)
		return err_memory();
	return strlen(*ret) == content.len ? KT_OK : unusable(path);
}

/* *ret_there: the entry of this state folder is at *ret_slot. */
static enum kt_err look_up(const char *path, const char *text, const char *tcti,
			   const char *state, bool *ret_there, size_t *ret_slot)
{
	CLEANUP(list_freep) struct list_node *list = NULL;

	*ret_there = false;
	TRY(parse(path, text, &list));
	*ret_slot = list->tokens_count;
	for (size_t i = 0; i < list->tokens_count; i++) {
		if (strcmp(list->tokens[i].state, state) != 0)
			continue;
		if (strcmp(list->tokens[i].tcti, tcti) != 0)
			return err_raise(KT_ERR_CONFLICT,
					 "%s has %s with the TPM '%s'", path,
					 state, list->tokens[i].tcti);
		*ret_there = true;
		*ret_slot = i;
	}
	return KT_OK;
}

static enum kt_err put_entry(FILE *out, const char *before, const char *tcti,
			     const char *state)
{
	static const char heading[] =
		"# Tokens of keyturn-tpm2.so; see keyturn-tpm2(7).\n"
		"tokens:\n";

	fputs(before != NULL ? before : heading, out);
	if (before != NULL && before[0] != '\0' &&
	    before[strlen(before) - 1] != '\n')
		fputc('\n', out);
	fputs("  - tcti: ", out);
	TRY(config_put_quoted(out, tcti));
	fputs("    state: ", out);
	return config_put_quoted(out, state);
}

static enum kt_err with_entry(const char *before, const char *tcti,
			      const char *state, char **ret)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	enum kt_err err;
	bool failed;

	if (out == NULL)
		return err_memory();
	err = put_entry(out, before, tcti, state);
	failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed)
		return err_memory();
	TRY(err);
	*ret = TAKE(text);
	return KT_OK;
}

/* It holds no secret, and whoever uses a token of it reads it. */
static enum kt_err replace(const char *path, const char *text)
{
	char fresh[PATH_MAX];
	enum kt_err err;

	TRY(text_format(fresh, sizeof(fresh), "%s.new", path));
	unlink(fresh);
	TRY(file_write_new(fresh, text, strlen(text)));
	if (chmod(fresh, 0644) == 0 && rename(fresh, path) == 0)
		return dir_sync(path);
	err = err_errno("%s", path);
	unlink(fresh);
	return err;
}

/* Only where the list is the file's last part does text at its end become an
 * entry. */
static enum kt_err add(struct tpm_entry *entry, const char *tcti,
		       const char *state)
{
	CLEANUP(freep) char *text = NULL;
	enum kt_err err;
	size_t slot;
	bool there;

	TRY(with_entry(entry->before, tcti, state, &text));
	err = look_up(entry->path, text, tcti, state, &there, &slot);
	if (err != KT_OK || !there || slot != entry->slot) {
		err = err_raise(KT_ERR_CONFIG,
				"no entry can be added at the end of %s",
				entry->path);
		return err_hint(err, "add it by hand: tcti '%s', state '%s'",
				tcti, state);
	}
	TRY(replace(entry->path, text));
	entry->added = true;
	return KT_OK;
}

enum kt_err tpm_entry_add(const char *path, const char *tcti, const char *state,
			  struct tpm_entry *ret)
{
	CLEANUP(tpm_entry_done) struct tpm_entry entry = {.path = path};
	char dir[PATH_MAX];
	bool there = false;

	TRY(dir_of(path, dir, sizeof(dir)));
	TRY(dir_make(dir));
	TRY(read_text(path, &entry.before));
	if (entry.before != NULL)
		TRY(look_up(path, entry.before, tcti, state, &there,
			    &entry.slot));
	if (!there)
		TRY(add(&entry, tcti, state));
	*ret = entry;
	entry = (struct tpm_entry){0};
	return KT_OK;
}

void tpm_entry_keep(struct tpm_entry *entry)
{
	entry->added = false;
}

/* The failure that led here is the one to be told. */
void tpm_entry_done(struct tpm_entry *entry)
{
	struct err_saved cause;

	err_save(KT_ERR_FAILED, &cause);
	if (entry->added && entry->before != NULL)
		(void)replace(entry->path, entry->before);
	else if (entry->added)
		unlink(entry->path);
	(void)err_restore(&cause);
	free(entry->before);
	*entry = (struct tpm_entry){0};
}
