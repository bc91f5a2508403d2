/*
 * Messages between keyturn and its workers, and the work on a batch. Whoever
 * reads a message trusts nothing in it: counts, enumerators and lengths are
 * checked before they are used, and an answer must carry the number of its
 * question.
 */
#include "hsm/worker.h"

#include "base/text.h"

static void put_id(struct wire *wire, const struct kt_id *id)
{
	wire_put_bytes(wire, id->bytes, sizeof(id->bytes));
}

static void put_key(struct wire *wire, const struct rewrap_key *key)
{
	wire_put_u8(wire, (uint8_t)key->token_key.role);
	put_id(wire, &key->token_key.cka_id);
	wire_put_u8(wire, (uint8_t)key->token_key.mech);
	wire_put_blob(wire, &key->token_key.canary);
	wire_put_u8(wire, key->temporary);
	wire_put_u8(wire, key->wrapped);
	wire_put_blob(wire, &key->blob);
	wire_put_u8(wire, (uint8_t)key->mech);
	wire_put_blob(wire, &key->canary);
}

static enum kt_wrap_mech get_mech(struct wire *wire)
{
	unsigned mech = wire_get_u8(wire);

	if (mech >= KT_WRAP_MECH_MAX_)
		wire->failed = true;
	return wire->failed ? KT_WRAP_NONE : (enum kt_wrap_mech)mech;
}

static enum kt_key_role get_role(struct wire *wire)
{
	unsigned role = wire_get_u8(wire);

	if (role < KT_KEY_MASTER || role > KT_KEY_PROJECT)
		wire->failed = true;
	return wire->failed ? KT_KEY_MASTER : (enum kt_key_role)role;
}

static void get_key(struct wire *wire, struct rewrap_key *ret)
{
	ret->token_key.role = get_role(wire);
	wire_get_bytes(wire, ret->token_key.cka_id.bytes, KT_ID_LEN);
	ret->token_key.mech = get_mech(wire);
	wire_get_blob(wire, &ret->token_key.canary);
	ret->temporary = wire_get_bool(wire);
	ret->wrapped = wire_get_bool(wire);
	wire_get_blob(wire, &ret->blob);
	ret->mech = get_mech(wire);
	wire_get_blob(wire, &ret->canary);
}

static uint32_t get_sessions(struct wire *wire)
{
	uint32_t sessions = wire_get_u8(wire);

	if (sessions < 1 || sessions > REWRAP_JOBS_MAX)
		wire->failed = true;
	return sessions;
}

enum kt_err worker_put_hello(struct wire *wire,
			     const struct worker_hello *hello)
{
	wire_begin(wire, WIRE_HELLO);
	wire_put_text(wire, hello->uri);
	wire_put_text(wire, hello->module);
	wire_put_text(wire, hello->runtime_dir);
	wire_put_u8(wire, (uint8_t)hello->max_sessions);
	wire_put_u8(wire, hello->last_try);
	put_key(wire, &hello->old_key);
	put_key(wire, &hello->new_key);
	return wire_end(wire);
}

enum kt_err worker_get_hello(struct wire *wire, struct worker_hello *ret)
{
	struct worker_hello hello = {0};

	if (wire_type(wire) != WIRE_HELLO)
		return err_raise(KT_ERR_IO, "a frame of the wrong type");
	wire_get_text(wire, hello.uri, sizeof(hello.uri));
	wire_get_text(wire, hello.module, sizeof(hello.module));
	wire_get_text(wire, hello.runtime_dir, sizeof(hello.runtime_dir));
	hello.max_sessions = get_sessions(wire);
	hello.last_try = wire_get_bool(wire);
	get_key(wire, &hello.old_key);
	get_key(wire, &hello.new_key);
	TRY(wire_finish(wire));
	*ret = hello;
	return KT_OK;
}

enum kt_err worker_put_batch(struct wire *wire, uint64_t number,
			     const struct rewrap_batch *batch)
{
	wire_begin(wire, WIRE_BATCH);
	wire_put_u64(wire, number);
	wire_put_u8(wire, (uint8_t)batch->op);
	wire_put_u8(wire, (uint8_t)batch->sessions);
	wire_put_u32(wire, (uint32_t)batch->count);
	for (size_t i = 0; i < batch->count; i++) {
		wire_put_blob(wire, &batch->items[i].in);
		if (batch->op == REWRAP_PROVE)
			wire_put_blob(wire, &batch->items[i].out);
		if (batch->op == REWRAP_TRY)
			wire_put_u8(wire, batch->items[i].proven);
	}
	return wire_end(wire);
}

