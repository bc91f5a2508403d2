/*
 * Scope-bound ownership: a variable marked CLEANUP(fn) gives back what it
 * holds when its scope ends, on every path. fn takes a pointer to the variable
 * and accepts an empty one. TAKE() moves the value out.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stddef.h>
#include <stdlib.h>

#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Defines fn##p(type **) that calls fn(type *) on what the variable holds. */
#define DEFINE_CLEANUP(type, fn)                                               \
	static inline void fn##p(type **held)                                  \
	{                                                                      \
		fn(*held);                                                     \
	}

#define TAKE(p)                                                                \
	({                                                                     \
		__typeof__(p) taken_ = (p);                                    \
		(p) = NULL;                                                    \
		taken_;                                                        \
	})

static inline void freep(void *held)
{
	free(*(void **)held);
}

#endif
