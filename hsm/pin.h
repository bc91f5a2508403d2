/*
 * Where the PIN comes from. It is read once, from the first source that is
 * given, and lives on the secure heap. A trailing newline is not part of it.
 */
#ifndef HSM_PIN_H
#define HSM_PIN_H

#include <limits.h>
#include <stdbool.h>

#include <keyturn/vault.h>

enum pin_origin {
	PIN_FROM_NOWHERE,
	PIN_FROM_DESCRIPTOR,
	PIN_FROM_FILE,
	PIN_FROM_URI,
	PIN_FROM_CREDENTIAL,
	PIN_FROM_ENVIRONMENT,
	PIN_FROM_PROMPT
};

/* The source that decides: the first that is given, in the order above. in_uri:
 * the token's URI has a pin-source. A credential's path is put into room. */
enum pin_origin pin_origin(const struct kt_pin_source *source, bool in_uri,
			   char room[PATH_MAX]);

/* uri_pin_source: the URI's pin-source attribute or NULL. KT_ERR_PIN when no
 * source is given or the source is empty. PIN files must be regular files or
 * pipes that others cannot write and, for regular files, cannot read. */
enum kt_err pin_read(const struct kt_pin_source *source,
		     const char *uri_pin_source, const char *token_label,
		     struct kt_secret *ret);

#endif
