/*
 * How near rewrapping comes to what the token can do: rows per second of the
 * bare loop C_UnwrapKey, C_WrapKey, C_DestroyObject in one process, against
 * rewrap in the same process and with one and two workers, on the same rows
 * of one SoftHSM. The processor time of a row, the workers' included, says the
 * same on a busy machine. Argument: rows, 20000 when there is none.
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"
#include "base/text.h"
#include "hsm/rewrap.h"
#include "hsm/template.h"
#include "tests/unit/softhsm.h"

#define BATCH 1000
#define ROWS_MAX 1000000

struct bench {
	struct softhsm hsm;
	struct token *token;
	struct rewrap_key old_key, new_key;
	struct rewrap_item *rows;
	size_t count;
	double raw; /* rows/s */
};

/* A span of time and of processor time, this program's and its workers'. */
struct span {
	int64_t ms, cpu_us;
};

static int64_t cpu_us(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static struct span span_now(void)
{
	return (struct span){.ms = clock_monotonic_ms(),
			     .cpu_us = cpu_us(RUSAGE_SELF) +
				       cpu_us(RUSAGE_CHILDREN)};
}

static struct span span_since(struct span begin)
{
	struct span now = span_now();

	return (struct span){.ms = now.ms - begin.ms,
			     .cpu_us = now.cpu_us - begin.cpu_us};
}

static enum kt_err make_key(struct token *token, struct rewrap_key *ret)
{
	ret->token_key.role = KT_KEY_MASTER;
	ret->token_key.mech = KT_WRAP_AES_KW;
	TRY(id_random(&ret->token_key.cka_id));
	return token_generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
			      &ret->token_key.cka_id, "bench");
}

static enum kt_err make_rows(struct bench *b)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;

	b->rows = calloc(b->count, sizeof(*b->rows));
	if (b->rows == NULL)
		return err_memory();
	TRY(wrap_key_find(b->token, &b->old_key.token_key, &key));
	for (size_t i = 0; i < b->count; i++)
		TRY(wrap_new(&key, 1, &b->rows[i].in));
	return KT_OK;
}

static enum kt_err raw_row(struct session *s, CK_OBJECT_HANDLE from,
			   CK_OBJECT_HANDLE to, struct template *t,
			   struct blob *in, struct blob *ret)
{
	CK_MECHANISM mech = {CKM_AES_KEY_WRAP, NULL, 0};
	CLEANUP(object_drop) struct object object = {.session = s};
	CK_ULONG len = BLOB_MAX;

	TRY(CALL(s, C_UnwrapKey, &mech, from, in->data, in->len, t->attr,
		 t->count, &object.handle));
	TRY(CALL(s, C_WrapKey, &mech, to, object.handle, ret->data, &len));
	ret->len = (uint16_t)len;
	return KT_OK;
}

static enum kt_err raw_loop(struct bench *b, struct span *ret)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_OBJECT_HANDLE from, to;
	struct template t;
	struct span begin;

	TRY(session_lease(b->token, &s));
	TRY(object_find(s, CKO_SECRET_KEY, &b->old_key.token_key.cka_id,
			&from));
	TRY(object_find(s, CKO_SECRET_KEY, &b->new_key.token_key.cka_id, &to));
	template_fill(&t, KT_KEY_PROJECT, USE_REWRAP, KT_WRAP_AES_KW);
	begin = span_now();
	for (size_t i = 0; i < b->count; i++)
		TRY(raw_row(s, from, to, &t, &b->rows[i].in, &b->rows[i].out));
	*ret = span_since(begin);
	return KT_OK;
}

static enum kt_err collect(struct rewrap *rewrap)
{
	struct rewrap_batch *batch = NULL;

	TRY(rewrap_collect(rewrap, &batch));
	for (size_t i = 0; i < batch->count; i++) {
		if (batch->items[i].err != KT_OK)
			return err_raise(KT_ERR_INTEGRITY, "%s",
					 batch->items[i].reason);
	}
	return KT_OK;
}

static enum kt_err run(struct bench *b, struct rewrap *rewrap)
{
	struct rewrap_batch ring[2 * REWRAP_PROCESSES_MAX];
	size_t depth = rewrap_depth(rewrap);
	size_t total = (b->count + BATCH - 1) / BATCH;
	size_t sent = 0;

	for (size_t done = 0; done < total; done++) {
		for (; sent < total && sent < done + depth; sent++) {
			size_t left = b->count - sent * BATCH;

			ring[sent % depth] = (struct rewrap_batch){
				.op = REWRAP_COPY,
				.count = left < BATCH ? left : BATCH,
				.items = b->rows + sent * BATCH};
			TRY(rewrap_submit(rewrap, &ring[sent % depth]));
		}
		TRY(collect(rewrap));
	}
	return KT_OK;
}

/* The time begins when the workers have logged in; their processor time is
 * known when they have ended, and has the login in it. */
static enum kt_err with_workers(struct bench *b, unsigned processes,
				struct span *ret)
{
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;
	struct rewrap_params params = {.token = b->token,
				       .token_params = &b->hsm.params,
				       .worker = KEYTURN_WORKER,
				       .processes = processes,
				       .old_key = b->old_key,
				       .new_key = b->new_key};
	struct span whole = span_now();
	struct span begin;

	TRY(rewrap_start(&params, &rewrap));
	begin = span_now();
	TRY(run(b, rewrap));
	ret->ms = span_since(begin).ms;
	rewrap_stop(TAKE(rewrap));
	ret->cpu_us = span_since(whole).cpu_us;
	return KT_OK;
}

static void report(struct bench *b, const char *name, struct span span)
{
	double ms = span.ms > 0 ? (double)span.ms : 1;
	double rate = (double)b->count * 1000 / ms;

	if (b->raw <= 0)
		b->raw = rate;
	printf("%-18s %8.0f rows/s  x %4.2f  %6.1f us of processor a row\n",
	       name, rate, rate / b->raw,
	       (double)span.cpu_us / (double)b->count);
}

static enum kt_err measure(struct bench *b)
{
	static const char *const names[] = {
		"rewrap, in process", "rewrap, 1 worker", "rewrap, 2 workers"};
	struct span span;

	TRY(raw_loop(b, &span));
	report(b, "bare token loop", span);
	for (unsigned n = 0; n < 3; n++) {
		TRY(with_workers(b, n, &span));
		report(b, names[n], span);
	}
	return KT_OK;
}

static enum kt_err prepare_and_measure(struct bench *b)
{
	TRY(token_open(&b->hsm.params, &b->token));
	TRY(make_key(b->token, &b->old_key));
	TRY(make_key(b->token, &b->new_key));
	TRY(make_rows(b));
	return measure(b);
}

int main(int argc, char **argv)
{
	static struct bench bench;
	long long rows = 20000;
	enum kt_err err = KT_OK;

	if (argc > 1)
		err = text_to_int(argv[1], 1, ROWS_MAX, "rows", &rows);
	bench.count = (size_t)rows;
	softhsm_start(&bench.hsm);
	if (err == KT_OK)
		err = prepare_and_measure(&bench);
	if (err != KT_OK)
		fprintf(stderr, "bench_rewrap: %s\n", kt_err_detail());
	free(bench.rows);
	token_close(bench.token);
	softhsm_stop(&bench.hsm);
	return err == KT_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}
