/*
 * Projects own secrets and a project key; access tokens open one project.
 * Names: 1 to 255 of [a-z0-9._-], beginning with a letter or a digit.
 */
#ifndef KEYTURN_PROJECT_H
#define KEYTURN_PROJECT_H

#include <keyturn/vault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kt_project {
	struct kt_id id;
	char name[KT_NAME_MAX + 1];
	int64_t created;
	int64_t secrets;
	int64_t access_tokens; /* usable ones */
	struct kt_key key;     /* the active project key */
};

enum kt_err kt_project_create(struct kt_vault *vault, const char *name,
			      struct kt_project *ret);

/* Calls each() by name; its first error ends the list and is returned. */
enum kt_err kt_project_list(struct kt_vault *vault,
			    enum kt_err (*each)(void *arg,
						const struct kt_project *p),
			    void *arg);

enum kt_err kt_project_get(struct kt_vault *vault, const char *name,
			   struct kt_project *ret);

/* Deletes secrets, keys and access tokens of the project. Not reversible. */
enum kt_err kt_project_delete(struct kt_vault *vault, const char *name);

/* Access tokens: kvt1_<id>_<secret>_<crc>; only a MAC of them is stored. */
#define KT_ACCESS_ID_LEN 12

enum kt_access_scope { KT_ACCESS_READ = 1, KT_ACCESS_WRITE = 2 };

struct kt_access {
	char id[KT_ACCESS_ID_LEN + 1];
	char project[KT_NAME_MAX + 1];
	enum kt_access_scope scope;
	char label[KT_NAME_MAX + 1];
	int64_t created, expires, revoked; /* expires is never 0 */
};

#define KT_ACCESS_LIFETIME_MAX (366LL * 86400)

/* lifetime: seconds, 1 to KT_ACCESS_LIFETIME_MAX. *ret_token is the only copy
 * of the token there will ever be; the caller owns it. */
enum kt_err kt_access_issue(struct kt_vault *vault, const char *project,
			    enum kt_access_scope scope, int64_t lifetime,
			    const char *label, struct kt_access *ret,
			    struct kt_secret *ret_token);

/* project NULL: all projects. Revoked and expired ones are listed too. */
enum kt_err kt_access_list(struct kt_vault *vault, const char *project,
			   enum kt_err (*each)(void *arg,
					       const struct kt_access *a),
			   void *arg);

/* Revoking a revoked one is KT_OK. */
enum kt_err kt_access_revoke(struct kt_vault *vault, const char *id);

#ifdef __cplusplus
}
#endif

#endif
