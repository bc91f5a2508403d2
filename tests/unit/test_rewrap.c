/*
 * Rewrapping by workers and without, on a SoftHSM: the same bytes either way,
 * bad blobs named, dead workers replaced, a wrong PIN tried once, no worker
 * left behind. The workers are started through a script that writes down
 * their pids.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "hsm/p11.h"
#include "hsm/worker.h"
#include "tests/unit/softhsm.h"

#define ROWS 5000
#define BATCH 250
#define STARTS_MAX 16
#define NEW_PIN "567890"

static struct fixture {
	struct softhsm hsm;
	struct token *token;
	char script[128], pids[128], self[PATH_MAX];
	char plan[128], log[128], counter[128]; /* of p11fault */
	struct rewrap_key old_key, new_key;
	struct wrap_key *old_wrap;
	struct rewrap_item *rows; /* in: under old_key */
} fix;

/* mode: a first argument, for what is no real worker. */
static void script_write(const char *program, const char *mode)
{
	FILE *f = fopen(fix.script, "w");

	assert_non_null(f);
	fprintf(f, "#!/bin/sh\necho $$ >>'%s'\nexec '%s' %s \"$@\"\n", fix.pids,
		program, mode);
	assert_int_equal(fchmod(fileno(f), 0700), 0);
	assert_int_equal(fclose(f), 0);
}

static size_t starts(pid_t ret[STARTS_MAX])
{
	FILE *f = fopen(fix.pids, "r");
	char line[32];
	size_t n = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
		assert_true(n < STARTS_MAX);
		ret[n++] = (pid_t)strtol(line, NULL, 10);
	}
	if (f != NULL)
		fclose(f);
	return n;
}

static size_t count_starts(void)
{
	pid_t pids[STARTS_MAX];

	return starts(pids);
}

static struct rewrap_params params(unsigned processes)
{
	return (struct rewrap_params){
		.token = fix.token,
		.token_params = &fix.hsm.params,
		.worker = fix.script,
		.jobs = processes,
		.processes = processes,
		.old_key = fix.old_key,
		.new_key = fix.new_key,
	};
}

static struct rewrap *start(unsigned processes)
{
	struct rewrap_params p = params(processes);
	struct rewrap *rewrap = NULL;

	assert_int_equal(rewrap_start(&p, &rewrap), KT_OK);
	return rewrap;
}

/* A new project key under the old master key. */
static struct rewrap_key project_key(void)
{
	struct rewrap_key key = fix.old_key;
	struct wrap_key *wrap = NULL;

	key.wrapped = true;
	key.mech = KT_WRAP_AES_KW;
	assert_int_equal(wrap_new(&fix.old_wrap, 1, &key.blob), KT_OK);
	assert_int_equal(
		wrap_key_unwrap(fix.old_wrap, &key.blob, key.mech, NULL, &wrap),
		KT_OK);
	assert_int_equal(wrap_new(&wrap, 1, &key.canary), KT_OK);
	wrap_key_free(wrap);
	return key;
}

static struct rewrap_item *copy_rows(const struct rewrap_item *rows, size_t n)
{
	struct rewrap_item *copy = calloc(n, sizeof(*copy));

	assert_non_null(copy);
	memcpy(copy, rows, n * sizeof(*copy));
	return copy;
}

/* Runs all rows through in batches, as many at once as may be. */
static enum kt_err run(struct rewrap *rewrap, enum rewrap_op op,
		       struct rewrap_item *rows, size_t n)
{
	struct rewrap_batch batches[ROWS / BATCH] = {0};
	size_t count = (n + BATCH - 1) / BATCH;
	size_t sent = 0;

	for (size_t i = 0; i < count; i++) {
		struct rewrap_batch *got = NULL;

		for (; sent < count && sent < i + rewrap_depth(rewrap);
		     sent++) {
			size_t first = sent * BATCH;

			batches[sent] = (struct rewrap_batch){
				.op = op,
				.count = n - first < BATCH ? n - first : BATCH,
				.items = rows + first,
			};
			TRY(rewrap_submit(rewrap, &batches[sent]));
		}
		TRY(rewrap_collect(rewrap, &got));
		assert_ptr_equal(got, &batches[i]);
	}
	return KT_OK;
}

static void assert_all_good(const struct rewrap_item *rows, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].err, KT_OK);
		assert_string_equal(rows[i].reason, "");
	}
}

