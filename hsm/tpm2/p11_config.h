/*
 * Which tokens there are: a YAML file that the environment names in
 * KEYTURN_TPM2_CONF, else /etc/keyturn/tpm2.yaml.
 */
#ifndef HSM_TPM2_P11_CONFIG_H
#define HSM_TPM2_P11_CONFIG_H

#include "hsm/tpm2/rv.h"
#include "hsm/tpm2/token.h"

/* Calls each for every token of the file, in its order; what config points to
 * lives for that call. Stops at the first answer that is not CKR_OK. No file
 * is no token. CKR_ARGUMENTS_BAD: a file that cannot be used. */
CK_RV config_each(CK_RV (*each)(void *arg, const struct tpm_config *config),
		  void *arg);

#endif
