/*
 * The words about a rotation: what it turns, how far it came, what to type
 * next.
 */
#ifndef CLI_SUMMARY_H
#define CLI_SUMMARY_H

#include "cli/cli.h"

#define SUMMARY_SUBJECT_MAX (KT_NAME_MAX + 32)

/* "the master key", "the key of project 'x'". */
void summary_subject(enum kt_rotation_kind kind, const char *project,
		     char ret[SUMMARY_SUBJECT_MAX]);

/* Of all legs. */
int64_t summary_rewrapped(const struct kt_rotation *r);

/* Lines on stderr about a run that ended well. rows and milliseconds: of this
 * run alone. */
void summary_say(const struct cli *cli, const struct kt_rotation *r,
		 int64_t rows, int64_t milliseconds);

/* One line about a run that did not. */
void summary_say_stopped(const struct cli *cli, const struct kt_rotation *r);

/* The cut-over of a project revokes its access tokens. */
bool summary_tokens_are_revoked(const struct kt_rotation *r);

/* Says so, where it is so, and how to get a new one. */
void summary_say_tokens(const struct cli *cli, const struct kt_rotation *r);

/* The command that goes on with an unfinished rotation; static text. */
const char *summary_how_on(const struct kt_rotation *r);

#endif
