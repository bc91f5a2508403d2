/*
 * Issuing an access token and giving it to whoever asked. The token exists
 * once: where it cannot be handed over it is revoked again.
 */
#ifndef CLI_ACCESS_H
#define CLI_ACCESS_H

#include "cli/cli.h"

/* The words of --scope; an index of it is an access_scope_of() argument. */
extern const char *const access_scopes[];
enum kt_access_scope access_scope_of(int choice);

struct access_request {
	const char *project;
	enum kt_access_scope scope;
	int64_t lifetime;  /* seconds */
	const char *label; /* NULL: none */
	const char *path;  /* a new file, 0600; NULL: stdout */
};

/* Says on stderr what was issued. */
enum kt_err access_hand_over(struct cli *cli,
			     const struct access_request *request);

#endif
