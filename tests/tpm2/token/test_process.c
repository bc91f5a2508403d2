/*
 * Processes: more of them than the TPM has sessions, some that die, and some
 * that are forked.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "hsm/tpm2/state.h"
#include "fixture.h"
#include "shim.h"

#include <tss2/tss2_tpm2_types.h>

static CK_RV wrap_with(struct tpm_token *with)
{
	uint8_t value[32] = {0}, wrap[32 + TPM_WRAP_OVERHEAD];

	return tpm_key_wrap(with, &key.id, NULL, 0, value, sizeof(value), wrap);
}

/* In a child: no cmocka there, the status says it. */
static int work(int rounds)
{
	struct tpm_config config = {.tcti = tpm.tcti, .state = tpm.state};
	struct tpm_token *own = NULL;
	int failed = 0;

	if (tpm_token_new(&config, &own) != CKR_OK ||
	    tpm_token_login(own, TPM_USER, BYTES(USER_PIN)) != CKR_OK)
		return 100;
	for (int i = 0; i < rounds; i++)
		failed += wrap_with(own) != CKR_OK;
	tpm_token_free(own);
	return failed;
}

static void test_more_than_sessions(void **state)
{
	pid_t pids[6];
	int status = 0;

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		pids[i] = fork();
		if (pids[i] == 0)
			_exit(work(30));
	}
	for (int i = 0; i < 30; i++)
		OK(wrap_with(token));
	for (size_t i = 0; i < 6; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
}

/* Each leaves its session in the TPM. */
static void test_processes_that_die(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			struct tpm_token *own = swtpm_token(&tpm);

			either_way(tpm_token_login(own, TPM_USER,
						   BYTES(USER_PIN)));
			raise(SIGKILL);
		}
		waitpid(pid, NULL, 0);
		OK(wrap_with(token));
	}
}

/* A key that another process made is there. */
static void test_key_of_another(void **state)
{
	struct tpm_token *other = swtpm_token(&tpm);
	struct tpm_key fresh = {0};

	(void)state;
	login_user(other);
	OK(tpm_key_create(other, TPM_KEY_WRAP, BYTES("x"), &fresh));
	assert_int_equal(keys_live_count(token), 2);
	assert_key_works(token, &fresh.id);
	tpm_key_done(&fresh);
	tpm_token_free(other);
}

/* 0: the child is nobody, can log in for itself and end what it has. */
static int in_child(void)
{
	CK_RV before = wrap_with(token);
	CK_RV login = tpm_token_login(token, TPM_USER, BYTES(USER_PIN));
	CK_RV after = wrap_with(token);

	tpm_token_free(token);
	if (before != CKR_USER_NOT_LOGGED_IN)
		return 1;
	if (login != CKR_OK)
		return 2;
	return after == CKR_OK ? 0 : 3;
}

static void test_fork(void **state)
{
	int status = 0;
	pid_t pid;

	(void)state;
	OK(wrap_with(token));
	shim_reset();
	pid = fork();
	if (pid == 0)
		_exit(in_child());
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	/* The parent's session is still its own. */
	OK(wrap_with(token));
	assert_int_equal(shim_count(), 1);
}

/* One that only frees what it inherited. */
static void test_fork_and_free(void **state)
{
	int status = 0;
	pid_t pid;

	(void)state;
	OK(wrap_with(token));
	shim_reset();
	pid = fork();
	if (pid == 0) {
		tpm_token_free(token);
		_exit((int)shim_count());
	}
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	OK(wrap_with(token));
	assert_int_equal(shim_count(), 1);
}

/* A child does not share its parent's lock: it waits until the alarm. */
static void test_fork_under_the_lock(void **state)
{
	int status = 0;
	pid_t pid;

	(void)state;
	OK(folder_lock(&token->folder));
	pid = fork();
	if (pid == 0) {
		alarm(1);
		_exit((int)folder_lock(&token->folder));
	}
	waitpid(pid, &status, 0);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	folder_unlock(&token->folder);
	OK(wrap_with(token));
}

static struct folder folder_of_another(void)
{
	struct folder other;

	OK(folder_init(tpm.state, &other));
	return other;
}

/* One command needs no lock; it would wait for a minute and fail. */
static void test_wrap_beside_the_lock(void **state)
{
	struct folder other = folder_of_another();

	(void)state;
	OK(wrap_with(token));
	OK(folder_lock(&other));
	OK(wrap_with(token));
	assert_key_works(token, &key.id);
	folder_done(&other);
}

/* In a child: takes the lock, says so, and takes it again when it is told to;
 * the alarm ends the wait. */
static int lock_twice(int said, int told)
{
	struct folder own = folder_of_another();
	char byte = 0;

	if (folder_lock(&own) != CKR_OK)
		return 1;
	folder_unlock(&own);
	if (write(said, &byte, 1) != 1 || read(told, &byte, 1) != 1)
		return 2;
	alarm(1);
	return folder_lock(&own) == CKR_OK ? 3 : 4;
}

/* Whoever has the old file open waits for the new one. */
static void test_removed_lock(void **state)
{
	struct folder other = folder_of_another();
	int up[2], down[2], status = 0;
	char byte = 0;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(up), 0);
	assert_int_equal(pipe(down), 0);
	pid = fork();
	if (pid == 0)
		_exit(lock_twice(up[1], down[0]));
	assert_int_equal(read(up[0], &byte, 1), 1);
	swtpm_shell(&tpm, "rm state/lock");
	OK(folder_lock(&other));
	assert_int_equal(write(down[1], &byte, 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
	folder_done(&other);
	for (size_t i = 0; i < 2; i++) {
		close(up[i]);
		close(down[i]);
	}
}

static void *wrap_many(void *arg)
{
	size_t failed = 0;

	(void)arg;
	for (int i = 0; i < 50; i++)
		failed += wrap_with(token) != CKR_OK;
	return (void *)failed;
}

static void test_threads(void **state)
{
	pthread_t threads[4];
	void *failed = NULL;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(
			pthread_create(&threads[i], NULL, wrap_many, NULL), 0);
	for (size_t i = 0; i < 4; i++) {
		pthread_join(threads[i], &failed);
		assert_null(failed);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_more_than_sessions,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_processes_that_die,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_key_of_another,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_fork, setup_shimmed,
						teardown),
		cmocka_unit_test_setup_teardown(test_fork_and_free,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_fork_under_the_lock,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_wrap_beside_the_lock,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_removed_lock,
						setup_shimmed, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup_shimmed,
						teardown),
	};

	return cmocka_run_group_tests_name("tpm2/process", tests, NULL, NULL);
}
