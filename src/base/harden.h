/*
 * What a process does before it touches a secret.
 */
#ifndef BASE_HARDEN_H
#define BASE_HARDEN_H

/* No core dump, no ptrace by others, umask 077, no new privileges. Exits the
 * process with status 1 when the kernel refuses. Standard descriptors that
 * are closed are opened on /dev/null first. */
void process_harden(void);

/* Holds the signal back that the death of the parent would send
 * (PR_SET_PDEATHSIG), for work that must not be cut short. Its end restores it
 * and, when the parent died meanwhile, raises it. */
struct death_hold {
	int signal;
	int parent;
};

struct death_hold death_hold_begin(void);
void death_hold_end(struct death_hold *hold);

#endif
