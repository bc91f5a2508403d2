/*
 * An operation as the command line that does it: for a child that is to crash,
 * and for the script that a person can run.
 */
#include <stdarg.h>
#include <string.h>

#include "tests/torture/model.h"

/* The text of a value in quotes of a .env file, its newlines as \n. */
static size_t env_line(char *at, size_t size, int secret,
		       const struct m_value *value)
{
	CLEANUP(freep) char *text = value_text(value);
	int len = snprintf(at, size, "s%d=\"", secret);
	size_t used = (size_t)len;

	for (uint32_t i = 0; i < value->len; i++)
		used += (size_t)snprintf(at + used, size - used,
					 text[i] == '\n' ? "\\n" : "%c",
					 text[i]);
	return used + (size_t)snprintf(at + used, size - used, "\"\n");
}

static void import_file(struct run *r, const struct m_import *import)
{
	char text[SECRETS * 512];
	size_t used = 0;

	for (int i = 0; i < import->count; i++)
		used += env_line(text + used, sizeof(text) - used,
				 import->secret[i], &import->value[i]);
	file_write(r, "import.env", text, used);
	if (r->writing)
		fprintf(r->script, "cat >import.env <<'END'\n%.*sEND\n",
			(int)used, text);
}

static void value_file(struct run *r, const struct op *op)
{
	CLEANUP(freep) char *text = value_text(&op->value);

	file_write(r, "value", text, op->value.len);
	if (r->writing)
		fprintf(r->script, "yes v%u | head -c %u >value\n",
			op->value.seed, op->value.len);
}

static void pace(struct command *c, const struct op *op)
{
	command_add(c, "--batch-size");
	command_add(c, "%u", op->batch);
	command_add(c, "--jobs");
	command_add(c, "1");
}

static bool make_import(struct run *r, const struct op *op, struct command *c)
{
	struct m_import import;

	import_make(&r->model, op, &import);
	if (import.count == 0)
		return false;
	import_file(r, &import);
	command_add(c, "secret");
	command_add(c, "import");
	command_add(c, "p%d", op->project);
	command_add(c, "%s/import.env", r->folder);
	return true;
}

static bool make_secret(struct run *r, const struct op *op, struct command *c)
{
	command_add(c, "secret");
	command_add(c, op->kind == OP_SET   ? "set"
		       : op->kind == OP_GET ? "get"
					    : "delete");
	command_add(c, "p%d/s%d", op->project, op->secret);
	if (op->kind == OP_SET) {
		command_add(c, "--from");
		command_add(c, "%s/value", r->folder);
		value_file(r, op);
	} else if (op->kind == OP_GET && op->pick % (VERSIONS + 1) != 0) {
		command_add(c, "--version");
		command_add(c, "%u", op->pick % (VERSIONS + 1));
	} else if (op->kind == OP_DELETE) {
		command_add(c, "--confirm");
		command_add(c, "s%d", op->secret);
	}
	return true;
}

static bool make_project(const struct op *op, struct command *c)
{
	command_add(c, "project");
	command_add(c, op->kind == OP_PROJECT_CREATE ? "create" : "delete");
	command_add(c, "p%d", op->project);
	if (op->kind == OP_PROJECT_DELETE) {
		command_add(c, "--confirm");
		command_add(c, "p%d", op->project);
	}
	return true;
}

static bool make_access(struct run *r, const struct op *op, struct command *c)
{
	const struct m_access *access = access_pick(&r->model, op);

	if (op->kind == OP_REVOKE && access == NULL)
		return false;
	command_add(c, "access");
	if (op->kind == OP_REVOKE) {
		command_add(c, "revoke");
		command_add(c, "%s", access->id);
		return true;
	}
	command_add(c, "issue");
	command_add(c, "p%d", op->project);
	command_add(c, "--scope");
	command_add(c, op->flag & 1 ? "write" : "read");
	command_add(c, "--expires");
	command_add(c, op->pick % 4 == 0 ? "1s" : "1h");
	return r->model.accesses < ACCESSES;
}

static bool make_rotate(const struct op *op, struct command *c)
{
	command_add(c, op->slot == 0 ? "master" : "project");
	command_add(c, "rotate");
	if (op->slot > 0) {
		command_add(c, "p%d", op->slot - 1);
		command_add(c, "--no-token");
	}
	if (op->kind == OP_DRY_RUN)
		command_add(c, "--dry-run");
	command_add(c, "--yes");
	command_add(c, "--grace");
	command_add(c, op->flag & 1 ? "1h" : "0");
	pace(c, op);
	return true;
}

