/*
 * Names of processes: one that ended is known to be gone, one that lives or
 * cannot be seen is not. The files of proc(5) can be taken away here, as where
 * it is not mounted or hides what is another user's.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/process.h"
#include "base/text.h"

static const char *hidden; /* part of the paths that cannot be opened */

FILE *__real_fopen(const char *path, const char *mode);
FILE *__wrap_fopen(const char *path, const char *mode);

FILE *__wrap_fopen(const char *path, const char *mode)
{
	if (hidden != NULL && strstr(path, hidden) != NULL)
		return NULL;
	return __real_fopen(path, mode);
}

static int show_all(void **state)
{
	(void)state;
	hidden = NULL;
	return 0;
}

/* The words of this process's own name. */
struct words {
	char host[80], boot[80], pid[80], start[80];
};

static struct words own_words(void)
{
	struct words words;
	char name[256];
	const char *at = name;

	assert_int_equal(process_name(name, sizeof(name)), KT_OK);
	assert_true(text_word(&at, words.host, sizeof(words.host)));
	assert_true(text_word(&at, words.boot, sizeof(words.boot)));
	assert_true(text_word(&at, words.pid, sizeof(words.pid)));
	assert_true(text_word(&at, words.start, sizeof(words.start)));
	assert_string_equal(at, "");
	return words;
}

static bool words_are_gone(const struct words *words)
{
	char name[512];

	snprintf(name, sizeof(name), "%s %s %s %s", words->host, words->boot,
		 words->pid, words->start);
	return process_is_gone(name);
}

static void this_process_is_there(void **state)
{
	struct words words = own_words();
	long long pid, start;

	(void)state;
	assert_true(text_read_int(words.pid, 1, INT32_MAX, &pid));
	assert_int_equal(pid, getpid());
	assert_true(text_read_int(words.start, 1, INT64_MAX, &start));
	assert_false(words_are_gone(&words));
	assert_false(process_is_stopped(getpid()));
}

static void a_pid_that_is_free_or_anothers_is_gone(void **state)
{
	struct words words = own_words();
	pid_t child = fork();

	(void)state;
	if (child == 0)
		_exit(0);
	assert_true(child > 0);
	assert_int_equal(waitpid(child, NULL, 0), child);
	snprintf(words.pid, sizeof(words.pid), "%d", child);
	assert_true(words_are_gone(&words));
	words = own_words();
	snprintf(words.start, sizeof(words.start), "1");
	assert_true(words_are_gone(&words));
}

static void another_boot_is_gone_but_not_another_host(void **state)
{
	struct words words = own_words();

	(void)state;
	snprintf(words.boot, sizeof(words.boot), "0-0");
	assert_true(words_are_gone(&words));
	snprintf(words.host, sizeof(words.host), "elsewhere");
	assert_false(words_are_gone(&words));
}

static void what_is_no_name_is_not_gone(void **state)
{
	struct words words = own_words();
	char name[256];

	(void)state;
	assert_false(process_is_gone(""));
	assert_false(process_is_gone("x"));
	snprintf(name, sizeof(name), "%s 0-0 1", words.host);
	assert_false(process_is_gone(name));
	snprintf(words.pid, sizeof(words.pid), "9999999999999999999999");
	assert_false(words_are_gone(&words));
	snprintf(words.pid, sizeof(words.pid), "0");
	assert_false(words_are_gone(&words));
	memset(words.host, 'h', sizeof(words.host) - 1);
	words.host[sizeof(words.host) - 1] = '\0';
	assert_false(words_are_gone(&words));
}

static void who_is_hidden_is_not_gone(void **state)
{
	struct words words = own_words();

	(void)state;
	snprintf(words.start, sizeof(words.start), "1");
	hidden = "/stat";
	assert_false(words_are_gone(&words));
	assert_false(process_is_stopped(getpid()));
}

static void without_proc_nobody_is_gone(void **state)
{
	struct words words = own_words();
	char name[256];

	(void)state;
	hidden = "/proc/";
	assert_false(words_are_gone(&words));
	assert_int_equal(process_name(name, sizeof(name)), KT_OK);
	assert_false(process_is_gone(name));
	hidden = NULL;
	assert_false(process_is_gone(name));
}

static void a_stopped_process_is_seen(void **state)
{
	pid_t child = fork();
	int status;

	(void)state;
	if (child == 0) {
		raise(SIGSTOP);
		_exit(0);
	}
	assert_true(child > 0);
	assert_int_equal(waitpid(child, &status, WUNTRACED), child);
	assert_true(WIFSTOPPED(status));
	assert_true(process_is_stopped(child));
	assert_int_equal(kill(child, SIGCONT), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_false(process_is_stopped(child));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(this_process_is_there),
		cmocka_unit_test(a_pid_that_is_free_or_anothers_is_gone),
		cmocka_unit_test(another_boot_is_gone_but_not_another_host),
		cmocka_unit_test(what_is_no_name_is_not_gone),
		cmocka_unit_test_teardown(who_is_hidden_is_not_gone, show_all),
		cmocka_unit_test_teardown(without_proc_nobody_is_gone,
					  show_all),
		cmocka_unit_test(a_stopped_process_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
