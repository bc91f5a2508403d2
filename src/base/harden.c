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

/* Otherwise the database could be opened as descriptor 2. */
static void fill_standard_descriptors(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		_exit(EXIT_FAILURE);
	close(fd);
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
