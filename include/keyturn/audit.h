/*
 * The audit trail: a chain of entries, each committed with its effect.
 * Checkpoints are signatures of the audit key over the head of the chain.
 */
#ifndef KEYTURN_AUDIT_H
#define KEYTURN_AUDIT_H

#include <keyturn/vault.h>

#ifdef __cplusplus
extern "C" {
#endif

struct kt_audit_entry {
	int64_t seq;
	int64_t time;
	char actor[KT_NAME_MAX + 1];
	char action[64];
	char object[KT_NAME_MAX + 1];
	char detail[1024];
	char hash[65]; /* hexadecimal SHA-256 of the entry */
};

/* From entry first on (1 is the first), oldest first; limit 0: all. */
enum kt_err kt_audit_list(struct kt_vault *vault, int64_t first, int64_t limit,
			  enum kt_err (*each)(void *arg,
					      const struct kt_audit_entry *e),
			  void *arg);

struct kt_audit_summary {
	int64_t entries;
	int64_t checkpoints;
	int64_t last_time;
	char head[65];
};

/* Every hash, MAC and checkpoint signature, first to last. KT_ERR_INTEGRITY
 * names the first bad entry. */
enum kt_err kt_audit_verify(struct kt_vault *vault,
			    struct kt_audit_summary *ret);

#ifdef __cplusplus
}
#endif

#endif
