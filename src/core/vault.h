/*
 * Inside of the engine: what an open vault holds, and who acts through it.
 */
#ifndef CORE_VAULT_H
#define CORE_VAULT_H

#include <keyturn/project.h>
#include <keyturn/vault.h>

#include "core/rowmac.h"
#include "hsm/wrap.h"
#include "store/store.h"

/* Who acts. A limited actor came with an access token: it reaches one project
 * by its project key, and is checked against the database on every call. */
struct actor {
	bool limited;
	char access_id[KT_ACCESS_ID_LEN + 1];
	struct kt_id project;
	char name[KT_NAME_MAX +
		  1]; /* operator, or "access:ID": for the audit */
};

struct key_cache; /* unwrapped wrapping keys, by key id; core/keys.c */

struct kt_vault {
	struct kt_params params;
	struct token_params token_params;
	struct token *token;
	struct store *store;
	struct vault_row row; /* as read and verified when it was opened */
	struct rowmac *rowmac;
	struct kt_secret access_mac_key;
	struct key_row audit_key;
	struct actor actor;
	struct key_cache *cache;
};

/* Who may do what; core/actor.c. KT_ERR_DENIED with the one text that every
 * denial has. */
enum kt_err denied(void);

/* For calls that only an operator may make. */
enum kt_err require_operator(const struct kt_vault *vault);

/* The project of this name that is not deleted, for an operator. Deleted ones
 * are read and checked too: a forged deletion is KT_ERR_INTEGRITY. */
enum kt_err project_by_name(struct kt_vault *vault, const char *name,
			    struct project_row *ret);

/* Finds a project by name for this actor. Operator: KT_ERR_NOT_FOUND names it.
 * Limited: the access token is read again (revoked, expired, scope) and the
 * project must be its own; everything else is KT_ERR_DENIED. */
enum kt_err project_find(struct kt_vault *vault, const char *name,
			 enum kt_access_scope scope, struct project_row *ret);

#endif
