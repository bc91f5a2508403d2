/*
 * A place of a run's own below one folder: a SoftHSM token, a database, a
 * configuration for the command.
 */
#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/torture/model.h"

#define MODULE "/usr/lib/softhsm/libsofthsm2.so"
#define PIN "1234"

__attribute__((noreturn)) static void die(const char *what)
{
	fprintf(stderr, "model: %s: %s\n", what, strerror(errno));
	exit(2);
}

void require(bool held, const char *what)
{
	if (!held)
		die(what);
}

__attribute__((format(printf, 3, 4))) static void write_file(
	const struct run *r, const char *name, const char *format, ...)
{
	char path[256];
	va_list args;
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", r->folder, name);
	file = fopen(path, "w");
	require(file != NULL, path);
	va_start(args, format);
	vfprintf(file, format, args);
	va_end(args);
	require(fclose(file) == 0 && chmod(path, 0600) == 0, path);
}

static void set_variable(const struct run *r, const char *name,
			 const char *below)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", r->folder, below);
	require(setenv(name, path, 1) == 0, name);
}

static void make_folder(const struct run *r, const char *below)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", r->folder, below);
	require(mkdir(path, 0700) == 0, path);
}

static void make_token(const struct run *r)
{
	const char *const argv[] = {
		"softhsm2-util", "--init-token", "--free", "--label",
		"test",          "--pin",        PIN,      "--so-pin",
		"5678",          NULL,
	};

	require(program_run(r, argv) == 0, "softhsm2-util");
}

static void find_programs(struct run *r)
{
	char path[256], *end;
	ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);

	require(len > 0, "/proc/self/exe");
	path[len] = '\0';
	end = strrchr(path, '/');
	*end = '\0';
	snprintf(r->bin, sizeof(r->bin), "%s", path);
	snprintf(path + (end - path), sizeof(path) - (size_t)(end - path),
		 "/keyturn-worker");
	require(setenv("KEYTURN_WORKER", path, 1) == 0, "setenv");
}

static void make_environment(struct run *r)
{
	write_file(r, "softhsm2.conf",
		   "directories.tokendir = %s/tokens\n"
		   "objectstore.backend = file\nlog.level = ERROR\n",
		   r->folder);
	write_file(r, "pin", "%s\n", PIN);
	write_file(r, "keyturn.yaml",
		   "store: '%s'\n"
		   "token:\n  uri: 'pkcs11:token=test'\n  module: '%s'\n"
		   "pin:\n  file: '%s/pin'\nruntime-dir: '%s/run'\n",
		   r->store, MODULE, r->folder, r->folder);
	set_variable(r, "SOFTHSM2_CONF", "/softhsm2.conf");
	set_variable(r, "KEYTURN_CONFIG", "/keyturn.yaml");
	set_variable(r, "HOME", "");
	set_variable(r, "XDG_RUNTIME_DIR", "/run");
	find_programs(r);
}

static void make_vault(struct run *r, uint64_t seed)
{
	const struct kt_init_options options = {
		.recovery_wraps =
			seed % 2 != 0 ? KT_RECOVERY_ON : KT_RECOVERY_OFF};
	static char run_folder[128];
	struct kt_status status;

	snprintf(run_folder, sizeof(run_folder), "%s/run", r->folder);
	r->params = (struct kt_params){
		.token_uri = "pkcs11:token=test",
		.module = MODULE,
		.pin = {.fd = -1, .environment = PIN},
		.runtime_dir = run_folder,
		.worker = getenv("KEYTURN_WORKER"),
		.store_path = r->store,
		.operator_name = "model",
	};
	if (kt_vault_init(&r->params, &options, &status) != KT_OK) {
		fprintf(stderr, "model: init: %s\n", kt_err_detail());
		exit(2);
	}
	r->model.recovery = options.recovery_wraps == KT_RECOVERY_ON;
	r->model.master.highest = 1;
	r->model.master.key[1] = (struct m_key){
		.proven = true, .activated = true, .object = ++r->objects};
}

void place_make(struct run *r, uint64_t seed)
{
	snprintf(r->folder, sizeof(r->folder), "/tmp/keyturn-model-XXXXXX");
	require(mkdtemp(r->folder) != NULL, "mkdtemp");
	snprintf(r->store, sizeof(r->store), "%s/data/keyturn.db", r->folder);
	make_folder(r, "/tokens");
	make_folder(r, "/data");
	make_folder(r, "/run");
	make_environment(r);
	make_token(r);
	make_vault(r, seed);
	keep_token_file(r);
	vault_open(r);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *at)
{
	(void)st;
	(void)type;
	(void)at;
	return remove(path);
}

void place_remove(struct run *r)
{
	vault_close(r);
	nftw(r->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	for (int i = 1; i <= r->files; i++)
		free(r->path[i]);
	for (int i = 0; i < BACKUPS; i++)
		free(r->backup[i].state);
}

void vault_open(struct run *r)
{
	if (r->vault != NULL)
		return;
	if (kt_vault_open(&r->params, &r->vault) == KT_OK)
		return;
	finding(r, "the vault does not open: %s", kt_err_detail());
	exit(1);
}

void vault_close(struct run *r)
{
	kt_vault_close(r->vault);
	r->vault = NULL;
}

int file_new(struct run *r, const char *path)
{
	char text[PATH_MAX];

	require((size_t)r->files + 1 < sizeof(r->path) / sizeof(r->path[0]),
		"too many files");
	if (path == NULL) {
		snprintf(text, sizeof(text), "%s/data/backup-%d.db", r->folder,
			 r->files + 1);
		path = text;
	}
	r->path[++r->files] = strdup(path);
	require(r->path[r->files] != NULL, "memory");
	return r->files;
}

int file_number(struct run *r, const char *path)
{
	for (int i = 1; i <= r->files; i++) {
		if (strcmp(r->path[i], path) == 0)
			return i;
	}
	return 0;
}

void file_write(struct run *r, const char *name, const char *text, size_t len)
{
	char path[256];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", r->folder, name);
	file = fopen(path, "w");
	require(file != NULL && fwrite(text, 1, len, file) == len, path);
	require(fclose(file) == 0, path);
}
