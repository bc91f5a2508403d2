/*
 * keyturn master compromise and project compromise: what to do when a key may
 * be in other hands. The mark comes first and stays, whatever happens to the
 * rotation after it; the same command goes on.
 */
#include "base/text.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/keyview.h"
#include "cli/progress.h"
#include "cli/rotate.h"
#include "cli/summary.h"

struct compromise_options {
	struct rotate_flags rotate;
	bool reencrypt;
};

static const struct option_def compromise_option[] = {
	{"reason", 0, OPT_TEXT,
	 offsetof(struct compromise_options, rotate.reason), "TEXT",
	 "what happened, for the record; needed the first time"},
	{"reencrypt", 0, OPT_FLAG,
	 offsetof(struct compromise_options, reencrypt), NULL,
	 "then encrypt every exposed value again under a new data key"},
	ROTATE_PACE_OPTIONS(struct compromise_options, rotate),
};

static enum kt_err look(struct cli *cli, const struct kt_key_ref *ref,
			struct kt_exposure *ret)
{
	struct kt_vault *vault;

	TRY(cli_vault(cli, &vault));
	return kt_exposure_get(vault, ref, ret);
}

static void say_reencryption(const struct cli *cli, const struct kt_exposure *e)
{
	if (e->project_keys > 0)
		cli_say(cli,
			"  %s under it marked and rotated too; their "
			"projects' access tokens\n  are revoked",
			text_counted(e->project_keys, "project key is",
				     "project keys are")
				.text);
	cli_say(cli, "  every exposed value gets a new data key");
}

static enum kt_err confirm(struct cli *cli, const char *what,
			   const struct kt_exposure *e,
			   const struct compromise_options *o)
{
	bool marked = e->compromised != 0;

	cli_say(cli, "version %lld of %s is %s", (long long)e->version, what,
		kt_key_state_name(e->state));
	cli_say(cli, "  it exposes %s (%s)",
		text_counted(e->secrets, "secret", "secrets").text,
		text_counted(e->values, "value", "values").text);
	if (!e->retired)
		cli_say(cli, "  nothing new goes under it; writing is refused "
			     "while it serves; it is\n  rotated away from, "
			     "without a way back");
	if (o->reencrypt)
		say_reencryption(cli, e);
	if (marked)
		return ask_confirm(cli, "Go on?");
	if (o->rotate.reason == NULL)
		return err_raise(KT_ERR_USAGE, "--reason: what happened, for "
					       "the record");
	return ask_confirm(cli, "Mark version %lld of %s as compromised?",
			   (long long)e->version, what);
}

static enum kt_err mark(struct cli *cli, const struct kt_key_ref *ref,
			const char *what, const char *reason)
{
	struct kt_vault *vault;

	TRY(cli_vault(cli, &vault));
	TRY(kt_compromise_mark(vault, ref, reason));
	cli_say(cli, "version %lld of %s is marked as compromised",
		(long long)ref->version, what);
	return KT_OK;
}

static void name_fault(void *arg, const char *text)
{
	cli_say(arg, "not encrypted again: %s", text);
}

static enum kt_err reencrypt(struct cli *cli, const struct kt_key_ref *ref,
			     const struct kt_rotate_options *options)
{
	CLEANUP(progress_end) struct progress progress;
	struct kt_vault *vault;
	int64_t values = 0;
	enum kt_err err;

	progress_begin(&progress, cli);
	TRY(cli_vault(cli, &vault));
	err = kt_reencrypt(vault, ref, options, &progress.port, name_fault, cli,
			   &values);
	if (values > 0)
		cli_say(cli, "%s encrypted again",
			text_counted(values, "value is", "values are").text);
	return err;
}

static void say_next(const struct cli *cli, const struct kt_key_ref *ref,
		     const struct kt_exposure *left)
{
	if (ref->kind == KT_ROTATION_MASTER)
		cli_say(cli, "next: keyturn master compromise %lld --reencrypt",
			(long long)ref->version);
	else
		cli_say(cli,
			"next: keyturn project compromise %s %lld --reencrypt",
			left->project, (long long)ref->version);
}

/* New keys do not make known values unknown: that is said in any case. */
static enum kt_err say_left(struct cli *cli, const struct kt_key_ref *ref)
{
	struct kt_exposure left;

	TRY(look(cli, ref, &left));
	if (left.values > 0)
		cli_say(cli,
			"exposed: %s (%s) open to that key and a copy of the "
			"database",
			text_counted(left.secrets, "secret", "secrets").text,
			text_counted(left.values, "value", "values").text);
	if (left.project_keys > 0)
		cli_say(cli,
			"exposed: %s, and with them what is "
			"written to these projects",
			text_counted(left.project_keys, "project key",
				     "project keys")
				.text);
	cli_say(cli, "whoever has that key and an older copy knows the values "
		     "in it: change them where\nthey are used");
	if (left.values > 0 || left.project_keys > 0)
		say_next(cli, ref, &left);
	return KT_OK;
}

static enum kt_err compromise(struct cli *cli, struct kt_key_ref *ref,
			      const struct compromise_options *o)
{
	struct kt_rotate_options options;
	struct kt_exposure e;
	struct kt_rotation r;
	char what[SUMMARY_SUBJECT_MAX];

	TRY(rotate_options(cli, &o->rotate, &options));
	TRY(look(cli, ref, &e));
	ref->version = e.version;
	summary_subject(ref->kind, e.project, what);
	TRY(confirm(cli, what, &e, o));
	if (e.compromised == 0)
		TRY(mark(cli, ref, what, o->rotate.reason));
	TRY(rotate_compromised(cli, ref, &options, &r));
	summary_say_tokens(cli, &r);
	if (o->reencrypt)
		TRY(reencrypt(cli, ref, &options));
	return say_left(cli, ref);
}

static enum kt_err master_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	struct kt_key_ref ref = {.kind = KT_ROTATION_MASTER};

	TRY(key_version_parse(args[0], &ref.version));
	return compromise(cli, &ref, opts);
}

const struct command master_compromise_command = {
	.path = "master compromise",
	.arguments = "VERSION",
	.help = "mark a master key version as compromised and get off it",
	.details = "From the mark on nothing new is wrapped under it. A "
		   "rotation begins at once,\nwithout grace time; reading "
		   "works all the while, writing again after the switch.\nThe "
		   "same command goes on with what was interrupted.\n",
	.examples = "keyturn master compromise 1 --reason 'HSM returned "
		    "unsealed'\n"
		    "keyturn master compromise 1 --reencrypt --yes\n",
	OPTIONS(compromise_option, struct compromise_options, (.rotate = {0})),
	.run = master_run,
};

static enum kt_err project_run(struct cli *cli, const void *opts,
			       const char *const *args)
{
	struct kt_key_ref ref = {.kind = KT_ROTATION_PROJECT,
				 .project = args[0]};

	if (args[1] != NULL)
		TRY(key_version_parse(args[1], &ref.version));
	return compromise(cli, &ref, opts);
}

const struct command project_compromise_command = {
	.path = "project compromise",
	.arguments = "NAME [VERSION]",
	.help = "mark a project's key as compromised and get off it",
	.details =
		"As keyturn master compromise does it. Without VERSION the "
		"key that serves is\nmeant, unless an older one still "
		"exposes values. The project's access tokens\nare revoked.\n",
	.examples = "keyturn project compromise payments --reason 'dump of a "
		    "host'\n"
		    "keyturn project compromise payments 1 --reencrypt --yes\n",
	OPTIONS(compromise_option, struct compromise_options, (.rotate = {0})),
	.run = project_run,
};
