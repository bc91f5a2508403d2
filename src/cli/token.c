/*
 * keyturn token: a token made in a TPM, and evidence of the keys in one. Other
 * tokens are made by their makers' tools.
 */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/commands.h"
#include "cli/evidence.h"
#include "cli/installed.h"
#include "cli/settings.h"
#include "cli/tpm_conf.h"

#define PIN_MAX 255
#define PCR_LAST 23
#define TCTI_DEFAULT "device:/dev/tpmrm0"

struct init_options {
	bool tpm;
	const char *tcti, *state, *label, *pcrs, *so_pin_file;
	const char *owner, *new_owner, *lockout, *new_lockout;
};

#define INIT(member) offsetof(struct init_options, member)

static const struct option_def init_option[] = {
	{"tpm", 0, OPT_FLAG, INIT(tpm), NULL, "in a TPM 2.0; has to be said"},
	{"tcti", 0, OPT_TEXT, INIT(tcti), "TCTI",
	 "how the TPM is reached (default " TCTI_DEFAULT ")"},
	{"state", 0, OPT_FILE, INIT(state), "DIR",
	 "folder of the token (default /var/lib/keyturn/tpm2; a user's own "
	 "below ~/.local/state)"},
	{"label", 0, OPT_TEXT, INIT(label), "LABEL",
	 "name of the token (default keyturn)"},
	{"pcrs", 0, OPT_TEXT, INIT(pcrs), "LIST",
	 "the PIN works only while these PCRs are as now: 7, or 0,2,7"},
	{"so-pin-file", 0, OPT_FILE, INIT(so_pin_file), "FILE",
	 "the security officer's new PIN; else it is asked for"},
	{"owner-auth-file", 0, OPT_FILE, INIT(owner), "FILE",
	 "the TPM owner's authorisation (default: empty)"},
	{"new-owner-auth-file", 0, OPT_FILE, INIT(new_owner), "FILE",
	 "what it is to be from now on"},
	{"lockout-auth-file", 0, OPT_FILE, INIT(lockout), "FILE",
	 "the authorisation that ends a lockout (default: empty)"},
	{"new-lockout-auth-file", 0, OPT_FILE, INIT(new_lockout), "FILE",
	 "what it is to be from now on"},
};

static enum kt_err parse_pcrs(const char *text, uint32_t *ret)
{
	uint32_t pcrs = 0;
	char word[8];

	while (text != NULL && *text != '\0') {
		size_t len = strcspn(text, ",");
		long long pcr;

		if (len >= sizeof(word))
			return err_raise(KT_ERR_USAGE,
					 "--pcrs: '%s' is not a list of "
					 "numbers",
					 text);
		memcpy(word, text, len);
		word[len] = '\0';
		TRY(text_to_int(word, 0, PCR_LAST, "--pcrs", &pcr));
		pcrs |= UINT32_C(1) << pcr;
		text += len + (text[len] == ',');
	}
	*ret = pcrs;
	return KT_OK;
}

/* A PIN that nobody has typed before. */
static enum kt_err ask_new_pin(void *arg, const char *label,
			       struct kt_secret *ret)
{
	char prompt[96];

	snprintf(prompt, sizeof(prompt), "New PIN of token '%s': ", label);
	return ask_secret(arg, prompt, true, PIN_MAX, ret);
}

static enum kt_err ask_new_so_pin(void *arg, const char *label,
				  struct kt_secret *ret)
{
	char prompt[96];

	snprintf(prompt, sizeof(prompt),
		 "New PIN of its security officer, for '%s': ", label);
	return ask_secret(arg, prompt, true, PIN_MAX, ret);
}

/* No configuration is read: there need not be a vault yet. */
static enum kt_err take_settings(struct cli *cli, const struct init_options *o,
				 struct kt_tpm_setup *setup)
{
	TRY(config_new(&cli->config));
	if (cli->globals.module == NULL)
		cli->globals.module = TPM_MODULE_NAME;
	TRY(settings_resolve(&cli->globals, cli->env, cli->config,
			     &cli->settings));
	setup->module = cli->settings->params.module;
	setup->pin = cli->settings->params.pin;
	setup->so_pin =
		(struct kt_pin_source){.fd = -1, .file = o->so_pin_file};
	if (ask_possible(cli)) {
		setup->pin.prompt = ask_new_pin;
		setup->so_pin.prompt = ask_new_so_pin;
		setup->pin.prompt_arg = setup->so_pin.prompt_arg = cli;
	}
	if (o->so_pin_file != NULL || setup->so_pin.prompt != NULL)
		return KT_OK;
	return err_raise(KT_ERR_USAGE,
			 "--so-pin-file is missing, and nobody can be asked");
}

static enum kt_err state_path(const struct cli *cli,
			      const struct init_options *o, char ret[PATH_MAX])
{
	char parent[PATH_MAX];

	if (o->state == NULL)
		TRY(settings_tpm_state(cli->env, ret));
	else
		TRY(text_copy(ret, PATH_MAX, o->state, "--state"));
	if (ret[0] != '/')
		return err_raise(KT_ERR_USAGE,
				 "--state: '%s' is not an absolute path", ret);
	TRY(dir_of(ret, parent, sizeof(parent)));
	return dir_make(parent);
}

/* Only root can write the default. */
static enum kt_err add_entry(const struct cli *cli, const char *conf,
			     const char *tcti, const char *state,
			     struct tpm_entry *ret)
{
	enum kt_err err = tpm_entry_add(conf, tcti, state, ret);

