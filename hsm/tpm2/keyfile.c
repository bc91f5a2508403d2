/*
 * Reading and writing a key's folder.
 */
#include "hsm/tpm2/keyfile.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "hsm/tpm2/record.h"

void key_file_done(struct key_file *file)
{
	tpm_key_done(&file->key);
	*file = (struct key_file){0};
}

struct key_path key_path(const struct kt_id *id, const char *name)
{
	struct key_path path;
	char hex[2 * KT_ID_LEN + 1];

	hex_encode(id->bytes, sizeof(id->bytes), hex);
	snprintf(path.text, sizeof(path.text), "keys/%s%s%s", hex,
		 name[0] != '\0' ? "/" : "", name);
	return path;
}

static void put_meta(struct record *record, const struct key_file *file)
{
	record_put_number(record, "format", 1);
	record_put_bytes(record, "id",
			 SPAN(file->key.id.bytes, sizeof(file->key.id.bytes)));
	record_put_number(record, "stage", file->stage);
	record_put_number(record, "kind", file->key.kind);
	record_put_number(record, "counter", file->counter);
	record_put_number(record, "value", file->value);
	record_put_number(record, "handle", file->handle);
	record_put_bytes(record, "attributes",
			 SPAN(file->key.attributes, file->key.attributes_len));
}

CK_RV key_file_save(const struct folder *folder, const struct key_file *file)
{
	CLEANUP(record_done) struct record record = {0};

	put_meta(&record, file);
	RV_TRY(record_check(&record));
	RV_TRY(folder_make_dir(folder, key_path(&file->key.id, "").text));
	return folder_write(folder, key_path(&file->key.id, "meta").text,
			    SPAN(record.text, record.len));
}

static CK_RV get_attributes(struct record *record, struct tpm_key *key)
{
	key->attributes = malloc(TPM_ATTRIBUTES_MAX);
	if (key->attributes == NULL)
		return rv_memory();
	key->attributes_len = record_bytes(record, "attributes",
					   key->attributes, TPM_ATTRIBUTES_MAX);
	return CKR_OK;
}

static CK_RV get_meta(struct record *record, const struct kt_id *id,
		      const char *path, struct key_file *file)
{
	uint64_t format = record_number(record, "format");
	uint64_t stage = record_number(record, "stage");
	uint64_t kind = record_number(record, "kind");

	record_exact(record, "id", file->key.id.bytes,
		     sizeof(file->key.id.bytes));
	file->counter = (uint32_t)record_number(record, "counter");
	file->value = record_number(record, "value");
	file->handle = (uint32_t)record_number(record, "handle");
	RV_TRY(get_attributes(record, &file->key));
	RV_TRY(record_end(record, path));
	if (format != 1 || stage < KEY_MAKING || stage > KEY_DESTROYED ||
	    kind < TPM_KEY_WRAP || kind > TPM_KEY_EC ||
	    !id_equal(&file->key.id, id))
		return rv_raise(CKR_DEVICE_ERROR, "%s is not a key of ours",
				path);
	file->stage = (enum key_stage)stage;
	file->key.kind = (enum tpm_kind)kind;
	file->key.state = stage == KEY_LIVE ? TPM_KEY_LIVE : TPM_KEY_DESTROYED;
	return CKR_OK;
}

static CK_RV get_point(const struct folder *folder, struct key_file *file)
{
	struct object_blob blob = {0};

	if (file->key.kind != TPM_KEY_EC || file->stage != KEY_LIVE)
		return CKR_OK;
	RV_TRY(blob_load(folder, key_path(&file->key.id, "master").text,
			 &blob));
	if (!object_point(&blob.public, file->key.point))
		return rv_raise(CKR_DEVICE_ERROR,
				"the key's public half is damaged");
	return CKR_OK;
}

