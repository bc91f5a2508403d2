/*
 * One process of a history: opens the vault for itself, does what its role is
 * as fast as it can until the end, and writes down every operation with the
 * times just before and just after the call.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/secret.h"
#include "tests/torture/history_place.h"

#define HANDLE_LIFE 200 /* operations, then the vault is opened anew */
#define DENIALS 4       /* that a holder asks for of a revoked token */

struct worker {
	struct place place;
	enum role role;
	uint32_t process;
	int64_t until;
	char stop[192];
	FILE *events;
	struct kt_vault *vault;
	uint64_t written;
	uint32_t token; /* of a holder */
	bool denied;    /* at the start of its handle */
	unsigned random;
};

static bool goes_on(const struct worker *w)
{
	return history_now() < w->until && access(w->stop, F_OK) != 0;
}

static uint32_t choose(struct worker *w, uint32_t from, uint32_t count)
{
	return from + (uint32_t)rand_r(&w->random) % count;
}

static uint64_t next_value(struct worker *w)
{
	return ((uint64_t)(w->process + 1) << 32) + ++w->written;
}

static struct event begin(const struct worker *w, enum event_kind kind,
			  uint32_t key)
{
	return (struct event){.kind = kind,
			      .process = w->process,
			      .key = key,
			      .token = w->token,
			      .invoked = history_now()};
}

/* Busy and moved are refusals; all else that is not an answer is a finding. */
static void end(struct worker *w, struct event *e, enum kt_err err,
		int64_t responded)
{
	bool answered = err == KT_OK || err == KT_ERR_NOT_FOUND ||
			err == KT_ERR_BUSY ||
			(err == KT_ERR_CONFLICT && e->kind == EVENT_WRITE) ||
			(err == KT_ERR_DENIED && w->token != 0);

	if (!answered)
		complain(&w->place, key_name(e->key), err);
	e->result = err;
	e->responded = responded;
	if (fwrite(e, sizeof(*e), 1, w->events) != 1)
		abort();
}

static enum kt_err read_one(struct worker *w, uint32_t key)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct event e = begin(w, EVENT_READ, key);
	enum kt_err err = kt_secret_get(w->vault, key_project(key),
					key_name(key), 0, &value);
	int64_t responded = history_now();

	if (err == KT_OK)
		e.value = value_number(&value);
	end(w, &e, err, responded);
	return err;
}

static void write_one(struct worker *w, uint32_t key)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct kt_secret_info info = {0};
	struct event e = begin(w, EVENT_WRITE, key);
	enum kt_err err;

	e.value = next_value(w);
	err = value_make(e.value, &value);
	if (err == KT_OK)
		err = kt_secret_set(w->vault, key_project(key), key_name(key),
				    &value, &info);
	e.version = info.version;
	e.secret = info.id;
	end(w, &e, err, history_now());
}

/* Some time after it came: a deletion of nothing only keeps the others from
 * writing. */
static void delete_one(struct worker *w, uint32_t key)
{
	struct event e;
	enum kt_err err = read_one(w, key);

	if (choose(w, 0, 4) != 0 || (err != KT_OK && choose(w, 0, 50) != 0))
		return;
	e = begin(w, EVENT_DELETE, key);
	err = kt_secret_delete(w->vault, key_project(key), key_name(key));
	end(w, &e, err, history_now());
}

/* All kept keys in one transaction: one event each, all of one time. */
static void import_all(struct worker *w)
{
	struct kt_import_item items[KEPT_KEYS] = {0};
	struct event e[KEPT_KEYS];
	enum kt_err err = KT_OK;
	int64_t responded;

	for (uint32_t key = 0; key < KEPT_KEYS; key++) {
		e[key] = begin(w, EVENT_WRITE, key);
		e[key].value = next_value(w);
		e[key].invoked = e[0].invoked;
		snprintf(items[key].name, sizeof(items[key].name), "%s",
			 key_name(key));
		if (err == KT_OK)
			err = value_make(e[key].value, &items[key].value);
	}
	if (err == KT_OK)
		err = kt_secret_import(w->vault, key_project(0), items,
				       KEPT_KEYS);
	responded = history_now();
	for (uint32_t key = 0; key < KEPT_KEYS; key++) {
		end(w, &e[key], err, responded);
		kt_secret_done(&items[key].value);
	}
}

struct exported {
	uint64_t values[KEPT_KEYS];
};

static enum kt_err keep_exported(void *arg, const char *name,
				 const struct kt_secret *value)
{
	struct exported *exported = arg;

	for (uint32_t key = 0; key < KEPT_KEYS; key++)
		if (strcmp(name, key_name(key)) == 0)
			exported->values[key] = value_number(value);
	return KT_OK;
}

