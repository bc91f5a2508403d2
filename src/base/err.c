/*
 * The thread's last error: a code travels as the return value, the detail and
 * the hint wait here for whoever prints them.
 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define DETAIL_MAX 1024
#define HINT_MAX 512

static _Thread_local char detail[DETAIL_MAX];
static _Thread_local char hint[HINT_MAX];

static const struct {
	const char *name;
	int exit_status;
} errors[KT_ERR_MAX_] = {
	[KT_OK] = {"ok", 0},
	[KT_ERR_FAILED] = {"failed", 1},
	[KT_ERR_USAGE] = {"usage", 2},
	[KT_ERR_CONFIG] = {"config", 2},
	[KT_ERR_NOT_FOUND] = {"not-found", 3},
	[KT_ERR_DENIED] = {"denied", 4},
	[KT_ERR_BUSY] = {"busy", 5},
	[KT_ERR_EXISTS] = {"exists", 5},
	[KT_ERR_CONFLICT] = {"conflict", 5},
	[KT_ERR_TOKEN] = {"token", 6},
	[KT_ERR_POLICY] = {"policy", 6},
	[KT_ERR_SESSION] = {"session", 6},
	[KT_ERR_PIN] = {"pin", 7},
	[KT_ERR_STORE] = {"store", 8},
	[KT_ERR_SCHEMA] = {"schema", 8},
	[KT_ERR_INTEGRITY] = {"integrity", 9},
	[KT_ERR_ATTENTION] = {"attention", 10},
	[KT_ERR_PARTIAL] = {"partial", 11},
	[KT_ERR_INTERRUPTED] = {"interrupted", 130},
	[KT_ERR_MEMORY] = {"memory", 1},
	[KT_ERR_IO] = {"io", 1},
};

const char *kt_err_detail(void)
{
	return detail;
}

const char *kt_err_hint(void)
{
	return hint;
}

const char *kt_err_name(enum kt_err err)
{
	return (unsigned)err < KT_ERR_MAX_ ? errors[err].name : "unknown";
}

int kt_err_exit_status(enum kt_err err)
{
	return (unsigned)err < KT_ERR_MAX_ ? errors[err].exit_status : 1;
}

/* A detail is one line, whatever a name or a foreign message contains. */
static void flatten(char *text)
{
	for (; *text != '\0'; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			*text = '?';
	}
}

__attribute__((format(printf, 3, 0))) static void set(char *into, size_t size,
						      const char *format,
						      va_list args)
{
	char text[DETAIL_MAX];

	vsnprintf(text, sizeof(text), format, args);
	flatten(text);
	snprintf(into, size, "%s", text);
}

enum kt_err err_raise(enum kt_err err, const char *format, ...)
{
	va_list args;

	assert(err != KT_OK);
	va_start(args, format);
	set(detail, sizeof(detail), format, args);
	va_end(args);
	hint[0] = '\0';
	return err;
}

enum kt_err err_prefix(enum kt_err err, const char *format, ...)
{
	char front[DETAIL_MAX / 2];
	char old[DETAIL_MAX];
	va_list args;

	assert(err != KT_OK);
	va_start(args, format);
	set(front, sizeof(front), format, args);
	va_end(args);
	memcpy(old, detail, sizeof(old));
	snprintf(detail, sizeof(detail), "%s: %.500s", front, old);
	return err;
}

enum kt_err err_hint(enum kt_err err, const char *format, ...)
{
	va_list args;

	assert(err != KT_OK);
	va_start(args, format);
	set(hint, sizeof(hint), format, args);
	va_end(args);
	return err;
}

enum kt_err err_memory(void)
{
	return err_raise(KT_ERR_MEMORY, "out of memory");
}

static enum kt_err from_errno(int number)
{
	switch (number) {
	case ENOENT:
	case ENOTDIR:
		return KT_ERR_NOT_FOUND;
	case EEXIST:
		return KT_ERR_EXISTS;
	case ENOMEM:
		return KT_ERR_MEMORY;
	default:
		return KT_ERR_IO;
	}
}

enum kt_err err_errno(const char *format, ...)
{
	int number = errno;
	char what[DETAIL_MAX / 2];
	va_list args;

	va_start(args, format);
	set(what, sizeof(what), format, args);
	va_end(args);
	return err_raise(from_errno(number), "%s: %s", what, strerror(number));
}

void err_save(enum kt_err err, struct err_saved *ret)
{
	ret->err = err;
	memcpy(ret->detail, detail, sizeof(ret->detail));
	memcpy(ret->hint, hint, sizeof(ret->hint));
}

enum kt_err err_restore(const struct err_saved *saved)
{
	memcpy(detail, saved->detail, sizeof(detail));
	memcpy(hint, saved->hint, sizeof(hint));
	return saved->err;
}
