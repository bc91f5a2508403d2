/*
 * New keys in the token: made, and proven to be what was asked for.
 */
#ifndef CORE_KEY_BIRTH_H
#define CORE_KEY_BIRTH_H

#include "core/keys.h"

/* What labels of this vault's keys on the token end in: the beginning of its
 * id, with the time of its making. */
#define KEY_LABEL_VAULT_LEN 18

void key_label_vault(const struct kt_vault *vault,
		     char ret[KEY_LABEL_VAULT_LEN + 1]);

/* Generates the key object of a row on the token, with mech as all that a
 * wrapping key may wrap with; label from role, version and vault. key_prove()
 * must follow after a token_reload(). */
enum kt_err key_generate(struct kt_vault *vault, enum kt_wrap_mech mech,
			 const struct key_row *key);

/* Finds it, reads the attributes back, runs the gate, makes the canary: fills
 * mech, canary, attributes, public_key, token_serial and proven in *key. The
 * caller commits. */
enum kt_err key_prove(struct kt_vault *vault, enum kt_wrap_mech mech,
		      struct key_row *key);

#endif
