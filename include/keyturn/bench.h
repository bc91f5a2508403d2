/*
 * How fast the operator's own token rewraps, and what that makes of a rotation
 * of this vault.
 */
#ifndef KEYTURN_BENCH_H
#define KEYTURN_BENCH_H

#include <keyturn/rotation.h>

/* What so many jobs, sessions of worker processes, do with the token for a row:
 * unwrap, wrap, destroy. */
struct kt_bench {
	int jobs;
	int64_t rows;      /* that were measured */
	double rows_per_s; /* by all of them */
	double row_ms;     /* of one row in one session */
	double start_s;    /* until all processes were logged in */
};

struct kt_bench_options {
	int jobs;             /* 0: 1, and then as a rotation chooses */
	int sessions;         /* as of a rotation */
	int64_t milliseconds; /* for each number of jobs; 0: 1000 */
};

/* Of a rotation of the master key, from its plan to the cut-over: every row is
 * staged and proven. */
struct kt_forecast {
	int64_t rows;
	int jobs;
	double seconds;
};

/* Works on keys that are made for it, wrapped by the vault's own wrapping key
 * and thrown away; changes neither the token nor the database. each() is
 * called for each number of jobs. */
enum kt_err kt_token_bench(struct kt_vault *vault,
			   const struct kt_bench_options *options,
			   enum kt_err (*each)(void *arg,
					       const struct kt_bench *bench),
			   void *arg, struct kt_forecast *ret);

#endif
