/*
 * The search for the knee, and the size of a piece.
 */
#include "hsm/pace.h"

#define PIECE_US 50000 /* of work: short beside a wait for the last piece */
#define PIECE_FIRST 2  /* nothing is known yet */
#define PIECE_MAX 250

#define MEASURE_US 150000
#define MEASURE_ANSWERS 4 /* by each worker */
#define WORTH_IT 1.25

static void measure_again(struct pace *pace)
{
	pace->warming = 2 * pace->workers;
	pace->answers = pace->rows = pace->waits = 0;
}

void pace_init(struct pace *pace, size_t workers, size_t max)
{
	*pace = (struct pace){
		.workers = workers,
		.max = max,
		.settled = workers >= max,
	};
	measure_again(pace);
}

static void note_size(struct pace *pace, size_t rows, int64_t took_us)
{
	double one = (double)took_us / (double)rows;

	pace->row_us =
		pace->row_us > 0 ? 0.75 * pace->row_us + 0.25 * one : one;
}

static bool change(struct pace *pace, size_t workers)
{
	pace->workers = workers;
	measure_again(pace);
	return true;
}

/* Enough has been measured. */
static bool judge(struct pace *pace, int64_t now_us)
{
	double rate =
		(double)pace->rows * 1e6 / (double)(now_us - pace->since_us);

	if (pace->best > 0 && rate < pace->best * WORTH_IT) {
		pace->settled = true;
		return change(pace, pace->workers / 2);
	}
	pace->best = rate;
	/* A row is several calls: half a wait a row is no waiting. */
	pace->settled =
		2 * pace->waits < pace->rows || 2 * pace->workers > pace->max;
	return pace->settled ? false : change(pace, 2 * pace->workers);
}

bool pace_note(struct pace *pace, size_t rows, int64_t took_us, size_t waits,
	       int64_t now_us)
{
	if (rows == 0)
		return false;
	note_size(pace, rows, took_us);
	if (pace->settled)
		return false;
	if (pace->warming > 0) {
		pace->warming--;
		pace->since_us = now_us;
		return false;
	}
	pace->rows += rows;
	pace->waits += waits;
	pace->answers++;
	if (pace->answers < MEASURE_ANSWERS * pace->workers ||
	    now_us - pace->since_us < MEASURE_US)
		return false;
	return judge(pace, now_us);
}

void pace_refuse(struct pace *pace)
{
	pace->settled = true;
	change(pace, pace->workers / 2);
}

size_t pace_piece(const struct pace *pace, size_t batch)
{
	size_t share = (batch + pace->workers - 1) / pace->workers;
	double fits = pace->row_us > 0 ? PIECE_US / pace->row_us : PIECE_FIRST;
	size_t piece = fits < 1           ? 1
		       : fits > PIECE_MAX ? PIECE_MAX
					  : (size_t)fits;

	if (piece > share)
		piece = share;
	return piece > 0 ? piece : 1;
}
