# For the .bats files: a private place per test, with a token and a vault in it,
# and the words to talk about them. The token is SoftHSM's, or with
# KEYTURN_TEST_TOKEN=tpm one of keyturn-tpm2.so on a software TPM of its own.
# Tests with the tag softhsm are about that token and no other.
#
#	load helper
#	setup() { vault_setup; }
#
#	@test "a project is there once it was created" {
#		run_ok keyturn project create web
#		run_ok keyturn project list
#		assert_line --partial web
#	}
#
# The environment carries everything, so a test calls plain `keyturn`.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0
for library in bats-support bats-assert bats-file; do
	load "/usr/lib/bats/$library/load.bash"
done

# Kept from before the tests clear the environment of keyturn's names.
BIN_DIR=${KEYTURN_BIN_DIR:-${BIN_DIR:-}}
TOKEN=${KEYTURN_TEST_TOKEN:-${TOKEN:-softhsm}}
MODULE=${KEYTURN_TEST_MODULE:-/usr/lib/softhsm/libsofthsm2.so}
# shellcheck disable=SC2034 # by the tests
MECHANISM=AES-KW # of master keys
VAULT_OPTIONS=()
if [ "$TOKEN" = tpm ]; then
	MODULE=$(readlink -f "$BIN_DIR/../lib/keyturn-tpm2.so")
	# shellcheck disable=SC2034
	MECHANISM=TPM-WRAP
	# So that what the tests count is the same on both tokens.
	VAULT_OPTIONS=(--recovery-wraps on)
fi
PIN=1234
SO_PIN=5678

# An empty place: folders, PIN, environment. No token yet.
place_setup() {
	unset "${!KEYTURN_@}" XDG_CONFIG_HOME XDG_STATE_HOME NO_COLOR
	local bin=${BIN_DIR:?run by ctest, or set KEYTURN_BIN_DIR}

	PLACE=$BATS_TEST_TMPDIR/place
	STORE=$PLACE/data/keyturn.db
	(umask 077 && mkdir "$PLACE" "$PLACE"/{tokens,data,run,home,credentials})
	printf '%s\n' "$PIN" >"$PLACE/credentials/pin"
	chmod 0600 "$PLACE/credentials/pin"
	cat >"$PLACE/softhsm2.conf" <<-END
		directories.tokendir = $PLACE/tokens
		objectstore.backend = file
		log.level = ERROR
	END
	export SOFTHSM2_CONF=$PLACE/softhsm2.conf
	export KEYTURN_TPM2_CONF=$PLACE/tpm2.yaml
	export HOME=$PLACE/home XDG_RUNTIME_DIR=$PLACE/run
	export CREDENTIALS_DIRECTORY=$PLACE/credentials
	export KEYTURN_CONFIG=$PLACE/keyturn.yaml KEYTURN_STORE=$STORE
	export KEYTURN_WORKER=$bin/keyturn-worker
	export PATH=$bin:$PATH TERM=dumb LC_ALL=C.UTF-8
	[ "$TOKEN" = softhsm ] || tpm_start
}

# A software TPM in a folder with a short name: a socket's path has 107 bytes at
# most.
tpm_start() {
	TCTI=swtpm:path=$PLACE/tpm/s
	(umask 077 && mkdir "$PLACE/tpm")
	tpm_run
}

# It ends with the test. The TPM's state stays.
tpm_run() {
	local folder=$PLACE/tpm

	setpriv --pdeathsig KILL swtpm socket --tpm2 \
		--tpmstate "dir=$folder" --server "type=unixio,path=$folder/s" \
		--ctrl "type=unixio,path=$folder/s.ctrl" \
		--flags not-need-init,startup-clear >"$folder/log" 2>&1 3>&- &
	tpm_pid=$!
	# The file is there before somebody listens behind it.
	until grep -q " 00010000 .* $folder/s\$" /proc/net/unix; do
		kill -0 "$tpm_pid"
		sleep 0.05
	done
}

# A token in it. A folder that is lost is made anew.
tpm_token_new() {
	local state=$PLACE/tokens/$1

	while [ -e "$state" ]; do
		state=$state+
	done
	printf '%s' "$SO_PIN" | KEYTURN_CONFIG='' keyturn token init --tpm \
		--tcti "$TCTI" --state "$state" --label "$1" \
		--module "$MODULE" --so-pin-file /dev/stdin \
		--pin-file "$PLACE/credentials/pin" >"$PLACE/token.out" 2>&1 || {
		cat "$PLACE/token.out"
		return 1
	}
}

