/*
 * Which unfinished rotation a command means. There may be several: one at
 * work, and others in their grace time. The rules are the engine's, so that
 * the question a person answers is about the rotation that is then touched.
 */
#ifndef CLI_PENDING_H
#define CLI_PENDING_H

#include "cli/cli.h"

/* Which key is rotated. */
struct rotate_target {
	enum kt_rotation_kind kind;
	const char *project; /* NULL for the master */
};

/* kind 0: any. KT_ERR_NOT_FOUND when there is none; KT_ERR_CONFLICT when the
 * engine would take one of the other kind first. */
enum kt_err pending_resumable(struct cli *cli, enum kt_rotation_kind kind,
			      struct kt_rotation *ret);
enum kt_err pending_reversible(struct cli *cli, enum kt_rotation_kind kind,
			       struct kt_rotation *ret);
enum kt_err pending_finishable(struct cli *cli, enum kt_rotation_kind kind,
			       struct kt_rotation *ret);

/* What does not let a rotation of target begin: any at work, or an unfinished
 * one of the same key. KT_ERR_NOT_FOUND: nothing. */
enum kt_err pending_blocker(struct cli *cli, const struct rotate_target *target,
			    struct kt_rotation *ret);

/* KT_ERR_BUSY with its operator and time, and the way on. */
enum kt_err pending_refuse(const struct kt_rotation *blocker);

#endif
