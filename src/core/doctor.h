/*
 * The doctor's checks. A check is a row of a table and a function that fills a
 * finding; an error it returns counts as a failure with the error's detail.
 * Which of the four needs are met decides which checks run.
 */
#ifndef CORE_DOCTOR_H
#define CORE_DOCTOR_H

#include <sys/types.h>

#include "core/open.h"

/* What a check works on. A vault that does not open may still have a store, a
 * token, or neither. */
enum check_need {
	NEED_NOTHING,
	NEED_STORE, /* open, its rows unchecked */
	NEED_TOKEN, /* open and logged in */
	NEED_VAULT, /* both, and every row that is read is checked */
};

struct doctor {
	const struct kt_params *params;
	struct kt_vault *vault; /* store and token hang on it; may be NULL */
	bool unlocked;
	enum kt_err (*each)(void *arg, const struct kt_check *check);
	void *arg;
	size_t ran;
	size_t failed;
};

struct finding {
	enum kt_check_result result;
	char detail[1024];
	char fix[512];
};

struct check {
	const char *id;
	const char *title;
	enum check_need need;
	enum kt_err (*run)(struct doctor *doctor, struct finding *ret);
	const char *fix; /* where the finding brings none of its own */
};

extern const struct check doctor_host_checks[];
extern const size_t doctor_host_count;
extern const struct check doctor_token_checks[];
extern const size_t doctor_token_count;
extern const struct check doctor_store_checks[];
extern const size_t doctor_store_count;
extern const struct check doctor_row_checks[];
extern const size_t doctor_row_count;

/* The text is cut to size. The three with a result in their name return KT_OK,
 * for "return finding_fail(...)". */
void finding_set(struct finding *f, enum kt_check_result result,
		 const char *format, ...) __attribute__((format(printf, 3, 4)));
enum kt_err finding_ok(struct finding *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
enum kt_err finding_warn(struct finding *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
enum kt_err finding_fail(struct finding *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
void finding_fix(struct finding *f, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Modes that a file must not have. systemd shows the access list of a
 * credential's service as group bits. */
#define REFUSE_WRITERS 022
#define REFUSE_READERS 077
#define REFUSE_READERS_BUT_GROUP 037

/* Owner is root or this user, and the file has none of the refused modes. */
enum kt_err file_guarded(const char *path, mode_t refused, struct finding *ret);

/* The keys a query gives, on the heap. The caller frees *ret. */
enum kt_err doctor_keys(struct doctor *doctor, enum store_query which,
			int64_t role, struct key_row **ret, size_t *ret_count);

/* Check D29, which the proof of a backup makes too: every wrapped key in use
 * has its wraps, and none hangs on a key that is gone. */
enum kt_err doctor_reachable_keys(struct doctor *doctor, struct finding *ret);

/* "master key version 2": for findings. */
struct key_text {
	char text[96];
};

struct key_text key_text(const struct key_row *key);

#endif
