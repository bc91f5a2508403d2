/*
 * Checks of the module, the token and what lies on it. The sets of objects are
 * the token's own answer, read with one predicate a check.
 */
#include "core/doctor.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/text.h"
#include "core/key_birth.h"
#include "hsm/gate.h"

static enum kt_err module_file(struct doctor *d, struct finding *ret)
{
	struct kt_token_info info;
	char dir[256];

	TRY(token_info(d->vault->token, &info));
	if (info.module[0] != '/')
		return finding_warn(ret, "the module's path is not known: '%s'",
				    info.module);
	TRY(dir_of(info.module, dir, sizeof(dir)));
	TRY(file_guarded(dir, REFUSE_WRITERS, ret));
	if (ret->result != KT_CHECK_OK)
		return KT_OK;
	return file_guarded(info.module, REFUSE_WRITERS, ret);
}

/* "... 2.6" at the end of a library's description. */
static bool version_of(const char *library, long long *ret_major,
		       long long *ret_minor)
{
	char number[2][12] = {"", ""};
	size_t at = strlen(library);

	while (at > 0 && strchr("0123456789.", library[at - 1]) != NULL)
		at--;
	for (size_t i = 0; i < 2; i++) {
		size_t len = strcspn(library + at, ".");

		if (len >= sizeof(number[i]))
			return false;
		memcpy(number[i], library + at, len);
		at += len + (library[at + len] == '.');
	}
	return text_read_int(number[0], 0, INT_MAX, ret_major) &&
	       text_read_int(number[1], 0, INT_MAX, ret_minor);
}

static enum kt_err library_version(struct doctor *d, struct finding *ret)
{
	struct kt_token_info info;
	long long major, minor;

	TRY(token_info(d->vault->token, &info));
	if (strstr(info.model, "SoftHSM") == NULL &&
	    strstr(info.library, "SoftHSM") == NULL)
		return finding_ok(ret, "%s", info.library);
	if (version_of(info.library, &major, &minor) &&
	    (major > 2 || (major == 2 && minor >= 7)))
		return finding_ok(ret, "SoftHSM, %s", info.library);
	return finding_warn(ret,
			    "SoftHSM, %s: before 2.7 concurrent logins "
			    "break its token",
			    info.library);
}

static enum kt_err right_serial(struct doctor *d, struct finding *ret)
{
	struct kt_token_info info;
	const struct vault_row *row = &d->vault->row;

	TRY(token_info(d->vault->token, &info));
	if (strcmp(info.serial, row->token_serial) != 0)
		return finding_fail(ret, "serial %s, the vault names %s",
				    info.serial, row->token_serial);
	if (strcmp(info.label, row->token_label) != 0)
		return finding_warn(ret, "label '%s', the vault names '%s'",
				    info.label, row->token_label);
	return finding_ok(ret, "'%s', serial %s", info.label, info.serial);
}

static enum kt_err pin_state(struct doctor *d, struct finding *ret)
{
	struct kt_token_info info;

	TRY(token_info(d->vault->token, &info));
	if (info.pin_locked)
		return finding_fail(ret, "the PIN is locked");
	if (info.pin_final_try)
		return finding_fail(ret, "one more wrong PIN locks the token");
	if (info.pin_count_low)
		return finding_warn(ret, "there were wrong PINs");
	return finding_ok(ret, "no failed attempts");
}

static bool key_live(const struct key_row *key)
{
	return key->proven != 0 && key->destroying == 0 && key->destroyed == 0;
}

/* An unproven or half destroyed key may be there or not, but not twice. */
static enum kt_err count_right(struct doctor *d, const struct key_row *key,
			       struct finding *ret)
{
	size_t count;

