/*
 * Reading a plan, and the names that plan and log have for things.
 */
#include "tests/p11fault/plan.h"

#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATUS_PLAN 70 /* EX_SOFTWARE: no program under test ends so */

#define NAME(name, ...) [FN_##name] = #name,
static const char *const functions[FN_MAX_] = {FUNCTIONS(NAME)};

enum need { NO_ARGUMENT, MAY_HAVE, MUST_HAVE };

static const struct {
	const char *name;
	bool output; /* it damages what a call gives back */
	enum need argument;
} actions[ACT_MAX_] = {
	[ACT_RV] = {"rv", false, MUST_HAVE},
	[ACT_KILL] = {"kill", false, MAY_HAVE},
	[ACT_DELAY] = {"delay", false, MUST_HAVE},
	[ACT_GONE] = {"gone", false, MUST_HAVE},
	[ACT_CORRUPT] = {"corrupt", true, NO_ARGUMENT},
	[ACT_FILL] = {"fill", true, MUST_HAVE},
	[ACT_SHORTEN] = {"shorten", true, NO_ARGUMENT},
	[ACT_FLAGS] = {"flags", true, MUST_HAVE},
};

#define CODE(name)                                                             \
	{                                                                      \
		"CKR_" #name, CKR_##name                                       \
	}

static const struct {
	const char *name;
	CK_RV rv;
} codes[] = {
	CODE(OK),
	CODE(CANCEL),
	CODE(HOST_MEMORY),
	CODE(SLOT_ID_INVALID),
	CODE(GENERAL_ERROR),
	CODE(FUNCTION_FAILED),
	CODE(ARGUMENTS_BAD),
	CODE(CANT_LOCK),
	CODE(ATTRIBUTE_READ_ONLY),
	CODE(ATTRIBUTE_SENSITIVE),
	CODE(ATTRIBUTE_TYPE_INVALID),
	CODE(ATTRIBUTE_VALUE_INVALID),
	CODE(DATA_INVALID),
	CODE(DATA_LEN_RANGE),
	CODE(DEVICE_ERROR),
	CODE(DEVICE_MEMORY),
	CODE(DEVICE_REMOVED),
	CODE(ENCRYPTED_DATA_INVALID),
	CODE(ENCRYPTED_DATA_LEN_RANGE),
	CODE(FUNCTION_CANCELED),
	CODE(FUNCTION_NOT_SUPPORTED),
	CODE(KEY_HANDLE_INVALID),
	CODE(KEY_SIZE_RANGE),
	CODE(KEY_TYPE_INCONSISTENT),
	CODE(KEY_FUNCTION_NOT_PERMITTED),
	CODE(KEY_NOT_WRAPPABLE),
	CODE(KEY_UNEXTRACTABLE),
	CODE(MECHANISM_INVALID),
	CODE(MECHANISM_PARAM_INVALID),
	CODE(OBJECT_HANDLE_INVALID),
	CODE(OPERATION_ACTIVE),
	CODE(OPERATION_NOT_INITIALIZED),
	CODE(PIN_INCORRECT),
	CODE(PIN_INVALID),
	CODE(PIN_LEN_RANGE),
	CODE(PIN_EXPIRED),
	CODE(PIN_LOCKED),
	CODE(SESSION_CLOSED),
	CODE(SESSION_COUNT),
	CODE(SESSION_HANDLE_INVALID),
	CODE(SESSION_READ_ONLY),
	CODE(SIGNATURE_INVALID),
	CODE(SIGNATURE_LEN_RANGE),
	CODE(TEMPLATE_INCOMPLETE),
	CODE(TEMPLATE_INCONSISTENT),
	CODE(TOKEN_NOT_PRESENT),
	CODE(TOKEN_NOT_RECOGNIZED),
	CODE(TOKEN_WRITE_PROTECTED),
	CODE(UNWRAPPING_KEY_HANDLE_INVALID),
	CODE(USER_ALREADY_LOGGED_IN),
	CODE(USER_NOT_LOGGED_IN),
	CODE(USER_PIN_NOT_INITIALIZED),
	CODE(USER_TYPE_INVALID),
	CODE(WRAPPED_KEY_INVALID),
	CODE(WRAPPED_KEY_LEN_RANGE),
	CODE(WRAPPING_KEY_HANDLE_INVALID),
	CODE(RANDOM_NO_RNG),
	CODE(BUFFER_TOO_SMALL),
	CODE(CRYPTOKI_NOT_INITIALIZED),
	CODE(CRYPTOKI_ALREADY_INITIALIZED),
};

