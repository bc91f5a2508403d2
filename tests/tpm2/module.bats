#!/usr/bin/env bats
# The module as a library in a process: wraps by its own mechanism, processes
# and threads beside each other, a TPM that goes away, and what it leaves
# alone.

load helper

setup() {
	token_setup
	key_new 01 wrap
}

@test "what one process wrapped another opens, after a restart too" {
	run_ok client seal 01 "$PLACE/sealed"
	run_ok client open 01 "$PLACE/sealed"
	assert_output 'opened by the right key'
	tpm_stop
	tpm_start
	run_ok client open 01 "$PLACE/sealed"
	assert_output 'opened by the right key'
}

@test "no byte of a wrap can be changed" {
	run_ok client seal 01 "$PLACE/sealed"
	run_ok client tamper 01 "$PLACE/sealed"
	assert_output '104 of 104 refused'
}

@test "another key does not open it, nor does it once it is destroyed" {
	key_new 02 wrap
	run_ok client seal 01 "$PLACE/sealed"
	run_fails client open 02 "$PLACE/sealed"
	assert_output --partial 'C_UnwrapKey: 0x110'
	run_ok user --delete-object --type secrkey --id 01
	run_fails client open 01 "$PLACE/sealed"
	assert_output --partial 'no key has CKA_ID 01'
	run_fails client open 02 "$PLACE/sealed"
}

@test "processes that die leave nothing behind that is missed" {
	run_ok client seal 01 "$PLACE/sealed"
	for _ in 1 2 3 4 5 6; do
		run_ok client leak 01
	done
	run_ok client open 01 "$PLACE/sealed"
}

@test "a child of fork starts anew, and its parent goes on" {
	run_ok client fork 01 "$PLACE/sealed"
	assert_output 'opened by the right key'
}

@test "threads work beside each other" {
	run_ok client threads 01 4
	assert_output '4 threads'
}

@test "processes work beside each other" {
	local pids=() pid

	for i in 1 2 3; do
		client threads 01 1 >"$PLACE/out.$i" 3>&- &
		pids+=($!)
	done
	for pid in "${pids[@]}"; do
		wait "$pid"
	done
	assert_equal "$(cat "$PLACE"/out.*)" $'1 threads\n1 threads\n1 threads'
}

@test "a MAC over more than one command's data" {
	key_new 02 sign
	run_ok client mac 02 32
	short=$output
	run_ok client mac 02 5000
	refute_output "$short"
	assert_equal "${#output}" 64
}

@test "a TPM that goes away and comes back" {
	run_ok client seal 01 "$PLACE/sealed"
	coproc waiting { client wait 01 "$PLACE/sealed"; }
	echo >&"${waiting[1]}"
	read -r -u "${waiting[0]}" line
	assert_equal "$line" 'opened by the right key'
	tpm_stop
	echo >&"${waiting[1]}"
	read -r -u "${waiting[0]}" line
	[[ $line == 'C_UnwrapKey: 0x32:'* || $line == 'C_UnwrapKey: 0x30:'* ]]
	tpm_start
	echo >&"${waiting[1]}"
	read -r -u "${waiting[0]}" line
	assert_equal "$line" 'opened by the right key'
}

@test "without its TPM a token refuses in words, and nothing is printed" {
	run_ok client seal 01 "$PLACE/sealed"
	tpm_stop
	run --separate-stderr client open 01 "$PLACE/sealed"
	assert_failure
	assert_output --partial 'C_Login: 0x32'
	assert_output --partial "$PLACE/s"
	# shellcheck disable=SC2154 # by run
	assert_equal "$stderr" ''
	tpm_start
	run_ok client open 01 "$PLACE/sealed"
}

# locked PID: kilobytes of memory that cannot be swapped.
locked() {
	sed -n 's/^VmLck:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"
}

@test "its host loses little memory to it, and none before the login" {
	run_ok client seal 01 "$PLACE/sealed"
	coproc waiting { client wait 01 "$PLACE/sealed"; }
	echo >&"${waiting[1]}"
	read -r -u "${waiting[0]}" line
	pid=$(pgrep -P "$!" || echo "$!")
	[ "$(locked "$pid")" -le 17000 ]
	[ "$(locked "$pid")" -gt 0 ]
	run_ok strace -f -e trace=mlock,mlock2 pkcs11-tool --module "$MODULE" \
		--list-slots
	refute_output --partial 'mlock'
}

@test "a configuration that cannot be used, or none, gives no slots" {
	printf 'tokens:\n- tcti: x\n  path: /x\n' >"$KEYTURN_TPM2_CONF"
	run --separate-stderr tool --list-slots
	refute_line --partial 'Slot 0'
	assert_equal "$stderr" 'No slots.'
	rm "$KEYTURN_TPM2_CONF"
	run --separate-stderr tool --list-slots
	refute_line --partial 'Slot 0'
	assert_equal "$stderr" 'No slots.'
}

@test "p11-kit loads it beside others" {
	mkdir -p "$PLACE/home/.config/pkcs11/modules"
	printf 'module: %s\n' "$MODULE" \
		>"$PLACE/home/.config/pkcs11/modules/keyturn-tpm2.module"
	# p11-kit reads no user's files for root.
	run setpriv --reuid 65534 --clear-groups true
	assert_success
	chmod -R go+rX "$PLACE" "$PLACE/home"
	chmod go+rw "$PLACE/s"
	run setpriv --reuid 65534 --clear-groups env "HOME=$PLACE/home" \
		"XDG_CONFIG_HOME=$PLACE/home/.config" p11-kit list-modules
	assert_success
	assert_line --partial 'keyturn-tpm2'
}

@test "it exports its functions and nothing else" {
	run nm -D --defined-only "$MODULE"
	assert_success
	assert_equal "$(awk '{ print $3 }' <<<"$output" | sort | tr '\n' ' ')" \
		'C_GetFunctionList keyturn_tpm2_attest keyturn_tpm2_error keyturn_tpm2_provision '
	run ldd "$MODULE"
	refute_output --partial libkeyturn
	refute_output --partial libp11-kit
}