	TRY(token_count(d->vault->token, &key->cka_id, &count));
	if (count > 1)
		return finding_fail(ret, "%s: %zu objects have its CKA_ID",
				    key_text(key).text, count);
	if (count == 0 && key_live(key))
		return finding_fail(ret, "%s is not on the token",
				    key_text(key).text);
	if (count == 1 && key->destroyed != 0) {
		finding_fix(ret, "find out how it came back, then remove it: "
				 "pkcs11-tool --delete-object");
		return finding_fail(ret, "%s is destroyed, but on the token",
				    key_text(key).text);
	}
	return KT_OK;
}

static enum kt_err key_objects(struct doctor *d, struct finding *ret)
{
	CLEANUP(freep) struct key_row *keys = NULL;
	size_t count;

	TRY(doctor_keys(d, Q_KEYS_ON_TOKEN, 0, &keys, &count));
	for (size_t i = 0; i < count && ret->result == KT_CHECK_OK; i++)
		TRY(count_right(d, &keys[i], ret));
	if (ret->result != KT_CHECK_OK)
		return KT_OK;
	return finding_ok(ret, "%s looked for",
			  text_counted((int64_t)count, "key", "keys").text);
}

static enum kt_err key_policy(struct doctor *d, struct finding *ret)
{
	CLEANUP(freep) struct key_row *keys = NULL;
	struct key_facts facts;
	size_t count;
	size_t live = 0;

	TRY(doctor_keys(d, Q_KEYS_ON_TOKEN, 0, &keys, &count));
	for (size_t i = 0; i < count; i++) {
		enum kt_err err;

		if (!key_live(&keys[i]))
			continue;
		err = token_key_facts(d->vault->token,
				      (enum kt_key_role)keys[i].role,
				      (enum kt_wrap_mech)keys[i].mech,
				      &keys[i].cka_id, &facts);
		if (err == KT_ERR_NOT_FOUND || err == KT_ERR_CONFLICT)
			finding_fix(ret, "first do what D05 says");
		if (err != KT_OK)
			return err_prefix(err, "%s", key_text(&keys[i]).text);
		live++;
	}
	return finding_ok(ret, "%s read back",
			  text_counted((int64_t)live, "key", "keys").text);
}

/* What a check of objects looks for, and the labels of what it found. */
struct object_search {
	bool (*bad)(const struct object_search *search,
		    const struct token_object *object);
	const struct key_row *keys; /* that rows name */
	size_t key_count;
	const char *vault; /* in the labels of its keys; NULL: no matter */
	size_t seen;
	size_t found;
	size_t unnamed; /* of them: no room for their labels */
	char labels[960];
};

/* Where a key is somebody's, who reads this must know. */
static const char *whose(const struct object_search *search,
			 const struct token_object *object)
{
	bool other = search->vault != NULL &&
		     strstr(object->label, search->vault) == NULL;

	return other ? "of another vault, " : "";
}

static enum kt_err object_look(void *arg, const struct token_object *object)
{
	struct object_search *search = arg;
	size_t used = strlen(search->labels);
	char id[2 * KT_ID_LEN + 1];

	search->seen++;
	if (!search->bad(search, object))
		return KT_OK;
	hex_encode(object->cka_id.bytes, KT_ID_LEN, id);
	if (text_format(search->labels + used, sizeof(search->labels) - used,
			"%s'%s' (%s%s, CKA_ID %s)",
			search->found > 0 ? ", " : "", object->label,
			whose(search, object), object->class_name,
			id) != KT_OK) {
		search->labels[used] = '\0';
		search->unnamed++;
	}
	search->found++;
	return KT_OK;
}

static enum kt_err no_object(struct doctor *d, struct object_search *search,
			     enum kt_check_result otherwise,
			     struct finding *ret)
{
	TRY(token_objects(d->vault->token, object_look, search));
	if (search->found == 0)
		return finding_ok(
			ret, "none of %s",
			text_counted((int64_t)search->seen, "object", "objects")
				.text);
	if (search->unnamed > 0)
		finding_set(ret, otherwise, "%s, and %zu more", search->labels,
			    search->unnamed);
	else
		finding_set(ret, otherwise, "%s", search->labels);
	return KT_OK;
}

