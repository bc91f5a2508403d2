/*
 * PINs out of a descriptor: nothing but one line end is taken off, and no byte
 * of a PIN gets into an error.
 */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "fuzz.h"
#include "hsm/pin.h"

#define PIN_MAX 256

static int file_of(const uint8_t *data, size_t size)
{
	int fd = memfd_create("pin", MFD_CLOEXEC);

	must(fd >= 0);
	must(fd_write_all(fd, data, size) == KT_OK);
	must(lseek(fd, 0, SEEK_SET) == 0);
	return fd;
}

static size_t without_line_end(const uint8_t *data, size_t size)
{
	if (size > 0 && data[size - 1] == '\n')
		size--;
	if (size > 0 && data[size - 1] == '\r')
		size--;
	return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(fd_close) int fd = file_of(data, size);
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};
	struct kt_pin_source source = {.fd = fd};
	size_t len = without_line_end(data, size);
	enum kt_err err = pin_read(&source, NULL, "label", &pin);

	if (size > PIN_MAX || len == 0) {
		must(err == KT_ERR_PIN && pin.data == NULL);
		must(error_lacks("~"));
		return 0;
	}
	must(err == KT_OK && pin.len == len);
	must(memcmp(pin.data, data, len) == 0);
	return 0;
}
