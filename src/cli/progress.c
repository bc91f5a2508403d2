/*
 * Progress of long work. The report is called between batches, so nothing here
 * is done by a signal handler but to raise a flag.
 */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

#define BAR_PERIOD_MS 100
#define LINE_PERIOD_MS 10000
#define BAR_WIDTH 30
#define BAR_WIDTH_MIN 5

/* A signal handler reaches nothing but a global. */
static volatile sig_atomic_t stop_wanted;

static void want_stop(int signal)
{
	(void)signal;
	stop_wanted = 1;
}

static size_t terminal_columns(void)
{
	struct winsize size;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20)
		return 80;
	return size.ws_col;
}

/* "12:05" or "1:02:03". */
static void eta_format(int64_t seconds, char *ret, size_t size)
{
	if (seconds >= 3600)
		snprintf(ret, size, "%" PRId64 ":%02d:%02d", seconds / 3600,
			 (int)(seconds / 60 % 60), (int)(seconds % 60));
	else
		snprintf(ret, size, "%d:%02d", (int)(seconds / 60),
			 (int)(seconds % 60));
}

/* ", 812 rows/s, 0:12 left" once there is a rate to speak of. The rate counts
 * what this run did, not what an earlier one left done. */
static void rate_format(const struct progress *p, int64_t now_ms, char *ret,
			size_t size)
{
	int64_t elapsed = now_ms - p->started;
	int64_t here = p->done - p->base;
	char eta[32];

	ret[0] = '\0';
	if (elapsed < 500 || here <= 0)
		return;
	if (p->done >= p->total) {
		snprintf(ret, size, ", %" PRId64 " rows/s",
			 here * 1000 / elapsed);
		return;
	}
	eta_format((p->total - p->done) * elapsed / here / 1000, eta,
		   sizeof(eta));
	snprintf(ret, size, ", %" PRId64 " rows/s, %s left",
		 here * 1000 / elapsed, eta);
}

/* "rewrap [####....]  50%  500/1000, 812 rows/s, 0:12 left": the bar gives way
 * before the time that is left does. */
static void bar_format(const struct progress *p, const char *tail,
		       size_t columns, char *ret, size_t size)
{
	char bar[BAR_WIDTH + 1];
	size_t rest = strlen(p->step) + strlen(" []") + strlen(tail);
	size_t width = columns < rest + BAR_WIDTH_MIN ? BAR_WIDTH_MIN
		       : columns > rest + BAR_WIDTH   ? BAR_WIDTH
						      : columns - rest;
	size_t filled = (size_t)(p->done * (int64_t)width / p->total);

	memset(bar, '.', width);
	memset(bar, '#', filled < width ? filled : width);
	snprintf(ret, size, "%s [%.*s]%s", p->step, (int)width, bar, tail);
}

void progress_line(const struct progress *p, int64_t now_ms, size_t columns,
		   char *ret, size_t size)
{
	char rate[96], tail[160], line[256];

	if (p->total <= 0) {
		snprintf(line, sizeof(line), "%s ...", p->step);
	} else {
		rate_format(p, now_ms, rate, sizeof(rate));
		snprintf(tail, sizeof(tail),
			 " %3d%%  %" PRId64 "/%" PRId64 "%s",
			 (int)(p->done * 100 / p->total), p->done, p->total,
			 rate);
		bar_format(p, tail, columns, line, sizeof(line));
	}
	snprintf(ret, size, "%.*s", (int)columns, line);
}

/* Over the same line again; CSI K clears what is left of the old one. */
static void show_bar(struct progress *p, int64_t now_ms)
{
	char line[256];

	progress_line(p, now_ms, terminal_columns() - 1, line, sizeof(line));
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
}

static void show_line(struct progress *p, int64_t now_ms)
{
	char rate[96];

	rate_format(p, now_ms, rate, sizeof(rate));
	if (p->total > 0)
		fprintf(stderr, "%s: %" PRId64 " of %" PRId64 " rows%s\n",
			p->step, p->done, p->total, rate);
	else
		fprintf(stderr, "%s\n", p->step);
}

static void show(struct progress *p, bool now)
{
	int64_t now_ms = clock_monotonic_ms();
	int64_t period = p->terminal ? BAR_PERIOD_MS : LINE_PERIOD_MS;

	if (!now && now_ms - p->shown < period)
		return;
	p->shown = now_ms;
	if (p->terminal)
		show_bar(p, now_ms);
	else
		show_line(p, now_ms);
}

static void begin_step(struct progress *p, const char *step, int64_t done)
{
	if (p->terminal && p->step[0] != '\0')
		fputc('\n', stderr);
	text_cut(p->step, sizeof(p->step), step);
	p->base = done;
	p->started = clock_monotonic_ms();
}

static void report(void *arg, const char *step, int64_t done, int64_t total)
{
	struct progress *p = arg;
	/* The same step over the rows of another key begins again. */
	bool begins = strcmp(p->step, step) != 0 ||
		      (p->total > 0 && (total != p->total || done < p->done));
	bool ends = total > 0 && done >= total && p->done < total;

	if (p->quiet)
		return;
	if (begins)
		begin_step(p, step, done);
	p->done = done;
	p->total = total;
	show(p, begins || ends);
}

static bool stop(void *arg)
{
	struct progress *p = arg;

	if (stop_wanted == 0)
		return false;
	if (!p->told && !p->quiet)
		fprintf(stderr, "%sstopping at the end of this batch\n",
			p->terminal ? "\r\033[K" : "");
	p->told = true;
	return true;
}

void progress_begin(struct progress *p, const struct cli *cli)
{
	/* Without SA_RESTART a question in between could be interrupted; here
	 * every wait of the library is to go on to the batch edge. */
	struct sigaction action = {.sa_handler = want_stop,
				   .sa_flags = SA_RESTART};
	const char *term = cli->env->term;

	*p = (struct progress){
		.port = {.report = report, .stop = stop, .arg = p},
		.terminal = isatty(STDERR_FILENO) != 0 &&
			    (term == NULL || strcmp(term, "dumb") != 0),
		.quiet = cli->globals.quiet,
	};
	stop_wanted = 0;
	sigemptyset(&action.sa_mask);
	sigaction(SIGINT, &action, &p->old_int);
	sigaction(SIGTERM, &action, &p->old_term);
}

void progress_end(struct progress *p)
{
	if (p->terminal && p->step[0] != '\0')
		fputc('\n', stderr);
	sigaction(SIGINT, &p->old_int, NULL);
	sigaction(SIGTERM, &p->old_term, NULL);
}
