/*
 * The death of a process with its parent: at once, but not before the work is
 * done that any of its threads holds it back for. A parent and its child are
 * two more roles of this program; the child says on its stdout what became of
 * it.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/cleanup.h"
#include "base/harden.h"

static void say(char what)
{
	if (write(STDOUT_FILENO, &what, 1) != 1)
		_exit(EXIT_FAILURE);
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000L}, NULL);
}

/* h: held; s: survived its parent; x: and is still there without a hold. */
static void *hold_on(void *arg)
{
	pid_t parent = *(const pid_t *)arg;
	struct death_hold outer = death_hold_begin();
	struct death_hold inner = death_hold_begin();

	say('h');
	while (getppid() == parent)
		pause_ms(5);
	pause_ms(200);
	death_hold_end(&inner);
	say('s');
	death_hold_end(&outer);
	say('x');
	return NULL;
}

static int child(const char *how)
{
	pid_t parent = getppid();
	pthread_t thread;

	if (!death_bind(parent))
		return EXIT_FAILURE;
	if (strcmp(how, "bare") == 0) {
		[[maybe_unused]] CLEANUP(
			death_hold_end) struct death_hold hold =
			death_hold_begin();
	}
	if (strcmp(how, "bare") == 0)
		say('h');
	else if (pthread_create(&thread, NULL, hold_on, &parent) != 0)
		return EXIT_FAILURE;
	for (int i = 0; i < 100; i++)
		pause_ms(100);
	say('x');
	return EXIT_FAILURE;
}

static pid_t start(const char *role, const char *how, int out)
{
	char *argv[] = {(char *)"test_harden", (char *)(uintptr_t)role,
			(char *)(uintptr_t)how, NULL};
	posix_spawn_file_actions_t actions;
	pid_t pid = -1;

	posix_spawn_file_actions_init(&actions);
	if (out >= 0)
		posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	if (posix_spawn(&pid, "/proc/self/exe", &actions, NULL, argv,
			environ) != 0)
		pid = -1;
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static int parent(const char *how)
{
	if (start("child", how, -1) < 0)
		return EXIT_FAILURE;
	pause();
	return EXIT_FAILURE;
}

/* What the child says from its first word to its end, its parent being killed
 * after that word. */
static void orphan_says(const char *how, const char *expected)
{
	char said[8] = {0};
	size_t n = 0;
	int fds[2];
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = start("parent", how, fds[1]);
	assert_true(pid > 0);
	close(fds[1]);
	assert_int_equal(read(fds[0], said, 1), 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	while (n + 2 < sizeof(said) && read(fds[0], said + n + 1, 1) == 1)
		n++;
	close(fds[0]);
	assert_string_equal(said, expected);
}

static void an_orphan_dies(void **state)
{
	(void)state;
	orphan_says("bare", "h");
}

static void a_hold_of_any_thread_keeps_it_alive(void **state)
{
	(void)state;
	orphan_says("held", "hs");
}

static void who_has_no_parent_any_more_is_not_bound(void **state)
{
	(void)state;
	assert_false(death_bind(getpid()));
}

/* Where nothing was bound, as in the command. */
static void a_hold_alone_is_nothing(void **state)
{
	struct death_hold hold = death_hold_begin();

	(void)state;
	death_hold_end(&hold);
	hold = (struct death_hold){0};
	death_hold_end(&hold);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_orphan_dies),
		cmocka_unit_test(a_hold_of_any_thread_keeps_it_alive),
		cmocka_unit_test(a_hold_alone_is_nothing),
		cmocka_unit_test(who_has_no_parent_any_more_is_not_bound),
	};

	if (argc == 3 && strcmp(argv[1], "parent") == 0)
		return parent(argv[2]);
	if (argc == 3 && strcmp(argv[1], "child") == 0)
		return child(argv[2]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
