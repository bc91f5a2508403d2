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

/* s staging, d draining, c contracting, b rolling back; f finished, r rolled
 * back. The position is kept in resumed. */
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

/* As the engine has it: the one at work, else the newest unfinished. */
enum kt_err kt_rotation_current(struct kt_vault *vault, struct kt_rotation *ret)
{
	size_t at = strcspn(listed, "sSbB");

	(void)vault;
	if (listed[at] == '\0')
		at = strcspn(listed, "dDcC");
	if (listed[at] == '\0')
		return err_raise(KT_ERR_NOT_FOUND, "no rotation is unfinished");
	*ret = play(at);
	return KT_OK;
}

#define NONE (-KT_ERR_NOT_FOUND)
#define OTHER (-KT_ERR_CONFLICT)

typedef enum kt_err verb(struct cli *cli, enum kt_rotation_kind kind,
			 struct kt_rotation *ret);

/* The position that is picked, or the error. */
static int pick(verb *choose, enum kt_rotation_kind kind)
{
	struct kt_rotation r;
	enum kt_err err = choose(NULL, kind, &r);

	return err == KT_OK ? (int)r.resumed : -(int)err;
}

static void picks_what_the_engine_takes(void **state)
{
	static const struct {
		const char *list;
		int resume, rollback, finish;
	} cases[] = {
		{"", NONE, NONE, NONE}, {"fr", NONE, NONE, NONE},
		{"s", 0, 0, NONE},      {"fs", 1, 1, NONE},
		{"d", NONE, 0, 0},      {"dD", NONE, 0, 0},
		{"c", 0, 0, 0},         {"b", 0, 0, NONE},
		{"sD", 0, 0, 1},        {"Ds", 1, 1, 0},
		{"dC", 1, 0, 0},        {"fdbC", 2, 2, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		listed = cases[i].list;
		assert_int_equal(pick(pending_resumable, 0), cases[i].resume);
		assert_int_equal(pick(pending_reversible, 0),
				 cases[i].rollback);
		assert_int_equal(pick(pending_finishable, 0), cases[i].finish);
	}
}

static void master_refuses_a_projects(void **state)
{
	(void)state;
	listed = "Fs";
	assert_int_equal(pick(pending_resumable, KT_ROTATION_MASTER), OTHER);
	assert_string_equal(kt_err_detail(),
			    "the unfinished rotation is of the key of project "
			    "'payments'");
	assert_int_equal(pick(pending_reversible, KT_ROTATION_MASTER), OTHER);
	assert_int_equal(pick(pending_finishable, KT_ROTATION_MASTER), NONE);
	listed = "dD";
	assert_int_equal(pick(pending_finishable, KT_ROTATION_MASTER), OTHER);
	listed = "SD";
	assert_int_equal(pick(pending_resumable, KT_ROTATION_MASTER), 0);
	assert_int_equal(pick(pending_finishable, KT_ROTATION_MASTER), 1);
}

static int blocker(enum kt_rotation_kind kind, const char *project)
{
	const struct rotate_target target = {kind, project};
	struct kt_rotation r;
	enum kt_err err = pending_blocker(NULL, &target, &r);

	return err == KT_OK ? (int)r.resumed : -(int)err;
}

static void blocks_what_must_wait(void **state)
{
	static const struct {
		const char *list;
		int master, same, another;
	} cases[] = {
		{"fFrR", NONE, NONE, NONE},
		{"s", 0, 0, 0},
		{"S", 0, 0, 0},
		{"B", 0, 0, 0},
		{"D", 0, NONE, NONE},
		{"d", NONE, 0, NONE},
		{"c", NONE, 0, NONE},
		{"dDs", 2, 2, 2},
		{"dD", 1, 0, NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		listed = cases[i].list;
		assert_int_equal(blocker(KT_ROTATION_MASTER, NULL),
				 cases[i].master);
		assert_int_equal(blocker(KT_ROTATION_PROJECT, "payments"),
				 cases[i].same);
		assert_int_equal(blocker(KT_ROTATION_PROJECT, "web"),
				 cases[i].another);
	}
}

static void refusal_names_who_and_since_when(void **state)
{
	struct kt_rotation r;

	(void)state;
	listed = "D";
	r = play(0);
	assert_int_equal(pending_refuse(&r), KT_ERR_BUSY);
	assert_string_equal(kt_err_detail(),
			    "the rotation of the master key by alice@host, "
			    "begun 1970-01-01T00:16:40Z, is not finished "
			    "(draining)");
	assert_string_equal(kt_err_hint(), "keyturn master finish, or keyturn "
					   "master rollback");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(picks_what_the_engine_takes),
		cmocka_unit_test(master_refuses_a_projects),
		cmocka_unit_test(blocks_what_must_wait),
		cmocka_unit_test(refusal_names_who_and_since_when),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
