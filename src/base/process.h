/*
 * A process, named so that its end can be known: by host, boot id, pid and
 * start time, because a pid is given again. Who cannot be seen is not gone.
 */
#ifndef BASE_PROCESS_H
#define BASE_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

/* Names this process: "HOST BOOT-ID PID START". */
enum kt_err process_name(char *ret, size_t size);

/* True when the process of that name surely is gone: it ran on this host, and
 * the host was booted since, or its pid is free or another process's. */
bool process_is_gone(const char *name);

/* True when it is there and stopped, by a signal or a debugger. */
bool process_is_stopped(pid_t pid);

#endif
