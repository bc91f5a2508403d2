/*
 * The model test: random operations on a real vault, and beside them a model
 * in memory of what must be true. The model says what each call returns and
 * what is there afterwards; that it is simple enough to be believed is its
 * whole worth, so it knows no rows, no batches and no MACs, only keys, values,
 * access tokens, rotations and backups.
 *
 * An operation is made from the seed and its number alone, never from what
 * happened before. So operations can be left out of a run and the others stay
 * what they are, which is how a failing run is shrunk.
 */
#ifndef TESTS_TORTURE_MODEL_H
#define TESTS_TORTURE_MODEL_H

#include <stdio.h>

#include <keyturn/keyturn.h>

#include "base/cleanup.h"

#define PROJECTS 3
#define SECRETS 5
#define VERSIONS 6
#define KEYS 160     /* versions of one key */
#define ACCESSES 600 /* ever issued in a run */
#define RECORDS 64
#define BACKUPS 16 /* files that can be restored */
#define FILES 1024
#define OBJECTS 1024

/* The first len bytes of "vSEED\n" again and again: what `yes vSEED | head -c
 * LEN` writes. */
struct m_value {
	uint32_t seed, len;
};

struct m_secret {
	int versions; /* 0: not there */
	struct m_value value[VERSIONS];
};

struct m_key {
	bool proven, activated, retired, destroyed, compromised;
	int object; /* of a master key version, on the token; from 1 */
};

/* Version v is key[v]; key[0] is nothing. */
struct m_keys {
	int highest;
	struct m_key key[KEYS];
};

struct m_project {
	bool there;
	struct kt_id id;
	struct m_keys keys;
	struct m_secret secret[SECRETS];
};

/* A token that was once issued is tried for ever, also where a restore took
 * away that there is one. */
struct m_access {
	bool there, revoked;
	int project;
	struct kt_id owner;
	enum kt_access_scope scope;
	int64_t expires;
	char id[KT_ACCESS_ID_LEN + 1];
	char text[96]; /* "": nobody was told */
};

/* The newest rotation of a slot: 0 is the master's, 1 + p project p's. */
struct m_rotation {
	bool known, unfinished;
	struct kt_id id;
	enum kt_rotation_phase phase;
	bool grace; /* an hour, which never passes here; else none */
	int old_version, new_version;
};

#define SLOTS (1 + PROJECTS)

struct m_record {
	int number, file; /* file 0: not known yet */
	struct kt_id id;  /* as file; two records may be of one file */
	char versions[64];
};

struct model {
	bool recovery; /* recovery wraps are on */
	struct m_keys master;
	struct m_project project[PROJECTS];
	struct m_rotation rotation[SLOTS];
	int accesses;
	struct m_access access[ACCESSES];
	int records;
	struct m_record record[RECORDS];
};

/* model_state.c: each changes *m to what is true after a call that succeeds,
 * and leaves it alone where it says that the call fails. */
int serving(const struct m_keys *keys);
bool master_compromised(const struct model *m); /* the one that serves */
bool any_compromised(const struct model *m);
enum kt_err predict_set(struct model *m, int project, int secret,
			const struct m_value *value);
enum kt_err predict_get(const struct model *m, int project, int secret,
			int version);
enum kt_err predict_delete(struct model *m, int project, int secret);
enum kt_err predict_project_create(struct model *m, int project);
enum kt_err predict_project_delete(struct model *m, int project);
enum kt_err predict_access(const struct m_access *access, int64_t now);
void revoke_all(struct model *m, int project);
int values_of(const struct m_project *project);

/* model_rotation.c */
struct m_keys *slot_keys(struct model *m, int slot);
enum kt_err predict_start(struct model *m, int slot, bool grace, int *objects);
enum kt_err predict_resume(struct model *m, int slot);
enum kt_err predict_rollback(struct model *m, int slot);
enum kt_err predict_finish(struct model *m, int slot, bool now);
enum kt_err predict_mark(struct model *m, int slot, int version);
enum kt_err predict_leave(struct model *m, int slot, int version, int *objects);
enum kt_err predict_destroy(struct model *m, int version, bool ignore_backups);
void rotation_advance(struct model *m, int slot, enum kt_rotation_phase phase);
/* A rotation that a crash or a stop left: on the way from before to after. */
bool rotation_between(const struct m_rotation *before,
		      const struct m_rotation *seen,
		      const struct m_rotation *after);
bool any_unfinished(const struct model *m);

enum op_kind {
	OP_SET,
	OP_GET,
	OP_DELETE,
	OP_IMPORT,
	OP_PROJECT_CREATE,
	OP_PROJECT_DELETE,
	OP_ISSUE,
	OP_REVOKE,
	OP_USE,
	OP_ROTATE,
	OP_RESUME,
	OP_ROLLBACK,
	OP_FINISH,
	OP_MARK,
	OP_LEAVE,
	OP_REENCRYPT,
	OP_DESTROY,
	OP_DRY_RUN,
	OP_BACKUP,
	OP_BACKUP_VERIFY,
	OP_RESTORE,
	OP_FORGET,
	OP_SECOND_OPERATOR,
	OP_REOPEN,
	OP_COMPARE,
	OP_KIND_MAX_
};

/* In this process; or by the command, which dies at a crash point or after a
 * while. */
enum op_how { IN_PROCESS, AT_POINT, AFTER_A_WHILE };

struct op {
	enum op_kind kind;
	enum op_how how;
	int project, secret, slot;
	uint32_t pick;  /* which of those there are */
	uint32_t flag;  /* bits: what kinds have options for */
	uint32_t batch; /* rows */
	uint32_t stop;  /* at this batch edge; 0: never */
	uint32_t point, pass, delay_us;
	struct m_value value;
};

