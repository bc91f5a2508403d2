/*
 * Counters, and the policy that hangs a gate on one.
 */
#include "hsm/tpm2/counter.h"

#include <string.h>

#include "base/bytes.h"
#include "hsm/tpm2/audit.h"
#include "hsm/tpm2/caps.h"

#define MARK "keyturn tpm counter 1"

/* Nobody may write it but the owner: whoever may increment may destroy. */
#define ATTRIBUTES                                                             \
	((uint32_t)TPM2_NT_COUNTER << TPMA_NV_TPM2_NT_SHIFT |                  \
	 TPMA_NV_AUTHREAD | TPMA_NV_OWNERREAD | TPMA_NV_OWNERWRITE |           \
	 TPMA_NV_NO_DA)

/* The policy of the index itself allows nothing; it is 32 bytes of the Name
 * that say whose counter this is. */
static CK_RV mark_of(const struct tpm *tpm, const struct kt_id *key,
		     uint8_t ret[HASH_LEN])
{
	return crypto_hash(tpm->crypto,
			   SPANS(SPAN(MARK, sizeof(MARK)),
				 SPAN(key->bytes, sizeof(key->bytes))),
			   ret);
}

/* TPMS_NV_PUBLIC. */
static CK_RV public_area(const struct tpm *tpm, const struct counter *counter,
			 uint32_t attributes, struct cmd *ret)
{
	uint8_t mark[HASH_LEN];

	RV_TRY(mark_of(tpm, &counter->key, mark));
	cmd_put_u32(ret, counter->fresh.handle);
	cmd_put_u16(ret, TPM2_ALG_SHA256);
	cmd_put_u32(ret, attributes);
	cmd_put_2b(ret, SPAN(mark, sizeof(mark)));
	cmd_put_u16(ret, sizeof(uint64_t));
	return CKR_OK;
}

CK_RV counter_area(const struct tpm *tpm, const struct counter *counter,
		   struct cmd *ret)
{
	return public_area(tpm, counter, ATTRIBUTES | TPMA_NV_WRITTEN, ret);
}

static CK_RV name_of(const struct tpm *tpm, const struct counter *counter,
		     uint32_t attributes, struct tpm_object *ret)
{
	CLEANUP(cmd_done) struct cmd area = {0};

	RV_TRY(public_area(tpm, counter, attributes, &area));
	be16_put(ret->name, TPM2_ALG_SHA256);
	ret->name_len = 2 + HASH_LEN;
	return crypto_hash(tpm->crypto, SPANS(SPAN(area.params, area.len)),
			   ret->name + 2);
}

CK_RV counter_init(const struct tpm *tpm, uint32_t index,
		   const struct kt_id *key, uint64_t value, struct counter *ret)
{
	struct counter counter = {.fresh = {.handle = index},
				  .written = {.handle = index},
				  .key = *key,
				  .value = value};

	RV_TRY(name_of(tpm, &counter, ATTRIBUTES, &counter.fresh));
	RV_TRY(name_of(tpm, &counter, ATTRIBUTES | TPMA_NV_WRITTEN,
		       &counter.written));
	*ret = counter;
	return CKR_OK;
}

static CK_RV define(struct tpm *tpm, const struct tpm_object *owner,
		    const struct counter *counter)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(NV_DefineSpace);
	CLEANUP(cmd_done) struct cmd area = {0};
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	RV_TRY(public_area(tpm, counter, ATTRIBUTES, &area));
	cmd_handle(&cmd, owner);
	cmd_auth(&cmd, main, owner, CMD_PLAIN);
	cmd_put_2b(&cmd, SPAN(NULL, 0)); /* its own authorisation: empty */
	cmd_put_2b(&cmd, SPAN(area.params, area.len));
	return cmd_run(tpm, &cmd);
}

static CK_RV increment(struct tpm *tpm, const struct tpm_object *owner,
		       const struct counter *counter)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(NV_Increment);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, owner);
	cmd_handle(&cmd, &counter->fresh);
	cmd_auth(&cmd, main, owner, CMD_PLAIN);
	return cmd_run(tpm, &cmd);
}

static CK_RV read_value(struct tpm *tpm, const struct tpm_object *owner,
			struct counter *counter)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(NV_Read);
	struct tpm_session *main = NULL;
	struct span value;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, owner);
	cmd_handle(&cmd, &counter->written);
	cmd_auth(&cmd, main, owner, CMD_PLAIN);
	cmd_put_u16(&cmd, sizeof(uint64_t));
	cmd_put_u16(&cmd, 0);
	RV_TRY(cmd_run(tpm, &cmd));
	value = cmd_get_2b(&cmd);
	RV_TRY(cmd_end(&cmd));
	if (value.len != sizeof(uint64_t))
		return rv_raise(CKR_DEVICE_ERROR, "a counter of %zu bytes",
				value.len);
	counter->value = be64_get(value.data);
	return CKR_OK;
}

CK_RV counter_define(struct tpm *tpm, const struct tpm_object *owner,
		     struct counter *counter)
{
	RV_TRY(define(tpm, owner, counter));
	RV_TRY(increment(tpm, owner, counter));
	return read_value(tpm, owner, counter);
}

