/*
 * Looking for secrets in all writable memory of this process. Whoever looks
 * knows the complement only, so that he does not find himself.
 */
#ifndef TESTS_TPM2_COPIES_H
#define TESTS_TPM2_COPIES_H

#include <stddef.h>
#include <stdint.h>

#define COPY_LEN 32

size_t copies_of(const uint8_t complement[COPY_LEN]);

#endif
