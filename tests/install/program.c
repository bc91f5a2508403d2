/* What a user of the library writes first: open a vault that is not there. */
#include <keyturn/keyturn.h>
#include <stdio.h>

int main(void)
{
	struct kt_params params = {.token_uri = "pkcs11:token=none",
				   .module = "/nonexistent/module.so",
				   .pin = {.fd = -1},
				   .runtime_dir = "/tmp",
				   .worker = "/nonexistent/worker",
				   .store_path = "/nonexistent/keyturn.db",
				   .operator_name = "test"};
	struct kt_vault *vault = NULL;
	enum kt_err err = kt_vault_open(&params, &vault);

	printf("libkeyturn %s: %s: %s\n", kt_version(), kt_err_name(err),
	       kt_err_detail());
	kt_vault_close(vault);
	return err == KT_OK || vault != NULL;
}
