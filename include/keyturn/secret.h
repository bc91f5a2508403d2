/*
 * Secrets: any bytes, 0 to 1 MiB. Each version is sealed inside the token
 * with AES-256-GCM under a data key (DEK) of its own. Names: 1 to 255 of
 * [A-Za-z0-9._/-], not beginning with '-', '.' or '/', case kept.
 */
#ifndef KEYTURN_SECRET_H
#define KEYTURN_SECRET_H

#include <keyturn/vault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kt_secret_info {
	struct kt_id id;
	char name[KT_NAME_MAX + 1];
	int64_t version; /* current; 1 is the first */
	int64_t created; /* first version */
	int64_t updated; /* current version */
	int64_t size;    /* bytes of the current value */
};

/* Adds a version; the value was read back through every wrap before it is
 * committed. */
enum kt_err kt_secret_set(struct kt_vault *vault, const char *project,
			  const char *name, const struct kt_secret *value,
			  struct kt_secret_info *ret);

/* version 0: the current one. The caller owns *ret. */
enum kt_err kt_secret_get(struct kt_vault *vault, const char *project,
			  const char *name, int64_t version,
			  struct kt_secret *ret);

enum kt_err kt_secret_list(struct kt_vault *vault, const char *project,
			   enum kt_err (*each)(void *arg,
					       const struct kt_secret_info *s),
			   void *arg);

/* Deletes all versions and their keys. Not reversible. */
enum kt_err kt_secret_delete(struct kt_vault *vault, const char *project,
			     const char *name);

struct kt_import_item {
	char name[KT_NAME_MAX + 1];
	struct kt_secret value;
};

/* All or nothing: one transaction. Existing names get a new version. */
enum kt_err kt_secret_import(struct kt_vault *vault, const char *project,
			     const struct kt_import_item *items, size_t count);

/* Every current secret of a project, values included; *value is borrowed for
 * the call of each(). */
enum kt_err kt_secret_export(struct kt_vault *vault, const char *project,
			     enum kt_err (*each)(void *arg, const char *name,
						 const struct kt_secret *value),
			     void *arg);

#ifdef __cplusplus
}
#endif

#endif
