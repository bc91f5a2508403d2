/*
 * keyturn access: tokens that open one project.
 */
#include "cli/access.h"

#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/secret.h"
#include "cli/commands.h"
#include "cli/table.h"

const char *const access_scopes[] = {"read", "write", NULL};

static const char *scope_name(enum kt_access_scope scope)
{
	switch (scope) {
	case KT_ACCESS_READ:
		return "read";
	case KT_ACCESS_WRITE:
		return "write";
	}
	return "unknown";
}

enum kt_access_scope access_scope_of(int choice)
{
	return choice == 0 ? KT_ACCESS_READ : KT_ACCESS_WRITE;
}

/* One line, so that it can be read by a shell and by --access-token-file. */
static enum kt_err write_line(const struct kt_secret *token, const char *path)
{
	CLEANUP(kt_secret_done) struct kt_secret line = {0};

	TRY(secret_new(token->len + 1, &line));
	memcpy(line.data, token->data, token->len);
	line.data[token->len] = '\n';
	if (path != NULL)
		return file_write_new(path, line.data, line.len);
	return fd_write_all(STDOUT_FILENO, line.data, line.len);
}

/* Nobody has the token: it must not stay usable. */
static enum kt_err take_back(struct kt_vault *vault, const char *id,
			     enum kt_err err)
{
	struct err_saved saved;

	err_save(err, &saved);
	if (kt_access_revoke(vault, id) != KT_OK)
		return err_prefix(err_restore(&saved),
				  "access token %s could not be handed over "
				  "and is not revoked",
				  id);
	return err_prefix(err_restore(&saved),
			  "access token %s could not be handed over and was "
			  "revoked",
			  id);
}

static void say_issued(const struct cli *cli, const struct kt_access *access,
		       const char *path)
{
	char expires[TIME_TEXT_LEN + 1];

	time_format(access->expires, expires);
	cli_say(cli, "access token %s for '%s': scope %s, expires %s%s%s",
		access->id, access->project, scope_name(access->scope), expires,
		path != NULL ? ", written to " : "; it is shown this once",
		path != NULL ? path : "");
}

enum kt_err access_hand_over(struct cli *cli,
			     const struct access_request *request)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};
	struct kt_access access;
	struct kt_vault *vault;
	enum kt_err err;

	if (request->path != NULL && file_exists(request->path))
		return err_raise(KT_ERR_EXISTS, "%s is there already",
				 request->path);
	TRY(cli_vault(cli, &vault));
	TRY(kt_access_issue(
		vault, request->project, request->scope, request->lifetime,
		request->label != NULL ? request->label : "", &access, &token));
	err = write_line(&token, request->path);
	if (err != KT_OK)
		return take_back(vault, access.id, err);
	say_issued(cli, &access, request->path);
	return KT_OK;
}

struct issue_options {
	int scope;
	int64_t expires;
	const char *label, *output;
};

static const struct option_def issue_option[] = {
	{"scope", 0, OPT_CHOICE, offsetof(struct issue_options, scope), "SCOPE",
	 "read or write (default read)", .choices = access_scopes},
	{"expires", 0, OPT_DURATION, offsetof(struct issue_options, expires),
	 "TIME", "how long it opens the project, at most 366d (default 30d)"},
	{"label", 0, OPT_TEXT, offsetof(struct issue_options, label), "TEXT",
	 "who or what it is for"},
	{"output", 'o', OPT_FILE, offsetof(struct issue_options, output),
	 "FILE", "write the token to a new file (0600) and not to stdout"},
};

static enum kt_err issue_run(struct cli *cli, const void *opts,
			     const char *const *args)
{
	const struct issue_options *o = opts;
	const struct access_request request = {
		.project = args[0],
		.scope = access_scope_of(o->scope),
		.lifetime = o->expires,
		.label = o->label,
		.path = o->output,
	};

	return access_hand_over(cli, &request);
}

const struct command access_issue_command = {
	.path = "access issue",
	.arguments = "PROJECT",
	.help = "make an access token and print it, once",
	.details = "Only a MAC of the token is kept: it cannot be shown again. "
		   "Whoever holds it\nacts on this project with its scope "
		   "until it expires or is revoked.\n",
	.examples = "keyturn access issue payments --expires 7d --label ci\n"
		    "keyturn access issue payments --scope write -o token\n",
	OPTIONS(issue_option, struct issue_options, (.expires = 30 * 86400)),
	.run = issue_run,
};

static const char *scope_word(const void *row)
{
	return scope_name(((const struct kt_access *)row)->scope);
}

static const char *state_word(const void *row)
{
	const struct kt_access *access = row;

	if (access->revoked != 0)
		return "revoked";
	return access->expires <= clock_now() ? "expired" : "usable";
}

static const struct column list_columns[] = {
	{"id", "ID", COLUMN_CHARS, offsetof(struct kt_access, id)},
	{"project", "PROJECT", COLUMN_CHARS,
	 offsetof(struct kt_access, project)},
	{"scope", "SCOPE", COLUMN_WORD, .word = scope_word},
	{"state", "STATE", COLUMN_WORD, .word = state_word},
	{"created", NULL, COLUMN_TIME, offsetof(struct kt_access, created)},
	{"expires", "EXPIRES", COLUMN_TIME,
	 offsetof(struct kt_access, expires)},
	{"revoked", NULL, COLUMN_TIME, offsetof(struct kt_access, revoked)},
	{"label", "LABEL", COLUMN_CHARS, offsetof(struct kt_access, label)},
};

static enum kt_err add_access(void *arg, const struct kt_access *access)
{
	return table_add(arg, access);
}

static enum kt_err fill_tokens(struct kt_vault *vault, const void *arg,
			       struct table *table)
{
	return kt_access_list(vault, arg, add_access, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	(void)opts;
	return table_list(cli, list_columns, COLUMNS(list_columns), fill_tokens,
			  args[0]);
}

const struct command access_list_command = {
	.path = "access list",
	.arguments = "[PROJECT]",
	.help = "list access tokens, revoked and expired ones too",
	.examples = "keyturn access list\n"
		    "keyturn access list payments --json\n",
	.lists = true,
	.run = list_run,
};

static enum kt_err revoke_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	struct kt_vault *vault;

	(void)opts;
	TRY(cli_vault(cli, &vault));
	TRY(kt_access_revoke(vault, args[0]));
	cli_say(cli, "access token %s is revoked", args[0]);
	return KT_OK;
}

const struct command access_revoke_command = {
	.path = "access revoke",
	.arguments = "ID",
	.help = "make an access token useless at once",
	.details = "ID is the second part of the token and stands in "
		   "`keyturn access list`.\n",
	.examples = "keyturn access revoke 3kTq0aZ1Bc9d\n"
		    "keyturn access list payments\n",
	.run = revoke_run,
};
