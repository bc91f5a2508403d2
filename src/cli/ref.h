/*
 * How a secret is named on the command line and in templates: PROJECT/NAME or
 * kt://PROJECT/NAME. A project's name has no '/', a secret's may have some.
 */
#ifndef CLI_REF_H
#define CLI_REF_H

#include <keyturn/types.h>

struct ref {
	char project[KT_NAME_MAX + 1];
	char name[KT_NAME_MAX + 1];
};

/* Splits; the vault judges the two names. KT_ERR_USAGE. */
enum kt_err ref_parse(const char *text, struct ref *ret);

#endif
