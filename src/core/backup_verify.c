/*
 * Verifying a copy beside the vault it is of. The vault's database is read for
 * its records where it can be; a copy is proven just as well without.
 */
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "core/backup.h"
#include "core/backup_proof.h"

/* Which errors say that the database is damaged, and not that it cannot be
 * had now. */
static bool is_damage(enum kt_err err)
{
	return err == KT_ERR_INTEGRITY || err == KT_ERR_SCHEMA;
}

enum kt_err present_open(const struct kt_params *params, struct token *token,
			 struct kt_vault **ret, char *ret_damage)
{
	CLEANUP(side_vault_closep) struct kt_vault *vault = NULL;
	enum kt_err err;

	if (!file_exists(params->store_path))
		return KT_OK;
	err = side_vault_open(params, params->store_path, false, token, &vault);
	if (err == KT_OK)
		err = store_check(vault->store);
	if (err == KT_OK)
		*ret = TAKE(vault);
	if (!is_damage(err))
		return err;
	text_cut(ret_damage, 256, kt_err_detail());
	return KT_OK;
}

static enum kt_err name_is_other(struct kt_vault *present, const char *file)
{
	CLEANUP(query_donep) struct query *query = NULL;
	char id[KT_ID_TEXT_LEN + 1];
	struct backup_row row;
	enum kt_err err;

	TRY(store_scan(present->store, ROW_BACKUP, &query));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (strcmp(row.file, file) != 0)
			continue;
		kt_id_format(&row.id, id);
		return err_raise(KT_ERR_INTEGRITY,
				 "%s is not what was recorded as backup %s: "
				 "its SHA-256 differs",
				 file, id);
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

static enum kt_err same_vault(struct kt_vault *present,
			      const struct kt_backup_report *report)
{
	char ours[KT_ID_TEXT_LEN + 1], theirs[KT_ID_TEXT_LEN + 1];

	if (id_equal(&present->row.id, &report->vault))
		return KT_OK;
	kt_id_format(&present->row.id, ours);
	kt_id_format(&report->vault, theirs);
	return err_raise(KT_ERR_CONFLICT, "it is of vault %s, this one is %s",
			 theirs, ours);
}

enum kt_err present_compare(struct kt_vault *present, const char *file,
			    struct kt_backup_report *report)
{
	struct backup_row row;
	struct mac sha256;
	enum kt_err err;

	if (present == NULL)
		return KT_OK;
	TRY(same_vault(present, report));
	if (!hex_decode(report->sha256, sha256.bytes, HASH_LEN))
		return err_raise(KT_ERR_FAILED, "no digest to compare");
	err = backup_by_digest(present->store, &sha256, &row);
	if (err == KT_OK)
		report->recorded = row.id;
	return err == KT_ERR_NOT_FOUND ? name_is_other(present, file) : err;
}

/* The digest first: what is read afterwards is what it is of, or its rows do
 * not verify. */
static enum kt_err digest(const char *path, struct kt_backup_report *report)
{
	uint8_t sha256[HASH_LEN];

	TRY(file_digest(path, sha256, &report->size));
	hex_encode(sha256, HASH_LEN, report->sha256);
	return KT_OK;
}

static enum kt_err compare_with_present(const struct kt_params *params,
					struct token *token, const char *path,
					struct kt_backup_report *report)
{
	CLEANUP(side_vault_closep) struct kt_vault *present = NULL;

	TRY(present_open(params, token, &present, report->unread));
	return present_compare(present, path, report);
}

static enum kt_err verify(const struct kt_params *params, const char *path,
			  const struct proof_watch *watch,
			  struct kt_backup_report *report)
{
	CLEANUP(token_closep) struct token *token = NULL;
	CLEANUP(side_vault_closep) struct kt_vault *copy = NULL;
	struct token_params token_params;

	TRY(digest(path, report));
	token_params = token_params_of(params);
	TRY(token_open(&token_params, &token));
	TRY(side_vault_open(params, path, true, token, &copy));
	report->vault = copy->row.id;
	TRY(compare_with_present(params, token, path, report));
	return backup_prove(copy, watch, report);
}

enum kt_err kt_backup_verify(const struct kt_params *params, const char *path,
			     const struct kt_progress *progress,
			     void (*fault)(void *arg, const char *text),
			     void *fault_arg, struct kt_backup_report *ret)
{
	const struct proof_watch watch = {progress, fault, fault_arg};
	struct kt_backup_report report = {0};
	enum kt_err err = verify(params, path, &watch, &report);

	if (err == KT_OK || (err == KT_ERR_INTEGRITY && report.faults > 0))
		*ret = report;
	return err;
}
