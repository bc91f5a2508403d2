/*
 * A disk that fails: SQLite's default VFS behind one that counts what changes
 * the disk (write, sync, truncate, delete) and lets one such call fail.
 */
#ifndef TESTS_FAULT_VFS_H
#define TESTS_FAULT_VFS_H

#include <stdbool.h>

/* Takes the place of the default VFS; once per process. */
void fault_vfs_install(void);

/* The at-th change from now on (1 is the next) fails with this SQLite code; so
 * do all that follow, when it lasts. at 0: none. */
void fault_vfs_arm(int at, int code, bool lasts);

/* Whether a call failed since it was armed. */
bool fault_vfs_hit(void);

#endif
