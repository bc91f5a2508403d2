/*
 * The steps of opening a vault, for those who take them one by one: init makes
 * what open finds, the doctor reports where it stops.
 */
#ifndef CORE_OPEN_H
#define CORE_OPEN_H

#include "core/vault.h"

DEFINE_CLEANUP(struct kt_vault, kt_vault_close)

/* What token_open() takes; borrows from params. */
struct token_params token_params_of(const struct kt_params *params);

/* An empty handle with the actor's name and the cache. */
enum kt_err vault_new(const struct kt_params *params, struct kt_vault **ret);

/* Opens the database and reads the vault's row, unchecked as yet. */
enum kt_err vault_open_store(struct kt_vault *vault);

/* With token and store open: compares the serial, derives the MAC keys, reads
 * again what was read unchecked, and finds an active master key. */
enum kt_err vault_unlock(struct kt_vault *vault);

/* Computes row-MAC and access-MAC keys and sets the store's sealer. */
enum kt_err vault_derive_keys(struct kt_vault *vault,
			      const struct kt_id *row_mac_cka_id);

#endif
