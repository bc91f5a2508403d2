/*
 * Objects: where they are kept, who sees them, and how they are held while
 * something is done with them. Keys of the token are read from its folder
 * whenever somebody looks, since other processes make and destroy them too.
 */
#ifndef HSM_TPM2_P11_OBJECT_H
#define HSM_TPM2_P11_OBJECT_H

#include "hsm/tpm2/p11_module.h"

/* A reference: CLEANUP(object_releasep). */
struct object *object_hold(struct object *object);
void object_release(struct object *object);
DEFINE_CLEANUP(struct object, object_release)

/* A session key; takes attrs and value over, and empties them. The caller
 * holds the reference. */
CK_RV object_new(struct slot *slot, struct attrs *attrs,
		 struct kt_secret *value, struct object **ret);

/* All of the following with the module's lock held. */

/* Puts it into the list, as an object of this session; no reference of the
 * caller's is used up. CKR_SESSION_CLOSED when the session is gone. */
CK_RV object_publish(struct call *call, CK_SESSION_HANDLE owner,
		     struct object *object, CK_OBJECT_HANDLE *ret);

/* Held; CKR_OBJECT_HANDLE_INVALID when it is not there, or hidden. */
CK_RV object_find(struct call *call, const struct session *session,
		  CK_OBJECT_HANDLE handle, struct object **ret);

/* Out of the list. */
void object_remove(struct module *module, struct object *object);

bool object_on_token(const struct object *object);

/* Drops the session keys of one session, or of all (NULL) of a slot. */
void objects_drop(struct module *module, const struct slot *slot,
		  const struct session *owner);

/* Makes the list agree with the token's folder. The caller holds the slot's
 * admin lock; the module's is given up while the folder is read. */
CK_RV objects_refresh(struct call *call, struct slot *slot);

/* A new key of the token; for a pair, *ret is the private half and *ret_public
 * the public one (NULL for a secret key). */
CK_RV object_adopt(struct call *call, struct slot *slot,
		   const struct tpm_key *key, CK_OBJECT_HANDLE *ret,
		   CK_OBJECT_HANDLE *ret_public);

/* Everything that the session sees and that has these attributes. The caller
 * frees the list. */
CK_RV objects_match(struct call *call, const struct session *session,
		    const struct attrs *wanted, CK_OBJECT_HANDLE **ret,
		    size_t *ret_count);

/* The stored attributes of a token key: one string for a secret key; for a
 * pair the private half and the public one. Each is led by its length. */
CK_RV stored_pack(const struct attrs *first, const struct attrs *second,
		  struct attrs *ret);

/* The first of them: the secret key's, or the private half's. */
CK_RV stored_attrs(const struct tpm_key *key, struct attrs *ret);

#endif
