/*
 * The life of a key in the TPM and on disk, which a power cut can part. What
 * is meant is written down first: "making" is undone, "destroying" is
 * finished, by whoever logs in next. Both are the same work, and it can be
 * done any number of times.
 */
#include <string.h>

#include "base/bytes.h"
#include "hsm/tpm2/audit.h"
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/counter.h"
#include "hsm/tpm2/life.h"
#include "hsm/tpm2/state.h"

CK_RV life_open_gate(struct tpm_token *token, const struct counter *counter,
		     const struct object_blob *blob, struct gate *ret)
{
	struct object_parent srk = token_srk(token);
	struct tpm *tpm = token->tpm;
	CK_RV rv;

	RV_TRY(object_load(tpm, &srk, blob, &ret->object));
	ret->counter = counter;
	rv = session_start(tpm, SESSION_POLICY, NULL, NULL, &ret->policy);
	if (rv != CKR_OK)
		life_close_gate(token, ret);
	return rv;
}

void life_close_gate(struct tpm_token *token, struct gate *gate)
{
	session_end(token->tpm, &gate->policy);
	object_flush(token->tpm, &gate->object);
}

/* A policy session is good for one command; PolicyRestart makes it new. */
CK_RV life_pass_gate(struct tpm_token *token, struct gate *gate,
		     struct object_parent *ret)
{
	CLEANUP(cmd_done) struct cmd cmd = CMD(PolicyRestart);
	struct tpm_object session =
		tpm_permanent(gate->policy.handle, SPAN(NULL, 0));

	cmd_handle(&cmd, &session);
	RV_TRY(cmd_run(token->tpm, &cmd));
	RV_TRY(counter_prove(token->tpm, gate->counter, &gate->policy));
	*ret = (struct object_parent){&gate->object, &gate->policy};
	return CKR_OK;
}

CK_RV life_place(struct tpm_token *token, struct gate *gate,
		 const struct object_blob *blob, uint32_t handle)
{
	struct tpm_object owner = token_owner(token), loaded = {0};
	struct object_parent parent = {0};
	CK_RV rv;

	RV_TRY(life_pass_gate(token, gate, &parent));
	RV_TRY(object_load(token->tpm, &parent, blob, &loaded));
	rv = object_evict(token->tpm, &owner, &loaded, handle, NULL);
	object_flush(token->tpm, &loaded);
	return rv;
}

CK_RV life_counter(struct tpm_token *token, const struct key_file *file,
		   struct counter *ret)
{
	return counter_init(token->tpm, file->counter, &file->key.id,
			    file->value, ret);
}

CK_RV life_restore(struct tpm_token *token, const struct key_file *file)
{
	struct object_blob gate_blob = {0}, blob = {0};
	struct counter counter;
	struct gate gate = {0};
	CK_RV rv;

	RV_TRY(life_counter(token, file, &counter));
	RV_TRY(blob_load(&token->folder, key_path(&file->key.id, "gate").text,
			 &gate_blob));
	RV_TRY(blob_load(&token->folder, key_path(&file->key.id, "master").text,
			 &blob));
	RV_TRY(life_open_gate(token, &counter, &gate_blob, &gate));
	rv = life_place(token, &gate, &blob, file->handle);
	life_close_gate(token, &gate);
	return rv;
}

/* The point of no return: after it nothing loads the key again. */
static CK_RV remove_counter(struct tpm_token *token,
			    const struct key_file *file, struct audit *audit)
{
	struct tpm_object owner = token_owner(token);
	enum counter_state state = COUNTER_NONE;
	struct counter counter;

	RV_TRY(life_counter(token, file, &counter));
	RV_TRY(counter_look(token->tpm, &counter, &state));
	if (state != COUNTER_OURS)
		return CKR_OK;
	return counter_undefine(token->tpm, &owner, &counter, audit);
}

/* Whether the key itself is at its handle, and its object then. */
static CK_RV find_place(struct tpm_token *token, const struct key_file *file,
			struct tpm_object *ret, bool *ret_ours)
{
	struct tpm_object there = {0};
	bool taken = false;
	CK_RV rv;

	*ret_ours = false;
	rv = keys_object(token, file, ret);
	if (rv == CKR_DATA_INVALID) /* not born yet, or gone already */
		return CKR_OK;
	RV_TRY(rv);
	RV_TRY(caps_handle_there(token->tpm, file->handle, &taken));
	if (!taken)
		return CKR_OK;
	RV_TRY(object_read_name(token->tpm, file->handle, &there));
	*ret_ours = memcmp(there.name, ret->name, ret->name_len) == 0;
	return CKR_OK;
}

