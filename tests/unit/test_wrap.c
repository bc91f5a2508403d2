/*
 * Wrapping keys, wraps and sealed values on a SoftHSM token: round trips, every
 * kind of damage with the error it must give, and keys that outlive lost
 * sessions and reloads.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/secret.h"
#include "hsm/wrap_key.h"
#include "tests/unit/softhsm.h"

#define AAD "vault project secret 1"
#define AAD_LEN (sizeof(AAD) - 1)

static struct softhsm hsm;
static struct token *token;
static struct kt_id master_id[2], recovery_id;

#define assert_ok(call) assert_int_equal((int)(call), KT_OK)
#define assert_err(call, err) assert_int_equal((int)(call), (err))

/* A token key with a canary of its own. */
static struct wrap_key *find(enum kt_key_role role, const struct kt_id *cka_id)
{
	struct wrap_key_spec spec = {role, *cka_id, KT_WRAP_AES_KW, {0}};
	struct wrap_key *key;

	assert_ok(wrap_key_find(token, &spec, &key));
	assert_ok(wrap_new(&key, 1, &key->canary));
	return key;
}

static struct wrap_key *find_master(int i)
{
	return find(KT_KEY_MASTER, &master_id[i]);
}

/* A project key with a canary, and its blob where that is asked for. */
static struct wrap_key *make_project(struct wrap_key *master,
				     struct blob *ret_blob)
{
	struct blob blob;
	struct wrap_key *key;

	assert_ok(wrap_new(&master, 1, &blob));
	assert_ok(wrap_key_unwrap(master, &blob, KT_WRAP_AES_KW, NULL, &key));
	assert_ok(wrap_new(&key, 1, &key->canary));
	if (ret_blob != NULL)
		*ret_blob = blob;
	return key;
}

/* All objects that are visible, session objects included. */
static unsigned long count_objects(void)
{
	CLEANUP(session_releasep) struct session *s = NULL;
	CK_OBJECT_HANDLE handles[256];
	CK_ULONG n;

	assert_ok(session_open_own(token, &s));
	assert_ok(CALL(s, C_FindObjectsInit, NULL, 0));
	assert_ok(CALL(s, C_FindObjects, handles, 256, &n));
	return n;
}

static void test_find(void **state)
{
	struct wrap_key_spec spec = {KT_KEY_MASTER, {{0}}, KT_WRAP_AES_KW, {0}};
	struct wrap_key *key = NULL;

	(void)state;
	assert_ok(id_random(&spec.cka_id));
	assert_err(wrap_key_find(token, &spec, &key), KT_ERR_NOT_FOUND);
	spec.role = KT_KEY_PROJECT;
	assert_err(wrap_key_find(token, &spec, &key), KT_ERR_POLICY);
	spec.role = KT_KEY_RECOVERY; /* of another role than it was made for */
	spec.cka_id = master_id[0];
	assert_int_not_equal(wrap_key_find(token, &spec, &key), KT_OK);
	spec.role = KT_KEY_MASTER;
	spec.mech = KT_WRAP_AES_PAD_KWP;
	assert_err(wrap_key_find(token, &spec, &key), KT_ERR_POLICY);
	spec.mech = KT_WRAP_NONE;
	assert_err(wrap_key_find(token, &spec, &key), KT_ERR_POLICY);
	assert_null(key);
}

