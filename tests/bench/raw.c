/*
 * The limits: the calls that a rewrap cannot do without, in a bare loop, with
 * nothing of keyturn between them. A child makes its own wraps first, so that
 * its loop touches nothing but the token.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "hsm/template.h"
#include "hsm/wrap_key.h"
#include "tests/bench/bench.h"

#define BLOBS 500
#define BULK 250
#define THREADS_MAX 16
#define PROVEN_IN 16 /* as a dry run: one row in so many goes back, too */

/* A copy and a proof are the same three calls, one way and the other. */
struct raw {
	struct token *token;
	struct wrap_key *from, *to;
	struct blob blobs[BLOBS];
	enum kt_key_role subject;
	bool trial;         /* to a session key, a sample of them and back */
	bool bulk;          /* keys go with their session, many at once */
	size_t rows, count; /* turns, wraps to take in turn */
};

struct lane {
	struct raw *raw;
	struct session *session;
	CK_OBJECT_HANDLE from, to;
	pthread_t thread;
	enum kt_err err;
};

static enum kt_err pass(struct lane *lane, struct template *t,
			CK_OBJECT_HANDLE from, const struct blob *in,
			CK_OBJECT_HANDLE to, struct blob *ret)
{
	CK_MECHANISM mech = {CKM_AES_KEY_WRAP, NULL, 0};
	struct session *s = lane->session;
	CK_ULONG len = sizeof(ret->data);
	CK_OBJECT_HANDLE object;

	TRY(CALL(s, C_UnwrapKey, &mech, from, (CK_BYTE *)in->data, in->len,
		 t->attr, t->count, &object));
	TRY(CALL(s, C_WrapKey, &mech, to, object, ret->data, &len));
	ret->len = (uint16_t)len;
	return lane->raw->bulk ? KT_OK : CALL(s, C_DestroyObject, object);
}

static enum kt_err renew_session(struct lane *lane)
{
	session_release(TAKE(lane->session));
	return session_open_own(lane->raw->token, &lane->session);
}

static enum kt_err loop(struct lane *lane)
{
	struct raw *raw = lane->raw;
	struct template t;
	struct blob out, back;

	template_fill(&t, raw->subject, USE_REWRAP, KT_WRAP_AES_KW);
	for (size_t i = 0; i < raw->rows; i++) {
		const struct blob *in = &raw->blobs[i % raw->count];

		TRY(pass(lane, &t, lane->from, in, lane->to, &out));
		if (raw->bulk && i % BULK == BULK - 1)
			TRY(renew_session(lane));
		if (raw->trial && i % PROVEN_IN == 0)
			TRY(pass(lane, &t, lane->to, &out, lane->from, &back));
	}
	return KT_OK;
}

static void *run_lane(void *arg)
{
	struct lane *lane = arg;

	lane->err = loop(lane);
	return NULL;
}

static enum kt_err make_token_key(struct token *token, struct wrap_key **ret)
{
	struct wrap_key_spec spec = {.role = KT_KEY_RECOVERY,
				     .mech = KT_WRAP_AES_KW};

	TRY(id_random(&spec.cka_id));
	TRY(token_generate(token, spec.role, spec.mech, &spec.cka_id, "bench"));
	return wrap_key_find(token, &spec, ret);
}

static enum kt_err make_session_key(struct token *token, struct wrap_key **ret)
{
	return wrap_key_temporary_project(token, KT_WRAP_AES_KW, KT_WRAP_AES_KW,
					  ret);
}

/* kind: "token" (master rotation), "session" (project rotation), "trial" (dry
 * run: to a session key, and a sample of them back), "bulk" (as token, but
 * without a call to destroy each key). */
static enum kt_err make_keys(const char *kind, struct raw *raw)
{
	bool session = strcmp(kind, "session") == 0;

	raw->trial = strcmp(kind, "trial") == 0;
	raw->bulk = strcmp(kind, "bulk") == 0;
	raw->subject = KT_KEY_DEK;
	TRY(session ? make_session_key(raw->token, &raw->from)
		    : make_token_key(raw->token, &raw->from));
	if (raw->trial)
		TRY(wrap_key_temporary(raw->token, KT_KEY_RECOVERY,
				       KT_WRAP_AES_KW, &raw->to));
	else
		TRY(session ? make_session_key(raw->token, &raw->to)
			    : make_token_key(raw->token, &raw->to));
	for (size_t i = 0; i < raw->count; i++)
		TRY(wrap_new(&raw->from, 1, &raw->blobs[i]));
	return KT_OK;
}