# token_new LABEL: an initialised token with PIN and SO PIN.
token_new() {
	if [ "$TOKEN" = tpm ]; then
		tpm_token_new "$1"
		return
	fi
	softhsm2-util --init-token --free --label "$1" \
		--pin "$PIN" --so-pin "$SO_PIN" >/dev/null
}

# vault_new [OPTION...]: a vault on the token, by keyturn init.
# shellcheck disable=SC2120 # no option is a vault, too
vault_new() {
	keyturn init --token 'pkcs11:token=test' --module "$MODULE" \
		--store "$STORE" "${VAULT_OPTIONS[@]}" "$@" >"$PLACE/init.out" 2>&1 || {
		cat "$PLACE/init.out"
		return 1
	}
	# Locks of its own: root's would be those of every other test.
	grep -q '^runtime-dir:' "$KEYTURN_CONFIG" ||
		printf "runtime-dir: '%s'\n" "$PLACE/run/keyturn" \
			>>"$KEYTURN_CONFIG"
}

# vault_setup [COMMAND...]: all three, and what the command makes on top of
# them, for setup(). It is made once a file; each test has a copy of its own.
# Nobody copies a TPM while it runs: there each test makes its own.
vault_setup() {
	local kept=$BATS_FILE_TMPDIR/place

	place_setup
	if [ "$TOKEN" != softhsm ]; then
		token_new test
		# shellcheck disable=SC2119
		vault_new
		"$@"
		return
	fi
	if [ -d "$kept" ]; then
		rm -r "$PLACE"
		cp -a "$kept" "$PLACE"
		sed -i "s|$(cat "$kept.path")|$PLACE|g" "$SOFTHSM2_CONF" \
			"$KEYTURN_CONFIG"
		return
	fi
	token_new test
	# shellcheck disable=SC2119
	vault_new
	"$@"
	echo "$PLACE" >"$kept.path"
	cp -a "$PLACE" "$kept.new"
	mv "$kept.new" "$kept"
}

# run_ok COMMAND...: runs it and fails the test, showing all, when it fails.
run_ok() {
	run "$@"
	assert_success
}

# run_fails STATUS COMMAND...: it must end with exactly this status.
run_fails() {
	local status_wanted=$1

	shift
	run "$@"
	# shellcheck disable=SC2154 # by run
	assert_equal "$status" "$status_wanted"
}

# secret_put REF VALUE: sets a secret from these bytes.
secret_put() {
	printf '%s' "$2" | keyturn secret set "$1"
}

# projects_new NAME COUNT...: projects with so many values each. The values stay
# in $PLACE/NAME.env.
projects_new() {
	while [ $# -gt 0 ]; do
		seq 1 "$2" | sed "s/.*/KEY_&=\"value & of $1\"/" >"$PLACE/$1.env"
		keyturn project create "$1"
		keyturn secret import "$1" "$PLACE/$1.env"
		shift 2
	done
}

# values_are_whole NAME...: each project has the values that it was made with.
values_are_whole() {
	local project

	for project in "$@"; do
		run_ok keyturn secret verify "$project" "$PLACE/$project.env"
	done
}

# stopped_between_batches COMMAND...: starts keyturn in the background and waits
# until it stopped itself after its second batch, where it holds neither
# database nor token. Its process is $pid, the caller's variable.
stopped_between_batches() {
	KEYTURN_CRASH=sweep.committed:2:STOP keyturn "$@" --batch-size 1 \
		--jobs 1 >"$PLACE/out" 2>&1 3>&- &
	pid=$!
	until grep -q '^State:.T' "/proc/$pid/status"; do
		kill -0 "$pid"
	done
}

# sql STATEMENT: what the database says, from outside.
sql() {
	sqlite3 -batch -cmd '.timeout 10000' "$STORE" "$1"
}

# The objects of the token as pkcs11-tool sees them.
token_objects() {
	pkcs11-tool --module "$MODULE" --token-label "${1:-test}" --login \
		--pin "$PIN" --list-objects 2>/dev/null
}

# refute_found PATTERN PATH...: no file below holds these bytes.
refute_found() {
	local pattern=$1

	shift
	run grep -rlaF -- "$pattern" "$@"
	assert_output ''
}
