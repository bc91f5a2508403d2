/*
 * Which unfinished rotation a verb means. The engine is played by a list of
 * rotations, newest first; each is a letter for its phase, in capitals for
 * the master key and in small ones for a project.
 */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/err.h"
#include "cli/pending.h"

static const char *listed; /* "sDc": see play() */

static enum kt_rotation_phase phase_of(int letter)
{
	switch (letter) {
	case 's':
		return KT_ROTATION_STAGING;
	case 'd':
	case 'e':
		return KT_ROTATION_DRAINING;
	case 'c':
		return KT_ROTATION_CONTRACTING;
	case 'b':
		return KT_ROTATION_ROLLING_BACK;
	case 'f':
		return KT_ROTATION_CONTRACTED;
	default:
		return KT_ROTATION_ROLLED_BACK;
	}
}

/* s staging, d draining, e the same without a grace time, c contracting, b
 * rolling back; f finished, r rolled back. The position is kept in resumed. */
static struct kt_rotation play(size_t position)
{
	char letter = listed[position];
	struct kt_rotation r = {
		.kind = isupper((unsigned char)letter) ? KT_ROTATION_MASTER
						       : KT_ROTATION_PROJECT,
		.planned = 1000 - (int64_t)position,
		.resumed = (int64_t)position,
	};
	int phase = tolower((unsigned char)letter);

	if (r.kind == KT_ROTATION_PROJECT)
		snprintf(r.project, sizeof(r.project), "payments");
	snprintf(r.operator_name, sizeof(r.operator_name), "alice@host");
	r.phase = phase_of(phase);
	r.grace = phase == 'e' ? 0 : 3600;
	r.activated = phase == 's' ? 0 : 2000;
	r.contracting = phase == 'c' || phase == 'f' ? 3000 : 0;
	r.contracted = phase == 'f' ? 4000 : 0;
	r.rollback_started = phase == 'b' || phase == 'r' ? 3000 : 0;
	r.rolled_back = phase == 'r' ? 4000 : 0;
	return r;
}

enum kt_err cli_vault(struct cli *cli, struct kt_vault **ret)
{
	(void)cli;
	*ret = NULL;
	return KT_OK;
}

void cli_say(const struct cli *cli, const char *format, ...)
{
	(void)cli;
	(void)format;
}

const char *kt_rotation_phase_name(enum kt_rotation_phase phase)
{
	return phase == KT_ROTATION_DRAINING ? "draining" : "another";
}

enum kt_err kt_rotation_list(struct kt_vault *vault,
			     enum kt_err (*each)(void *arg,
						 const struct kt_rotation *r),
			     void *arg)
{
	(void)vault;
	for (size_t i = 0; listed[i] != '\0'; i++) {
		struct kt_rotation r = play(i);

		TRY(each(arg, &r));
	}
	return KT_OK;
}

enum kt_err kt_rotation_get(struct kt_vault *vault, const struct kt_id *id,
			    struct kt_rotation *ret)
{
	(void)vault;
	if (id->bytes[15] >= strlen(listed))
		return err_raise(KT_ERR_NOT_FOUND, "no such rotation");
	*ret = play(id->bytes[15]);
	return KT_OK;
}

#define NONE (-KT_ERR_NOT_FOUND)
#define OTHER (-KT_ERR_CONFLICT)

typedef enum kt_err verb(struct cli *cli, enum kt_rotation_kind kind,
			 const char *text, struct kt_rotation *ret);

/* The position that is picked, or the error. */
static int pick(verb *choose, enum kt_rotation_kind kind, const char *text)
{
	struct kt_rotation r;
	enum kt_err err = choose(NULL, kind, text, &r);

	return err == KT_OK ? (int)r.resumed : -(int)err;
}

static void the_newest_that_fits(void **state)
{
	static const struct {
		const char *list;
		int resume, rollback, finish;
	} cases[] = {
		{"", NONE, NONE, NONE}, {"fr", NONE, NONE, NONE},
		{"s", 0, 0, NONE},      {"fs", 1, 1, NONE},
		{"d", NONE, 0, 0},      {"dD", NONE, 0, 0},
		{"e", 0, 0, 0},         {"dE", 1, 0, 0},
		{"c", 0, NONE, 0},      {"b", 0, 0, NONE},
		{"sD", 0, 0, 1},        {"Ds", 1, 0, 0},
		{"dC", 1, 0, 0},        {"fdbC", 2, 1, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		listed = cases[i].list;
		assert_int_equal(pick(pending_resumable, 0, NULL),
				 cases[i].resume);
		assert_int_equal(pick(pending_reversible, 0, NULL),
				 cases[i].rollback);
		assert_int_equal(pick(pending_finishable, 0, NULL),
				 cases[i].finish);
	}
}

static void master_passes_projects_by(void **state)
{
	(void)state;
	listed = "sdD";
	assert_int_equal(pick(pending_resumable, KT_ROTATION_MASTER, NULL),
			 NONE);
	assert_int_equal(pick(pending_reversible, KT_ROTATION_MASTER, NULL), 2);
	assert_int_equal(pick(pending_finishable, KT_ROTATION_MASTER, NULL), 2);
}

static void an_id_is_taken_at_its_word(void **state)
{
	static const char one[] = "00000000-0000-0000-0000-000000000001";
	static const char nine[] = "00000000-0000-0000-0000-000000000009";

	(void)state;
	listed = "Dd";
	assert_int_equal(pick(pending_finishable, 0, one), 1);
	assert_int_equal(pick(pending_finishable, KT_ROTATION_MASTER, one),
			 OTHER);
	assert_int_equal(pick(pending_reversible, 0, nine), NONE);
	assert_int_equal(pick(pending_resumable, 0, "last"), -KT_ERR_USAGE);
}

static void a_project_finds_its_own(void **state)
{
	struct kt_rotation r;

	(void)state;
	listed = "Sfd";
	assert_int_equal(pending_of_project(NULL, "payments", &r), KT_OK);
	assert_int_equal(r.resumed, 2);
	assert_int_equal(pending_of_project(NULL, "other", &r),
			 KT_ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_newest_that_fits),
		cmocka_unit_test(master_passes_projects_by),
		cmocka_unit_test(an_id_is_taken_at_its_word),
		cmocka_unit_test(a_project_finds_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
