/*
 * The audit session and the log of what it digested.
 */
#include "hsm/tpm2/audit.h"

#include <string.h>

#include "base/bytes.h"

CK_RV audit_start(struct tpm *tpm, struct audit *ret)
{
	struct tpm_session session = {0};

	RV_TRY(session_start(tpm, SESSION_HMAC, &tpm->srk, &tpm->srk_public,
			     &session));
	memset(ret, 0, sizeof(*ret));
	ret->session = session;
	return CKR_OK;
}

void audit_end(struct tpm *tpm, struct audit *audit)
{
	session_end(tpm, &audit->session);
}

void audit_command(struct audit *audit, struct cmd *cmd)
{
	cmd_auth(cmd, &audit->session, NULL, CMD_AUDIT);
}

static void add(struct audit *audit, const struct span *parts, size_t count)
{
	uint8_t *size = audit->log + audit->len;
	size_t len = 4;

	for (size_t i = 0; i < count; i++)
		len += parts[i].len;
	if (audit->full || len > sizeof(audit->log) - audit->len) {
		audit->full = true;
		return;
	}
	be32_put(size, (uint32_t)(len - 4));
	audit->len += 4;
	for (size_t i = 0; i < count; i++) {
		if (parts[i].len > 0)
			memcpy(audit->log + audit->len, parts[i].data,
			       parts[i].len);
		audit->len += parts[i].len;
	}
}

void audit_log(struct audit *audit, const struct cmd *cmd)
{
	struct span parts[1 + CMD_HANDLES_MAX + 1];
	uint8_t head[8] = {0};
	size_t count = 0;

	be32_put(head + 4, cmd->code);
	parts[count++] = SPAN(head + 4, 4);
	for (size_t i = 0; i < cmd->handle_count; i++)
		parts[count++] =
			SPAN(cmd->handles[i]->name, cmd->handles[i]->name_len);
	parts[count++] = SPAN(cmd->params, cmd->len);
	add(audit, parts, count);
	add(audit, SPANS(SPAN(head, 8), SPAN(cmd->answer, cmd->left)));
}

CK_RV audit_absence(struct tpm *tpm, struct audit *audit, uint32_t handle,
		    bool *ret_absent)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(GetCapability);
	uint32_t count;

	audit_command(audit, &cmd);
	cmd_put_u32(&cmd, TPM2_CAP_HANDLES);
	cmd_put_u32(&cmd, handle);
	cmd_put_u32(&cmd, 1);
	RV_TRY(cmd_run(tpm, &cmd));
	audit_log(audit, &cmd);
	cmd_get_u8(&cmd);
	cmd_get_u32(&cmd);
	count = cmd_get_u32(&cmd);
	*ret_absent = count == 0 || cmd_get_u32(&cmd) != handle;
	return cmd_end(&cmd);
}
