/*
 * PIN sources: their order, the files that are refused, what belongs to a PIN.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/err.h"
#include "base/file.h"
#include "base/secret.h"
#include "hsm/pin.h"

static char folder[64];
static const struct kt_pin_source none = {.fd = -1};

static int setup(void **state)
{
	(void)state;
	snprintf(folder, sizeof(folder), "/tmp/keyturn-pin-XXXXXX");
	return mkdtemp(folder) == NULL ? -1 : 0;
}

static const char *in_folder(const char *name)
{
	static char path[4][128];
	static unsigned next;
	char *into = path[next++ % 4];

	snprintf(into, sizeof(path[0]), "%s/%s", folder, name);
	return into;
}

static int teardown(void **state)
{
	(void)state;
	unlink(in_folder("pin"));
	unlink(in_folder("other"));
	unlink(in_folder("fifo"));
	return rmdir(folder);
}

static const char *put(const char *name, const char *text, mode_t mode)
{
	const char *path = in_folder(name);

	unlink(path);
	assert_int_equal(file_write_new(path, text, strlen(text)), KT_OK);
	assert_int_equal(chmod(path, mode), 0);
	return path;
}

static void reads(const struct kt_pin_source *source, const char *uri_source,
		  const char *expected)
{
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};

	assert_int_equal(pin_read(source, uri_source, "label", &pin), KT_OK);
	assert_int_equal(pin.len, strlen(expected));
	assert_memory_equal(pin.data, expected, pin.len);
}

static void fails(const struct kt_pin_source *source, const char *uri_source,
		  const char *text)
{
	struct kt_secret pin = {0};

	assert_int_equal(pin_read(source, uri_source, "label", &pin),
			 KT_ERR_PIN);
	assert_null(pin.data);
	assert_non_null(strstr(kt_err_detail(), text));
}

static enum kt_err ask(void *arg, const char *label, struct kt_secret *ret)
{
	assert_string_equal(label, "label");
	return kt_secret_copy(arg, strlen(arg), ret);
}

static int pipe_with(const char *text)
{
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], text, strlen(text)), strlen(text));
	close(fds[1]);
	return fds[0];
}

static void the_first_source_decides(void **state)
{
	char text[] = "from-prompt";
	struct kt_pin_source source = {
		.fd = pipe_with("from-fd\n"),
		.file = put("other", "from-file\n", 0600),
		.credentials_dir = folder,
		.environment = "from-environment",
		.prompt = ask,
		.prompt_arg = text,
	};

	(void)state;
	put("pin", "from-credential", 0400);
	reads(&source, in_folder("other"), "from-fd");
	close(source.fd);
	source.fd = -1;
	reads(&source, in_folder("pin"), "from-file");
	source.file = NULL;
	reads(&source, in_folder("other"), "from-file");
	reads(&source, NULL, "from-credential");
	unlink(in_folder("pin"));
	reads(&source, NULL, "from-environment");
	source.environment = NULL;
	reads(&source, NULL, "from-prompt");
	source.prompt = NULL;
	fails(&source, NULL, "no PIN is given for token 'label'");
}

static void one_newline_is_not_part_of_it(void **state)
{
	struct kt_pin_source source = none;

	(void)state;
	source.file = put("pin", "12 34\n", 0600);
	reads(&source, NULL, "12 34");
	source.file = put("pin", "1234\r\n", 0600);
	reads(&source, NULL, "1234");
	source.file = put("pin", " 1234 \n\n", 0600);
	reads(&source, NULL, " 1234 \n");
}

static void empty_and_oversized_are_refused(void **state)
{
	struct kt_pin_source source = none;
	char large[300];

	(void)state;
	source.file = put("pin", "", 0600);
	fails(&source, NULL, "empty");
	source.file = put("pin", "\n", 0600);
	fails(&source, NULL, "empty");
	memset(large, '1', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	source.file = put("pin", large, 0600);
	fails(&source, NULL, "more than 256 bytes");
	assert_null(strstr(kt_err_detail(), "1111"));
}

static void files_of_others_are_refused(void **state)
{
	static const mode_t modes[] = {0604, 0602, 0640, 0620, 0660, 0666};
	struct kt_pin_source source = none;

	(void)state;
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		source.file = put("pin", "1234", modes[i]);
		fails(&source, NULL, "open to other users");
		assert_non_null(strstr(kt_err_hint(), "chmod 600"));
	}
	source.file = in_folder("missing");
	fails(&source, NULL, "No such file");
	source.file = folder;
	fails(&source, NULL, "neither a file nor a pipe");
	source.file = "/dev/null";
	fails(&source, NULL, "neither a file nor a pipe");
}

static void a_missing_file_does_not_fall_through(void **state)
{
	struct kt_pin_source source = none;

	(void)state;
	source.file = in_folder("missing");
	source.environment = "1234";
	fails(&source, NULL, "No such file");
	source.file = NULL;
	fails(&source, in_folder("missing"), "No such file");
}

static void systemd_credentials_may_have_group_bits(void **state)
{
	struct kt_pin_source source = none;

	(void)state;
	source.credentials_dir = folder;
	put("pin", "1234", 0440);
	reads(&source, NULL, "1234");
	put("pin", "1234", 0444);
	fails(&source, NULL, "open to other users");
}

static void pin_sources_of_uris(void **state)
{
	struct kt_pin_source source = none;
	char text[160];

	(void)state;
	put("pin", "1234\n", 0600);
	snprintf(text, sizeof(text), "file:%s/pin", folder);
	reads(&source, text, "1234");
	snprintf(text, sizeof(text), "file://%s/pin", folder);
	reads(&source, text, "1234");
	snprintf(text, sizeof(text), "%s/pin", folder);
	reads(&source, text, "1234");
	fails(&source, "file:relative", "not an absolute path");
	fails(&source, "|cat /etc/pin", "not an absolute path");
}

static void a_pipe_is_a_source(void **state)
{
	struct kt_pin_source source = none;
	int fd = pipe_with("1234\n");
	char path[64];

	(void)state;
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	source.file = path;
	reads(&source, NULL, "1234");
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_first_source_decides, setup,
						teardown),
		cmocka_unit_test_setup_teardown(one_newline_is_not_part_of_it,
						setup, teardown),
		cmocka_unit_test_setup_teardown(empty_and_oversized_are_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(files_of_others_are_refused,
						setup, teardown),
		cmocka_unit_test_setup_teardown(
			a_missing_file_does_not_fall_through, setup, teardown),
		cmocka_unit_test_setup_teardown(
			systemd_credentials_may_have_group_bits, setup,
			teardown),
		cmocka_unit_test_setup_teardown(pin_sources_of_uris, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_pipe_is_a_source, setup,
						teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
