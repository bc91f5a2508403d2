/*
 * A fuzz target is one function over any bytes. Reading past an end is for the
 * sanitizers to find; what else must hold is said with must(), and the process
 * aborts where it does not. The same target runs under libFuzzer and, linked
 * with replay.c, as a plain test over its corpus.
 */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Returns 0; whatever is wrong with the code aborts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define must(claim)                                                            \
	do {                                                                   \
		if (!(claim))                                                  \
			fuzz_fail(#claim, __FILE__, __LINE__);                 \
	} while (0)

_Noreturn void fuzz_fail(const char *claim, const char *file, int line);

/* What is left of an input. Reading past its end gives zeros and shorter
 * pieces, so that every input means something. */
struct input {
	const uint8_t *at;
	size_t left;
};

uint8_t input_u8(struct input *input);
uint32_t input_u32(struct input *input);

/* At most len bytes on the heap, followed by a NUL that *ret_len does not
 * count. Only as large as that, so that a read behind it is seen. */
char *input_take(struct input *input, size_t len, size_t *ret_len);

/* The next line without its newline, ended by its first NUL; on the heap. */
char *input_line(struct input *input);

/* All that is left, ended by its first NUL; on the heap. */
char *input_text(struct input *input);

/* This text stands nowhere in the thread's detail and hint, which are clean
 * single lines. */
bool error_lacks(const char *text);

#endif
