#!/usr/bin/env bats
# The token as something that goes away, comes back, or is another one than
# yesterday: exit 6, nothing changed, and all is well once it is back.

load helper
load proxy

seed() {
	keyturn project create web
	secret_put web/A 'value A'
}

setup() {
	vault_setup seed
	SERIAL=$(sql 'SELECT token_serial FROM vault')
	BEFORE=$(sha256sum "$STORE")
}

# unavailable WORDS [OPTION...]: 6 with these words, for readers and writers.
unavailable() {
	local words=$1 command

	shift
	for command in 'secret get web/A' 'project create other' \
		'project rotate web --yes' 'master rotate --yes' \
		'master rotate -n' 'status' 'audit verify'; do
		# shellcheck disable=SC2086 # words
		run_fails 6 keyturn $command "$@"
		assert_output --partial "$words"
		refute_output --partial 'value A'
	done
	assert_equal "$(sha256sum "$STORE")" "$BEFORE"
}

is_well() {
	run_ok keyturn secret get web/A
	assert_output 'value A'
	run_ok keyturn doctor
}

# bats test_tags=softhsm
@test "a token that is gone is 6, and all is well when it is back" {
	mv "$PLACE/tokens" "$PLACE/gone"
	mkdir "$PLACE/tokens"
	unavailable 'no token matches'
	assert_line --partial 'no initialised token'
	rmdir "$PLACE/tokens"
	unavailable C_Initialize
	mv "$PLACE/gone" "$PLACE/tokens"
	is_well
}

@test "another token with the same label is refused by its serial number" {
	mv "$PLACE/tokens" "$PLACE/gone"
	mkdir "$PLACE/tokens"
	token_new test
	unavailable "serial=$SERIAL"
	unavailable "belongs to the token with serial $SERIAL" \
		--token 'pkcs11:token=test'
	assert_equal "$(token_objects | grep -c 'Object;' || true)" 0
	rm -r "$PLACE/tokens"
	mv "$PLACE/gone" "$PLACE/tokens"
	is_well
}

# bats test_tags=softhsm
@test "a token that gives no evidence, and is not made in a TPM, is 6" {
	run_fails 6 keyturn token attest master --output "$PLACE/evidence"
	assert_line --index 0 --partial "not keyturn's own"
	run_fails 6 keyturn token init --tpm --module "$MODULE" \
		--state "$PLACE/state" --so-pin-file "$PLACE/credentials/pin"
	assert_line --index 0 --partial "not keyturn's own"
	assert_not_exist "$PLACE/state"
}

# bats test_tags=softhsm
@test "a token that was initialised again is not the vault's any more" {
	softhsm2-util --init-token --token test --label test \
		--pin "$PIN" --so-pin "$SO_PIN" >/dev/null
	run keyturn secret get web/A
	assert_equal "$status" 6
	run keyturn secret get web/A --token 'pkcs11:token=test'
	assert_equal "$status" 6
	refute_output --partial 'value A'
	assert_equal "$(sha256sum "$STORE")" "$BEFORE"
}

@test "a second token with the same label changes nothing" {
	token_new test
	is_well
	run_fails 6 keyturn project list --token 'pkcs11:token=test'
	assert_line --index 0 --partial '2 tokens match'
	run_ok keyturn project list --token "pkcs11:serial=$SERIAL"
}

@test "a module that is removed is 6, and all is well when it is back" {
	local removable=$PLACE/module.so
	cp "$MODULE" "$removable"
	sed -i "s|^  module:.*|  module: '$removable'|" "$KEYTURN_CONFIG"
	is_well
	mv "$removable" "$PLACE/away.so"
	unavailable "$removable: No such file"
	echo 'not a module' >"$removable"
	unavailable "$removable"
	mv "$PLACE/away.so" "$removable"
	is_well
}

@test "a missing worker program is named, and nothing is lost" {
	local rotations
	seq 1 8 | sed 's/.*/K&=v&/' >"$PLACE/a.env"
	keyturn secret import web "$PLACE/a.env"
	KEYTURN_WORKER=$PLACE/none run keyturn master rotate --yes \
		--batch-size 2
	refute [ "$status" = 0 ]
	assert_output --partial "$PLACE/none"
	rotations=$(sql 'SELECT count(*) FROM rotations')
	run_ok keyturn secret verify web "$PLACE/a.env"
	[ "$rotations" = 0 ] || run_ok keyturn master resume
	is_well
}

