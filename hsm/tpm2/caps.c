/*
 * TPM2_GetCapability and TPM2_PCR_Read.
 */
#include "hsm/tpm2/caps.h"

#include <string.h>

#define HANDLES_AT_ONCE 64
#define SELECT_BYTES 3
/* tpm2-tss makes these by shifting an int. */
#define TRANSIENT UINT32_C(0x80000000)
#define SESSIONS UINT32_C(0x02000000)

/* Leaves cmd at the first item; the number of items in *ret. */
static CK_RV ask(struct tpm *tpm, struct cmd *cmd, uint32_t capability,
		 uint32_t property, uint32_t count, uint32_t *ret)
{
	cmd_put_u32(cmd, capability);
	cmd_put_u32(cmd, property);
	cmd_put_u32(cmd, count);
	RV_TRY(cmd_run(tpm, cmd));
	cmd_get_u8(cmd);
	cmd_get_u32(cmd);
	*ret = cmd_get_u32(cmd);
	return cmd_end(cmd);
}

CK_RV caps_property(struct tpm *tpm, uint32_t property, uint32_t *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(GetCapability);
	uint32_t count = 0, found, value;

	RV_TRY(ask(tpm, &cmd, TPM2_CAP_TPM_PROPERTIES, property, 1, &count));
	found = cmd_get_u32(&cmd);
	value = cmd_get_u32(&cmd);
	if (count == 0 || cmd.broken || found != property)
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM does not tell its property 0x%x",
				property);
	*ret = value;
	return CKR_OK;
}

CK_RV caps_has_command(struct tpm *tpm, uint32_t code, bool *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(GetCapability);
	uint32_t count = 0, attributes;

	RV_TRY(ask(tpm, &cmd, TPM2_CAP_COMMANDS, code, 1, &count));
	attributes = count > 0 ? cmd_get_u32(&cmd) : 0;
	*ret = count > 0 && (attributes & TPMA_CC_COMMANDINDEX_MASK) == code;
	return cmd_end(&cmd);
}

CK_RV caps_has_curve(struct tpm *tpm, uint16_t curve, bool *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(GetCapability);
	uint32_t count = 0;

	RV_TRY(ask(tpm, &cmd, TPM2_CAP_ECC_CURVES, curve, 1, &count));
	*ret = count > 0 && cmd_get_u16(&cmd) == curve;
	return cmd_end(&cmd);
}

/* Handles from first on, at most HANDLES_AT_ONCE. */
static CK_RV handles_from(struct tpm *tpm, uint32_t first,
			  uint32_t ret[HANDLES_AT_ONCE], uint32_t *ret_count)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(GetCapability);
	uint32_t count = 0;

	RV_TRY(ask(tpm, &cmd, TPM2_CAP_HANDLES, first, HANDLES_AT_ONCE,
		   &count));
	if (count > HANDLES_AT_ONCE)
		count = HANDLES_AT_ONCE;
	for (uint32_t i = 0; i < count; i++)
		ret[i] = cmd_get_u32(&cmd);
	*ret_count = count;
	return cmd_end(&cmd);
}

CK_RV caps_handle_there(struct tpm *tpm, uint32_t handle, bool *ret)
{
	uint32_t found[HANDLES_AT_ONCE], count = 0;

	RV_TRY(handles_from(tpm, handle, found, &count));
	*ret = count > 0 && found[0] == handle;
	return CKR_OK;
}

CK_RV caps_handle_free(struct tpm *tpm, uint32_t first, uint32_t count,
		       uint32_t *ret)
{
	uint32_t found[HANDLES_AT_ONCE], got = 0, next = first;

	do {
		RV_TRY(handles_from(tpm, next, found, &got));
		for (uint32_t i = 0; i < got && found[i] == next; i++)
			next++;
	} while (got == HANDLES_AT_ONCE && next == found[got - 1] + 1);
	if (next - first >= count)
		return rv_raise(CKR_DEVICE_MEMORY,
				"all %u handles from 0x%x are taken", count,
				first);
	*ret = next;
	return CKR_OK;
}

/* One that cannot be flushed is gone: its owner may end meanwhile. */
static CK_RV flush_range(struct tpm *tpm, uint32_t first, uint32_t keep)
{
	uint32_t found[HANDLES_AT_ONCE], count = 0;
	CK_RV rv;

	RV_TRY(handles_from(tpm, first, found, &count));
	for (uint32_t i = 0; i < count; i++) {
		CLEANUP(cmd_done) struct cmd cmd = CMD(FlushContext);

		if (found[i] == keep)
			continue;
		cmd_put_u32(&cmd, found[i]);
		rv = cmd_run(tpm, &cmd);
		if (tpm->gone)
			return rv;
	}
	return CKR_OK;
}

CK_RV caps_flush_all(struct tpm *tpm, uint32_t keep)
{
	RV_TRY(flush_range(tpm, TRANSIENT, keep));
	return flush_range(tpm, SESSIONS, keep);
}

void caps_put_pcrs(struct cmd *cmd, uint32_t mask)
{
	cmd_put_u32(cmd, 1);
	cmd_put_u16(cmd, TPM2_ALG_SHA256);
	cmd_put_u8(cmd, SELECT_BYTES);
	for (unsigned i = 0; i < SELECT_BYTES; i++)
		cmd_put_u8(cmd, (uint8_t)(mask >> 8 * i));
}

static CK_RV read_pcr(struct tpm *tpm, unsigned number, uint8_t ret[HASH_LEN])
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(PCR_Read);
	uint32_t selections, count;
	struct span digest;

	caps_put_pcrs(&cmd, UINT32_C(1) << number);
	RV_TRY(cmd_run(tpm, &cmd));
	cmd_get_u32(&cmd); /* update counter */
	selections = cmd_get_u32(&cmd);
	for (uint32_t i = 0; i < selections && !cmd.broken; i++) {
		cmd_get_u16(&cmd);
		cmd_get(&cmd, cmd_get_u8(&cmd));
	}
	count = cmd_get_u32(&cmd);
	digest = cmd_get_2b(&cmd);
	if (cmd.broken || count != 1 || digest.len != HASH_LEN)
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM has no PCR %u in its SHA-256 bank",
				number);
	memcpy(ret, digest.data, HASH_LEN);
	return CKR_OK;
}

CK_RV caps_pcrs(struct tpm *tpm, uint32_t mask, uint8_t ret[PCR_MAX][HASH_LEN])
{
	size_t next = 0;

	for (unsigned number = 0; number < PCR_MAX; number++) {
		if ((mask >> number & 1) != 0)
			RV_TRY(read_pcr(tpm, number, ret[next++]));
	}
	return CKR_OK;
}
