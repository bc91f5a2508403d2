#!/usr/bin/env bats
# What others see, with tools that know nothing of keyturn: pkcs11-tool on the
# token, sqlite3 and grep on the files, /proc on the processes. Nothing secret
# is anywhere but where it belongs, and no error says it (I6, I18).

load helper

# Nothing else on the machine is spelled like these.
PIN=pInM4rker-7c1f
VALUE=vAlueM4rker-93be
NESTED=kEyM4rker-5d20

setup() {
	vault_setup keyturn project create web
	mkdir "$PLACE/seen"
}

tool() {
	pkcs11-tool --module "$MODULE" --token-label test --login --pin "$PIN" \
		"$@"
}

cka_ids() {
	sql "SELECT lower(hex(cka_id)) FROM keys WHERE role IN ($1)
	     AND destroyed IS NULL"
}

# tool_fails CODE OPTION...: the token itself refuses.
tool_fails() {
	local code=$1

	shift
	run tool "$@"
	assert_failure
	assert_output --partial "$code"
}

@test "master keys: sensitive, never extractable, wrap and unwrap only" {
	local id
	secret_put web/A "$VALUE"
	keyturn master rotate --yes --grace 1h
	cka_ids 1,2 >"$PLACE/ids"
	assert_equal "$(wc -l <"$PLACE/ids")" 4
	while read -r id; do
		tool --list-objects --type secrkey 2>/dev/null |
			grep -B 2 -A 2 "ID: *$id" >"$PLACE/object"
		assert_equal "$(grep -c Object "$PLACE/object")" 1
		run cat "$PLACE/object"
		assert_line --partial 'AES length 32'
		assert_line --regexp '^  Usage: +wrap, unwrap$'
		assert_line --regexp \
			'^  Access: +sensitive, always sensitive, never extractable, local$'
	done <"$PLACE/ids"
}

@test "the other keys are no less guarded, and sign only" {
	keyturn status
	tool --list-objects 2>/dev/null >"$PLACE/objects"
	assert_equal "$(grep -c 'Secret Key Object' "$PLACE/objects")" 3
	assert_equal "$(grep -c 'Private Key Object' "$PLACE/objects")" 1
	run grep -A 4 'Private Key Object' "$PLACE/objects"
	assert_line --regexp '^  Usage: +sign$'
	assert_line --regexp \
		'^  Access: +sensitive, always sensitive, never extractable, local$'
	run grep -A 4 'Generic secret' "$PLACE/objects"
	assert_line --regexp \
		'^  Access: +sensitive, always sensitive, never extractable, local$'
	# no key of a project and no data key ever stays on the token
	secret_put web/A "$VALUE"
	keyturn secret get web/A >/dev/null
	tool --list-objects 2>/dev/null | cmp - "$PLACE/objects"
}

@test "who has the PIN cannot read, change, wrap out or misuse a master key" {
	local id
	head -c 16 /dev/zero >"$PLACE/block"
	tool --keygen --key-type AES:32 --usage-wrap --id 77 --label thief \
		>/dev/null
	tool --keygen --key-type AES:32 --id 78 --label loot --extractable \
		>/dev/null
	# the thief's key does wrap
	run_ok tool --wrap -m AES-KEY-WRAP --id 77 --application-id 78 \
		--output-file "$PLACE/wrapped"
	for id in $(cka_ids 1,2,5); do
		tool_fails 'get CKA_VALUE failed' --read-object --type secrkey \
			--id "$id"
		tool_fails C_SetAttributeValue --type secrkey --id "$id" \
			--set-id 79
		tool_fails CKR_KEY_UNEXTRACTABLE --wrap -m AES-KEY-WRAP \
			--id 77 --application-id "$id" \
			--output-file "$PLACE/stolen"
	done
	for id in $(cka_ids 1,2); do
		tool_fails CKR_KEY_FUNCTION_NOT_PERMITTED --encrypt -m AES-ECB \
			--id "$id" --input-file "$PLACE/block"
		tool_fails CKR_KEY_FUNCTION_NOT_PERMITTED --decrypt -m AES-ECB \
			--id "$id" --input-file "$PLACE/block"
	done
	assert_not_exist "$PLACE/stolen"
	run_ok keyturn status
}

