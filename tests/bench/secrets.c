/*
 * What a user waits for: reading and writing secrets through the library and
 * as whole processes, each against the token's calls in a bare loop.
 */
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "hsm/template.h"
#include "hsm/wrap_key.h"
#include "tests/bench/bench.h"

#define VALUE_LEN 64
#define AAD "bench aad of a fair length"

struct sample {
	struct blob blob;
	uint8_t nonce[VALUE_NONCE_LEN];
	uint8_t sealed[VALUE_LEN + VALUE_TAG_LEN];
};

static CK_GCM_PARAMS gcm_params(struct sample *sample)
{
	return (CK_GCM_PARAMS){.iv_ptr = sample->nonce,
			       .iv_len = VALUE_NONCE_LEN,
			       .iv_bits = VALUE_NONCE_LEN * 8,
			       .aad_ptr = (CK_BYTE *)AAD,
			       .aad_len = sizeof(AAD),
			       .tag_bits = VALUE_TAG_LEN * 8};
}

static enum kt_err sample_make(struct wrap_key *key, struct sample *ret)
{
	CLEANUP(sealed_value_done) struct sealed_value sealed = {0};
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	char text[VALUE_LEN] = {'v'};

	TRY(kt_secret_copy(text, sizeof(text), &value));
	TRY(value_seal(&key, 1, AAD, sizeof(AAD), &value, &ret->blob, &sealed));
	memcpy(ret->nonce, sealed.nonce, sizeof(ret->nonce));
	memcpy(ret->sealed, sealed.data, sizeof(ret->sealed));
	return KT_OK;
}

static enum kt_err raw_read(struct session *s, CK_OBJECT_HANDLE key,
			    struct template *t, struct sample *sample)
{
	CK_MECHANISM unwrap = {CKM_AES_KEY_WRAP, NULL, 0};
	CK_GCM_PARAMS params = gcm_params(sample);
	CK_MECHANISM gcm = {CKM_AES_GCM, &params, sizeof(params)};
	CK_BYTE value[sizeof(sample->sealed)];
	CK_ULONG len = sizeof(value);
	CK_OBJECT_HANDLE dek;

	TRY(CALL(s, C_UnwrapKey, &unwrap, key, sample->blob.data,
		 sample->blob.len, t->attr, t->count, &dek));
	TRY(CALL(s, C_DecryptInit, &gcm, dek));
	TRY(CALL(s, C_Decrypt, sample->sealed, sizeof(sample->sealed), value,
		 &len));
	return CALL(s, C_DestroyObject, dek);
}

static enum kt_err raw_reads(struct wrap_key *key, struct session *s,
			     long long n)
{
	CK_OBJECT_HANDLE handle;
	struct sample sample;
	struct template t;
	struct span begin;

	TRY(wrap_key_handle(key, s, &handle));
	TRY(sample_make(key, &sample));
	template_fill(&t, KT_KEY_DEK, USE_WORK, KT_WRAP_AES_KW);
	child_ready();
	begin = span_now();
	for (long long i = 0; i < n; i++)
		TRY(raw_read(s, handle, &t, &sample));
	begin = span_since(begin);
	figure_print("raw-get", (double)n, begin.us, begin.cpu_us);
	return KT_OK;
}

/* raw-get N: unwrap, decrypt and destroy under a project key. */
static enum kt_err raw_get_role(int argc, char **argv)
{
	CLEANUP(token_closep) struct token *token = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *key = NULL;
	CLEANUP(session_releasep) struct session *s = NULL;
	long long n;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "raw-get N");
	TRY(text_to_int(argv[0], 1, 1000000, "count", &n));
	TRY(token_open(&place.hsm.params, &token));
	TRY(wrap_key_temporary_project(token, KT_WRAP_AES_KW, KT_WRAP_AES_KW,
				       &key));
	TRY(session_open_own(token, &s));
	return raw_reads(key, s, n);
}

static enum kt_err open_vault(struct kt_vault **ret)
{
	struct kt_params params;

	place_params(&params);
	return kt_vault_open(&params, ret);
}

static void vault_closep(struct kt_vault **vault)
{
	kt_vault_close(*vault);
}

static enum kt_err get_one(struct kt_vault *vault)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};

	return kt_secret_get(vault, "bench", "ONE", 0, &value);
}

/* get N: the first in an open vault, and N more. */
static enum kt_err get_role(int argc, char **argv)
{
	CLEANUP(vault_closep) struct kt_vault *vault = NULL;
	struct span begin;
	long long n;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "get N");
	TRY(text_to_int(argv[0], 1, 1000000, "count", &n));
	TRY(open_vault(&vault));
	child_ready();
	begin = span_now();
	TRY(get_one(vault));
	begin = span_since(begin);
	figure_print("get-cold", 1, begin.us, begin.cpu_us);
	begin = span_now();
	for (long long i = 0; i < n; i++)
		TRY(get_one(vault));
	begin = span_since(begin);
	figure_print("get-warm", (double)n, begin.us, begin.cpu_us);
	return KT_OK;
}

static enum kt_err set_one(struct kt_vault *vault, const char *name)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_secret_info info;
	char text[VALUE_LEN] = {'v'};

	TRY(kt_secret_copy(text, sizeof(text), &value));
	return kt_secret_set(vault, "bench", name, &value, &info);
}

static void items_done(struct kt_import_item *items, size_t count)
{
	for (size_t i = 0; i < count; i++)
		kt_secret_done(&items[i].value);
	free(items);
}

static enum kt_err import(struct kt_vault *vault, long long n)
{
	struct kt_import_item *items = calloc((size_t)n, sizeof(*items));
	char text[VALUE_LEN] = {'v'};
	enum kt_err err = items == NULL ? err_memory() : KT_OK;
	struct span begin;

