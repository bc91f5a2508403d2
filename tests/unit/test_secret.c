/*
 * Secrets: made, copied, compared, read from descriptors, wiped.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/crypto.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"

static void secrets_live_on_the_secure_heap(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret s = {0};
	static const uint8_t zero[100];

	(void)state;
	assert_int_equal(secret_new(100, &s), KT_OK);
	assert_int_equal(s.len, 100);
	assert_memory_equal(s.data, zero, sizeof(zero));
#ifndef KEYTURN_PLAIN_HEAP
	assert_int_equal(CRYPTO_secure_allocated(s.data), 1);
#endif
	kt_secret_done(&s);
	assert_null(s.data);
	assert_int_equal(s.len, 0);
	kt_secret_done(&s);
	kt_secret_done(NULL);
}

static void empty_secrets_are_secrets(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret a = {0};
	CLEANUP(kt_secret_done) struct kt_secret b = {0};

	(void)state;
	assert_int_equal(secret_new(0, &a), KT_OK);
	assert_non_null(a.data);
	assert_int_equal(kt_secret_copy(NULL, 0, &b), KT_OK);
	assert_true(secret_equal(&a, &b));
}

static void equal_means_every_byte(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret a = {0};
	CLEANUP(kt_secret_done) struct kt_secret b = {0};

	(void)state;
	assert_int_equal(kt_secret_copy("one\0two", 7, &a), KT_OK);
	assert_int_equal(kt_secret_copy("one\0twp", 7, &b), KT_OK);
	assert_false(secret_equal(&a, &b));
	b.data[6] = 'o';
	assert_true(secret_equal(&a, &b));
	secret_shrink(&b, 6);
	assert_false(secret_equal(&a, &b));
}

static void shrinking_wipes(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret s = {0};

	(void)state;
	assert_int_equal(kt_secret_copy("0123456789", 10, &s), KT_OK);
	secret_shrink(&s, 4);
	assert_int_equal(s.len, 4);
	assert_memory_equal(s.data, "0123\0\0\0\0\0\0", 10);
}

/* A file of len bytes that differ, behind a descriptor at its start. */
static int filled(size_t len)
{
	FILE *file = tmpfile();
	int fd;

	assert_non_null(file);
	for (size_t i = 0; i < len; i++)
		assert_int_not_equal(fputc((int)(i * 31 % 251), file), EOF);
	assert_int_equal(fflush(file), 0);
	fd = dup(fileno(file));
	fclose(file);
	assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

static void assert_reads(size_t len, size_t max)
{
	CLEANUP(kt_secret_done) struct kt_secret s = {0};
	CLEANUP(fd_close) int fd = filled(len);

	if (len > max) {
		assert_int_equal(secret_read_fd(fd, max, &s), KT_ERR_USAGE);
		assert_null(s.data);
		return;
	}
	assert_int_equal(secret_read_fd(fd, max, &s), KT_OK);
	assert_int_equal(s.len, len);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(s.data[i], i * 31 % 251);
}

static void reading_stops_at_the_limit(void **state)
{
	static const size_t lens[] = {0,    1,    2,    4094, 4095,
				      4096, 4097, 8192, 8193, 100000};

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		assert_reads(lens[i], 200000);
		assert_reads(lens[i], lens[i]);
		if (lens[i] > 0)
			assert_reads(lens[i], lens[i] - 1);
	}
}

static void missing_files_are_named(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret s = {0};

	(void)state;
	assert_int_equal(secret_read_file("/nonexistent/pin", 10, &s),
			 KT_ERR_NOT_FOUND);
	assert_non_null(strstr(kt_err_detail(), "/nonexistent/pin"));
	assert_int_equal(secret_read_fd(-1, 10, &s), KT_ERR_IO);
	assert_null(s.data);
}

static void exhaustion_is_an_error(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret s = {0};

	(void)state;
#ifndef KEYTURN_PLAIN_HEAP
	assert_int_equal(secret_new((size_t)1 << 30, &s), KT_ERR_MEMORY);
#endif
	assert_null(s.data);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(secrets_live_on_the_secure_heap),
		cmocka_unit_test(empty_secrets_are_secrets),
		cmocka_unit_test(equal_means_every_byte),
		cmocka_unit_test(shrinking_wipes),
		cmocka_unit_test(reading_stops_at_the_limit),
		cmocka_unit_test(missing_files_are_named),
		cmocka_unit_test(exhaustion_is_an_error),
	};

	secret_heap_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