# A text, a piece of it and what it is spelled as elsewhere: how a careless
# program would leave it.
spellings() {
	local base64
	printf '%s\n' "$1" "${1:0:8}"
	printf %s "$1" | od -An -tx1 | tr -d ' \n' | sed 's/$/\n/'
	printf %s "$1" | od -An -tx1 | tr -d ' \n' | tr a-f A-F | sed 's/$/\n/'
	base64=$(printf %s "$1" | base64 -w 0)
	printf '%s\n' "${base64:0:-4}"
}

# kept_nowhere MARKER: no file of vault, token, locks or home holds it.
kept_nowhere() {
	local text
	while read -r text; do
		refute_found "$text" "$PLACE"/{data,tokens,run,home,seen}
	done < <(spellings "$1")
}

# Every value of the tests below has the marker at its front.
many_values() {
	seq 1 80 | sed "s/.*/KEY_&='$VALUE number &'/"
}

@test "no plaintext in the database, its journal, the token or any file" {
	local pid tries=0 seen=no
	# the search does find what is there
	run_ok grep -rlaF web "$PLACE/data"
	many_values | keyturn secret import web - --format dotenv
	keyturn access issue web --scope write -o "$PLACE/access"
	secret_put web/KEY_1 "$VALUE again"
	keyturn secret get web/KEY_1 >/dev/null
	kept_nowhere "$VALUE"
	kept_nowhere "$(cut -d _ -f 3 "$PLACE/access")"
	# in the middle of a transaction, with a journal
	until [ "$seen" = yes ]; do
		[ $((tries += 1)) -le 30 ]
		many_values >"$PLACE/values"
		keyturn secret import web - --format dotenv <"$PLACE/values" \
			>"$PLACE/seen/out" 2>&1 3>&- &
		pid=$!
		while kill -0 "$pid" 2>/dev/null; do
			[ -e "$STORE-journal" ] || [ -s "$STORE-wal" ] || continue
			kill -STOP "$pid"
			! cp "$STORE"-* "$PLACE/seen/" 2>/dev/null || seen=yes
			kept_nowhere "$VALUE"
			kill -CONT "$pid"
			break
		done
		wait "$pid"
	done
	keyturn master rotate --yes --grace 0 >"$PLACE/seen/rotate" 2>&1
	keyturn project rotate web --yes --no-token >"$PLACE/seen/p" 2>&1
	keyturn backup create "$PLACE/seen/backup.db" >/dev/null
	keyturn doctor >"$PLACE/seen/doctor" 2>&1
	keyturn audit list --json >"$PLACE/seen/audit"
	keyturn rotation show last --json >"$PLACE/seen/rotation"
	kept_nowhere "$VALUE"
	kept_nowhere "$PIN"
	run_ok keyturn secret verify web - --format dotenv <"$PLACE/values"
}

