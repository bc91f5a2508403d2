/*
 * keyturn project: create, list, show, rotate and delete.
 */
#include "base/clock.h"
#include "base/text.h"
#include "cli/access.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/keyview.h"
#include "cli/rotate.h"
#include "cli/screen.h"
#include "cli/summary.h"
#include "cli/table.h"

static enum kt_err create_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	struct kt_project project;
	struct kt_vault *vault;

	(void)opts;
	TRY(cli_vault(cli, &vault));
	TRY(kt_project_create(vault, args[0], &project));
	cli_say(cli, "project '%s' is made, key version %lld", project.name,
		(long long)project.key.version);
	return KT_OK;
}

const struct command project_create_command = {
	.path = "project create",
	.arguments = "NAME",
	.help = "make a project and its key",
	.details = "NAME is 1 to 255 of a-z, 0-9, '.', '_' and '-', and begins "
		   "with a letter or\na digit.\n",
	.examples = "keyturn project create payments\n"
		    "keyturn project create web.staging\n",
	.run = create_run,
};

#define PROJECT(member) offsetof(struct kt_project, member)

static const struct column project_columns[] = {
	{"name", "NAME", COLUMN_CHARS, PROJECT(name)},
	{"secrets", "SECRETS", COLUMN_INT, PROJECT(secrets)},
	{"access_tokens", "TOKENS", COLUMN_INT, PROJECT(access_tokens)},
	{"key_version", "KEY", COLUMN_INT, PROJECT(key.version)},
	{"key_activated", "ROTATED", COLUMN_TIME, PROJECT(key.activated)},
	{"created", "CREATED", COLUMN_TIME, PROJECT(created)},
};

static enum kt_err add_project(void *arg, const struct kt_project *project)
{
	return table_add(arg, project);
}

static enum kt_err fill_projects(struct kt_vault *vault, const void *arg,
				 struct table *table)
{
	(void)arg;
	return kt_project_list(vault, add_project, table);
}

static enum kt_err list_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	(void)opts;
	(void)args;
	return table_list(cli, project_columns, COLUMNS(project_columns),
			  fill_projects, NULL);
}

const struct command project_list_command = {
	.path = "project list",
	.help = "list the projects",
	.examples = "keyturn project list\n"
		    "keyturn project list --json\n",
	.lists = true,
	.run = list_run,
};

static const struct column show_columns[] = {
	{"id", "Id", COLUMN_ID, PROJECT(id)},
	{"name", "Name", COLUMN_CHARS, PROJECT(name)},
	{"created", "Created", COLUMN_TIME, PROJECT(created)},
	{"secrets", "Secrets", COLUMN_INT, PROJECT(secrets)},
	{"access_tokens", "Access tokens", COLUMN_INT, PROJECT(access_tokens)},
};

static enum kt_err show_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	CLEANUP(screen_freep) struct screen *screen = NULL;
	struct kt_project project;
	struct kt_vault *vault;

	(void)opts;
	TRY(cli_vault(cli, &vault));
	TRY(kt_project_get(vault, args[0], &project));
	TRY(screen_new(cli, &screen));
	TRY(screen_add(screen, NULL, NULL, show_columns, COLUMNS(show_columns),
		       &project));
	TRY(key_section(screen, "key", "Key", &project.key));
	return screen_print(screen);
}

const struct command project_show_command = {
	.path = "project show",
	.arguments = "NAME",
	.help = "show a project and its key",
	.examples = "keyturn project show payments\n"
		    "keyturn project show payments --json\n",
	.lists = true,
	.run = show_run,
};

struct project_rotate_options {
	struct rotate_flags rotate;
	int scope;
	int64_t expires;
	bool no_token;
};

static const struct option_def rotate_option[] = {
	ROTATE_OPTIONS(struct project_rotate_options, rotate, "0"),
	{"scope", 0, OPT_CHOICE, offsetof(struct project_rotate_options, scope),
	 "SCOPE", "of the new access token: read or write (default write)",
	 .choices = access_scopes},
	{"expires", 0, OPT_DURATION,
	 offsetof(struct project_rotate_options, expires), "TIME",
	 "how long the new access token lives (default 90d)"},
	{"no-token", 0, OPT_FLAG,
	 offsetof(struct project_rotate_options, no_token), NULL,
	 "issue no access token"},
};

static enum kt_err refuse_draining(const struct kt_rotation *r)
{
	char until[TIME_TEXT_LEN + 1];
	enum kt_err err;

