#!/usr/bin/env bats
# Single-fault loops over the token: one call of a whole command fails, is done
# and reported as failed, gives damaged output, or is the last thing that a
# process does. Afterwards, without the fault, the vault is whole and the work
# can be done; and a token's trouble was never taken for a corrupt row.
#
# A sample hits each function with each class of return code. With
# KEYTURN_TORTURE_FULL=1 each single call meets everything. With
# KEYTURN_TORTURE_ON=1 a failed round does not end the loop.
# shellcheck shell=bash
# Variables go to and come from faults.bash, tests are subshells of bats.
# shellcheck disable=SC2030,SC2031,SC2034,SC2154
# Names that faults.bash sets and reads:
# shellcheck disable=SC2154,SC2034

load ../cli/helper
load faults

setup() {
	faults_setup
}

vault_with_secrets() {
	local p
	vault_new
	for p in web api; do
		keyturn project create "$p"
		seq 6 | sed "s/.*/KEY_&='value & of $p'/" >"$PLACE/$p.env"
		keyturn secret import "$p" "$PLACE/$p.env"
	done
	keep
	values=$(checked)
}

# What the checker says of the values; it fails with any finding.
checked() {
	locked "$BIN_DIR/checker" "$STORE" "$REAL_MODULE" test \
		"$PLACE/credentials/pin" >"$PLACE/checked" 2>&1 || {
		cat "$PLACE/checked"
		return 1
	}
	tail -n 1 "$PLACE/checked"
}

# SoftHSM rewrites token.object in place in C_Login, and nothing of ours can
# mend what a kill in there leaves: it is put back.
mend_token_file() {
	local file
	for file in "$PLACE"/tokens/*/token.object; do
		[ -s "$file" ] ||
			cp "${file/tokens/kept/tokens}" "$file"
	done
}

same_values() {
	assert_equal "$(checked)" "$values"
	run_ok keyturn audit verify
}

# Only the keys of the vault are on the token, and doctor finds nothing to mend.
no_orphans() {
	run_ok keyturn doctor
	assert_line --partial "D18 no orphans of interrupted generations: none of 5"
}

WHOLE_ROTATION='keyturn master rotate --yes --grace 0 --jobs 2 &&
	keyturn master destroy 1 --confirm 1'

rotation() {
	sql "SELECT count(*) FROM rotations WHERE $1"
}

# No row is named bad but where the token said so of a blob or damaged one, and
# then only that one.
names_no_row() {
	local most=0
	case $rule in
	*CKR_WRAPPED_KEY_INVALID | *corrupt) most=1 ;;
	esac
	run sql 'SELECT hex(subject), reason FROM faults'
	[ "${#lines[@]}" -le "$most" ] || {
		echo "token trouble was taken for a corrupt row: $output"
		return 1
	}
}

# Back or forward, in turn, from wherever it stopped; then the key that is left
# over goes.
go_on() {
	if [ "$(rotation 1)" = 0 ]; then
		run_ok keyturn master rotate --yes --grace 0
	elif [ $((rounds % 2)) = 0 ] && [ "$(rotation 'activated IS NULL')" = 1 ]
	then
		run_ok keyturn master rollback --yes
		run_ok keyturn master destroy 2 --confirm 2
		return
	elif [ "$(rotation 'contracted IS NULL')" = 1 ]; then
		run_ok keyturn master resume
	fi
	[ "$(rotation 'destroyed IS NULL')" = 0 ] ||
		run_ok keyturn master destroy 1 --confirm 1
}

rotation_survives() {
	mend_token_file
	names_no_row
	same_values
	go_on
	same_values
	no_orphans
}

@test "a whole master rotation, one fault a time" {
	local n i
	vault_with_secrets
	rules "$WHOLE_ROTATION" device
	# What is signed is believed for ever: each of these.
	n=$(awk '$1 == "C_Sign" { print $2 }' "$PLACE/calls")
	for ((i = 1; i <= n; i++)); do
		echo "C_Sign $i after corrupt"
	done >>"$PLACE/rules"
	rounds "$WHOLE_ROTATION" rotation_survives
}

# From some call on nothing works any more; then it does again.
@test "I15: a token that stays sick or away is no corrupt row" {
	local function n i rv
	vault_with_secrets
	rules "$WHOLE_ROTATION"
	for function in C_UnwrapKey C_WrapKey; do
		n=$(awk -v f="$function" '$1 == f { print $2 }' "$PLACE/calls")
		for i in 1 2 3 4; do
			for rv in CKR_GENERAL_ERROR 0x80000042; do
				echo "$function $((n * i / 5))+ before rv $rv"
			done
		done
	done >"$PLACE/rules"
	n=$(awk '{ sum += $2 } END { print sum }' "$PLACE/calls")
	for i in 1 2 3 4 5 6 7; do
		echo "* $((n * i / 8)) before gone 1000000"
	done >>"$PLACE/rules"
	rounds "$WHOLE_ROTATION" rotation_survives
}

# Everything but the audit trail, which may tell of what was tried.
state() {
	sqlite3 -batch "$STORE" .dump |
		grep -vE 'INTO (audit|audit_head|checkpoints|lease) '
}

nothing_changed() {
	assert_equal "$(state | sha256sum)" "$before"
}

# The value or nothing; whoever is killed may have said it before.
get_survives() {
	local said
	mend_token_file
	nothing_changed
	said=$(cat "$PLACE/out")
	if [ "$ended" = 0 ] || { [ "$ended" = 137 ] && [ -n "$said" ]; }; then
		assert_equal "$said" 'value 3 of web'
	else
		assert_equal "$said" ''
	fi
	run_ok keyturn secret get web/KEY_3
	assert_output 'value 3 of web'
}

@test "secret get, one fault a time" {
	vault_with_secrets
	before=$(state | sha256sum)
	rules 'keyturn secret get web/KEY_3' blob
	# What the token decrypts is what it is: nobody can know better.
	sed -i '/^C_Decrypt .* corrupt/d' "$PLACE/rules"
	rounds 'keyturn secret get web/KEY_3' get_survives
}

# Written whole or not at all.
set_survives() {
	mend_token_file
	checked >/dev/null
	run_ok keyturn audit verify
	if [ "$(sql 'SELECT count(*) FROM versions')" = 12 ]; then
		[ "$ended" != 0 ]
		nothing_changed
		run_ok keyturn secret get web/KEY_3
		assert_output 'value 3 of web'
	else
		run_ok keyturn secret get web/KEY_3
		assert_output 'another value'
	fi
	run_ok bash -c "$SET"
	run_ok keyturn secret get web/KEY_3
	assert_output 'another value'
}

@test "secret set, one fault a time" {
	SET='printf "another value" | keyturn secret set web/KEY_3'
	vault_with_secrets
	before=$(state | sha256sum)
	rules "$SET" lost
	rounds "$SET" set_survives
}

create_survives() {
	mend_token_file
	same_values
	if [ "$(sql 'SELECT count(*) FROM projects')" = 2 ]; then
		[ "$ended" != 0 ]
		nothing_changed
		run_ok keyturn project create late
	fi
	secret_put late/ONE 'in a late project' 2>/dev/null
	run_ok keyturn secret get late/ONE
	assert_output 'in a late project'
}

@test "project create, one fault a time" {
	vault_with_secrets
	before=$(state | sha256sum)
	rules 'keyturn project create late' memory
	rounds 'keyturn project create late' create_survives
}

# The CKA_IDs of the objects on the token.
ids_on_token() {
	pkcs11-tool --module "$REAL_MODULE" --token-label test --login \
		--pin "$PIN" --list-objects 2>/dev/null |
		sed -n 's/^ *ID: *//p' | sort -u
}

