/*
 * Checks of the database as a file, and of what stands in it about time.
 */
#include "core/doctor.h"
#include "core/rotation.h"

#include <limits.h>
#include <string.h>
#include <sys/statvfs.h>

#include <keyturn/audit.h>
#include <keyturn/rotation.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/text.h"

static enum kt_err journal(struct doctor *d, struct finding *ret)
{
	struct store_info info;

	TRY(store_info(d->vault->store, &info));
	if (info.wal_reset_bug && strcasecmp(info.journal_mode, "wal") == 0)
		return finding_fail(ret, "%s can lose a commit in WAL mode",
				    info.library);
	return finding_ok(ret, "%s, journal %s, synchronous %s, schema %lld",
			  info.library, info.journal_mode, info.synchronous,
			  (long long)info.schema);
}

static enum kt_err structure(struct doctor *d, struct finding *ret)
{
	TRY(store_check(d->vault->store));
	return finding_ok(ret, "the database's own check finds nothing");
}

static enum kt_err permissions(struct doctor *d, struct finding *ret)
{
	const char *path = d->params->store_path;
	char dir[PATH_MAX];

	TRY(dir_of(path, dir, sizeof(dir)));
	TRY(file_guarded(dir, REFUSE_READERS, ret));
	if (ret->result != KT_CHECK_OK)
		return KT_OK;
	return file_guarded(path, REFUSE_READERS, ret);
}

static enum kt_err free_space(struct doctor *d, struct finding *ret)
{
	struct store_info info;
	struct statvfs fs;
	uint64_t space;

	TRY(store_info(d->vault->store, &info));
	if (statvfs(d->params->store_path, &fs) != 0)
		return err_errno("%s", d->params->store_path);
	space = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (space < 2 * (uint64_t)info.size)
		return finding_fail(ret, "%llu KiB free for a database of %lld",
				    (unsigned long long)space / 1024,
				    (long long)info.size / 1024);
	return finding_ok(ret, "%llu MiB free",
			  (unsigned long long)space >> 20);
}

static enum kt_err audit(struct doctor *d, struct finding *ret)
{
	struct kt_audit_summary summary;

	TRY(kt_audit_verify(d->vault, &summary));
	return finding_ok(
		ret, "%s, %s, head %s",
		text_counted(summary.entries, "entry", "entries").text,
		text_counted(summary.checkpoints, "checkpoint", "checkpoints")
			.text,
		summary.head);
}

static enum kt_err rotation(struct doctor *d, struct finding *ret)
{
	struct rotation_row row;
	char id[KT_ID_TEXT_LEN + 1];
	char age[DURATION_TEXT_LEN + 1];
	enum kt_err err = rotation_current(d->vault, &row);

	if (err == KT_ERR_NOT_FOUND)
		return finding_ok(ret, "none");
	TRY(err);
	kt_id_format(&row.id, id);
	duration_format(clock_now() - row.planned, age);
	return finding_warn(ret, "%s of %s, begun %s ago by %s", id,
			    row.kind == KT_ROTATION_MASTER ? "the master key"
							   : "a project",
			    age, row.operator_name);
}

static enum kt_err clock_sane(struct doctor *d, struct finding *ret)
{
	struct audit_head_row head;
	struct audit_row last;
	char time[TIME_TEXT_LEN + 1];

	TRY(query_one(d->vault->store, Q_AUDIT_HEAD, &head, ""));
	TRY(query_one(d->vault->store, Q_AUDIT, &last, "i", head.seq));
	time_format(last.time, time);
	if (clock_now() < last.time)
		return finding_fail(ret,
				    "the last audit entry is of %s, "
				    "later than now",
				    time);
	return finding_ok(ret, "the last audit entry is of %s", time);
}

const struct check doctor_store_checks[] = {
	{"D28", "journal mode suits the library", NEED_STORE, journal,
	 "use SQLite 3.51.3 or later"},
	{"D28", "database structure", NEED_STORE, structure,
	 "restore a backup of the database"},
	{"D28", "database file is private", NEED_STORE, permissions,
	 "mode 0600 for the file, 0700 for its directory"},
	{"D28", "room for a rotation", NEED_STORE, free_space,
	 "make room on the file system of the database"},
	{"D32", "audit chain", NEED_VAULT, audit,
	 "find out who changed the database; compare it with a backup"},
	{"D33", "no unfinished rotation", NEED_VAULT, rotation,
	 "'keyturn master resume' or 'rollback', or 'finish' after the "
	 "grace time"},
	{"D37", "clock", NEED_VAULT, clock_sane,
	 "set the clock; access tokens expire by it"},
};

const size_t doctor_store_count =
	sizeof(doctor_store_checks) / sizeof(doctor_store_checks[0]);
