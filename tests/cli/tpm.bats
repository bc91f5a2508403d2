# What is a TPM's alone: making a token in one, its PINs and lockout, the TPM that
# goes away, evidence that OpenSSL verifies, and a destruction that no backup
# undoes. Runs on the TPM only.

load helper
load evidence

setup() {
	place_setup
	umask 077
	printf '%s\n' "$SO_PIN" >"$PLACE/so-pin"
	printf 'owner-secret\n' >"$PLACE/owner"
	printf 'lockout-secret\n' >"$PLACE/lockout"
}

# token_init [OPTION...]: the command as an operator gives it.
token_init() {
	keyturn token init --tpm --tcti "$TCTI" --module "$MODULE" \
		--state "$PLACE/tokens/test" --label test \
		--so-pin-file "$PLACE/so-pin" "$@"
}

vault() {
	token_init 2>"$PLACE/token.out"
	vault_new
	keyturn project create web 2>/dev/null
	secret_put web/A hunter2 2>/dev/null
}

tpm_stop() {
	# shellcheck disable=SC2154 # by tpm_run
	kill "$tpm_pid"
	wait "$tpm_pid" 2>/dev/null || true
}

tpm2() {
	TPM2TOOLS_TCTI=$TCTI command tpm2 "$@"
}

@test "token init makes a token, says where and what comes next" {
	run_ok token_init
	assert_line --regexp "^Made token 'test' \(serial [0-9a-f]{16}\) in the TPM"
	assert_line --partial 'Keep the folder'
	assert_line --regexp "^  keyturn init --module .* --token 'pkcs11:serial="
	assert_equal "$(stat -c %a "$PLACE/tokens/test")" 700
	run_ok cat "$KEYTURN_TPM2_CONF"
	assert_line "  - tcti: '$TCTI'"
	assert_line "    state: '$PLACE/tokens/test'"
	run_ok pkcs11-tool --module "$MODULE" --list-token-slots
	assert_line --regexp 'token label +: test'
	# Under the vault of this token the audit trail names it.
	run_ok vault_new
	run_ok keyturn doctor
}

@test "what is there is refused and stays" {
	local before
	token_init 2>/dev/null
	before=$(cat "$PLACE/tokens/test/token.conf" "$KEYTURN_TPM2_CONF" | sha256)
	run_fails 5 token_init
	assert_line --index 0 --partial 'there is a token'
	TCTI=device:/dev/none run_fails 5 token_init
	assert_line --index 0 --partial "with the TPM '$TCTI'"
	assert_equal "$before" \
		"$(cat "$PLACE/tokens/test/token.conf" "$KEYTURN_TPM2_CONF" | sha256)"
}

@test "a token that is left half made is made by the next try" {
	printf '12' >"$PLACE/short"
	run_fails 7 token_init --pin-file "$PLACE/short"
	assert_line --index 0 --partial "the user's PIN has 2 bytes"
	run_fails 7 token_init --so-pin-file "$PLACE/short"
	assert_line --index 0 --partial "security officer's PIN has 2 bytes"
	assert_not_exist "$PLACE/tokens/test"
	# As after a kill between C_InitToken and C_InitPIN.
	printf 'tokens:\n- {tcti: "%s", state: "%s"}\n' "$TCTI" \
		"$PLACE/tokens/test" >"$KEYTURN_TPM2_CONF"
	run_ok pkcs11-tool --module "$MODULE" --slot-index 0 --init-token \
		--label test --so-pin "$SO_PIN"
	printf '87654321' >"$PLACE/other"
	run_fails 7 token_init --so-pin-file "$PLACE/other"
	run_ok token_init
	run_ok vault_new
	run_fails 5 token_init
}

@test "wrong usage is 2, and leaves nothing" {
	run_fails 2 keyturn token init
	assert_line --index 0 --partial '--tpm is missing'
	run_fails 2 token_init --state tokens/test
	run_fails 2 token_init --pcrs 24
	run_fails 2 token_init --pcrs 7,x
	run_fails 2 token_init --label "$(printf '%033d' 0)"
	run_fails 2 keyturn token init --tpm --module "$MODULE" --no-input
	assert_line --index 0 --partial '--so-pin-file is missing'
	run_fails 6 token_init --module /usr/lib/softhsm/libsofthsm2.so
	assert_output --partial "not keyturn's own"
	printf 'short: yes\n' >"$KEYTURN_TPM2_CONF"
	run_fails 2 token_init
	assert_equal "$(cat "$KEYTURN_TPM2_CONF")" 'short: yes'
	assert_not_exist "$PLACE/tokens/test"
}

