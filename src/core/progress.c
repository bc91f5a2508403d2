/*
 * Reports, and the question whether to go on.
 */
#include "core/progress.h"

void progress_report(const struct kt_progress *progress, const char *step,
		     int64_t done, int64_t total)
{
	if (progress->report != NULL)
		progress->report(progress->arg, step, done, total);
}

enum kt_err progress_check_stop(const struct kt_progress *progress)
{
	if (progress->stop == NULL || !progress->stop(progress->arg))
		return KT_OK;
	return err_raise(KT_ERR_INTERRUPTED, "stopped at a batch edge");
}
