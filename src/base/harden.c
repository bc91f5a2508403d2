/*
 * Process hardening, the same for the command and its workers.
 */
#include "base/harden.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Otherwise the database could be opened as descriptor 2. The wrong way round,
 * so that a closed stdout takes no secret as written, and a closed stdin is
 * no empty one. */
static void fill_standard_descriptors(void)
{
	static const int flags[] = {O_WRONLY, O_RDONLY, O_RDONLY};

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 &&
		    open("/dev/null", flags[fd]) != fd)
			_exit(EXIT_FAILURE);
	}
}

void process_harden(void)
{
	static const struct rlimit none;

	fill_standard_descriptors();
	umask(077);
	if (setrlimit(RLIMIT_CORE, &none) != 0 ||
	    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		_exit(EXIT_FAILURE);
}

/* State of the whole process, as its signals are. The kernel keeps the signal
 * of a parent's death for a thread, and any thread's ends them all: so none
 * could hold it back for another, and it is not SIGKILL but one that asks. */
static struct {
	atomic_bool orphaned;
	atomic_int holds;
} death;

/* Who comes second, this or a hold that begins, sees the other. */
static void parent_died(int number)
{
	(void)number;
	atomic_store(&death.orphaned, true);
	if (atomic_load(&death.holds) == 0)
		kill(getpid(), SIGKILL);
}

bool death_bind(pid_t parent)
{
	struct sigaction action = {.sa_handler = parent_died,
				   .sa_flags = SA_RESTART};

	return sigaction(SIGUSR2, &action, NULL) == 0 &&
	       prctl(PR_SET_PDEATHSIG, SIGUSR2, 0, 0, 0) == 0 &&
	       getppid() == parent;
}

struct death_hold death_hold_begin(void)
{
	atomic_fetch_add(&death.holds, 1);
	if (atomic_load(&death.orphaned))
		kill(getpid(), SIGKILL);
	return (struct death_hold){.held = true};
}

void death_hold_end(struct death_hold *hold)
{
	if (!hold->held)
		return;
	if (atomic_fetch_sub(&death.holds, 1) == 1 &&
	    atomic_load(&death.orphaned))
		kill(getpid(), SIGKILL);
}
