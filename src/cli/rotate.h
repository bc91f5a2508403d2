/*
 * What every rotating command shares: options, the plan and its question, a
 * run with its progress, and the summary that says what comes next.
 */
#ifndef CLI_ROTATE_H
#define CLI_ROTATE_H

#include <keyturn/compromise.h>

#include "cli/pending.h"

struct rotate_flags {
	bool dry_run;
	int64_t batch_size, jobs; /* 0: the configuration's; OPT_WORD: auto */
	const char *reason;       /* NULL: none */
	int64_t grace;            /* seconds; -1: the configuration's */
	bool skip_quarantined;
};

/* Rows of an option array; member is a struct rotate_flags.
 * clang-format would spread them over the page. */
/* clang-format off */
#define ROTATE_PACE_OPTIONS(type, member)                                      \
	{"batch-size", 0, OPT_INT, offsetof(type, member.batch_size), "N",     \
	 "rows in one transaction, 1 to 10000 (default 1000)",                 \
	 .min = 1, .max = KT_BATCH_MAX},                                              \
	{"jobs", 0, OPT_INT, offsetof(type, member.jobs), "N",                 \
	 "calls at the token at once, 1 to 64 (default auto: what pays)",      \
	 .min = 1, .max = KT_JOBS_MAX, .word = "auto"}

#define ROTATE_SKIP_OPTION(type, member)                                       \
	{"skip-quarantined", 0, OPT_FLAG,                                      \
	 offsetof(type, member.skip_quarantined), NULL,                        \
	 "prove the good rows although others are bad"}

#define ROTATE_OPTIONS(type, member, grace_default)                            \
	{"dry-run", 'n', OPT_FLAG, offsetof(type, member.dry_run), NULL,       \
	 "try every row on the token, change nothing"},                      \
	ROTATE_PACE_OPTIONS(type, member),                                     \
	ROTATE_SKIP_OPTION(type, member),                                      \
	{"reason", 0, OPT_TEXT, offsetof(type, member.reason), "TEXT",         \
	 "why, for the record"},                                               \
	{"grace", 0, OPT_DURATION, offsetof(type, member.grace), "TIME",       \
	 "how long the way back stays open (default " grace_default ")"}
/* clang-format on */

/* Flags over the configuration; grace as in the flags. */
enum kt_err rotate_options(struct cli *cli, const struct rotate_flags *flags,
			   struct kt_rotate_options *ret);

/* Prints how many rows would be rewrapped and which would fail. */
enum kt_err rotate_dry_run(struct cli *cli, const struct rotate_target *target,
			   const struct kt_rotate_options *options);

/* Says the plan and asks. */
enum kt_err rotate_ask(struct cli *cli, const struct rotate_target *target,
		       const struct kt_rotate_options *options);

/* The work, with its progress and its summary. *ret is the record as it is
 * afterwards; written on success only. */
enum kt_err rotate_start(struct cli *cli, const struct rotate_target *target,
			 const struct kt_rotate_options *options,
			 struct kt_rotation *ret);
enum kt_err rotate_resume(struct cli *cli, const struct kt_rotation *unfinished,
			  const struct kt_rotate_options *options,
			  struct kt_rotation *ret);
/* Off a key that is marked as compromised; *ret is all zero where no rotation
 * was needed. */
enum kt_err rotate_compromised(struct cli *cli, const struct kt_key_ref *ref,
			       const struct kt_rotate_options *options,
			       struct kt_rotation *ret);

/* Option struct and run function of resume, rollback and finish, which are
 * the same under `master` (kind KT_ROTATION_MASTER) and `rotation` (0). id:
 * NULL for the newest that the verb applies to. */
struct resume_options {
	struct rotate_flags rotate;
};

struct finish_options {
	bool now;
};

enum kt_err resume_command(struct cli *cli, enum kt_rotation_kind kind,
			   const char *id, const struct resume_options *o);
enum kt_err rollback_command(struct cli *cli, enum kt_rotation_kind kind,
			     const char *id);
enum kt_err finish_command(struct cli *cli, enum kt_rotation_kind kind,
			   const char *id, const struct finish_options *o);

#endif
