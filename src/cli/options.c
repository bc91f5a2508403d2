/*
 * Option parsing. getopt_long() finds the options; what it dislikes is said in
 * our own words, and each value goes through its type into a member of the
 * command's struct.
 */
#include "cli/options.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/suggest.h"

#define OPTIONS_MAX 64
#define CODE_BASE 256 /* above every letter */

/* Both sets in one row, as getopt_long() wants them. */
struct flat {
	const struct option_def *def[OPTIONS_MAX];
	void *target[OPTIONS_MAX];
	struct option longs[OPTIONS_MAX + 1];
	char letters[3 + 2 * OPTIONS_MAX];
	size_t count;
};

static bool known(const struct flat *flat, const char *name)
{
	for (size_t i = 0; i < flat->count; i++)
		if (strcmp(flat->def[i]->name, name) == 0)
			return true;
	return false;
}

static void flat_add(struct flat *flat, const struct option_def *def,
		     void *target)
{
	size_t at = flat->count;
	size_t used = strlen(flat->letters);

	if (known(flat, def->name) || at >= OPTIONS_MAX)
		return;
	flat->def[at] = def;
	flat->target[at] = target;
	flat->longs[at] = (struct option){
		def->name,
		def->type == OPT_FLAG ? no_argument : required_argument, NULL,
		CODE_BASE + (int)at};
	if (def->letter != 0)
		snprintf(flat->letters + used, sizeof(flat->letters) - used,
			 "%c%s", def->letter, def->type == OPT_FLAG ? "" : ":");
	flat->count++;
}

static void flat_make(struct flat *flat, const struct option_set *sets,
		      size_t set_count, bool stop_at_word)
{
	*flat = (struct flat){0};
	snprintf(flat->letters, sizeof(flat->letters),
		 "%s:", stop_at_word ? "+" : "");
	for (size_t i = 0; i < set_count; i++)
		for (size_t j = 0; j < sets[i].count; j++)
			flat_add(flat, &sets[i].defs[j], sets[i].target);
}

/* The index that a code of getopt_long() stands for; count: none. */
static size_t flat_find(const struct flat *flat, int code)
{
	if (code >= CODE_BASE)
		return (size_t)(code - CODE_BASE);
	for (size_t i = 0; i < flat->count; i++)
		if (flat->def[i]->letter != 0 && flat->def[i]->letter == code)
			return i;
	return flat->count;
}

static enum kt_err set_choice(const struct option_def *def, const char *text,
			      int *member)
{
	char all[256] = "";

	for (int i = 0; def->choices[i] != NULL; i++) {
		size_t used = strlen(all);

		if (strcmp(def->choices[i], text) == 0) {
			*member = i;
			return KT_OK;
		}
		snprintf(all + used, sizeof(all) - used, "%s%s",
			 i > 0 ? ", " : "", def->choices[i]);
	}
	return err_raise(KT_ERR_USAGE, "--%s: '%s' is none of %s", def->name,
			 text, all);
}

/* What stands in the place of its number may be the secret itself, which must
 * not be repeated. */
static bool takes_descriptor(const struct option_def *def)
{
	size_t len = strlen(def->name);

	return def->type == OPT_INT && len >= 2 &&
	       strcmp(def->name + len - 2, "fd") == 0;
}

static enum kt_err set_number(const struct option_def *def, const char *text,
			      int64_t *member)
{
	char what[64];
	long long value;

	if (def->word != NULL && strcmp(text, def->word) == 0) {
		*member = OPT_WORD;
		return KT_OK;
	}
	snprintf(what, sizeof(what), "--%s", def->name);
	if (takes_descriptor(def) &&
	    text_to_int(text, def->min, def->max, what, &value) != KT_OK)
		return err_raise(KT_ERR_USAGE,
				 "%s: not the number of a descriptor", what);
	if (def->type == OPT_INT)
		TRY(text_to_int(text, def->min, def->max, what, &value));
	else
		TRY(text_to_duration(text, what, &value));
	*member = value;
	return KT_OK;
}

static enum kt_err set(const struct option_def *def, void *target,
		       const char *text)
{
	void *member = (char *)target + def->offset;

	switch (def->type) {
	case OPT_FLAG:
		*(bool *)member = true;
		return KT_OK;
	case OPT_TEXT:
	case OPT_FILE:
		*(const char **)member = text;
		return KT_OK;
	case OPT_INT:
	case OPT_DURATION:
		return set_number(def, text, member);
	case OPT_CHOICE:
		return set_choice(def, text, member);
	}
	abort();
}

/* Not known, or the beginning of several. given: "--name" or "--name=...". */
static enum kt_err bad_long(const struct flat *flat, const char *given)
{
	char name[64];
	struct suggest suggest = {.word = name};
	size_t prefixed = 0;

	text_cut(name, sizeof(name), given + 2);
	name[strcspn(name, "=")] = '\0';
	for (size_t i = 0; i < flat->count; i++) {
		suggest_offer(&suggest, flat->def[i]->name);
		if (strncmp(flat->def[i]->name, name, strlen(name)) == 0)
			prefixed++;
	}
	if (prefixed > 1)
		return err_raise(KT_ERR_USAGE, "option '--%s' is ambiguous",
				 name);
	if (suggest.best != NULL)
		return err_raise(KT_ERR_USAGE,
				 "unknown option '--%s' (did you mean '--%s'?)",
				 name, suggest.best);
	return err_raise(KT_ERR_USAGE, "unknown option '--%s'", name);
}

/* code: what getopt_long() returned, '?' or ':'. */
static enum kt_err bad_option(const struct flat *flat, int code,
			      const char *given)
{
	size_t at = flat_find(flat, optopt);

	if (optopt == 0)
		return bad_long(flat, given);
	if (at >= flat->count)
		return err_raise(KT_ERR_USAGE, "unknown option '-%c'", optopt);
	if (code == ':')
		return err_raise(KT_ERR_USAGE, "option '--%s' needs %s",
				 flat->def[at]->name, flat->def[at]->argument);
	return err_raise(KT_ERR_USAGE, "option '--%s' takes no value",
			 flat->def[at]->name);
}

enum kt_err options_parse(const struct option_set *sets, size_t set_count,
			  bool stop_at_word, int argc, char **argv,
			  int *ret_first)
{
	struct flat flat;
	int code;

	flat_make(&flat, sets, set_count, stop_at_word);
	opterr = 0;
	optind = 0; /* glibc: begin afresh */
	while ((code = getopt_long(argc, argv, flat.letters, flat.longs,
				   NULL)) != -1) {
		size_t at;

		if (code == '?' || code == ':')
			return bad_option(&flat, code, argv[optind - 1]);
		at = flat_find(&flat, code);
		TRY(set(flat.def[at], flat.target[at], optarg));
	}
	*ret_first = optind;
	return KT_OK;
}

/* One word of "REF [FILE] [WORD...]" after the other. */
enum kt_err arguments_check(const char *arguments, int count)
{
	const char *at = arguments != NULL ? arguments : "";
	int position = 0;

	while (*at != '\0') {
		size_t len = strcspn(at, " ");

		if (position >= count && *at != '[')
			return err_raise(KT_ERR_USAGE, "%.*s is missing",
					 (int)len, at);
		if (memmem(at, len, "...", 3) != NULL)
			return KT_OK;
		position++;
		at += len;
		at += strspn(at, " ");
	}
	if (count > position)
		return err_raise(KT_ERR_USAGE, "%d argument%s too many",
				 count - position,
				 count - position == 1 ? "" : "s");
	return KT_OK;
}
