/*
 * The ring of batches and the pieces cut from them.
 */
#include "hsm/pieces.h"

#include <assert.h>

enum kt_err pieces_init(size_t depth, size_t room, struct pieces *ret)
{
	CLEANUP(pieces_done)
	struct pieces pieces = {.depth = depth, .room = room};

	pieces.entries = calloc(depth, sizeof(*pieces.entries));
	pieces.piece = calloc(room, sizeof(*pieces.piece));
	if (pieces.entries == NULL || pieces.piece == NULL)
		return err_memory();
	*ret = pieces;
	pieces = (struct pieces){0};
	return KT_OK;
}

void pieces_done(struct pieces *pieces)
{
	free(pieces->entries);
	free(pieces->piece);
	*pieces = (struct pieces){0};
}

static struct entry *entry_at(const struct pieces *pieces, size_t i)
{
	return &pieces->entries[(pieces->first + i) % pieces->depth];
}

void pieces_add(struct pieces *pieces, struct rewrap_batch *batch)
{
	struct entry *entry;

	assert(pieces->count < pieces->depth);
	entry = entry_at(pieces, pieces->count++);
	entry->batch = batch;
	entry->cut = 0;
	entry->left = batch->count;
	entry->outcome.err = KT_OK;
}

/* Older ones first: their batch is waited for. */
static struct piece *find_waiting(const struct pieces *pieces)
{
	struct piece *best = NULL;

	for (size_t i = 0; i < pieces->room; i++) {
		struct piece *piece = &pieces->piece[i];

		if (piece->entry == NULL || !piece->waiting)
			continue;
		if (best == NULL || piece->number < best->number)
			best = piece;
	}
	return best;
}

static struct piece *find_free(const struct pieces *pieces)
{
	for (size_t i = 0; i < pieces->room; i++) {
		if (pieces->piece[i].entry == NULL)
			return &pieces->piece[i];
	}
	return NULL;
}

static void cut(struct pieces *pieces, struct entry *entry, size_t most,
		struct piece *ret)
{
	const struct rewrap_batch *batch = entry->batch;
	size_t rest = batch->count - entry->cut;

	*ret = (struct piece){
		.part = {.op = batch->op,
			 .count = rest < most ? rest : most,
			 .items = batch->items + entry->cut},
		.number = ++pieces->last_number,
		.entry = entry,
	};
	entry->cut += ret->part.count;
}

struct piece *pieces_next(struct pieces *pieces, size_t most)
{
	struct piece *piece = find_waiting(pieces);

	if (piece != NULL) {
		piece->waiting = false;
		return piece;
	}
	piece = find_free(pieces);
	for (size_t i = 0; piece != NULL && i < pieces->count; i++) {
		struct entry *entry = entry_at(pieces, i);

		if (entry->cut == entry->batch->count)
			continue;
		cut(pieces, entry, most, piece);
		return piece;
	}
	return NULL;
}

static void drop(struct piece *piece)
{
	piece->entry->left -= piece->part.count;
	piece->entry = NULL;
}

/* What nobody holds is not begun. */
static void give_up(struct pieces *pieces, struct entry *entry)
{
	entry->left -= entry->batch->count - entry->cut;
	entry->cut = entry->batch->count;
	for (size_t i = 0; i < pieces->room; i++) {
		struct piece *piece = &pieces->piece[i];

		if (piece->entry == entry && piece->waiting)
			drop(piece);
	}
}

/* To a batch that was given up nothing comes back. */
void piece_return(struct piece *piece)
{
	if (piece->entry->outcome.err != KT_OK)
		drop(piece);
	else
		piece->waiting = true;
}

void piece_end(struct pieces *pieces, struct piece *piece, enum kt_err err)
{
	struct entry *entry = piece->entry;

	drop(piece);
	if (err == KT_OK || entry->outcome.err != KT_OK)
		return;
	err_save(err, &entry->outcome);
	give_up(pieces, entry);
}

/* A second try may help against a sick worker or token, nothing else. */
bool piece_fail(struct pieces *pieces, struct piece *piece, enum kt_err err)
{
	if ((err == KT_ERR_TOKEN || err == KT_ERR_SESSION) && !piece->again &&
	    piece->entry->outcome.err == KT_OK) {
		piece->again = true;
		piece->waiting = true;
		return true;
	}
	piece_end(pieces, piece, err);
	return false;
}

const struct entry *pieces_oldest(const struct pieces *pieces)
{
	const struct entry *entry = entry_at(pieces, 0);

	assert(pieces->count > 0);
	return entry->left == 0 ? entry : NULL;
}

void pieces_drop_oldest(struct pieces *pieces)
{
	assert(pieces->count > 0);
	pieces->first = (pieces->first + 1) % pieces->depth;
	pieces->count--;
}