	if (err != KT_ERR_FAILED || cli->env->tpm2_conf != NULL)
		return err;
	return err_hint(err, "KEYTURN_TPM2_CONF names another file, for this "
			     "command and every later one");
}

static void say_made(const struct cli *cli, const struct kt_token_info *token,
		     const char *conf, const char *state)
{
	cli_say(cli,
		"Made token '%s' (serial %s) in the TPM.\n"
		"Its folder is %s, its entry in %s.",
		token->label, token->serial, state, conf);
	cli_say(cli,
		"\nKeep the folder: without it the keys are lost.\n"
		"Next:\n"
		"  keyturn init --module %s --token 'pkcs11:serial=%s'",
		token->module, token->serial);
}

static enum kt_err init_run(struct cli *cli, const void *opts,
			    const char *const *args)
{
	CLEANUP(tpm_entry_done) struct tpm_entry entry = {0};
	const struct init_options *o = opts;
	const char *conf = cli->env->tpm2_conf;
	struct kt_tpm_setup setup = {
		.label = o->label,
		.owner_file = o->owner,
		.new_owner_file = o->new_owner,
		.lockout_file = o->lockout,
		.new_lockout_file = o->new_lockout,
	};
	struct kt_token_info token;
	char state[PATH_MAX];

	(void)args;
	TRY(cli_operator_only(cli));
	if (!o->tpm)
		return err_hint(err_raise(KT_ERR_USAGE, "--tpm is missing"),
				"other tokens are made by their makers' tools, "
				"as softhsm2-util or pkcs11-tool");
	if (conf == NULL)
		conf = TPM_CONF_DEFAULT;
	TRY(parse_pcrs(o->pcrs, &setup.pcrs));
	TRY(take_settings(cli, o, &setup));
	TRY(state_path(cli, o, state));
	TRY(add_entry(cli, conf, o->tcti, state, &entry));
	setup.slot = entry.slot;
	TRY(kt_tpm_set_up(&setup, &token));
	tpm_entry_keep(&entry);
	say_made(cli, &token, conf, state);
	return KT_OK;
}

const struct command token_init_command = {
	.path = "token init",
	.help = "make a token in a TPM",
	.details =
		"Checks the TPM, sets its authorisations where new ones are\n"
		"given, makes the token with its PINs and adds it to the\n"
		"configuration of keyturn-tpm2.so (KEYTURN_TPM2_CONF, else\n"
		"" TPM_CONF_DEFAULT "). The user's PIN comes from\n"
		"--pin-fd, --pin-file, the systemd credential or a question.\n"
		"A FILE may be a pipe: /dev/fd/3.\n",
	.examples = "keyturn token init --tpm --so-pin-file so-pin\n"
		    "keyturn token init --tpm --pcrs 7 \\\n"
		    "    --new-owner-auth-file owner "
		    "--new-lockout-auth-file lockout\n",
	OPTIONS(init_option, struct init_options,
		(.tcti = TCTI_DEFAULT, .label = "keyturn")),
	.run = init_run,
};

struct attest_options {
	const char *output, *nonce;
};

static const struct option_def attest_option[] = {
	{"output", 'o', OPT_FILE, offsetof(struct attest_options, output),
	 "DIR", "folder for the files; made where it is missing"},
	{"nonce", 0, OPT_TEXT, offsetof(struct attest_options, nonce), "HEX",
	 "what the auditor wants signed, 1 to 32 bytes (default: random)"},
};

struct named_key {
	enum kt_key_role role;
	int64_t version; /* 0: the active one */
};

static enum kt_err parse_key(const char *text, struct named_key *ret)
{
	static const enum kt_key_role roles[] = {KT_KEY_MASTER, KT_KEY_RECOVERY,
						 KT_KEY_ROW_MAC, KT_KEY_AUDIT};
	size_t len = strcspn(text, "/");
	struct named_key key = {0};
	long long version = 0;

	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		const char *name = kt_key_role_name(roles[i]);

		if (strlen(name) == len && strncmp(name, text, len) == 0)
			key.role = roles[i];
	}
	if (key.role == 0)
		return err_raise(KT_ERR_USAGE,
				 "'%s' is not master, recovery, row-mac or "
				 "audit, with /VERSION or without",
				 text);
	if (text[len] == '/')
		TRY(text_to_int(text + len + 1, 1, INT64_MAX, "version",
				&version));
	key.version = version;
	*ret = key;
	return KT_OK;
}

static enum kt_err attest_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	const struct attest_options *o = opts;
	struct kt_vault *vault;
	struct named_key key = {0};
	struct nonce nonce;

	TRY(cli_operator_only(cli));
	TRY(parse_key(args[0], &key));
	if (o->output == NULL)
		return err_raise(KT_ERR_USAGE, "--output is missing");
	TRY(nonce_parse(o->nonce, &nonce));
	TRY(cli_vault(cli, &vault));
	return evidence_write(vault, key.role, key.version, &nonce, o->output);
}

const struct command token_attest_command = {
	.path = "token attest",
	.arguments = "KEY",
	.help = "write what shows an auditor where a key was born, or its end",
	.details =
		"KEY is master, recovery, row-mac or audit, with /VERSION or\n"
		"without: master, master/2. Of a key in a TPM the files are\n"
		"certificates of the TPM, signed over the nonce; of a\n"
		"destroyed one the certificate of its destruction.\n",
	.examples = "keyturn token attest master --output evidence\n"
		    "keyturn token attest master/1 --output gone "
		    "--nonce 00112233\n",
	OPTIONS(attest_option, struct attest_options, ()),
	.run = attest_run,
};
