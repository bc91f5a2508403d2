/*
 * Phases, events and the next action. Nothing here reads a clock, a database
 * or a token.
 */
#include "core/rotation_state.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "base/err.h"

static const char *const phase_names[KT_ROTATION_PHASE_MAX_] = {
	[KT_ROTATION_PLANNED] = "planned",
	[KT_ROTATION_STAGING] = "staging",
	[KT_ROTATION_STAGED] = "staged",
	[KT_ROTATION_VERIFIED] = "verified",
	[KT_ROTATION_DRAINING] = "draining",
	[KT_ROTATION_CONTRACTING] = "contracting",
	[KT_ROTATION_CONTRACTED] = "contracted",
	[KT_ROTATION_DESTROYED] = "destroyed",
	[KT_ROTATION_ROLLING_BACK] = "rolling-back",
	[KT_ROTATION_ROLLED_BACK] = "rolled-back",
};

#define FROM(phase) (1u << KT_ROTATION_##phase)
#define BEFORE_CONTRACTION                                                     \
	(FROM(PLANNED) | FROM(STAGING) | FROM(STAGED) | FROM(VERIFIED) |       \
	 FROM(DRAINING))

static const struct {
	const char *name;
	unsigned from; /* phases that allow it */
	size_t stamps; /* offset of the time in struct rotation_row */
} events[ROTATION_EVENT_MAX_] = {
	[EVENT_KEYED] = {"keyed", FROM(PLANNED),
			 offsetof(struct rotation_row, keyed)},
	[EVENT_STAGED] = {"staged", FROM(STAGING),
			  offsetof(struct rotation_row, staged)},
	[EVENT_VERIFIED] = {"verified", FROM(STAGED),
			    offsetof(struct rotation_row, verified)},
	[EVENT_ACTIVATED] = {"activated", FROM(VERIFIED),
			     offsetof(struct rotation_row, activated)},
	[EVENT_CONTRACTING] = {"contracting", FROM(DRAINING),
			       offsetof(struct rotation_row, contracting)},
	[EVENT_CONTRACTED] = {"contracted", FROM(CONTRACTING),
			      offsetof(struct rotation_row, contracted)},
	[EVENT_DESTROYED] = {"destroyed", FROM(CONTRACTED),
			     offsetof(struct rotation_row, destroyed)},
	[EVENT_ROLLBACK_STARTED] = {"rollback-started", BEFORE_CONTRACTION,
				    offsetof(struct rotation_row,
					     rollback_started)},
	[EVENT_ROLLED_BACK] = {"rolled-back", FROM(ROLLING_BACK),
			       offsetof(struct rotation_row, rolled_back)},
};

const char *kt_rotation_phase_name(enum kt_rotation_phase phase)
{
	return (unsigned)phase < KT_ROTATION_PHASE_MAX_ ? phase_names[phase]
							: "unknown";
}

const char *rotation_event_name(enum rotation_event event)
{
	return events[event].name;
}

enum kt_rotation_phase rotation_phase(const struct rotation_row *rotation)
{
	if (rotation->rolled_back != 0)
		return KT_ROTATION_ROLLED_BACK;
	if (rotation->rollback_started != 0)
		return KT_ROTATION_ROLLING_BACK;
	if (rotation->destroyed != 0)
		return KT_ROTATION_DESTROYED;
	if (rotation->contracted != 0)
		return KT_ROTATION_CONTRACTED;
	if (rotation->contracting != 0)
		return KT_ROTATION_CONTRACTING;
	if (rotation->activated != 0)
		return KT_ROTATION_DRAINING;
	if (rotation->verified != 0)
		return KT_ROTATION_VERIFIED;
	if (rotation->staged != 0)
		return KT_ROTATION_STAGED;
	return rotation->keyed != 0 ? KT_ROTATION_STAGING : KT_ROTATION_PLANNED;
}

bool rotation_is_unfinished(const struct rotation_row *rotation)
{
	return rotation->contracted == 0 && rotation->rolled_back == 0;
}

bool rotation_is_running(const struct rotation_row *rotation)
{
	return rotation_is_unfinished(rotation) &&
	       (rotation->activated == 0 || rotation->rollback_started != 0);
}

/* A clock that was set back gives no time that nobody gave. */
static bool is_grace_over(const struct rotation_row *rotation, int64_t now)
{
	return rotation->grace == 0 ||
	       now - rotation->activated >= rotation->grace;
}

enum rotation_action rotation_next(const struct rotation_row *rotation,
				   int64_t now)
{
	switch (rotation_phase(rotation)) {
	case KT_ROTATION_PLANNED:
		return DO_KEY;
	case KT_ROTATION_STAGING:
		return DO_STAGE;
	case KT_ROTATION_STAGED:
		return DO_VERIFY;
	case KT_ROTATION_VERIFIED:
		return DO_CUT_OVER;
	case KT_ROTATION_DRAINING:
		return is_grace_over(rotation, now) ? DO_DEACTIVATE : DO_WAIT;
	case KT_ROTATION_CONTRACTING:
		return DO_CONTRACT;
	case KT_ROTATION_ROLLING_BACK:
		return DO_UNSTAGE;
	case KT_ROTATION_CONTRACTED:
	case KT_ROTATION_DESTROYED:
	case KT_ROTATION_ROLLED_BACK:
	case KT_ROTATION_PHASE_MAX_:
		break;
	}
	return DO_NOTHING;
}

enum kt_err rotation_apply(struct rotation_row *rotation,
			   enum rotation_event event, int64_t now)
{
	enum kt_rotation_phase phase = rotation_phase(rotation);

	assert((unsigned)event < ROTATION_EVENT_MAX_ && now != 0);
	if ((events[event].from & 1u << phase) == 0)
		return err_raise(KT_ERR_CONFLICT,
				 "the rotation is %s: it cannot become %s",
				 phase_names[phase], events[event].name);
	memcpy((char *)rotation + events[event].stamps, &now, sizeof(now));
	return KT_OK;
}
