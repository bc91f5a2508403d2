/*
 * The actions of a rotation on keys: making and proving the new ones, the
 * cut-over, and retiring the old ones.
 */
#include "core/rotation.h"

#include "base/clock.h"
#include "base/crash.h"
#include "base/text.h"
#include "core/access.h"
#include "core/backup.h"
#include "core/key_birth.h"

/* A rotation keeps the mechanism. */
static enum kt_wrap_mech leg_mech(const struct rotation_leg *leg)
{
	return (enum kt_wrap_mech)leg->old_key.mech;
}

/* The token knows no fence. One who slept is stopped here, since the CKA_ID may
 * belong to a key that has been destroyed by now; that nobody else made it
 * meanwhile, token_generate() sees under the lock. */
static enum kt_err generate(struct rotation_run *run,
			    const struct rotation_leg *leg)
{
	TRY(lease_check(run->vault, run->fence));
	return key_generate(run->vault, leg_mech(leg), &leg->new_key);
}

/* An object that an interrupted run left is ours if it carries the committed
 * CKA_ID; whether it is whole, key_prove() decides. */
static enum kt_err generate_missing(struct rotation_run *run)
{
	for (size_t i = 0; i < run->legs; i++) {
		const struct rotation_leg *leg = &run->leg[i];
		size_t count;

		TRY(token_count(run->vault->token, &leg->new_key.cka_id,
				&count));
		CRASH_POINT("key.generate");
		if (count == 0)
			TRY(generate(run, leg));
		CRASH_POINT("key.generated");
	}
	CRASH_POINT("key.reload");
	return token_reload(run->vault->token);
}

/* A database that was replaced by an older one may have gone on with this key:
 * what was restored does not know. */
static enum kt_err refuse_kept(struct rotation_run *run,
			       const struct key_row *key)
{
	enum kt_err err = backup_allow_destroy(run->vault, key->version, false);

	if (err != KT_ERR_CONFLICT)
		return err;
	return err_hint(err, "the new key does not prove itself; try again, or "
			     "'keyturn rotation rollback' gives it up");
}

/* Gives a key that came out of an interrupted generation half made a new
 * CKA_ID, committed before anything else, and takes the object away. */
static enum kt_err replace_object(struct rotation_run *run,
				  struct rotation_leg *leg)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct key_row *key = &leg->new_key;
	struct kt_id left_over = key->cka_id;
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&left_over, id);
	TRY(run_begin(run, &tx));
	TRY(refuse_kept(run, key));
	TRY(id_random(&key->cka_id));
	TRY(store_update(run->vault->store, ROW_KEY, key));
	TRY(audit_append(run->vault, "rotation.object-replaced", id,
			 "the object with this CKA_ID was not a whole key"));
	TRY(store_commit(&tx));
	TRY(token_destroy(run->vault->token, &left_over));
	TRY(generate(run, leg));
	return token_reload(run->vault->token);
}

/* Nothing refers to the new key yet, so one failure to prove it costs nothing
 * but the object. A second one is the token's. */
static enum kt_err prove_or_replace(struct rotation_run *run,
				    struct rotation_leg *leg, bool fresh)
{
	enum kt_err err = key_prove(run->vault, leg_mech(leg), &leg->new_key);

	if (err == KT_OK || fresh || err == KT_ERR_PIN ||
	    err == KT_ERR_CONFLICT)
		return err;
	TRY(replace_object(run, leg));
	return key_prove(run->vault, leg_mech(leg), &leg->new_key);
}

static enum kt_err commit_keyed(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(run_begin(run, &tx));
	for (size_t i = 0; i < run->legs; i++)
		TRY(store_update(run->vault->store, ROW_KEY,
				 &run->leg[i].new_key));
	TRY(run_stamp(run, EVENT_KEYED));
	return store_commit(&tx);
}

static enum kt_err make_master_keys(struct rotation_run *run)
{
	bool fresh = run->row.resumed == 0;

	TRY(generate_missing(run));
	for (size_t i = 0; i < run->legs; i++)
		TRY(prove_or_replace(run, &run->leg[i], fresh));
	CRASH_POINT("key.proven");
	return commit_keyed(run);
}

