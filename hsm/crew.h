/*
 * The threads of a worker: a batch's items done by several sessions at once,
 * to the same end as by one. Each member of the crew has keys of its own, found
 * or unwrapped by itself, on the one token; the caller is the first of them.
 * The others begin when a batch first asks for them and live as long as the
 * crew.
 */
#ifndef HSM_CREW_H
#define HSM_CREW_H

#include "hsm/worker.h"

struct crew;

/* With the caller alone. most: members there may ever be. The token stays
 * borrowed. */
enum kt_err crew_open(struct token *token, const struct rewrap_key *old_key,
		      const struct rewrap_key *new_key, size_t most,
		      struct crew **ret);

/* Does every item, by batch->sessions members where they can be had: a token
 * without a session for one of them is done without it, and none is tried
 * again; after KT_ERR_MEMORY the batch is done again by half as many. An error
 * that is not an item's own ends the batch, KT_ERR_PIN before others. Nobody is
 * at work any more when it returns. Fills in sessions_had and waits. */
enum kt_err crew_batch(struct crew *crew, struct rewrap_batch *batch);

void crew_close(struct crew *crew);
DEFINE_CLEANUP(struct crew, crew_close)

#endif
