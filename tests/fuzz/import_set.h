/*
 * What the two import targets have in common.
 */
#ifndef TESTS_FUZZ_IMPORT_SET_H
#define TESTS_FUZZ_IMPORT_SET_H

#include "cli/import_set.h"
#include "fuzz.h"

typedef enum kt_err import_reader(const char *file,
				  const struct kt_secret *text,
				  struct import_set *ret);

/* Reads from a copy that is gone afterwards. *ret is empty before; after an
 * error it still is. */
enum kt_err import_bytes(import_reader *read, const void *data, size_t len,
			 struct import_set *ret);

/* Names that the vault takes, each once. */
void must_be_importable(const struct import_set *set);

/* Same names, same values, same order. */
void must_be_equal(const struct import_set *a, const struct import_set *b);

#endif
