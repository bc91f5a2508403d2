/*
 *	model [--seed S] [--steps N] [--minutes M]
 *
 * Runs operations of one seed after another against a vault of their own and
 * compares with a model of what must be true (model.h). Each run is a process:
 * `model --run S N [WITHOUT [SCRIPT]]`. One that fails is shrunk, by leaving
 * operations out for as long as it still fails, and what is left is printed as
 * commands. Exit status 1 when there was a finding.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/torture/model.h"
#include "tests/torture/model_shrink.h"

#define STEPS 1000       /* of a run */
#define COMPARE_EVERY 40 /* steps */

bool finding(struct run *r, const char *format, ...)
{
	va_list args;

	printf("model: step %u, %s: ", r->step, r->what);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	fflush(stdout);
	return false;
}

bool expect_code(struct run *r, enum kt_err want, enum kt_err got)
{
	if (want == got)
		return true;
	return finding(r, "'%s' where '%s' is right%s%s", kt_err_name(got),
		       kt_err_name(want), got == KT_OK ? "" : ": ",
		       got == KT_OK ? "" : kt_err_detail());
}

static int unfinished_slot(const struct model *m, int slot)
{
	for (int i = 0; i < SLOTS; i++) {
		if (m->rotation[(slot + i) % SLOTS].unfinished)
			return (slot + i) % SLOTS;
	}
	return slot;
}

/* What goes on with a rotation mostly finds one that is unfinished. A secret
 * that is full is deleted, so that there is always room. */
static struct op settle_op(const struct run *r, uint64_t seed)
{
	struct op op = op_make(seed, r->step);
	const struct m_secret *s =
		&r->model.project[op.project].secret[op.secret];
	const struct m_keys *keys;

	if (op.kind >= OP_RESUME && op.kind <= OP_FINISH && op.flag % 4 < 3)
		op.slot = unfinished_slot(&r->model, op.slot);
	if (op.kind == OP_SET && s->versions == VERSIONS)
		op.kind = OP_DELETE;
	keys = op.slot == 0 ? &r->model.master
			    : &r->model.project[op.slot - 1].keys;
	if (keys->highest > KEYS - 4 || r->objects > OBJECTS - 8)
		op.kind = OP_GET;
	return op;
}

static bool reopen(struct run *r)
{
	vault_close(r);
	vault_open(r);
	return true;
}

static bool run_op(struct run *r, const struct op *op)
{
	if (op->how != IN_PROCESS || op->kind == OP_SECOND_OPERATOR)
		return run_by_command(r, op);
	if (op->kind <= OP_IMPORT)
		return run_secret(r, op);
	if (op->kind <= OP_PROJECT_DELETE)
		return run_project(r, op);
	if (op->kind <= OP_USE)
		return run_access(r, op);
	if (op->kind <= OP_DRY_RUN)
		return run_rotation(r, op);
	if (op->kind <= OP_FORGET)
		return run_backup(r, op);
	return op->kind == OP_REOPEN ? reopen(r) : compare_all(r);
}

static void count_rotations(struct run *r)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct m_rotation *was = &r->before.rotation[i];
		const struct m_rotation *is = &r->model.rotation[i];

		if (!is->known || is->unfinished ||
		    (!was->unfinished &&
		     memcmp(&was->id, &is->id, sizeof(was->id)) == 0))
			continue;
		if (is->phase == KT_ROTATION_ROLLED_BACK)
			r->counts.rollbacks++;
		else
			r->counts.rotations++;
	}
}

static bool run_step(struct run *r, uint64_t seed)
{
	struct op op = settle_op(r, seed);

	r->what = op_name(op.kind);
	r->before = r->model;
	if (op.kind == OP_BACKUP && r->files < FILES - 3)
		file_new(r, NULL);
	r->writing = r->script != NULL;
	if (r->writing)
		script_write(r, &op);
	r->writing = false;
	if (!run_op(r, &op))
		return false;
	count_rotations(r);
	r->counts.steps++;
	return true;
}

static bool run_all(struct run *r, uint64_t seed, uint32_t steps,
		    const bool *without)
{
	for (r->step = 0; r->step < steps; r->step++) {
		if ((without == NULL || !without[r->step]) &&
		    !run_step(r, seed))
			return false;
		if ((r->step + 1) % COMPARE_EVERY != 0 && r->step + 1 != steps)
			continue;
		r->what = op_name(OP_COMPARE);
		if (!compare_all(r))
			return false;
	}
	return true;
}

