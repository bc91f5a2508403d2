/*
 * Batches cut into pieces for workers. How large a batch is, the database
 * says: it is one transaction. How large a piece is, the token says: several
 * workers share a batch, and none holds rows for long that another could do. A
 * piece that failed is done once more; a batch is done when all its pieces
 * are. Nothing here knows of processes.
 */
#ifndef HSM_PIECES_H
#define HSM_PIECES_H

#include "hsm/rewrap.h"

struct entry;

struct piece {
	struct rewrap_batch part; /* of the batch's items */
	uint64_t number;          /* in the order of cutting, from 1 */
	struct entry *entry;      /* its batch; NULL: there is no such piece */
	bool waiting;             /* for a worker */
	bool again;               /* it failed once */
};

/* A batch under way. */
struct entry {
	struct rewrap_batch *batch;
	size_t cut;  /* items that were handed out in pieces */
	size_t left; /* items that are not done */
	struct err_saved outcome;
};

struct pieces {
	struct entry *entries; /* a ring, oldest first */
	size_t depth, first, count;
	struct piece *piece; /* handed out or to be handed out again */
	size_t room;
	uint64_t last_number;
};

/* depth: batches under way; room: pieces that workers may hold at once. */
enum kt_err pieces_init(size_t depth, size_t room, struct pieces *ret);
void pieces_done(struct pieces *pieces);

void pieces_add(struct pieces *pieces, struct rewrap_batch *batch);

/* The piece to be done next: one that failed once, else a new one, at most
 * `most` items of the oldest batch that has some left. NULL: none. */
struct piece *pieces_next(struct pieces *pieces, size_t most);

/* It was not begun: for another worker. */
void piece_return(struct piece *piece);

/* Its end. After an error the rest of its batch is given up, but for pieces
 * that workers hold: those end by themselves. */
void piece_end(struct pieces *pieces, struct piece *piece, enum kt_err err);

/* True when it is to be done once more, else it has ended. */
bool piece_fail(struct pieces *pieces, struct piece *piece, enum kt_err err);

/* The oldest batch, of which nothing is in anybody's hands any more; NULL while
 * it is under way. */
const struct entry *pieces_oldest(const struct pieces *pieces);
void pieces_drop_oldest(struct pieces *pieces);

#endif