/* model_ops.c */
struct op op_make(uint64_t seed, uint32_t number);
const char *op_name(enum op_kind kind);
/* The text of value; the caller frees it. */
char *value_text(const struct m_value *value);

struct counts {
	uint32_t failed;   /* the step that did */
	char finding[256]; /* its line without its numbers; "": it died */
	long steps, crashes, rotations, rollbacks, restores, compares, values;
	long torn; /* times that SoftHSM tore its token file */
};

struct backup {
	int file; /* 0: this place is free */
	char versions[64];
	struct model *state;
};

/* A key object on the token. */
enum object { OBJECT_THERE, OBJECT_UNSURE, OBJECT_GONE };

struct run {
	char folder[64], store[128], bin[256];
	struct kt_params params;
	struct kt_vault *vault;
	struct model model;
	struct model before, after; /* the operation at work, as predicted */
	int files;                  /* paths that backups ever had; from 1 */
	char *path[FILES];
	struct backup backup[BACKUPS];
	int records; /* ever made */
	int objects; /* master keys ever planned */
	enum object object[OBJECTS];
	uint32_t step;
	FILE *script;     /* NULL: nobody reads along */
	bool writing;     /* a line of it, now */
	const char *what; /* the operation at work, for a finding */
	struct counts counts;
};

/* Prints it; false, so that it can be returned. */
bool finding(struct run *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* The call returned what the model said. */
bool expect_code(struct run *r, enum kt_err want, enum kt_err got);

/* Ends the program with errno where something is not keyturn's fault. */
void require(bool held, const char *what);

/* model_place.c: everything below one folder. Failures that are not keyturn's
 * end the program. */
void place_make(struct run *r, uint64_t seed);
void place_remove(struct run *r);
void vault_open(struct run *r);
void vault_close(struct run *r);
int file_new(struct run *r, const char *path);
int file_number(struct run *r, const char *path); /* 0: unknown */
void file_write(struct run *r, const char *name, const char *text, size_t len);

/* model_process.c. Waits for a program; its status as of waitpid(). */
int program_run(const struct run *r, const char *const *argv);
/* So that it can be put back. */
void keep_token_file(const struct run *r);
/* A command of keyturn, its output in a file. */
struct command {
	const char *argv[20];
	int argc;
	char text[20][256];
	char crash[96]; /* KEYTURN_CRASH; "": none */
};
void command_add(struct command *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
pid_t command_start(struct run *r, const struct command *c);
/* Waits as waitpid() does; after a death the token is whole again. */
int command_wait(struct run *r, pid_t pid, int options);
void command_output(struct run *r);
/* One that this operation may pass. */
const char *crash_point(struct run *r, const struct op *op);
bool checker_run(struct run *r);

/* model_command.c: the same operation for the command. False where there is
 * nothing that it could be about. Writes the script too. */
bool command_make(struct run *r, const struct op *op, struct command *ret);

/* Each runs one operation; false after a finding. */
bool run_secret(struct run *r, const struct op *op); /* model_secret.c */
bool run_project(struct run *r, const struct op *op);
bool run_access(struct run *r, const struct op *op);     /* model_access.c */
bool run_rotation(struct run *r, const struct op *op);   /* model_turn.c */
bool run_backup(struct run *r, const struct op *op);     /* model_backup.c */
bool run_by_command(struct run *r, const struct op *op); /* model_crash.c */

/* model_secret.c: of an import, which writes some of the secrets. */
struct m_import {
	int count, secret[SECRETS];
	struct m_value value[SECRETS];
};
void import_make(const struct model *m, const struct op *op,
		 struct m_import *ret);
enum kt_err predict_import(struct model *m, int project,
			   const struct m_import *import);

/* model_access.c: the token that op is about; NULL: there is none yet. */
struct m_access *access_pick(struct model *m, const struct op *op);
enum kt_err predict_issue(struct model *m, const struct op *op);
enum kt_err predict_revoke(struct model *m, const struct op *op);

/* model_turn.c: what the records of rotations say now, on top of *m. */
bool rotations_read(struct run *r, struct model *m);
/* Which keys are marked. */
bool marks_read(struct run *r, struct model *m);
bool rotations_as_predicted(struct run *r, bool interrupted);
/* The version that the operation is about, from the state before it. False
 * where none can be named. */
bool version_of(const struct run *r, const struct op *op, int *ret);
enum kt_err predict_turn(struct run *r, const struct op *op, struct model *m);

/* model_backup.c */
struct backup *backup_pick(struct run *r, const struct op *op);
struct m_record *record_pick(struct model *m, const struct op *op);
enum kt_err predict_create(struct run *r, struct model *m, int file);
enum kt_err predict_restore(struct run *r, const struct op *op, struct model *m,
			    bool *ret_unsure);
enum kt_err predict_forget(struct model *m, const struct op *op);
/* A file that may be restored later is a copy of state. */
void backup_keep(struct run *r, int file, const struct model *state,
		 const struct model *records);

/* model_learn.c: what only the vault knows of what was predicted. */
bool learn(struct run *r, struct model *m);
bool is_record(const struct m_record *record, const struct kt_backup *backup);

/* model_compare.c: everything that can be listed; why not, into why. */
bool lists_match(struct run *r, const struct model *m, char why[512]);
bool expect_lists(struct run *r, const struct model *m);

/* model_values.c */
bool values_match(struct run *r, struct kt_vault *vault, int project,
		  char why[512]);
bool compare_all(struct run *r);

#endif