static void get_items(struct wire *wire, struct rewrap_batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		wire_get_blob(wire, &batch->items[i].in);
		if (batch->op == REWRAP_PROVE)
			wire_get_blob(wire, &batch->items[i].out);
		if (batch->op == REWRAP_TRY)
			batch->items[i].proven = wire_get_bool(wire);
	}
}

enum kt_err worker_get_batch(struct wire *wire, uint64_t *ret_number,
			     struct rewrap_batch *ret)
{
	CLEANUP(freep) struct rewrap_item *items = NULL;
	uint64_t number = wire_get_u64(wire);
	unsigned op = wire_get_u8(wire);
	uint32_t sessions = get_sessions(wire);
	size_t count = wire_get_u32(wire);
	struct rewrap_batch batch = {
		.op = (enum rewrap_op)op, .sessions = sessions, .count = count};

	if (wire_type(wire) != WIRE_BATCH || wire->failed || op > REWRAP_TRY ||
	    count > REWRAP_ITEMS_MAX || count > wire_left(wire) / 2)
		return err_raise(KT_ERR_IO, "malformed batch");
	items = calloc(count > 0 ? count : 1, sizeof(*items));
	if (items == NULL)
		return err_memory();
	batch.items = items;
	get_items(wire, &batch);
	TRY(wire_finish(wire));
	*ret_number = number;
	*ret = batch;
	items = NULL;
	return KT_OK;
}

enum kt_err worker_put_result(struct wire *wire, uint64_t number,
			      const struct rewrap_batch *batch)
{
	wire_begin(wire, WIRE_RESULT);
	wire_put_u64(wire, number);
	wire_put_u32(wire, (uint32_t)batch->count);
	for (size_t i = 0; i < batch->count; i++) {
		const struct rewrap_item *item = &batch->items[i];

		wire_put_u8(wire, item->err != KT_OK);
		if (item->err != KT_OK)
			wire_put_text(wire, item->reason);
		else if (batch->op == REWRAP_COPY)
			wire_put_blob(wire, &item->out);
	}
	wire_put_u32(wire, batch->waits);
	wire_put_u8(wire, (uint8_t)batch->sessions_had);
	return wire_end(wire);
}

/* A copy that says it is good and is empty would be a lost key. */
static void get_outcome(struct wire *wire, enum rewrap_op op,
			struct rewrap_item *item)
{
	bool bad = wire_get_bool(wire);

	item->err = bad ? KT_ERR_INTEGRITY : KT_OK;
	item->reason[0] = '\0';
	if (bad)
		wire_get_text(wire, item->reason, sizeof(item->reason));
	else if (op == REWRAP_COPY) {
		wire_get_blob(wire, &item->out);
		if (item->out.len == 0)
			wire->failed = true;
	}
	if (op == REWRAP_COPY && bad)
		item->out.len = 0;
}

enum kt_err worker_get_result(struct wire *wire, uint64_t number,
			      struct rewrap_batch *batch)
{
	if (wire_type(wire) != WIRE_RESULT || wire_get_u64(wire) != number ||
	    wire_get_u32(wire) != batch->count)
		return err_raise(KT_ERR_IO, "an answer to another question");
	for (size_t i = 0; i < batch->count; i++)
		get_outcome(wire, batch->op, &batch->items[i]);
	batch->waits = wire_get_u32(wire);
	batch->sessions_had = wire_get_u8(wire);
	if (batch->sessions_had < 1 || batch->sessions_had > batch->sessions)
		wire->failed = true;
	return wire_finish(wire);
}

enum kt_err worker_put_error(struct wire *wire, uint64_t number,
			     enum kt_err err)
{
	wire_begin(wire, WIRE_ERROR);
	wire_put_u64(wire, number);
	wire_put_u32(wire, (uint32_t)err);
	wire_put_text(wire, kt_err_detail());
	wire_put_text(wire, kt_err_hint());
	return wire_end(wire);
}

enum kt_err worker_get_error(struct wire *wire, uint64_t number,
			     enum kt_err *ret)
{
	char detail[1024];
	char hint[512];
	uint64_t answered = wire_get_u64(wire);
	unsigned err = wire_get_u32(wire);

