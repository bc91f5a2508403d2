/*
 * The bench: what keyturn costs, as ratios to what token and store cost bare,
 * measured in turns in one run. Without arguments everything, at sizes that
 * end within minutes.
 *
 *	bench [--rows N,N,...] [--repeat N] [--jobs N] [--only SECTION]
 *	      [--json FILE] [--markdown FILE] [--brief]
 *
 * Sections: token, store, rotation, secrets, reads, latency.
 *docs/performance.md explains the figures.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "base/text.h"
#include "tests/bench/bench.h"

#define SIZES_MAX 8

struct plan {
	long long rows[SIZES_MAX];
	size_t sizes;
	const char *only, *json, *markdown;
};

static enum kt_err parse_rows(char *text, struct plan *plan)
{
	char *rest = NULL;
	char *word = strtok_r(text, ",", &rest);

	for (plan->sizes = 0; word != NULL; word = strtok_r(NULL, ",", &rest)) {
		if (plan->sizes == SIZES_MAX)
			return err_raise(KT_ERR_USAGE, "more than %d sizes",
					 SIZES_MAX);
		TRY(text_to_int(word, 1, 10000000, "rows",
				&plan->rows[plan->sizes++]));
	}
	return KT_OK;
}

static enum kt_err parse_option(int letter, char *value, struct plan *plan)
{
	long long number;

	switch (letter) {
	case 'r':
		return parse_rows(value, plan);
	case 'n':
		TRY(text_to_int(value, 1, REPEATS_MAX, "repeat", &number));
		place.repeats = (int)number;
		return KT_OK;
	case 'j':
		TRY(text_to_int(value, 1, 16, "jobs", &number));
		place.jobs = (unsigned)number;
		return KT_OK;
	case 'o':
		plan->only = value;
		return KT_OK;
	case 'b':
		place.brief = true;
		return parse_option('n', (char[]){"1"}, plan);
	case 'f':
		plan->json = value;
		return KT_OK;
	case 'm':
		plan->markdown = value;
		return KT_OK;
	default:
		return err_raise(KT_ERR_USAGE, "see tests/bench/bench.c");
	}
}

static enum kt_err parse(int argc, char **argv, struct plan *plan)
{
	static const struct option options[] = {
		{"rows", required_argument, NULL, 'r'},
		{"repeat", required_argument, NULL, 'n'},
		{"jobs", required_argument, NULL, 'j'},
		{"only", required_argument, NULL, 'o'},
		{"json", required_argument, NULL, 'f'},
		{"markdown", required_argument, NULL, 'm'},
		{"brief", no_argument, NULL, 'b'},
		{NULL, 0, NULL, 0},
	};
	int letter;

	while ((letter = getopt_long(argc, argv, "", options, NULL)) != -1)
		TRY(parse_option(letter, optarg, plan));
	return KT_OK;
}

static bool wanted(const struct plan *plan, const char *section)
{
	return plan->only == NULL || strcmp(plan->only, section) == 0;
}

static enum kt_err run_plan(const struct plan *plan)
{
	if (wanted(plan, "token"))
		TRY(section_token());
	if (wanted(plan, "secrets"))
		TRY(section_secrets());
	for (size_t i = 0; i < plan->sizes; i++) {
		if (wanted(plan, "store"))
			TRY(section_store(plan->rows[i]));
		if (wanted(plan, "rotation"))
			TRY(section_rotation(plan->rows[i]));
	}
	if (wanted(plan, "reads"))
		TRY(section_reads());
	if (wanted(plan, "latency"))
		TRY(section_latency());
	if (plan->markdown != NULL)
		TRY(report_markdown(plan->markdown));
	return plan->json != NULL ? report_json(plan->json) : KT_OK;
}

static enum kt_err report_all(int argc, char **argv)
{
	struct plan plan = {.rows = {1000, 10000, 100000}, .sizes = 3};
	enum kt_err err;

	TRY(parse(argc, argv, &plan));
	place_make();
	err = run_plan(&plan);
	place_done();
	return err;
}

static const struct role *role_find(const char *name)
{
	static const struct role *const all[] = {raw_roles,     store_roles,
						 vault_roles,   secret_roles,
						 latency_roles, read_roles};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (const struct role *r = all[i]; r->name != NULL; r++)
			if (strcmp(r->name, name) == 0)
				return r;
	return NULL;
}

int main(int argc, char **argv)
{
	const struct role *role = argc > 1 ? role_find(argv[1]) : NULL;
	enum kt_err err;

	secret_heap_init();
	if (role == NULL) {
		err = report_all(argc, argv);
	} else {
		place_find();
		err = role->run(argc - 2, argv + 2);
	}
	if (err != KT_OK)
		fprintf(stderr, "bench%s%s: %s\n", role != NULL ? " " : "",
			role != NULL ? role->name : "", kt_err_detail());
	return kt_err_exit_status(err);
}
