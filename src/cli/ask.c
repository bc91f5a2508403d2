/*
 * Questions. Secrets are read byte by byte from a terminal whose echo, line
 * editing and signals are off, straight into secure memory: no buffer of stdio
 * or of the kernel's line discipline keeps them, and Ctrl-C leaves the terminal
 * as it was.
 */
#include "cli/ask.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <termios.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"

enum {
	CTRL_C = 3,
	CTRL_D = 4,
	CTRL_U = 21,
};

bool ask_possible(const struct cli *cli)
{
	return !cli->globals.no_input && isatty(STDERR_FILENO) != 0;
}

bool ask_stdout_is_terminal(void)
{
	return isatty(STDOUT_FILENO) != 0;
}

bool ask_stdin_is_terminal(void)
{
	return isatty(STDIN_FILENO) != 0;
}

static enum kt_err open_terminal(int *ret)
{
	int fd = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return err_raise(KT_ERR_USAGE, "no terminal to ask at: %s",
				 strerror(errno));
	*ret = fd;
	return KT_OK;
}

/* One line; what does not fit is read and dropped. */
static enum kt_err read_line(int fd, char *ret, size_t size)
{
	size_t used = 0;
	char byte;

	for (;;) {
		ssize_t n = read(fd, &byte, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || byte == '\n')
			break;
		if (used + 1 < size)
			ret[used++] = byte;
	}
	ret[used] = '\0';
	return KT_OK;
}

static enum kt_err ask_line(const char *question, char *ret, size_t size)
{
	CLEANUP(fd_close) int fd = -1;

	TRY(open_terminal(&fd));
	TRY(fd_write_all(fd, question, strlen(question)));
	return read_line(fd, ret, size);
}

static bool is_yes(const char *answer)
{
	return strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0;
}

static enum kt_err format_question(char *ret, size_t size, const char *tail,
				   const char *format, va_list args)
	__attribute__((format(printf, 4, 0)));

static enum kt_err format_question(char *ret, size_t size, const char *tail,
				   const char *format, va_list args)
{
	int used = vsnprintf(ret, size, format, args);

	if (used < 0 || (size_t)used + strlen(tail) >= size)
		return err_raise(KT_ERR_USAGE, "question too long");
	memcpy(ret + used, tail, strlen(tail) + 1);
	return KT_OK;
}

/* Data may come by stdin, and a script may keep its stderr on a terminal: a
 * decision is only asked of somebody who has both. */
static bool decision_possible(const struct cli *cli)
{
	return ask_possible(cli) && ask_stdin_is_terminal();
}

enum kt_err ask_confirm(const struct cli *cli, const char *format, ...)
{
	char question[1024];
	char answer[16];
	va_list args;
	enum kt_err err;

	if (cli->globals.yes)
		return KT_OK;
	if (!decision_possible(cli))
		return err_raise(KT_ERR_USAGE,
				 "needs --yes without a terminal");
	va_start(args, format);
	err = format_question(question, sizeof(question), " [y/N] ", format,
			      args);
	va_end(args);
	TRY(err);
	TRY(ask_line(question, answer, sizeof(answer)));
	return is_yes(answer) ? KT_OK
			      : err_raise(KT_ERR_FAILED, "not confirmed");
}

enum kt_err ask_choice(const struct cli *cli, bool preset, bool *ret,
		       const char *format, ...)
{
	char question[1024];
	char answer[16] = "";
	va_list args;
	enum kt_err err;

	if (!cli->globals.yes && decision_possible(cli)) {
		va_start(args, format);
		err = format_question(question, sizeof(question),
				      preset ? " [Y/n] " : " [y/N] ", format,
				      args);
		va_end(args);
		TRY(err);
		TRY(ask_line(question, answer, sizeof(answer)));
	}
	*ret = answer[0] != '\0' ? is_yes(answer) : preset;
	return KT_OK;
}

enum kt_err ask_name(const struct cli *cli, const char *given, const char *what)
{
	char question[400];
	char answer[300];

