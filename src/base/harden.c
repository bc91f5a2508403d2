/*
 * Process hardening, the same for the command and its workers.
 */
#include "base/harden.h"

#include <fcntl.h>
#include <signal.h>
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

struct death_hold death_hold_begin(void)
{
	struct death_hold hold = {.parent = getppid()};

	if (prctl(PR_GET_PDEATHSIG, &hold.signal, 0, 0, 0) != 0)
		hold.signal = 0;
	if (hold.signal != 0)
		prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	return hold;
}

void death_hold_end(struct death_hold *hold)
{
	if (hold->signal == 0)
		return;
	prctl(PR_SET_PDEATHSIG, hold->signal, 0, 0, 0);
	if (getppid() != hold->parent)
		raise(hold->signal);
}
