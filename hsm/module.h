/*
 * A PKCS#11 module in this process, loaded by p11-kit, and the token in it
 * that an RFC 7512 URI names.
 */
#ifndef HSM_MODULE_H
#define HSM_MODULE_H

#include <p11-kit/uri.h>

#include "hsm/p11.h"

DEFINE_CLEANUP(P11KitUri, p11_kit_uri_free)

/* KT_ERR_CONFIG for what is not a URI, has unknown, repeated or forbidden
 * attributes (pin-value, slot-id), or names no token at all. */
enum kt_err token_uri_parse(const char *text, P11KitUri **ret);

struct module {
	CK_FUNCTION_LIST *p11;
	CK_FUNCTION_LIST **configured; /* p11-kit's list that it is from */
	bool initialized;
	char path[256]; /* as loaded */
	char name[64];  /* p11-kit's, "" when it was loaded by path */
	const char *(*words)(void); /* of its last failure, or NULL */
};

/* name: an absolute path or a p11-kit name. Loads, initialises nothing.
 * KT_ERR_TOKEN naming the module. */
enum kt_err module_load(const char *name, struct module *ret);

enum kt_err module_initialize(struct module *module);

/* KT_ERR_TOKEN after a reload that failed half way: nothing may be called in
 * such a module. */
enum kt_err module_require(const struct module *module);

/* The module's own function of this name, or NULL. */
void *module_symbol(const struct module *module, const char *name);

void module_finalize(struct module *module);

/* Finalises and unloads; accepts an empty one. */
void module_done(struct module *module);

/* A slot and what its token said when it was chosen. */
struct slot {
	CK_SLOT_ID id;
	CK_TOKEN_INFO token;
};

/* The one initialised token that the URI names. KT_ERR_TOKEN with the labels
 * that are there as the hint. */
enum kt_err slot_choose(const struct module *module, P11KitUri *uri,
			const char *uri_text, struct slot *ret);

/* The same token again, whatever slot it has now. */
enum kt_err slot_choose_again(const struct module *module,
			      const struct slot *before, struct slot *ret);

#endif
