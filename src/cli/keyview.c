/*
 * The columns of a key, and its number as a person writes it.
 */
#include "cli/keyview.h"

#include "base/text.h"

void key_view_make(const struct kt_key *key, struct key_view *ret)
{
	ret->key = *key;
	ret->cka_id[0] = '\0';
	if (!id_is_zero(&key->cka_id))
		hex_encode(key->cka_id.bytes, KT_ID_LEN, ret->cka_id);
}

const char *key_role_word(const void *view)
{
	return kt_key_role_name(((const struct key_view *)view)->key.role);
}

const char *key_state_word(const void *view)
{
	return kt_key_state_name(((const struct key_view *)view)->key.state);
}

const char *key_mech_word(const void *view)
{
	return kt_wrap_mech_name(((const struct key_view *)view)->key.mech);
}

#define KEY(member) offsetof(struct key_view, key.member)

static const struct column columns[] = {
	{"id", "Id", COLUMN_ID, KEY(id)},
	{"role", "Role", COLUMN_WORD, .word = key_role_word},
	{"version", "Version", COLUMN_INT, KEY(version)},
	{"state", "State", COLUMN_WORD, .word = key_state_word},
	{"mechanism", "Mechanism", COLUMN_WORD, .word = key_mech_word},
	{"token_serial", "Token serial", COLUMN_CHARS, KEY(token_serial)},
	{"cka_id", "CKA_ID", COLUMN_CHARS, offsetof(struct key_view, cka_id)},
	{"attributes", "Attributes", COLUMN_FOLDED, KEY(attributes)},
	{"rows", "Rows", COLUMN_INT, KEY(rows)},
	{"created", "Created", COLUMN_TIME, KEY(created)},
	{"proven", "Proven", COLUMN_TIME, KEY(proven)},
	{"activated", "Activated", COLUMN_TIME, KEY(activated)},
	{"deactivated", "Deactivated", COLUMN_TIME, KEY(deactivated)},
	{"compromised", "Compromised", COLUMN_TIME, KEY(compromised)},
	{"destroyed", "Destroyed", COLUMN_TIME, KEY(destroyed)},
};

enum kt_err key_section(struct screen *screen, const char *name,
			const char *heading, const struct kt_key *key)
{
	struct key_view view;

	key_view_make(key, &view);
	return screen_add(screen, name, heading, columns, COLUMNS(columns),
			  &view);
}

enum kt_err key_version_parse(const char *text, int64_t *ret)
{
	long long version;

	TRY(text_to_int(text, 1, INT64_MAX, "VERSION", &version));
	*ret = version;
	return KT_OK;
}