#define CODES (sizeof(codes) / sizeof(codes[0]))

void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fputs("p11fault: ", stderr);
	vfprintf(stderr, format, args);
	fputc('\n', stderr);
	va_end(args);
	_exit(STATUS_PLAN);
}

const char *function_name(enum function f)
{
	return functions[f];
}

const char *action_name(enum action action)
{
	return actions[action].name;
}

const char *code_name(CK_RV rv, char *room, size_t size)
{
	for (size_t i = 0; i < CODES; i++) {
		if (codes[i].rv == rv)
			return codes[i].name;
	}
	snprintf(room, size, "0x%08lx", rv);
	return room;
}

static enum function parse_function(const char *word)
{
	int f = 0;

	if (strcmp(word, "*") == 0)
		return FN_MAX_;
	while (f < FN_MAX_ && strcmp(word, functions[f]) != 0)
		f++;
	if (f == FN_MAX_)
		die("plan: no function '%s'", word);
	return (enum function)f;
}

/* "3", "3-5", "3+" or "*" */
static void parse_range(const char *word, struct rule *rule)
{
	char *end;

	rule->first = 1;
	rule->last = LONG_MAX;
	if (strcmp(word, "*") == 0)
		return;
	rule->first = strtol(word, &end, 10);
	if (strcmp(end, "+") == 0)
		end++;
	else if (*end == '-')
		rule->last = strtol(end + 1, &end, 10);
	else
		rule->last = rule->first;
	if (*end != '\0' || rule->first < 1 || rule->last < rule->first)
		die("plan: '%s' is not a number of calls", word);
}

static enum when parse_when(const char *word)
{
	if (strcmp(word, "before") == 0)
		return BEFORE;
	if (strcmp(word, "after") != 0)
		die("plan: '%s' is neither before nor after", word);
	return AFTER;
}

static unsigned long parse_number(const char *word)
{
	char *end;
	unsigned long value = strtoul(word, &end, 0);

	if (*end != '\0' || end == word)
		die("plan: '%s' is neither a number nor a known code", word);
	return value;
}

static unsigned long parse_argument(enum action action, const char *word)
{
	if (*word == '\0' && actions[action].argument == MUST_HAVE)
		die("plan: %s of what?", actions[action].name);
	if (*word != '\0' && actions[action].argument == NO_ARGUMENT)
		die("plan: %s takes no argument", actions[action].name);
	if (*word == '\0')
		return action == ACT_KILL ? SIGKILL : 0;
	for (size_t i = 0; action == ACT_RV && i < CODES; i++) {
		if (strcmp(word, codes[i].name) == 0)
			return codes[i].rv;
	}
	return parse_number(word);
}

static void parse_action(const char *word, const char *argument,
			 struct rule *rule)
{
	int action = 0;

	while (action < ACT_MAX_ && strcmp(word, actions[action].name) != 0)
		action++;
	if (action == ACT_MAX_)
		die("plan: no action '%s'", word);
	rule->action = (enum action)action;
	rule->argument = parse_argument(rule->action, argument);
	if (actions[action].output && rule->when == BEFORE)
		die("plan: before a call there is nothing to %s", word);
	if (rule->action == ACT_FLAGS && rule->function != FN_C_GetTokenInfo)
		die("plan: only C_GetTokenInfo has flags");
}

static void parse_line(char *line, struct plan *plan)
{
	char function[64], range[32], when[16], action[16], argument[64] = "";
	char rest[2] = "";
	struct rule *rule = &plan->rules[plan->count];
	int words;

	line[strcspn(line, "#\n")] = '\0';
	words = sscanf(line, "%63s %31s %15s %15s %63s %1s", function, range,
		       when, action, argument, rest);
	if (words <= 0)
		return;
	if (words < 4 || words > 5)
		die("plan: not a rule: '%s'", line);
	if (plan->count == RULES_MAX)
		die("plan: more than %d rules", RULES_MAX);
	rule->function = parse_function(function);
	parse_range(range, rule);
	rule->when = parse_when(when);
	parse_action(action, argument, rule);
	plan->count++;
}

void plan_read(const char *path, struct plan *ret)
{
	char line[256];
	FILE *file;

	ret->count = 0;
	if (path == NULL)
		return;
	file = fopen(path, "re");
	if (file == NULL)
		die("cannot read the plan %s", path);
	while (fgets(line, sizeof(line), file) != NULL)
		parse_line(line, ret);
	fclose(file);
}
