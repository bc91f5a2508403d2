/*
 * What the gate found on the token, made short for people.
 */
#ifndef CLI_GATE_H
#define CLI_GATE_H

#include <stddef.h>

/* findings: "NAME=pass NAME=known NAME=fail ...", as in struct kt_status.
 * ret: "17 pass", or "15 pass, known: NAME, fail: NAME NAME". */
void gate_summary(const char *findings, char *ret, size_t size);

#endif