	for (long long i = 0; i < n && err == KT_OK; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "IMPORT_%lld",
			 i);
		err = kt_secret_copy(text, sizeof(text), &items[i].value);
	}
	begin = span_now();
	if (err == KT_OK)
		err = kt_secret_import(vault, "bench", items, (size_t)n);
	begin = span_since(begin);
	if (err == KT_OK)
		figure_print("import", (double)n, begin.us, begin.cpu_us);
	items_done(items, items != NULL ? (size_t)n : 0);
	return err;
}

/* set N: N secrets one by one, and as many in one import. */
static enum kt_err set_role(int argc, char **argv)
{
	CLEANUP(vault_closep) struct kt_vault *vault = NULL;
	struct span begin;
	long long n;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "set N");
	TRY(text_to_int(argv[0], 1, 100000, "count", &n));
	TRY(open_vault(&vault));
	child_ready();
	begin = span_now();
	for (long long i = 0; i < n; i++)
		TRY(set_one(vault, "ONE"));
	begin = span_since(begin);
	figure_print("set", (double)n, begin.us, begin.cpu_us);
	return import(vault, n);
}

/* raw-set N: a value sealed under a project and a recovery key and opened
 * again through both: what the token has to do for a secret that is set. */
static enum kt_err raw_set_role(int argc, char **argv)
{
	CLEANUP(token_closep) struct token *token = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *project = NULL;
	CLEANUP(wrap_key_freep) struct wrap_key *recovery = NULL;
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct wrap_key *keys[2];
	struct span begin;
	long long n;

	if (argc != 1)
		return err_raise(KT_ERR_USAGE, "raw-set N");
	TRY(text_to_int(argv[0], 1, 100000, "count", &n));
	TRY(kt_secret_copy("v", 1, &value));
	TRY(token_open(&place.hsm.params, &token));
	TRY(wrap_key_temporary_project(token, KT_WRAP_AES_KW, KT_WRAP_AES_KW,
				       &project));
	TRY(wrap_key_temporary(token, KT_KEY_RECOVERY, KT_WRAP_AES_KW,
			       &recovery));
	keys[0] = project;
	keys[1] = recovery;
	child_ready();
	begin = span_now();
	for (long long i = 0; i < n; i++) {
		CLEANUP(sealed_value_done) struct sealed_value sealed = {0};
		struct blob blobs[2];

		TRY(value_seal(keys, 2, AAD, sizeof(AAD), &value, blobs,
			       &sealed));
	}
	begin = span_since(begin);
	figure_print("raw-set", (double)n, begin.us, begin.cpu_us);
	return KT_OK;
}

const struct role secret_roles[] = {{"raw-get", raw_get_role},
				    {"raw-set", raw_set_role},
				    {"get", get_role},
				    {"set", set_role},
				    {NULL, NULL}};

struct measured {
	struct series raw_get, warm, cold, raw_set, set, import, bare, command;
};

static enum kt_err measure(const char *role, const char *count,
			   struct figures *ret)
{
	const char *const arguments[] = {role, count, NULL};

	return child_run(1, arguments, ret);
}

static enum kt_err measure_set(struct measured *m)
{
	struct figures figures;

	TRY(measure("raw-set", place.brief ? "10" : "100", &figures));
	series_add(&m->raw_set, figure_find(&figures, "raw-set"));
	TRY(measure("set", place.brief ? "10" : "100", &figures));
	series_add(&m->set, figure_find(&figures, "set"));
	series_add(&m->import, figure_find(&figures, "import"));
	return KT_OK;
}

static enum kt_err measure_get(struct measured *m)
{
	struct figures figures;

	TRY(measure("raw-get", "2000", &figures));
	series_add(&m->raw_get, figure_find(&figures, "raw-get"));
	TRY(measure("get", "2000", &figures));
	series_add(&m->warm, figure_find(&figures, "get-warm"));
	series_add(&m->cold, figure_find(&figures, "get-cold"));
	return KT_OK;
}

/* A program that does nothing but initialise, log in, find a key and unwrap
 * one blob; and the command that gives a secret. */
static enum kt_err measure_process(struct measured *m)
{
	const char *const bare[] = {place.bare, place.hsm.params.module,
				    SOFTHSM_LABEL, SOFTHSM_PIN, NULL};
	const char *const command[] = {place.command,
				       "--store",
				       place.store,
				       "--token",
				       place.hsm.uri,
				       "--module",
				       place.hsm.params.module,
				       "--pin-file",
				       place.pin_file,
				       "secret",
				       "get",
				       "kt://bench/ONE",
				       NULL};
	struct figure figure;

	for (int i = 0; i < 3; i++) {
		TRY(program_run(bare, &figure));
		series_add(&m->bare, &figure);
		TRY(program_run(command, &figure));
		series_add(&m->command, &figure);
	}
	return KT_OK;
}

static void report(const char *name, const struct series *is,
		   const struct series *limit)
{
	struct span bound;

	if (limit != NULL)
		bound = series_median(limit);
	report_figure(name, 1, series_median(is),
		      limit != NULL ? &bound : NULL);
}

enum kt_err section_secrets(void)
{
	struct measured m = {0};

	TRY(place_vault(0));
	for (int i = 0; i < place.repeats; i++) {
		TRY(measure_set(&m));
		TRY(measure_get(&m));
		if (m.bare.count + 3 <= REPEATS_MAX)
			TRY(measure_process(&m));
	}
	report("secret get, warm", &m.warm, &m.raw_get);
	report("secret get, first of a vault", &m.cold, NULL);
	report("secret get, whole process", &m.command, &m.bare);
	report("secret set", &m.set, &m.raw_set);
	report("secret import, a secret", &m.import, &m.raw_set);
	return KT_OK;
}
