/*
 * The plan of a run: which call of which function fails, and how. Read once,
 * when the module is loaded; what cannot be understood ends the process with
 * status 70, so that a test never takes a slip in its plan for a result.
 */
#ifndef P11FAULT_PLAN_H
#define P11FAULT_PLAN_H

#include "tests/p11fault/functions.h"

enum when { BEFORE, AFTER };

enum action {
	ACT_RV,      /* argument: the return code */
	ACT_KILL,    /* argument: the signal */
	ACT_DELAY,   /* argument: milliseconds */
	ACT_GONE,    /* argument: so many calls find no token */
	ACT_CORRUPT, /* flips a bit of the output */
	ACT_FILL,    /* argument: every byte of the output */
	ACT_SHORTEN, /* the output's length or count says one less */
	ACT_FLAGS,   /* argument: flags that C_GetTokenInfo shows more */
	ACT_MAX_
};

struct rule {
	enum function function; /* FN_MAX_: any */
	long first, last;
	enum when when;
	enum action action;
	unsigned long argument;
};

#define RULES_MAX 64

struct plan {
	struct rule rules[RULES_MAX];
	size_t count;
};

/* An empty plan where path is NULL. */
void plan_read(const char *path, struct plan *ret);

const char *function_name(enum function f);
const char *action_name(enum action action);

/* "CKR_OK"; "0x80000001" for a code that has no name, in room. */
const char *code_name(CK_RV rv, char *room, size_t size);

__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format,
							 ...);

#endif
