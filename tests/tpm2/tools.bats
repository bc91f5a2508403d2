#!/usr/bin/env bats
# The module by other people's programs: pkcs11-tool and p11tool do on a TPM
# what they do on any token.

load helper

setup() {
	token_setup
}

# p11 OPTION...: p11tool on the module, logged in.
p11() {
	GNUTLS_PIN=$PIN p11tool --provider "$MODULE" --login "$@"
}

@test "the token shows itself, with and without its TPM" {
	run_ok tool --list-slots
	assert_line --partial 'test'
	assert_line --partial 'TPM 2.0'
	assert_line --partial 'token initialized, PIN initialized'
	serial=$(sed -n 's/.*serial num *: //p' <<<"$output")
	tpm_stop
	run_ok tool --list-slots
	assert_line --partial "$serial"
	tpm_start
	run_ok tool --list-mechanisms
	assert_line --partial '0xD4504D01'
	run_ok p11tool --provider "$MODULE" --list-tokens
	assert_line --partial "serial=$serial;token=test"
}

@test "keys are made, listed and destroyed" {
	key_new 01 wrap
	key_new 02 sign
	pair_new 03
	run_ok user --list-objects
	assert_line --partial 'key-01'
	assert_line --partial 'Usage:      wrap, unwrap'
	assert_equal "$(grep -c 'never extractable' <<<"$output")" 3
	run_ok tool --list-objects
	refute_output --partial 'key-01'
	run_ok user --delete-object --type secrkey --id 01
	run_fails user --delete-object --type pubkey --id 03
	run_ok user --delete-object --type privkey --id 03
	run_ok user --list-objects
	assert_line --partial 'key-02'
	refute_output --partial 'key-01'
	refute_output --partial 'key-03'
}

@test "what a key of the token may not be is refused" {
	run_fails user --keygen --key-type GENERIC:32 --id 01 --usage-wrap
	assert_line --partial CKR_TEMPLATE_INCONSISTENT
	run_fails user --keygen --key-type GENERIC:32 --id 01 --usage-wrap \
		--usage-sign --sensitive --private
	run_fails user --keygen --key-type GENERIC:32 --id 01 --usage-wrap \
		--sensitive --private --extractable
	run_fails user --keygen --key-type AES:32 --id 01 --sensitive --private
	run_fails user --keygen --key-type GENERIC:16 --id 01 --usage-wrap \
		--sensitive --private
	run_fails user --keypairgen --key-type EC:secp384r1 --id 01 --usage-sign
	run_ok user --list-objects
	refute_output --partial Object
}

@test "no value is read, and no key is made without a login" {
	key_new 01 wrap
	run_fails user --read-object --type secrkey --id 01
	assert_line --partial CKR_ATTRIBUTE_SENSITIVE
	run_fails tool --keygen --key-type GENERIC:32 --id 02 --usage-wrap \
		--sensitive --private
}

@test "a MAC is the same in another process and after the TPM's restart" {
	key_new 02 sign
	printf 'some data' >"$PLACE/data"
	run_ok user --sign -m SHA256-HMAC --id 02 -i "$PLACE/data" -o "$PLACE/mac"
	assert_equal "$(stat -c %s "$PLACE/mac")" 32
	tpm_stop
	tpm_start
	run_ok user --verify -m SHA256-HMAC --id 02 -i "$PLACE/data" \
		--signature-file "$PLACE/mac"
	assert_line --partial 'is valid'
	printf 'other data' >"$PLACE/data"
	run user --verify -m SHA256-HMAC --id 02 -i "$PLACE/data" \
		--signature-file "$PLACE/mac"
	refute_line --partial 'is valid'
}