/* The rows of fix as they are under the new key. */
static void assert_rewrapped(const struct rewrap_item *rows, size_t n)
{
	CLEANUP(freep) struct rewrap_item *here = copy_rows(fix.rows, n);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(0);

	assert_int_equal(run(rewrap, REWRAP_COPY, here, n), KT_OK);
	assert_all_good(here, n);
	assert_all_good(rows, n);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].out.len, 40);
		assert_true(blob_equal(&rows[i].out, &here[i].out));
		assert_false(blob_equal(&rows[i].out, &rows[i].in));
	}
}

static void workers_give_what_one_process_gives(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, ROWS);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(2);

	(void)state;
	assert_int_equal(rewrap_depth(rewrap), 4);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, ROWS), KT_OK);
	assert_rewrapped(rows, ROWS);
	assert_int_equal(run(rewrap, REWRAP_PROVE, rows, ROWS), KT_OK);
	assert_all_good(rows, ROWS);
	assert_int_equal(count_starts(), 2);
}

static void check_corrupt(unsigned processes)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 2 * BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(processes);

	rows[100].in.data[7] ^= 1;
	rows[BATCH].in.len = 39;
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, 2 * BATCH), KT_OK);
	for (size_t i = 0; i < 2 * BATCH; i++) {
		bool bad = i == 100 || i == BATCH;

		assert_int_equal(rows[i].err, bad ? KT_ERR_INTEGRITY : KT_OK);
		assert_int_equal(rows[i].out.len, bad ? 0 : 40);
		assert_true((rows[i].reason[0] != '\0') == bad);
	}
}

static void a_corrupt_blob_is_named_and_the_rest_done(void **state)
{
	(void)state;
	check_corrupt(0);
	check_corrupt(1);
	assert_int_equal(count_starts(), 1);
}

static void a_proof_finds_swapped_rows(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(1);
	struct blob moved;

	(void)state;
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_OK);
	moved = rows[3].out;
	rows[3].out = rows[4].out;
	rows[4].out = moved;
	assert_int_equal(run(rewrap, REWRAP_PROVE, rows, BATCH), KT_OK);
	for (size_t i = 0; i < BATCH; i++)
		assert_int_equal(rows[i].err,
				 i == 3 || i == 4 ? KT_ERR_INTEGRITY : KT_OK);
}

static void check_trial(unsigned processes, struct rewrap_key old_key,
			const struct rewrap_item *from, size_t n)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(from, n);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;
	struct rewrap_params p = params(processes);

	p.old_key = p.new_key = old_key;
	p.new_key.temporary = true;
	assert_int_equal(rewrap_start(&p, &rewrap), KT_OK);
	rows[1].in.data[0] ^= 0x80;
	assert_int_equal(run(rewrap, REWRAP_TRY, rows, n), KT_OK);
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rows[i].err,
				 i == 1 ? KT_ERR_INTEGRITY : KT_OK);
		assert_int_equal(rows[i].out.len, 0);
	}
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, n), KT_ERR_USAGE);
}

static void a_trial_needs_no_new_key(void **state)
{
	(void)state;
	check_trial(0, fix.old_key, fix.rows, BATCH);
	check_trial(1, fix.old_key, fix.rows, BATCH);
}

/* DEKs: keys under a project key. */
static void deks_below(const struct rewrap_key *project,
		       struct rewrap_item *rows, size_t n)
{
	struct wrap_key *wrap = NULL;

	assert_int_equal(wrap_key_unwrap(fix.old_wrap, &project->blob,
					 project->mech, &project->canary,
					 &wrap),
			 KT_OK);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(wrap_new(&wrap, 1, &rows[i].in), KT_OK);
	wrap_key_free(wrap);
}

static void project_keys_are_rewrapped_alike(void **state)
{
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;
	struct rewrap_params p = params(1);
	struct rewrap_item rows[20] = {0};

	(void)state;
	p.old_key = project_key();
	p.new_key = project_key();
	deks_below(&p.old_key, rows, 20);
	assert_int_equal(rewrap_start(&p, &rewrap), KT_OK);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, 20), KT_OK);
	assert_all_good(rows, 20);
	assert_int_equal(run(rewrap, REWRAP_PROVE, rows, 20), KT_OK);
	assert_all_good(rows, 20);
	for (size_t i = 0; i < 20; i++)
		rows[i].out.len = 0;
	check_trial(0, p.old_key, rows, 20);
	check_trial(1, p.old_key, rows, 20);
}

static void kill_first_worker(int signal)
{
	pid_t pids[STARTS_MAX];

	assert_true(starts(pids) >= 1);
	assert_int_equal(kill(pids[0], signal), 0);
}

