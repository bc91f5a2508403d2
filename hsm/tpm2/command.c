/*
 * Commands piece by piece: what goes into one, and what comes out of its
 * answer.
 */
#include "hsm/tpm2/command.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "base/secret.h"

void cmd_done(struct cmd *cmd)
{
	wipe(cmd, sizeof(*cmd));
}

void cmd_handle(struct cmd *cmd, const struct tpm_object *object)
{
	assert(cmd->handle_count < CMD_HANDLES_MAX);
	cmd->handles[cmd->handle_count++] = object;
}

void cmd_auth(struct cmd *cmd, struct tpm_session *session,
	      const struct tpm_object *of, uint8_t flags)
{
	assert(cmd->auth_count < CMD_AUTHS_MAX);
	cmd->auths[cmd->auth_count++] =
		(struct cmd_auth){.session = session, .of = of, .flags = flags};
}

void cmd_put(struct cmd *cmd, struct span bytes)
{
	if (bytes.len > sizeof(cmd->params) - cmd->len) {
		cmd->broken = true;
		return;
	}
	if (bytes.len > 0)
		memcpy(cmd->params + cmd->len, bytes.data, bytes.len);
	cmd->len += bytes.len;
}

void cmd_put_u8(struct cmd *cmd, uint8_t value)
{
	cmd_put(cmd, SPAN(&value, 1));
}

void cmd_put_u16(struct cmd *cmd, uint16_t value)
{
	uint8_t bytes[2];

	be16_put(bytes, value);
	cmd_put(cmd, SPAN(bytes, sizeof(bytes)));
}

void cmd_put_u32(struct cmd *cmd, uint32_t value)
{
	uint8_t bytes[4];

	be32_put(bytes, value);
	cmd_put(cmd, SPAN(bytes, sizeof(bytes)));
}

void cmd_put_u64(struct cmd *cmd, uint64_t value)
{
	uint8_t bytes[8];

	be64_put(bytes, value);
	cmd_put(cmd, SPAN(bytes, sizeof(bytes)));
}

void cmd_put_2b(struct cmd *cmd, struct span bytes)
{
	if (bytes.len > UINT16_MAX) {
		cmd->broken = true;
		return;
	}
	cmd_put_u16(cmd, (uint16_t)bytes.len);
	cmd_put(cmd, bytes);
}

struct span cmd_get(struct cmd *cmd, size_t len)
{
	struct span bytes = SPAN(cmd->answer, len);

	if (len > cmd->left) {
		cmd->broken = true;
		cmd->left = 0;
		return SPAN(cmd->answer, 0);
	}
	cmd->answer += len;
	cmd->left -= len;
	return bytes;
}

uint8_t cmd_get_u8(struct cmd *cmd)
{
	struct span bytes = cmd_get(cmd, 1);

	return bytes.len == 1 ? *(const uint8_t *)bytes.data : 0;
}

uint16_t cmd_get_u16(struct cmd *cmd)
{
	struct span bytes = cmd_get(cmd, 2);

	return bytes.len == 2 ? be16_get(bytes.data) : 0;
}

uint32_t cmd_get_u32(struct cmd *cmd)
{
	struct span bytes = cmd_get(cmd, 4);

	return bytes.len == 4 ? be32_get(bytes.data) : 0;
}

uint64_t cmd_get_u64(struct cmd *cmd)
{
	struct span bytes = cmd_get(cmd, 8);

	return bytes.len == 8 ? be64_get(bytes.data) : 0;
}

struct span cmd_get_2b(struct cmd *cmd)
{
	return cmd_get(cmd, cmd_get_u16(cmd));
}

CK_RV cmd_garbled(const struct cmd *cmd)
{
	return rv_raise(CKR_DEVICE_ERROR, "%s: the TPM's answer cannot be read",
			cmd->name);
}

CK_RV cmd_end(struct cmd *cmd)
{
	return cmd->broken ? cmd_garbled(cmd) : CKR_OK;
}

static bool right_aligned(struct span number, uint8_t ret[32])
{
	if (number.len > 32)
		return false;
	memset(ret, 0, 32 - number.len);
	memcpy(ret + 32 - number.len, number.data, number.len);
	return true;
}

CK_RV cmd_get_signature(struct cmd *cmd, uint8_t ret[TPM_SIGNATURE_LEN])
{
	uint16_t algorithm = cmd_get_u16(cmd), hash = cmd_get_u16(cmd);
	struct span r = cmd_get_2b(cmd), s = cmd_get_2b(cmd);

	RV_TRY(cmd_end(cmd));
	if (algorithm != TPM2_ALG_ECDSA || hash != TPM2_ALG_SHA256 ||
	    !right_aligned(r, ret) || !right_aligned(s, ret + 32))
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM gave a signature of another kind");
	return CKR_OK;
}