static bool mixes_roles(const struct object_search *search,
			const struct token_object *o)
{
	(void)search;
	return (o->wrap && o->decrypt) || (o->unwrap && o->encrypt);
}

static bool imported_wrapper(const struct object_search *search,
			     const struct token_object *o)
{
	(void)search;
	return strcmp(o->class_name, "secret-key") == 0 &&
	       (o->wrap || o->unwrap) && !o->local;
}

static bool readable_secret(const struct object_search *search,
			    const struct token_object *o)
{
	(void)search;
	return strcmp(o->class_name, "secret-key") == 0 &&
	       (o->extractable || !o->private_object || !o->sensitive);
}

static bool orphan(const struct object_search *search,
		   const struct token_object *o)
{
	if (strncmp(o->label, "keyturn", 7) != 0)
		return false;
	for (size_t i = 0; i < search->key_count; i++) {
		if (id_equal(&search->keys[i].cka_id, &o->cka_id))
			return false;
	}
	return true;
}

static enum kt_err roles_apart(struct doctor *d, struct finding *ret)
{
	return no_object(d, &(struct object_search){.bad = mixes_roles},
			 KT_CHECK_FAIL, ret);
}

static enum kt_err wrappers_local(struct doctor *d, struct finding *ret)
{
	return no_object(d, &(struct object_search){.bad = imported_wrapper},
			 KT_CHECK_FAIL, ret);
}

static enum kt_err secrets_closed(struct doctor *d, struct finding *ret)
{
	return no_object(d, &(struct object_search){.bad = readable_secret},
			 KT_CHECK_FAIL, ret);
}

static enum kt_err no_orphans(struct doctor *d, struct finding *ret)
{
	CLEANUP(freep) struct key_row *keys = NULL;
	struct object_search search = {.bad = orphan};
	char vault[KEY_LABEL_VAULT_LEN + 1];

	key_label_vault(d->vault, vault);
	search.vault = vault;
	TRY(doctor_keys(d, Q_KEYS_ON_TOKEN, 0, &keys, &search.key_count));
	search.keys = keys;
	return no_object(d, &search, KT_CHECK_WARN, ret);
}

static enum kt_err active_mech(struct doctor *d, enum kt_wrap_mech *ret)
{
	struct key_row key;

	TRY(key_active(d->vault, KT_KEY_MASTER, &(struct kt_id){0}, &key));
	*ret = (enum kt_wrap_mech)key.mech;
	return KT_OK;
}

static enum kt_err mech_round_trip(struct doctor *d, struct finding *ret)
{
	enum kt_wrap_mech best;
	enum kt_wrap_mech used;

	TRY(wrap_mech_choose(d->vault->token, &best));
	TRY(active_mech(d, &used));
	if (best != used)
		return finding_warn(ret,
				    "the master key uses %s, the token "
				    "would now be given %s",
				    kt_wrap_mech_name(used),
				    kt_wrap_mech_name(best));
	return finding_ok(ret, "%s wraps, unwraps and notices tampering",
			  kt_wrap_mech_name(used));
}

static enum kt_err gate(struct doctor *d, struct finding *ret)
{
	struct gate_report report;
	enum kt_wrap_mech mech;
	char text[512];

	TRY(active_mech(d, &mech));
	TRY(gate_token(d->vault->token, mech, &report));
	gate_brief(&report, text, sizeof(text));
	if (report.failed == 0)
		return finding_ok(ret, "%s", text);
	if (d->vault->row.gate_level == KT_GATE_WARN)
		return finding_warn(ret, "%s", text);
	return finding_fail(ret, "%s", text);
}

static enum kt_err canary(struct doctor *d, const struct key_row *key)
{
	struct wrap_key *wrapper;
	enum kt_err err = key_wrapper(d->vault, key, &wrapper);

