#!/usr/bin/env bats
# The PIN: where it comes from and in which order, which files are refused, and
# that the token sees a wrong one exactly once (I20).
# shellcheck disable=SC2030,SC2031 # a test is a subshell, run sets status

load helper
load proxy

setup() {
	vault_setup
	proxy_setup
	CREDENTIAL=$CREDENTIALS_DIRECTORY/pin
	rm "$CREDENTIAL"
	pin_file right "$PIN"
	pin_file wrong not-the-pin
}

# pin_file NAME PIN: $PLACE/NAME, private, with a newline at its end.
pin_file() {
	(umask 077 && printf '%s\n' "$2" >"$PLACE/$1")
}

# keyturn through the proxy, with nobody at a terminal.
proxied() {
	keyturn --module "$PROXY" "$@" </dev/null
}

allow_environment() {
	sed -i 's/allow-environment: false/allow-environment: true/' \
		"$KEYTURN_CONFIG"
}

# Wrong, and the token was asked once.
assert_wrong_once() {
	# shellcheck disable=SC2154 # by run
	assert_equal "$status" 7
	assert_output --partial 'PIN rejected by the token'
	refute_output --partial not-the-pin
	assert_equal "$(calls_of C_Login)" 1
	proxy_plan ''
}

# bats test_tags=softhsm
@test "each source gives the PIN, and the first that is given decides" {
	local uri="pkcs11:token=test?pin-source=file:$PLACE"

	allow_environment
	export KEYTURN_PIN=not-the-pin
	run proxied project list
	assert_wrong_once
	KEYTURN_PIN=$PIN run_ok proxied project list

	cp -p "$PLACE/right" "$CREDENTIAL"
	run_ok proxied project list
	cp -p "$PLACE/wrong" "$CREDENTIAL"
	proxy_plan ''
	KEYTURN_PIN=$PIN run proxied project list
	assert_wrong_once

	run_ok proxied project list --token "$uri/right"
	proxy_plan ''
	cp -p "$PLACE/right" "$CREDENTIAL"
	run proxied project list --token "$uri/wrong"
	assert_wrong_once

	run_ok proxied project list --token "$uri/wrong" \
		--pin-file "$PLACE/right"
	proxy_plan ''
	run proxied project list --token "$uri/right" \
		--pin-file "$PLACE/wrong"
	assert_wrong_once

	run_ok proxied project list --pin-file "$PLACE/wrong" \
		--pin-fd 7 7<"$PLACE/right"
	proxy_plan ''
	run proxied project list --pin-file "$PLACE/right" \
		--pin-fd 7 7<"$PLACE/wrong"
	assert_wrong_once
}

@test "the configuration's PIN file is used, and the option wins" {
	sed -i "s|^  # file: .*|  file: '$PLACE/wrong'|" "$KEYTURN_CONFIG"
	run proxied project list
	assert_wrong_once
	run_ok proxied project list --pin-file "$PLACE/right"
	sed -i "s|^  file: .*|  file: '$PLACE/right'|" "$KEYTURN_CONFIG"
	run_ok proxied project list
	proxy_plan ''
	run proxied project list --pin-file "$PLACE/wrong"
	assert_wrong_once
}

@test "KEYTURN_PIN counts only where the configuration allows it" {
	KEYTURN_PIN=$PIN run_fails 7 proxied project list
	assert_line --partial 'hint: KEYTURN_PIN counts only where'
	assert_line --index 0 --partial 'no PIN is given'
	assert_equal "$(calls_of C_Login)" 0
	allow_environment
	KEYTURN_PIN=$PIN run_ok proxied project list
}

@test "a source that is given but cannot be read is not passed over" {
	cp -p "$PLACE/right" "$CREDENTIAL"
	run_fails 7 proxied project list --pin-file "$PLACE/none"
	assert_line --index 0 --partial "$PLACE/none: No such file"
	run_fails 7 proxied project list --pin-fd 7
	assert_line --index 0 --partial 'PIN from descriptor'
	run_fails 7 proxied project list \
		--token "pkcs11:token=test?pin-source=$PLACE/none"
	run_fails 7 proxied project list \
		--token "pkcs11:token=test?pin-source=right"
	assert_line --index 0 --partial 'not an absolute path'
	run_fails 7 proxied project list \
		--token "pkcs11:token=test?pin-source=|cat%20$PLACE/right"
	assert_equal "$(calls_of C_Login)" 0
	run_fails 2 proxied project list --pin-fd x
}

@test "without any source and without a terminal it says how to give one" {
	run_fails 7 proxied project list
	assert_line --index 0 --partial "no PIN is given for token 'test'"
	assert_line --index 1 --partial -- '--pin-file'
	assert_equal "$(calls_of C_Login)" 0
}