@test "no wrap is a key in the clear: each has the length of its mechanism" {
	secret_put web/A "$VALUE"
	run sql 'SELECT DISTINCT length(blob) FROM wraps'
	assert_output 40
	# all of them differ, and none is another with the integrity block cut
	assert_equal "$(sql 'SELECT count(DISTINCT blob) FROM wraps')" \
		"$(sql 'SELECT count(*) FROM wraps')"
	# neither value nor length is seen but for the tag
	run sql 'SELECT length(ciphertext) FROM versions'
	assert_output $((${#VALUE} + 16))
	secret_put web/B "$VALUE"
	assert_equal "$(sql 'SELECT count(DISTINCT ciphertext) FROM versions')" 2
	assert_equal "$(sql 'SELECT count(DISTINCT nonce) FROM versions')" 2
}

# children PID: its worker processes.
children() {
	cat "/proc/$1/task/$1/children"
}

# held_rotation: a rotation that is stopped while its workers are there; its
# process is $held, theirs are $workers.
held_rotation() {
	many_values | keyturn secret import web - --format dotenv
	keyturn master rotate --yes --grace 0 --batch-size 1 --jobs 2 \
		>"$PLACE/seen/rotate" 2>&1 3>&- &
	held=$!
	workers=
	until [ "$(wc -w <<<"$workers")" = 2 ]; do
		kill -0 "$held"
		workers=$(children "$held")
	done
	kill -STOP "$held"
	workers=$(children "$held")
	assert_equal "$(wc -w <<<"$workers")" 2
}

@test "argv and environment of keyturn and its workers hold nothing" {
	local pid held workers file
	export MARK_OF_THE_TEST=is-seen
	held_rotation
	for pid in $held $workers; do
		for file in cmdline environ; do
			# who is not root sees still less
			tr '\0' '\n' <"/proc/$pid/$file" >"$PLACE/$file" ||
				assert_not_equal "$(id -u)" 0
			run grep -cF -e "$PIN" -e "$VALUE" "$PLACE/$file"
			assert_output 0
		done
		[ "$(id -u)" != 0 ] || grep -q is-seen "$PLACE/environ"
		run grep 'Max core file size' "/proc/$pid/limits"
		assert_output --regexp '^Max core file size +0 +0 '
	done
	kill -CONT "$held"
	wait "$held"
	many_values | keyturn secret verify web - --format dotenv
}

@test "a PIN of the environment does not reach the workers" {
	local pid held workers
	sed -i 's/allow-environment: false/allow-environment: true/' \
		"$KEYTURN_CONFIG"
	rm "$CREDENTIALS_DIRECTORY/pin"
	export KEYTURN_PIN=$PIN
	run_ok keyturn status
	held_rotation
	for pid in $workers; do
		tr '\0' '\n' <"/proc/$pid/environ" >"$PLACE/environ" ||
			assert_not_equal "$(id -u)" 0
		run grep -c -e KEYTURN_PIN -e "$PIN" "$PLACE/environ"
		assert_output 0
	done
	kill -CONT "$held"
	wait "$held"
}

# dumped COMMAND...: whether a process killed by SIGABRT once it has read all of
# its stdin leaves a core; the pipe is full before, so that it must have read.
dumped() {
	rm -f core* "$PLACE/fifo"
	mkfifo "$PLACE/fifo"
	bash -c 'ulimit -c unlimited
		"$@" <"$0" & echo $! >pid
		wait $!' "$PLACE/fifo" "$@" >"$PLACE/said" 2>&1 3>&- &
	exec 8>"$PLACE/fifo"
	{ printf %s "$VALUE" && head -c 200000 /dev/zero; } >&8
	kill -ABRT "$(cat pid)"
	wait $! || true
	exec 8>&-
	run cat "$PLACE/said"
	assert_output --partial Aborted
	[ -n "$(find . -name 'core*')" ] || grep -q 'core dumped' "$PLACE/said"
}

@test "no core is left of a process that holds a secret" {
	mkdir "$PLACE/cores"
	cd "$PLACE/cores"
	# where an ordinary process leaves one, keyturn does not
	dumped tail -c 1000000 || echo 'no cores here, of whatever' >&3
	run dumped keyturn secret set web/A
	assert_failure
	assert_equal "$(find . -name 'core*')" ''
	run_ok grep -c Aborted "$PLACE/said"
	run grep -c 'core dumped' "$PLACE/said"
	assert_output 0
	run_fails 3 keyturn secret get web/A
}

@test "no core is left of a worker" {
	local held workers
	mkdir "$PLACE/cores"
	cd "$PLACE/cores"
	ulimit -c unlimited || true
	held_rotation
	# shellcheck disable=SC2086 # both of them
	kill -ABRT $workers
	kill -CONT "$held"
	wait "$held" || true
	assert_equal "$(find . -name 'core*')" ''
	many_values | keyturn secret verify web - --format dotenv
}

# heard COMMAND...: it must fail, and what it said is kept.
heard() {
	local status=0
	printf '\n$ a command\n' >>"$PLACE/seen/said"
	"$@" >>"$PLACE/seen/said" 2>&1 || status=$?
	assert_not_equal "$status" 0
	assert_not_equal "$status" 127
	errors=$((errors + 1))
}

# nothing_was_said MARKER...: in no output and no audit entry.
nothing_was_said() {
	local marker
	keyturn audit list --json >"$PLACE/seen/audit"
	for marker in "$@"; do
		kept_nowhere "$marker"
	done
	# each of them said something
	assert [ "$(grep -c '^keyturn: ' "$PLACE/seen/said")" -ge "$errors" ]
}

# The module that injects faults stands in front of the token's own.
with_fault() {
	printf '%s\n' "$1" >"$PLACE/plan"
	shift
	P11FAULT_MODULE=$MODULE P11FAULT_PLAN=$PLACE/plan \
		P11FAULT_LOG=$PLACE/seen/p11.log \
		"$@" --module "$BIN_DIR/../lib/p11fault.so"
}

set_value() {
	printf %s "$VALUE" | keyturn secret set "$@"
}

import_value() {
	printf %b "$2" | keyturn secret import web - --format "$1"
}

@test "I18: no error says a value, whatever goes wrong with it" {
	local errors=0 call
	secret_put web/A "$VALUE"
	keyturn access issue web >"$PLACE/access" 2>/dev/null
	heard set_value nope/A
	heard set_value web/-bad
	heard set_value web/A --store "$PLACE/data/none.db"
	heard set_value web/A --token pkcs11:token=none
	heard set_value web/A --module /nonexistent.so
	heard set_value web/A --access-token-file "$PLACE/access"
	heard set_value web/A --config "$PLACE/none.yaml"
	heard keyturn secret set web/A "$VALUE" </dev/null
	heard keyturn secret set web/A --value="$VALUE" </dev/null
	heard keyturn secret set web/A --value "$VALUE" </dev/null
	# shellcheck disable=SC2016 # for that bash
	heard bash -c '{ printf %s "$1"; head -c 1048576 /dev/zero; } |
		keyturn secret set web/A' - "$VALUE"
	for call in C_OpenSession C_Login C_FindObjectsInit C_UnwrapKey \
		C_GenerateKey C_EncryptInit C_Encrypt C_WrapKey C_Sign \
		C_SignInit; do
		heard with_fault "$call 1+ before rv CKR_GENERAL_ERROR" \
			set_value web/A
		heard with_fault "$call 1+ before rv CKR_DEVICE_REMOVED" \
			set_value web/A
	done
	for call in C_UnwrapKey C_DecryptInit C_Decrypt; do
		heard with_fault "$call 1+ before rv CKR_GENERAL_ERROR" \
			keyturn secret get web/A
	done
	# shellcheck disable=SC2016 # for that bash
	heard bash -c 'trap "" XFSZ; ulimit -f 4
		printf %s "$1" | keyturn secret set web/A' - "$VALUE"
	heard script -qec 'keyturn secret get web/A' /dev/null </dev/null
	heard bash -c 'keyturn secret get web/A >/dev/full'
	heard keyturn secret get web/A -o "$PLACE/no/such/place"
	heard keyturn secret get web/A --version 7
	heard keyturn secret verify web - --format dotenv <<<"A='$VALUE not'"
	heard keyturn secret verify web - --format dotenv <<<"B='$VALUE'"
	sql 'UPDATE versions SET ciphertext = randomblob(length(ciphertext))'
	heard keyturn secret get web/A
	heard keyturn secret verify web - --format dotenv <<<"A='$VALUE'"
	nothing_was_said "$VALUE"
}

@test "I18: no error says a byte of a file of values" {
	local errors=0
	heard import_value dotenv "A=1\n$VALUE\n"
	heard import_value dotenv "$VALUE with blanks=1\n"
	heard import_value dotenv "A='$VALUE\n"
	heard import_value dotenv "A=\"$VALUE\n"
	heard import_value dotenv "A=\"$VALUE\" $VALUE\n"
	heard import_value dotenv "A=\"\\\\q$VALUE\"\n"
	heard import_value dotenv "A=$VALUE\nA=$VALUE\n"
	heard import_value dotenv "A=$VALUE\00\n"
	heard import_value dotenv "= $VALUE\n"
	heard import_value json "$VALUE"
	heard import_value json "\"$VALUE\""
	heard import_value json "[\"$VALUE\"]"
	heard import_value json "{\"A\": $VALUE}"
	heard import_value json "{\"A\": \"$VALUE"
	heard import_value json "{\"A\": \"$VALUE\" \"$VALUE\"}"
	heard import_value json "{\"A\": \"$VALUE\\\\q\"}"
	heard import_value json "{\"A\": \"$VALUE\xff\"}"
	heard import_value json "{\"A\": \"$VALUE\\\\u0000\"}"
	heard import_value json "{\"A\": [\"$VALUE\"]}"
	heard import_value json "{\"A\": {\"$NESTED\": \"$VALUE\"}}"
	heard import_value json "{\"A\": {\"$NESTED\": \"$VALUE\", \"$NESTED\": 1}}"
	heard import_value json "{\"$NESTED\": \"1\", \"$NESTED\": \"2\"}"
	heard import_value json "{\"$NESTED\\\\u0000\": \"$VALUE\"}"
	heard import_value json "{\"A\": \"1\"} $VALUE"
	nothing_was_said "$VALUE" "$NESTED"
}

with_pin() {
	printf %b "$1" >"$CREDENTIALS_DIRECTORY/pin"
	shift
	"$@"
}

@test "I18: no error says a PIN, right or wrong" {
	local errors=0 call code
	secret_put web/A v
	heard with_pin "$PIN-wrong" keyturn status
	heard with_pin "$PIN\n\n" keyturn status
	heard with_pin "$PIN\nmore" keyturn status
	heard with_pin "$PIN $(printf '%0300d' 0)" keyturn status
	heard with_pin "$PIN-wrong" keyturn doctor
	heard with_pin "$PIN-wrong" keyturn init --store "$PLACE/o.db" \
		--config "$PLACE/o.yaml" --token pkcs11:token=test \
		--module "$MODULE"
	heard with_pin "$PIN-wrong" keyturn master rotate --yes
	chmod 644 "$CREDENTIALS_DIRECTORY/pin"
	heard keyturn status
	chmod 600 "$CREDENTIALS_DIRECTORY/pin"
	printf %s "$PIN" >"$CREDENTIALS_DIRECTORY/pin"
	heard keyturn status --pin "$PIN"
	heard keyturn status --pin="$PIN"
	heard keyturn --pin="$PIN" status
	heard keyturn status "$PIN"
	heard keyturn status --token "pkcs11:token=test;pin-value=$PIN"
	heard keyturn status --token "pkcs11:token=test?pin-value=$PIN"
	heard keyturn status --pin-fd 7 7<<<"$PIN-wrong"
	heard keyturn status --pin-fd "$PIN"
	printf 'pin: %s\n' "$PIN" >"$PLACE/bad.yaml"
	heard keyturn status --config "$PLACE/bad.yaml"
	printf 'pin:\n  value: %s\n' "$PIN" >"$PLACE/bad.yaml"
	heard keyturn status --config "$PLACE/bad.yaml"
	for call in C_OpenSession C_Login C_FindObjects C_UnwrapKey; do
		for code in CKR_GENERAL_ERROR CKR_PIN_INCORRECT CKR_PIN_LOCKED \
			CKR_PIN_EXPIRED CKR_USER_NOT_LOGGED_IN; do
			heard with_fault "$call 1+ before rv $code" \
				keyturn secret get web/A
		done
	done
	rm "$CREDENTIALS_DIRECTORY/pin"
	heard env KEYTURN_PIN="$PIN" keyturn status
	heard expect -c '
		spawn -noecho keyturn status
		expect "PIN of token"
		send "'"$PIN"'-wrong\r"
		expect eof
		exit [lindex [wait] 3]'
	printf %s "$PIN" >"$CREDENTIALS_DIRECTORY/pin"
	chmod 600 "$CREDENTIALS_DIRECTORY/pin"
	nothing_was_said "$PIN"
}

@test "I18: no error says an access token" {
	local errors=0 token secret
	secret_put web/A v
	keyturn access issue web >"$PLACE/access" 2>/dev/null
	token=$(cat "$PLACE/access")
	secret=$(cut -d _ -f 3 "$PLACE/access")
	heard keyturn secret set web/A --access-token-file "$PLACE/access" <<<v
	heard keyturn project list --access-token-file "$PLACE/access"
	heard keyturn secret get web/A --access-token-fd 7 7<<<"${token:0:65}"
	heard keyturn secret get web/A --access-token-fd 7 7<<<"x$token"
	heard keyturn secret get web/A --access-token-fd 7 \
		7<<<"$token$(printf '%0600d' 0)"
	heard keyturn secret get web/A --access-token "$token"
	heard keyturn secret get web/A --access-token="$token"
	heard keyturn secret get web/A --access-token-fd "$token"
	heard keyturn secret get web/A "$token"
	heard keyturn access revoke "$token"
	heard keyturn access revoke "$secret"
	heard bash -c 'keyturn access issue web >/dev/full'
	heard keyturn access issue web -o "$PLACE/no/such/place"
	heard with_fault 'C_Sign 1+ before rv CKR_GENERAL_ERROR' \
		keyturn secret get web/A --access-token-file "$PLACE/access"
	heard with_fault 'C_UnwrapKey 1+ before rv CKR_GENERAL_ERROR' \
		keyturn secret get web/A --access-token-file "$PLACE/access"
	keyturn access revoke "$(cut -d _ -f 2 "$PLACE/access")"
	heard keyturn secret get web/A --access-token-file "$PLACE/access"
	nothing_was_said "$secret"
	run grep -cE '[0-9A-Za-z]{43}_' "$PLACE/seen/said"
	assert_output 0
}

@test "I6: every process asks for no dumps before it reads the PIN" {
	many_values | keyturn secret import web - --format dotenv
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
		run_ok strace -f -s 64 -o "$PLACE/trace" \
		-e trace=execve,prctl,prlimit64,read,recvfrom \
		keyturn master rotate --yes --grace 0 --jobs 2 --batch-size 1
	# shellcheck disable=SC2016 # it is perl
	run perl -ne 'my ($pid) = /^(\d+)/;
		$programs++ if /\bexecve\b.* = 0$/;
		$off{$pid} |= 1 if /PR_SET_DUMPABLE, (SUID_DUMP_DISABLE|0)\b/;
		$off{$pid} |= 2 if /RLIMIT_CORE, \{rlim_cur=0, rlim_max=0\}/;
		next unless /\b(read|recvfrom)\b.*".*'"$PIN"'/;
		$read{$pid}++;
		print "$pid read the PIN before\n" if ($off{$pid} // 0) != 3;
		END { printf "%d of %d\n", scalar keys %read, $programs }' \
		"$PLACE/trace"
	assert_output '5 of 5' # two workers for each of the two keys
}

@test "I6: memory that cannot be locked is said, and all works" {
	local drop=()
	[ "$(id -u)" != 0 ] || drop=(setpriv --bounding-set -ipc_lock)
	secret_put web/A "$VALUE"
	run --separate-stderr bash -c 'ulimit -l 0 && exec "$@"' - \
		"${drop[@]}" keyturn secret get web/A
	assert_success
	assert_output "$VALUE"
	# shellcheck disable=SC2154 # by run
	# the address sanitizer has a heap of its own
	[[ $stderr == *'the memory for secrets is not locked'* ]] ||
		grep -qa __asan_init "$BIN_DIR/keyturn"
	run --separate-stderr keyturn secret get web/A
	[[ $stderr != *'not locked'* ]]
}
