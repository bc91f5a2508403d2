/*
 * The search for the knee, and the size of a piece.
 */
#include "hsm/pace.h"

#define PIECE_US 50000 /* of work: short beside a wait for the last piece */
#define PIECE_FIRST 2  /* a session; nothing is known yet */
#define PIECE_MAX 250

#define WARM_ANSWERS                                                           \
	3 /* by each worker: two were under way, and with the                  \
	   * next one its new sessions begin */
#define MEASURE_US 150000
#define MEASURE_ANSWERS 4 /* by each worker */
#define WORTH_IT 1.25

static size_t share(size_t whole, size_t parts)
{
	return (whole + parts - 1) / parts;
}

size_t pace_processes(const struct pace_limits *limits, size_t jobs)
{
	size_t least = share(jobs, limits->sessions);
	size_t most = jobs < limits->processes ? jobs : limits->processes;

	return most > least ? most : least;
}

size_t pace_sessions(const struct pace *pace, size_t process)
{
	return pace->jobs / pace->processes +
	       (process < pace->jobs % pace->processes);
}

static void measure_from(struct pace *pace, int64_t now_us)
{
	pace->since_us = now_us;
	pace->answers = pace->rows = pace->waits = 0;
}

static void change(struct pace *pace, size_t jobs)
{
	pace->jobs = jobs;
	pace->processes = pace_processes(&pace->limits, jobs);
	pace->warming = WARM_ANSWERS * pace->processes;
	pace->doubted = false;
	measure_from(pace, 0);
}

void pace_init(struct pace *pace, const struct pace_limits *limits)
{
	*pace = (struct pace){
		.limits = *limits,
		.settled = limits->jobs >= limits->jobs_max,
	};
	change(pace, limits->jobs);
}

static void note_size(struct pace *pace, const struct pace_answer *answer)
{
	size_t at_once = answer->rows < answer->sessions ? answer->rows
							 : answer->sessions;
	double one = (double)answer->took_us * (double)at_once /
		     (double)answer->rows;

	pace->row_us =
		pace->row_us > 0 ? 0.75 * pace->row_us + 0.25 * one : one;
}

/* Enough has been measured. */
static bool judge(struct pace *pace, int64_t now_us)
{
	double rate =
		(double)pace->rows * 1e6 / (double)(now_us - pace->since_us);

	if (pace->best > 0 && rate < pace->best * WORTH_IT) {
		/* The machine may have been busy otherwise. */
		if (!pace->doubted) {
			pace->doubted = true;
			measure_from(pace, now_us);
			return false;
		}
		pace->settled = true;
		change(pace, pace->jobs / 2);
		return true;
	}
	pace->best = rate;
	/* A row is several calls: half a wait a row is no waiting. */
	pace->settled = 2 * pace->waits < pace->rows ||
			2 * pace->jobs > pace->limits.jobs_max;
	if (!pace->settled)
		change(pace, 2 * pace->jobs);
	return !pace->settled;
}

bool pace_note(struct pace *pace, const struct pace_answer *answer)
{
	if (answer->rows == 0)
		return false;
	note_size(pace, answer);
	if (pace->settled)
		return false;
	if (pace->warming > 0) {
		pace->warming--;
		pace->since_us = answer->now_us;
		return false;
	}
	pace->rows += answer->rows;
	pace->waits += answer->waits;
	pace->answers++;
	if (pace->answers < MEASURE_ANSWERS * pace->processes ||
	    answer->now_us - pace->since_us < MEASURE_US)
		return false;
	return judge(pace, answer->now_us);
}

void pace_refuse(struct pace *pace)
{
	pace->settled = true;
	if (pace->jobs > pace->limits.jobs)
		change(pace, pace->jobs / 2);
}

/* Whole rounds of all its sessions: in the last one none is without a row. */
size_t pace_piece(const struct pace *pace, size_t process, size_t batch)
{
	size_t sessions = pace_sessions(pace, process);
	size_t most = share(batch * sessions, pace->jobs);
	double fits = pace->row_us > 0 ? PIECE_US / pace->row_us : PIECE_FIRST;
	size_t rounds = fits < 1           ? 1
			: fits > PIECE_MAX ? PIECE_MAX
					   : (size_t)fits;
	size_t piece = rounds * sessions;

	if (piece > PIECE_MAX)
		piece = PIECE_MAX;
	if (piece > most)
		piece = most;
	return piece > 0 ? piece : 1;
}