/* Fills the pipeline, sends the signal, collects everything. */
static enum kt_err run_and_signal(struct rewrap *rewrap, int signal,
				  struct rewrap_item *rows, size_t batches)
{
	struct rewrap_batch batch[4];
	enum kt_err err = KT_OK;

	for (size_t i = 0; i < batches; i++) {
		batch[i] = (struct rewrap_batch){.op = REWRAP_COPY,
						 .count = BATCH,
						 .items = rows + i * BATCH};
		assert_int_equal(rewrap_submit(rewrap, &batch[i]), KT_OK);
	}
	kill_first_worker(signal);
	for (size_t i = 0; i < batches; i++) {
		struct rewrap_batch *got = NULL;
		enum kt_err one = rewrap_collect(rewrap, &got);

		if (one == KT_OK)
			assert_ptr_equal(got, &batch[i]);
		else
			err = one;
	}
	return err;
}

static void a_killed_worker_is_replaced(void **state)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 4 * BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(2);

	(void)state;
	assert_int_equal(run_and_signal(rewrap, SIGKILL, rows, 4), KT_OK);
	assert_rewrapped(rows, 4 * BATCH);
	assert_int_equal(count_starts(), 3);
}

static void an_idle_worker_may_die_too(void **state)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 4 * BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(1);

	(void)state;
	kill_first_worker(SIGKILL);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, 4 * BATCH), KT_OK);
	assert_rewrapped(rows, 4 * BATCH);
	assert_int_equal(count_starts(), 2);
}

static void signals_of_the_terminal_do_not_end_a_worker(void **state)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		CLEANUP(freep)
		struct rewrap_item *rows = copy_rows(fix.rows, 2 * BATCH);
		CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;

		unlink(fix.pids);
		rewrap = start(1);
		assert_int_equal(run_and_signal(rewrap, signals[i], rows, 2),
				 KT_OK);
		assert_rewrapped(rows, 2 * BATCH);
		assert_int_equal(count_starts(), 1);
	}
}

static void a_worker_that_cannot_be_replaced_ends_the_batch(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(1);

	(void)state;
	script_write("/bin/false", "");
	assert_int_equal(run_and_signal(rewrap, SIGKILL, rows, 1),
			 KT_ERR_TOKEN);
	assert_int_equal(count_starts(), 2);
	/* The next batch has its own two tries, with a good worker again. */
	script_write(KEYTURN_WORKER, "");
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_OK);
	assert_rewrapped(rows, BATCH);
}

static void a_worker_is_replaced_when_it_has_done_enough(void **state)
{
	const size_t rounds = 3;
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(1);
	struct rewrap_item *rows = calloc(REWRAP_ITEMS_MAX + 1, sizeof(*rows));
	struct rewrap_batch batch = {.count = REWRAP_ITEMS_MAX + 1,
				     .items = rows};
	struct rewrap_batch *got = NULL;

	(void)state;
	assert_non_null(rows);
	assert_int_equal(rewrap_submit(rewrap, &batch), KT_ERR_USAGE);
	batch.count = REWRAP_ITEMS_MAX;
	for (size_t i = 0; i < rounds; i++) {
		assert_int_equal(count_starts(), 1);
		assert_int_equal(rewrap_submit(rewrap, &batch), KT_OK);
		assert_int_equal(rewrap_collect(rewrap, &got), KT_OK);
		assert_int_equal(rows[i].err, KT_ERR_INTEGRITY);
	}
	assert_int_equal(count_starts(), 2);
	free(rows);
}

/* A batch of as many keys as may be, none of which can be unwrapped. */
static void spend(struct rewrap *rewrap, struct rewrap_item *rows)
{
	struct rewrap_batch batch = {.count = REWRAP_ITEMS_MAX, .items = rows};
	struct rewrap_batch *got = NULL;

	assert_int_equal(rewrap_submit(rewrap, &batch), KT_OK);
	assert_int_equal(rewrap_collect(rewrap, &got), KT_OK);
}

static void wait_until_dead(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

/* Its count must not outlive it: there is no other worker to wait for. */
static void a_worker_that_dies_when_it_is_spent_is_replaced(void **state)
{
	CLEANUP(freep)
	struct rewrap_item *rows = calloc(REWRAP_ITEMS_MAX, sizeof(*rows));
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(1);
	pid_t pids[STARTS_MAX];

	(void)state;
	assert_non_null(rows);
	spend(rewrap, rows);
	spend(rewrap, rows);
	assert_int_equal(starts(pids), 1);
	kill_first_worker(SIGKILL);
	wait_until_dead(pids[0]);
	memcpy(rows, fix.rows, BATCH * sizeof(*rows));
	alarm(60);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_OK);
	alarm(0);
	assert_rewrapped(rows, BATCH);
	assert_int_equal(count_starts(), 2);
}

