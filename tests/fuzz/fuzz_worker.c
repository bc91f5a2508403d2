/*
 * The messages of the workers. The first byte says which message the rest is
 * read as. Each has one form only: what is read and written again is the same
 * bytes.
 */
#include <string.h>

#include "fuzz.h"
#include "hsm/worker.h"

#define NUMBER 7
#define ITEMS 3
#define SESSIONS 8

/* A whole frame of this type, ready to be read. */
static void frame(struct wire *wire, enum wire_type type,
		  const struct input *payload)
{
	wire_begin(wire, type);
	wire_put_bytes(wire, payload->at, payload->left);
	must(wire_end(wire) == KT_OK);
	wire->at = WIRE_HEADER_LEN;
}

static void must_be_same(const struct wire *a, const struct wire *b)
{
	must(a->len == b->len);
	must(memcmp(a->data, b->data, a->len) == 0);
}

static void check_key(const struct rewrap_key *key)
{
	must(key->token_key.role >= KT_KEY_MASTER &&
	     key->token_key.role <= KT_KEY_PROJECT);
	must(key->token_key.mech < KT_WRAP_MECH_MAX_);
	must(key->mech < KT_WRAP_MECH_MAX_);
}

static void hello(struct wire *in, struct wire *out)
{
	CLEANUP(freep)
	struct worker_hello *message = calloc(1, sizeof(*message));

	must(message != NULL);
	message->max_sessions = 77;
	if (worker_get_hello(in, message) != KT_OK) {
		must(message->max_sessions == 77 && message->uri[0] == '\0');
		return;
	}
	check_key(&message->old_key);
	check_key(&message->new_key);
	must(worker_put_hello(out, message) == KT_OK);
	must_be_same(in, out);
}

static void batch(struct wire *in, struct wire *out)
{
	struct rewrap_batch batch = {.count = 77};
	uint64_t number = NUMBER;

	if (worker_get_batch(in, &number, &batch) != KT_OK) {
		must(batch.items == NULL && batch.count == 77);
		must(number == NUMBER);
		return;
	}
	must(batch.count <= REWRAP_ITEMS_MAX && batch.items != NULL);
	must(batch.sessions >= 1 && batch.sessions <= REWRAP_JOBS_MAX);
	must(worker_put_batch(out, number, &batch) == KT_OK);
	free(batch.items);
	must_be_same(in, out);
}

/* What a parent may use after KT_OK: a proof is its verdict, a copy that is
 * good has bytes, one that is bad has none. */
static void check_item(enum rewrap_op op, const struct rewrap_item *item)
{
	must(item->err == KT_OK || item->err == KT_ERR_INTEGRITY);
	must(item->out.len <= BLOB_MAX);
	if (op == REWRAP_COPY)
		must((item->out.len > 0) == (item->err == KT_OK));
	else
		must(item->out.len == 40);
}

static void result(enum rewrap_op op, struct wire *in, struct wire *out)
{
	struct rewrap_item items[ITEMS];
	struct rewrap_batch batch = {
		.op = op, .count = ITEMS, .items = items, .sessions = SESSIONS};

	memset(items, 0, sizeof(items));
	for (size_t i = 0; i < ITEMS; i++)
		items[i].out.len = 40;
	if (worker_get_result(in, NUMBER, &batch) != KT_OK)
		return;
	for (size_t i = 0; i < ITEMS; i++)
		check_item(op, &items[i]);
	must(batch.sessions_had >= 1 && batch.sessions_had <= SESSIONS);
	must(worker_put_result(out, NUMBER, &batch) == KT_OK);
	must_be_same(in, out);
}

/* Its text is shown, so control characters do not survive the way. */
static void error(struct wire *in, struct wire *out)
{
	enum kt_err err = KT_OK, again = KT_OK;
	struct err_saved first;

	if (worker_get_error(in, NUMBER, &err) != KT_OK) {
		must(err == KT_OK);
		return;
	}
	must(err > KT_OK && err < KT_ERR_MAX_ && error_lacks("\n"));
	err_save(err, &first);
	must(worker_put_error(out, NUMBER, err) == KT_OK);
	out->at = WIRE_HEADER_LEN;
	must(worker_get_error(out, NUMBER, &again) == KT_OK && again == err);
	must(strcmp(kt_err_detail(), first.detail) == 0);
	must(strcmp(kt_err_hint(), first.hint) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = {data, size};
	CLEANUP(wire_done) struct wire in = {0};
	CLEANUP(wire_done) struct wire out = {0};

	switch (input_u8(&input)) {
	case 'h':
		frame(&in, WIRE_HELLO, &input);
		hello(&in, &out);
		break;
	case 'b':
		frame(&in, WIRE_BATCH, &input);
		batch(&in, &out);
		break;
	case 'c':
		frame(&in, WIRE_RESULT, &input);
		result(REWRAP_COPY, &in, &out);
		break;
	case 'p':
		frame(&in, WIRE_RESULT, &input);
		result(REWRAP_PROVE, &in, &out);
		break;
	case 'e':
		frame(&in, WIRE_ERROR, &input);
		error(&in, &out);
		break;
	default:
		frame(&in, WIRE_READY, &input);
		batch(&in, &out);
	}
	return 0;
}
