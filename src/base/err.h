/*
 * Raising and forwarding errors. An error is raised once, at its origin, with
 * a detail for people; callers forward it with TRY() or add to the front of
 * the detail with err_prefix().
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <keyturn/error.h>

#define TRY(call)                                                              \
	do {                                                                   \
		enum kt_err try_ = (call);                                     \
		if (try_ != KT_OK)                                             \
			return try_;                                           \
	} while (0)

/* Sets the detail, clears the hint, returns err. err is not KT_OK. */
enum kt_err err_raise(enum kt_err err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Puts "text: " in front of the detail; returns err. */
enum kt_err err_prefix(enum kt_err err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Sets the second line; returns err. */
enum kt_err err_hint(enum kt_err err, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* KT_ERR_MEMORY with its detail. */
enum kt_err err_memory(void);

/* Maps errno (ENOENT, EACCES, ENOSPC ...) and says "what: strerror". */
enum kt_err err_errno(const char *format, ...)
	__attribute__((format(printf, 1, 2)));

/* Keeps code, detail and hint over calls that may raise others: for cleanup
 * work after a failure. */
struct err_saved {
	enum kt_err err;
	char detail[1024];
	char hint[512];
};

void err_save(enum kt_err err, struct err_saved *ret);
enum kt_err err_restore(const struct err_saved *saved);

#endif
