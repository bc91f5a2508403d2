/*
 * What a process does before it touches a secret.
 */
#ifndef BASE_HARDEN_H
#define BASE_HARDEN_H

#include <stdbool.h>
#include <sys/types.h>

/* No core dump, no ptrace by others, umask 077, no new privileges. Exits the
 * process with status 1 when the kernel refuses. Standard descriptors that
 * are closed are opened on /dev/null first. */
void process_harden(void);

/* From now on the process is killed when its parent, this one, dies. False
 * when that is not to be had or the parent is gone already. Called once, before
 * there are threads; takes SIGUSR2. */
bool death_bind(pid_t parent);

/* Holds such a death back, for work of any thread that must not be cut short.
 * The process ends with the last hold when its parent died meanwhile. A process
 * that is not bound lives on. */
struct death_hold {
	bool held;
};

struct death_hold death_hold_begin(void);
void death_hold_end(struct death_hold *hold);

#endif
