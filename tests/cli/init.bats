#!/usr/bin/env bats
# keyturn init: what it makes, what it refuses before it makes anything, and
# that neither a failure nor a kill leaves something in the way of another try.
# shellcheck disable=SC2030,SC2031 # a test is a subshell, run sets status

load helper
load proxy

setup() {
	place_setup
	token_new test
	proxy_setup
}

# init [OPTION...]: on the token 'test'.
init() {
	keyturn init --token 'pkcs11:token=test' --module "$MODULE" \
		"${VAULT_OPTIONS[@]}" "$@"
}

objects_of_token() {
	token_objects | grep -c 'Object;' || true
}

# Nothing on the token, no database, no configuration.
assert_nothing_left() {
	assert_equal "$(objects_of_token)" 0
	assert_equal "$(find "$PLACE/data" -type f)" ''
	assert_not_exist "$KEYTURN_CONFIG"
}

# Without a configuration, as after an init that did not end.
keyturn_bare() {
	KEYTURN_CONFIG='' keyturn --token 'pkcs11:token=test' \
		--module "$MODULE" "$@"
}

@test "init makes private files and four keys and says what comes next" {
	run_ok init
	assert_output --partial "Made a vault in $STORE"
	assert_output --partial "Wrote $KEYTURN_CONFIG"
	for next in 'keyturn doctor' 'keyturn project create' \
		'keyturn secret set'; do
		assert_line --partial "  $next"
	done
	assert_equal "$(stat -c %a "$STORE" "$KEYTURN_CONFIG" | xargs)" '600 600'
	# an EC pair is two objects
	assert_equal "$(objects_of_token)" 5
	cd /
	run_ok keyturn doctor
	run_ok keyturn audit verify
}

@test "init makes the directories it needs, for nobody else" {
	run_ok init --store "$PLACE/new/deep/v.db" --config "$PLACE/etc/k.yaml"
	assert_equal "$(stat -c %a "$PLACE"/{new,new/deep,etc} | xargs)" \
		'700 700 700'
	run_ok keyturn --config "$PLACE/etc/k.yaml" \
		--store "$PLACE/new/deep/v.db" status
}

@test "relative paths are whole in the configuration" {
	unset KEYTURN_STORE
	cd "$PLACE"
	run_ok init --store ./data/v.db --pin-file credentials/pin
	cd /
	CREDENTIALS_DIRECTORY='' run_ok keyturn status
	assert_output --partial "$PLACE/data/v.db"
}

@test "talk goes to stderr, and --quiet is quiet" {
	init >"$PLACE/out" 2>"$PLACE/err"
	assert_equal "$(cat "$PLACE/out")" ''
	rm "$STORE" "$KEYTURN_CONFIG"
	run_ok init --quiet
	assert_output ''
}

@test "an existing database is refused, and stays as it is" {
	proxy_plan ''
	echo something else >"$STORE"
	run_fails 5 init --module "$PROXY"
	assert_output --partial "$STORE exists"
	assert_equal "$(cat "$STORE")" 'something else'
	rm "$STORE"
	ln -s "$PLACE/nowhere" "$STORE"
	run_fails 5 init --module "$PROXY"
	assert_not_exist "$PLACE/nowhere"
	assert_equal "$(calls_of C_Login)" 0
	assert_equal "$(objects_of_token)" 0
	assert_not_exist "$KEYTURN_CONFIG"
}

@test "a whole vault that lacks its configuration gets it, and nothing else" {
	local whole
	KEYTURN_CRASH=init.whole:1:KILL run -137 init
	assert_not_exist "$KEYTURN_CONFIG"
	whole=$(sha256sum "$STORE")
	run_ok init
	assert_output --partial "Found a vault in $STORE"
	assert_output --partial "Wrote $KEYTURN_CONFIG"
	assert_equal "$(sha256sum "$STORE")" "$whole"
	assert_equal "$(objects_of_token)" 5
	mv "$KEYTURN_CONFIG" "$PLACE/first.yaml"
	run_ok init
	assert_files_equal "$KEYTURN_CONFIG" "$PLACE/first.yaml"
	run_ok keyturn doctor
}