static void an_empty_batch_is_a_batch(void **state)
{
	(void)state;
	for (unsigned processes = 0; processes < 2; processes++) {
		CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(processes);
		struct rewrap_batch batch = {0};
		struct rewrap_batch *got = NULL;

		assert_int_equal(rewrap_submit(rewrap, &batch), KT_OK);
		assert_int_equal(rewrap_collect(rewrap, &got), KT_OK);
		assert_ptr_equal(got, &batch);
	}
}

static void change_pin(const char *from, const char *to)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_UTF8CHAR old_pin[16], new_pin[16];

	memcpy(old_pin, from, strlen(from));
	memcpy(new_pin, to, strlen(to));
	assert_int_equal(session_lease_rw(fix.token, &s), KT_OK);
	assert_int_equal(
		CALL(s, C_SetPIN, old_pin, strlen(from), new_pin, strlen(to)),
		KT_OK);
}

static void a_wrong_pin_is_tried_once(void **state)
{
	struct rewrap_params p = params(2);
	struct rewrap *rewrap = NULL;

	(void)state;
	change_pin(SOFTHSM_PIN, NEW_PIN);
	assert_int_equal(rewrap_start(&p, &rewrap), KT_ERR_PIN);
	assert_null(rewrap);
	assert_int_equal(count_starts(), 1);
	change_pin(NEW_PIN, SOFTHSM_PIN);
}

static void a_pin_that_turned_wrong_ends_everything(void **state)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 4 * BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(2);
	struct rewrap_batch more = {.count = 1, .items = rows};

	(void)state;
	change_pin(SOFTHSM_PIN, NEW_PIN);
	assert_int_equal(run_and_signal(rewrap, SIGKILL, rows, 4), KT_ERR_PIN);
	assert_int_equal(count_starts(), 3);
	assert_int_equal(rewrap_submit(rewrap, &more), KT_ERR_PIN);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	change_pin(NEW_PIN, SOFTHSM_PIN);
}

/* Workers behind a module that fails by a plan; jobs in one process. */
static struct rewrap *start_behind(const char *plan, unsigned jobs)
{
	static struct token_params token_params;
	struct rewrap_params p = params(1);
	struct rewrap *rewrap = NULL;

	token_params = fix.hsm.params;
	token_params.module = P11FAULT;
	p.token_params = &token_params;
	p.jobs = jobs;
	unlink(fix.counter);
	unlink(fix.log);
	unlink(fix.plan);
	assert_int_equal(file_write_new(fix.plan, plan, strlen(plan)), KT_OK);
	assert_int_equal(rewrap_start(&p, &rewrap), KT_OK);
	return rewrap;
}

/* So often was the function called, by workers behind the plan. */
static size_t calls_of(const char *function)
{
	FILE *f = fopen(fix.log, "r");
	char line[256], name[64];
	size_t n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += sscanf(line, "%*s %*s %63s", name) == 1 &&
		     strcmp(name, function) == 0;
	fclose(f);
	return n;
}

/* All rows, whatever the plan does to one of eight sessions. */
static void check_eight(const char *plan, size_t expected_starts)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 4 * BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;

	unlink(fix.pids);
	rewrap = start_behind(plan, 8);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, 4 * BATCH), KT_OK);
	assert_int_equal(run(rewrap, REWRAP_PROVE, rows, 4 * BATCH), KT_OK);
	assert_rewrapped(rows, 4 * BATCH);
	assert_int_equal(count_starts(), expected_starts);
}

static void a_worker_has_many_sessions(void **state)
{
	(void)state;
	check_eight("", 1);
	/* Anchor, those of the crew, and no others. */
	assert_int_equal(calls_of("C_OpenSession"), 9);
	assert_int_equal(calls_of("C_Login"), 1);
}

static void what_one_of_many_sessions_meets_is_overcome(void **state)
{
	(void)state;
	check_eight("C_UnwrapKey 700 before rv CKR_SESSION_HANDLE_INVALID\n",
		    1);
	check_eight("C_WrapKey 700 before rv CKR_DEVICE_ERROR\n", 2);
	check_eight("C_UnwrapKey 700 before kill\n", 2);
	check_eight("C_DestroyObject 700 after kill\n", 2);
	check_eight("C_UnwrapKey 700 before gone 5\n", 2);
	check_eight("C_OpenSession 5+ before rv CKR_SESSION_COUNT\n", 1);
	check_eight("C_OpenSession 2+ before delay 20\n"
		    "C_WrapKey 9 before rv CKR_OBJECT_HANDLE_INVALID\n"
		    "C_WrapKey 19 before rv CKR_SESSION_CLOSED\n",
		    1);
}

