/*
 * Return codes: their names, their classes, and what they do to a session.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/p11.h"

static void result_of(const char *function, CK_RV rv, enum kt_err expected,
		      bool ambiguous)
{
	struct session s = {0};

	assert_int_equal(p11_result(&s, function, rv), expected);
	assert_true(s.broken);
	assert_int_equal(s.ambiguous, ambiguous);
}

static void result_is(CK_RV rv, enum kt_err expected, bool ambiguous)
{
	result_of("C_Any", rv, expected, ambiguous);
}

static void all_are(const CK_RV *list, size_t n, enum kt_err expected)
{
	for (size_t i = 0; i < n; i++)
		result_is(list[i], expected, false);
}

#define ALL_ARE(list, expected)                                                \
	all_are(list, sizeof(list) / sizeof(list[0]), expected)

static void success_leaves_the_session_alone(void **state)
{
	struct session s = {0};

	(void)state;
	assert_int_equal(p11_result(&s, "C_Any", CKR_OK), KT_OK);
	assert_false(s.broken);
	assert_int_equal(p11_result(NULL, "C_Any", CKR_OK), KT_OK);
}

static void lost_sessions_and_handles_are_tried_again(void **state)
{
	static const CK_RV lost[] = {
		CKR_SESSION_HANDLE_INVALID,
		CKR_SESSION_CLOSED,
		CKR_OPERATION_ACTIVE,
		CKR_OPERATION_NOT_INITIALIZED,
		CKR_FUNCTION_CANCELED,
		CKR_USER_NOT_LOGGED_IN,
		CKR_KEY_HANDLE_INVALID,
		CKR_OBJECT_HANDLE_INVALID,
		CKR_WRAPPING_KEY_HANDLE_INVALID,
		CKR_UNWRAPPING_KEY_HANDLE_INVALID,
	};

	(void)state;
	ALL_ARE(lost, KT_ERR_SESSION);
}

static void pin_codes_are_never_anything_else(void **state)
{
	static const CK_RV pin[] = {
		CKR_PIN_INCORRECT,
		CKR_PIN_INVALID,
		CKR_PIN_LEN_RANGE,
		CKR_PIN_EXPIRED,
		CKR_PIN_LOCKED,
		CKR_PIN_TOO_WEAK,
		CKR_USER_PIN_NOT_INITIALIZED,
	};

	(void)state;
	ALL_ARE(pin, KT_ERR_PIN);
}

static void a_bad_blob_is_not_a_bad_token(void **state)
{
	static const CK_RV blob[] = {
		CKR_WRAPPED_KEY_INVALID,
		CKR_WRAPPED_KEY_LEN_RANGE,
		CKR_ENCRYPTED_DATA_INVALID,
		CKR_DATA_INVALID,
		CKR_ENCRYPTED_DATA_LEN_RANGE,
		CKR_DATA_LEN_RANGE,
		CKR_SIGNATURE_INVALID,
		CKR_SIGNATURE_LEN_RANGE,
		0x42 /* CKR_AEAD_DECRYPT_FAILED, PKCS#11 3.0 */,
	};
	static const CK_RV device[] = {
		CKR_DEVICE_ERROR,
		CKR_DEVICE_REMOVED,
		CKR_TOKEN_NOT_PRESENT,
		CKR_TOKEN_NOT_RECOGNIZED,
		CKR_TOKEN_WRITE_PROTECTED,
		CKR_SLOT_ID_INVALID,
		CKR_CRYPTOKI_NOT_INITIALIZED,
		CKR_CANCEL,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(blob) / sizeof(blob[0]); i++) {
		result_of("C_UnwrapKey", blob[i], KT_ERR_INTEGRITY, false);
		result_of("C_Decrypt", blob[i], KT_ERR_INTEGRITY, false);
	}
	ALL_ARE(device, KT_ERR_TOKEN);
	/* Where nothing of ours went in, nothing of ours can be bad. */
	ALL_ARE(blob, KT_ERR_TOKEN);
}

static void some_codes_could_be_blob_or_token(void **state)
{
	(void)state;
	result_is(CKR_GENERAL_ERROR, KT_ERR_TOKEN, true);
	result_is(CKR_FUNCTION_FAILED, KT_ERR_TOKEN, true);
	result_is(CKR_VENDOR_DEFINED | 0x4e534352, KT_ERR_TOKEN, true);
	result_is(0x777, KT_ERR_TOKEN, true);
}

