/*
 * The closed list of what can go wrong. Every function of the library that
 * can fail returns one of these; the enum is must-use by type. The detail of
 * the last error of a thread is a line for people: print it, never parse it.
 */
#ifndef KEYTURN_ERROR_H
#define KEYTURN_ERROR_H

#ifdef __cplusplus
extern "C" {
#endif

/* Append only: the numbers are part of the ABI. */
enum [[nodiscard]] kt_err{
	KT_OK = 0,          KT_ERR_FAILED, /* none of the others */
	KT_ERR_USAGE,                      /* an argument is not usable */
	KT_ERR_CONFIG,                     /* the configuration is not usable */
	KT_ERR_NOT_FOUND,   /* no such project, secret, key, rotation ... */
	KT_ERR_DENIED,      /* access token wrong, expired, revoked, foreign */
	KT_ERR_BUSY,        /* somebody else holds the lease or the lock */
	KT_ERR_EXISTS,      /* it is there already */
	KT_ERR_CONFLICT,    /* the state does not allow it, or it moved */
	KT_ERR_TOKEN,       /* token or module not available */
	KT_ERR_POLICY,      /* the token does not keep to the key policy */
	KT_ERR_SESSION,     /* session lost; the token layer retries once */
	KT_ERR_PIN,         /* PIN wrong, locked or expired: do not retry */
	KT_ERR_STORE,       /* database missing, read-only, full, broken */
	KT_ERR_SCHEMA,      /* database is not ours, or newer than us */
	KT_ERR_INTEGRITY,   /* a MAC, blob, signature or chain is wrong */
	KT_ERR_ATTENTION,   /* done, but something wants attention */
	KT_ERR_PARTIAL,     /* partly done: resume */
	KT_ERR_INTERRUPTED, /* stopped at a batch edge on request */
	KT_ERR_MEMORY,      /* out of memory, secure memory included */
	KT_ERR_IO,          /* a file could not be read or written */
	KT_ERR_MAX_};

/* The last error's detail in this thread: one line, "" when there is none.
 * Valid until the next call of the library in this thread. */
const char *kt_err_detail(void);

/* A second line that helps ("keyturn init makes a vault"), or "". */
const char *kt_err_hint(void);

/* A stable lower-case name, "not-found". Never NULL. */
const char *kt_err_name(enum kt_err err);

/* The exit status of the command for this error, 0 to 130. */
int kt_err_exit_status(enum kt_err err);

#ifdef __cplusplus
}
#endif

#endif