@test "a PIN file that others can read or write is refused" {
	local mode
	for mode in 0604 0640 0602 0620 0644 0666; do
		chmod "$mode" "$PLACE/right"
		run_fails 7 proxied project list --pin-file "$PLACE/right"
		assert_line --index 0 --partial 'is open to other users'
		assert_line --index 1 --partial "chmod 600 $PLACE/right"
		run_fails 7 proxied project list \
			--token "pkcs11:token=test?pin-source=$PLACE/right"
	done
	cp -p "$PLACE/right" "$CREDENTIAL"
	run_fails 7 proxied project list
	run_fails 7 proxied project list --pin-file "$PLACE"
	assert_line --index 0 --partial 'neither a file nor a pipe'
	assert_equal "$(calls_of C_Login)" 0
	chmod 0400 "$PLACE/right"
	run_ok proxied project list --pin-file "$PLACE/right"
	# as systemd shows a credential with an access list
	chmod 0440 "$CREDENTIAL"
	run_ok proxied project list
}

@test "a PIN may come through a pipe" {
	run_ok proxied project list --pin-file <(echo "$PIN")
	run_ok proxied project list --pin-fd 7 7< <(printf %s "$PIN")
}

@test "an empty or endless PIN is refused before the token sees it" {
	: >"$PLACE/right"
	run_fails 7 proxied project list --pin-file "$PLACE/right"
	assert_line --index 0 --partial 'the PIN is empty'
	printf '\r\n' >"$PLACE/right"
	run_fails 7 proxied project list --pin-file "$PLACE/right"
	assert_line --index 0 --partial 'the PIN is empty'
	head -c 300 /dev/zero | tr '\0' 1 >"$PLACE/right"
	run_fails 7 proxied project list --pin-file "$PLACE/right"
	assert_line --index 0 --partial 'more than 256 bytes'
	run_fails 7 proxied project list --pin-fd 7 7</dev/zero
	assert_equal "$(calls_of C_Login)" 0
	printf '%s\r\n' "$PIN" >"$PLACE/right"
	run_ok proxied project list --pin-file "$PLACE/right"
}

# bats test_tags=softhsm
@test "I20: every command tries a wrong PIN once" {
	local command
	keyturn project create web --pin-file "$PLACE/right"
	for command in 'status' 'project list' 'secret list web' \
		'secret get web/A' 'audit verify' 'master list' \
		'master rotate -n' 'master rotate --yes --jobs 2' \
		'master resume' 'project rotate web --yes' \
		'rotation list' 'backup create b'; do
		# shellcheck disable=SC2086 # words
		run proxied $command --pin-file "$PLACE/wrong"
		assert_wrong_once
	done
	run_fails 10 proxied doctor --pin-file "$PLACE/wrong"
	assert_line --regexp '^\[FAIL\] D04 .*PIN rejected'
	assert_equal "$(calls_of C_Login)" 1
	run_ok proxied doctor --pin-file "$PLACE/right"
}

# From here on the workers find another PIN on the token than their parent did.
workers_find_a_wrong_pin() {
	echo 'C_Login * before rv CKR_PIN_INCORRECT' >"$PLACE/workers"
	cat >"$PLACE/worker" <<-END
		#!/bin/sh
		P11FAULT_PLAN='$PLACE/workers' exec '$KEYTURN_WORKER' "\$@"
	END
	chmod +x "$PLACE/worker"
	export KEYTURN_WORKER=$PLACE/worker
}

@test "I20: workers do not multiply attempts" {
	local worker=$KEYTURN_WORKER
	cp -p "$PLACE/right" "$CREDENTIAL"
	keyturn project create web
	seq 1 8 | sed 's/.*/K&=v&/' >"$PLACE/a.env"
	keyturn secret import web "$PLACE/a.env"
	workers_find_a_wrong_pin
	run_fails 7 proxied master rotate --yes --jobs 2 --batch-size 2
	assert_output --partial 'PIN rejected by the token'
	run grep -cw CKR_PIN_INCORRECT "$P11FAULT_LOG"
	assert_output 1
	export KEYTURN_WORKER=$worker
	run_ok keyturn secret verify web "$PLACE/a.env"
	run_ok proxied master resume
	run_ok keyturn secret verify web "$PLACE/a.env"
}

# bats test_tags=softhsm
@test "what the token says of its tries is passed on" {
	local before
	proxied project list --pin-file "$PLACE/right"
	before=$(sed '/ C_Login /,$d' "$P11FAULT_LOG" |
		grep -c ' C_GetTokenInfo ')
	proxy_plan "C_GetTokenInfo $((before + 1))+ after flags 0x10000"
	run_fails 7 proxied project list --pin-file "$PLACE/wrong"
	assert_line --index 1 --partial 'few tries left'
	proxy_plan "C_GetTokenInfo $((before + 1))+ after flags 0x20000"
	run_fails 7 proxied project list --pin-file "$PLACE/wrong"
	assert_line --index 1 --partial 'last try'
	proxy_plan "C_GetTokenInfo $((before + 1))+ after flags 0x40000"
	run_fails 7 proxied project list --pin-file "$PLACE/wrong"
	assert_line --index 1 --partial 'locked'
}

