# For the .bats files of the module: a software TPM per test and a token in it,
# made with pkcs11-tool as anybody would.
#
#	load helper
#	setup() { token_setup; }
# shellcheck shell=bash

bats_require_minimum_version 1.5.0
for library in bats-support bats-assert bats-file; do
	load "/usr/lib/bats/$library/load.bash"
done

CLIENT=${TPM2_CLIENT:-${CLIENT:?run by ctest, or set TPM2_CLIENT}}
export MODULE=${TPM2_MODULE:-${MODULE:?run by ctest, or set TPM2_MODULE}}
export PIN=1234 SO_PIN=5678

# An empty place with a TPM that runs, and no token. A short name, since the
# path of a socket has 107 bytes at most.
place_setup() {
	unset "${!KEYTURN_@}" "${!TSS2_@}"
	PLACE=$(mktemp -d /tmp/keyturn-tpm2-XXXXXX)
	mkdir "$PLACE/tpm"
	export KEYTURN_TPM2_CONF=$PLACE/tpm2.yaml
	cat >"$KEYTURN_TPM2_CONF" <<-END
		tokens:
		- tcti: swtpm:path=$PLACE/s
		  state: $PLACE/state
	END
	tpm_start
}

# The TPM, from its folder; it ends with the test.
tpm_start() {
	setpriv --pdeathsig KILL swtpm socket --tpm2 \
		--tpmstate "dir=$PLACE/tpm" \
		--server "type=unixio,path=$PLACE/s" \
		--ctrl "type=unixio,path=$PLACE/s.ctrl" \
		--flags not-need-init,startup-clear \
		>"$PLACE/swtpm.log" 2>&1 3>&- &
	tpm_pid=$!
	# The file is there before somebody listens behind it.
	until grep -q " 00010000 .* $PLACE/s\$" /proc/net/unix; do
		kill -0 "$tpm_pid"
		sleep 0.05
	done
}

tpm_stop() {
	kill "$tpm_pid"
	wait "$tpm_pid" || true
	rm -f "$PLACE/s" "$PLACE/s.ctrl"
}

teardown() {
	tpm_stop
	rm -rf "$PLACE"
}

# tool OPTION...: pkcs11-tool on the module.
tool() {
	pkcs11-tool --module "$MODULE" "$@"
}

# user OPTION...: the same, logged in.
user() {
	tool --login --pin "$PIN" "$@"
}

token_new() {
	tool --init-token --slot 0 --label test --so-pin "$SO_PIN"
	tool --init-pin --login --login-type so --so-pin "$SO_PIN" --pin "$PIN"
}

token_setup() {
	place_setup
	token_new >"$PLACE/token.out" 2>&1 || {
		cat "$PLACE/token.out"
		return 1
	}
}

# key_new ID USAGE: a secret key of the token, "wrap" or "sign".
key_new() {
	user --keygen --key-type GENERIC:32 --id "$1" --label "key-$1" \
		"--usage-$2" --sensitive --private >"$PLACE/key.out" 2>&1 || {
		cat "$PLACE/key.out"
		return 1
	}
}

pair_new() {
	user --keypairgen --key-type EC:prime256v1 --id "$1" \
		--label "key-$1" --usage-sign >"$PLACE/key.out" 2>&1 || {
		cat "$PLACE/key.out"
		return 1
	}
}

# client VERB ARGUMENT...: the client of this folder.
client() {
	"$CLIENT" "$@"
}

run_ok() {
	run "$@"
	assert_success
}

run_fails() {
	run "$@"
	assert_failure
}