static void test_new_copy_prove(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *a = find_master(0);
	CLEANUP(wrap_key_freep) struct wrap_key *b = find_master(1);
	struct wrap_key *keys[] = {a, b};
	unsigned long before = count_objects();
	struct blob blobs[2], other[2], copy;

	(void)state;
	assert_ok(wrap_new(keys, 2, blobs));
	assert_int_equal(blobs[0].len, 40);
	assert_false(blob_equal(&blobs[0], &blobs[1]));
	assert_ok(wrap_check(a, &blobs[0]));
	assert_ok(wrap_prove(b, &blobs[1], a, &blobs[0]));

	assert_ok(wrap_copy(a, b, &blobs[0], &copy));
	assert_true(blob_equal(&copy, &blobs[1]));
	assert_ok(wrap_copy(a, a, &blobs[0], &copy));
	assert_true(blob_equal(&copy, &blobs[0]));

	assert_ok(wrap_new(keys, 2, other));
	assert_false(blob_equal(&other[0], &blobs[0]));
	assert_err(wrap_prove(b, &other[1], a, &blobs[0]), KT_ERR_INTEGRITY);
	assert_int_equal(count_objects(), before);
}

static void test_keys_of_two_kinds(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *m = find_master(0);
	CLEANUP(wrap_key_freep)
	struct wrap_key *r = find(KT_KEY_RECOVERY, &recovery_id);
	struct wrap_key *keys[] = {m, r, r, r, r};
	struct wrap_key *child = NULL;
	struct blob blobs[5] = {0};

	(void)state;
	assert_int_equal(wrap_key_subject(m), KT_KEY_PROJECT);
	assert_int_equal(wrap_key_subject(r), KT_KEY_DEK);
	assert_err(wrap_new(keys, 2, blobs), KT_ERR_POLICY);
	assert_err(wrap_new(keys, 0, blobs), KT_ERR_USAGE);
	assert_err(wrap_new(keys, 5, blobs), KT_ERR_USAGE);
	assert_err(wrap_copy(m, r, &m->canary, &blobs[0]), KT_ERR_POLICY);
	assert_err(wrap_prove(m, &m->canary, r, &r->canary), KT_ERR_POLICY);
	assert_err(wrap_key_unwrap(r, &r->canary, KT_WRAP_AES_KW, NULL, &child),
		   KT_ERR_POLICY);
	assert_int_equal(blobs[0].len, 0);
	assert_null(child);
}

/* Every byte of a wrap counts, and the blame falls on the blob. */
static void test_damaged_blob(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *a = find_master(0);
	CLEANUP(wrap_key_freep) struct wrap_key *b = find_master(1);
	struct blob blob, out = {0};

	(void)state;
	assert_ok(wrap_new(&a, 1, &blob));
	for (size_t i = 0; i < blob.len; i++) {
		blob.data[i] ^= 0x01;
		assert_err(wrap_check(a, &blob), KT_ERR_INTEGRITY);
		blob.data[i] ^= 0x01;
	}
	blob.data[3] ^= 0x01;
	assert_err(wrap_copy(a, b, &blob, &out), KT_ERR_INTEGRITY);
	assert_err(wrap_prove(a, &blob, b, &blob), KT_ERR_INTEGRITY);
	assert_non_null(strstr(kt_err_detail(), "does not unwrap"));
	blob.data[3] ^= 0x01;
	assert_err(wrap_check(b, &blob), KT_ERR_INTEGRITY);
	assert_int_equal(out.len, 0);
	assert_ok(wrap_check(a, &blob));
}

static void test_wrong_size(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *a = find_master(0);
	struct blob blob = a->canary;

	(void)state;
	a->canary.len = 0; /* the size is judged without it */
	for (blob.len = 0; blob.len < 64; blob.len++) {
		if (blob.len != 40)
			assert_err(wrap_check(a, &blob), KT_ERR_INTEGRITY);
	}
}

/* Without a working canary nobody can say that it is the blob. */
static void test_no_canary(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *a = find_master(0);
	struct blob blob = a->canary;

	(void)state;
	blob.data[0] ^= 0x01;
	assert_err(wrap_check(a, &blob), KT_ERR_INTEGRITY);
	a->canary.data[9] ^= 0x01;
	assert_err(wrap_check(a, &blob), KT_ERR_TOKEN);
	a->canary.len = 0;
	assert_err(wrap_check(a, &blob), KT_ERR_TOKEN);
}

