/*
 * Token URIs that are taken, and those that would mean something else than
 * they say.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "hsm/module.h"

static void good_uris_are_parsed(void **state)
{
	static const char *const good[] = {
		"pkcs11:token=a",
		"PKCS11:token=a%20b",
		"pkcs11:serial=0123;model=SoftHSM%20v2",
		"pkcs11:manufacturer=x;token=y?module-name=softhsm2",
		"pkcs11:token=a?pin-source=file:/p&module-path=/m.so",
		"pkcs11:token=a;library-manufacturer=m;slot-description=d",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		CLEANUP(p11_kit_uri_freep) P11KitUri *uri = NULL;

		assert_int_equal(token_uri_parse(good[i], &uri), KT_OK);
		assert_non_null(uri);
	}
}

static void bad_uris_are_refused_by_what_is_wrong(void **state)
{
	static const struct {
		const char *uri, *text;
	} bad[] = {
		{"", "does not begin with pkcs11:"},
		{"token=a", "does not begin with pkcs11:"},
		{"http://x", "does not begin with pkcs11:"},
		{"pkcs11:", "names no token"},
		{"pkcs11:?module-path=/m.so", "names no token"},
		{"pkcs11:slot-description=d", "names no token"},
		{"pkcs11:token=", "token has no value"},
		{"pkcs11:token", "token has no value"},
		{"pkcs11:token=a;token=b", "token stands twice"},
		{"pkcs11:token=a?pin-source=/a&pin-source=/b", "stands twice"},
		{"pkcs11:token=a;colour=red", "'colour' is not known"},
		{"pkcs11:token=a?colour=red", "'colour' is not known"},
		{"pkcs11:token=a;module-path=/m", "'module-path' is not known"},
		{"pkcs11:Token=a", "'Token' is not known"},
		{"pkcs11:token=a;slot-id=1", "no slot-id here"},
		{"pkcs11:token=a;object=k", "names an object"},
		{"pkcs11:token=a;id=%01", "names an object"},
		{"pkcs11:token=a?pin-value=4711", "no pin-value here"},
		{"pkcs11:token=a%zz", "token URI:"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		CLEANUP(p11_kit_uri_freep) P11KitUri *uri = NULL;
		enum kt_err err = token_uri_parse(bad[i].uri, &uri);

		assert_int_equal(err, KT_ERR_CONFIG);
		assert_null(uri);
		assert_non_null(strstr(kt_err_detail(), bad[i].text));
		assert_null(strstr(kt_err_detail(), "4711"));
	}
	assert_int_equal(token_uri_parse(NULL, &(P11KitUri *){NULL}),
			 KT_ERR_CONFIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_uris_are_parsed),
		cmocka_unit_test(bad_uris_are_refused_by_what_is_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
