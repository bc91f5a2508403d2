/*
 * What parent and workers of a history must see alike.
 */
#include "tests/torture/history_place.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "tests/unit/softhsm.h"

int64_t history_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* The worker of rotations lies beside this program. */
static void find_worker(char *ret, size_t size)
{
	ssize_t len = readlink("/proc/self/exe", ret, size - 1);
	char *slash;

	ret[len > 0 ? len : 0] = '\0';
	slash = strrchr(ret, '/');
	if (slash == NULL)
		abort();
	snprintf(slash, size - (size_t)(slash - ret), "/keyturn-worker");
}

void place_fill(const char *folder, struct place *ret)
{
	memset(ret, 0, sizeof(*ret));
	snprintf(ret->folder, sizeof(ret->folder), "%s", folder);
	snprintf(ret->uri, sizeof(ret->uri), "pkcs11:token=%s", SOFTHSM_LABEL);
	snprintf(ret->runtime_dir, sizeof(ret->runtime_dir), "%s/run", folder);
	snprintf(ret->store, sizeof(ret->store), "%s/vault.db", folder);
	find_worker(ret->worker, sizeof(ret->worker));
	ret->params = (struct kt_params){
		.token_uri = ret->uri,
		.module = SOFTHSM_MODULE,
		.pin = {.fd = -1, .environment = SOFTHSM_PIN},
		.runtime_dir = ret->runtime_dir,
		.worker = ret->worker,
		.store_path = ret->store,
		.operator_name = "history",
	};
}

const char *key_project(uint32_t key)
{
	return key < KEPT_KEYS ? "kept" : "gone";
}

const char *key_name(uint32_t key)
{
	static const char *const names[KEYS] = {"A", "B", "C", "D",
						"E", "F", "G", "H"};

	return names[key];
}

static size_t value_format(uint64_t value, char ret[VALUE_LEN_MAX])
{
	size_t padding = (size_t)(value * 2654435761U % 400);
	int len = snprintf(ret, VALUE_LEN_MAX, "%" PRIu64 "%*s", value,
			   (int)padding, "");

	return (size_t)len;
}

enum kt_err value_make(uint64_t value, struct kt_secret *ret)
{
	char text[VALUE_LEN_MAX];
	size_t len = value_format(value, text);

	return kt_secret_copy(text, len, ret);
}

uint64_t value_number(const struct kt_secret *secret)
{
	char seen[VALUE_LEN_MAX] = "", wanted[VALUE_LEN_MAX];
	uint64_t value;

	if (secret->len == 0 || secret->len >= sizeof(seen))
		return 0;
	memcpy(seen, secret->data, secret->len);
	value = strtoull(seen, NULL, 10);
	if (value_format(value, wanted) != secret->len ||
	    memcmp(seen, wanted, secret->len) != 0)
		return 0;
	return value;
}

void token_path(const struct place *place, uint32_t token, char ret[192])
{
	snprintf(ret, 192, "%s/token.%u", place->folder, token);
}

void complaints_path(const struct place *place, char ret[192])
{
	snprintf(ret, 192, "%s/complaints", place->folder);
}

void stop_path(const struct place *place, char ret[192])
{
	snprintf(ret, 192, "%s/stop", place->folder);
}

void events_path(const struct place *place, uint32_t process, char ret[192])
{
	snprintf(ret, 192, "%s/events.%u", place->folder, process);
}

void complain(const struct place *place, const char *who, enum kt_err err)
{
	char path[192], line[1536];
	int len = snprintf(line, sizeof(line), "%s: %s: %s\n", who,
			   kt_err_name(err), kt_err_detail());
	int fd;

	complaints_path(place, path);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, line, (size_t)len) != len)
		abort();
	close(fd);
}
