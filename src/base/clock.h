/*
 * The wall clock, read in one place, and its RFC 3339 text.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* Seconds since the epoch, UTC. */
int64_t clock_now(void);

/* Milliseconds that only grow; for pauses and deadlines. */
int64_t clock_monotonic_ms(void);
int64_t clock_monotonic_us(void);

#define TIME_TEXT_LEN 20

/* "2026-01-31T08:05:00Z"; "-" for 0. */
void time_format(int64_t time, char ret[TIME_TEXT_LEN + 1]);

#define DURATION_TEXT_LEN 24

/* "3 d", "2 h", "45 s": the largest unit, for people. */
void duration_format(int64_t seconds, char ret[DURATION_TEXT_LEN + 1]);

/* "90 s", "36 h": the largest unit that leaves nothing out. */
void duration_format_exact(int64_t seconds, char ret[DURATION_TEXT_LEN + 1]);

#endif
