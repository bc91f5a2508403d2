/*
 * A screen is one thing at length: "Label  value" lines, in sections; with
 * --json one object, whose sections are objects and whose lists are arrays.
 */
#ifndef CLI_SCREEN_H
#define CLI_SCREEN_H

#include "cli/cli.h"
#include "cli/column.h"

struct screen;

enum kt_err screen_new(const struct cli *cli, struct screen **ret);
void screen_free(struct screen *screen);
DEFINE_CLEANUP(struct screen, screen_free)

/* Members of the object itself go in with name NULL; else of its member name,
 * under a heading in the text. */
enum kt_err screen_add(struct screen *screen, const char *name,
		       const char *heading, const struct column *columns,
		       size_t count, const void *row);

/* One more line of the list name, under a heading in the text. */
enum kt_err screen_item(struct screen *screen, const char *name,
			const char *heading, const char *text);

enum kt_err screen_print(struct screen *screen);

/* A screen of one section without a name. */
enum kt_err screen_show(const struct cli *cli, const struct column *columns,
			size_t count, const void *row);

#endif
