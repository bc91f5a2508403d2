/*
 * What is not in this table does not exist here: no ECB or CBC, which open
 * what they should not, and no derivation.
 */
#include "hsm/tpm2/p11_mech.h"

const struct mech mechs[] = {
	{CKM_KEYTURN_TPM_WRAP, {32, 32, CKF_HW | CKF_WRAP | CKF_UNWRAP}, true},
	{CKM_GENERIC_SECRET_KEY_GEN, {16, 512, CKF_HW | CKF_GENERATE}, false},
	{CKM_SHA256_HMAC, {16, 512, CKF_HW | CKF_SIGN | CKF_VERIFY}, false},
	{CKM_EC_KEY_PAIR_GEN,
	 {256, 256,
	  CKF_HW | CKF_GENERATE_KEY_PAIR | CKF_EC_F_P | CKF_EC_NAMEDCURVE |
		  CKF_EC_UNCOMPRESS},
	 false},
	{CKM_ECDSA,
	 {256, 256,
	  CKF_HW | CKF_SIGN | CKF_VERIFY | CKF_EC_F_P | CKF_EC_NAMEDCURVE |
		  CKF_EC_UNCOMPRESS},
	 false},
	{CKM_AES_KEY_GEN, {16, 32, CKF_GENERATE}, false},
	{CKM_AES_KEY_WRAP, {16, 32, CKF_WRAP | CKF_UNWRAP}, false},
	{CKM_AES_GCM, {16, 32, CKF_ENCRYPT | CKF_DECRYPT}, true},
};

const size_t mechs_count = sizeof(mechs) / sizeof(mechs[0]);

CK_RV mech_check(const CK_MECHANISM *mechanism, CK_FLAGS use)
{
	const struct mech *mech = mechs;

	if (mechanism == NULL)
		return rv_raise(CKR_ARGUMENTS_BAD, "no mechanism");
	while (mech < mechs + mechs_count && mech->type != mechanism->mechanism)
		mech++;
	if (mech == mechs + mechs_count || (mech->info.flags & use) == 0)
		return rv_raise(CKR_MECHANISM_INVALID,
				"mechanism 0x%lx does not do this",
				mechanism->mechanism);
	if (!mech->parameter &&
	    (mechanism->pParameter != NULL || mechanism->ulParameterLen != 0))
		return rv_raise(CKR_MECHANISM_PARAM_INVALID,
				"mechanism 0x%lx takes no parameter",
				mechanism->mechanism);
	return CKR_OK;
}