static void a_row_is_named_by_any_session(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start_behind("", 8);

	(void)state;
	for (size_t i = 0; i < BATCH; i += 25)
		rows[i].in.data[3] ^= 4;
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_OK);
	for (size_t i = 0; i < BATCH; i++)
		assert_int_equal(rows[i].err,
				 i % 25 == 0 ? KT_ERR_INTEGRITY : KT_OK);
	assert_int_equal(count_starts(), 1);
}

static void a_pin_that_one_session_finds_wrong_ends_everything(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, BATCH);
	CLEANUP(rewrap_stopp)
	struct rewrap *rewrap = start_behind(
		"C_UnwrapKey 100 before rv CKR_SESSION_HANDLE_INVALID\n"
		"C_GetSessionInfo * before rv CKR_FUNCTION_FAILED\n"
		"C_Login 2+ before rv CKR_PIN_INCORRECT\n",
		8);

	(void)state;
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_ERR_PIN);
	assert_int_equal(calls_of("C_Login"), 2);
	assert_int_equal(count_starts(), 1);
}

static int64_t far_us(unsigned jobs)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 2 * BATCH);
	CLEANUP(rewrap_stopp)
	struct rewrap *rewrap =
		start_behind("C_UnwrapKey * before delay 5\n", jobs);
	int64_t begin = clock_monotonic_us();

	assert_int_equal(run(rewrap, REWRAP_COPY, rows, 2 * BATCH), KT_OK);
	return clock_monotonic_us() - begin;
}

/* The same sleeps, eight at a time: what else the machine does is in both. */
static void many_sessions_are_faster_on_a_far_token(void **state)
{
	int64_t one = far_us(1), eight = far_us(8);

	(void)state;
	assert_int_equal(count_starts(), 2);
	assert_true(one > 3 * eight);
}

/* As fast as it was told to be, but it says that it has two sessions; writes
 * down how many it was to have. */
static enum kt_err answer_few(struct wire *out, uint64_t number,
			      struct rewrap_batch *batch)
{
	const long us = (long)(batch->count * 2000 / batch->sessions);
	FILE *f = fopen(getenv("P11FAULT_LOG"), "a");

	if (f == NULL)
		return err_errno("log");
	fprintf(f, "%u\n", batch->sessions);
	fclose(f);
	nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
	for (size_t i = 0; i < batch->count; i++)
		batch->items[i].out = batch->items[i].in;
	batch->waits = (uint32_t)(3 * batch->count);
	batch->sessions_had = batch->sessions < 2 ? batch->sessions : 2;
	return worker_put_result(out, number, batch);
}

/* A third role of this program: a worker that logs in nowhere and answers
 * every batch wrongly. */
static enum kt_err answer_wrongly(struct wire *in, struct wire *out,
				  const char *how)
{
	struct rewrap_batch batch;
	uint64_t number;
	enum kt_err err;

	TRY(worker_get_batch(in, &number, &batch));
	if (strcmp(how, "mixed-up") == 0)
		err = worker_put_result(out, number + 1, &batch);
	else if (strcmp(how, "few") == 0)
		err = answer_few(out, number, &batch);
	else
		err = worker_put_error(out, number,
				       err_raise(KT_ERR_TOKEN, "I am sick"));
	free(batch.items);
	return err;
}

static void wait_to_be_killed(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	pause();
}

static enum kt_err pretend(const char *how)
{
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};
	CLEANUP(wire_done) struct wire in = {0};
	CLEANUP(wire_done) struct wire out = {0};
	enum wire_state state;

	TRY(wire_receive_pin(STDIN_FILENO, &pin));
	TRY(wire_receive(STDIN_FILENO, &in, &state));
	wire_begin(&out, WIRE_READY);
	TRY(wire_end(&out));
	for (;;) {
		TRY(wire_send(STDIN_FILENO, &out));
		wire_clear(&in);
		TRY(wire_receive(STDIN_FILENO, &in, &state));
		if (state != WIRE_WHOLE)
			return KT_OK;
		if (strcmp(how, "stuck") == 0)
			wait_to_be_killed();
		TRY(answer_wrongly(&in, &out, how));
	}
}

