/*
 * The gate: the attempts of the table run one by one, each in a session of its
 * own, against a wrapping key with a canary under it. For a token the keys are
 * session keys of each role that wraps; for a key on the token it is that key.
 */
#include "hsm/gate.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/secret.h"
#include "base/text.h"
#include "hsm/probe.h"

static void add_finding(struct gate_report *report,
			const struct gate_finding *finding)
{
	assert(report->count < GATE_FINDINGS_MAX);
	report->finding[report->count++] = *finding;
	report->failed += finding->result == GATE_FAIL;
}

struct run_op {
	const struct gate *gate;
	const struct probe *probe;
	struct gate_finding finding;
};

static enum kt_err run_in(struct session *s, void *arg)
{
	struct run_op *op = arg;

	return op->probe->run(op->gate, op->probe, s, &op->finding);
}

static enum kt_err run_probe(const struct gate *gate, const struct probe *probe,
			     struct gate_report *report)
{
	struct run_op op = {gate, probe, {.name = probe->name}};
	enum kt_err err = token_retry(gate->key->token, run_in, &op);

	if (err != KT_OK)
		return err_prefix(err, "gate: %s", probe->name);
	add_finding(report, &op.finding);
	return KT_OK;
}

/* The probes for every wrapping key, those for this role only, or both. */
enum scope { SCOPE_ALL, SCOPE_ROLE };

static enum kt_err run_probes(const struct gate *gate, enum scope scope,
			      struct gate_report *report)
{
	size_t count;
	const struct probe *probes = probe_table(&count);

	for (size_t i = 0; i < count; i++) {
		if (probes[i].only == gate->key->role ||
		    (probes[i].only == 0 && scope == SCOPE_ALL))
			TRY(run_probe(gate, &probes[i], report));
	}
	return KT_OK;
}

/* A value sealed under a key of the project opens, and does not open with
 * other associated data. */
static enum kt_err run_gcm(struct wrap_key *key, struct gate_report *report)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0}, back = {0};
	CLEANUP(sealed_value_done) struct sealed_value sealed = {0};
	struct gate_finding round = {"gcm-round-trip", GATE_PASS, "opens"};
	struct gate_finding wrong = {"gcm-wrong-aad", GATE_PASS, "refused"};
	struct blob blob;
	enum kt_err err;

	TRY(secret_new(48, &value));
	TRY(value_seal(&key, 1, "gate", 4, &value, &blob, &sealed));
	err = value_open(key, &blob, "Gate", 4, &sealed, &back);
	if (err != KT_OK && err != KT_ERR_INTEGRITY)
		return err_prefix(err, "gate: %s", wrong.name);
	if (err == KT_OK)
		wrong = (struct gate_finding){wrong.name, GATE_FAIL, "opens"};
	add_finding(report, &round);
	add_finding(report, &wrong);
	return KT_OK;
}

/* The mechanisms of master and project keys. */
struct mechs {
	enum kt_wrap_mech master, below;
};

static enum kt_err probe_token_role(struct token *token, enum kt_key_role role,
				    const struct mechs *mechs, enum scope scope,
				    struct gate_report *report)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *other = NULL;

	TRY(wrap_key_temporary(token, role, mechs->master, &key));
	TRY(wrap_key_temporary(token, role, mechs->master, &other));
	return run_probes(&(struct gate){key, other, mechs->below}, scope,
			  report);
}

static enum kt_err probe_token_project(struct token *token,
				       const struct mechs *mechs,
				       struct gate_report *report)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *other = NULL;

	TRY(wrap_key_temporary_project(token, mechs->master, mechs->below,
				       &key));
	TRY(wrap_key_temporary_project(token, mechs->master, mechs->below,
				       &other));
	TRY(run_probes(&(struct gate){key, other, mechs->below}, SCOPE_ROLE,
		       report));
	return run_gcm(key, report);
}

enum kt_err gate_token(struct token *token, enum kt_wrap_mech mech,
		       struct gate_report *ret)
{
	struct gate_report report = {0};
	struct mechs mechs = {.master = mech};

	TRY(wrap_mech_below(token, mech, &mechs.below));
	TRY(probe_token_role(token, KT_KEY_MASTER, &mechs, SCOPE_ALL, &report));
	TRY(probe_token_role(token, KT_KEY_RECOVERY, &mechs, SCOPE_ROLE,
			     &report));
	TRY(probe_token_project(token, &mechs, &report));
	*ret = report;
	return KT_OK;
}

enum kt_err gate_key(struct token *token, enum kt_key_role role,
		     const struct kt_id *cka_id, enum kt_wrap_mech mech,
		     const struct blob *canary, struct gate_report *ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *other = NULL;
	struct wrap_key_spec spec = {role, *cka_id, mech, *canary};
	struct gate_report report = {0};
	enum kt_wrap_mech below;

	TRY(wrap_mech_below(token, mech, &below));
	TRY(wrap_key_find(token, &spec, &key));
	TRY(wrap_check(key, canary));
	TRY(wrap_key_temporary(token, role, mech, &other));
	TRY(run_probes(&(struct gate){key, other, below}, SCOPE_ALL, &report));
	*ret = report;
	return KT_OK;
}

enum kt_err gate_judge(const struct gate_report *report,
		       enum kt_gate_level level)
{
	const struct gate_finding *f = report->finding;

	if (level == KT_GATE_WARN || report->failed == 0)
		return KT_OK;
	while (f->result != GATE_FAIL)
		f++;
	return err_raise(KT_ERR_POLICY, "the token fails the gate: %s (%s)",
			 f->name, f->detail);
}

static size_t count_of(const struct gate_report *report,
		       enum gate_result result)
{
	size_t count = 0;

	for (size_t i = 0; i < report->count; i++)
		count += report->finding[i].result == result;
	return count;
}

static void append_names(const struct gate_report *report,
			 enum gate_result result, const char *title, char *ret,
			 size_t size)
{
	const char *front = title;

	for (size_t i = 0; i < report->count; i++) {
		size_t used = strlen(ret);

		if (report->finding[i].result != result)
			continue;
		snprintf(ret + used, size - used, "%s %s", front,
			 report->finding[i].name);
		front = "";
	}
}

void gate_brief(const struct gate_report *report, char *ret, size_t size)
{
	snprintf(ret, size, "%zu pass", count_of(report, GATE_PASS));
	append_names(report, GATE_KNOWN, ", known:", ret, size);
	append_names(report, GATE_FAIL, ", fail:", ret, size);
}

void gate_text(const struct gate_report *report, char *ret, size_t size)
{
	static const char *const names[] = {
		[GATE_PASS] = "pass",
		[GATE_FAIL] = "fail",
		[GATE_KNOWN] = "known",
	};
	char text[GATE_FINDINGS_MAX * 48] = "";
	size_t used = 0;

	for (size_t i = 0; i < report->count; i++) {
		const struct gate_finding *f = &report->finding[i];

		used += (size_t)snprintf(text + used, sizeof(text) - used,
					 "%s%s=%s", i > 0 ? " " : "", f->name,
					 names[f->result]);
	}
	text_cut(ret, size, text);
}
