/*
 * A TCTI between a token and its TPM that a test commands: it counts, cuts,
 * answers in the TPM's place and writes down every byte that passes. Loaded by
 * its path, "PATH:TCTI BELOW"; the test links the same library.
 */
#ifndef TESTS_TPM2_SHIM_H
#define TESTS_TPM2_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No cut, no answers of its own, nothing counted, nothing written down. */
void shim_reset(void);

/* Commands that reached the TPM, of all or of one code. */
unsigned shim_count(void);
unsigned shim_count_of(uint32_t code);

/* From the n-th command on (1 is the next) there is no TPM; the n-th itself
 * is lost on its way there, or only its answer is. */
enum shim_cut { SHIM_CUT_COMMAND, SHIM_CUT_ANSWER };
void shim_cut_at(unsigned n, enum shim_cut how);
bool shim_was_cut(void);

/* The next times commands with this code (0: any), after skip others of it,
 * are answered with rc and do not reach the TPM. */
void shim_answer(uint32_t code, unsigned skip, unsigned times, uint32_t rc);

/* Flips a bit of the answer to the next command with this code. */
void shim_garble(uint32_t code, size_t offset);

/* Whether these bytes crossed the bus, in either direction, since reset. */
bool shim_saw(const void *bytes, size_t len);
size_t shim_logged(void);

#endif