static void test_mechanism(void **state)
{
	enum kt_wrap_mech mech = KT_WRAP_NONE;
	unsigned long before = count_objects();

	(void)state;
	assert_ok(wrap_mech_choose(token, &mech));
	assert_int_equal(mech, KT_WRAP_AES_KW);
	assert_int_equal(count_objects(), before);
}

static void test_temporary(void **state)
{
	const enum kt_wrap_mech mechs[] = {KT_WRAP_AES_KW, KT_WRAP_AES_PAD_KWP};
	unsigned long before = count_objects();

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		CLEANUP(wrap_key_freep) struct wrap_key *m = NULL;
		CLEANUP(wrap_key_freep) struct wrap_key *p = NULL;

		assert_ok(
			wrap_key_temporary(token, KT_KEY_MASTER, mechs[i], &m));
		assert_ok(wrap_key_temporary_project(token, mechs[i], mechs[i],
						     &p));
		assert_ok(wrap_check(m, &m->canary));
		assert_ok(wrap_check(p, &p->canary));
		assert_true(count_objects() > before);
	}
	assert_int_equal(count_objects(), before);
}

/* What SoftHSM has not, or does otherwise, is refused before a key is under
 * it. */
static void test_temporary_refused(void **state)
{
	const enum kt_wrap_mech mechs[] = {KT_WRAP_AES_KWP,
					   KT_WRAP_AES_PAD_PKCS7, KT_WRAP_TPM};
	unsigned long before = count_objects();
	struct wrap_key *key = NULL;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		assert_int_not_equal(wrap_key_temporary(token, KT_KEY_MASTER,
							mechs[i], &key),
				     KT_OK);
	assert_err(wrap_key_temporary(token, KT_KEY_DEK, KT_WRAP_AES_KW, &key),
		   KT_ERR_POLICY);
	assert_err(wrap_key_temporary_project(token, KT_WRAP_AES_KW,
					      KT_WRAP_TPM, &key),
		   KT_ERR_POLICY);
	assert_null(key);
	assert_int_equal(count_objects(), before);
}

/* Under an AES master nothing is asked; a TPM's needs a token that has it. */
static void test_mechanism_below(void **state)
{
	enum kt_wrap_mech mech = KT_WRAP_NONE;

	(void)state;
	assert_err(wrap_mech_below(token, KT_WRAP_TPM, &mech), KT_ERR_POLICY);
	assert_int_equal(mech, KT_WRAP_NONE);
	assert_ok(wrap_mech_below(token, KT_WRAP_AES_PAD_KWP, &mech));
	assert_int_equal(mech, KT_WRAP_AES_PAD_KWP);
}

/* One damaged project key takes neither its siblings nor the login along. */
static void test_siblings(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *m = find_master(0);
	CLEANUP(wrap_key_freep) struct wrap_key *a = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *b = NULL;
	uint64_t generation = token_generation(token);
	struct wrap_key *bad = NULL;
	struct blob blob;

	(void)state;
	a = make_project(m, &blob);
	blob.data[20] ^= 0x01;
	assert_err(wrap_key_unwrap(m, &blob, KT_WRAP_AES_KW, NULL, &bad),
		   KT_ERR_INTEGRITY);
	assert_null(bad);
	b = make_project(m, NULL);
	assert_ok(wrap_check(a, &a->canary));
	assert_ok(wrap_check(b, &b->canary));
	assert_err(wrap_check(a, &b->canary), KT_ERR_INTEGRITY);
	assert_true(token_generation(token) == generation);
}

static void test_many_projects(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *m = find_master(0);
	unsigned long before = count_objects();
	struct wrap_key *keys[100];

	(void)state;
	for (size_t i = 0; i < 100; i++)
		keys[i] = make_project(m, NULL);
	for (size_t i = 0; i < 100; i++)
		assert_ok(wrap_check(keys[i], &keys[i]->canary));
	assert_int_equal(count_objects(), before + 100);
	for (size_t i = 0; i < 100; i++)
		wrap_key_free(keys[i]);
	assert_int_equal(count_objects(), before);
}

