/*
 * Secret bytes live on OpenSSL's secure heap: one locked, undumped arena,
 * wiped on free. Nothing here prints or copies them to other memory.
 */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <keyturn/types.h>

#include "base/cleanup.h"

/* Makes the arena, once per process; later calls do nothing. Called by
 * kt_vault_open() and by main(). False: the arena is there but not locked. */
bool secret_heap_init(void);

/* The arena, when it is made, is no larger than this: for a module in somebody
 * else's process. Not below 4 MiB. */
void secret_heap_limit(size_t most);

/* New zeroed secret of len bytes; len 0 gives data that is not NULL. */
enum kt_err secret_new(size_t len, struct kt_secret *ret);

/* Shortens to len, wiping the rest; len is not larger than before. */
void secret_shrink(struct kt_secret *secret, size_t len);

/* Constant time for equal lengths. */
bool secret_equal(const struct kt_secret *a, const struct kt_secret *b);

/* Wipes memory that the compiler would otherwise leave. */
void wipe(void *data, size_t len);

/* Reads fd to its end, at most max bytes: one more is KT_ERR_USAGE. */
enum kt_err secret_read_fd(int fd, size_t max, struct kt_secret *ret);

/* The same for a regular file or pipe by name. */
enum kt_err secret_read_file(const char *path, size_t max,
			     struct kt_secret *ret);

#endif