@test "a PIN that was changed on the token: the old one is 7, the new works" {
	pkcs11-tool --module "$MODULE" --token-label test --login \
		--pin "$PIN" --change-pin --new-pin 87654321 >/dev/null
	run_fails 7 keyturn secret get web/A
	echo 87654321 >"$CREDENTIALS_DIRECTORY/pin"
	is_well
}

# forget ROLE: takes its key off the token.
forget() {
	pkcs11-tool --module "$MODULE" --token-label test --login \
		--pin "$PIN" --delete-object --type secrkey \
		--id "$(sql "SELECT hex(cka_id) FROM keys WHERE role = $1")" \
		>/dev/null 2>&1
}

@test "a token without the row-MAC key opens nothing" {
	forget 5
	run_fails 6 keyturn secret get web/A
	assert_output --partial 'row-MAC key'
	run_fails 6 keyturn project create other
	assert_equal "$(sha256sum "$STORE")" "$BEFORE"
}

@test "a master key that is not on the token is named" {
	local wraps
	wraps=$(sql 'SELECT count(*) FROM wraps')
	forget 1
	run_fails 6 keyturn project create other
	assert_output --partial 'master key version 1'
	run_fails 6 keyturn master rotate -n
	run_fails 6 keyturn master rotate --yes
	assert_output --partial 'the token has no key with CKA_ID'
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 0
	assert_equal "$(sql 'SELECT count(*) FROM wraps')" "$wraps"
	assert_equal "$(sql 'SELECT count(*) FROM projects')" 1
}

# bats test_tags=softhsm
@test "I4: a second object with the master key's CKA_ID stops its use" {
	pkcs11-tool --module "$MODULE" --token-label test --login \
		--pin "$PIN" --keygen --key-type AES:32 --label twin \
		--sensitive --private \
		--id "$(sql 'SELECT hex(cka_id) FROM keys WHERE role = 1')" \
		>/dev/null 2>&1
	run_fails 5 keyturn project create other
	assert_output --partial 'has 2 keys with this CKA_ID'
	run_fails 5 keyturn master rotate -n
	run_fails 5 keyturn master rotate --yes
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 0
	assert_equal "$(sql 'SELECT count(*) FROM projects')" 1
	pkcs11-tool --module "$MODULE" --token-label test --login \
		--pin "$PIN" --delete-object --type secrkey --label twin \
		>/dev/null 2>&1
	run_ok keyturn master rotate --yes
	run_ok keyturn secret get web/A
	assert_output 'value A'
}

@test "no token session or login outlives a command" {
	proxy_setup
	run_ok keyturn --module "$PROXY" secret get web/A
	assert_equal "$(calls_of C_Login)" 1
	assert_equal "$(calls_of C_OpenSession)" "$(calls_of C_CloseSession)"
	assert_equal "$(calls_of C_Initialize)" "$(calls_of C_Finalize)"
	proxy_plan ''
	run_fails 3 keyturn --module "$PROXY" secret get web/NONE
	assert_equal "$(calls_of C_OpenSession)" "$(calls_of C_CloseSession)"
	assert_equal "$(calls_of C_Initialize)" "$(calls_of C_Finalize)"
	proxy_plan ''
	run_ok keyturn --module "$PROXY" master rotate --yes --jobs 2
	assert_equal "$(calls_of C_Initialize)" "$(calls_of C_Finalize)"
}

# faulty PLAN COMMAND...: keyturn behind p11fault, by this one rule.
faulty() {
	proxy_setup
	proxy_plan "$1"
	run keyturn "${@:2}" --module "$PROXY"
}

@test "I15: a MAC that slips once is the token's fault, not every row's" {
	local n
	for n in 1 2 3 4; do
		faulty "C_Sign $n after corrupt" secret get web/A
		assert_equal "$status" 6
		assert_output --partial 'two MACs of the same data differ'
	done
	is_well
}

@test "I13: a token whose MACs are all alike opens nothing" {
	faulty 'C_Sign * after fill 7' secret get web/A
	assert_equal "$status" 6
	assert_output --partial 'MACs do not depend on the data'
	is_well
}

@test "I17: a signature that slips is not stored" {
	local points
	points=$(sql 'SELECT count(*) FROM checkpoints')
	# the first four are the MACs that open a vault
	faulty 'C_Sign 5 after corrupt' master compromise 1 --reason x --yes
	assert_equal "$status" 6
	assert_output --partial 'the signature does not verify'
	assert_equal "$(sql 'SELECT count(*) FROM checkpoints')" "$points"
	run_ok keyturn audit verify
	is_well
}

