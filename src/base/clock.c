/*
 * Clock and time text.
 */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

int64_t clock_now(void)
{
	return (int64_t)time(NULL);
}

int64_t clock_monotonic_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_monotonic_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

void time_format(int64_t time, char ret[TIME_TEXT_LEN + 1])
{
	time_t value = (time_t)time;
	struct tm tm;

	if (time == 0 || gmtime_r(&value, &tm) == NULL ||
	    strftime(ret, TIME_TEXT_LEN + 1, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		snprintf(ret, TIME_TEXT_LEN + 1, "-");
}

static const struct unit {
	int64_t seconds;
	const char *name;
} units[] = {{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}};

static void in_unit(int64_t seconds, const struct unit *unit,
		    char ret[DURATION_TEXT_LEN + 1])
{
	snprintf(ret, DURATION_TEXT_LEN + 1, "%lld %s",
		 (long long)(seconds / unit->seconds), unit->name);
}

void duration_format(int64_t seconds, char ret[DURATION_TEXT_LEN + 1])
{
	size_t i = 0;

	while (i < 3 && seconds / units[i].seconds == 0)
		i++;
	in_unit(seconds, &units[i], ret);
}

void duration_format_exact(int64_t seconds, char ret[DURATION_TEXT_LEN + 1])
{
	size_t i = 0;

	while (i < 3 && (seconds == 0 || seconds % units[i].seconds != 0))
		i++;
	in_unit(seconds, &units[i], ret);
}