struct sealed {
	struct kt_secret value;
	struct blob blobs[2];
	struct sealed_value sealed;
};

static void seal(struct wrap_key *project, struct wrap_key *recovery,
		 size_t len, struct sealed *ret)
{
	struct wrap_key *keys[] = {project, recovery};

	*ret = (struct sealed){0};
	assert_ok(secret_new(len, &ret->value));
	assert_ok(random_bytes(ret->value.data, len));
	assert_ok(value_seal(keys, 2, AAD, AAD_LEN, &ret->value, ret->blobs,
			     &ret->sealed));
}

static void sealed_done(struct sealed *sealed)
{
	kt_secret_done(&sealed->value);
	sealed_value_done(&sealed->sealed);
}

static void opens(struct wrap_key *key, const struct blob *blob,
		  const struct sealed *sealed)
{
	CLEANUP(kt_secret_done) struct kt_secret back = {0};

	assert_ok(value_open(key, blob, AAD, AAD_LEN, &sealed->sealed, &back));
	assert_true(secret_equal(&back, &sealed->value));
}

static void does_not_open(struct wrap_key *key, const struct blob *blob,
			  const char *aad, const struct sealed *sealed)
{
	struct kt_secret back = {0};

	assert_err(value_open(key, blob, aad, AAD_LEN, &sealed->sealed, &back),
		   KT_ERR_INTEGRITY);
	assert_null(back.data);
}

struct value_fixture {
	struct wrap_key *master, *recovery, *project;
};

static int value_start(void **state)
{
	struct value_fixture *f = calloc(1, sizeof(*f));

	f->master = find_master(0);
	f->recovery = find(KT_KEY_RECOVERY, &recovery_id);
	f->project = make_project(f->master, NULL);
	*state = f;
	return 0;
}

static int value_stop(void **state)
{
	struct value_fixture *f = *state;

	wrap_key_free(f->project);
	wrap_key_free(f->recovery);
	wrap_key_free(f->master);
	free(f);
	return 0;
}

static void test_value_sizes(void **state)
{
	const size_t sizes[] = {0, 1, 15, 16, 17, 4096, KT_VALUE_MAX};
	struct value_fixture *f = *state;
	unsigned long before = count_objects();

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		CLEANUP(sealed_done) struct sealed sealed;

		seal(f->project, f->recovery, sizes[i], &sealed);
		assert_int_equal(sealed.sealed.len, sizes[i] + VALUE_TAG_LEN);
		opens(f->project, &sealed.blobs[0], &sealed);
		opens(f->recovery, &sealed.blobs[1], &sealed);
	}
	assert_int_equal(count_objects(), before);
}

static void test_value_usage(void **state)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct value_fixture *f = *state;
	struct sealed_value sealed = {0};
	struct kt_secret back = {0};
	struct blob blob = {0};

	assert_ok(secret_new(KT_VALUE_MAX + 1, &value));
	assert_err(value_seal(&f->project, 1, AAD, AAD_LEN, &value, &blob,
			      &sealed),
		   KT_ERR_USAGE);
	secret_shrink(&value, 8);
	assert_err(value_seal(&f->project, 1, AAD, 0, &value, &blob, &sealed),
		   KT_ERR_USAGE);
	assert_err(
		value_seal(&f->master, 1, AAD, AAD_LEN, &value, &blob, &sealed),
		KT_ERR_POLICY);
	assert_err(value_open(f->master, &f->master->canary, AAD, AAD_LEN,
			      &sealed, &back),
		   KT_ERR_POLICY);
	assert_err(value_open(f->project, &f->project->canary, AAD, 0, &sealed,
			      &back),
		   KT_ERR_USAGE);
	assert_err(value_open(f->project, &f->project->canary, AAD, AAD_LEN,
			      &sealed, &back),
		   KT_ERR_INTEGRITY);
	assert_null(sealed.data);
	assert_int_equal(blob.len, 0);
}

