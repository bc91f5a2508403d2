/*
 * The birth of a key in the token, in two steps. Between them the module is
 * loaded afresh: in the one that made it, a key is found although it was never
 * written.
 */
#include "core/key_birth.h"

#include "base/clock.h"
#include "base/text.h"
#include "hsm/gate.h"

/* Only wrapping keys wrap. */
static enum kt_wrap_mech mech_for(enum kt_key_role role, enum kt_wrap_mech mech)
{
	return role == KT_KEY_MASTER || role == KT_KEY_RECOVERY ? mech
								: KT_WRAP_NONE;
}

void key_label_vault(const struct kt_vault *vault,
		     char ret[KEY_LABEL_VAULT_LEN + 1])
{
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&vault->row.id, id);
	text_cut(ret, KEY_LABEL_VAULT_LEN + 1, id);
}

enum kt_err key_generate(struct kt_vault *vault, enum kt_wrap_mech mech,
			 const struct key_row *key)
{
	char vault_id[KEY_LABEL_VAULT_LEN + 1];
	char label[64];

	key_label_vault(vault, vault_id);
	TRY(text_format(label, sizeof(label), "keyturn %s v%lld %s",
			kt_key_role_name((enum kt_key_role)key->role),
			(long long)key->version, vault_id));
	return token_generate(vault->token, (enum kt_key_role)key->role,
			      mech_for((enum kt_key_role)key->role, mech),
			      &key->cka_id, label);
}

/* A random key wrapped under the new key: later it tells a corrupt row from a
 * sick token. */
static enum kt_err make_canary(struct kt_vault *vault, enum kt_wrap_mech mech,
			       const struct key_row *key, struct blob *ret)
{
	CLEANUP(wrap_key_freep) struct wrap_key *wrapper = NULL;
	struct wrap_key_spec spec = {
		.role = (enum kt_key_role)key->role,
		.cka_id = key->cka_id,
		.mech = mech,
	};

	TRY(wrap_key_find(vault->token, &spec, &wrapper));
	return wrap_new(&wrapper, 1, ret);
}

static enum kt_err pass_gate(struct kt_vault *vault, enum kt_wrap_mech mech,
			     struct key_row *key)
{
	struct gate_report report;

	TRY(make_canary(vault, mech, key, &key->canary));
	TRY(gate_key(vault->token, (enum kt_key_role)key->role, &key->cka_id,
		     mech, &key->canary, &report));
	return gate_judge(&report, vault->params.gate);
}

enum kt_err key_prove(struct kt_vault *vault, enum kt_wrap_mech mech,
		      struct key_row *key)
{
	struct key_row proven = *key;
	enum kt_key_role role = (enum kt_key_role)key->role;
	struct kt_token_info info;
	struct key_facts facts;

	TRY(token_key_facts(vault->token, role, mech_for(role, mech),
			    &key->cka_id, &facts));
	TRY(token_info(vault->token, &info));
	text_cut(proven.attributes, sizeof(proven.attributes),
		 facts.attributes);
	text_cut(proven.token_serial, sizeof(proven.token_serial), info.serial);
	proven.public_key = facts.public_key;
	if (role == KT_KEY_MASTER || role == KT_KEY_RECOVERY) {
		proven.mech = mech;
		TRY(pass_gate(vault, mech, &proven));
	}
	proven.proven = clock_now();
	*key = proven;
	return KT_OK;
}
