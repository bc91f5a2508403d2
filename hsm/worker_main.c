/*
 * keyturn-worker: rewraps what its parent sends it on descriptor 0. It has a
 * login of its own and as many sessions as it is told, prints nothing, and
 * lives no longer than its parent. Exit
 * status 0 after the parent closed the socket, 1 when it could not begin or was
 * not understood, 2 when it was not started by keyturn.
 */
#include <signal.h>
#include <unistd.h>

#include "base/harden.h"
#include "base/secret.h"
#include "base/text.h"
#include "hsm/crew.h"

#define EXIT_NOT_OURS 2

static bool bind_to_parent(const char *argument)
{
	long long parent;

	return text_to_int(argument, 1, INT_MAX, "parent", &parent) == KT_OK &&
	       death_bind((pid_t)parent);
}

/* The parent decides when to stop, at the edge of a batch; the worker sees it
 * by the end of its socket. */
static void ignore_signals(void)
{
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
}

static enum kt_err reply(struct wire *out)
{
	return wire_send(STDIN_FILENO, out);
}

static enum kt_err reply_error(struct wire *out, uint64_t number,
			       enum kt_err err)
{
	TRY(worker_put_error(out, number, err));
	return reply(out);
}

static enum kt_err hand_pin(void *arg, const char *token_label,
			    struct kt_secret *ret)
{
	const struct kt_secret *pin = arg;

	(void)token_label;
	return kt_secret_copy(pin->data, pin->len, ret);
}

static enum kt_err log_in(const struct worker_hello *hello,
			  struct kt_secret *pin, struct token **ret)
{
	struct kt_pin_source source = {.fd = -1,
				       .prompt = hand_pin,
				       .prompt_arg = pin,
				       .last_try = hello->last_try};
	struct token_params params = {
		.uri = hello->uri,
		.module = hello->module[0] != '\0' ? hello->module : NULL,
		.runtime_dir = hello->runtime_dir,
		.pin = &source,
		.max_sessions = hello->max_sessions};

	return token_open(&params, ret);
}

/* *ret: the parent closed the socket. */
static enum kt_err receive(struct wire *in, bool *ret)
{
	enum wire_state state;

	wire_clear(in);
	TRY(wire_receive(STDIN_FILENO, in, &state));
	*ret = state == WIRE_END;
	return KT_OK;
}

static void batch_done(struct rewrap_batch *batch)
{
	free(batch->items);
}

static enum kt_err do_batch(struct crew *crew, struct wire *in,
			    struct wire *out)
{
	CLEANUP(batch_done) struct rewrap_batch batch = {0};
	uint64_t number;
	enum kt_err err;

	TRY(worker_get_batch(in, &number, &batch));
	err = crew_batch(crew, &batch);
	if (err != KT_OK)
		return reply_error(out, number, err);
	TRY(worker_put_result(out, number, &batch));
	return reply(out);
}

static enum kt_err do_batches(struct crew *crew, struct wire *in,
			      struct wire *out)
{
	bool end = false;

	wire_begin(out, WIRE_READY);
	TRY(wire_end(out));
	TRY(reply(out));
	for (;;) {
		TRY(receive(in, &end));
		if (end)
			return KT_OK;
		TRY(do_batch(crew, in, out));
	}
}

static enum kt_err work_for(const struct worker_hello *hello,
			    struct kt_secret *pin, struct wire *in,
			    struct wire *out)
{
	CLEANUP(token_closep) struct token *token = NULL;
	CLEANUP(crew_closep) struct crew *crew = NULL;
	enum kt_err err = log_in(hello, pin, &token);

	if (err == KT_OK)
		err = crew_open(token, &hello->old_key, &hello->new_key,
				hello->max_sessions, &crew);
	if (err == KT_OK)
		return do_batches(crew, in, out);
	TRY(reply_error(out, 0, err));
	return err;
}

static enum kt_err serve(void)
{
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};
	CLEANUP(freep) struct worker_hello *hello = calloc(1, sizeof(*hello));
	CLEANUP(wire_done) struct wire in = {0};
	CLEANUP(wire_done) struct wire out = {0};
	bool end = false;

	if (hello == NULL)
		return err_memory();
	TRY(wire_receive_pin(STDIN_FILENO, &pin));
	TRY(receive(&in, &end));
	if (end)
		return err_raise(KT_ERR_IO, "no hello");
	TRY(worker_get_hello(&in, hello));
	return work_for(hello, &pin, &in, &out);
}

int main(int argc, char **argv)
{
	process_harden();
	ignore_signals();
	if (argc != 2 || !bind_to_parent(argv[1]))
		return EXIT_NOT_OURS;
	return serve() == KT_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