/* "last:PID": that one ends with it. */
static int play(const char *how)
{
	enum kt_err err = pretend(how);

	if (strncmp(how, "last:", 5) == 0)
		kill((pid_t)strtol(how + 5, NULL, 10), SIGKILL);
	return err == KT_OK ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void check_pretender(const char *how, const char *detail)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;

	unlink(fix.pids);
	script_write(fix.self, how);
	rewrap = start(1);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_ERR_TOKEN);
	assert_non_null(strstr(kt_err_detail(), detail));
	assert_int_equal(count_starts(), 2);
	script_write(KEYTURN_WORKER, "");
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, BATCH), KT_OK);
	assert_rewrapped(rows, BATCH);
	assert_int_equal(count_starts(), 3);
}

static void a_batch_is_tried_twice_and_no_more(void **state)
{
	(void)state;
	check_pretender("sick", "I am sick");
	check_pretender("mixed-up", "another question");
}

/* The first worker never answers, the others say that the token is sick; the
 * last of those takes the first one with it. */
static void script_write_sick_token(void)
{
	FILE *f = fopen(fix.script, "w");

	assert_non_null(f);
	fprintf(f,
		"#!/bin/sh\necho $$ >>'%s'\nset -- $(cat '%s')\n"
		"case $# in 1) how=stuck ;; 2) how=sick ;;\n"
		"*) how=\"last:$1\" ;; esac\n"
		"exec '%s' \"$how\" $PPID\n",
		fix.pids, fix.pids, fix.self);
	assert_int_equal(fchmod(fileno(f), 0700), 0);
	assert_int_equal(fclose(f), 0);
}

/* With the oldest batch in one worker's hands still, the other one must not
 * begin with the next. */
static void nothing_is_begun_behind_a_batch_that_failed(void **state)
{
	CLEANUP(freep)
	struct rewrap_item *rows = copy_rows(fix.rows, 4 * BATCH);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;
	struct rewrap_batch batch[4];
	struct rewrap_batch *got = NULL;

	(void)state;
	script_write_sick_token();
	rewrap = start(2);
	for (size_t i = 0; i < 4; i++) {
		batch[i] = (struct rewrap_batch){.op = REWRAP_COPY,
						 .count = BATCH,
						 .items = rows + i * BATCH};
		assert_int_equal(rewrap_submit(rewrap, &batch[i]), KT_OK);
	}
	assert_int_equal(rewrap_collect(rewrap, &got), KT_ERR_TOKEN);
	assert_non_null(strstr(kt_err_detail(), "I am sick"));
	assert_int_equal(count_starts(), 3);
}

/* Told 4 and had 2: it is told 2 from then on, however it pays. */
static void the_search_ends_where_sessions_do(void **state)
{
	CLEANUP(freep) struct rewrap_item *rows = copy_rows(fix.rows, ROWS);
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = NULL;
	struct rewrap_params p = params(1);
	unsigned told = 0, most = 0;
	char line[16];
	FILE *f;

	(void)state;
	unlink(fix.log);
	script_write(fix.self, "few");
	p.jobs_max = 32;
	assert_int_equal(rewrap_start(&p, &rewrap), KT_OK);
	assert_int_equal(run(rewrap, REWRAP_COPY, rows, ROWS), KT_OK);
	f = fopen(fix.log, "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		told = (unsigned)strtoul(line, NULL, 10);
		most = told > most ? told : most;
	}
	fclose(f);
	assert_int_equal(most, 4);
	assert_int_equal(told, 2);
}

static void what_is_no_worker_is_refused(void **state)
{
	struct rewrap_params p = params(1);
	struct rewrap *rewrap = NULL;

	(void)state;
	p.worker = "/nonexistent/keyturn-worker";
	assert_int_equal(rewrap_start(&p, &rewrap), KT_ERR_CONFIG);
	script_write("/bin/false", "");
	p.worker = fix.script;
	assert_int_equal(rewrap_start(&p, &rewrap), KT_ERR_TOKEN);
	script_write("/bin/true", "");
	assert_int_equal(rewrap_start(&p, &rewrap), KT_ERR_TOKEN);
	script_write(KEYTURN_WORKER, "");
	p.jobs = REWRAP_JOBS_MAX + 1;
	assert_int_equal(rewrap_start(&p, &rewrap), KT_ERR_USAGE);
	assert_null(rewrap);
}

static void an_unknown_key_ends_the_start(void **state)
{
	(void)state;
	for (unsigned processes = 0; processes < 2; processes++) {
		struct rewrap_params p = params(processes);
		struct rewrap *rewrap = NULL;

		p.new_key.token_key.cka_id.bytes[0] ^= 1;
		assert_int_equal(rewrap_start(&p, &rewrap), KT_ERR_NOT_FOUND);
		assert_non_null(strstr(kt_err_detail(), "new key"));
	}
}

