/*
 * The sources of a PIN, in their order. The first that is given decides: a file
 * that cannot be read is an error, not a reason to look further.
 */
#include "hsm/pin.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/secret.h"
#include "base/text.h"

#define PIN_MAX 256

/* Modes that a PIN file must not have. systemd shows the access list of a
 * credential's service as group bits. */
#define OTHERS 077
#define OTHERS_BUT_GROUP_READ 037
#define WRITERS 022

static enum kt_err check_file(int fd, const char *path, mode_t refused)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return err_raise(KT_ERR_PIN, "PIN file %s: %s", path,
				 strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return err_raise(KT_ERR_PIN,
				 "PIN file %s is neither a file nor a pipe",
				 path);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return err_raise(KT_ERR_PIN,
				 "PIN file %s belongs to another user", path);
	if (S_ISFIFO(st.st_mode))
		refused = WRITERS;
	if ((st.st_mode & refused) != 0) {
		(void)err_raise(
			KT_ERR_PIN,
			"PIN file %s is open to other users (mode %03o)", path,
			(unsigned)st.st_mode & 0777);
		return err_hint(KT_ERR_PIN, "chmod 600 %s", path);
	}
	return KT_OK;
}

static enum kt_err read_fd(int fd, const char *what, struct kt_secret *ret)
{
	char why[256];

	if (secret_read_fd(fd, PIN_MAX, ret) == KT_OK)
		return KT_OK;
	text_cut(why, sizeof(why), kt_err_detail());
	return err_raise(KT_ERR_PIN, "PIN from %s: %s", what, why);
}

static enum kt_err read_file(const char *path, mode_t refused,
			     struct kt_secret *ret)
{
	CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return err_raise(KT_ERR_PIN, "PIN file %s: %s", path,
				 strerror(errno));
	TRY(check_file(fd, path, refused));
	return read_fd(fd, path, ret);
}

/* RFC 7512 section 2.4: a file: URI, or a path. It also allows "|command". */
static enum kt_err read_uri_source(const char *source, struct kt_secret *ret)
{
	if (strncmp(source, "file:", 5) == 0)
		source += 5;
	if (strncmp(source, "///", 3) == 0)
		source += 2;
	if (source[0] != '/')
		return err_raise(KT_ERR_PIN,
				 "pin-source '%s' is not an absolute path",
				 source);
	return read_file(source, OTHERS, ret);
}

static bool credential_path(const char *dir, char *ret, size_t size)
{
	return dir != NULL && text_format(ret, size, "%s/pin", dir) == KT_OK &&
	       file_exists(ret);
}

enum pin_origin pin_origin(const struct kt_pin_source *source, bool in_uri,
			   char room[PATH_MAX])
{
	if (source->fd >= 0)
		return PIN_FROM_DESCRIPTOR;
	if (source->file != NULL)
		return PIN_FROM_FILE;
	if (in_uri)
		return PIN_FROM_URI;
	if (credential_path(source->credentials_dir, room, PATH_MAX))
		return PIN_FROM_CREDENTIAL;
	if (source->environment != NULL)
		return PIN_FROM_ENVIRONMENT;
	return source->prompt != NULL ? PIN_FROM_PROMPT : PIN_FROM_NOWHERE;
}

static enum kt_err no_pin(const char *token_label)
{
	(void)err_raise(KT_ERR_PIN, "no PIN is given for token '%s'",
			token_label);
	return err_hint(KT_ERR_PIN, "--pin-file FILE or --pin-fd N give one");
}

static enum kt_err read_first(const struct kt_pin_source *source,
			      const char *uri_pin_source,
			      const char *token_label, struct kt_secret *ret)
{
	char path[PATH_MAX];

	switch (pin_origin(source, uri_pin_source != NULL, path)) {
	case PIN_FROM_DESCRIPTOR:
		return read_fd(source->fd, "descriptor", ret);
	case PIN_FROM_FILE:
		return read_file(source->file, OTHERS, ret);
	case PIN_FROM_URI:
		return read_uri_source(uri_pin_source, ret);
	case PIN_FROM_CREDENTIAL:
		return read_file(path, OTHERS_BUT_GROUP_READ, ret);
	case PIN_FROM_ENVIRONMENT:
		return kt_secret_copy(source->environment,
				      strlen(source->environment), ret);
	case PIN_FROM_PROMPT:
		return source->prompt(source->prompt_arg, token_label, ret);
	case PIN_FROM_NOWHERE:
		break;
	}
	return no_pin(token_label);
}

static bool ends_with(const struct kt_secret *s, uint8_t byte)
{
	return s->len > 0 && s->data[s->len - 1] == byte;
}

enum kt_err pin_read(const struct kt_pin_source *source,
		     const char *uri_pin_source, const char *token_label,
		     struct kt_secret *ret)
{
	CLEANUP(kt_secret_done) struct kt_secret pin = {0};

	TRY(read_first(source, uri_pin_source, token_label, &pin));
	if (ends_with(&pin, '\n'))
		secret_shrink(&pin, pin.len - 1);
	if (ends_with(&pin, '\r'))
		secret_shrink(&pin, pin.len - 1);
	if (pin.len == 0)
		return err_raise(KT_ERR_PIN, "the PIN is empty");
	*ret = pin;
	pin = (struct kt_secret){0};
	return KT_OK;
}