	wire_get_text(wire, detail, sizeof(detail));
	wire_get_text(wire, hint, sizeof(hint));
	TRY(wire_finish(wire));
	if (answered != number || err == KT_OK || err >= KT_ERR_MAX_)
		return err_raise(KT_ERR_IO, "an answer to another question");
	*ret = err_raise((enum kt_err)err, "%s", detail);
	if (hint[0] != '\0')
		*ret = err_hint(*ret, "%s", hint);
	return KT_OK;
}

static enum kt_err open_temporary(struct token *token,
				  const struct rewrap_key *key,
				  struct wrap_key **ret)
{
	if (key->wrapped)
		return wrap_key_temporary_project(token, key->token_key.mech,
						  key->mech, ret);
	if (key->token_key.role == KT_KEY_PROJECT)
		return wrap_key_temporary_project(token, key->token_key.mech,
						  key->token_key.mech, ret);
	return wrap_key_temporary(token, key->token_key.role,
				  key->token_key.mech, ret);
}

static enum kt_err open_key(struct token *token, const struct rewrap_key *key,
			    struct wrap_key **ret_parent, struct wrap_key **ret)
{
	if (key->temporary)
		return open_temporary(token, key, ret);
	if (!key->wrapped)
		return wrap_key_find(token, &key->token_key, ret);
	TRY(wrap_key_find(token, &key->token_key, ret_parent));
	return wrap_key_unwrap(*ret_parent, &key->blob, key->mech, &key->canary,
			       ret);
}

enum kt_err work_open(struct token *token, const struct rewrap_key *old_key,
		      const struct rewrap_key *new_key, struct work *ret)
{
	CLEANUP(work_done) struct work work = {.trial = new_key->temporary};
	enum kt_err err;

	if (old_key->temporary)
		return err_raise(KT_ERR_USAGE, "the old key is temporary");
	err = open_key(token, old_key, &work.old_parent, &work.old_key);
	if (err != KT_OK)
		return err_prefix(err, "old key");
	err = open_key(token, new_key, &work.new_parent, &work.new_key);
	if (err != KT_OK)
		return err_prefix(err, "new key");
	*ret = work;
	work = (struct work){0};
	return KT_OK;
}

/* A project key before its parent, which it borrows. */
void work_done(struct work *work)
{
	wrap_key_free(work->old_key);
	wrap_key_free(work->new_key);
	wrap_key_free(work->old_parent);
	wrap_key_free(work->new_parent);
	*work = (struct work){0};
}

static enum kt_err try_item(const struct work *work,
			    const struct rewrap_item *item)
{
	struct blob copy;

	TRY(wrap_copy(work->old_key, work->new_key, &item->in, &copy));
	if (!item->proven)
		return KT_OK;
	return wrap_prove(work->new_key, &copy, work->old_key, &item->in);
}

static size_t sessions_of(const struct rewrap_key *key)
{
	return (key->wrapped || key->token_key.role == KT_KEY_PROJECT) +
	       (size_t)key->temporary;
}

size_t work_sessions(const struct rewrap_key *old_key,
		     const struct rewrap_key *new_key)
{
	return 2 + sessions_of(old_key) + sessions_of(new_key);
}

enum kt_err work_allows(const struct work *work, enum rewrap_op op)
{
	if (work->trial && op != REWRAP_TRY)
		return err_raise(KT_ERR_USAGE,
				 "a temporary key can only be tried");
	return KT_OK;
}

static enum kt_err do_item(const struct work *work, enum rewrap_op op,
			   struct rewrap_item *item)
{
	switch (op) {
	case REWRAP_COPY:
		item->out.len = 0;
		return wrap_copy(work->old_key, work->new_key, &item->in,
				 &item->out);
	case REWRAP_PROVE:
		return wrap_prove(work->new_key, &item->out, work->old_key,
				  &item->in);
	case REWRAP_TRY:
		return try_item(work, item);
	}
	return err_raise(KT_ERR_USAGE, "no such operation");
}

enum kt_err work_item(const struct work *work, enum rewrap_op op,
		      struct rewrap_item *item)
{
	item->err = do_item(work, op, item);
	item->reason[0] = '\0';
	if (item->err != KT_ERR_INTEGRITY)
		return item->err;
	text_cut(item->reason, sizeof(item->reason), kt_err_detail());
	return KT_OK;
}

enum kt_err work_batch(const struct work *work,
		       const struct rewrap_batch *batch)
{
	TRY(work_allows(work, batch->op));
	for (size_t i = 0; i < batch->count; i++)
		TRY(work_item(work, batch->op, &batch->items[i]));
	return KT_OK;
}
