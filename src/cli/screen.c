/*
 * Screens: lines of label and value, or one JSON object.
 */
#include "cli/screen.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cell.h"

#define FOLD_WIDTH 50

struct screen {
	json_t *object;              /* NULL without --json */
	struct libscols_table *text; /* two columns; NULL with --json */
	char last[64];               /* the section or list last added to */
};

void screen_free(struct screen *screen)
{
	if (screen == NULL)
		return;
	json_decref(screen->object);
	scols_unref_table(screen->text);
	free(screen);
}

enum kt_err screen_new(const struct cli *cli, struct screen **ret)
{
	CLEANUP(screen_freep) struct screen *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return err_memory();
	if (cli->globals.json)
		s->object = json_object();
	else
		s->text = scols_new_table();
	if (s->object == NULL && s->text == NULL)
		return err_memory();
	if (s->text != NULL) {
		scols_table_enable_noheadings(s->text, 1);
		scols_table_set_termforce(s->text, SCOLS_TERMFORCE_NEVER);
		scols_table_set_column_separator(s->text, "  ");
		for (int i = 0; i < 2; i++)
			if (scols_table_new_column(s->text, "", 0, 0) == NULL)
				return err_memory();
	}
	*ret = TAKE(s);
	return KT_OK;
}

static enum kt_err add_line(struct screen *screen, const char *label,
			    const char *value)
{
	struct libscols_line *line = scols_table_new_line(screen->text, NULL);

	if (line == NULL || scols_line_set_data(line, 0, label) != 0 ||
	    scols_line_set_data(line, 1, value) != 0)
		return err_memory();
	return KT_OK;
}

/* In lines that a terminal need not break: an attribute list is long. */
static enum kt_err add_folded(struct screen *screen, const char *label,
			      const char *text)
{
	size_t len;

	do {
		CLEANUP(freep) char *line = NULL;

		len = text_fold(text, FOLD_WIDTH);
		line = strndup(text, len);
		if (line == NULL)
			return err_memory();
		TRY(add_line(screen, label, line));
		label = "";
		text += len + strspn(text + len, " ");
	} while (*text != '\0');
	return KT_OK;
}

/* A heading once, when another section begins. */
static enum kt_err begin_section(struct screen *screen, const char *name,
				 const char *heading)
{
	if (name == NULL || strcmp(screen->last, name) == 0)
		return KT_OK;
	snprintf(screen->last, sizeof(screen->last), "%s", name);
	return add_line(screen, heading, "");
}

static enum kt_err add_text(struct screen *screen, bool indented,
			    const struct column *columns, size_t count,
			    const void *row)
{
	struct cell cell;
	char label[CELL_MAX];

	for (size_t i = 0; i < count; i++) {
		snprintf(label, sizeof(label), "%s%s", indented ? "  " : "",
			 columns[i].title);
		cell_read(&columns[i], row, &cell);
		if (columns[i].type == COLUMN_FOLDED)
			TRY(add_folded(screen, label, cell_shown(&cell)));
		else
			TRY(add_line(screen, label, cell_shown(&cell)));
	}
	return KT_OK;
}

/* The member of this name, made when it is not there. */
static json_t *json_member(json_t *object, const char *name,
			   json_t *(*make)(void))
{
	json_t *at = json_object_get(object, name);

	if (at == NULL && json_object_set_new(object, name, make()) == 0)
		at = json_object_get(object, name);
	return at;
}

enum kt_err screen_add(struct screen *screen, const char *name,
		       const char *heading, const struct column *columns,
		       size_t count, const void *row)
{
	json_t *object = screen->object;

	if (screen->text != NULL) {
		TRY(begin_section(screen, name, heading));
		return add_text(screen, name != NULL, columns, count, row);
	}
	if (name != NULL)
		object = json_member(object, name, json_object);
	return object != NULL ? cells_json(object, columns, count, row)
			      : err_memory();
}

enum kt_err screen_item(struct screen *screen, const char *name,
			const char *heading, const char *text)
{
	json_t *list;

	if (screen->text != NULL) {
		TRY(begin_section(screen, name, heading));
		return add_line(screen, "", text);
	}
	list = json_member(screen->object, name, json_array);
	if (list == NULL ||
	    json_array_append_new(list, cell_json_text(text)) != 0)
		return err_memory();
	return KT_OK;
}

enum kt_err screen_print(struct screen *screen)
{
	CLEANUP(freep) char *text = NULL;
	size_t len = 0;
	FILE *out;
	bool failed;

	if (screen->text != NULL)
		return cells_print(screen->text);
	out = open_memstream(&text, &len);
	if (out == NULL)
		return err_memory();
	failed = json_dumpf(screen->object, out, JSON_INDENT(2)) != 0 ||
		 fputc('\n', out) == EOF;
	if (fclose(out) != 0 || failed)
		return err_memory();
	return cli_write(text, len);
}

enum kt_err screen_show(const struct cli *cli, const struct column *columns,
			size_t count, const void *row)
{
	CLEANUP(screen_freep) struct screen *screen = NULL;

	TRY(screen_new(cli, &screen));
	TRY(screen_add(screen, NULL, NULL, columns, count, row));
	return screen_print(screen);
}