	if (err == KT_OK)
		err = wrap_check(wrapper, &key->canary);
	if (err == KT_OK)
		return KT_OK;
	return err_prefix(err, "%s", key_text(key).text);
}

static enum kt_err canaries_of(struct doctor *d, enum kt_key_role role,
			       size_t *live)
{
	CLEANUP(freep) struct key_row *keys = NULL;
	size_t count;

	TRY(doctor_keys(d, Q_KEYS_BY_ROLE, role, &keys, &count));
	for (size_t i = 0; i < count; i++) {
		if (!key_live(&keys[i]))
			continue;
		/* A retired project key has no wrap any more to come from. */
		if (role == KT_KEY_PROJECT && keys[i].deactivated != 0)
			continue;
		TRY(canary(d, &keys[i]));
		(*live)++;
	}
	return KT_OK;
}

static enum kt_err canaries(struct doctor *d, struct finding *ret)
{
	size_t live = 0;

	TRY(canaries_of(d, KT_KEY_MASTER, &live));
	TRY(canaries_of(d, KT_KEY_RECOVERY, &live));
	TRY(canaries_of(d, KT_KEY_PROJECT, &live));
	return finding_ok(
		ret, "%s unwrapped",
		text_counted((int64_t)live, "canary", "canaries").text);
}

static enum kt_err randomness(struct doctor *d, struct finding *ret)
{
	uint8_t first[32];
	uint8_t second[32];

	TRY(token_random(d->vault->token, first, sizeof(first)));
	TRY(token_random(d->vault->token, second, sizeof(second)));
	if (memcmp(first, second, sizeof(first)) == 0)
		return finding_fail(ret, "the token gave 32 bytes twice");
	return finding_ok(ret, "two draws of 32 bytes differ");
}

const struct check doctor_token_checks[] = {
	{"D01", "module file is guarded", NEED_TOKEN, module_file,
	 "install the module where only root can write"},
	{"D02", "module version", NEED_TOKEN, library_version,
	 "use SoftHSM 2.7 or later, or a hardware token"},
	{"D03", "the vault's own token", NEED_VAULT, right_serial,
	 "name the token by its serial, as 'keyturn status' shows it"},
	{"D04", "PIN state", NEED_TOKEN, pin_state,
	 "log in with the right PIN once, or have the SO set a new PIN"},
	{"D05", "each key is there exactly once", NEED_VAULT, key_objects,
	 "restore the token from its backup; destroy no key meanwhile"},
	{"D06", "keys keep to the policy", NEED_VAULT, key_policy,
	 "rotate: 'keyturn master rotate' makes a key under the policy"},
	{"D15", "no key both wraps and decrypts", NEED_TOKEN, roles_apart,
	 "destroy the object, or give it a token of its own"},
	{"D16", "no wrapping key came from outside", NEED_TOKEN, wrappers_local,
	 "destroy the object, or give it a token of its own"},
	{"D17", "no secret key can be read", NEED_TOKEN, secrets_closed,
	 "destroy the object, or give it a token of its own"},
	{"D18", "no orphans of interrupted generations", NEED_VAULT, no_orphans,
	 "find out whose they are: without them another vault on this token, "
	 "or a newer database or backup of this one, is lost for ever; only "
	 "what a killed init or rotation left may go: pkcs11-tool "
	 "--delete-object --type secrkey|privkey|pubkey --id CKA_ID"},
	{"D20", "wrap mechanism works", NEED_VAULT, mech_round_trip,
	 "update the token's firmware or library, then run doctor again"},
	{"D22", "token enforces the policy", NEED_VAULT, gate,
	 "move the vault to a token that enforces key attributes"},
	{"D23", "wrapping keys unwrap", NEED_VAULT, canaries,
	 "restore token and database from backups of the same time"},
	{"D25", "token's randomness", NEED_TOKEN, randomness,
	 "do not use this token"},
};

const size_t doctor_token_count =
	sizeof(doctor_token_checks) / sizeof(doctor_token_checks[0]);