static void refusals_and_memory(void **state)
{
	static const CK_RV policy[] = {
		CKR_KEY_FUNCTION_NOT_PERMITTED,
		CKR_KEY_UNEXTRACTABLE,
		CKR_KEY_NOT_WRAPPABLE,
		CKR_TEMPLATE_INCONSISTENT,
		CKR_TEMPLATE_INCOMPLETE,
		CKR_ATTRIBUTE_TYPE_INVALID,
		CKR_ATTRIBUTE_READ_ONLY,
		CKR_ATTRIBUTE_SENSITIVE,
		CKR_MECHANISM_INVALID,
		CKR_MECHANISM_PARAM_INVALID,
		CKR_ACTION_PROHIBITED,
		CKR_FUNCTION_NOT_SUPPORTED,
		CKR_ARGUMENTS_BAD,
		CKR_BUFFER_TOO_SMALL,
	};
	static const CK_RV memory[] = {CKR_HOST_MEMORY, CKR_DEVICE_MEMORY,
				       CKR_SESSION_COUNT};

	(void)state;
	ALL_ARE(policy, KT_ERR_POLICY);
	ALL_ARE(memory, KT_ERR_MEMORY);
}

/* Every code of PKCS#11 2.40, by its number. */
static void every_code_has_its_name(void **state)
{
	static const uint16_t codes[] = {
		0x000, 0x001, 0x002, 0x003, 0x005, 0x006, 0x007, 0x008, 0x009,
		0x00a, 0x010, 0x011, 0x012, 0x013, 0x01b, 0x020, 0x021, 0x030,
		0x031, 0x032, 0x040, 0x041, 0x050, 0x051, 0x054, 0x060, 0x062,
		0x063, 0x064, 0x065, 0x066, 0x067, 0x068, 0x069, 0x06a, 0x070,
		0x071, 0x082, 0x090, 0x091, 0x0a0, 0x0a1, 0x0a2, 0x0a3, 0x0a4,
		0x0b0, 0x0b1, 0x0b3, 0x0b4, 0x0b5, 0x0b6, 0x0b7, 0x0b8, 0x0c0,
		0x0c1, 0x0d0, 0x0d1, 0x0e0, 0x0e1, 0x0e2, 0x0f0, 0x0f1, 0x0f2,
		0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x110, 0x112, 0x113,
		0x114, 0x115, 0x120, 0x121, 0x130, 0x140, 0x150, 0x160, 0x170,
		0x180, 0x190, 0x191, 0x1a0, 0x1a1, 0x1b0, 0x1b1, 0x1c0, 0x1c1,
		0x1c2, 0x1c3, 0x1c4, 0x200,
	};

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
		assert_memory_equal(p11_rv_name(codes[i]), "CKR_", 4);
	assert_string_equal(p11_rv_name(CKR_OK), "CKR_OK");
	assert_string_equal(p11_rv_name(CKR_PIN_INCORRECT),
			    "CKR_PIN_INCORRECT");
	assert_string_equal(p11_rv_name(CKR_FUNCTION_REJECTED),
			    "CKR_FUNCTION_REJECTED");
	assert_string_equal(p11_rv_name(0xce534352), "CKR 0xce534352");
}

static void the_detail_names_call_and_code(void **state)
{
	(void)state;
	assert_int_equal(p11_result(NULL, "C_Login", CKR_PIN_INCORRECT),
			 KT_ERR_PIN);
	assert_string_equal(kt_err_detail(), "C_Login: CKR_PIN_INCORRECT");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(success_leaves_the_session_alone),
		cmocka_unit_test(lost_sessions_and_handles_are_tried_again),
		cmocka_unit_test(pin_codes_are_never_anything_else),
		cmocka_unit_test(a_bad_blob_is_not_a_bad_token),
		cmocka_unit_test(some_codes_could_be_blob_or_token),
		cmocka_unit_test(refusals_and_memory),
		cmocka_unit_test(every_code_has_its_name),
		cmocka_unit_test(the_detail_names_call_and_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