static CK_RV remove_place(struct tpm_token *token, const struct key_file *file,
			  struct audit *audit)
{
	struct tpm_object owner = token_owner(token), object = {0};
	bool ours = false;

	RV_TRY(find_place(token, file, &object, &ours));
	if (!ours)
		return CKR_OK;
	return object_evict(token->tpm, &owner, &object, file->handle, audit);
}

CK_RV life_undo(struct tpm_token *token, const struct key_file *file)
{
	RV_TRY(remove_counter(token, file, NULL));
	RV_TRY(remove_place(token, file, NULL));
	return folder_remove_dir(&token->folder,
				 key_path(&file->key.id, "").text, "meta");
}

static CK_RV forget_blobs(struct tpm_token *token, const struct kt_id *id)
{
	static const char *const names[] = {"gate", "master", "creation"};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		RV_TRY(folder_remove(&token->folder,
				     key_path(id, names[i]).text));
	return CKR_OK;
}

static CK_RV prove_place(struct tpm_token *token, const struct key_file *file)
{
	struct tpm_object ours = {0}, there = {0};
	CK_RV rv;

	RV_TRY(object_read_name(token->tpm, file->handle, &there));
	rv = keys_object(token, file, &ours);
	if (rv == CKR_DATA_INVALID) /* its blobs went when it was gone */
		return CKR_OK;
	RV_TRY(rv);
	if (memcmp(there.name, ours.name, ours.name_len) == 0)
		return rv_raise(CKR_DEVICE_ERROR,
				"the TPM still has the key at 0x%x",
				file->handle);
	return object_prove(token->tpm, &there);
}

/* What was looked at until here could be said by anybody on the bus, and a key
 * that only seems to be gone would go on living. */
static CK_RV prove_gone(struct tpm_token *token, const struct key_file *file,
			struct audit *audit)
{
	struct counter counter;
	bool absent = false;

	RV_TRY(life_counter(token, file, &counter));
	RV_TRY(audit_absence(token->tpm, audit, file->counter, &absent));
	if (!absent)
		RV_TRY(counter_prove_foreign(token->tpm, &counter));
	RV_TRY(audit_absence(token->tpm, audit, file->handle, &absent));
	return absent ? CKR_OK : prove_place(token, file);
}

static CK_RV remove_audited(struct tpm_token *token,
			    const struct key_file *file, struct audit *audit)
{
	RV_TRY(remove_counter(token, file, audit));
	RV_TRY(remove_place(token, file, audit));
	RV_TRY(prove_gone(token, file, audit));
	return attest_death(token, file, audit);
}

CK_RV life_destroy(struct tpm_token *token, struct key_file *file)
{
	struct audit audit = {0};
	CK_RV rv;

	token_forget_keys(token);
	file->stage = KEY_DESTROYING;
	RV_TRY(key_file_save(&token->folder, file));
	RV_TRY(audit_start(token->tpm, &audit));
	rv = remove_audited(token, file, &audit);
	audit_end(token->tpm, &audit);
	RV_TRY(rv);
	RV_TRY(forget_blobs(token, &file->key.id));
	file->stage = KEY_DESTROYED;
	return key_file_save(&token->folder, file);
}

static CK_RV recover_one(struct tpm_token *token, struct key_file *file,
			 void *arg)
{
	(void)arg;
	switch (file->stage) {
	case KEY_MAKING:
		return life_undo(token, file);
	case KEY_DESTROYING:
		return life_destroy(token, file);
	case KEY_LIVE:
	case KEY_DESTROYED:
		break;
	}
	return CKR_OK;
}

/* A folder without a meta: of a key that never began, or is all undone. */
static CK_RV remove_empty(const char *name, void *arg)
{
	struct tpm_token *token = arg;
	struct kt_id id;

	if (!hex_decode(name, id.bytes, sizeof(id.bytes)) ||
	    folder_has(&token->folder, key_path(&id, "meta").text))
		return CKR_OK;
	return folder_remove_dir(&token->folder, key_path(&id, "").text, NULL);
}

CK_RV life_recover(struct tpm_token *token)
{
	RV_TRY(keys_each(token, recover_one, NULL));
	return folder_each(&token->folder, "keys", remove_empty, token);
}

static CK_RV destroy_one(struct tpm_token *token, struct key_file *file,
			 void *arg)
{
	if (file->stage == KEY_LIVE)
		return life_destroy(token, file);
	return recover_one(token, file, arg);
}

CK_RV life_destroy_all(struct tpm_token *token)
{
	return keys_each(token, destroy_one, NULL);
}
