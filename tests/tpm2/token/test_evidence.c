/*
 * Evidence, read as an auditor reads it who has neither the TPM nor this
 * program: signatures by the openssl command, structures by their bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <openssl/sha.h>

#include <cmocka.h>

#include <tss2/tss2_tpm2_types.h>

#include "base/bytes.h"
#include "fixture.h"

#define NONCE "auditor's nonce"

struct bytes {
	const uint8_t *at;
	size_t left;
};

static struct bytes file(const struct tpm_evidence *evidence, const char *name)
{
	struct bytes ret = {0};

	ret.at = evidence_find(evidence, name, &ret.left);
	if (ret.at == NULL)
		fail_msg("there is no %s", name);
	return ret;
}

static const uint8_t *take(struct bytes *from, size_t len)
{
	const uint8_t *at = from->at;

	assert_true(len <= from->left);
	from->at += len;
	from->left -= len;
	return at;
}

static struct bytes take_2b(struct bytes *from)
{
	size_t len = be16_get(take(from, 2));

	return (struct bytes){take(from, len), len};
}

static void assert_bytes(struct bytes bytes, const void *expected, size_t len)
{
	assert_int_equal(bytes.left, len);
	assert_memory_equal(bytes.at, expected, len);
}

static void write_files(const struct tpm_evidence *evidence)
{
	swtpm_shell(&tpm, "rm -rf saved && mkdir saved");
	for (size_t i = 0; i < evidence->count; i++) {
		char path[256];
		FILE *out;

		snprintf(path, sizeof(path), "%s/saved/%s", tpm.dir,
			 evidence->files[i].name);
		out = fopen(path, "wb");
		assert_non_null(out);
		assert_int_equal(fwrite(evidence->files[i].data, 1,
					evidence->files[i].len, out),
				 evidence->files[i].len);
		fclose(out);
	}
}

/* By the command, with the attestation key that is in the evidence. */
static void assert_signed(const char *what)
{
	char command[256];

	snprintf(command, sizeof(command),
		 "cd saved && openssl dgst -sha256 -verify ak.pem "
		 "-signature %s.sig %s.attest >/dev/null",
		 what, what);
	swtpm_shell(&tpm, command);
	/* And of nothing else. */
	snprintf(command, sizeof(command),
		 "cd saved && { cat %s.attest; echo; } >other && "
		 "! openssl dgst -sha256 -verify ak.pem -signature %s.sig "
		 "other >/dev/null",
		 what, what);
	swtpm_shell(&tpm, command);
}

struct name {
	uint8_t bytes[34];
};

static struct name name_of(struct bytes public)
{
	struct name name = {{0x00, 0x0b}};

	SHA256(public.at, public.left, name.bytes + 2);
	return name;
}

/* The head of a TPMS_ATTEST; leaves bytes at what is attested. */
static void assert_head(struct bytes *attest, uint16_t type, const void *nonce,
			size_t nonce_len)
{
	assert_int_equal(be32_get(take(attest, 4)), 0xff544347);
	assert_int_equal(be16_get(take(attest, 2)), type);
	take_2b(attest);
	assert_bytes(take_2b(attest), nonce, nonce_len);
	take(attest, 17 + 8); /* clock, firmware */
}

static uint32_t attributes_of(struct bytes public)
{
	take(&public, 4);
	return be32_get(take(&public, 4));
}

static const uint32_t born = TPMA_OBJECT_FIXEDTPM | TPMA_OBJECT_FIXEDPARENT |
			     TPMA_OBJECT_SENSITIVEDATAORIGIN;

static void check_certified(const struct tpm_evidence *evidence,
			    const char *attest_name, const char *public_name,
			    const void *nonce, size_t nonce_len)
{
	struct bytes attest = file(evidence, attest_name);
	struct bytes public = file(evidence, public_name);
	struct name name = name_of(public);

	assert_head(&attest, TPM2_ST_ATTEST_CERTIFY, nonce, nonce_len);
	assert_bytes(take_2b(&attest), name.bytes, sizeof(name.bytes));
	assert_int_equal(attributes_of(public) & born, born);
}

/* The parent's Name in the creation data is the gate's, whose policy is the
 * counter's. */
