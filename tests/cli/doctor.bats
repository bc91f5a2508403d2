#!/usr/bin/env bats
# keyturn doctor: a healthy vault passes; each thing that is broken here on
# purpose fails the check that is for it, with a fix, and no other unexpected.

load helper
load proxy

seed() {
	keyturn project create web
	secret_put web/A 'value A'
}

setup() {
	vault_setup seed
	proxy_setup
}

# finds RESULT CHECK WORDS [COMMAND...]: the doctor (or this command) shows the
# check so, with these words and a fix below, and ends with the status for it.
finds() {
	local result=$1 check=$2 words=$3 wanted=0 at

	shift 3
	[ "$result" = warn ] || wanted=10
	[ $# -gt 0 ] || set -- keyturn doctor
	run_fails "$wanted" "$@"
	assert_line --regexp "^\[$result\] $check .*$words"
	for ((at = 0; at < ${#lines[@]}; at++)); do
		[[ ${lines[at]} =~ ^\[$result\]\ $check.*$words ]] || continue
		assert_regex "${lines[at + 1]}" '^ +fix: .+'
		fix=${lines[at + 1]}
		return
	done
}

# failed: the numbers of the checks that fail.
failed() {
	keyturn doctor 2>/dev/null | sed -n 's/^\[FAIL\] \(D[0-9]*\).*/\1/p' |
		sort -u | xargs
}

tool() {
	pkcs11-tool --module "$MODULE" --token-label test --login \
		--pin "$PIN" "$@" >/dev/null 2>&1
}

cka_id() {
	sql "SELECT hex(cka_id) FROM keys
	     WHERE role = $1 AND version = ${2:-1}"
}

forge() {
	sqlite3 -batch "$STORE" "PRAGMA foreign_keys = OFF; $1"
}

@test "a healthy vault passes every check" {
	run_ok keyturn doctor
	refute_line --partial FAIL
	for check in D01 D03 D04 D05 D06 D15 D16 D17 D18 D20 D22 D23 D24 D25 \
		D28 D29 D30 D32 D33 D35 D36 D37; do
		assert_line --regexp "^\[ ok \] $check "
	done
	assert_line --regexp '^\[ ok \] D22 .*: [0-9]+ pass(, known: [a-z -]+)?$'
	assert_line --regexp '^[0-9]+ ok, [0-9]+ warn, 0 fail$'
	refute_output --partial 'value A'
}

@test "the JSON has one object a check, with what the text has" {
	keyturn doctor --json >"$PLACE/json" 2>"$PLACE/err"
	keyturn doctor >"$PLACE/text" 2>/dev/null
	run sqlite3 :memory: "SELECT count(*), sum(value ->> 'result' = 'ok'),
		min(value ->> 'title' <> ''), min(value ->> 'detail' <> ''),
		min(value ->> 'result' = 'ok' OR value ->> 'fix' <> '')
		FROM json_each(readfile('$PLACE/json'))"
	assert_output "$(grep -c '^\[' "$PLACE/text")|$(
		grep -c '^\[ ok' "$PLACE/text")|1|1|1"
	chmod 0644 "$STORE"
	keyturn doctor --json >"$PLACE/json" 2>"$PLACE/err" || code=$?
	assert_equal "$code" 10
	run sqlite3 :memory: "SELECT value ->> 'id', value ->> 'fix'
		FROM json_each(readfile('$PLACE/json'))
		WHERE value ->> 'result' = 'fail'"
	assert_output "D28|chmod go-rwx $STORE"
}

@test "D01: a module that others can write" {
	cp "$MODULE" "$PLACE/module.so"
	chmod 0666 "$PLACE/module.so"
	finds FAIL D01 'has mode 0666' \
		keyturn --module "$PLACE/module.so" doctor
	assert_regex "$fix" "chmod go-w $PLACE/module.so"
	chmod 0644 "$PLACE/module.so"
	chmod 0777 "$PLACE"
	finds FAIL D01 'has mode 0777' \
		keyturn --module "$PLACE/module.so" doctor
}

@test "D04: no token, a wrong PIN, a PIN near its end" {
	mv "$PLACE/tokens" "$PLACE/gone"
	mkdir "$PLACE/tokens"
	finds FAIL D04 'no token matches'
	assert_line --regexp '^\[ ok \] D28 database structure'
	rmdir "$PLACE/tokens"
	mv "$PLACE/gone" "$PLACE/tokens"
	echo 9999 >"$PLACE/wrong"
	chmod 0600 "$PLACE/wrong"
	finds FAIL D04 CKR_PIN_INCORRECT \
		keyturn --module "$PROXY" --pin-file "$PLACE/wrong" doctor
	assert_equal "$(calls_of C_Login)" 1
	proxy_plan 'C_GetTokenInfo * after flags 0x10000'
	finds warn D04 'there were wrong PINs' \
		keyturn --module "$PROXY" doctor
	proxy_plan 'C_GetTokenInfo * after flags 0x20000'
	finds FAIL D04 'one more wrong PIN' keyturn --module "$PROXY" doctor
	finds FAIL D04 'one more wrong PIN locks the token' \
		keyturn --module "$PROXY" doctor --last-try
	assert_line --regexp '^\[ ok \] D24 '
}

@test "D24: a token that is not the vault's" {
	mv "$PLACE/tokens" "$PLACE/gone"
	mkdir "$PLACE/tokens"
	token_new test
	finds FAIL D24 'belongs to the token with serial' \
		keyturn doctor --token 'pkcs11:token=test'
}

@test "D05: a key that is not on the token" {
	tool --delete-object --type secrkey --id "$(cka_id 1)"
	finds FAIL D05 'master key version 1 .* is not on the token'
	assert_regex "$fix" 'restore the token'
	finds FAIL D23 'master key version 1'
	finds FAIL D06 'master key version 1'
	refute [ "${fix/rotate/}" != "$fix" ]
	assert_equal "$(failed)" 'D05 D06 D23'
}

# bats test_tags=softhsm
@test "D05: two objects with one CKA_ID" {
	tool --keygen --key-type AES:32 --label twin --sensitive --private \
		--id "$(cka_id 1)"
	finds FAIL D05 '2 objects have its CKA_ID'
}

# bats test_tags=softhsm
@test "D05: a destroyed key that came back" {
	local id
	keyturn master rotate --yes --grace 0
	keyturn master destroy 1 --confirm 1
	assert_equal "$(failed)" ''
	id=$(cka_id 1)
	tool --keygen --key-type AES:32 --label back --sensitive --private \
		--id "$id"
	finds FAIL D05 'is destroyed, but on the token'
	assert_regex "$fix" 'remove it'
}

# bats test_tags=softhsm
@test "D15, D17: keys that undo others, keys that can be read" {
	tool --keygen --key-type AES:32 --label both --sensitive --private
	finds FAIL D15 "'both' \(secret-key"
	assert_equal "$(failed)" D15
	tool --delete-object --type secrkey --label both
	assert_equal "$(failed)" ''
	tool --keygen --key-type GENERIC:32 --label open --extractable \
		--sensitive --private --usage-sign
	finds FAIL D17 "'open' \(secret-key"
	assert_regex "$(failed)" D17
}

# bats test_tags=softhsm
@test "D16: a wrapping key that was made outside" {
	head -c 32 /dev/urandom >"$PLACE/key"
	tool --write-object "$PLACE/key" --type secrkey --key-type AES:32 \
		--label foreign --usage-wrap --sensitive --private
	finds FAIL D16 "'foreign' \(secret-key"
}

# What an interrupted generation leaves; see init.bats for real ones.
@test "D18: an orphan is listed by its CKA_ID, other keys are left alone" {
	local id=00112233445566778899aabbccddeeff
	tool --keygen --key-type GENERIC:32 --label 'somebody else' \
		--sensitive --private --usage-sign
	run keyturn doctor
	assert_line --regexp '^\[ ok \] D18 '
	tool --keygen --key-type GENERIC:32 --label 'keyturn master v9 x' \
		--sensitive --private --usage-sign --id "$id"
	run keyturn doctor
	assert_line --regexp "^\[warn\] D18 .*'keyturn master v9 x' .*CKA_ID $id"
	refute_line --regexp "^\[warn\] D18 .*'somebody else'"
	assert_line --partial 'fix: find out whose they are'
	tool --delete-object --type secrkey --id "$id"
	run keyturn doctor
	assert_line --regexp '^\[ ok \] D18 '
}

# Who did what was said there would have destroyed the other vault.
@test "D18: the keys of another vault on the token are called so" {
	local mine theirs
	mkdir -m 0700 "$PLACE/other"
	KEYTURN_CONFIG=$PLACE/other.yaml KEYTURN_STORE=$PLACE/other/keyturn.db \
		STORE=$PLACE/other/keyturn.db vault_new
	theirs=$(sqlite3 "$PLACE/other/keyturn.db" 'SELECT lower(hex(cka_id))
		FROM keys WHERE role = 1')
	finds warn D18 "'keyturn master v1 [^']*' \(of another vault, secret-key,\
 CKA_ID $theirs\)"
	assert_regex "$fix" 'another vault on this token, .* is lost for ever'
	# none goes unmentioned, however many there are
	mine=$(keyturn doctor | grep D18 | grep -o 'CKA_ID' | wc -l)
	mkdir -m 0700 "$PLACE/third"
	KEYTURN_CONFIG=$PLACE/third.yaml KEYTURN_STORE=$PLACE/third/keyturn.db \
		STORE=$PLACE/third/keyturn.db vault_new
	finds warn D18 ', and [0-9]+ more$'
	[[ $output =~ ,\ and\ ([0-9]+)\ more ]]
	assert_equal $((2 * mine)) $((BASH_REMATCH[1] +
		$(grep D18 <<<"$output" | grep -o 'CKA_ID' | wc -l)))
}

@test "D18: a key of this vault that only a newer database names" {
	keyturn backup create "$PLACE/old.db"
	keyturn master rotate --yes --grace 0
	keyturn backup restore "$PLACE/old.db" --yes --replace-newer
	finds warn D18 "'keyturn master v2 [^']*' \(secret-key, CKA_ID"
	assert_regex "$fix" 'or a newer database or backup of this one'
}

@test "D22: a token that stopped to enforce the policy" {
	proxy_plan 'C_CopyObject * before rv CKR_OK'
	finds FAIL D22 'fail: copy-decrypt' keyturn --module "$PROXY" doctor
}

@test "D20, D23: a token that does not unwrap any more" {
	proxy_plan 'C_UnwrapKey * before rv CKR_FUNCTION_FAILED'
	finds FAIL D20 . keyturn --module "$PROXY" doctor
	finds FAIL D23 . keyturn --module "$PROXY" doctor
}

@test "D25: a token whose random numbers are none" {
	proxy_plan 'C_GenerateRandom * after fill 7'
	finds FAIL D25 'gave 32 bytes twice' keyturn --module "$PROXY" doctor
}

@test "D28: a database that others can read" {
	chmod 0644 "$STORE"
	finds FAIL D28 'has mode 0644'
	assert_regex "$fix" "chmod go-rwx $STORE"
	chmod 0600 "$STORE"
	chmod 0755 "$PLACE/data"
	finds FAIL D28 'has mode 0755'
	assert_equal "$(failed)" D28
}

@test "D28: a database that is missing, empty or somebody else's" {
	mv "$STORE" "$PLACE/away.db"
	finds FAIL D28 'there is no database'
	assert_regex "$fix" 'restore a backup'
	assert_line --regexp '^\[ ok \] D04 '
	: >"$STORE"
	finds FAIL D28 'not a keyturn database'
	rm "$STORE"
	sqlite3 "$STORE" 'CREATE TABLE t (c)'
	finds FAIL D28 'not a keyturn database'
	refute [ "${fix/remove/}" != "$fix" ]
	head -c 4096 /dev/urandom >"$STORE"
	finds FAIL D28 .
	mv "$PLACE/away.db" "$STORE"
	assert_equal "$(failed)" ''
}

@test "D28: a damaged page, and rows that name missing rows" {
	cp "$STORE" "$PLACE/good.db"
	dd if=/dev/zero of="$STORE" bs=4096 seek=3 count=1 conv=notrunc \
		2>/dev/null
	finds FAIL D28 'database'
	cp "$PLACE/good.db" "$STORE"
	forge 'DELETE FROM secrets'
	finds FAIL D28 'names a missing row of secrets'
}

@test "D29: keys whose wraps are gone" {
	cp "$STORE" "$PLACE/good.db"
	for role in 1 2 3; do
		forge "DELETE FROM wraps WHERE wrapping_key IN
		       (SELECT id FROM keys WHERE role = $role)"
		finds FAIL D29 'has no wrap under an active'
		assert_regex "$fix" 'destroy nothing'
		cp "$PLACE/good.db" "$STORE"
	done
	assert_equal "$(failed)" ''
}

@test "D30: a changed row, by its name" {
	local table
	cp "$STORE" "$PLACE/good.db"
	for table in projects secrets versions wraps; do
		forge "UPDATE $table SET mac = zeroblob(32)"
		finds FAIL D30 "$table .*MAC is wrong"
		cp "$PLACE/good.db" "$STORE"
	done
	assert_equal "$(failed)" ''
}

@test "D32: an audit trail with a hole" {
	forge 'DELETE FROM audit WHERE seq = 3'
	finds FAIL D32 'audit entry 3'
}

@test "D33: a rotation that waits" {
	keyturn master rotate --yes --grace 1h --operator alice@there
	finds warn D33 'of the master key.*by alice@there'
	assert_regex "$fix" 'master'
	keyturn master finish --now --yes
	run_ok keyturn doctor
	assert_line --regexp '^\[ ok \] D33 '
}

@test "D36: a PIN file that others can read, a PIN in the environment" {
	echo "$PIN" >"$PLACE/pin"
	chmod 0644 "$PLACE/pin"
	finds FAIL D36 'has mode 0644' keyturn doctor --pin-file "$PLACE/pin"
	assert_regex "$fix" "chmod go-rwx $PLACE/pin"
	rm "$CREDENTIALS_DIRECTORY/pin"
	sed -i 's/allow-environment: false/allow-environment: true/' \
		"$KEYTURN_CONFIG"
	KEYTURN_PIN=$PIN finds warn D36 'the PIN is in the environment'
}

@test "D36: the source that a login takes is the one that is looked at" {
	local pin=$CREDENTIALS_DIRECTORY/pin
	run_ok keyturn doctor
	assert_line --regexp "^\[ ok \] D36 .*: $pin has mode 0600"
	# as systemd shows the access list of a service's user
	chmod 0440 "$pin"
	run_ok keyturn doctor
	assert_line --regexp "^\[ ok \] D36 .*: $pin has mode 0440"
	chmod 0444 "$pin"
	finds FAIL D36 "$pin has mode 0444"
	chmod 0600 "$pin"
	mv "$pin" "$PLACE/pin"
	run_ok keyturn doctor --token "pkcs11:token=test?pin-source=file:$PLACE/pin"
	assert_line --regexp '^\[ ok \] D36 .*the token URI names its file'
	run_ok keyturn doctor --pin-fd 5 5<"$PLACE/pin"
	assert_line --regexp '^\[ ok \] D36 .*from a descriptor'
}

@test "an init that was killed is named, with what to do" {
	rm "$STORE" "$KEYTURN_CONFIG"
	proxy_plan 'C_GenerateKeyPair 1 after kill'
	run -137 keyturn init --token pkcs11:token=test --module "$PROXY"
	proxy_plan ''
	KEYTURN_CONFIG='' finds FAIL D24 'its init was interrupted' \
		keyturn doctor --token pkcs11:token=test --module "$MODULE"
	assert_regex "$fix" 'keyturn init'
}
