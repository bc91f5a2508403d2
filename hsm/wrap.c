/*
 * What is done with wrapping keys: new keys, copies, proofs, and the choice of
 * a mechanism. Each function is one repeatable operation on one leased
 * session, done again once when the session was lost. Keys that come back are
 * session objects which their scope destroys; none of them can be read, and
 * those that may leave again (USE_REWRAP) can do nothing else.
 */
#include "hsm/wrap.h"

#include <string.h>

#include "base/crash.h"
#include "hsm/state.h"
#include "hsm/wrap_key.h"

/* Unwraps with from, wraps with to. */
static enum kt_err rewrap(struct session *s, struct wrap_key *from,
			  const struct blob *blob, struct wrap_key *to,
			  struct blob *ret)
{
	CLEANUP(object_drop) struct object object = {0};

	TRY(subject_unwrap(from, s, blob, USE_REWRAP, from->mech, &object));
	CRASH_POINT("rewrap.unwrapped");
	TRY(subject_wrap(to, s, object.handle, ret));
	CRASH_POINT("rewrap.wrapped");
	return KT_OK;
}

/* The same key wrapped by the same mechanism twice gives the same bytes: that
 * is how two wraps are compared without reading a key. */
static enum kt_err same_key(struct session *s, struct wrap_key *key,
			    const struct blob *blob, struct wrap_key *other,
			    const struct blob *other_blob)
{
	struct blob again;

	if (!mech_of(other->mech)->deterministic)
		return err_raise(KT_ERR_POLICY, "%s gives no proof of equality",
				 mech_of(other->mech)->name);
	TRY(rewrap(s, key, blob, other, &again));
	if (blob_equal(&again, other_blob))
		return KT_OK;
	/* Only a token that says so twice is believed. */
	TRY(rewrap(s, key, blob, other, &again));
	if (blob_equal(&again, other_blob))
		return err_raise(KT_ERR_TOKEN,
				 "C_WrapKey: two wraps of one key differ");
	return err_raise(KT_ERR_INTEGRITY, "the two wraps hold different keys");
}

static enum kt_err same_subject(const struct wrap_key *a,
				const struct wrap_key *b)
{
	if (a->token != b->token || wrap_key_subject(a) != wrap_key_subject(b))
		return err_raise(KT_ERR_POLICY,
				 "keys of roles %d and %d do "
				 "not wrap the same keys",
				 (int)a->role, (int)b->role);
	return KT_OK;
}

enum kt_err wrap_keys_check(struct wrap_key *const *keys, size_t n)
{
	if (n == 0 || n > WRAP_KEYS_MAX)
		return err_raise(KT_ERR_USAGE, "%zu wrapping keys, not 1 to %d",
				 n, WRAP_KEYS_MAX);
	for (size_t i = 1; i < n; i++)
		TRY(same_subject(keys[0], keys[i]));
	return KT_OK;
}

struct new_op {
	struct wrap_key *const *keys;
	size_t n;
	struct blob blobs[WRAP_KEYS_MAX];
};

/* Each blob unwraps with its key to what all the others hold. */
static enum kt_err prove_new(struct session *s, const struct new_op *op)
{
	for (size_t i = 0; i < op->n; i++) {
		TRY(same_key(s, op->keys[i], &op->blobs[i], op->keys[i],
			     &op->blobs[i]));
		TRY(same_key(s, op->keys[i], &op->blobs[i], op->keys[0],
			     &op->blobs[0]));
	}
	return KT_OK;
}

static enum kt_err new_in(struct session *s, void *arg)
{
	CLEANUP(object_drop) struct object object = {0};
	struct new_op *op = arg;
	enum kt_err err;

	TRY(subject_generate(op->keys[0], s, &object));
	for (size_t i = 0; i < op->n; i++)
		TRY(subject_wrap(op->keys[i], s, object.handle, &op->blobs[i]));
	err = prove_new(s, op);
	/* No stored row is at fault: these blobs are a moment old. */
	return err == KT_ERR_INTEGRITY ? err_prefix(KT_ERR_TOKEN, "a new key")
				       : err;
}

enum kt_err wrap_new(struct wrap_key *const *keys, size_t n,
		     struct blob *ret_blobs)
{
	struct new_op op = {.keys = keys, .n = n};

	TRY(wrap_keys_check(keys, n));
	TRY(token_retry(keys[0]->token, new_in, &op));
	memcpy(ret_blobs, op.blobs, n * sizeof(op.blobs[0]));
	return KT_OK;
}

struct copy_op {
	struct wrap_key *from, *to;
	const struct blob *in;
	struct blob out;
};

static enum kt_err copy_in(struct session *s, void *arg)
{
	struct copy_op *op = arg;

	return rewrap(s, op->from, op->in, op->to, &op->out);
}

enum kt_err wrap_copy(struct wrap_key *from, struct wrap_key *to,
		      const struct blob *blob, struct blob *ret)
{
	struct copy_op op = {.from = from, .to = to, .in = blob};

	TRY(same_subject(from, to));
	TRY(token_retry(from->token, copy_in, &op));
	CRASH_POINT("rewrap.copied");
	*ret = op.out;
	return KT_OK;
}

