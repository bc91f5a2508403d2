/*
 * What may be a name. Names stand in references, audit entries and shells, so
 * nothing is folded, trimmed or escaped: a name is usable as it is, or refused.
 */
#ifndef CORE_NAMES_H
#define CORE_NAMES_H

#include "base/err.h"

/* 1 to 255 of [a-z0-9._-], beginning with a letter or a digit; KT_ERR_USAGE. */
enum kt_err project_name_check(const char *name);

/* 1 to 255 of [A-Za-z0-9._/-], not beginning with '-', '.' or '/'. */
enum kt_err secret_name_check(const char *name);

/* 0 to 255 printable ASCII characters. */
enum kt_err label_check(const char *label);

#endif