	if (given == NULL) {
		if (!decision_possible(cli))
			return err_raise(KT_ERR_USAGE,
					 "needs --confirm %s without a "
					 "terminal",
					 what);
		snprintf(question, sizeof(question),
			 "Not reversible. Type '%s' to go on: ", what);
		TRY(ask_line(question, answer, sizeof(answer)));
		given = answer;
	}
	if (strcmp(given, what) == 0)
		return KT_OK;
	return err_raise(KT_ERR_USAGE, "confirmation is not '%s'", what);
}

/* A terminal without echo, as it was before when the scope ends. */
struct quiet_terminal {
	int fd;
	struct termios before;
	bool changed;
};

static void terminal_restore(struct quiet_terminal *terminal)
{
	if (terminal->changed)
		(void)tcsetattr(terminal->fd, TCSAFLUSH, &terminal->before);
	fd_close(&terminal->fd);
}

static enum kt_err terminal_hush(struct quiet_terminal *terminal)
{
	struct termios quiet;

	TRY(open_terminal(&terminal->fd));
	if (tcgetattr(terminal->fd, &terminal->before) != 0)
		return err_errno("terminal");
	quiet = terminal->before;
	quiet.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	quiet.c_cc[VMIN] = 1;
	quiet.c_cc[VTIME] = 0;
	if (tcsetattr(terminal->fd, TCSAFLUSH, &quiet) != 0)
		return err_errno("terminal: cannot switch echo off");
	terminal->changed = true;
	return KT_OK;
}

/* What one key does to the line. False: the line is complete. */
static bool edit(struct kt_secret *line, size_t *used, uint8_t key)
{
	if (key == '\n' || key == '\r' || key == CTRL_D)
		return false;
	if (key == CTRL_U) {
		wipe(line->data, line->len);
		*used = 0;
	} else if (key == 0x7f || key == '\b') {
		*used -= *used > 0;
		line->data[*used] = 0;
	} else {
		line->data[(*used)++] = key;
	}
	return true;
}

/* room holds one byte more than what is allowed. */
static enum kt_err read_secret(int fd, struct kt_secret *room)
{
	size_t used = 0;
	uint8_t key = 0;

	for (;;) {
		ssize_t n = read(fd, &key, 1);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return err_raise(KT_ERR_IO, "the terminal went away");
		if (key == CTRL_C)
			return err_raise(KT_ERR_INTERRUPTED, "interrupted");
		if (!edit(room, &used, key))
			break;
		if (used == room->len)
			return err_raise(KT_ERR_USAGE,
					 "more than %zu bytes typed",
					 room->len - 1);
	}
	wipe(&key, sizeof(key));
	secret_shrink(room, used);
	return KT_OK;
}

static enum kt_err ask_once(const char *prompt, size_t max,
			    struct kt_secret *ret)
{
	CLEANUP(terminal_restore) struct quiet_terminal terminal = {.fd = -1};
	CLEANUP(kt_secret_done) struct kt_secret room = {0};
	enum kt_err err;

	TRY(secret_new(max + 1, &room));
	TRY(terminal_hush(&terminal));
	TRY(fd_write_all(terminal.fd, prompt, strlen(prompt)));
	err = read_secret(terminal.fd, &room);
	if (write(terminal.fd, "\n", 1) != 1 && err == KT_OK)
		err = err_errno("terminal");
	TRY(err);
	*ret = room;
	room = (struct kt_secret){0};
	return KT_OK;
}

enum kt_err ask_secret(const struct cli *cli, const char *prompt, bool twice,
		       size_t max, struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret first = {0};
	CLEANUP(kt_secret_done) struct kt_secret second = {0};

	if (!ask_possible(cli))
		return err_raise(KT_ERR_USAGE, "nobody to ask: no terminal, or "
					       "--no-input");
	TRY(ask_once(prompt, max, &first));
	if (twice) {
		TRY(ask_once("Again, to be sure: ", max, &second));
		if (!secret_equal(&first, &second))
			return err_raise(KT_ERR_USAGE,
					 "the two answers differ");
	}
	*ret = first;
	first = (struct kt_secret){0};
	return KT_OK;
}