@test "a TPM that does not answer is 6; the entry is taken back" {
	tpm_stop
	run_fails 6 token_init
	assert_line --index 0 --partial CKR_DEVICE_REMOVED
	assert_line --index 1 --partial "no TPM answers at '$TCTI'"
	assert_equal "${#lines[@]}" 2
	assert_not_exist "$KEYTURN_TPM2_CONF"
	assert_not_exist "$PLACE/tokens/test"
}

@test "owner and lockout authorisations are set, and asked for from then on" {
	run_ok token_init --new-owner-auth-file "$PLACE/owner" \
		--new-lockout-auth-file "$PLACE/lockout"
	run_ok tpm2 getcap properties-variable
	assert_line --regexp 'ownerAuthSet: +1'
	assert_line --regexp 'lockoutAuthSet: +1'
	run token_init --state "$PLACE/tokens/second"
	refute [ "$status" = 0 ]
	assert_output --partial owner
	assert_not_exist "$PLACE/tokens/second"
	run_ok token_init --state "$PLACE/tokens/second" --label second \
		--owner-auth-file "$PLACE/owner"
	# Neither stands where it could be read.
	refute_found owner-secret "$PLACE/tokens" "$PLACE/tpm2.yaml"
	refute_found lockout-secret "$PLACE/tokens" "$PLACE/tpm2.yaml"
	# Keys are made with the owner's authorisation out of the login.
	run_ok vault_new
}

@test "recovery wraps are off unless asked for; mechanisms are by role" {
	token_init 2>/dev/null
	# shellcheck disable=SC2034 # by vault_new
	VAULT_OPTIONS=()
	vault_new
	keyturn project create web 2>/dev/null
	secret_put web/A hunter2 2>/dev/null
	run_ok keyturn status
	assert_line --regexp '^Recovery wraps +no$'
	assert_line --regexp '^  Mechanism +TPM-WRAP$'
	assert_equal "$(sql 'SELECT DISTINCT mech FROM keys WHERE role = 1')" 5
	assert_equal "$(sql 'SELECT DISTINCT mech FROM keys WHERE role = 3')" 1
	assert_equal "$(sql 'SELECT length(w.blob) FROM wraps w JOIN keys k
		ON k.id = w.wrapping_key WHERE k.role = 1')" 104
	assert_equal "$(sql 'SELECT length(w.blob) FROM wraps w JOIN keys k
		ON k.id = w.wrapping_key WHERE k.role = 3')" 40
	run_ok keyturn project rotate web --yes
	assert_equal "$(sql 'SELECT DISTINCT mech FROM keys WHERE role = 3')" 1
	run_ok keyturn master rotate --yes --grace 0
	run_ok keyturn secret get web/A
	assert_output hunter2
}

@test "I20: wrong PINs are counted by the TPM, which locks, and says so" {
	vault
	printf '9999\n' >"$PLACE/wrong"
	chmod 0600 "$PLACE/wrong"
	run_fails 7 keyturn secret get web/A --pin-file "$PLACE/wrong"
	assert_line --index 0 --partial 'C_Login: CKR_PIN_INCORRECT'
	run_ok keyturn doctor
	assert_line --regexp '^\[warn\] D04'
	run_fails 7 keyturn secret get web/A --pin-file "$PLACE/wrong" --last-try
	run_fails 7 keyturn secret get web/A --pin-file "$PLACE/wrong"
	assert_line --index 0 --partial 'one more wrong PIN locks'
	run_fails 7 keyturn secret get web/A --pin-file "$PLACE/wrong" --last-try
	run_fails 7 keyturn secret get web/A
	assert_line --index 0 --partial locked
	run_ok tpm2 dictionarylockout --clear-lockout
	run_ok keyturn secret get web/A
	assert_output hunter2
}

@test "a TPM that goes is 6; all is well when it is back" {
	local outside
	vault
	outside=$(keyturn secret get web/A)
	tpm_stop
	run_fails 6 keyturn secret get web/A
	assert_line --partial "no TPM answers at '$TCTI'"
	run_fails 6 keyturn master rotate --yes
	rm -f "$PLACE/tpm/s" "$PLACE/tpm/s.ctrl"
	tpm_run
	run_ok keyturn secret get web/A
	assert_output "$outside"
	run_ok keyturn master rotate --yes
	run_ok keyturn doctor
}

@test "PCRs: another state is refused by name, until the SO sets the PIN" {
	token_init --pcrs 7,16 2>/dev/null
	vault_new
	run_ok keyturn doctor
	tpm2 pcrextend "16:sha256=$(printf '%064d' 7)"
	run keyturn doctor
	assert_output --partial 'PCR 16'
	refute_output --partial 'PCR 7 '
	run keyturn project list
	refute [ "$status" = 0 ]
	assert_line --partial 'PCR 16'
	run_ok pkcs11-tool --module "$MODULE" --token-label test --login \
		--login-type so --so-pin "$SO_PIN" --init-pin --new-pin "$PIN"
	run_ok keyturn project list
}

