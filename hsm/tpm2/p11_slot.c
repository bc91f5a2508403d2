/*
 * Slots, tokens and mechanisms as they show themselves. A slot is there, and
 * its token in it, whether the TPM answers or not.
 */
#include "hsm/tpm2/p11_module.h"

#include <stdio.h>
#include <string.h>

#include "hsm/tpm2/p11_mech.h"

#define MANUFACTURER "keyturn"
#define MODEL "TPM 2.0"

/* A fixed-width field, padded with blanks and without a NUL. */
static void pad(CK_UTF8CHAR *field, size_t width, const char *text)
{
	size_t len = strlen(text);

	memset(field, ' ', width);
	memcpy(field, text, len < width ? len : width);
}

CK_RV C_GetInfo(CK_INFO *info)
{
	CLEANUP(call_end) struct call call = {0};

	RV_TRY(call_begin(&call));
	if (info == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the answer");
	*info = (CK_INFO){
		.cryptokiVersion = {2, 40},
		.libraryVersion = {0, 1},
	};
	pad(info->manufacturerID, sizeof(info->manufacturerID), MANUFACTURER);
	pad(info->libraryDescription, sizeof(info->libraryDescription),
	    "keyturn on a TPM 2.0");
	return CKR_OK;
}

CK_RV C_GetSlotList(CK_BBOOL present, CK_SLOT_ID *list, CK_ULONG *count)
{
	CLEANUP(call_end) struct call call = {0};
	CK_ULONG room;

	(void)present;
	RV_TRY(call_begin(&call));
	if (count == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the count");
	room = *count;
	*count = call.module->slot_count;
	if (list == NULL)
		return CKR_OK;
	if (room < *count)
		return rv_raise(CKR_BUFFER_TOO_SMALL, "there are %lu slots",
				*count);
	for (CK_ULONG i = 0; i < *count; i++)
		list[i] = call.module->slots[i].id;
	return CKR_OK;
}

CK_RV C_GetSlotInfo(CK_SLOT_ID slot_id, CK_SLOT_INFO *info)
{
	CLEANUP(call_end) struct call call = {0};
	char description[65];
	struct slot *slot;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	if (info == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the answer");
	*info = (CK_SLOT_INFO){.flags = CKF_TOKEN_PRESENT | CKF_HW_SLOT};
	snprintf(description, sizeof(description), "keyturn TPM slot %lu",
		 slot_id);
	pad(info->slotDescription, sizeof(info->slotDescription), description);
	pad(info->manufacturerID, sizeof(info->manufacturerID), MANUFACTURER);
	return CKR_OK;
}

/* One counter of wrong tries guards both PINs. */
static CK_FLAGS flags_of(const struct tpm_token_info *info)
{
	CK_FLAGS flags = CKF_RNG | CKF_LOGIN_REQUIRED;

	if (info->initialised)
		flags |= CKF_TOKEN_INITIALIZED;
	if (info->user_pin_set)
		flags |= CKF_USER_PIN_INITIALIZED;
	if (info->count_low)
		flags |= CKF_USER_PIN_COUNT_LOW | CKF_SO_PIN_COUNT_LOW;
	if (info->final_try)
		flags |= CKF_USER_PIN_FINAL_TRY | CKF_SO_PIN_FINAL_TRY;
	if (info->locked)
		flags |= CKF_USER_PIN_LOCKED | CKF_SO_PIN_LOCKED;
	return flags;
}

static void fill_token(const struct tpm_token_info *from, CK_TOKEN_INFO *info)
{
	*info = (CK_TOKEN_INFO){
		.flags = flags_of(from),
		.ulMaxSessionCount = CK_EFFECTIVELY_INFINITE,
		.ulMaxRwSessionCount = CK_EFFECTIVELY_INFINITE,
		.ulMinPinLen = TPM_PIN_MIN,
		.ulMaxPinLen = TPM_PIN_MAX,
		.ulTotalPublicMemory = CK_UNAVAILABLE_INFORMATION,
		.ulFreePublicMemory = CK_UNAVAILABLE_INFORMATION,
		.ulTotalPrivateMemory = CK_UNAVAILABLE_INFORMATION,
		.ulFreePrivateMemory = CK_UNAVAILABLE_INFORMATION,
	};
	pad(info->label, sizeof(info->label), from->label);
	pad(info->manufacturerID, sizeof(info->manufacturerID), MANUFACTURER);
	pad(info->model, sizeof(info->model), MODEL);
	pad(info->serialNumber, sizeof(info->serialNumber), from->serial);
	pad(info->utcTime, sizeof(info->utcTime), "");
}

CK_RV C_GetTokenInfo(CK_SLOT_ID slot_id, CK_TOKEN_INFO *info)
{
	CLEANUP(call_end) struct call call = {0};
	struct tpm_token_info from;
	struct slot *slot;
	CK_RV rv;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	if (info == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the answer");
	call_unlock(&call);
	rv = tpm_token_info(slot->token, &from);
	call_lock(&call);
	RV_TRY(rv);
	fill_token(&from, info);
	info->ulSessionCount = slot_sessions(call.module, slot, false);
	info->ulRwSessionCount = slot_sessions(call.module, slot, true);
	return CKR_OK;
}

CK_RV C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID *slot, void *reserved)
{
	CLEANUP(call_end) struct call call = {0};

	RV_TRY(call_begin(&call));
	if (slot == NULL || reserved != NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the slot");
	if ((flags & CKF_DONT_BLOCK) != 0)
		return rv_raise(CKR_NO_EVENT, "nothing happened");
	return rv_raise(CKR_FUNCTION_NOT_SUPPORTED, "slots do not come and go");
}

CK_RV C_GetMechanismList(CK_SLOT_ID slot_id, CK_MECHANISM_TYPE *list,
			 CK_ULONG *count)
{
	CLEANUP(call_end) struct call call = {0};
	struct slot *slot;
	CK_ULONG room;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	if (count == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the count");
	room = *count;
	*count = mechs_count;
	if (list == NULL)
		return CKR_OK;
	if (room < mechs_count)
		return rv_raise(CKR_BUFFER_TOO_SMALL,
				"there are %zu mechanisms", mechs_count);
	for (size_t i = 0; i < mechs_count; i++)
		list[i] = mechs[i].type;
	return CKR_OK;
}

CK_RV C_GetMechanismInfo(CK_SLOT_ID slot_id, CK_MECHANISM_TYPE type,
			 CK_MECHANISM_INFO *info)
{
	CLEANUP(call_end) struct call call = {0};
	struct slot *slot;

	RV_TRY(call_begin(&call));
	RV_TRY(call_slot(&call, slot_id, &slot));
	if (info == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no room for the answer");
	for (size_t i = 0; i < mechs_count; i++) {
		if (mechs[i].type == type) {
			*info = mechs[i].info;
			return CKR_OK;
		}
	}
	return rv_raise(CKR_MECHANISM_INVALID, "mechanism 0x%lx is not known",
			type);
}
