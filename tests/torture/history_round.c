/*
 * The parent's part of a history: makes the vault, starts the processes,
 * rotates under them until the time is over, and reads at the end what is
 * there.
 */
#include "tests/torture/history_round.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <keyturn/audit.h>

#include "base/cleanup.h"
#include "base/err.h"

extern char **environ;

#define SECOND INT64_C(1000000000)
#define PATIENCE 60 /* seconds */
#define BULK 40     /* secrets that nobody touches, for the rotations */

static const enum role crew[CREW] = {
	ROLE_WRITER, ROLE_WRITER, ROLE_READER,   ROLE_READER,  ROLE_HOLDER,
	ROLE_HOLDER, ROLE_HOLDER, ROLE_IMPORTER, ROLE_DELETER, ROLE_DELETER,
};

static bool goes_on(const struct round *r)
{
	return history_now() < r->until;
}

struct event *round_add_event(struct history *history)
{
	if ((history->count & (history->count - 1)) == 0) {
		size_t room = history->count > 0 ? 2 * history->count : 1;

		history->events = reallocarray(history->events, room,
					       sizeof(*history->events));
		if (history->events == NULL)
			abort();
	}
	return &history->events[history->count++];
}

/* --- the place --------------------------------------------------------------
 */

static enum kt_err fill_bulk(struct kt_vault *vault, const char *project)
{
	struct kt_import_item *items = calloc(BULK, sizeof(*items));
	enum kt_err err = items != NULL ? KT_OK : KT_ERR_MEMORY;

	for (unsigned i = 0; i < BULK && err == KT_OK; i++) {
		snprintf(items[i].name, sizeof(items[i].name), "bulk-%u", i);
		err = value_make(i + 1, &items[i].value);
	}
	if (err == KT_OK)
		err = kt_secret_import(vault, project, items, BULK);
	for (unsigned i = 0; i < BULK && items != NULL; i++)
		kt_secret_done(&items[i].value);
	free(items);
	return err;
}

/* A file that is there is whole. */
static enum kt_err publish_token(struct round *r, uint32_t token)
{
	CLEANUP(kt_secret_done) struct kt_secret text = {0};
	struct kt_access access;
	char path[192], fresh[200];
	FILE *file;

	TRY(kt_access_issue(r->vault, token % 2 == 1 ? "kept" : "gone",
			    KT_ACCESS_READ, 86400, "history", &access, &text));
	token_path(&r->place, token, path);
	snprintf(fresh, sizeof(fresh), "%s.new", path);
	file = fopen(fresh, "we");
	if (file == NULL || fwrite(text.data, 1, text.len, file) != text.len ||
	    fclose(file) != 0 || rename(fresh, path) != 0)
		return err_errno("%s", path);
	r->token[token % 2 == 1 ? 0 : 1] = token;
	return KT_OK;
}

static enum kt_err make_place(struct round *r)
{
	const struct kt_init_options options = {.recovery_wraps =
							KT_RECOVERY_ON};
	struct kt_status status;
	struct kt_project project;

	softhsm_start(&r->hsm);
	place_fill(r->hsm.folder, &r->place);
	TRY(kt_vault_init(&r->place.params, &options, &status));
	TRY(kt_vault_open(&r->place.params, &r->vault));
	TRY(kt_project_create(r->vault, "kept", &project));
	TRY(kt_project_create(r->vault, "gone", &project));
	TRY(kt_project_create(r->vault, "bulk", &project));
	TRY(fill_bulk(r->vault, "bulk"));
	TRY(publish_token(r, 1));
	return publish_token(r, 2);
}

/* --- the workers -------------------------------------------------------------
 */

static enum kt_err start_workers(struct round *r, int64_t seconds)
{
	int64_t limit = history_now() + (seconds + 4 * PATIENCE) * SECOND;
	char role[16], process[16], until[32];
	const char *const argv[] = {"history",     "--worker", role, process,
				    r->hsm.folder, until,      NULL};

	for (uint32_t i = 0; i < CREW; i++) {
		snprintf(role, sizeof(role), "%d", (int)crew[i]);
		snprintf(process, sizeof(process), "%u", i);
		snprintf(until, sizeof(until), "%lld", (long long)limit);
		if (posix_spawn(&r->worker[i], "/proc/self/exe", NULL, NULL,
				(char *const *)(uintptr_t)argv, environ) != 0)
			return err_raise(KT_ERR_FAILED, "posix_spawn");
	}
	return KT_OK;
}

/* The time begins when everybody is there. */
static enum kt_err await_workers(const struct round *r)
{
	const struct timespec pause = {.tv_nsec = 5000000};
	int64_t limit = history_now() + PATIENCE * SECOND;
	char path[192];

	for (uint32_t i = 0; i < CREW;) {
		events_path(&r->place, i, path);
		if (access(path, F_OK) == 0)
			i++;
		else if (history_now() > limit)
			return err_raise(KT_ERR_FAILED,
					 "process %u opened no vault", i);
		else
			nanosleep(&pause, NULL);
	}
	return KT_OK;
}

static void join_workers(struct round *r)
{
	char path[192];
	int fd;

	stop_path(&r->place, path);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		abort();
	close(fd);
	for (uint32_t i = 0; i < CREW; i++) {
		int status = -1;

		if (r->worker[i] <= 0)
			continue;
		if (waitpid(r->worker[i], &status, 0) != r->worker[i] ||
		    status != 0)
			complain(&r->place, "a worker",
				 err_raise(KT_ERR_FAILED, "ended with %d",
					   status));
	}
}

/* --- the rotations -----------------------------------------------------------
 */

