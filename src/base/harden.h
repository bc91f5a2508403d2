/*
 * What a process does before it touches a secret.
 */
#ifndef BASE_HARDEN_H
#define BASE_HARDEN_H

/* No core dump, no ptrace by others, umask 077, no new privileges. Exits the
 * process with status 1 when the kernel refuses. Standard descriptors that
 * are closed are opened on /dev/null first. */
void process_harden(void);

#endif
