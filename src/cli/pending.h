/*
 * Which unfinished rotation a command means. There may be several: one at
 * work, and others in their grace time. The engine is then told the id, so the
 * question a person answers is about the rotation that is touched.
 */
#ifndef CLI_PENDING_H
#define CLI_PENDING_H

#include "cli/cli.h"

/* Which key is rotated. */
struct rotate_target {
	enum kt_rotation_kind kind;
	const char *project; /* NULL for the master */
};

/* text: an id, or NULL for the newest rotation of this kind (0: any) that the
 * verb applies to. KT_ERR_NOT_FOUND when there is none; KT_ERR_CONFLICT when
 * the one that is named has another kind. */
enum kt_err pending_resumable(struct cli *cli, enum kt_rotation_kind kind,
			      const char *text, struct kt_rotation *ret);
enum kt_err pending_reversible(struct cli *cli, enum kt_rotation_kind kind,
			       const char *text, struct kt_rotation *ret);
enum kt_err pending_finishable(struct cli *cli, enum kt_rotation_kind kind,
			       const char *text, struct kt_rotation *ret);

/* The unfinished rotation of a project's key; KT_ERR_NOT_FOUND. */
enum kt_err pending_of_project(struct cli *cli, const char *project,
			       struct kt_rotation *ret);

#endif
