/*
 * The word with a caller during long work. What it does not want is NULL.
 */
#ifndef CORE_PROGRESS_H
#define CORE_PROGRESS_H

#include <keyturn/rotation.h>

#include "base/err.h"

/* Says where the work is. */
void progress_report(const struct kt_progress *progress, const char *step,
		     int64_t done, int64_t total);

/* KT_ERR_INTERRUPTED when the caller asked to stop. */
enum kt_err progress_check_stop(const struct kt_progress *progress);

#endif
