/*
 * token.conf: what makes a folder a token.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "hsm/tpm2/record.h"
#include "hsm/tpm2/state.h"

#define NAME "token.conf"

CK_RV conf_save(struct tpm_token *token, const struct conf *conf)
{
	CLEANUP(record_done) struct record record = {0};

	record_put_number(&record, "format", 1);
	record_put_bytes(&record, "label",
			 SPAN(conf->label, strlen(conf->label)));
	record_put_bytes(&record, "serial",
			 SPAN(conf->serial, strlen(conf->serial)));
	record_put_bytes(&record, "manufacturer",
			 SPAN(conf->manufacturer, strlen(conf->manufacturer)));
	record_put_number(&record, "pcrs", conf->pcrs);
	record_put_number(&record, "srk", conf->srk);
	record_put_bytes(&record, "srk-public",
			 SPAN(conf->srk_public.data, conf->srk_public.len));
	RV_TRY(record_check(&record));
	return folder_write(&token->folder, NAME,
			    SPAN(record.text, record.len));
}

static CK_RV parse(struct record *record, struct conf *conf)
{
	uint64_t format = record_number(record, "format");

	record_bytes(record, "label", (uint8_t *)conf->label, TPM_LABEL_MAX);
	record_exact(record, "serial", conf->serial, TPM_SERIAL_LEN);
	record_bytes(record, "manufacturer", (uint8_t *)conf->manufacturer,
		     sizeof(conf->manufacturer) - 1);
	conf->pcrs = (uint32_t)record_number(record, "pcrs");
	conf->srk = (uint32_t)record_number(record, "srk");
	conf->srk_public.len =
		record_bytes(record, "srk-public", conf->srk_public.data,
			     sizeof(conf->srk_public.data));
	RV_TRY(record_end(record, NAME));
	if (format != 1)
		return rv_raise(CKR_DEVICE_ERROR,
				NAME " is of a newer keyturn");
	return CKR_OK;
}

static CK_RV load(struct tpm_token *token, struct conf *ret)
{
	CLEANUP(record_done) struct record record = {0};
	CLEANUP(freep) uint8_t *text = NULL;
	struct conf conf = {0};
	size_t len = 0;

	RV_TRY(folder_read(&token->folder, NAME, &text, &len));
	RV_TRY(record_parse(text, len, &record));
	RV_TRY(parse(&record, &conf));
	*ret = conf;
	return CKR_OK;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Another token, or none: the session's salt goes to another key now. */
static void forget(struct tpm_token *token)
{
	token_forget_login(token);
	session_end(token->tpm, &token->tpm->session);
	token->tpm->srk_public.len = 0;
	token->conf = (struct conf){0};
	token->conf_stat = (struct stat){0};
}

CK_RV conf_refresh(struct tpm_token *token)
{
	char path[PATH_MAX];
	struct conf conf = {0};
	struct stat now;

	snprintf(path, sizeof(path), "%s/" NAME, token->folder.path);
	if (stat(path, &now) != 0) {
		if (token->conf.serial[0] != '\0')
			forget(token);
		if (errno == ENOENT || errno == ENOTDIR)
			return CKR_OK;
		return rv_of(err_errno("cannot read %s", path));
	}
	if (same_file(&now, &token->conf_stat))
		return CKR_OK;
	RV_TRY(load(token, &conf));
	if (strcmp(conf.serial, token->conf.serial) != 0)
		forget(token);
	RV_TRY(tpm_pin_srk(token->tpm, conf.srk, &conf.srk_public));
	token->conf = conf;
	token->conf_stat = now;
	return CKR_OK;
}