@test "evidence: OpenSSL verifies where a key was born" {
	local nonce=5ca1ab1e00ff5ca1ab1e00ff5ca1ab1e
	vault
	run_ok keyturn token attest master --output "$PLACE/ev" --nonce "$nonce"
	assert_line "$PLACE/ev/key.attest"
	run_ok born "$PLACE/ev" "$nonce"
	run born "$PLACE/ev" "${nonce/5c/5d}"
	assert_output --partial nonce
	run_ok keyturn token attest row-mac/1 --output "$PLACE/mac"
	refute [ "$(sha256 "$PLACE/mac/key.public")" = "$(sha256 "$PLACE/ev/key.public")" ]
	# The gate hangs on this counter; the other key's is another.
	cp -r "$PLACE/ev" "$PLACE/swapped"
	cp "$PLACE/mac/counter.public" "$PLACE/swapped/counter.public"
	run born "$PLACE/swapped" "$nonce"
	assert_output --partial 'another policy'
	# Another key's public area, or another attestation, is noticed.
	cp "$PLACE/mac/key.public" "$PLACE/ev/key.public"
	run born "$PLACE/ev" "$nonce"
	assert_output --partial "another key's"
	cp "$PLACE/mac/key.attest" "$PLACE/ev/key.attest"
	run born "$PLACE/ev" "$nonce"
	assert_output --partial 'wrong signature'
	run_ok keyturn audit list
	assert_output --partial token.attest
}

@test "evidence: names that are not keys, and files that are there" {
	vault
	run_fails 2 keyturn token attest master
	run_fails 2 keyturn token attest project --output "$PLACE/ev"
	run_fails 2 keyturn token attest master/0 --output "$PLACE/ev"
	run_fails 3 keyturn token attest master/2 --output "$PLACE/ev"
	run_fails 2 keyturn token attest master --output "$PLACE/ev" --nonce 123
	run_fails 2 keyturn token attest master --output "$PLACE/ev" --nonce zz
	run_fails 2 keyturn token attest master --output "$PLACE/ev" \
		--nonce "$(printf '%066d' 0)"
	keyturn token attest master --output "$PLACE/ev" >/dev/null
	run keyturn token attest master --output "$PLACE/ev"
	refute [ "$status" = 0 ]
	assert_output --partial exists
}

@test "I2: a destroyed key is gone for good, and the TPM signs that it is" {
	vault
	cp -a "$PLACE/tokens" "$PLACE/tokens.before"
	cp "$STORE" "$PLACE/before.db"
	keyturn master rotate --yes --grace 0 2>/dev/null
	mkdir -p "$PLACE/taken/master"
	run_fails 5 keyturn master destroy 1 --confirm 1 --evidence "$PLACE/taken"
	run_ok keyturn master show 1
	refute_line --regexp '^  State +destroyed'
	run_ok keyturn master destroy 1 --confirm 1 --evidence "$PLACE/end"
	run_ok destroyed "$PLACE/end/master"
	run_ok destroyed "$PLACE/end/recovery"
	run_ok keyturn token attest master/1 --output "$PLACE/gone"
	run_ok destroyed "$PLACE/gone"
	run_ok diff -r "$PLACE/gone" "$PLACE/end/master"
	# The same log does not speak of another counter.
	keyturn token attest master/2 --output "$PLACE/live" >/dev/null
	refute [ -e "$PLACE/live/destroyed.log" ]
	cp "$PLACE/live/counter.public" "$PLACE/gone/counter.public"
	run destroyed "$PLACE/gone"
	assert_output --partial 'the counter is there'
	# What the folder does not know of, there is no evidence of.
	grep -l '^stage 4$' "$PLACE"/tokens/test/keys/*/meta | xargs dirname |
		xargs rm -r
	run_fails 3 keyturn token attest master/1 --output "$PLACE/none"
	assert_line --index 0 --partial 'no evidence of such a key'
	# Every file of before, and the PIN, do not bring it back.
	rm -r "$PLACE/tokens"
	mv "$PLACE/tokens.before" "$PLACE/tokens"
	run keyturn secret get web/A --store "$PLACE/before.db"
	refute [ "$status" = 0 ]
	refute_output --partial hunter2
}

@test "a token that was made again is not the vault's any more" {
	vault
	run_ok pkcs11-tool --module "$MODULE" --slot-index 0 --init-token \
		--label test --so-pin "$SO_PIN"
	run_ok pkcs11-tool --module "$MODULE" --token-label test --login \
		--login-type so --so-pin "$SO_PIN" --init-pin --new-pin "$PIN"
	run_fails 6 keyturn secret get web/A
	assert_line --index 0 --partial 'no token matches'
}
