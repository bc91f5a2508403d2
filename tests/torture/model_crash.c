/*
 * Operations by the command in a process of its own, which is killed: at a
 * crash point, or after a while wherever it is then. Afterwards what the
 * operation would have done is there, or is not, and nothing else changed; a
 * rotation is somewhere on its way. And a second operator, who finds the first
 * one's process stopped in the middle: refused until it is gone.
 */
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/torture/model.h"

static bool turns(enum op_kind kind)
{
	return kind == OP_ROTATE || kind == OP_RESUME || kind == OP_ROLLBACK ||
	       kind == OP_FINISH || kind == OP_LEAVE;
}

/* `project rotate` goes on with what it finds interrupted. */
static enum kt_err predict_rotate(struct run *r, const struct op *op,
				  struct model *m)
{
	const struct m_rotation *rotation = &m->rotation[op->slot];

	if (op->slot == 0 || !rotation->unfinished)
		return predict_turn(r, op, m);
	return rotation->phase == KT_ROTATION_DRAINING
		       ? KT_ERR_CONFLICT
		       : predict_resume(m, op->slot);
}

/* The command marks a key before it leaves it. */
static enum kt_err predict(struct run *r, const struct op *op, bool *unsure)
{
	struct model *m = &r->after;
	struct m_import import;
	enum kt_err err;
	int version;

	*unsure = false;
	if (op->kind == OP_SET)
		return predict_set(m, op->project, op->secret, &op->value);
	if (op->kind == OP_DELETE)
		return predict_delete(m, op->project, op->secret);
	if (op->kind == OP_PROJECT_CREATE)
		return predict_project_create(m, op->project);
	if (op->kind == OP_PROJECT_DELETE)
		return predict_project_delete(m, op->project);
	if (op->kind == OP_ISSUE)
		return predict_issue(m, op);
	if (op->kind == OP_REVOKE)
		return predict_revoke(m, op);
	if (op->kind == OP_FORGET)
		return predict_forget(m, op);
	if (op->kind == OP_BACKUP)
		return predict_create(r, m, r->files);
	if (op->kind == OP_RESTORE)
		return predict_restore(r, op, m, unsure);
	if (op->kind == OP_IMPORT) {
		import_make(m, op, &import);
		return predict_import(m, op->project, &import);
	}
	if (op->kind == OP_ROTATE)
		return predict_rotate(r, op, m);
	if (op->kind != OP_LEAVE)
		return predict_turn(r, op, m);
	(void)version_of(r, op, &version);
	err = predict_mark(m, op->slot, version);
	return err == KT_OK ? predict_turn(r, op, m) : err;
}

static bool settle_turn(struct run *r, const struct op *op, bool whole)
{
	if (op->kind == OP_LEAVE && !marks_read(r, &r->model))
		return false;
	return rotations_read(r, &r->model) &&
	       rotations_as_predicted(r, !whole) && expect_lists(r, &r->model);
}

static bool settle_reencryption(struct run *r)
{
	return marks_read(r, &r->model) && rotations_read(r, &r->model) &&
	       expect_lists(r, &r->model);
}

/* Between the intent and the outcome the object may be gone. */
static bool settle_destruction(struct run *r, const struct op *op,
			       enum kt_err want)
{
	char why[512];
	int version;

	if (want == KT_OK && version_of(r, op, &version)) {
		int object = r->model.master.key[version].object;

		if (lists_match(r, &r->after, why)) {
			r->object[object] = OBJECT_GONE;
			r->model = r->after;
			return true;
		}
		r->object[object] = OBJECT_UNSURE;
	}
	return expect_lists(r, &r->model);
}

/* A copy without a record is nobody's. */
static void settle_files(struct run *r, const struct op *op, bool done)
{
	if (op->kind == OP_BACKUP && !done)
		unlink(r->path[r->files]);
	if (op->kind == OP_BACKUP && done)
		backup_keep(r, r->files, &r->before, &r->model);
	if (op->kind == OP_RESTORE && done)
		backup_keep(r, r->model.record[r->model.records - 1].file,
			    &r->before, &r->model);
	r->counts.restores += op->kind == OP_RESTORE && done;
}

/* All of it or nothing of it. */
static bool settle_whole(struct run *r, const struct op *op, enum kt_err want,
			 bool whole)
{
	char not_before[512], not_after[512];
	bool may_be_before = !whole || want != KT_OK;
	bool may_be_after = want == KT_OK;

	if (may_be_before && lists_match(r, &r->before, not_before)) {
		settle_files(r, op, false);
		return true;
	}
	if (!may_be_after)
		return finding(r, "refused, and yet: %s", not_before);
	if (!learn(r, &r->after))
		return false;
	if (!lists_match(r, &r->after, not_after))
		return finding(r, "neither as before (%s) nor done (%s)",
			       may_be_before ? not_before : "it said so",
			       not_after);
	r->model = r->after;
	settle_files(r, op, true);
	return true;
}

static bool values_still_match(struct run *r, const struct op *op)
{
	int project =
		turns(op->kind) && op->slot > 0 ? op->slot - 1 : op->project;
	char why[512];

	return !r->model.project[project].there ||
	       values_match(r, r->vault, project, why) || finding(r, "%s", why);
}

