/*
 * The life of a rotation, as pure functions of its record: times in, phase and
 * next action out. `resume`, `status` and the tests ask the same functions.
 */
#ifndef CORE_ROTATION_STATE_H
#define CORE_ROTATION_STATE_H

#include <keyturn/rotation.h>

#include "store/rows.h"

enum rotation_action {
	DO_NOTHING,    /* finished, one way or the other */
	DO_KEY,        /* make the new keys and prove them */
	DO_STAGE,      /* wrap every row under the new key too */
	DO_VERIFY,     /* read each new wrap back and prove it equal */
	DO_CUT_OVER,   /* make the new key the active one */
	DO_WAIT,       /* the grace time is not over */
	DO_DEACTIVATE, /* no way back from here: retire the old key */
	DO_CONTRACT,   /* delete the rows under the old key */
	DO_UNSTAGE,    /* rolling back: delete the rows under the new key */
	ROTATION_ACTION_MAX_
};

enum rotation_event {
	EVENT_KEYED,
	EVENT_STAGED,
	EVENT_VERIFIED,
	EVENT_ACTIVATED,
	EVENT_CONTRACTING,
	EVENT_CONTRACTED,
	EVENT_DESTROYED,
	EVENT_ROLLBACK_STARTED,
	EVENT_ROLLED_BACK,
	ROTATION_EVENT_MAX_
};

enum kt_rotation_phase rotation_phase(const struct rotation_row *rotation);

enum rotation_action rotation_next(const struct rotation_row *rotation,
				   int64_t now);

/* Before its cut-over or on the way back: only one rotation may be. */
bool rotation_is_running(const struct rotation_row *rotation);

/* Neither contracted nor rolled back. */
bool rotation_is_unfinished(const struct rotation_row *rotation);

/* Stamps the event's time. KT_ERR_CONFLICT when the phase does not allow it;
 * *rotation is unchanged then. */
enum kt_err rotation_apply(struct rotation_row *rotation,
			   enum rotation_event event, int64_t now);

/* "staged": the audit's action is "rotation." and this. */
const char *rotation_event_name(enum rotation_event event);

#endif
