/*
 * Inside of the port: what its two halves, store.c and query.c, share.
 */
#ifndef STORE_PORT_H
#define STORE_PORT_H

#include "store/driver.h"

struct store_tx {
	struct store *store;
	enum store_access access;
	bool open;
};

struct store {
	const struct store_driver *driver;
	void *db;
	struct store_sealer sealer;
	struct store_tx tx; /* they do not nest: one is enough */
};

/* A transaction for one write outside of any; *ret_own stays NULL inside the
 * caller's. */
enum kt_err store_begin_own(struct store *store, struct store_tx **ret_own);
enum kt_err store_commit_own(struct store_tx **own);

#endif