static bool settle(struct run *r, const struct op *op, enum kt_err want,
		   bool whole)
{
	bool good;

	if (turns(op->kind))
		good = settle_turn(r, op, whole);
	else if (op->kind == OP_REENCRYPT)
		good = settle_reencryption(r);
	else if (op->kind == OP_DESTROY)
		good = settle_destruction(r, op, want);
	else
		good = settle_whole(r, op, want, whole);
	return good && values_still_match(r, op);
}

/* What refuses says so with one of the statuses of a refusal. */
static bool status_is_right(struct run *r, const struct op *op, int status,
			    enum kt_err want, bool unsure)
{
	int ended = WIFEXITED(status) ? WEXITSTATUS(status) : -1;

	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
		return true;
	if (op->kind == OP_REENCRYPT || unsure ||
	    (op->kind == OP_DESTROY && want == KT_OK))
		want = ended == 0 ? KT_OK : KT_ERR_CONFLICT;
	if (want == KT_OK ? ended == 0 : ended >= 3 && ended <= 6)
		return true;
	command_output(r);
	return finding(r, "the command ended with status %d, not for '%s'",
		       ended, kt_err_name(want));
}

static bool crash(struct run *r, const struct op *op, struct command *c)
{
	enum kt_err want;
	bool unsure;
	int status;
	pid_t pid;

	r->after = r->model;
	want = predict(r, op, &unsure);
	if (op->how == AT_POINT)
		snprintf(c->crash, sizeof(c->crash), "%s:%u:KILL",
			 crash_point(r, op), op->pass);
	if (op->kind == OP_RESTORE || op->flag & 2)
		vault_close(r);
	pid = command_start(r, c);
	if (op->how == AFTER_A_WHILE) {
		usleep(op->delay_us);
		kill(pid, SIGKILL);
	}
	status = command_wait(r, pid, 0);
	vault_open(r);
	r->counts.crashes += WIFSIGNALED(status);
	return status_is_right(r, op, status, want, unsure) &&
	       settle(r, op, want, WIFEXITED(status) && status == 0);
}

/* Where the first one holds neither the database nor the token. */
static const char *const stops[] = {"plan.committed", "run.step",
				    "sweep.committed", "remove.committed"};

#define STOPS (sizeof(stops) / sizeof(stops[0]))

static bool is_refused(struct run *r, const struct op *op)
{
	const struct kt_id *id = &r->model.rotation[op->slot].id;
	const struct backup *backup = backup_pick(r, op);
	const struct kt_restore_options options = {.replace_newer = true};
	struct kt_restore_plan plan;
	struct kt_rotation rotation;

	if (!expect_code(
		    r, KT_ERR_BUSY,
		    kt_rotation_resume(r->vault, id, NULL, NULL, &rotation)) ||
	    !expect_code(r, KT_ERR_BUSY,
			 kt_rotation_rollback(r->vault, id, NULL, &rotation)) ||
	    !expect_code(r, KT_ERR_BUSY,
			 kt_rotation_start(r->vault, KT_ROTATION_MASTER, NULL,
					   NULL, NULL, &rotation)))
		return false;
	if (strstr(kt_err_detail(), "since") == NULL)
		return finding(r, "refused without a name: %s",
			       kt_err_detail());
	return backup == NULL || op->flag % 8 != 0 ||
	       expect_code(r, KT_ERR_BUSY,
			   kt_backup_restore(&r->params, r->path[backup->file],
					     &options, NULL, &plan));
}

/* I12: what is written meanwhile is covered. */
static bool work_meanwhile(struct run *r, const struct op *op)
{
	struct op set = *op;

	set.kind = r->model.project[op->project].secret[op->secret].versions ==
				   VERSIONS
			   ? OP_DELETE
			   : OP_SET;
	if (!run_secret(r, &set))
		return false;
	set.kind = OP_GET;
	return run_secret(r, &set);
}

static bool meanwhile(struct run *r, const struct op *op)
{
	enum kt_rotation_phase end = r->after.rotation[op->slot].phase;

	if (!rotations_read(r, &r->model) || !rotations_as_predicted(r, true) ||
	    !is_refused(r, op) || !work_meanwhile(r, op))
		return false;
	r->before = r->after = r->model;
	rotation_advance(&r->after, op->slot, end);
	return true;
}

static bool second_operator(struct run *r, const struct op *op,
			    struct command *c)
{
	enum kt_err want;
	bool unsure, good = true;
	int status;
	pid_t pid;

	r->after = r->model;
	want = predict(r, op, &unsure);
	snprintf(c->crash, sizeof(c->crash), "%s:%u:STOP",
		 stops[op->point % STOPS], op->pass);
	pid = command_start(r, c);
	status = command_wait(r, pid, WUNTRACED);
	if (WIFSTOPPED(status)) {
		good = meanwhile(r, op);
		kill(pid, op->flag & 2 ? SIGKILL : SIGCONT);
		status = command_wait(r, pid, 0);
		r->counts.crashes += WIFSIGNALED(status);
	}
	return good && status_is_right(r, op, status, want, unsure) &&
	       settle(r, op, want, WIFEXITED(status) && status == 0);
}

bool run_by_command(struct run *r, const struct op *op)
{
	bool beside = op->kind == OP_SECOND_OPERATOR;
	struct op first = *op;
	struct command c;

	if (beside)
		first.kind = r->model.rotation[op->slot].unfinished ? OP_RESUME
								    : OP_ROTATE;
	if (!command_make(r, &first, &c))
		return true;
	return beside ? second_operator(r, &first, &c) : crash(r, &first, &c);
}
