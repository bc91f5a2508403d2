/*
 * keyturn secret: set, get, list and delete. A value is any bytes and is kept
 * exactly; it never comes from argv and never goes to a terminal unasked.
 */
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/ref.h"
#include "cli/table.h"

struct set_options {
	const char *from;
	int64_t fd; /* -1: not given */
};

static const struct option_def set_option[] = {
	{"from", 0, OPT_FILE, offsetof(struct set_options, from), "FILE",
	 "read the value from FILE, or from stdin with -"},
	{"fd", 0, OPT_INT, offsetof(struct set_options, fd), "N",
	 "read the value from descriptor N", .min = 0, .max = INT_MAX},
};

/* On a terminal a person types it, without echo, and so without a newline. */
static enum kt_err read_stdin(const struct cli *cli, struct kt_secret *ret)
{
	enum kt_err err;

	if (ask_stdin_is_terminal())
		return ask_secret(cli, "Value: ", true, KT_VALUE_MAX, ret);
	err = secret_read_fd(STDIN_FILENO, KT_VALUE_MAX, ret);
	return err == KT_OK ? KT_OK : err_prefix(err, "the value on stdin");
}

static enum kt_err read_value(const struct cli *cli,
			      const struct set_options *o,
			      struct kt_secret *ret)
{
	if (o->from != NULL && o->fd >= 0)
		return err_raise(KT_ERR_USAGE,
				 "--from and --fd cannot be used together");
	if (o->fd >= 0)
		return secret_read_fd((int)o->fd, KT_VALUE_MAX, ret);
	if (o->from != NULL && strcmp(o->from, "-") != 0)
		return secret_read_file(o->from, KT_VALUE_MAX, ret);
	return read_stdin(cli, ret);
}

static enum kt_err set_run(struct cli *cli, const void *opts,
			   const char *const *args)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_secret_info info;
	struct kt_vault *vault;
	struct ref ref;

	TRY(ref_parse(args[0], &ref));
	TRY(read_value(cli, opts, &value));
	TRY(cli_vault(cli, &vault));
	TRY(kt_secret_set(vault, ref.project, ref.name, &value, &info));
	cli_say(cli, "kt://%s/%s is version %lld, %s", ref.project, ref.name,
		(long long)info.version,
		text_counted((int64_t)value.len, "byte", "bytes").text);
	return KT_OK;
}

const struct command secret_set_command = {
	.path = "secret set",
	.arguments = "REF",
	.help = "store a value as the new version of a secret",
	.details = "REF is PROJECT/NAME or kt://PROJECT/NAME. The value comes "
		   "from stdin, byte for\nbyte; on a terminal it is asked for "
		   "twice, without echo.\n",
	.examples = "keyturn secret set payments/db-password\n"
		    "keyturn secret set payments/tls.key --from tls.key\n",
	OPTIONS(set_option, struct set_options, (.fd = -1)),
	.run = set_run,
};

struct get_options {
	int64_t version;
	bool reveal;
	const char *output;
};

static const struct option_def get_option[] = {
	{"version", 0, OPT_INT, offsetof(struct get_options, version), "N",
	 "an older version (default: the current one)", .min = 1,
	 .max = INT64_MAX},
	{"reveal", 0, OPT_FLAG, offsetof(struct get_options, reveal), NULL,
	 "show the value even on a terminal"},
	{"output", 'o', OPT_FILE, offsetof(struct get_options, output), "FILE",
	 "write the value to a new file (0600)"},
};

/* The newline is for the eye; a pipe gets the bytes alone. */
static enum kt_err show_value(const struct kt_secret *value)
{
	TRY(fd_write_all(STDOUT_FILENO, value->data, value->len));
	if (value->len == 0 || value->data[value->len - 1] == '\n' ||
	    !ask_stdout_is_terminal())
		return KT_OK;
	return fd_write_all(STDOUT_FILENO, "\n", 1);
}

static enum kt_err refuse_terminal(const struct kt_secret *value)
{
	enum kt_err err = err_raise(
		KT_ERR_USAGE, "the value (%s) is not shown on a terminal",
		text_counted((int64_t)value->len, "byte", "bytes").text);

	return err_hint(err, "--reveal shows it, -o FILE keeps it in a file");
}

static enum kt_err get_run(struct cli *cli, const void *opts,
			   const char *const *args)
{
	const struct get_options *o = opts;
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_vault *vault;
	struct ref ref;

	TRY(ref_parse(args[0], &ref));
	TRY(cli_vault(cli, &vault));
	TRY(kt_secret_get(vault, ref.project, ref.name, o->version, &value));
	if (o->output != NULL)
		return file_write_new(o->output, value.data, value.len);
	if (ask_stdout_is_terminal() && !o->reveal)
		return refuse_terminal(&value);
	return show_value(&value);
}

const struct command secret_get_command = {
	.path = "secret get",
	.arguments = "REF",
	.help = "write a value to stdout, byte for byte",
	.details = "On a terminal only its size is said, unless --reveal is "
		   "given.\n",
	.examples = "keyturn secret get payments/db-password | psql-login\n"
		    "keyturn secret get kt://payments/tls.key -o tls.key\n",
	OPTIONS(get_option, struct get_options, (.version = 0)),
	.run = get_run,
};

static const struct column list_columns[] = {
	{"name", "NAME", COLUMN_CHARS, offsetof(struct kt_secret_info, name)},
	{"version", "VERSION", COLUMN_INT,
	 offsetof(struct kt_secret_info, version)},
	{"size", "BYTES", COLUMN_INT, offsetof(struct kt_secret_info, size)},
	{"created", "CREATED", COLUMN_TIME,
	 offsetof(struct kt_secret_info, created)},
	{"updated", "UPDATED", COLUMN_TIME,
	 offsetof(struct kt_secret_info, updated)},
};

static enum kt_err add_secret(void *arg, const struct kt_secret_info *info)
{
	return table_add(arg, info);
}

static enum kt_err fill_secrets(struct kt_vault *vault, const void *arg,
				struct table *table)
{
	return kt_secret_list(vault, arg, add_secret, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	(void)opts;
	return table_list(cli, list_columns, COLUMNS(list_columns),
			  fill_secrets, args[0]);
}

const struct command secret_list_command = {
	.path = "secret list",
	.arguments = "PROJECT",
	.help = "list the secrets of a project, without their values",
	.examples = "keyturn secret list payments\n"
		    "keyturn secret list payments --json\n",
	.lists = true,
	.run = list_run,
};

struct delete_options {
	const char *confirm;
};

static const struct option_def delete_option[] = {
	{"confirm", 0, OPT_TEXT, offsetof(struct delete_options, confirm),
	 "NAME", "the secret's name, instead of the question"},
};

static enum kt_err delete_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct delete_options *o = opts;
	struct kt_vault *vault;
	struct ref ref;

	TRY(ref_parse(args[0], &ref));
	TRY(cli_vault(cli, &vault));
	TRY(ask_name(cli, o->confirm, ref.name));
	TRY(kt_secret_delete(vault, ref.project, ref.name));
	cli_say(cli, "kt://%s/%s is deleted, with every version", ref.project,
		ref.name);
	return KT_OK;
}

const struct command secret_delete_command = {
	.path = "secret delete",
	.arguments = "REF",
	.help = "delete a secret, all its versions and their keys",
	.details = "There is no way back.\n",
	.examples = "keyturn secret delete payments/old-password\n"
		    "keyturn secret delete payments/a/b --confirm a/b\n",
	OPTIONS(delete_option, struct delete_options, (.confirm = NULL)),
	.run = delete_run,
};