static enum kt_err lane_open(struct raw *raw, struct lane *lane)
{
	lane->raw = raw;
	TRY(session_open_own(raw->token, &lane->session));
	TRY(wrap_key_handle(raw->from, lane->session, &lane->from));
	return wrap_key_handle(raw->to, lane->session, &lane->to);
}

static enum kt_err run_lanes(struct lane *lane, size_t threads)
{
	for (size_t i = 0; i < threads; i++)
		if (pthread_create(&lane[i].thread, NULL, run_lane, &lane[i]) !=
		    0)
			return err_raise(KT_ERR_FAILED, "no more threads");
	for (size_t i = 0; i < threads; i++)
		pthread_join(lane[i].thread, NULL);
	for (size_t i = 0; i < threads; i++)
		TRY(lane[i].err);
	return KT_OK;
}

static enum kt_err drop_key(struct token *token, struct wrap_key *key)
{
	struct kt_id cka_id = key->cka_id;

	wrap_key_free(key);
	return id_is_zero(&cka_id) ? KT_OK : token_destroy(token, &cka_id);
}

/* raw KIND ROWS THREADS */
static enum kt_err raw_role(int argc, char **argv)
{
	static struct raw raw;
	struct lane lane[THREADS_MAX] = {0};
	long long rows, threads;
	struct span begin;

	if (argc != 3)
		return err_raise(KT_ERR_USAGE, "raw KIND ROWS THREADS");
	TRY(text_to_int(argv[1], 1, 100000000, "rows", &rows));
	TRY(text_to_int(argv[2], 1, THREADS_MAX, "threads", &threads));
	raw.count = getenv("KT_BENCH_MODULE") != NULL ? 1 : BLOBS;
	TRY(token_open(&place.hsm.params, &raw.token));
	TRY(make_keys(argv[0], &raw));
	raw.rows = (size_t)(rows / threads);
	for (long long i = 0; i < threads; i++)
		TRY(lane_open(&raw, &lane[i]));
	child_ready();
	begin = span_now();
	TRY(run_lanes(lane, (size_t)threads));
	begin = span_since(begin);
	figure_print("raw", (double)raw.rows * (double)threads, begin.us,
		     begin.cpu_us);
	for (long long i = 0; i < threads; i++)
		session_release(lane[i].session);
	TRY(drop_key(raw.token, raw.from));
	TRY(drop_key(raw.token, raw.to));
	token_close(raw.token);
	return KT_OK;
}

const struct role raw_roles[] = {{"raw", raw_role}, {NULL, NULL}};

enum kt_err raw_measure(const char *kind, unsigned processes, unsigned threads,
			int64_t rows, struct figure *ret)
{
	struct figures figures;
	char n[24], t[24];
	const char *const arguments[] = {"raw", kind, n, t, NULL};

	snprintf(n, sizeof(n), "%lld", (long long)(rows / processes));
	snprintf(t, sizeof(t), "%u", threads);
	TRY(child_run(processes, arguments, &figures));
	if (figures.count == 0)
		return err_raise(KT_ERR_FAILED, "raw said nothing");
	*ret = figures.at[0];
	return KT_OK;
}

static enum kt_err report_raw(const char *kind, unsigned processes,
			      unsigned threads, const struct span *one,
			      struct span *ret)
{
	const int64_t rows = place.brief ? 400 : 8000;
	struct series series = {0};
	struct figure figure;
	char name[48];

	for (int i = 0; i < place.repeats; i++) {
		TRY(raw_measure(kind, processes, threads, rows, &figure));
		series_add(&series, &figure);
	}
	snprintf(name, sizeof(name), "token, %s keys, %u x %u", kind, processes,
		 threads);
	*ret = series_median(&series);
	report_figure(name, rows, *ret, one);
	return KT_OK;
}

/* Processes x threads; each against one of each. */
enum kt_err section_token(void)
{
	static const unsigned lanes[][2] = {{1, 2}, {1, 4}, {2, 1}, {4, 1}};
	struct span one, more;

	TRY(report_raw("token", 1, 1, NULL, &one));
	for (size_t i = 0; i < sizeof(lanes) / sizeof(lanes[0]); i++)
		TRY(report_raw("token", lanes[i][0], lanes[i][1], &one, &more));
	TRY(report_raw("bulk", 1, 1, &one, &more));
	TRY(report_raw("session", 1, 1, NULL, &one));
	return report_raw("session", 2, 1, &one, &more);
}
