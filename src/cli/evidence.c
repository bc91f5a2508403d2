/*
 * What a token says of its keys, file by file. Names come from the module, so
 * only plain ones become files, and nothing that is there is replaced.
 */
#include "cli/evidence.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/text.h"

static int hex_digit(char digit)
{
	static const char digits[] = "0123456789abcdef0123456789ABCDEF";
	const char *at = digit != '\0' ? strchr(digits, digit) : NULL;

	return at != NULL ? (int)(at - digits) % 16 : -1;
}

static enum kt_err parse_digits(const char *text, struct nonce *ret)
{
	size_t digits = strlen(text);
	struct nonce nonce = {.len = digits / 2};

	if (digits == 0 || digits % 2 != 0 || nonce.len > KT_NONCE_MAX)
		return err_raise(KT_ERR_USAGE,
				 "--nonce has 2 to %d hexadecimal digits, an "
				 "even number",
				 2 * KT_NONCE_MAX);
	for (size_t i = 0; i < nonce.len; i++) {
		int high = hex_digit(text[2 * i]);
		int low = hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return err_raise(KT_ERR_USAGE,
					 "--nonce: '%s' is not hexadecimal",
					 text);
		nonce.bytes[i] = (uint8_t)(high << 4 | low);
	}
	*ret = nonce;
	return KT_OK;
}

static enum kt_err random_nonce(struct nonce *ret)
{
	struct nonce nonce = {.len = KT_NONCE_MAX};

	if (getentropy(nonce.bytes, nonce.len) != 0)
		return err_errno("random bytes");
	*ret = nonce;
	return KT_OK;
}

/* Nobody asked for a certain one: fresh all the same. */
enum kt_err nonce_parse(const char *text, struct nonce *ret)
{
	return text != NULL ? parse_digits(text, ret) : random_nonce(ret);
}

static enum kt_err write_file(void *arg, const struct kt_evidence *file)
{
	const char *dir = arg;
	char path[PATH_MAX];

	if (file->name[0] == '.' || strchr(file->name, '/') != NULL)
		return err_raise(KT_ERR_TOKEN, "evidence is named '%s'",
				 file->name);
	TRY(text_format(path, sizeof(path), "%s/%s", dir, file->name));
	TRY(file_write_new(path, file->data, file->len));
	printf("%s\n", path);
	return KT_OK;
}

enum kt_err evidence_write(struct kt_vault *vault, enum kt_key_role role,
			   int64_t version, const struct nonce *nonce,
			   const char *dir)
{
	TRY(dir_make(dir));
	return kt_token_attest(vault, role, version, nonce->bytes, nonce->len,
			       write_file, (void *)dir);
}

static const enum kt_key_role roles[] = {KT_KEY_MASTER, KT_KEY_RECOVERY};

static enum kt_err folder_of(enum kt_key_role role, const char *dir,
			     char ret[PATH_MAX])
{
	return text_format(ret, PATH_MAX, "%s/%s", dir, kt_key_role_name(role));
}

static enum kt_err look_only(void *arg, const struct kt_evidence *file)
{
	(void)arg;
	(void)file;
	return KT_OK;
}

enum kt_err evidence_prepare(struct kt_vault *vault, int64_t version,
			     const char *dir)
{
	struct nonce nonce;
	char folder[PATH_MAX];

	TRY(nonce_parse(NULL, &nonce));
	TRY(kt_token_attest(vault, KT_KEY_MASTER, version, nonce.bytes,
			    nonce.len, look_only, NULL));
	TRY(folder_of(KT_KEY_MASTER, dir, folder));
	if (!file_exists(folder))
		return dir_make(dir);
	return err_raise(KT_ERR_EXISTS, "%s exists", folder);
}

/* A version without recovery wraps has one key. */
enum kt_err evidence_write_version(struct kt_vault *vault, int64_t version,
				   const char *dir)
{
	struct nonce nonce;

	TRY(nonce_parse(NULL, &nonce));
	for (size_t i = 0; i < sizeof(roles) / sizeof(roles[0]); i++) {
		char folder[PATH_MAX];
		enum kt_err err;

		TRY(folder_of(roles[i], dir, folder));
		err = evidence_write(vault, roles[i], version, &nonce, folder);
		if (err == KT_ERR_NOT_FOUND && roles[i] == KT_KEY_RECOVERY)
			rmdir(folder);
		else if (err != KT_OK)
			return err;
	}
	return KT_OK;
}
