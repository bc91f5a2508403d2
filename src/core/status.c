/*
 * What `status` shows, read in one transaction.
 */
#include <keyturn/rotation.h>

#include "base/clock.h"
#include "base/text.h"
#include "core/keys.h"

static enum kt_err count(struct kt_vault *vault, enum store_query which,
			 int64_t *ret)
{
	struct count_row row;

	TRY(query_one(vault->store, which, &row, ""));
	*ret = row.n;
	return KT_OK;
}

static enum kt_err count_access_tokens(struct kt_vault *vault, int64_t *ret)
{
	CLEANUP(query_donep) struct query *query = NULL;
	struct access_row row;
	int64_t now = clock_now();
	int64_t usable = 0;
	enum kt_err err;

	TRY(query_start(vault->store, Q_ACCESS_ALL, &query, ""));
	while ((err = query_next(query, &row)) == KT_OK) {
		if (row.revoked == 0 && row.expires > now)
			usable++;
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	*ret = usable;
	return KT_OK;
}

static enum kt_err show_rotation(struct kt_vault *vault, struct kt_status *ret)
{
	struct kt_rotation rotation;
	enum kt_err err = kt_rotation_current(vault, &rotation);

	if (err == KT_ERR_NOT_FOUND)
		return KT_OK;
	TRY(err);
	ret->rotation_unfinished = true;
	ret->rotation = rotation.id;
	ret->rotation_started = rotation.planned;
	text_cut(ret->rotation_phase, sizeof(ret->rotation_phase),
		 kt_rotation_phase_name(rotation.phase));
	text_cut(ret->rotation_operator, sizeof(ret->rotation_operator),
		 rotation.operator_name);
	return KT_OK;
}

static enum kt_err show_store(struct kt_vault *vault, struct kt_status *ret)
{
	struct store_info info;

	TRY(store_info(vault->store, &info));
	text_cut(ret->store_path, sizeof(ret->store_path), info.path);
	text_cut(ret->store_library, sizeof(ret->store_library), info.library);
	text_cut(ret->journal_mode, sizeof(ret->journal_mode),
		 info.journal_mode);
	return KT_OK;
}

static enum kt_err show_master(struct kt_vault *vault, struct kt_status *ret)
{
	struct key_row key;

	TRY(key_active(vault, KT_KEY_MASTER, &(struct kt_id){0}, &key));
	return key_describe(vault, &key, &ret->master);
}

enum kt_err kt_vault_status(struct kt_vault *vault, struct kt_status *ret)
{
	CLEANUP(store_rollbackp) struct store_tx *tx = NULL;
	struct kt_status status = {
		.vault = vault->row.id,
		.created = vault->row.created,
		.recovery_wraps = vault->row.recovery_wraps != 0,
	};

	TRY(require_operator(vault));
	TRY(token_info(vault->token, &status.token));
	TRY(token_uri(vault->token, status.uri, sizeof(status.uri)));
	text_cut(status.gate, sizeof(status.gate), vault->row.gate_report);
	TRY(show_store(vault, &status));
	TRY(store_begin(vault->store, STORE_READ, &tx));
	TRY(show_master(vault, &status));
	TRY(count(vault, Q_PROJECT_COUNT, &status.projects));
	TRY(count(vault, Q_SECRET_COUNT_ALL, &status.secrets));
	TRY(count_access_tokens(vault, &status.access_tokens));
	TRY(show_rotation(vault, &status));
	TRY(store_commit(&tx));
	*ret = status;
	return KT_OK;
}
