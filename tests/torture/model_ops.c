/*
 * Which operations there are and how often; an operation from a seed and a
 * number.
 */
#include <stdlib.h>
#include <string.h>

#include "tests/torture/model.h"

static const struct {
	const char *name;
	uint32_t weight;
	uint32_t crashes; /* of a hundred */
} kinds[OP_KIND_MAX_] = {
	[OP_SET] = {"secret set", 260, 15},
	[OP_GET] = {"secret get", 60, 0},
	[OP_DELETE] = {"secret delete", 40, 15},
	[OP_IMPORT] = {"secret import", 40, 25},
	[OP_PROJECT_CREATE] = {"project create", 80, 15},
	[OP_PROJECT_DELETE] = {"project delete", 15, 30},
	[OP_ISSUE] = {"access issue", 50, 10},
	[OP_REVOKE] = {"access revoke", 30, 15},
	[OP_USE] = {"use of an access token", 90, 0},
	[OP_ROTATE] = {"rotate", 90, 35},
	[OP_RESUME] = {"rotation resume", 70, 50},
	[OP_ROLLBACK] = {"rotation rollback", 30, 50},
	[OP_FINISH] = {"rotation finish", 60, 50},
	[OP_MARK] = {"compromise", 15, 0},
	[OP_LEAVE] = {"compromise, rotating", 25, 50},
	[OP_REENCRYPT] = {"compromise, encrypting again", 14, 40},
	[OP_DESTROY] = {"master destroy", 45, 30},
	[OP_DRY_RUN] = {"rotate -n", 8, 0},
	[OP_BACKUP] = {"backup create", 20, 30},
	[OP_BACKUP_VERIFY] = {"backup verify", 8, 0},
	[OP_RESTORE] = {"backup restore", 16, 30},
	[OP_FORGET] = {"backup forget", 30, 15},
	[OP_SECOND_OPERATOR] = {"second operator", 20, 0},
	[OP_REOPEN] = {"reopen", 25, 0},
	[OP_COMPARE] = {"compare all", 0, 0},
};

const char *op_name(enum op_kind kind)
{
	return kinds[kind].name;
}

/* splitmix64, by Sebastiano Vigna. */
static uint32_t next(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return (uint32_t)((z ^ (z >> 31)) >> 16);
}

static enum op_kind make_kind(uint64_t *state)
{
	uint32_t sum = 0, at;
	int kind = 0;

	for (int i = 0; i < OP_KIND_MAX_; i++)
		sum += kinds[i].weight;
	at = next(state) % sum;
	while (at >= kinds[kind].weight)
		at -= kinds[kind++].weight;
	return (enum op_kind)kind;
}

/* Most values are short, some fill blocks, few are long. */
static uint32_t make_size(uint64_t *state)
{
	switch (next(state) % 8) {
	case 0:
		return next(state) % 2;
	case 1:
		return next(state) % (64 * 1024 + 1);
	case 2:
		return next(state) % 4096;
	default:
		return next(state) % 64;
	}
}

struct op op_make(uint64_t seed, uint32_t number)
{
	uint64_t state = seed * 0x100000001b3 + number;
	struct op op = {.kind = make_kind(&state)};
	bool crashes = next(&state) % 100 < kinds[op.kind].crashes;

	op.how = !crashes                ? IN_PROCESS
		 : next(&state) % 3 == 0 ? AFTER_A_WHILE
					 : AT_POINT;
	op.project = (int)(next(&state) % PROJECTS);
	op.secret = (int)(next(&state) % SECRETS);
	op.slot = (int)(next(&state) % SLOTS);
	op.pick = next(&state);
	op.flag = next(&state);
	op.batch = 1 + next(&state) % 6;
	op.stop = next(&state) % 2 == 0 ? 0 : 1 + next(&state) % 12;
	op.point = next(&state);
	op.pass = 1 + next(&state) % 4 % 3;
	op.delay_us = next(&state) % 200000;
	op.value.seed = next(&state) % 1000000;
	op.value.len = make_size(&state);
	return op;
}

char *value_text(const struct m_value *value)
{
	char *text = malloc(value->len + 16);
	char line[16];
	size_t len;

	if (text == NULL)
		return NULL;
	snprintf(line, sizeof(line), "v%u\n", value->seed);
	len = strlen(line);
	for (size_t i = 0; i < value->len; i++)
		text[i] = line[i % len];
	text[value->len] = '\0';
	return text;
}
