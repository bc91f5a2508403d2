/*
 * What a wrap costs beside the one TPM command in it: wraps and unwraps per
 * second on swtpm against a bare loop of TPM2_HMAC in the same kind of
 * session, in turns, so that a busy machine slows all three. The medians of
 * the turns are printed; the commands are counted and must be one each.
 * Argument: operations a turn, 500 when there is none.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include <tss2/tss2_tpm2_types.h>

#include "base/text.h"
#include "hsm/tpm2/state.h"
#include "hsm/tpm2/wrap.h"
#include "shim.h"
#include "swtpm.h"

#define TURNS 11

struct bench {
	struct swtpm swtpm;
	struct tpm_token *token;
	struct tpm_key key;
	struct tpm *bare;
	const struct held_key *held;
	long count;
	uint8_t wrap[32 + TPM_WRAP_OVERHEAD];
};

static void bare_hmac(struct bench *b)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(HMAC);
	const uint8_t input[WRAP_INPUT_LEN] = {0};
	struct tpm_session *main = NULL;

	OK(session_main(b->bare, &main));
	cmd_handle(&cmd, &b->held->object);
	cmd_auth(&cmd, main, &b->held->object, CMD_SECRET | CMD_ANSWER_SECRET);
	cmd_put_2b(&cmd, SPAN(input, sizeof(input)));
	cmd_put_u16(&cmd, TPM2_ALG_SHA256);
	OK(cmd_run(b->bare, &cmd));
	assert_int_equal(cmd_get_2b(&cmd).len, HASH_LEN);
}

static void wrap(struct bench *b)
{
	const uint8_t value[32] = {1};

	OK(tpm_key_wrap(b->token, &b->key.id, BYTES("aad"), value,
			sizeof(value), b->wrap));
}

static void unwrap(struct bench *b)
{
	struct kt_secret value = {0};

	OK(tpm_key_unwrap(b->token, &b->key.id, BYTES("aad"), b->wrap,
			  sizeof(b->wrap), &value));
	kt_secret_done(&value);
}

static double seconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Operations per second, and this process's microseconds for each. */
static double rate(struct bench *b, void (*one)(struct bench *b),
		   double *ret_cpu)
{
	double wall = seconds(CLOCK_MONOTONIC);
	double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);

	for (long i = 0; i < b->count; i++)
		one(b);
	cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
	*ret_cpu = cpu * 1e6 / (double)b->count;
	return (double)b->count / (seconds(CLOCK_MONOTONIC) - wall);
}

static void count_commands(struct bench *b, void (*one)(struct bench *b),
			   const char *name)
{
	shim_reset();
	for (long i = 0; i < 100; i++)
		one(b);
	printf("%-8s %u TPM commands for 100\n", name, shim_count());
	assert_int_equal(shim_count(), 100);
	assert_int_equal(shim_count_of(TPM2_CC_HMAC), 100);
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double numbers[TURNS])
{
	qsort(numbers, TURNS, sizeof(numbers[0]), by_size);
	return numbers[TURNS / 2];
}

static void open_bench(struct bench *b)
{
	swtpm_open(&b->swtpm);
	tpm_token_free(swtpm_ready_token(&b->swtpm));
	b->token = swtpm_token_by(&b->swtpm, b->swtpm.shim);
	login_user(b->token);
	OK(tpm_key_create(b->token, TPM_KEY_WRAP, BYTES("bench"), &b->key));
	b->bare = owner_open(&b->swtpm);
	OK(keys_hold(b->token, &b->key.id, &b->held));
	wrap(b);
	count_commands(b, wrap, "wrap");
	count_commands(b, unwrap, "unwrap");
	/* The shim keeps all that passes: not for the measurement. */
	tpm_token_free(b->token);
	b->token = swtpm_token(&b->swtpm);
	login_user(b->token);
	OK(keys_hold(b->token, &b->key.id, &b->held));
}

static void close_bench(struct bench *b)
{
	tpm_free(b->bare);
	tpm_key_done(&b->key);
	tpm_token_free(b->token);
	swtpm_close(&b->swtpm);
}

int main(int argc, char **argv)
{
	static struct bench b;
	double bare[TURNS], wraps[TURNS], unwraps[TURNS], cpu[3][TURNS];
	long long count = 500;

	if (argc > 1 &&
	    text_to_int(argv[1], 1, 1000000, "the count", &count) != KT_OK) {
		fprintf(stderr, "bench_tpm2: %s\n", kt_err_detail());
		return 2;
	}
	b.count = (long)count;
	open_bench(&b);
	for (int turn = 0; turn < TURNS; turn++) {
		double base = rate(&b, bare_hmac, &cpu[0][turn]);

		bare[turn] = base;
		wraps[turn] = rate(&b, wrap, &cpu[1][turn]) / base;
		unwraps[turn] = rate(&b, unwrap, &cpu[2][turn]) / base;
	}
	printf("bare     %.0f TPM2_HMAC/s, %.0f us of processor time each\n",
	       median(bare), median(cpu[0]));
	printf("wrap     %.2f of that rate, %.0f us\n", median(wraps),
	       median(cpu[1]));
	printf("unwrap   %.2f of that rate, %.0f us\n", median(unwraps),
	       median(cpu[2]));
	close_bench(&b);
	return 0;
}
