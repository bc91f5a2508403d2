/*
 * The doctor opens a vault step by step and runs every check whose needs are
 * met, so that it has something to say even where the vault does not open. It
 * tries the PIN once, like any command.
 */
#include "core/doctor.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/text.h"

__attribute__((format(printf, 3, 0))) static void set(
	struct finding *f, enum kt_check_result result, const char *format,
	va_list args)
{
	f->result = result;
	vsnprintf(f->detail, sizeof(f->detail), format, args);
}

void finding_set(struct finding *f, enum kt_check_result result,
		 const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set(f, result, format, args);
	va_end(args);
}

enum kt_err finding_ok(struct finding *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set(f, KT_CHECK_OK, format, args);
	va_end(args);
	return KT_OK;
}

enum kt_err finding_warn(struct finding *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set(f, KT_CHECK_WARN, format, args);
	va_end(args);
	return KT_OK;
}

enum kt_err finding_fail(struct finding *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	set(f, KT_CHECK_FAIL, format, args);
	va_end(args);
	return KT_OK;
}

void finding_fix(struct finding *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->fix, sizeof(f->fix), format, args);
	va_end(args);
}

enum kt_err file_guarded(const char *path, mode_t refused, struct finding *ret)
{
	struct stat st;
	bool secret = refused != REFUSE_WRITERS;

	if (stat(path, &st) != 0)
		return err_errno("%s", path);
	if (st.st_uid != 0 && st.st_uid != geteuid()) {
		finding_fix(ret, "chown %s %s", secret ? "$USER" : "root",
			    path);
		return finding_fail(ret, "%s belongs to user %u", path,
				    (unsigned)st.st_uid);
	}
	if ((st.st_mode & refused) != 0) {
		finding_fix(ret, "chmod %s %s", secret ? "go-rwx" : "go-w",
			    path);
		return finding_fail(ret, "%s has mode %04o", path,
				    (unsigned)st.st_mode & 07777);
	}
	return finding_ok(ret, "%s has mode %04o", path,
			  (unsigned)st.st_mode & 07777);
}

static enum kt_err keys_query(struct doctor *doctor, enum store_query which,
			      int64_t role, struct query **ret)
{
	if (which == Q_KEYS_BY_ROLE)
		return query_start(doctor->vault->store, which, ret, "i", role);
	return query_start(doctor->vault->store, which, ret, "");
}

enum kt_err doctor_keys(struct doctor *doctor, enum store_query which,
			int64_t role, struct key_row **ret, size_t *ret_count)
{
	CLEANUP(query_donep) struct query *query = NULL;
	CLEANUP(freep) struct key_row *keys = NULL;
	struct key_row key;
	size_t count = 0;
	enum kt_err err;

	TRY(keys_query(doctor, which, role, &query));
	while ((err = query_next(query, &key)) == KT_OK) {
		/* A power of two says that the room is full. */
		if ((count & (count - 1)) == 0) {
			size_t room = count > 0 ? 2 * count : 1;
			struct key_row *more =
				reallocarray(keys, room, sizeof(*keys));

			if (more == NULL)
				return err_memory();
			keys = more;
		}
		keys[count++] = key;
	}
	if (err != KT_ERR_NOT_FOUND)
		return err;
	*ret = TAKE(keys);
	*ret_count = count;
	return KT_OK;
}

struct key_text key_text(const struct key_row *key)
{
	struct key_text ret;
	char id[KT_ID_TEXT_LEN + 1];

	kt_id_format(&key->id, id);
	snprintf(ret.text, sizeof(ret.text), "%s key version %lld (%s)",
		 kt_key_role_name((enum kt_key_role)key->role),
		 (long long)key->version, id);
	return ret;
}

static bool reachable(const struct doctor *d, enum check_need need)
{
	switch (need) {
	case NEED_NOTHING:
		return true;
	case NEED_STORE:
		return d->vault != NULL && d->vault->store != NULL;
	case NEED_TOKEN:
		return d->vault != NULL && d->vault->token != NULL;
	case NEED_VAULT:
		return d->unlocked;
	}
	return false;
}

