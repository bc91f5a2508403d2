/*
 * keyturn secret import and verify: whole files of values against a project.
 * Nothing here prints a value, and verify compares in constant time.
 */
#include <string.h>

#include "base/secret.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/import.h"

static const char *const formats[] = {"dotenv", "json", NULL};

#define NO_FORMAT (-1)

static enum import_format format_of(int choice)
{
	if (choice == NO_FORMAT)
		return IMPORT_BY_NAME;
	return choice == 0 ? IMPORT_DOTENV : IMPORT_JSON;
}

/* The items of a set in the order of their names, and which were met. */
struct entry {
	const struct kt_import_item *item;
	bool met;
};

static int compare_entries(const void *a, const void *b)
{
	const struct entry *left = a, *right = b;

	return strcmp(left->item->name, right->item->name);
}

static enum kt_err index_new(const struct import_set *set, struct entry **ret)
{
	struct entry *index = calloc(set->count + 1, sizeof(*index));

	if (index == NULL)
		return err_memory();
	for (size_t i = 0; i < set->count; i++)
		index[i].item = &set->items[i];
	qsort(index, set->count, sizeof(*index), compare_entries);
	*ret = index;
	return KT_OK;
}

static int compare_name(const void *name, const void *entry)
{
	return strcmp(name, ((const struct entry *)entry)->item->name);
}

static struct entry *index_find(struct entry *index, size_t count,
				const char *name)
{
	return bsearch(name, index, count, sizeof(*index), compare_name);
}

struct import_options {
	int format;
	bool dry_run;
};

static const struct option_def import_option[] = {
	{"format", 0, OPT_CHOICE, offsetof(struct import_options, format),
	 "FORMAT", "dotenv or json (default: by the file's name)",
	 .choices = formats},
	{"dry-run", 'n', OPT_FLAG, offsetof(struct import_options, dry_run),
	 NULL, "print the names that would be imported, change nothing"},
};

struct preview {
	struct entry *index;
	size_t count;
	size_t known;
};

static enum kt_err count_known(void *arg, const struct kt_secret_info *info)
{
	struct preview *preview = arg;

	if (index_find(preview->index, preview->count, info->name) != NULL)
		preview->known++;
	return KT_OK;
}

static enum kt_err print_names(const struct import_set *set)
{
	char line[KT_NAME_MAX + 2];

	for (size_t i = 0; i < set->count; i++) {
		TRY(text_format(line, sizeof(line), "%s\n",
				set->items[i].name));
		TRY(cli_write(line, strlen(line)));
	}
	return KT_OK;
}

static enum kt_err preview_import(const struct cli *cli, struct kt_vault *vault,
				  const char *project,
				  const struct import_set *set)
{
	CLEANUP(freep) struct entry *index = NULL;
	struct preview preview;

	TRY(index_new(set, &index));
	preview = (struct preview){index, set->count, 0};
	TRY(kt_secret_list(vault, project, count_known, &preview));
	TRY(print_names(set));
	cli_say(cli,
		"%s would be imported into '%s': %zu new, %zu with a "
		"new version; nothing was changed",
		text_counted((int64_t)set->count, "secret", "secrets").text,
		project, set->count - preview.known, preview.known);
	return KT_OK;
}

static enum kt_err import_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct import_options *o = opts;
	CLEANUP(import_done) struct import_set set = {0};
	struct kt_vault *vault;

	TRY(import_load(args[1], format_of(o->format), &set));
	TRY(cli_vault(cli, &vault));
	if (o->dry_run)
		return preview_import(cli, vault, args[0], &set);
	TRY(kt_secret_import(vault, args[0], set.items, set.count));
	cli_say(cli, "%s imported into '%s'",
		text_counted((int64_t)set.count, "secret", "secrets").text,
		args[0]);
	return KT_OK;
}

const struct command secret_import_command = {
	.path = "secret import",
	.arguments = "PROJECT FILE",
	.help = "store every value of a dotenv or JSON file",
	.details = "All or nothing. A name that exists gets a new version. "
		   "JSON is one flat\nobject of strings. FILE - is stdin and "
		   "needs --format.\n",
	.examples = "keyturn secret import payments .env -n\n"
		    "keyturn secret import payments values.json\n",
	OPTIONS(import_option, struct import_options, (.format = NO_FORMAT)),
	.run = import_run,
};

struct verify_options {
	int format;
};

static const struct option_def verify_option[] = {
	{"format", 0, OPT_CHOICE, offsetof(struct verify_options, format),
	 "FORMAT", "dotenv or json (default: by the file's name)",
	 .choices = formats},
};

struct verify {
	struct entry *index;
	size_t count;
	size_t equal, different, extra;
	char first[KT_NAME_MAX + 1]; /* that differs */
};

static enum kt_err verify_one(void *arg, const char *name,
			      const struct kt_secret *value)
{
	struct verify *verify = arg;
	struct entry *entry = index_find(verify->index, verify->count, name);

	if (entry == NULL) {
		verify->extra++;
		return KT_OK;
	}
	entry->met = true;
	if (secret_equal(value, &entry->item->value)) {
		verify->equal++;
		return KT_OK;
	}
	if (verify->different++ == 0)
		text_cut(verify->first, sizeof(verify->first), name);
	return KT_OK;
}

static const struct entry *first_missing(const struct verify *verify)
{
	for (size_t i = 0; i < verify->count; i++) {
		if (!verify->index[i].met)
			return &verify->index[i];
	}
	return NULL;
}

/* Secrets that the file does not name are not its matter: a project may have
 * been filled from several files. */
static enum kt_err judge(const struct verify *verify, const char *project)
{
	const struct entry *missing = first_missing(verify);

	if (verify->different > 0)
		return err_raise(KT_ERR_INTEGRITY,
				 "'%s' differs from the file: '%s' is the "
				 "first of %zu",
				 project, verify->first, verify->different);
	if (missing != NULL)
		return err_raise(KT_ERR_INTEGRITY,
				 "the file has '%s', project '%s' has not",
				 missing->item->name, project);
	return KT_OK;
}

static enum kt_err print_counts(const struct verify *verify)
{
	size_t met = verify->equal + verify->different;
	char line[160];

	TRY(text_format(line, sizeof(line),
			"%zu equal, %zu different, %zu missing, %zu not in "
			"the file\n",
			verify->equal, verify->different, verify->count - met,
			verify->extra));
	return cli_write(line, strlen(line));
}

static enum kt_err verify_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct verify_options *o = opts;
	CLEANUP(import_done) struct import_set set = {0};
	CLEANUP(freep) struct entry *index = NULL;
	struct verify verify = {0};
	struct kt_vault *vault;

	TRY(import_load(args[1], format_of(o->format), &set));
	TRY(index_new(&set, &index));
	verify.index = index;
	verify.count = set.count;
	TRY(cli_vault(cli, &vault));
	TRY(kt_secret_export(vault, args[0], verify_one, &verify));
	TRY(print_counts(&verify));
	return judge(&verify, args[0]);
}

const struct command secret_verify_command = {
	.path = "secret verify",
	.arguments = "PROJECT FILE",
	.help = "compare every value of a file with the project's secrets",
	.details = "Decrypts each secret of the project and compares it with "
		   "the file. Exit status 9\nwhen one differs or is missing. "
		   "Values are never printed.\n",
	.examples = "keyturn secret verify payments .env\n"
		    "keyturn secret verify payments - --format json\n",
	OPTIONS(verify_option, struct verify_options, (.format = NO_FORMAT)),
	.run = verify_run,
};
