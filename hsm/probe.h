/*
 * What the gate tries: one row per attempt, one attempt per session.
 */
#ifndef HSM_PROBE_H
#define HSM_PROBE_H

#include "hsm/gate.h"
#include "hsm/wrap_key.h"

struct gate {
	struct wrap_key *key;    /* under test */
	struct wrap_key *other;  /* a session key with the same policy */
	enum kt_wrap_mech below; /* what the keys under it wrap by, if any do */
};

struct probe {
	const char *name;
	enum kt_key_role only; /* 0: every wrapping key */
	/* Writes result and detail; err only when it could not be tried. */
	enum kt_err (*run)(const struct gate *gate, const struct probe *probe,
			   struct session *s, struct gate_finding *ret);
	CK_ULONG what; /* an attribute, a mechanism or a use, by run */
};

/* The other findings of a report are the gate's own. */
#define PROBES_MAX (GATE_FINDINGS_MAX - 2)

const struct probe *probe_table(size_t *ret_count);

#endif