static enum kt_err report(struct doctor *d, const char *id, const char *title,
			  const struct finding *f)
{
	struct kt_check check = {
		.id = id,
		.title = title,
		.result = f->result,
		.detail = f->detail,
		.fix = f->result == KT_CHECK_OK ? "" : f->fix,
	};

	d->ran++;
	d->failed += f->result == KT_CHECK_FAIL;
	return d->each(d->arg, &check);
}

static enum kt_err run_check(struct doctor *d, const struct check *check)
{
	struct finding finding = {0};

	text_cut(finding.fix, sizeof(finding.fix), check->fix);
	if (check->run(d, &finding) != KT_OK)
		finding_set(&finding, KT_CHECK_FAIL, "%s", kt_err_detail());
	return report(d, check->id, check->title, &finding);
}

static enum kt_err run_checks(struct doctor *d, const struct check *checks,
			      size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (reachable(d, checks[i].need))
			TRY(run_check(d, &checks[i]));
	}
	return KT_OK;
}

/* An opening step is a check too. */
static enum kt_err report_step(struct doctor *d, const char *id,
			       const char *title, enum kt_err err,
			       const char *fix)
{
	struct finding finding = {0};

	if (err == KT_OK) {
		finding_set(&finding, KT_CHECK_OK, "yes");
	} else {
		finding_set(&finding, KT_CHECK_FAIL, "%s", kt_err_detail());
		finding_fix(&finding, "%s%s%s", fix,
			    kt_err_hint()[0] != '\0' ? "; " : "",
			    kt_err_hint());
	}
	return report(d, id, title, &finding);
}

/* A database that has no vault row is no use, but its file can be looked at. */
static enum kt_err open_store(struct doctor *d, bool *ret_opened)
{
	enum kt_err err = vault_open_store(d->vault);

	*ret_opened = err == KT_OK;
	return report_step(d, "D28", "the database opens", err,
			   "name the right database with --store, or restore a "
			   "backup");
}

static enum kt_err open_token(struct doctor *d, bool *ret_opened)
{
	enum kt_err err = token_open(&d->vault->token_params, &d->vault->token);

	*ret_opened = err == KT_OK;
	return report_step(d, "D04", "the token opens and takes the PIN", err,
			   "name the right token and module with --token, and "
			   "a source of the right PIN");
}

static enum kt_err unlock(struct doctor *d)
{
	enum kt_err err = vault_unlock(d->vault);

	d->unlocked = err == KT_OK;
	return report_step(d, "D24", "the row-MAC key unlocks the vault", err,
			   "use the token and the database that belong "
			   "together");
}

static enum kt_err open_vault(struct doctor *d)
{
	bool store;
	bool token;

	TRY(open_store(d, &store));
	TRY(open_token(d, &token));
	return store && token ? unlock(d) : KT_OK;
}

static enum kt_err run_all(struct doctor *d)
{
	TRY(run_checks(d, doctor_host_checks, doctor_host_count));
	TRY(open_vault(d));
	TRY(run_checks(d, doctor_token_checks, doctor_token_count));
	TRY(run_checks(d, doctor_store_checks, doctor_store_count));
	return run_checks(d, doctor_row_checks, doctor_row_count);
}

enum kt_err kt_doctor(const struct kt_params *params,
		      enum kt_err (*each)(void *arg,
					  const struct kt_check *check),
		      void *arg)
{
	CLEANUP(kt_vault_closep) struct kt_vault *vault = NULL;
	struct doctor doctor = {.params = params, .each = each, .arg = arg};

	TRY(vault_new(params, &vault));
	doctor.vault = vault;
	TRY(run_all(&doctor));
	if (doctor.failed == 0)
		return KT_OK;
	return err_raise(KT_ERR_ATTENTION, "%zu of %zu checks failed",
			 doctor.failed, doctor.ran);
}
