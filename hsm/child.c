/*
 * Starting, talking to and ending worker processes. The parent has its token
 * initialised, so nothing here forks: posix_spawn keeps the child out of the
 * module's memory. The environment is passed on, for modules are configured by
 * it; the PIN goes through the socket only.
 */
#include "hsm/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"

/* A login may wait 60 s for the lock of the token. */
#define START_MS 120000

static void actions_done(posix_spawn_file_actions_t *actions)
{
	posix_spawn_file_actions_destroy(actions);
}

static void attr_done(posix_spawnattr_t *attr)
{
	posix_spawnattr_destroy(attr);
}

/* The socket is descriptor 0. Descriptor 1 is the parent's stderr, so that a
 * chatty module cannot write into the protocol. Modules open files without
 * O_CLOEXEC: none of those may live on in a worker. */
static int set_descriptors(posix_spawn_file_actions_t *actions, int fd)
{
	int error = posix_spawn_file_actions_adddup2(actions, fd, 0);

	if (error == 0)
		error = posix_spawn_file_actions_adddup2(actions, 2, 1);
	if (error == 0)
		error = posix_spawn_file_actions_addclosefrom_np(actions, 3);
	return error;
}

/* A terminal's Ctrl-C reaches the whole group, a worker that has not yet come
 * to ignore it included. */
static int set_signals(posix_spawnattr_t *attr)
{
	sigset_t blocked;
	int error;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGINT);
	sigaddset(&blocked, SIGTERM);
	sigaddset(&blocked, SIGHUP);
	error = posix_spawnattr_setsigmask(attr, &blocked);
	if (error == 0)
		error = posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK);
	return error;
}

static enum kt_err spawn(const char *path, int fd, pid_t *ret)
{
	CLEANUP(actions_done) posix_spawn_file_actions_t actions;
	CLEANUP(attr_done) posix_spawnattr_t attr;
	char parent[24];
	char *argv[] = {(char *)"keyturn-worker", parent, NULL};
	pid_t pid;
	int error;

	snprintf(parent, sizeof(parent), "%ld", (long)getpid());
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	error = set_descriptors(&actions, fd);
	if (error == 0)
		error = set_signals(&attr);
	if (error == 0)
		error = posix_spawn(&pid, path, &actions, &attr, argv, environ);
	if (error != 0)
		return err_raise(
			error == ENOMEM ? KT_ERR_MEMORY : KT_ERR_CONFIG,
			"cannot start '%s': %s", path, strerror(error));
	*ret = pid;
	return KT_OK;
}

static enum kt_err spawn_connected(struct child *child, const char *path)
{
	CLEANUP(fd_close) int theirs = -1;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0)
		return err_errno("cannot make a socket for a worker");
	child->fd = fds[0];
	theirs = fds[1];
	if (fcntl(child->fd, F_SETFL, O_NONBLOCK) != 0)
		return err_errno("cannot set up a worker's socket");
	return spawn(path, theirs, &child->pid);
}

short child_events(const struct child *child)
{
	return wire_unsent(&child->out) ? POLLIN | POLLOUT : POLLIN;
}

/* KT_ERR_IO of the wire is a worker's fault, not a file's. */
static enum kt_err as_token(enum kt_err err)
{
	struct err_saved saved;

	if (err != KT_ERR_IO)
		return err;
	err_save(KT_ERR_TOKEN, &saved);
	return err_restore(&saved);
}

/* Receives first: an answer that was sent before the worker died counts. */
enum kt_err child_transfer(struct child *child, bool *ret)
{
	enum wire_state state;

	TRY(as_token(wire_receive(child->fd, &child->in, &state)));
	if (state == WIRE_END)
		return err_raise(KT_ERR_TOKEN, "it closed its end");
	if (state == WIRE_PART)
		TRY(as_token(wire_send(child->fd, &child->out)));
	*ret = state == WIRE_WHOLE;
	return KT_OK;
}

static enum kt_err await_frame(struct child *child, int64_t deadline)
{
	bool whole = false;