struct prove_op {
	struct wrap_key *new_key, *old_key;
	const struct blob *new_blob, *old_blob;
};

static enum kt_err prove_in(struct session *s, void *arg)
{
	struct prove_op *op = arg;

	return same_key(s, op->new_key, op->new_blob, op->old_key,
			op->old_blob);
}

enum kt_err wrap_prove(struct wrap_key *new_key, const struct blob *new_blob,
		       struct wrap_key *old_key, const struct blob *old_blob)
{
	struct prove_op op = {new_key, old_key, new_blob, old_blob};

	TRY(same_subject(new_key, old_key));
	return token_retry(new_key->token, prove_in, &op);
}

static enum kt_err check_in(struct session *s, void *arg)
{
	CLEANUP(object_drop) struct object object = {0};
	struct copy_op *op = arg;

	return subject_unwrap(op->from, s, op->in, USE_REWRAP, op->from->mech,
			      &object);
}

enum kt_err wrap_check(struct wrap_key *key, const struct blob *blob)
{
	struct copy_op op = {.from = key, .in = blob};

	return token_retry(key->token, check_in, &op);
}

/* A wrap that opens although a bit of it differs would let anybody who writes
 * to the database choose keys. */
static enum kt_err refuses_tampering(struct wrap_key *key)
{
	struct blob tampered = key->canary;

	for (size_t at = 0; at < tampered.len; at += tampered.len / 4u) {
		tampered.data[at] ^= 0x10;
		if (subject_unwraps(key, &tampered))
			return err_raise(KT_ERR_POLICY,
					 "%s unwraps a changed byte %zu",
					 mech_of(key->mech)->name, at);
		tampered.data[at] ^= 0x10;
	}
	tampered.len = (uint16_t)(tampered.len - 8);
	if (subject_unwraps(key, &tampered))
		return err_raise(KT_ERR_POLICY, "%s unwraps a shortened blob",
				 mech_of(key->mech)->name);
	return KT_OK;
}

/* Size, determinism and the round trip are in the making of a temporary key's
 * canary. It must work to the end, or the refusals would say nothing. */
static enum kt_err try_key(struct wrap_key *key)
{
	TRY(refuses_tampering(key));
	return wrap_check(key, &key->canary);
}

static enum kt_err probe_master(struct token *token, enum kt_wrap_mech mech)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	TRY(wrap_key_temporary(token, KT_KEY_MASTER, mech, &key));
	return try_key(key);
}

static enum kt_err probe_project(struct token *token, enum kt_wrap_mech master,
				 enum kt_wrap_mech mech)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	TRY(wrap_key_temporary_project(token, master, mech, &key));
	return try_key(key);
}

/* Errors that say nothing about the mechanism. */
static bool ends_the_choice(enum kt_err err)
{
	return err == KT_ERR_PIN || err == KT_ERR_SESSION ||
	       err == KT_ERR_MEMORY || err == KT_ERR_BUSY || err == KT_ERR_IO;
}

/* The TPM's mechanism first, where the module has it: there AES keys are but
 * session objects, and a master key has to stay. */
static const enum kt_wrap_mech ladder[] = {
	KT_WRAP_TPM,         KT_WRAP_AES_KW,        KT_WRAP_AES_KWP,
	KT_WRAP_AES_PAD_KWP, KT_WRAP_AES_PAD_PKCS7,
};

#define RUNGS (sizeof(ladder) / sizeof(ladder[0]))

/* A vendor's mechanism that is not announced is not tried: in another module
 * its number may be anything. */
static bool worth_trying(const struct token *token, enum kt_wrap_mech mech)
{
	CK_MECHANISM_INFO info;

	if (mech != KT_WRAP_TPM)
		return true;
	return p11_result(NULL, "C_GetMechanismInfo",
			  token->module.p11->C_GetMechanismInfo(
				  token->slot.id, mech_of(mech)->type,
				  &info)) == KT_OK;
}

enum kt_err wrap_mech_choose(struct token *token, enum kt_wrap_mech *ret)
{
	enum kt_err err = KT_ERR_POLICY;

	for (size_t i = 0; i < RUNGS; i++) {
		if (!worth_trying(token, ladder[i]))
			continue;
		err = probe_master(token, ladder[i]);
		if (err == KT_OK) {
			*ret = ladder[i];
			return KT_OK;
		}
		if (ends_the_choice(err))
			return err;
	}
	return err_prefix(KT_ERR_POLICY,
			  "no key wrap mechanism works on this token");
}

enum kt_err wrap_mech_below(struct token *token, enum kt_wrap_mech master,
			    enum kt_wrap_mech *ret)
{
	enum kt_err err = KT_ERR_POLICY;

	if (mech_is_for_projects(master)) {
		*ret = master;
		return KT_OK;
	}
	for (size_t i = 0; i < RUNGS; i++) {
		if (!mech_is_for_projects(ladder[i]))
			continue;
		err = probe_project(token, master, ladder[i]);
		if (err == KT_OK) {
			*ret = ladder[i];
			return KT_OK;
		}
		if (ends_the_choice(err))
			return err;
	}
	return err_prefix(KT_ERR_POLICY, "no key wrap mechanism works for "
					 "project keys on this token");
}
