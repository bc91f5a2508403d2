/*
 * The search for copies.
 */
#include "tests/tpm2/copies.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include <cmocka.h>

static bool is_copy(const uint8_t *at, const uint8_t complement[COPY_LEN])
{
	for (size_t i = 0; i < COPY_LEN; i++) {
		if ((at[i] ^ complement[i]) != 0xff)
			return false;
	}
	return true;
}

static size_t copies_within(const uint8_t *from, const uint8_t *to,
			    const uint8_t complement[COPY_LEN])
{
	size_t n = 0;

	for (; to - from >= COPY_LEN; from++)
		n += is_copy(from, complement);
	return n;
}

size_t copies_of(const uint8_t complement[COPY_LEN])
{
	FILE *maps = fopen("/proc/self/maps", "r");
	char line[512], mode[8];
	size_t n = 0;

	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps) != NULL) {
		uintptr_t from, to;

		if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 &&
		    mode[0] == 'r' && mode[1] == 'w')
			n += copies_within((const uint8_t *)from,
					   (const uint8_t *)to, complement);
	}
	fclose(maps);
	return n;
}