/* The Name of what is at its index, as whoever answers has it. */
static CK_RV read_name(struct tpm *tpm, const struct counter *counter,
		       struct tpm_object *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(NV_ReadPublic);
	struct span name;

	cmd_handle(&cmd, &counter->fresh);
	RV_TRY(cmd_run(tpm, &cmd));
	cmd_get_2b(&cmd);
	name = cmd_get_2b(&cmd);
	RV_TRY(cmd_end(&cmd));
	if (name.len > sizeof(ret->name))
		return cmd_garbled(&cmd);
	memcpy(ret->name, name.data, name.len);
	ret->name_len = name.len;
	ret->handle = counter->fresh.handle;
	return CKR_OK;
}

static bool same_name(const struct tpm_object *a, const struct tpm_object *b)
{
	return a->name_len == b->name_len &&
	       memcmp(a->name, b->name, a->name_len) == 0;
}

static bool is_ours(const struct counter *counter,
		    const struct tpm_object *there)
{
	return same_name(there, &counter->fresh) ||
	       same_name(there, &counter->written);
}

CK_RV counter_look(struct tpm *tpm, const struct counter *counter,
		   enum counter_state *ret)
{
	struct tpm_object at_index = {0};
	bool there = false;

	RV_TRY(caps_handle_there(tpm, counter->fresh.handle, &there));
	if (!there) {
		*ret = COUNTER_NONE;
		return CKR_OK;
	}
	RV_TRY(read_name(tpm, counter, &at_index));
	*ret = is_ours(counter, &at_index) ? COUNTER_OURS : COUNTER_FOREIGN;
	return CKR_OK;
}

CK_RV counter_prove_foreign(struct tpm *tpm, const struct counter *counter)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(NV_ReadPublic);
	struct tpm_session *main = NULL;
	struct tpm_object there = {0};

	RV_TRY(read_name(tpm, counter, &there));
	if (is_ours(counter, &there))
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM still has the key's counter");
	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, &there);
	cmd_auth(&cmd, main, NULL, CMD_ANSWER_SECRET);
	return cmd_run(tpm, &cmd);
}

static bool is_written(struct tpm *tpm, const struct counter *counter)
{
	struct tpm_object there = {0};

	return read_name(tpm, counter, &there) != CKR_OK ||
	       !same_name(&there, &counter->fresh);
}

CK_RV counter_undefine(struct tpm *tpm, const struct tpm_object *owner,
		       const struct counter *counter, struct audit *audit)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(NV_UndefineSpace);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, owner);
	cmd_handle(&cmd, is_written(tpm, counter) ? &counter->written
						  : &counter->fresh);
	cmd_auth(&cmd, main, owner, CMD_PLAIN);
	if (audit != NULL)
		audit_command(audit, &cmd);
	RV_TRY(cmd_run(tpm, &cmd));
	if (audit != NULL)
		audit_log(audit, &cmd);
	return CKR_OK;
}

struct operands {
	uint8_t value[sizeof(uint64_t)];
	uint8_t offset[2], operation[2];
};

static struct operands operands_of(const struct counter *counter)
{
	struct operands ret = {0};

	be64_put(ret.value, counter->value);
	be16_put(ret.operation, TPM2_EO_UNSIGNED_LE);
	return ret;
}

/* TPM library specification, part 3, TPM2_PolicyNV. */
CK_RV counter_policy(const struct tpm *tpm, const struct counter *counter,
		     uint8_t ret[HASH_LEN])
{
	static const uint8_t start[HASH_LEN];
	struct operands operands = operands_of(counter);
	uint8_t args[HASH_LEN], code[4];

	be32_put(code, TPM2_CC_PolicyNV);
	RV_TRY(crypto_hash(tpm->crypto,
			   SPANS(SPAN(operands.value, sizeof(operands.value)),
				 SPAN(operands.offset, 2),
				 SPAN(operands.operation, 2)),
			   args));
	return crypto_hash(
		tpm->crypto,
		SPANS(SPAN(start, sizeof(start)), SPAN(code, 4),
		      SPAN(args, sizeof(args)),
		      SPAN(counter->written.name, counter->written.name_len)),
		ret);
}

CK_RV counter_prove(struct tpm *tpm, const struct counter *counter,
		    const struct tpm_session *policy)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(PolicyNV);
	struct tpm_object session =
		tpm_permanent(policy->handle, SPAN(NULL, 0));
	struct operands operands = operands_of(counter);
	struct tpm_session *main = NULL;

	RV_TRY(session_main(tpm, &main));
	cmd_handle(&cmd, &counter->written);
	cmd_handle(&cmd, &counter->written);
	cmd_handle(&cmd, &session);
	cmd_auth(&cmd, main, &counter->written, CMD_PLAIN);
	cmd_put_2b(&cmd, SPAN(operands.value, sizeof(operands.value)));
	cmd_put(&cmd, SPAN(operands.offset, 2));
	cmd_put(&cmd, SPAN(operands.operation, 2));
	return cmd_run(tpm, &cmd);
}