static void check_creation(const struct tpm_evidence *evidence,
			   const void *nonce, size_t nonce_len)
{
	struct bytes attest = file(evidence, "creation.attest");
	struct bytes data = file(evidence, "creation.data");
	struct name name = name_of(file(evidence, "key.public"));
	struct name gate = name_of(file(evidence, "gate.public"));
	uint8_t hash[32];

	assert_head(&attest, TPM2_ST_ATTEST_CREATION, nonce, nonce_len);
	assert_bytes(take_2b(&attest), name.bytes, sizeof(name.bytes));
	SHA256(data.at, data.left, hash);
	assert_bytes(take_2b(&attest), hash, sizeof(hash));
	assert_int_equal(be32_get(take(&data, 4)), 0); /* no PCRs */
	take_2b(&data);
	take(&data, 1 + 2); /* locality, the parent's hash */
	assert_bytes(take_2b(&data), gate.bytes, sizeof(gate.bytes));
	take_2b(&data);
	assert_bytes(take_2b(&data), key.id.bytes, sizeof(key.id.bytes));
}

/* Only its policy opens the gate, and that is PolicyNV of the counter with the
 * value it had: no userWithAuth. */
static void check_gate(const struct tpm_evidence *evidence)
{
	struct bytes gate = file(evidence, "gate.public");
	struct bytes value = file(evidence, "counter.value");
	struct name counter = name_of(file(evidence, "counter.public"));
	uint8_t args[32], policy[32], operands[12] = {0};
	uint8_t all[36 + 32 + 34] = {[32] = 0, 0, 0x01, 0x49};

	assert_int_equal(attributes_of(gate) & TPMA_OBJECT_USERWITHAUTH, 0);
	assert_int_equal(value.left, 8);
	/* A written counter, outside of the lockout, that whoever asks may read
	 * and nobody but the owner may write: an increment would destroy. */
	assert_int_equal(be32_get(file(evidence, "counter.public").at + 6),
			 TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT |
				 TPMA_NV_AUTHREAD | TPMA_NV_OWNERREAD |
				 TPMA_NV_OWNERWRITE | TPMA_NV_NO_DA |
				 TPMA_NV_WRITTEN);
	memcpy(operands, value.at, 8);
	operands[11] = TPM2_EO_UNSIGNED_LE;
	SHA256(operands, sizeof(operands), args);
	memcpy(all + 36, args, 32);
	memcpy(all + 68, counter.bytes, 34);
	SHA256(all, sizeof(all), policy);
	take(&gate, 8);
	assert_bytes(take_2b(&gate), policy, sizeof(policy));
}

static void check_birth(const struct tpm_evidence *evidence, const void *nonce,
			size_t nonce_len)
{
	write_files(evidence);
	assert_signed("key");
	assert_signed("gate");
	assert_signed("creation");
	check_certified(evidence, "key.attest", "key.public", nonce, nonce_len);
	check_certified(evidence, "gate.attest", "gate.public", nonce,
			nonce_len);
	check_creation(evidence, nonce, nonce_len);
	check_gate(evidence);
	assert_int_equal(attributes_of(file(evidence, "ak.public")) &
				 (born | TPMA_OBJECT_RESTRICTED |
				  TPMA_OBJECT_SIGN_ENCRYPT),
			 born | TPMA_OBJECT_RESTRICTED |
				 TPMA_OBJECT_SIGN_ENCRYPT);
}

static void test_live_key(void **state)
{
	struct tpm_evidence evidence = {0};

	(void)state;
	OK(tpm_key_attest(token, &key.id, BYTES(NONCE), &evidence));
	check_birth(&evidence, NONCE, strlen(NONCE));
	tpm_evidence_done(&evidence);
	assert_int_equal(tpm_key_attest(token, &key.id, NULL, 0, &evidence),
			 CKR_ARGUMENTS_BAD);
}

static void digest_record(struct bytes *log, uint8_t ret[32])
{
	size_t len = be32_get(take(log, 4));

	SHA256(take(log, len), len, ret);
}

/* What the TPM signed is the digest of the commands and answers in the log. */
static void session_digest(struct bytes log, uint8_t ret[32])
{
	uint8_t all[96];

	memset(ret, 0, 32);
	while (log.left > 0) {
		memcpy(all, ret, 32);
		digest_record(&log, all + 32);
		digest_record(&log, all + 64);
		SHA256(all, sizeof(all), ret);
	}
}

