/*
 * The shape of a key wrap vector.
 */
#ifndef TESTS_UNIT_VECTORS_H
#define TESTS_UNIT_VECTORS_H

#include <stddef.h>
#include <stdint.h>

struct octets {
	uint8_t data[40];
	size_t len;
};

struct key_wrap_vector {
	const char *source;
	struct octets kek, key, wrapped;
};

#endif