@test "another vault than the one asked for gets no configuration" {
	init
	rm "$KEYTURN_CONFIG"
	run_fails 5 init --recovery-wraps off
	assert_line --index 0 --partial 'made already, with recovery wraps on'
	token_new other
	run_fails 6 keyturn init --token 'pkcs11:token=other' \
		--module "$MODULE"
	assert_line --index 0 --partial 'belongs to the token with serial'
	echo 9999 >"$CREDENTIALS_DIRECTORY/pin"
	run_fails 7 init
	assert_not_exist "$KEYTURN_CONFIG"
}

@test "a value that the configuration cannot hold makes no vault" {
	run_fails 2 init --store "$PLACE/data/$(printf 'two\nlines')"
	assert_line --index 0 --partial 'control character'
	assert_nothing_left
}

@test "an existing configuration is refused, and stays as it is" {
	echo '# mine' >"$KEYTURN_CONFIG"
	run_fails 5 init --module "$PROXY"
	assert_output --partial "$KEYTURN_CONFIG exists"
	assert_output --partial -- '--config'
	assert_equal "$(cat "$KEYTURN_CONFIG")" '# mine'
	assert_equal "$(calls_of C_Initialize)" 0
	rm "$KEYTURN_CONFIG"
	ln -s "$PLACE/nowhere" "$KEYTURN_CONFIG"
	run_fails 5 init
	assert_not_exist "$PLACE/nowhere"
	rm "$KEYTURN_CONFIG"
	assert_nothing_left
}

@test "a token has to be named" {
	run_fails 2 keyturn init --module "$MODULE"
	assert_line --partial -- '--token is missing'
	KEYTURN_TOKEN='pkcs11:token=test' run_ok keyturn init --module "$MODULE"
}

# refused_uri URI WORDS
refused_uri() {
	run_fails 2 keyturn init --module "$MODULE" --token "$1"
	assert_line --index 0 --partial "$2"
	refute_output --partial "$PIN"
}

@test "a token URI means what it says or is refused" {
	refused_uri test 'does not begin with pkcs11:'
	refused_uri pkcs11: 'names no token'
	refused_uri 'pkcs11:tokn=test' "'tokn' is not known"
	refused_uri 'pkcs11:token=test;slot-id=1' 'slot numbers change'
	refused_uri 'pkcs11:token=test;token=test' 'stands twice'
	refused_uri 'pkcs11:token=' 'has no value'
	refused_uri 'pkcs11:token=test;object=key' 'names an object'
	refused_uri "pkcs11:token=test?pin-value=$PIN" 'PIN inside'
	refused_uri "pkcs11:token=test;pin-value=$PIN" 'PIN inside'
	refused_uri 'pkcs11:token=%zz' 'token URI'
	assert_nothing_left
}

@test "an unknown token is 6, and those that are there are named" {
	run_fails 6 keyturn init --module "$MODULE" --token pkcs11:token=other
	assert_line --index 0 --partial 'no token matches pkcs11:token=other'
	assert_line --index 1 --partial "'test' (serial"
	assert_nothing_left
}

@test "of two tokens with one label none is taken; the serial names one" {
	local serial
	serial=$(pkcs11-tool --module "$MODULE" -L |
		sed -n 's/.*serial num *: //p' | head -n 1)
	token_new test
	run_fails 6 init
	assert_line --index 0 --partial '2 tokens match'
	assert_line --index 1 --partial "(serial $serial)"
	run_ok keyturn init --module "$MODULE" \
		--token "pkcs11:token=test;serial=$serial"
	run_ok keyturn status
	assert_line --regexp "Serial +$serial"
}

# refused_module STATUS MODULE WORDS
refused_module() {
	run_fails "$1" keyturn init --token 'pkcs11:token=test' --module "$2"
	assert_line --index 0 --partial "$3"
}

@test "a module that is missing, not one, or not named is refused" {
	run_fails 2 keyturn init --token 'pkcs11:token=test'
	assert_line --index 0 --partial 'no PKCS#11 module is named'
	refused_module 6 "$PLACE/none.so" 'No such file'
	echo no library >"$PLACE/text.so"
	refused_module 6 "$PLACE/text.so" 'load module'
	refused_module 6 "$PLACE" 'load module'
	refused_module 6 "$(ldconfig -p | sed -n 's/.*libz.so.1 .* => //p' |
		head -n 1)" 'C_GetFunctionList'
	refused_module 6 no-such-name "no module named 'no-such-name'"
	run_fails 2 keyturn init \
		--token 'pkcs11:token=test?module-path=lib/x.so'
	assert_line --index 0 --partial 'not an absolute path'
	assert_nothing_left
}