/* One record of the log: its command code and what follows. */
static struct bytes next_record(struct bytes *log, uint32_t *ret_code)
{
	size_t len = be32_get(take(log, 4));
	struct bytes record = {take(log, len), len};

	*ret_code = be32_get(take(&record, 4));
	return record;
}

static void skip_answer(struct bytes *log)
{
	take(log, be32_get(take(log, 4)));
}

/* The counter undefined, by the Name it had; the key evicted, by its Name;
 * then nothing at either handle. */
static void check_log(const struct tpm_evidence *evidence)
{
	struct bytes log = file(evidence, "destroyed.log");
	struct name counter = name_of(file(evidence, "counter.public"));
	struct name object = name_of(file(evidence, "key.public"));
	struct bytes record;
	uint32_t code;

	record = next_record(&log, &code);
	assert_int_equal(code, TPM2_CC_NV_UndefineSpace);
	take(&record, 4);
	assert_bytes(record, counter.bytes, sizeof(counter.bytes));
	skip_answer(&log);
	record = next_record(&log, &code);
	assert_int_equal(code, TPM2_CC_EvictControl);
	take(&record, 4);
	record.left -= 4;
	assert_bytes(record, object.bytes, sizeof(object.bytes));
	skip_answer(&log);
	for (int i = 0; i < 2; i++) {
		record = next_record(&log, &code);
		assert_int_equal(code, TPM2_CC_GetCapability);
		assert_int_equal(be32_get(take(&record, 4)), TPM2_CAP_HANDLES);
		record = next_record(&log, &code);
		assert_int_equal(code, TPM2_RC_SUCCESS);
		take(&record, 4 + 1 + 4);
		assert_int_equal(be32_get(take(&record, 4)), 0);
	}
	assert_int_equal(log.left, 0);
}

static void test_destroyed_key(void **state)
{
	struct tpm_evidence evidence = {0};
	struct bytes attest;
	uint8_t digest[32];

	(void)state;
	OK(tpm_key_destroy(token, &key.id));
	OK(tpm_token_logout(token));
	OK(tpm_key_attest(token, &key.id, BYTES(NONCE), &evidence));
	/* That of its birth is kept; its nonce was the key's id. */
	check_birth(&evidence, key.id.bytes, sizeof(key.id.bytes));
	assert_signed("destroyed");
	attest = file(&evidence, "destroyed.attest");
	assert_head(&attest, TPM2_ST_ATTEST_SESSION_AUDIT, key.id.bytes,
		    sizeof(key.id.bytes));
	take(&attest, 1);
	session_digest(file(&evidence, "destroyed.log"), digest);
	assert_bytes(take_2b(&attest), digest, sizeof(digest));
	check_log(&evidence);
	tpm_evidence_done(&evidence);
}

/* An endorsement hierarchy with an authorisation of its own: the key is
 * destroyed all the same, and the evidence says what it lacks. */
static void test_destroyed_unsigned(void **state)
{
	struct tpm_evidence evidence = {0};

	(void)state;
	swtpm_shell(&tpm, "TPM2TOOLS_TCTI=swtpm:path=$PWD/sock "
			  "tpm2_changeauth -c endorsement secret");
	OK(tpm_key_destroy(token, &key.id));
	assert_int_equal(counters_taken(&tpm), 0);
	OK(tpm_key_attest(token, &key.id, BYTES(NONCE), &evidence));
	file(&evidence, "not-signed");
	file(&evidence, "destroyed.log");
	tpm_evidence_done(&evidence);
}

static void test_unknown_key(void **state)
{
	struct tpm_evidence evidence = {0};
	struct kt_id id = {{1}};

	(void)state;
	assert_int_equal(tpm_key_attest(token, &id, BYTES(NONCE), &evidence),
			 CKR_KEY_HANDLE_INVALID);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_live_key, setup, teardown),
		cmocka_unit_test_setup_teardown(test_destroyed_key, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_destroyed_unsigned, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_unknown_key, setup,
						teardown),
	};

	return cmocka_run_group_tests_name("tpm2/evidence", tests, NULL, NULL);
}
