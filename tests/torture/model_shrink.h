/*
 * Making a failing run small: the same seed without most of its operations.
 */
#ifndef TESTS_TORTURE_MODEL_SHRINK_H
#define TESTS_TORTURE_MODEL_SHRINK_H

#include "tests/torture/model.h"

/* A run in a process of its own, so that one that dies is a finding too;
 * without and script may be NULL, show: what it prints is seen. Its exit
 * status; *ret is what it counted. */
int attempt(uint64_t seed, uint32_t steps, const char *without,
	    const char *script, bool show, struct counts *ret);

/* Prints the smallest script that was found in a bounded time. was: of the run
 * that failed. */
void shrink(uint64_t seed, uint32_t steps, const struct counts *was);

/* The numbers of a file, one a line. */
void shrink_read(const char *path, bool *without, uint32_t steps);

/* An operation as a line of the script of a run. */
void script_write(struct run *r, const struct op *op);

#endif
