/*
 * What a key exposes. A key wrapped whatever existed or was made until it was
 * closed; a project key that was ever under a compromised master key exposes
 * its data keys in turn. So the times in the keys' rows say it all, and a value
 * is off the list once it has a data key that is younger.
 */
#ifndef CORE_EXPOSURE_H
#define CORE_EXPOSURE_H

#include <keyturn/compromise.h>

#include "core/id_list.h"
#include "core/keys.h"

struct exposure {
	struct kt_vault *vault;
	enum kt_rotation_kind kind;
	struct project_row project; /* for a project key */
	size_t keys;
	struct key_row key[KT_ROTATION_LEGS_MAX]; /* what is compromised */
};

/* The keys that ref names, as stored now. KT_ERR_NOT_FOUND. */
enum kt_err exposure_find(struct kt_vault *vault, const struct kt_key_ref *ref,
			  struct exposure *ret);

/* The ids of the projects that may be concerned. */
enum kt_err exposure_projects(const struct exposure *e, struct id_list *ret);

/* Data keys of this project made until then are exposed: 0 for none,
 * INT64_MAX while one of its exposed keys still wraps. */
enum kt_err exposure_until(const struct exposure *e,
			   const struct kt_id *project, int64_t *ret);

/* Adds the exposed keys of a project that are not destroyed: of a retired one
 * the rotation may have been interrupted. */
enum kt_err exposure_undestroyed(const struct exposure *e,
				 const struct kt_id *project,
				 struct id_list *ret);

/* Adds the exposed data keys of a secret. A row that does not verify counts:
 * nothing says that it is not exposed. */
enum kt_err exposure_keys(struct kt_vault *vault, const struct kt_id *secret,
			  int64_t until, struct id_list *ret);

/* Counts what is exposed now. */
enum kt_err exposure_count(const struct exposure *e, struct kt_exposure *ret);

#endif