@test "the module may be named by the URI" {
	run_ok keyturn init \
		--token "pkcs11:token=test?module-path=$MODULE"
	run_ok keyturn status
}

# bats test_tags=softhsm
@test "recovery wraps are on unless they are switched off" {
	init
	run_ok keyturn status
	assert_line --regexp '^Recovery wraps +yes'
	rm "$STORE" "$KEYTURN_CONFIG"
	run_ok init --recovery-wraps off
	run_ok keyturn status
	assert_line --regexp '^Recovery wraps +no'
	assert_equal "$(sql 'SELECT count(*) FROM keys WHERE role = 2')" 0
	rm "$STORE" "$KEYTURN_CONFIG"
	run_fails 2 init --recovery-wraps perhaps
	assert_line --partial 'none of on, off'
}

@test "a token that breaks the policy is refused, or recorded" {
	proxy_plan 'C_CopyObject * before rv CKR_OK'
	run_fails 6 init --module "$PROXY"
	assert_line --index 0 --partial 'fails the gate: copy-decrypt'
	assert_nothing_left
	run_fails 2 init --gate lax
	run_ok init --module "$PROXY" --gate warn
	assert_line --partial 'fail: copy-decrypt copy-extractable'
	run grep -c '^  gate: warn$' "$KEYTURN_CONFIG"
	assert_output 1
	run_ok keyturn status
	assert_line --regexp '^Gate .*fail: copy-decrypt copy-extractable'
}

@test "without a PIN or with a wrong one nothing is made" {
	rm "$CREDENTIALS_DIRECTORY/pin"
	run_fails 7 init </dev/null
	assert_nothing_left
	echo 9999 >"$CREDENTIALS_DIRECTORY/pin"
	chmod 0600 "$CREDENTIALS_DIRECTORY/pin"
	run_fails 7 init --module "$PROXY"
	assert_equal "$(calls_of C_Login)" 1
	assert_nothing_left
}

@test "files that cannot be made are found out before a key is made" {
	echo file >"$PLACE/file"
	run_fails 2 init --config "$PLACE/file/k.yaml" --module "$PROXY"
	assert_line --partial "configuration: cannot make directory"
	run_fails 2 init --config /proc/none/k.yaml --module "$PROXY"
	run_fails 8 init --store "$PLACE/file/v.db" --module "$PROXY"
	assert_line --partial "store: cannot make directory"
	run_fails 8 init --store /proc/none/v.db --module "$PROXY"
	assert_equal "$(calls_of C_Initialize)" 0
	assert_nothing_left
}

@test "when the disk is full nothing is left, and later it works" {
	for blocks in 1 4 16 64; do
		run_fails 8 bash -c "trap '' XFSZ; ulimit -f $blocks
			exec keyturn init --token pkcs11:token=test \
				--module '$MODULE'"
		assert_nothing_left
	done
	run_ok init
	run_ok keyturn doctor
}

@test "a token that fails in between gets its keys taken back" {
	local at
	for at in 'C_GenerateKeyPair 1 before' 'C_GenerateKeyPair 1 after' \
		'C_Login 2 before' 'C_Login 3 before'; do
		proxy_plan "$at rv CKR_DEVICE_ERROR"
		run_fails 6 init --module "$PROXY"
		assert_line --index 0 --partial CKR_DEVICE_ERROR
		assert_nothing_left
	done
	run_ok init
	run_ok keyturn doctor
}

@test "I4: a key that cannot be taken back is named" {
	local before
	init --module "$PROXY"
	before=$(sed '/ C_GenerateKeyPair /,$d' "$P11FAULT_LOG" |
		grep -c ' C_DestroyObject ')
	rm -r "$STORE" "$KEYTURN_CONFIG" "$PLACE/tokens"
	mkdir "$PLACE/tokens"
	token_new test
	proxy_plan 'C_GenerateKeyPair 1 before rv CKR_DEVICE_ERROR' \
		"C_DestroyObject $((before + 1))+ before rv CKR_DEVICE_ERROR"
	run_fails 6 init --module "$PROXY"
	assert_line --index 0 --partial 'C_GenerateKeyPair: CKR_DEVICE_ERROR'
	assert_line --index 1 --partial 'may still hold unused objects with CKA_ID'
	assert_equal "$(objects_of_token)" 1
	assert_not_exist "$STORE"
	assert_not_exist "$KEYTURN_CONFIG"
}