@test "a signature verifies with OpenSSL alone" {
	pair_new 03
	head -c 32 /dev/urandom >"$PLACE/digest"
	run_ok user --sign -m ECDSA --id 03 -i "$PLACE/digest" \
		-o "$PLACE/signature" --signature-format openssl
	run_ok user --read-object --type pubkey --id 03 -o "$PLACE/key.der"
	run_ok openssl pkeyutl -verify -pubin -keyform DER \
		-inkey "$PLACE/key.der" -in "$PLACE/digest" \
		-sigfile "$PLACE/signature"
	head -c 32 /dev/urandom >"$PLACE/digest"
	run_fails openssl pkeyutl -verify -pubin -keyform DER \
		-inkey "$PLACE/key.der" -in "$PLACE/digest" \
		-sigfile "$PLACE/signature"
}

@test "the PIN is changed, and only the new one opens the token" {
	run_ok user --change-pin --new-pin 4321
	run_fails user --list-objects
	assert_line --partial CKR_PIN_INCORRECT
	run_ok tool --login --pin 4321 --change-pin --new-pin "$PIN"
	key_new 01 wrap
	run_ok user --list-objects
	assert_line --partial key-01
}

@test "too many wrong PINs lock the token, for the right one too" {
	run_ok tool --list-slots
	refute_output --partial 'count low'
	# A TPM that was just made locks after three.
	for _ in 1 2; do
		run_fails tool --login --pin 0000 --list-objects
		assert_line --partial CKR_PIN_INCORRECT
	done
	run_ok tool --list-slots
	assert_line --partial 'final user PIN try'
	run_fails tool --login --pin 0000 --list-objects
	assert_line --partial CKR_PIN
	run_fails user --list-objects
	assert_line --partial CKR_PIN_LOCKED
	run_ok tool --list-slots
	assert_line --partial 'user PIN locked'
}

@test "a new start needs the security officer and takes every key along" {
	key_new 01 wrap
	run_ok client seal 01 "$PLACE/sealed"
	cp -a "$PLACE/state" "$PLACE/copy"
	run_fails tool --init-token --slot 0 --label new --so-pin 0000
	assert_line --partial CKR_PIN_INCORRECT
	run_ok client open 01 "$PLACE/sealed"
	run_ok tool --init-token --slot 0 --label new --so-pin "$SO_PIN"
	run_fails user --list-objects
	assert_line --partial CKR_USER_PIN_NOT_INITIALIZED
	run_ok tool --init-pin --login --login-type so --so-pin "$SO_PIN" \
		--pin "$PIN"
	run_ok user --list-objects
	refute_output --partial Object
	rm -r "$PLACE/state"
	cp -a "$PLACE/copy" "$PLACE/state"
	run_fails client open 01 "$PLACE/sealed"
}

@test "p11tool makes, uses and deletes a key pair" {
	run_ok p11 --generate-privkey=ecdsa --curve=secp256r1 --label pair \
		pkcs11:token=test --outfile "$PLACE/key.pem"
	assert_file_exists "$PLACE/key.pem"
	run_ok p11 --list-all pkcs11:token=test
	assert_line --partial 'object=pair;type=private'
	assert_line --partial 'object=pair;type=public'
	run_ok p11 --test-sign 'pkcs11:token=test;object=pair;type=private'
	assert_line --partial 'Verifying against public key in the token... ok'
	run_ok p11 --batch --delete 'pkcs11:token=test;object=pair'
	assert_line --partial '2 objects deleted'
	run p11 --list-all pkcs11:token=test
	assert_output --partial 'No matching objects'
}

@test "pkcs11-tool's own tests find nothing" {
	key_new 01 wrap
	pair_new 03
	run_ok user --test
	assert_line --partial 'No errors'
	run_ok tool --test-fork --list-slots
	refute_output --partial error
}

@test "random bytes come, and differ" {
	run_ok tool --generate-random 64 --output-file "$PLACE/one"
	run_ok tool --generate-random 64 --output-file "$PLACE/two"
	assert_equal "$(stat -c %s "$PLACE/one")" 64
	run_fails cmp -s "$PLACE/one" "$PLACE/two"
}
