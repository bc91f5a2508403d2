/*
 * The one template of the configuration file: what init writes, and with
 * examples in place of values the file in conf/.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/config.h"

/* In single quotes, where YAML knows one escape: a quote is doubled. */
enum kt_err config_put_quoted(FILE *out, const char *value)
{
	fputc('\'', out);
	for (const char *at = value; *at != '\0'; at++) {
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return err_raise(KT_ERR_USAGE,
					 "control character in '%s'", value);
		if (*at == '\'')
			fputc('\'', out);
		fputc(*at, out);
	}
	fputs("'\n", out);
	return KT_OK;
}

/* The setting; or, where there is no value, a comment that shows one. */
static enum kt_err put(FILE *out, const char *key, const char *value,
		       const char *example)
{
	if (value != NULL) {
		fprintf(out, "%s: ", key);
		return config_put_quoted(out, value);
	}
	fprintf(out, "%.*s# %s: %s\n", (int)strspn(key, " "), key,
		key + strspn(key, " "), example);
	return KT_OK;
}

static enum kt_err put_token(FILE *out, const struct config_values *values)
{
	fputs("\ntoken:\n"
	      "  # Names exactly one token (RFC 7512), never with a PIN.\n",
	      out);
	TRY(put(out, "  uri", values->uri,
		"'pkcs11:token=keyturn;serial=0123456789abcdef'"));
	fputs("  # The PKCS#11 module: an absolute path or a name that "
	      "p11-kit\n"
	      "  # knows. Not needed where the URI has module-path or\n"
	      "  # module-name.\n",
	      out);
	TRY(put(out, "  module", values->module,
		"'/usr/lib/softhsm/libsofthsm2.so'"));
	fprintf(out,
		"  # A token that does not keep to the key policy is refused\n"
		"  # (strict) or recorded (warn).\n"
		"  gate: %s\n",
		values->gate == KT_GATE_STRICT ? "strict" : "warn");
	return KT_OK;
}

static enum kt_err put_pin(FILE *out, const struct config_values *values)
{
	fputs("\n# Sources of the PIN, in this order: --pin-fd, --pin-file (or "
	      "the file\n"
	      "# here), pin-source in the URI, the systemd credential 'pin', "
	      "KEYTURN_PIN\n"
	      "# where it is allowed, a question on the terminal.\n"
	      "pin:\n"
	      "  # Nobody else may read or write this file.\n",
	      out);
	TRY(put(out, "  file", values->pin_file, "'/etc/keyturn/pin'"));
	fputs("  # The environment shows in /proc and in crash reports.\n"
	      "  allow-environment: false\n",
	      out);
	return KT_OK;
}

static enum kt_err put_all(FILE *out, const struct config_values *values)
{
	fputs("# Configuration of keyturn; see keyturn.yaml(5). Paths are "
	      "absolute, unknown\n"
	      "# keys are refused. Options and the environment win over this "
	      "file.\n\n"
	      "# The database of wrapped keys and sealed values.\n",
	      out);
	TRY(put(out, "store", values->store, "'/var/lib/keyturn/keyturn.db'"));
	TRY(put_token(out, values));
	TRY(put_pin(out, values));
	fputs("\nrotation:\n"
	      "  # Rows in one transaction at most, 1 to 10000.\n"
	      "  batch-size: 1000\n"
	      "  # Calls at the token at once, 1 to 64; auto: as many as "
	      "pay.\n"
	      "  # jobs: 2\n"
	      "  # Sessions of a worker process, at most, 1 to 64; auto: as "
	      "many as let\n"
	      "  # one process per core do the jobs. 1: a process for each.\n"
	      "  # sessions: 8\n"
	      "  # How long the old master key's rows stay, so that a rotation "
	      "can be\n"
	      "  # rolled back: 90s, 15m, 24h, 30d.\n"
	      "  grace: 24h\n"
	      "  # How long the process of a rotation may be silent before "
	      "another\n"
	      "  # operator may take it over. More than a batch takes.\n"
	      "  # lease: 60s\n\n"
	      "# Lock files. All users of one token need the same "
	      "directory.\n",
	      out);
	return put(out, "runtime-dir", values->runtime_dir, "'/run/keyturn'");
}

static bool same(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* What YAML and the rules of the file make of a value is seen by reading it. */
static enum kt_err read_again(const struct config_values *values,
			      const char *text)
{
	CLEANUP(config_freep) struct config *config = NULL;

	if (config_parse("configuration", text, strlen(text), &config) != KT_OK)
		return err_prefix(KT_ERR_USAGE, "not to be read again");
	if (!same(values->store, config->store) ||
	    !same(values->uri, config->token.uri) ||
	    !same(values->module, config->token.module) ||
	    !same(values->pin_file, config->pin.file) ||
	    !same(values->runtime_dir, config->runtime_dir))
		return err_raise(KT_ERR_USAGE,
				 "the configuration cannot hold a value as it "
				 "is");
	return KT_OK;
}

enum kt_err config_text(const struct config_values *values, char **ret)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	enum kt_err err;
	bool failed;

	if (out == NULL)
		return err_memory();
	err = put_all(out, values);
	failed = ferror(out) != 0;
	if (fclose(out) != 0 || failed)
		return err_memory();
	TRY(err);
	TRY(read_again(values, text));
	*ret = TAKE(text);
	return KT_OK;
}
