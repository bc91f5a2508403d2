/*
 * keyturn backup: copies of the database. Keys of the token are not in them.
 */
#include "cli/commands.h"
#include "cli/table.h"

#define BACKUP(member) offsetof(struct backup_row, member)

struct backup_row {
	const char *path;
	struct kt_backup backup;
};

static const struct column columns[] = {
	{"path", "Path", COLUMN_TEXT, BACKUP(path)},
	{"created", "Created", COLUMN_TIME, BACKUP(backup.created)},
	{"size", "Bytes", COLUMN_INT, BACKUP(backup.size)},
	{"sha256", "SHA-256", COLUMN_CHARS, BACKUP(backup.sha256)},
};

static enum kt_err create_run(struct cli *cli, const void *opts,
			      const char *const *args)
{
	struct backup_row row = {.path = args[0]};
	struct kt_vault *vault;

	(void)opts;
	TRY(cli_vault(cli, &vault));
	TRY(kt_backup_create(vault, args[0], &row.backup));
	return screen_show(cli, columns, COLUMNS(columns), &row);
}

const struct command backup_create_command = {
	.path = "backup create",
	.arguments = "FILE",
	.help = "copy the database to a new file while it is in use",
	.details = "The copy opens only with the token whose master key wraps\n"
		   "it: back that up by your token's own means.\n",
	.examples = "keyturn backup create /backup/keyturn-$(date +%F).db\n",
	.lists = true,
	.run = create_run,
};
