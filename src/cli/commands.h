/*
 * Every command there is, one declaration a line. Its description stands at
 * the end of the file of its noun; main.c lists them in the order of the help.
 */
#ifndef CLI_COMMANDS_H
#define CLI_COMMANDS_H

#include "cli/cli.h"

extern const struct command init_command;   /* init.c */
extern const struct command status_command; /* status.c */
extern const struct command doctor_command; /* doctor.c */

extern const struct command project_create_command; /* project.c */
extern const struct command project_list_command;
extern const struct command project_show_command;
extern const struct command project_rotate_command;
extern const struct command project_delete_command;

extern const struct command access_issue_command; /* access.c */
extern const struct command access_list_command;
extern const struct command access_revoke_command;

extern const struct command secret_set_command; /* secret.c */
extern const struct command secret_get_command;
extern const struct command secret_list_command;
extern const struct command secret_delete_command;
extern const struct command secret_import_command;
extern const struct command secret_verify_command;

extern const struct command master_list_command; /* master.c */
extern const struct command master_show_command;
extern const struct command master_rotate_command;
extern const struct command master_resume_command;
extern const struct command master_rollback_command;
extern const struct command master_finish_command;
extern const struct command master_destroy_command;

extern const struct command master_verify_command; /* verify.c */
extern const struct command project_verify_command;

extern const struct command master_compromise_command; /* compromise.c */
extern const struct command project_compromise_command;

extern const struct command rotation_list_command; /* rotation.c */
extern const struct command rotation_show_command;
extern const struct command rotation_resume_command;
extern const struct command rotation_rollback_command;
extern const struct command rotation_finish_command;

extern const struct command audit_list_command; /* audit.c */
extern const struct command audit_verify_command;

extern const struct command token_bench_command; /* token_bench.c */

extern const struct command backup_create_command; /* backup.c */
extern const struct command backup_list_command;
extern const struct command backup_verify_command;
extern const struct command backup_restore_command;
extern const struct command backup_forget_command;

extern const struct command token_init_command; /* token.c */
extern const struct command token_attest_command;

extern const struct command help_command; /* help.c */
extern const struct command version_command;
extern const struct command commands_command; /* hidden: for the lint */
extern const struct command example_command;  /* hidden: makes conf/ */

extern const struct command crash_points_command; /* crash.c; hidden, not in
						   * every build */

extern const struct command completion_command; /* complete.c */
extern const struct command complete_command;   /* hidden: for the shells */

#endif