@test "CKR_PIN_LOCKED and CKR_PIN_EXPIRED are 7, after one attempt" {
	local code
	for code in CKR_PIN_LOCKED CKR_PIN_EXPIRED; do
		proxy_plan "C_Login * before rv $code"
		run_fails 7 proxied project list --pin-file "$PLACE/right"
		assert_line --index 0 --partial "$code"
		assert_equal "$(calls_of C_Login)" 1
	done
}

@test "the last try is not spent without --last-try" {
	proxy_plan 'C_GetTokenInfo * after flags 0x20000'
	run_fails 7 proxied project list --pin-file "$PLACE/right"
	assert_line --index 0 --partial 'one more wrong PIN locks the token'
	assert_line --index 1 --partial -- '--last-try'
	assert_equal "$(calls_of C_Login)" 0
	run_ok proxied project list --pin-file "$PLACE/right" --last-try
	assert_equal "$(calls_of C_Login)" 1
	proxy_plan 'C_GetTokenInfo * after flags 0x20000'
	run proxied project list --pin-file "$PLACE/wrong" --last-try
	assert_wrong_once
}

@test "nothing is tried on a locked token" {
	proxy_plan 'C_GetTokenInfo * after flags 0x40000'
	run_fails 7 proxied project list --pin-file "$PLACE/right"
	assert_line --index 0 --partial "PIN is locked"
	run_fails 7 proxied project list --pin-file "$PLACE/right" --last-try
	assert_equal "$(calls_of C_Login)" 0
}

# at_terminal STATUS TYPED [OPTION...]: project list, the PIN typed.
at_terminal() {
	local wanted=$1 typed=$2

	shift 2
	run_fails "$wanted" expect -c "
		spawn -noecho keyturn --module $PROXY project list $*
		expect {
			\"PIN of token 'test': \" { send \"$typed\" }
			eof { exit [lindex [wait] 3] }
		}
		expect eof
		exit [lindex [wait] 3]"
}

@test "a PIN is asked for at a terminal, without echo, and once" {
	at_terminal 0 "$PIN\\r"
	refute_output --partial "$PIN"
	assert_output --partial "PIN of token 'test'"
	# Ctrl-U and backspace
	at_terminal 0 "xyz\\025${PIN}9\\177\\r"
	proxy_plan ''
	at_terminal 7 'not-the-pin\r'
	assert_wrong_once
	at_terminal 7 '\r'
	assert_output --partial 'the PIN is empty'
	at_terminal 130 '12\003'
	at_terminal 7 "$PIN\\r" --no-input
	refute_output --partial 'PIN of token'
	assert_equal "$(calls_of C_Login)" 0
}

@test "a prompt holds up nobody else" {
	local pid
	mkfifo "$PLACE/slow"
	chmod 0600 "$PLACE/slow"
	keyturn project list --pin-file "$PLACE/slow" 3>&- &
	pid=$!
	exec 8>"$PLACE/slow" # opens once it is being read
	run_ok keyturn project list --pin-file "$PLACE/right"
	echo "$PIN" >&8
	exec 8>&-
	wait "$pid"
}

@test "I18: a PIN is in no argument, no file and no environment of a child" {
	allow_environment
	pin_file long 'a-PIN-to-be-looked-for'
	pkcs11-tool --module "$MODULE" --token-label test --login \
		--pin "$PIN" --change-pin --new-pin a-PIN-to-be-looked-for \
		>/dev/null
	cat >"$PLACE/worker" <<-END
		#!/bin/sh
		tr '\\0' '\\n' </proc/self/environ >'$PLACE/worker.environ'
		echo "\$@" >'$PLACE/worker.arguments'
		exec '$KEYTURN_WORKER' "\$@"
	END
	chmod +x "$PLACE/worker"
	export KEYTURN_WORKER=$PLACE/worker
	export KEYTURN_PIN=a-PIN-to-be-looked-for
	keyturn project create web
	seq 1 8 | sed "s/.*/K&=v&/" >"$PLACE/a.env"
	keyturn secret import web "$PLACE/a.env"
	run_ok keyturn master rotate --yes --batch-size 2
	refute_output --partial a-PIN-to-be-looked-for
	assert_exist "$PLACE/worker.environ"
	rm "$PLACE/long"
	refute_found a-PIN-to-be-looked-for "$PLACE"
}