CK_RV key_file_load(const struct folder *folder, const struct kt_id *id,
		    struct key_file *ret)
{
	CLEANUP(key_file_done) struct key_file file = {0};
	CLEANUP(record_done) struct record record = {0};
	CLEANUP(freep) uint8_t *text = NULL;
	struct key_path path = key_path(id, "meta");
	size_t len = 0;

	RV_TRY(folder_read(folder, path.text, &text, &len));
	RV_TRY(record_parse(text, len, &record));
	RV_TRY(get_meta(&record, id, path.text, &file));
	RV_TRY(get_point(folder, &file));
	*ret = file;
	file = (struct key_file){0};
	return CKR_OK;
}

/* TPM2B_PUBLIC, then TPM2B_PRIVATE: what tpm2-tools write to two files. */
CK_RV blob_save(const struct folder *folder, const char *name,
		const struct object_blob *blob)
{
	uint8_t data[2 + TPM_PUBLIC_MAX + 2 + TPM_PRIVATE_MAX];
	size_t len = 2 + blob->public.len;

	be16_put(data, (uint16_t)blob->public.len);
	memcpy(data + 2, blob->public.data, blob->public.len);
	be16_put(data + len, (uint16_t)blob->private_len);
	memcpy(data + len + 2, blob->private, blob->private_len);
	return folder_write(folder, name,
			    SPAN(data, len + 2 + blob->private_len));
}

/* One sized piece from the front of *from. */
static bool take_2b(struct span *from, uint8_t *room, size_t max, size_t *ret)
{
	const uint8_t *at = from->data;
	size_t len;

	if (from->len < 2)
		return false;
	len = be16_get(at);
	if (len > from->len - 2 || len > max)
		return false;
	memcpy(room, at + 2, len);
	*from = SPAN(at + 2 + len, from->len - 2 - len);
	*ret = len;
	return true;
}

CK_RV blob_load(const struct folder *folder, const char *name,
		struct object_blob *ret)
{
	CLEANUP(freep) uint8_t *data = NULL;
	struct object_blob blob = {0};
	struct span rest = {0};

	RV_TRY(folder_read(folder, name, &data, &rest.len));
	rest.data = data;
	if (!take_2b(&rest, blob.public.data, sizeof(blob.public.data),
		     &blob.public.len) ||
	    !take_2b(&rest, blob.private, sizeof(blob.private),
		     &blob.private_len) ||
	    rest.len != 0)
		return rv_raise(CKR_DEVICE_ERROR, "%s is damaged", name);
	*ret = blob;
	return CKR_OK;
}

CK_RV creation_save(const struct folder *folder, const struct kt_id *id,
		    const struct object_creation *creation)
{
	CLEANUP(record_done) struct record record = {0};

	record_put_bytes(&record, "data", SPAN(creation->data, creation->len));
	record_put_bytes(&record, "hash", SPAN(creation->hash, HASH_LEN));
	record_put_bytes(&record, "ticket",
			 SPAN(creation->ticket, creation->ticket_len));
	RV_TRY(record_check(&record));
	return folder_write(folder, key_path(id, "creation").text,
			    SPAN(record.text, record.len));
}

CK_RV creation_load(const struct folder *folder, const struct kt_id *id,
		    struct object_creation *ret)
{
	CLEANUP(record_done) struct record record = {0};
	CLEANUP(freep) uint8_t *text = NULL;
	struct object_creation creation = {0};
	struct key_path path = key_path(id, "creation");
	size_t len = 0;

	RV_TRY(folder_read(folder, path.text, &text, &len));
	RV_TRY(record_parse(text, len, &record));
	creation.len = record_bytes(&record, "data", creation.data,
				    sizeof(creation.data));
	record_exact(&record, "hash", creation.hash, HASH_LEN);
	creation.ticket_len = record_bytes(&record, "ticket", creation.ticket,
					   sizeof(creation.ticket));
	RV_TRY(record_end(&record, path.text));
	*ret = creation;
	return CKR_OK;
}