/* A random key under the new project key; unwrapping it also shows that the
 * project key itself comes back from its wraps. */
static enum kt_err make_project_canary(const struct wrap_set *masters,
				       const struct blob *blobs,
				       enum kt_wrap_mech mech, struct blob *ret)
{
	static const struct blob none;
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	TRY(wrap_key_unwrap(masters->key[0], &blobs[0], mech, &none, &key));
	return wrap_new(&key, 1, ret);
}

/* The key is born, wrapped and proven in one go: its rows and the event are
 * one transaction. */
static enum kt_err make_project_key(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_vault *vault = run->vault;
	struct key_row *key = &run->leg[0].new_key;
	struct wrap_set masters, now;
	struct blob blobs[WRAP_SET_MAX];

	TRY(wrap_set_read(vault, KT_KEY_PROJECT, NULL, &masters));
	TRY(wrap_new(masters.key, masters.count, blobs));
	key->mech = run->leg[0].old_key.mech;
	TRY(make_project_canary(&masters, blobs, (enum kt_wrap_mech)key->mech,
				&key->canary));
	key->proven = clock_now();
	CRASH_POINT("project-key.wrapped");
	TRY(run_begin(run, &tx));
	TRY(wrap_set_read(vault, KT_KEY_PROJECT, NULL, &now));
	if (!wrap_set_equal(&masters, &now))
		return err_raise(KT_ERR_CONFLICT,
				 "the master key changed meanwhile: resume");
	TRY(wrap_set_store(vault, &masters, &key->id, blobs));
	TRY(store_update(vault->store, ROW_KEY, key));
	TRY(run_stamp(run, EVENT_KEYED));
	return store_commit(&tx);
}

enum kt_err rotation_make_keys(struct rotation_run *run)
{
	return run->row.kind == KT_ROTATION_PROJECT ? make_project_key(run)
						    : make_master_keys(run);
}

/* In the transaction that acts on it. Whoever says so now found all rows staged
 * and proven before, so one that has no twin has lost it. */
static enum kt_err require_twins(struct rotation_run *run)
{
	int64_t missing;

	TRY(rotation_missing(run, &missing));
	if (missing == 0)
		return KT_OK;
	return err_raise(KT_ERR_INTEGRITY, "%s not under the new key",
			 text_counted(missing, "row is", "rows are").text);
}

/* Readers see the old key or the new one, never neither: one transaction. The
 * rows are counted once more in it, for those that came since `verified`. */
enum kt_err rotation_cut_over(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	int64_t revoked;

	CRASH_POINT("cut-over.begin");
	TRY(run_begin(run, &tx));
	TRY(require_twins(run));
	for (size_t i = 0; i < run->legs; i++) {
		run->leg[i].new_key.activated = clock_now();
		TRY(store_update(run->vault->store, ROW_KEY,
				 &run->leg[i].new_key));
	}
	CRASH_POINT("cut-over.switched");
	if (run->row.kind == KT_ROTATION_PROJECT)
		TRY(access_revoke_all(run->vault, &run->row.project, &revoked));
	CRASH_POINT("cut-over.revoked");
	TRY(run_stamp(run, EVENT_ACTIVATED));
	TRY(audit_checkpoint(run->vault));
	return store_commit(&tx);
}

/* Read again: it may have been marked as compromised since. */
static enum kt_err retire(struct rotation_run *run, struct rotation_leg *leg)
{
	struct store *store = run->vault->store;

	TRY(query_one(store, Q_KEY, &leg->old_key, "b", &leg->row.old_key));
	leg->old_key.deactivated = clock_now();
	return store_update(store, ROW_KEY, &leg->old_key);
}

/* From here on nothing is wrapped under the old keys any more. */
enum kt_err rotation_deactivate(struct rotation_run *run)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;

	TRY(run_begin(run, &tx));
	TRY(require_twins(run));
	for (size_t i = 0; i < run->legs; i++)
		TRY(retire(run, &run->leg[i]));
	CRASH_POINT("old-key.retired");
	TRY(run_stamp(run, EVENT_CONTRACTING));
	return store_commit(&tx);
}