# A failed init leaves nothing, or it names what it had to leave, or doctor
# finds it; after it init works. One that was killed may leave its database,
# which the next one refuses to touch.
init_survives() {
	local id
	mend_token_file
	if [ "$ended" = 0 ]; then
		checked >/dev/null
		no_orphans
		return
	fi
	if [ "$ended" = 137 ]; then
		rm -f "$STORE"* "$KEYTURN_CONFIG"
	fi
	assert_file_not_exists "$STORE"
	assert_file_not_exists "$KEYTURN_CONFIG"
	ids_on_token >"$PLACE/left"
	run_ok bash -c "$INIT"
	keyturn doctor >"$PLACE/doctor" 2>&1 || true
	while read -r id; do
		grep -qiF "$id" "$PLACE/err" ||
			grep -qi "D18.*$id" "$PLACE/doctor"
	done <"$PLACE/left"
	checked >/dev/null
}

@test "init, one fault a time" {
	INIT="rm -f '$KEYTURN_CONFIG'; keyturn init --store '$STORE' \
		--token 'pkcs11:token=test' --module '$MODULE'"
	keep
	rules "$INIT"
	gaps >>"$PLACE/rules"
	rounds "$INIT" init_survives
}

# A bad key lies on the token: no fault may make it look good.
doctor_survives() {
	mend_token_file
	[ "$ended" != 0 ]
	run grep -F '[ ok ] D17' "$PLACE/out"
	assert_output ''
	nothing_changed
}

@test "doctor calls no bad key good, whatever fails" {
	local n i class
	vault_with_secrets
	before=$(state | sha256sum)
	pkcs11-tool --module "$REAL_MODULE" --token-label test --login \
		--pin "$PIN" --keygen --key-type AES:32 --id 01 --sensitive \
		--extractable
	keep
	run keyturn doctor
	assert_output --partial '[FAIL] D17'
	more=10 # it failed already
	rules 'keyturn doctor || [ $? = 10 ]'
	gaps >>"$PLACE/rules"
	n=$(awk '$1 == "C_GetAttributeValue" { print $2 }' "$PLACE/calls")
	for class in lost device memory; do
		for i in 1 2 3 4 5 6; do
			code "$class"
			echo "C_GetAttributeValue $((n * i / 7))+ before rv $code"
		done
	done >>"$PLACE/rules"
	# Whose attributes are changed on the way cannot be told from a good one.
	sed -i -e '/^C_GetAttributeValue .* corrupt/d' \
		-e '/C_\(GetAttrib\|Find\|OpenS\|Login\|GetSess\|GenerateR\)/!d' "$PLACE/rules"
	rounds 'keyturn doctor' doctor_survives
}

@test "every function was hit by every class of return code" {
	covered
}