static void test_value_damage(void **state)
{
	CLEANUP(sealed_done) struct sealed sealed;
	struct value_fixture *f = *state;
	char aad[] = AAD;

	seal(f->project, f->recovery, 24, &sealed);
	for (size_t i = 0; i < sealed.sealed.len; i++) {
		sealed.sealed.data[i] ^= 0x80;
		does_not_open(f->project, &sealed.blobs[0], AAD, &sealed);
		sealed.sealed.data[i] ^= 0x80;
	}
	for (size_t i = 0; i < VALUE_NONCE_LEN; i++) {
		sealed.sealed.nonce[i] ^= 0x80;
		does_not_open(f->recovery, &sealed.blobs[1], AAD, &sealed);
		sealed.sealed.nonce[i] ^= 0x80;
	}
	aad[4] ^= 0x01;
	does_not_open(f->project, &sealed.blobs[0], aad, &sealed);
	sealed.sealed.len--;
	does_not_open(f->project, &sealed.blobs[0], AAD, &sealed);
	sealed.sealed.len++;
	opens(f->project, &sealed.blobs[0], &sealed);
}

static void test_value_no_canary(void **state)
{
	CLEANUP(sealed_done) struct sealed sealed;
	struct value_fixture *f = *state;
	struct kt_secret back = {0};

	seal(f->project, f->recovery, 24, &sealed);
	sealed.sealed.data[5] ^= 0x01;
	f->project->canary.data[5] ^= 0x01;
	assert_err(value_open(f->project, &sealed.blobs[0], AAD, AAD_LEN,
			      &sealed.sealed, &back),
		   KT_ERR_TOKEN);
	f->project->canary.data[5] ^= 0x01;
	does_not_open(f->project, &sealed.blobs[0], AAD, &sealed);
	assert_null(back.data);
}

static void test_value_wrong_key(void **state)
{
	CLEANUP(sealed_done) struct sealed a, b;
	struct value_fixture *f = *state;
	CLEANUP(wrap_key_freep)
	struct wrap_key *other = make_project(f->master, NULL);

	seal(f->project, f->recovery, 24, &a);
	seal(f->project, f->recovery, 24, &b);
	does_not_open(f->project, &b.blobs[0], AAD, &a);
	does_not_open(f->project, &a.blobs[1], AAD, &a);
	does_not_open(other, &a.blobs[0], AAD, &a);
	a.blobs[0].data[39] ^= 0x01;
	does_not_open(f->project, &a.blobs[0], AAD, &a);
}

/* Sessions end behind our back: the call after that heals. */
static void test_lost_sessions(void **state)
{
	CLEANUP(sealed_done) struct sealed sealed;
	struct value_fixture *f = *state;

	seal(f->project, f->recovery, 24, &sealed);
	for (int i = 0; i < 3; i++) {
		CLEANUP(session_releasep) struct session *s = NULL;
		CK_SESSION_INFO info;

		assert_ok(session_open_own(token, &s));
		assert_ok(CALL(s, C_GetSessionInfo, &info));
		assert_int_equal(s->p11->C_CloseAllSessions(info.slotID),
				 CKR_OK);
		opens(f->project, &sealed.blobs[0], &sealed);
		opens(f->recovery, &sealed.blobs[1], &sealed);
		assert_ok(wrap_check(f->master, &f->master->canary));
	}
}

