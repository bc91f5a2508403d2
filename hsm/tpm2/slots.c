/*
 * Room in the TPM: a key takes one persistent handle and one NV counter, and
 * TPMs have few of both.
 */
#include "hsm/tpm2/caps.h"
#include "hsm/tpm2/state.h"

/* In the configured range, one after the other. */
static CK_RV numbers_free(struct tpm_token *token, uint32_t first,
			  unsigned keys)
{
	uint32_t next = first, end = first + token->config.slots;

	for (unsigned i = 0; i < keys; i++) {
		RV_TRY(caps_handle_free(token->tpm, next, end - next, &next));
		next++;
	}
	return CKR_OK;
}

CK_RV slots_check(struct tpm_token *token, unsigned keys)
{
	uint32_t handles = 0, counters = 0;

	RV_TRY(caps_property(token->tpm, TPM2_PT_HR_PERSISTENT_AVAIL,
			     &handles));
	RV_TRY(caps_property(token->tpm, TPM2_PT_NV_COUNTERS_AVAIL, &counters));
	if (handles < keys || counters < keys)
		return rv_raise(CKR_DEVICE_MEMORY,
				"room for %u keys is needed, but the TPM has "
				"%u persistent handles and %u counters free",
				keys, handles, counters);
	RV_TRY(numbers_free(token, token->config.handles, keys));
	return numbers_free(token, token->config.counters, keys);
}