/* The last line is for the process that started this one. */
static int run_seed(uint64_t seed, uint32_t steps, const char *without_file,
		    const char *script)
{
	CLEANUP(freep) bool *without = calloc(steps, sizeof(*without));
	struct run *r = calloc(1, sizeof(*r));
	const struct counts *c = &r->counts;
	bool good;

	if (r == NULL || without == NULL)
		return 2;
	r->what = "start";
	if (without_file != NULL)
		shrink_read(without_file, without, steps);
	place_make(r, seed);
	if (script != NULL)
		r->script = fopen(script, "w");
	good = run_all(r, seed, steps, without_file == NULL ? NULL : without);
	if (r->script != NULL)
		fclose(r->script);
	printf("counts %u %ld %ld %ld %ld %ld %ld %ld %ld\n", r->step, c->steps,
	       c->crashes, c->rotations, c->rollbacks, c->restores, c->compares,
	       c->values, c->torn);
	place_remove(r);
	free(r);
	return good ? 0 : 1;
}

static void add(struct counts *sum, const struct counts *c)
{
	sum->steps += c->steps;
	sum->crashes += c->crashes;
	sum->rotations += c->rotations;
	sum->rollbacks += c->rollbacks;
	sum->restores += c->restores;
	sum->compares += c->compares;
	sum->values += c->values;
	sum->torn += c->torn;
}

struct plan {
	uint64_t seed;
	uint64_t steps; /* 0: as many as there is time for */
	long minutes;
};

static bool goes_on(const struct plan *plan, uint64_t steps, time_t began)
{
	if (plan->steps != 0 && steps >= plan->steps)
		return false;
	return plan->minutes == 0 || time(NULL) < began + plan->minutes * 60;
}

static void print_sum(uint64_t seed, const struct counts *c, bool good)
{
	printf("model: seed %llu, %ld steps, %ld crashes, %ld rotations, %ld "
	       "rollbacks, %ld restores, %ld comparisons of %ld values, token "
	       "file torn %ld times: %s\n",
	       (unsigned long long)seed, c->steps, c->crashes, c->rotations,
	       c->rollbacks, c->restores, c->compares, c->values, c->torn,
	       good ? "no finding" : "FINDING");
}

/* A run has at most STEPS, each with a new seed, the next number. */
static int run_plan(const struct plan *plan)
{
	time_t began = time(NULL);
	uint64_t seed = plan->seed, steps = 0;
	struct counts sum = {0}, c;
	bool good = true;

	for (; good && goes_on(plan, steps, began); seed++) {
		uint64_t left = plan->steps != 0 ? plan->steps - steps : STEPS;
		uint32_t now = left < STEPS ? (uint32_t)left : STEPS;

		printf("model: seed %llu\n", (unsigned long long)seed);
		fflush(stdout);
		good = attempt(seed, now, NULL, NULL, true, &c) == 0;
		add(&sum, &c);
		steps += now;
		if (!good)
			shrink(seed, now, &c);
	}
	print_sum(seed - 1, &sum, good);
	return good ? 0 : 1;
}

__attribute__((noreturn)) static void usage(void)
{
	fprintf(stderr, "usage: model [--seed S] [--steps N] [--minutes M]\n");
	exit(2);
}

static unsigned long long number(const char *text)
{
	unsigned long long value;
	char *end;

	errno = 0;
	value = text == NULL ? 0 : strtoull(text, &end, 10);
	if (text == NULL || end == text || *end != '\0' || errno != 0)
		usage();
	return value;
}

int main(int argc, char **argv)
{
	struct plan plan = {(uint64_t)time(NULL), 0, 0};

	if (argc >= 4 && strcmp(argv[1], "--run") == 0)
		return run_seed(number(argv[2]), (uint32_t)number(argv[3]),
				argc > 4 && argv[4][0] != '\0' ? argv[4] : NULL,
				argc > 5 ? argv[5] : NULL);
	for (int i = 1; i < argc; i += 2) {
		unsigned long long value = number(argv[i + 1]);

		if (strcmp(argv[i], "--seed") == 0)
			plan.seed = value;
		else if (strcmp(argv[i], "--steps") == 0)
			plan.steps = value;
		else if (strcmp(argv[i], "--minutes") == 0)
			plan.minutes = (long)value;
		else
			usage();
	}
	if (plan.steps == 0 && plan.minutes == 0)
		plan.steps = STEPS;
	return run_plan(&plan);
}