@test "a configuration that is not written leaves the way to the vault" {
	run init --config /proc/k.yaml
	refute [ "$status" = 0 ]
	if [ -e "$STORE" ]; then
		assert_line --partial 'the vault is made, but not its config'
		assert_line --partial "--store '$STORE'"
		run_ok keyturn_bare doctor
	fi
}

# The token as it was, without a key: it only gets slower by what is on it.
keep_token() {
	cp -a "$PLACE/tokens" "$PLACE/tokens.empty"
}

empty_token() {
	rm -r "$PLACE/tokens"
	cp -a "$PLACE/tokens.empty" "$PLACE/tokens"
}

# After a kill: says what there is, clears it away by what the hint says, and
# makes a vault, in which nothing of before is in the way.
assert_recovers() {
	run keyturn_bare status
	case $status in
	0) # all was done but the configuration
		run_ok init
		run_ok keyturn doctor
		rm "$KEYTURN_CONFIG"
		;;
	8)
		if [ -e "$STORE" ]; then
			assert_line --regexp 'hint: .*remove .*keyturn init'
			run_fails 5 init
			assert_line --partial 'keyturn status --store'
		else
			assert_line --partial 'there is no database'
		fi
		;;
	*)
		fail "status ended with $status: $output"
		;;
	esac
	rm -f "$STORE"
	run_ok init
	run_ok keyturn doctor
	run_ok keyturn project create web
	rm "$STORE" "$KEYTURN_CONFIG"
}

# The calls of a whole init that touch keys, and those around its reloads.
moments() {
	init --module "$PROXY" >&2
	rm "$STORE" "$KEYTURN_CONFIG"
	grep -nE ' C_(GenerateKeyPair|Finalize|Login) ' \
		"$P11FAULT_LOG" | cut -d : -f 1
	grep -nE ' C_GenerateKey ' "$P11FAULT_LOG" | tail -n 4 |
		cut -d : -f 1
}

# A TPM has no room for so many vaults.
# bats test_tags=softhsm
@test "I8: init is killed at any call to the token, and init works again" {
	local at when killed=0
	keep_token
	for at in $(moments 2>"$PLACE/err"); do
		for when in before after; do
			empty_token
			proxy_plan "* $at $when kill"
			run -137 init --module "$PROXY"
			proxy_plan ''
			killed=$((killed + 1))
			assert_recovers
		done
	done
	[ "$killed" -gt 15 ]
}

# bats test_tags=softhsm
@test "I8: init is killed at any sync of a file, and init works again" {
	local n=0 ended
	keep_token
	while :; do
		n=$((n + 1))
		empty_token
		ended=0
		ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
			strace -o "$PLACE/trace" -e trace=fsync,fdatasync \
			-e "inject=fsync,fdatasync:signal=KILL:when=$n" \
			keyturn init --token 'pkcs11:token=test' \
			--module "$MODULE" >"$PLACE/out" 2>&1 || ended=$?
		[ "$ended" = 137 ] || break
		if [ -e "$KEYTURN_CONFIG" ]; then
			run_ok keyturn doctor
			rm "$STORE" "$KEYTURN_CONFIG"
		else
			assert_recovers
		fi
	done
	assert_equal "$ended" 0
	[ "$n" -gt 10 ]
}

@test "I4: the keys of a killed init are listed, and never used" {
	local at
	init --module "$PROXY"
	at=$(grep -n ' C_GenerateKeyPair ' "$P11FAULT_LOG" | cut -d : -f 1)
	rm "$STORE" "$KEYTURN_CONFIG"
	rm -r "$PLACE/tokens"
	mkdir "$PLACE/tokens"
	token_new test
	proxy_plan "* $at after kill"
	run -137 init --module "$PROXY"
	proxy_plan ''
	rm "$STORE"
	run_ok init
	run_ok keyturn doctor
	assert_line --regexp '^\[warn\] D18.*keyturn row-mac'
	assert_line --regexp '^\[warn\] D18.*keyturn audit'
	assert_line --partial 'pkcs11-tool --delete-object'
}

@test "a database that lost its vault row is not called empty" {
	init
	sqlite3 "$STORE" 'PRAGMA foreign_keys = OFF; DELETE FROM vault'
	run_fails 8 keyturn status
	assert_output --partial 'no vault in it'
	refute_output --partial remove
}