	for (;;) {
		struct pollfd p = {child->fd, child_events(child), 0};
		int64_t left = deadline - clock_monotonic_ms();

		if (left <= 0)
			return err_raise(KT_ERR_TOKEN, "it does not answer");
		if (poll(&p, 1, (int)left) < 0 && errno != EINTR)
			return err_errno("poll");
		TRY(child_transfer(child, &whole));
		if (whole)
			return KT_OK;
	}
}

/* *ret_told: the error is what the worker said. */
static enum kt_err await_ready(struct child *child, bool *ret_told)
{
	enum kt_err told = KT_OK;

	TRY(await_frame(child, clock_monotonic_ms() + START_MS));
	if (wire_type(&child->in) == WIRE_ERROR) {
		TRY(as_token(worker_get_error(&child->in, 0, &told)));
		*ret_told = true;
		return told;
	}
	if (wire_type(&child->in) != WIRE_READY)
		return err_raise(KT_ERR_TOKEN, "a frame of the wrong type");
	return as_token(wire_finish(&child->in));
}

static enum kt_err introduce(struct child *child, const struct kt_secret *pin,
			     const struct worker_hello *hello, bool *ret_told)
{
	TRY(as_token(wire_send_pin(child->fd, pin)));
	TRY(worker_put_hello(&child->out, hello));
	return await_ready(child, ret_told);
}

enum kt_err child_start(struct child *child, const char *path,
			const struct kt_secret *pin,
			const struct worker_hello *hello)
{
	struct err_saved saved;
	bool told = false;
	enum kt_err err;

	err = spawn_connected(child, path);
	if (err == KT_OK) {
		err = introduce(child, pin, hello, &told);
		if (err == KT_ERR_TOKEN && !told)
			return child_lost(child);
	}
	if (err != KT_OK) {
		err_save(err, &saved);
		child_stop(child, clock_monotonic_ms() + CHILD_GRACE_MS);
		return err_restore(&saved);
	}
	wire_clear(&child->in);
	return KT_OK;
}

static bool ends_until(pid_t pid, int64_t deadline)
{
	CLEANUP(fd_close) int fd = pidfd_open(pid, 0);
	struct pollfd p = {fd, POLLIN, 0};
	int n = fd < 0 && errno == ESRCH;

	while (fd >= 0 && n == 0) {
		int64_t left = deadline - clock_monotonic_ms();

		n = poll(&p, 1, left > 0 ? (int)left : 0);
		if (n < 0 && errno == EINTR)
			n = 0;
		else if (left <= 0)
			break;
	}
	return n > 0;
}

/* The wait status; -1 when the host program reaped it before us. */
static int end(struct child *child, int64_t deadline)
{
	int status = -1;

	fd_close(&child->fd);
	if (child->pid > 0 && !ends_until(child->pid, deadline))
		kill(child->pid, SIGKILL);
	while (child->pid > 0 && waitpid(child->pid, &status, 0) < 0 &&
	       errno == EINTR)
		continue;
	child->pid = 0;
	wire_clear(&child->out);
	wire_clear(&child->in);
	return status;
}

void child_hang_up(struct child *child)
{
	fd_close(&child->fd);
}

void child_stop(struct child *child, int64_t deadline)
{
	(void)end(child, deadline);
}

enum kt_err child_lost(struct child *child)
{
	struct err_saved saved;
	long pid = (long)child->pid;
	int status;

	err_save(KT_ERR_TOKEN, &saved);
	status = end(child, clock_monotonic_ms() + CHILD_GRACE_MS);
	(void)err_restore(&saved);
	if (status != -1 && WIFSIGNALED(status))
		return err_prefix(KT_ERR_TOKEN, "worker %ld (signal %d)", pid,
				  WTERMSIG(status));
	return err_prefix(KT_ERR_TOKEN, "worker %ld", pid);
}

void child_done(struct child *child)
{
	child_stop(child, clock_monotonic_ms());
	wire_done(&child->out);
	wire_done(&child->in);
}
