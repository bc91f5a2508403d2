/*
 * The gate: what a token accepts, it need not enforce. Each test tries what
 * must not work, on throw-away session keys or on a new master key itself, and
 * on positive properties such as length and determinism of a wrap.
 */
#ifndef HSM_GATE_H
#define HSM_GATE_H

#include "hsm/token.h"

enum gate_result {
	GATE_PASS,
	GATE_FAIL,  /* strict refuses */
	GATE_KNOWN, /* no token at hand stops it; recorded, never refused */
};

#define GATE_FINDINGS_MAX 32

struct gate_finding {
	const char *name; /* "wrap-out", "unwrap-sensitive-false" ... static */
	enum gate_result result;
	char detail[96]; /* what the token answered */
};

struct gate_report {
	size_t count;
	size_t failed;
	struct gate_finding finding[GATE_FINDINGS_MAX];
};

/* Probes the token with session keys under the mechanism. Err only when the
 * probe could not run. */
enum kt_err gate_token(struct token *token, enum kt_wrap_mech mech,
		       struct gate_report *ret);

/* Tests one master or recovery key on the token, with its canary. */
enum kt_err gate_key(struct token *token, enum kt_key_role role,
		     const struct kt_id *cka_id, enum kt_wrap_mech mech,
		     const struct blob *canary, struct gate_report *ret);

/* KT_ERR_POLICY naming the first failed finding at KT_GATE_STRICT; KT_OK at
 * KT_GATE_WARN or when nothing failed. */
enum kt_err gate_judge(const struct gate_report *report,
		       enum kt_gate_level level);

/* "20 pass, known: known-key-wrap, fail: wrap-out", cut to size. */
void gate_brief(const struct gate_report *report, char *ret, size_t size);

/* "wrap-out=pass copy-decrypt=pass known-key-wrap=known ...", cut to size. */
void gate_text(const struct gate_report *report, char *ret, size_t size);

#endif