@test "I2: a key that the token only says it destroyed is not destroyed" {
	run_ok keyturn master rotate --yes --grace 0
	faulty 'C_DestroyObject * before rv CKR_OK' \
		master destroy 1 --confirm 1
	assert_equal "$status" 6
	assert_output --partial 'the token still has the key'
	assert_equal "$(sql 'SELECT count(*) FROM keys WHERE role IN (1, 2)
		AND destroying IS NOT NULL AND destroyed IS NULL')" 2
	run_ok keyturn master destroy 1 --confirm 1
	is_well
}

@test "I1: a new master key is synced, reloaded and found before a row is under it" {
	proxy_setup
	proxy_plan ''
	ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 \
		run_ok strace -f -s 80 -o "$PLACE/trace" -e trace=sync,write \
		keyturn master rotate --yes --grace 0 --module "$PROXY"
	# from the two C_GenerateKey of master and recovery key on
	run perl -ne 'push @calls, $1
		if /\b(sync)\(/ || /" *\d+ \d+ (C_\w+) \d+ CKR_OK/;
		END {
			shift @calls while @calls && $calls[0] ne "C_GenerateKey";
			@calls = grep { /^(sync|C_(GenerateKey|Finalize|Initialize|FindObjects|WrapKey))$/ } @calls;
			my $text = join " ", @calls[0 .. 9];
			$text =~ s/ C_FindObjects\b//g;
			print $text;
		}' "$PLACE/trace"
	assert_output --regexp \
		'^C_GenerateKey C_GenerateKey sync C_Finalize C_Initialize\b'
	is_well
}

@test "I3: a resume takes up the key that a killed rotation made" {
	local ids
	KEYTURN_CRASH=key.generated:2:KILL \
		run keyturn master rotate --yes --grace 0
	assert_equal "$status" 137
	ids=$(sql 'SELECT hex(cka_id) FROM keys WHERE role IN (1, 2)')
	run_ok keyturn master resume
	assert_equal "$(sql 'SELECT hex(cka_id) FROM keys
		WHERE role IN (1, 2)')" "$ids"
	run_ok keyturn doctor
	assert_line --partial 'D18 no orphans of interrupted generations: none'
	is_well
}

@test "I19: a slow token is waited for, and holds up no reader" {
	local pid
	proxy_setup
	proxy_plan 'C_WrapKey * before delay 150' 'C_UnwrapKey * before delay 150'
	keyturn master rotate --yes --grace 0 --module "$PROXY" \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	until [ "$(calls_of C_WrapKey)" -ge 2 ]; do
		kill -0 "$pid"
	done
	is_well # by the token itself, which is quick
	kill -0 "$pid"
	wait "$pid"
	is_well
}

# SoftHSM syncs nothing: a power loss can take a key that it acknowledged.
@test "I1: a new key that the token lost is made again" {
	cp -a "$PLACE/tokens" "$PLACE/before"
	KEYTURN_CRASH=key.generated:2:KILL \
		run keyturn master rotate --yes --grace 0
	assert_equal "$status" 137
	rm -r "$PLACE/tokens"
	mv "$PLACE/before" "$PLACE/tokens"
	run_ok keyturn secret get web/A
	run_ok keyturn master resume
	run_ok keyturn master destroy 1 --confirm 1
	is_well
}

@test "I6: a worker inside a call to the token dies with its parent" {
	local pid worker='' waited=0
	secret_put web/B 'value B'
	proxy_setup
	# one row under the master key: the command's own work; then it stops
	KEYTURN_CRASH=sweep.committed:1:STOP keyturn master rotate --yes \
		--grace 0 --batch-size 1 --jobs 1 --module "$PROXY" \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	until grep -q '^State:.T' "/proc/$pid/status"; do
		kill -0 "$pid"
	done
	# only a worker reads this plan
	proxy_plan 'C_WrapKey * before delay 120000'
	kill -CONT "$pid"
	until [ -n "$worker" ] && grep -q "^$worker .* C_UnwrapKey " \
		"$P11FAULT_LOG"; do
		kill -0 "$pid"
		read -r worker _ <"/proc/$pid/task/$pid/children" || true
	done
	kill -KILL "$pid"
	while kill -0 "$worker" 2>/dev/null; do
		[ "$waited" -lt 300 ]
		waited=$((waited + 1))
		sleep 0.1
	done
	run_ok keyturn master resume
	is_well
}
