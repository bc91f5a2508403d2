/*
 * Crash points: places where a test ends, kills or stops the process, to show
 * that what is committed is enough to go on from. They exist only where
 * KEYTURN_CRASH_POINTS is defined; elsewhere a point is nothing, not even its
 * name. A point enters its name into a section of the program by itself, so
 * that the list is complete whatever the tests know.
 */
#ifndef BASE_CRASH_H
#define BASE_CRASH_H

#include <stdbool.h>
#include <stddef.h>

#ifdef KEYTURN_CRASH_POINTS

/* name: a literal, not used anywhere else in the program. */
#define CRASH_POINT(name)                                                      \
	do {                                                                   \
		static const char *const crash_point                           \
			__attribute__((used, section("crash_points"))) = name; \
		crash_pass(crash_point);                                       \
	} while (0)

/* Arms one point from "NAME:NTH:SIGNAL", SIGNAL one of KILL, TERM and STOP:
 * the process sends itself the signal at its NTH pass. "trace" arms none but
 * writes the name of each point that is passed to stderr, so that a test knows
 * how often it can crash where. False when text is neither, or names no point.
 */
bool crash_arm(const char *text);

void crash_pass(const char *name);

/* The names in this program; NULL from the last one on. */
const char *crash_name(size_t index);

#else

#define CRASH_POINT(name) ((void)0)

#endif

#endif
