/*
 * All files below a folder, to put them back as they were: a vault's database
 * and its SoftHSM token together. Failures end the program.
 */
#ifndef TESTS_TORTURE_SNAPSHOT_H
#define TESTS_TORTURE_SNAPSHOT_H

struct snapshot;

struct snapshot *snapshot_take(const char *folder);

/* Files that were made since are removed; folders stay. */
void snapshot_restore(const struct snapshot *snapshot);

/* Accepts NULL. */
void snapshot_free(struct snapshot *snapshot);

#endif