/* When the cut-over began and when it was over. */
static void note_step(void *arg, const char *step, int64_t done, int64_t total)
{
	struct round *r = arg;

	(void)done;
	(void)total;
	if (strcmp(step, "cut over") == 0) {
		if (r->cut_over[0] == 0)
			r->cut_over[0] = history_now();
	} else if (r->cut_over[0] != 0 && r->cut_over[1] == 0) {
		r->cut_over[1] = history_now();
	}
}

/* Rows that came too late for a step are an error that says "resume". */
static enum kt_err rotate(struct round *r, enum kt_rotation_kind kind,
			  const char *project, int64_t grace,
			  struct kt_rotation *ret)
{
	const struct kt_progress progress = {.report = note_step, .arg = r};
	const struct kt_rotate_options options = {
		.batch_size = 20, .jobs = 1, .grace = grace};
	enum kt_err err;

	memset(r->cut_over, 0, sizeof(r->cut_over));
	err = kt_rotation_start(r->vault, kind, project, &options, &progress,
				ret);
	while (err == KT_ERR_CONFLICT) {
		r->totals->resumed++;
		err = kt_rotation_resume(r->vault, &ret->id, &options,
					 &progress, ret);
	}
	if (r->cut_over[1] == 0)
		r->cut_over[1] = history_now();
	r->totals->rotations++;
	return err;
}

static enum kt_err there_and_back(struct round *r)
{
	struct kt_rotation rotation = {0};

	TRY(rotate(r, KT_ROTATION_MASTER, NULL, 3600, &rotation));
	r->totals->rollbacks++;
	return kt_rotation_rollback(r->vault, &rotation.id, NULL, &rotation);
}

static enum kt_err for_good(struct round *r)
{
	struct kt_rotation rotation = {0};

	TRY(rotate(r, KT_ROTATION_MASTER, NULL, 3600, &rotation));
	TRY(kt_rotation_finish(r->vault, &rotation.id, true, NULL, &rotation));
	r->totals->destroyed++;
	return kt_master_destroy(r->vault, rotation.leg[0].old_key.version,
				 true);
}

/* A project's cut-over revokes its access tokens, and no rollback gives them
 * back. */
static enum kt_err rotate_project(struct round *r, const char *project,
				  bool back)
{
	uint32_t *token = &r->token[strcmp(project, "kept") == 0 ? 0 : 1];
	struct kt_rotation rotation = {0};

	TRY(rotate(r, KT_ROTATION_PROJECT, project, back ? 3600 : 0,
		   &rotation));
	*round_add_event(&r->history) = (struct event){
		.kind = EVENT_REVOKE,
		.process = PARENT,
		.key = NO_KEY,
		.token = *token,
		.invoked = r->cut_over[0],
		.responded = r->cut_over[1],
	};
	r->totals->revocations++;
	if (back) {
		r->totals->rollbacks++;
		TRY(kt_rotation_rollback(r->vault, &rotation.id, NULL,
					 &rotation));
	}
	return publish_token(r, *token + 2);
}

static enum kt_err rotate_all(struct round *r)
{
	for (int n = 0; goes_on(r); n++) {
		TRY(there_and_back(r));
		TRY(rotate_project(r, "kept", n % 2 == 1));
		TRY(for_good(r));
		TRY(rotate_project(r, "gone", n % 2 == 0));
	}
	return KT_OK;
}

/* --- the end -----------------------------------------------------------------
 */

/* Every version of a kept key, as it is there now. */
static enum kt_err read_versions(struct round *r, uint32_t key)
{
	enum kt_err err = KT_OK;

	for (int64_t version = 1; err == KT_OK; version++) {
		CLEANUP(kt_secret_done) struct kt_secret value = {0};
		struct event e = {.kind = EVENT_VERSION,
				  .process = PARENT,
				  .key = key,
				  .version = version,
				  .invoked = history_now()};

		err = kt_secret_get(r->vault, key_project(key), key_name(key),
				    version, &value);
		if (err != KT_OK)
			break;
		e.value = value_number(&value);
		e.responded = history_now();
		*round_add_event(&r->history) = e;
	}
	return err == KT_ERR_NOT_FOUND ? KT_OK : err;
}

/* And what is there now is read once more. */
static enum kt_err read_end(struct round *r, uint32_t key)
{
	CLEANUP(kt_secret_done) struct kt_secret value = {0};
	struct event e = {.kind = EVENT_READ,
			  .process = PARENT,
			  .key = key,
			  .invoked = history_now()};

	e.result = kt_secret_get(r->vault, key_project(key), key_name(key), 0,
				 &value);
	e.responded = history_now();
	if (e.result != KT_OK && e.result != KT_ERR_NOT_FOUND)
		return e.result;
	if (e.result == KT_OK)
		e.value = value_number(&value);
	*round_add_event(&r->history) = e;
	return key < KEPT_KEYS ? read_versions(r, key) : KT_OK;
}

static enum kt_err look_at_end(struct round *r)
{
	struct kt_audit_summary audit;

	for (uint32_t key = 0; key < KEYS; key++)
		TRY(read_end(r, key));
	TRY(kt_audit_verify(r->vault, &audit));
	return KT_OK;
}

static enum kt_err run(struct round *r, int64_t seconds)
{
	enum kt_err err;

	TRY(make_place(r));
	err = start_workers(r, seconds);
	if (err == KT_OK)
		err = await_workers(r);
	r->until = history_now() + seconds * SECOND;
	if (err == KT_OK)
		err = rotate_all(r);
	if (err != KT_OK)
		complain(&r->place, "a rotation", err);
	join_workers(r);
	return look_at_end(r);
}

void round_play(struct round *r, int64_t seconds)
{
	enum kt_err err = run(r, seconds);

	if (err != KT_OK)
		complain(&r->place, "the parent", err);
}