static void test_reload(void **state)
{
	CLEANUP(sealed_done) struct sealed sealed;
	CLEANUP(wrap_key_freep) struct wrap_key *temporary = NULL;
	struct value_fixture *f = *state;

	seal(f->project, f->recovery, 24, &sealed);
	assert_ok(wrap_key_temporary(token, KT_KEY_MASTER, KT_WRAP_AES_KW,
				     &temporary));
	for (int i = 0; i < 2; i++) {
		assert_ok(token_reload(token));
		opens(f->project, &sealed.blobs[0], &sealed);
		opens(f->recovery, &sealed.blobs[1], &sealed);
		assert_ok(wrap_check(f->master, &f->master->canary));
	}
	assert_err(wrap_check(temporary, &temporary->canary), KT_ERR_TOKEN);
}

/* I15: a key that vanished, or a token that vanished, is not a bad row. */
static void test_destroyed_key(void **state)
{
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	struct kt_id id;

	(void)state;
	assert_ok(id_random(&id));
	assert_ok(token_generate(token, KT_KEY_MASTER, KT_WRAP_AES_KW, &id,
				 "to be destroyed"));
	key = find(KT_KEY_MASTER, &id);
	assert_ok(wrap_check(key, &key->canary));
	assert_ok(token_destroy(token, &id));
	assert_err(wrap_check(key, &key->canary), KT_ERR_TOKEN);
	assert_err(wrap_check(key, &key->canary), KT_ERR_TOKEN);
}

static void test_token_gone(void **state)
{
	struct value_fixture *f = *state;
	CLEANUP(sealed_done) struct sealed sealed;
	struct kt_secret back = {0};
	char there[128], away[128];

	seal(f->project, f->recovery, 24, &sealed);
	snprintf(there, sizeof(there), "%s/tokens", hsm.folder);
	snprintf(away, sizeof(away), "%s/away", hsm.folder);
	assert_int_equal(rename(there, away), 0);
	assert_err(wrap_check(f->master, &f->master->canary), KT_ERR_TOKEN);
	assert_err(value_open(f->recovery, &sealed.blobs[1], AAD, AAD_LEN,
			      &sealed.sealed, &back),
		   KT_ERR_TOKEN);
	assert_int_equal(rename(away, there), 0);
	assert_ok(token_reload(token));
	opens(f->project, &sealed.blobs[0], &sealed);
	opens(f->recovery, &sealed.blobs[1], &sealed);
}

static int generate(enum kt_key_role role, struct kt_id *ret)
{
	return id_random(ret) == KT_OK &&
			       token_generate(token, role, KT_WRAP_AES_KW, ret,
					      "test") == KT_OK
		       ? 0
		       : -1;
}

static int start(void **state)
{
	(void)state;
	softhsm_start(&hsm);
	hsm.params.max_sessions = 1; /* no call may need two at once */
	if (token_open(&hsm.params, &token) != KT_OK)
		return -1;
	return generate(KT_KEY_MASTER, &master_id[0]) |
	       generate(KT_KEY_MASTER, &master_id[1]) |
	       generate(KT_KEY_RECOVERY, &recovery_id);
}

static int stop(void **state)
{
	(void)state;
	token_close(token);
	softhsm_stop(&hsm);
	return 0;
}

#define value_test(f)                                                          \
	cmocka_unit_test_setup_teardown(f, value_start, value_stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test(test_new_copy_prove),
		cmocka_unit_test(test_keys_of_two_kinds),
		cmocka_unit_test(test_damaged_blob),
		cmocka_unit_test(test_wrong_size),
		cmocka_unit_test(test_no_canary),
		cmocka_unit_test(test_mechanism),
		cmocka_unit_test(test_temporary),
		cmocka_unit_test(test_temporary_refused),
		cmocka_unit_test(test_mechanism_below),
		cmocka_unit_test(test_siblings),
		cmocka_unit_test(test_many_projects),
		value_test(test_value_sizes),
		value_test(test_value_usage),
		value_test(test_value_damage),
		value_test(test_value_no_canary),
		value_test(test_value_wrong_key),
		value_test(test_lost_sessions),
		value_test(test_reload),
		cmocka_unit_test(test_destroyed_key),
		value_test(test_token_gone),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
