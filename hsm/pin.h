/*
 * Where the PIN comes from. It is read once, from the first source that is
 * given, and lives on the secure heap. A trailing newline is not part of it.
 */
#ifndef HSM_PIN_H
#define HSM_PIN_H

#include <keyturn/vault.h>

/* uri_pin_source: the URI's pin-source attribute or NULL. KT_ERR_PIN when no
 * source is given or the source is empty. PIN files must be regular files or
 * pipes that others cannot write and, for regular files, cannot read. */
enum kt_err pin_read(const struct kt_pin_source *source,
		     const char *uri_pin_source, const char *token_label,
		     struct kt_secret *ret);

#endif