	time_format(r->activated + r->grace, until);
	err = err_raise(KT_ERR_CONFLICT,
			"the last rotation of '%s' has its grace time until %s",
			r->project, until);
	return err_hint(err, "%s", summary_how_on(r));
}

/* The project's own interrupted rotation; KT_ERR_NOT_FOUND when it has none. */
static enum kt_err find_own(struct cli *cli, const char *name,
			    struct kt_rotation *ret)
{
	struct kt_rotation own;

	TRY(pending_of_project(cli, name, &own));
	if (own.phase == KT_ROTATION_DRAINING)
		return refuse_draining(&own);
	*ret = own;
	return KT_OK;
}

static enum kt_err rotate_or_resume(struct cli *cli, const char *name,
				    const struct kt_rotate_options *options,
				    struct kt_rotation *ret)
{
	const struct rotate_target target = {KT_ROTATION_PROJECT, name};
	struct kt_rotation own;
	enum kt_err err = find_own(cli, name, &own);

	if (err == KT_OK)
		return rotate_resume(cli, &own, options, ret);
	if (err != KT_ERR_NOT_FOUND)
		return err;
	TRY(rotate_ask(cli, &target, options));
	return rotate_start(cli, &target, options, ret);
}

static enum kt_err new_token(struct cli *cli, const char *name,
			     const struct project_rotate_options *o,
			     const struct kt_rotation *r)
{
	const struct access_request request = {
		.project = name,
		.scope = access_scope_of(o->scope),
		.lifetime = o->expires,
	};

	if (!o->no_token && summary_tokens_are_revoked(r))
		return access_hand_over(cli, &request);
	summary_say_tokens(cli, r);
	return KT_OK;
}

static enum kt_err rotate_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct project_rotate_options *o = opts;
	const struct rotate_target target = {KT_ROTATION_PROJECT, args[0]};
	struct kt_rotate_options options;
	struct kt_rotation r;

	TRY(rotate_options(cli, &o->rotate, &options));
	if (o->rotate.dry_run)
		return rotate_dry_run(cli, &target, &options);
	if (o->expires < 1 || o->expires > KT_ACCESS_LIFETIME_MAX)
		return err_raise(KT_ERR_USAGE, "--expires: 1s to 366d");
	TRY(rotate_or_resume(cli, args[0], &options, &r));
	return new_token(cli, args[0], o, &r);
}

const struct command project_rotate_command = {
	.path = "project rotate",
	.arguments = "NAME",
	.help = "give a project a new key and a new access token",
	.details = "Every data key of the project is rewrapped and proven; "
		   "secret values are not\ntouched. The cut-over revokes the "
		   "project's access tokens. One new access token\nis printed "
		   "on stdout. An interrupted rotation of this project goes on "
		   "where it\nstopped.\n",
	.examples = "keyturn project rotate payments\n"
		    "keyturn project rotate payments --yes --reason CHG-18\n",
	OPTIONS(rotate_option, struct project_rotate_options,
		(.scope = 1, .expires = 90 * 86400)),
	.run = rotate_run,
};

struct delete_options {
	const char *confirm;
};

static const struct option_def delete_option[] = {
	{"confirm", 0, OPT_TEXT, offsetof(struct delete_options, confirm),
	 "NAME", "the project's name, instead of the question"},
};

static enum kt_err delete_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct delete_options *o = opts;
	struct kt_project project;
	struct kt_vault *vault;

	TRY(cli_vault(cli, &vault));
	TRY(kt_project_get(vault, args[0], &project));
	cli_say(cli, "project '%s': %s, %s", project.name,
		text_counted(project.secrets, "secret", "secrets").text,
		text_counted(project.access_tokens, "access token",
			     "access tokens")
			.text);
	TRY(ask_name(cli, o->confirm, project.name));
	TRY(kt_project_delete(vault, project.name));
	cli_say(cli, "project '%s' is deleted", project.name);
	return KT_OK;
}

const struct command project_delete_command = {
	.path = "project delete",
	.arguments = "NAME",
	.help = "delete a project with its secrets, keys and access tokens",
	.details = "There is no way back.\n",
	.examples = "keyturn project delete payments\n"
		    "keyturn project delete old --confirm old\n",
	OPTIONS(delete_option, struct delete_options, (.confirm = NULL)),
	.run = delete_run,
};