static void argv_names_the_parent_only(void **state)
{
	CLEANUP(rewrap_stopp) struct rewrap *rewrap = start(1);
	pid_t pids[STARTS_MAX];
	char path[64], expected[512], got[512] = {0};
	int len, fd;

	(void)state;
	assert_non_null(rewrap);
	assert_int_equal(starts(pids), 1);
	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pids[0]);
	len = snprintf(expected, sizeof(expected), "%s %d ", KEYTURN_WORKER,
		       (int)getpid());
	fd = open(path, O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof(got)), len);
	close(fd);
	for (int i = 0; i < len; i++)
		got[i] = got[i] == '\0' ? ' ' : got[i];
	assert_string_equal(got, expected);
}

static void a_worker_alone_does_not_run(void **state)
{
	char *const argv[] = {(char *)"keyturn-worker", (char *)"1", NULL};
	char *const bare[] = {(char *)"keyturn-worker", NULL};
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(
		posix_spawn(&pid, KEYTURN_WORKER, NULL, NULL, argv, environ),
		0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 2);
	assert_int_equal(
		posix_spawn(&pid, KEYTURN_WORKER, NULL, NULL, bare, environ),
		0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 2);
}

/* The other role of this program: a parent with two workers that says "r" on
 * its stdout when they run and then waits to be killed. */
static int hold(char **ids)
{
	struct kt_pin_source pin = {.fd = -1, .environment = SOFTHSM_PIN};
	struct token_params token_params = {
		.uri = "pkcs11:token=" SOFTHSM_LABEL,
		.module = SOFTHSM_MODULE,
		.runtime_dir = ids[0],
		.pin = &pin};
	struct rewrap_params p = {.token_params = &token_params,
				  .worker = ids[1],
				  .jobs = 2,
				  .processes = 2};
	struct rewrap *rewrap = NULL;

	p.old_key.token_key.role = p.new_key.token_key.role = KT_KEY_MASTER;
	p.old_key.token_key.mech = p.new_key.token_key.mech = KT_WRAP_AES_KW;
	if (!hex_decode(ids[2], p.old_key.token_key.cka_id.bytes, KT_ID_LEN) ||
	    !hex_decode(ids[3], p.new_key.token_key.cka_id.bytes, KT_ID_LEN) ||
	    token_open(&token_params, &p.token) != KT_OK ||
	    rewrap_start(&p, &rewrap) != KT_OK)
		return EXIT_FAILURE;
	if (write(STDOUT_FILENO, "r", 1) == 1)
		pause();
	return EXIT_FAILURE;
}