/* A read of all kept keys at once. */
static void export_all(struct worker *w)
{
	struct exported exported = {0};
	struct event e = begin(w, EVENT_READ, 0);
	enum kt_err err = kt_secret_export(w->vault, key_project(0),
					   keep_exported, &exported);
	int64_t responded = history_now();

	for (e.key = 0; e.key < KEPT_KEYS; e.key++) {
		bool absent = err == KT_OK && exported.values[e.key] == 0;

		e.value = exported.values[e.key];
		end(w, &e, absent ? KT_ERR_NOT_FOUND : err, responded);
	}
}

/* --- access tokens ----------------------------------------------------------
 */

static bool wait_for_token(struct worker *w, struct kt_secret *ret)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	char path[192], text[256];
	FILE *file = NULL;
	size_t len;

	token_path(&w->place, w->token, path);
	while (goes_on(w) && (file = fopen(path, "re")) == NULL)
		nanosleep(&pause, NULL);
	if (file == NULL)
		return false;
	len = fread(text, 1, sizeof(text), file);
	fclose(file);
	return kt_secret_copy(text, len, ret) == KT_OK;
}

/* A denial is an event, too: of the first key, which it did not get to. */
static enum kt_err authorize(struct worker *w, const struct kt_secret *token)
{
	struct event e =
		begin(w, EVENT_READ, w->token % 2 == 1 ? 0 : KEPT_KEYS);
	enum kt_err err = kt_vault_authorize(w->vault, token);

	if (err != KT_OK)
		end(w, &e, err, history_now());
	w->denied = err == KT_ERR_DENIED;
	return err;
}

static enum kt_err reopen(struct worker *w)
{
	kt_vault_close(w->vault);
	w->vault = NULL;
	return kt_vault_open(&w->place.params, &w->vault);
}

static uint32_t held_key(struct worker *w)
{
	return w->token % 2 == 1 ? choose(w, 0, KEPT_KEYS)
				 : choose(w, KEPT_KEYS, GONE_KEYS);
}

/* Serves until it is denied. A handle that was denied at the start acts for the
 * operator still, so nothing is read by that one. */
static enum kt_err hold_one(struct worker *w, const struct kt_secret *token)
{
	enum kt_err err = KT_OK;

	TRY(reopen(w));
	if (authorize(w, token) != KT_OK)
		return KT_OK;
	for (int n = 0; n < HANDLE_LIFE && goes_on(w); n++) {
		err = read_one(w, held_key(w));
		if (err == KT_ERR_DENIED)
			break;
	}
	for (int n = 0; n < DENIALS && err == KT_ERR_DENIED; n++)
		(void)!read_one(w, held_key(w));
	return KT_OK;
}

/* Token after token; of each the last handle is one that was denied at once. */
static enum kt_err hold(struct worker *w)
{
	CLEANUP(kt_secret_done) struct kt_secret token = {0};

	if (!wait_for_token(w, &token))
		return KT_OK;
	for (w->denied = false; goes_on(w) && !w->denied;)
		TRY(hold_one(w, &token));
	w->token += 2;
	return KT_OK;
}

/* --- roles ------------------------------------------------------------------
 */

static void act(struct worker *w)
{
	switch (w->role) {
	case ROLE_WRITER:
		write_one(w, choose(w, 0, KEYS));
		break;
	case ROLE_READER:
		if (choose(w, 0, 8) == 0)
			export_all(w);
		else
			(void)!read_one(w, choose(w, 0, KEYS));
		break;
	case ROLE_IMPORTER:
		import_all(w);
		break;
	case ROLE_DELETER: /* two share the keys by odd and even */
		delete_one(w, KEPT_KEYS + w->process % 2 +
				      2 * choose(w, 0, GONE_KEYS / 2));
		break;
	case ROLE_HOLDER:
	case ROLE_MAX_:
		abort();
	}
}

static enum kt_err work(struct worker *w)
{
	if (w->role == ROLE_HOLDER) {
		w->token = 1 + w->process % 2;
		while (goes_on(w))
			TRY(hold(w));
		return KT_OK;
	}
	for (unsigned n = 0; goes_on(w); n++) {
		if (n % HANDLE_LIFE == 0)
			TRY(reopen(w));
		act(w);
	}
	return KT_OK;
}

int history_worker(enum role role, uint32_t process, const char *folder,
		   int64_t until)
{
	struct worker w = {.role = role,
			   .process = process,
			   .until = until,
			   .random = process};
	char path[192];
	enum kt_err err;

	place_fill(folder, &w.place);
	stop_path(&w.place, w.stop);
	err = reopen(&w);
	events_path(&w.place, process, path);
	w.events = fopen(path, "we");
	if (w.events == NULL)
		return 1;
	if (err == KT_OK)
		err = work(&w);
	if (err != KT_OK)
		complain(&w.place, "opening the vault", err);
	kt_vault_close(w.vault);
	return fclose(w.events) != 0;
}
