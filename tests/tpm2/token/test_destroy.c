/*
 * Destruction is for good: not a copy of the state folder, not the PIN, not
 * even the owner of the TPM who defines the very same counter again brings a
 * key back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "hsm/tpm2/life.h"
#include "fixture.h"

static CK_RV wrap_with(const struct kt_id *id)
{
	uint8_t value[32] = {0}, wrap[32 + TPM_WRAP_OVERHEAD];

	return tpm_key_wrap(token, id, NULL, 0, value, sizeof(value), wrap);
}

/* The folder of before is put back, and a new process opens it. */
static void put_folder_back(void)
{
	tpm_token_free(token);
	swtpm_shell(&tpm, "rm -rf state && cp -a saved state");
	token = swtpm_token(&tpm);
	login_user(token);
}

/* A key that only lost its place comes back from its blobs: the control of
 * the tests below. */
static void test_lost_place_is_restored(void **state)
{
	struct tpm *owner = owner_open(&tpm);
	struct tpm_object rh = tpm_permanent(TPM2_RH_OWNER, SPAN(NULL, 0));
	struct tpm_object object = {.handle = 0x81024b00};
	struct tpm_public public = {0};

	(void)state;
	OK(wrap_with(&key.id));
	OK(object_read_public(owner, object.handle, &public));
	OK(tpm_public_name(owner, &public, &object));
	OK(object_evict(owner, &rh, &object, object.handle, NULL));
	assert_int_equal(places_taken(&tpm), 0);
	OK(wrap_with(&key.id));
	assert_int_equal(places_taken(&tpm), 1);
	tpm_free(owner);
}

static void test_destroyed(void **state)
{
	(void)state;
	assert_int_equal(places_taken(&tpm), 1);
	assert_int_equal(counters_taken(&tpm), 1);
	OK(tpm_key_destroy(token, &key.id));
	assert_int_equal(places_taken(&tpm), 0);
	assert_int_equal(counters_taken(&tpm), 0);
	assert_int_equal(wrap_with(&key.id), CKR_KEY_HANDLE_INVALID);
	assert_int_equal(tpm_key_destroy(token, &key.id),
			 CKR_KEY_HANDLE_INVALID);
	swtpm_shell(&tpm, "! find state -name gate -o -name master | grep .");
}

static void test_copy_of_the_folder(void **state)
{
	(void)state;
	swtpm_shell(&tpm, "cp -a state saved");
	OK(tpm_key_destroy(token, &key.id));
	put_folder_back();
	assert_int_equal(keys_live_count(token), 1);
	assert_int_equal(wrap_with(&key.id), CKR_DEVICE_ERROR);
	assert_int_equal(places_taken(&tpm), 0);
}

static void load_saved_file(struct key_file *ret, struct counter *counter,
			    struct tpm *owner)
{
	struct folder folder;
	char path[256];

	snprintf(path, sizeof(path), "%s/saved", tpm.dir);
	OK(folder_init(path, &folder));
	OK(key_file_load(&folder, &key.id, ret));
	OK(counter_init(owner, ret->counter, &key.id, ret->value, counter));
}

static void test_owner_defines_the_counter_again(void **state)
{
	struct tpm_object rh = tpm_permanent(TPM2_RH_OWNER, SPAN(NULL, 0));
	struct tpm *owner = owner_open(&tpm);
	struct key_file file = {0};
	struct counter counter;
	enum counter_state found = COUNTER_NONE;

	(void)state;
	swtpm_shell(&tpm, "cp -a state saved");
	OK(tpm_key_destroy(token, &key.id));
	load_saved_file(&file, &counter, owner);
	/* The same index, attributes and mark, hence the same Name. */
	OK(counter_define(owner, &rh, &counter));
	OK(counter_look(owner, &counter, &found));
	assert_int_equal(found, COUNTER_OURS);
	assert_true(counter.value > file.value);
	put_folder_back();
	assert_int_equal(wrap_with(&key.id), CKR_DEVICE_ERROR);
	assert_non_null(strstr(kt_err_detail(), "retired"));
	assert_int_equal(places_taken(&tpm), 0);
	key_file_done(&file);
	tpm_free(owner);
}

/* One of two: the other stays. */
static void test_the_other_stays(void **state)
{
	struct tpm_key second = {0}, third = {0};

	(void)state;
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("2"), &second));
	OK(tpm_key_destroy(token, &key.id));
	assert_key_works(token, &second.id);
	/* The places of the first are free for a third. */
	OK(tpm_key_create(token, TPM_KEY_WRAP, BYTES("3"), &third));
	assert_key_works(token, &third.id);
	assert_key_works(token, &second.id);
	OK(tpm_key_destroy(token, &second.id));
	assert_key_works(token, &third.id);
	assert_int_equal(places_taken(&tpm), 1);
	tpm_key_done(&second);
	tpm_key_done(&third);
}

/* Another process still holds the key. */
static void test_destroyed_elsewhere(void **state)
{
	struct tpm_token *other = swtpm_token(&tpm);

	(void)state;
	OK(wrap_with(&key.id));
	login_user(other);
	OK(tpm_key_destroy(other, &key.id));
	tpm_token_free(other);
	assert_int_equal(wrap_with(&key.id), CKR_KEY_HANDLE_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_lost_place_is_restored,
						setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroyed, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_copy_of_the_folder, setup,
						teardown),
		cmocka_unit_test_setup_teardown(
			test_owner_defines_the_counter_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_the_other_stays, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_destroyed_elsewhere, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("tpm2/destroy", tests, NULL, NULL);
}
