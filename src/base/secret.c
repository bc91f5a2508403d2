/*
 * The secure heap and what is done with a secret.
 */
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "base/err.h"
#include "base/file.h"

#define ARENA_MAX ((size_t)64 << 20)
#define ARENA_MIN ((size_t)4 << 20)
#define SMALLEST 32

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool locked;
static size_t arena_most = ARENA_MAX;

/* The largest power of two that the locking limit lets us lock. */
static size_t arena_size(void)
{
	struct rlimit limit;
	size_t size = ARENA_MAX;

	while (size > ARENA_MIN && size > arena_most)
		size /= 2;
	if (getrlimit(RLIMIT_MEMLOCK, &limit) != 0 || geteuid() == 0)
		return size;
	while (size > ARENA_MIN && size > limit.rlim_cur)
		size /= 2;
	return size;
}

static void make_arena(void)
{
#ifndef KEYTURN_PLAIN_HEAP /* the address sanitizer sees malloc only */
	locked = CRYPTO_secure_malloc_init(arena_size(), SMALLEST) == 1;
#else
	locked = arena_size() > 0;
#endif
}

void secret_heap_limit(size_t most)
{
	arena_most = most;
}

bool secret_heap_init(void)
{
	pthread_once(&once, make_arena);
	return locked;
}

enum kt_err secret_new(size_t len, struct kt_secret *ret)
{
	uint8_t *data;

	secret_heap_init();
	data = OPENSSL_secure_zalloc(len > 0 ? len : 1);
	if (data == NULL)
		return err_raise(KT_ERR_MEMORY,
				 "no secure memory left for %zu bytes", len);
	*ret = (struct kt_secret){data, len};
	return KT_OK;
}

void kt_secret_done(struct kt_secret *secret)
{
	if (secret == NULL)
		return;
	OPENSSL_secure_clear_free(secret->data,
				  secret->len > 0 ? secret->len : 1);
	*secret = (struct kt_secret){0};
}

enum kt_err kt_secret_copy(const void *data, size_t len, struct kt_secret *ret)
{
	TRY(secret_new(len, ret));
	if (len > 0)
		memcpy(ret->data, data, len);
	return KT_OK;
}

void secret_shrink(struct kt_secret *secret, size_t len)
{
	assert(len <= secret->len);
	wipe(secret->data + len, secret->len - len);
	secret->len = len;
}

bool secret_equal(const struct kt_secret *a, const struct kt_secret *b)
{
	return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}

void wipe(void *data, size_t len)
{
	OPENSSL_cleanse(data, len);
}

/* Doubles the room, moving what is there; the old room is wiped. */
static enum kt_err grow(struct kt_secret *room, size_t used, size_t max)
{
	CLEANUP(kt_secret_done) struct kt_secret larger = {0};
	size_t len = room->len * 2 > max ? max : room->len * 2;
	struct kt_secret old = *room;

	TRY(secret_new(len, &larger));
	memcpy(larger.data, room->data, used);
	*room = larger;
	larger = old;
	return KT_OK;
}

enum kt_err secret_read_fd(int fd, size_t max, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret room = {0};
	size_t used = 0;

	TRY(secret_new(max + 1 < 4096 ? max + 1 : 4096, &room));
	for (;;) {
		ssize_t n;

		if (used == room.len && used <= max)
			TRY(grow(&room, used, max + 1));
		n = read(fd, room.data + used, room.len - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return err_errno("cannot read the descriptor");
		if (n == 0)
			break;
		used += (size_t)n;
		if (used > max)
			return err_raise(KT_ERR_USAGE, "more than %zu bytes",
					 max);
	}
	secret_shrink(&room, used);
	*ret = room;
	room = (struct kt_secret){0};
	return KT_OK;
}

enum kt_err secret_read_file(const char *path, size_t max,
			     struct kt_secret *ret)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	enum kt_err err;

	if (fd < 0)
		return err_errno("%s", path);
	err = secret_read_fd(fd, max, ret);
	return err == KT_OK ? KT_OK : err_prefix(err, "%s", path);
}