static bool make_unfinished(struct run *r, const struct op *op,
			    struct command *c)
{
	const struct m_rotation *rotation = &r->model.rotation[op->slot];
	char id[KT_ID_TEXT_LEN + 1];

	if (!rotation->known)
		return false;
	command_add(c, "rotation");
	command_add(c, op->kind == OP_RESUME     ? "resume"
		       : op->kind == OP_ROLLBACK ? "rollback"
						 : "finish");
	kt_id_format(&rotation->id, id);
	command_add(c, "%s", id);
	if (op->kind == OP_RESUME)
		pace(c, op);
	else
		command_add(c, "--yes");
	if (op->kind == OP_FINISH && op->flag & 1)
		command_add(c, "--now");
	return true;
}

static bool make_compromise(struct run *r, const struct op *op,
			    struct command *c)
{
	int version;

	if (!version_of(r, op, &version))
		return false;
	command_add(c, op->slot == 0 ? "master" : "project");
	command_add(c, "compromise");
	if (op->slot > 0)
		command_add(c, "p%d", op->slot - 1);
	command_add(c, "%d", version);
	command_add(c, "--reason");
	command_add(c, "model");
	command_add(c, "--yes");
	if (op->kind == OP_REENCRYPT)
		command_add(c, "--reencrypt");
	pace(c, op);
	return true;
}

static bool make_destroy(struct run *r, const struct op *op, struct command *c)
{
	int version;

	if (!version_of(r, op, &version))
		return false;
	command_add(c, "master");
	command_add(c, "destroy");
	command_add(c, "%d", version);
	command_add(c, "--confirm");
	command_add(c, "%d", version);
	command_add(c, "--yes");
	if (op->flag & 1)
		command_add(c, "--ignore-backups");
	return true;
}

static bool make_backup(struct run *r, const struct op *op, struct command *c)
{
	const struct backup *backup = backup_pick(r, op);
	const struct m_record *record = record_pick(&r->model, op);
	char text[KT_ID_TEXT_LEN + 1];

	if (r->model.records >= RECORDS - 3 || r->files >= FILES - 3)
		return false;
	command_add(c, "backup");
	if (op->kind == OP_BACKUP) {
		command_add(c, "create");
		command_add(c, "%s", r->path[r->files]);
		return true;
	}
	if (op->kind == OP_FORGET) {
		if (record == NULL)
			return false;
		kt_id_format(&record->id, text);
		command_add(c, "forget");
		command_add(c, "%s", text);
		command_add(c, "--confirm");
		command_add(c, "%s", text);
		return true;
	}
	if (backup == NULL)
		return false;
	command_add(c, op->kind == OP_RESTORE ? "restore" : "verify");
	command_add(c, "%s", r->path[backup->file]);
	if (op->kind == OP_RESTORE)
		command_add(c, "--yes");
	if (op->kind == OP_RESTORE && op->flag % 4 != 0)
		command_add(c, "--replace-newer");
	return true;
}

static bool make(struct run *r, const struct op *op, struct command *c)
{
	switch (op->kind) {
	case OP_SET:
	case OP_GET:
	case OP_DELETE:
		return make_secret(r, op, c);
	case OP_IMPORT:
		return make_import(r, op, c);
	case OP_PROJECT_CREATE:
	case OP_PROJECT_DELETE:
		return make_project(op, c);
	case OP_ISSUE:
	case OP_REVOKE:
		return make_access(r, op, c);
	case OP_ROTATE:
	case OP_DRY_RUN:
		return make_rotate(op, c);
	case OP_RESUME:
	case OP_ROLLBACK:
	case OP_FINISH:
		return make_unfinished(r, op, c);
	case OP_MARK:
	case OP_LEAVE:
	case OP_REENCRYPT:
		return make_compromise(r, op, c);
	case OP_DESTROY:
		return make_destroy(r, op, c);
	case OP_BACKUP:
	case OP_BACKUP_VERIFY:
	case OP_RESTORE:
	case OP_FORGET:
		return make_backup(r, op, c);
	case OP_USE:
	case OP_SECOND_OPERATOR:
	case OP_REOPEN:
	case OP_COMPARE:
	case OP_KIND_MAX_:
		break;
	}
	return false;
}

bool command_make(struct run *r, const struct op *op, struct command *ret)
{
	*ret = (struct command){0};
	return make(r, op, ret);
}