static pid_t spawn_holder(int out)
{
	char ids[2][2 * KT_ID_LEN + 1];
	char *const argv[] = {(char *)"test_rewrap",
			      (char *)"hold",
			      fix.hsm.runtime_dir,
			      fix.script,
			      ids[0],
			      ids[1],
			      NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid;

	hex_encode(fix.old_key.token_key.cka_id.bytes, KT_ID_LEN, ids[0]);
	hex_encode(fix.new_key.token_key.cka_id.bytes, KT_ID_LEN, ids[1]);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	assert_int_equal(posix_spawn(&pid, "/proc/self/exe", &actions, NULL,
				     argv, environ),
			 0);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

/* Orphans become this program's children, so that it sees them end. */
static void workers_die_with_their_parent(void **state)
{
	pid_t pids[STARTS_MAX];
	pid_t holder;
	int fds[2];
	char ready = 0;

	(void)state;
	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	assert_int_equal(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
	holder = spawn_holder(fds[1]);
	close(fds[1]);
	assert_int_equal(read(fds[0], &ready, 1), 1);
	assert_int_equal(starts(pids), 2);
	assert_int_equal(kill(holder, SIGKILL), 0);
	assert_int_equal(waitpid(holder, NULL, 0), holder);
	alarm(20);
	assert_int_equal(waitpid(pids[0], NULL, 0), pids[0]);
	assert_int_equal(waitpid(pids[1], NULL, 0), pids[1]);
	/* a sanitizer's helper, where there is one */
	while (waitpid(-1, NULL, 0) > 0)
		;
	alarm(0);
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	close(fds[0]);
}

static int each_setup(void **state)
{
	(void)state;
	unlink(fix.pids);
	script_write(KEYTURN_WORKER, "");
	return 0;
}

/* However a test ended: nothing of it runs on. */
static int each_teardown(void **state)
{
	(void)state;
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	return 0;
}

static void make_key(struct rewrap_key *ret)
{
	ret->token_key.role = KT_KEY_MASTER;
	ret->token_key.mech = KT_WRAP_AES_KW;
	assert_int_equal(id_random(&ret->token_key.cka_id), KT_OK);
	assert_int_equal(token_generate(fix.token, KT_KEY_MASTER,
					KT_WRAP_AES_KW, &ret->token_key.cka_id,
					"test"),
			 KT_OK);
}

static struct wrap_key *find_key(struct rewrap_key *key)
{
	struct wrap_key *wrap = NULL;

	assert_int_equal(wrap_key_find(fix.token, &key->token_key, &wrap),
			 KT_OK);
	assert_int_equal(wrap_new(&wrap, 1, &key->token_key.canary), KT_OK);
	return wrap;
}

/* For the workers; they inherit it. */
static void proxy_setup(void)
{
	snprintf(fix.plan, sizeof(fix.plan), "%s/plan", fix.hsm.folder);
	snprintf(fix.log, sizeof(fix.log), "%s/log", fix.hsm.folder);
	snprintf(fix.counter, sizeof(fix.counter), "%s/counter",
		 fix.hsm.folder);
	setenv("P11FAULT_MODULE", SOFTHSM_MODULE, 1);
	setenv("P11FAULT_PLAN", fix.plan, 1);
	setenv("P11FAULT_LOG", fix.log, 1);
	setenv("P11FAULT_COUNTER", fix.counter, 1);
}

static int group_setup(void **state)
{
	(void)state;
	softhsm_start(&fix.hsm);
	assert_true(readlink("/proc/self/exe", fix.self, sizeof(fix.self) - 1) >
		    0);
	snprintf(fix.script, sizeof(fix.script), "%s/worker", fix.hsm.folder);
	snprintf(fix.pids, sizeof(fix.pids), "%s/pids", fix.hsm.folder);
	proxy_setup();
	assert_int_equal(token_open(&fix.hsm.params, &fix.token), KT_OK);
	make_key(&fix.old_key);
	make_key(&fix.new_key);
	wrap_key_free(find_key(&fix.old_key));
	wrap_key_free(find_key(&fix.new_key));
	assert_int_equal(
		wrap_key_find(fix.token, &fix.old_key.token_key, &fix.old_wrap),
		KT_OK);
	fix.rows = calloc(ROWS, sizeof(*fix.rows));
	assert_non_null(fix.rows);
	for (size_t i = 0; i < ROWS; i++)
		assert_int_equal(wrap_new(&fix.old_wrap, 1, &fix.rows[i].in),
				 KT_OK);
	return 0;
}

static int group_teardown(void **state)
{
	(void)state;
	free(fix.rows);
	wrap_key_free(fix.old_wrap);
	token_close(fix.token);
	softhsm_stop(&fix.hsm);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, each_setup, each_teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(workers_give_what_one_process_gives),
		TEST(a_corrupt_blob_is_named_and_the_rest_done),
		TEST(a_proof_finds_swapped_rows),
		TEST(a_trial_needs_no_new_key),
		TEST(project_keys_are_rewrapped_alike),
		TEST(a_killed_worker_is_replaced),
		TEST(an_idle_worker_may_die_too),
		TEST(signals_of_the_terminal_do_not_end_a_worker),
		TEST(a_worker_that_cannot_be_replaced_ends_the_batch),
		TEST(a_worker_is_replaced_when_it_has_done_enough),
		TEST(a_worker_that_dies_when_it_is_spent_is_replaced),
		TEST(an_empty_batch_is_a_batch),
		TEST(a_wrong_pin_is_tried_once),
		TEST(a_pin_that_turned_wrong_ends_everything),
		TEST(a_worker_has_many_sessions),
		TEST(what_one_of_many_sessions_meets_is_overcome),
		TEST(a_row_is_named_by_any_session),
		TEST(a_pin_that_one_session_finds_wrong_ends_everything),
		TEST(many_sessions_are_faster_on_a_far_token),
		TEST(a_batch_is_tried_twice_and_no_more),
		TEST(nothing_is_begun_behind_a_batch_that_failed),
		TEST(the_search_ends_where_sessions_do),
		TEST(what_is_no_worker_is_refused),
		TEST(an_unknown_key_ends_the_start),
		TEST(argv_names_the_parent_only),
		TEST(a_worker_alone_does_not_run),
		TEST(workers_die_with_their_parent),
	};

	if (argc == 6 && strcmp(argv[1], "hold") == 0)
		return hold(argv + 2);
	if (argc == 3)
		return play(argv[1]);
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
