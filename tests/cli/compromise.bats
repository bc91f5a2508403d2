#!/usr/bin/env bats
# A key in other hands: the mark, the way off the key, and encrypting again
# what it exposed. After each test the checker looks from outside.

load helper
load pinholder

setup() {
	vault_setup
	seq 1 80 | sed 's/.*/KEY_&="value & of web"/' >"$PLACE/web.env"
	seq 1 30 | sed 's/.*/KEY_&="value & of api"/' >"$PLACE/api.env"
	for project in web api; do
		keyturn project create "$project"
		keyturn secret import "$project" "$PLACE/$project.env"
	done
	before=$(outside_check)
}

# No test changes a value that is in the two files.
teardown() {
	outside_check >/dev/null
	run_ok keyturn secret verify web "$PLACE/web.env"
	run_ok keyturn secret verify api "$PLACE/api.env"
	run_ok keyturn audit verify
	run_ok keyturn master verify
}

# go_until CONDITION SIGNAL COMMAND...: sends the signal once the database says
# so; the exit status is in $ended.
go_until() {
	local condition=$1 signal=$2 pid
	shift 2
	keyturn "$@" >"$PLACE/out" 2>&1 3>&- &
	pid=$!
	while [ "$(sql "SELECT $condition")" != 1 ]; do
		kill -0 "$pid" 2>/dev/null || break
	done
	kill "-$signal" "$pid" 2>/dev/null || true
	ended=0
	wait "$pid" || ended=$?
}

keyed="EXISTS (SELECT 1 FROM rotations WHERE keyed IS NOT NULL
	AND staged IS NULL)"

deks_of() {
	sql "SELECT hex(v.dek) FROM versions v JOIN secrets s ON s.id = v.secret
	     JOIN projects p ON p.id = s.project WHERE p.name = '$1' ORDER BY 1"
}

@test "a reason and a confirmation are needed, and nothing happens before" {
	run_fails 2 keyturn master compromise 1 --yes
	assert_output --partial -- --reason
	run_fails 2 keyturn master compromise 1 --reason theft </dev/null
	run_fails 3 keyturn master compromise 9 --reason theft --yes
	run_fails 3 keyturn project compromise nobody --reason theft --yes
	assert_equal "$(sql 'SELECT count(*) FROM keys
	                     WHERE compromised IS NOT NULL')" 0
	assert_equal "$(outside_check)" "$before"
}

@test "a compromised master key is marked, left and named" {
	run_ok keyturn master compromise 1 --reason 'lost in transit' --yes
	assert_line --partial 'exposed: 110 secrets (110 values)'
	assert_line --partial 'exposed: 2 project keys'
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +compromised +0 '
	assert_line --regexp '^ *1 +recovery +compromised +0 '
	assert_line --regexp '^ *2 +master +active +2 '
	run_ok keyturn rotation show last
	assert_line --regexp 'Phase +contracted$'
	assert_line --regexp 'Grace \(s\) +0$'
	run_ok keyturn audit list
	assert_line --regexp 'master.compromise .* reason: lost in transit'
	run_ok keyturn master destroy 1 --confirm 1
	assert_equal "$(outside_check)" "$before"
}

@test "until the new key serves, reading works and nothing new is wrapped" {
	go_until "$keyed" INT master compromise 1 --reason theft --yes \
		--batch-size 1 --jobs 1
	assert_equal "$ended" 130
	run_ok keyturn secret get web/KEY_3
	assert_output 'value 3 of web'
	run --separate-stderr keyturn secret set web/NEW </dev/null
	assert_equal "$status" 5
	assert_equal "$(sql "SELECT count(*) FROM secrets
	                     WHERE name = 'NEW'")" 0
	# shellcheck disable=SC2154 # by run
	[[ $stderr == *'version 1 is compromised'* ]]
	run_fails 5 keyturn project create third
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +compromised +2 '
	run_ok keyturn master resume
	secret_put web/NEW 'written after the switch'
	run_ok keyturn secret get web/NEW
	assert_output 'written after the switch'
	keyturn secret delete web/NEW --confirm NEW
	assert_equal "$(outside_check)" "$before"
}

@test "killed behind the mark, the same command goes on" {
	go_until "$keyed" KILL master compromise 1 --reason theft --yes \
		--batch-size 1 --jobs 1
	assert_equal "$ended" 137
	outside_check
	run_ok keyturn master compromise 1 --yes --reencrypt
	assert_line --partial '110 values are encrypted again'
	assert_equal "$(outside_check)" "$before"
}

@test "the running rotation of a key that is marked has no grace time" {
	go_until "$keyed" INT master rotate --yes --grace 1d --batch-size 1 \
		--jobs 1
	assert_equal "$ended" 130
	run_ok keyturn master compromise 1 --reason theft --yes
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 1
	run_ok keyturn rotation show last
	assert_line --regexp 'Phase +contracted$'
}

@test "an old key in its grace time is retired at once" {
	run_ok keyturn master rotate --yes --grace 1d
	run_ok keyturn master compromise 1 --reason theft --yes
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 1
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +compromised +0 '
	run_fails 5 keyturn master rollback --yes || run_fails 3 keyturn \
		master rollback --yes
}

@test "a new key that is marked in its grace time is rolled back" {
	run_ok keyturn master rotate --yes --grace 1d
	run_ok keyturn master compromise 2 --reason theft --yes
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +active +2 '
	assert_line --regexp '^ *2 +master +compromised +0 '
	secret_put web/LATER 'under the first key again'
	run_ok keyturn secret get web/LATER
	keyturn secret delete web/LATER --confirm LATER
}

@test "a new key that is marked while it is filled gets no further row" {
	go_until "$keyed" INT master rotate --yes --grace 0 --batch-size 1 \
		--jobs 1
	assert_equal "$ended" 130
	# the mark alone, as of a command that was killed behind it
	go_until "EXISTS (SELECT 1 FROM keys WHERE version = 2 AND role = 1
		AND compromised IS NOT NULL)" KILL \
		master compromise 2 --reason theft --yes
	if [ "$(sql 'SELECT rollback_started IS NULL FROM rotations')" = 1 ]; then
		run_fails 5 keyturn master resume
		assert_output --partial 'is compromised'
	fi
	run_ok keyturn master compromise 2 --yes
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +active +2 '
	assert_line --regexp '^ *2 +master +compromised +0 '
}

@test "there is no way back to a compromised key after the cut-over" {
	run_ok keyturn master rotate --yes --grace 1d
	go_until "EXISTS (SELECT 1 FROM keys WHERE version = 1 AND role = 1
		AND compromised IS NOT NULL)" KILL \
		master compromise 1 --reason theft --yes
	secret_put web/NOW 'between mark and contraction'
	assert_equal "$(sql "SELECT count(*) FROM wraps w
		JOIN versions v ON v.dek = w.subject
		JOIN secrets s ON s.id = v.secret AND s.name = 'NOW'
		JOIN keys k ON k.id = w.wrapping_key
		WHERE k.compromised IS NOT NULL")" 0
	run_ok keyturn secret get web/NOW
	keyturn secret delete web/NOW --confirm NOW
	run keyturn master rollback --yes
	assert_failure
	run_ok keyturn master compromise 1 --yes
	run_ok keyturn master list
	assert_line --regexp '^ *2 +master +active +2 '
}

@test "--reencrypt gives every exposed value a new data key, and only those" {
	local web api all
	web=$(deks_of web)
	api=$(deks_of api)
	secret_put web/OLD 'first'
	secret_put web/OLD 'second'
	all=$(outside_check)
	run_ok keyturn project compromise web --reason 'heap dump' --yes
	assert_line --partial 'exposed: 81 secrets (82 values)'
	# made in another second, so that it is surely younger than the key's end
	while [ "$(sql "SELECT unixepoch() <= max(deactivated) FROM keys")" = 1 ]
	do :; done
	secret_put web/YOUNG 'never under the old key'
	run_fails 5 keyturn project compromise web --yes
	assert_output --partial 'name the version'
	run_ok keyturn project compromise web 1 --reencrypt --yes
	assert_line '82 values are encrypted again'
	run comm -12 <(echo "$web") <(deks_of web)
	assert_output ''
	assert_equal "$(deks_of api)" "$api"
	run_ok keyturn secret get web/OLD --version 1
	assert_output first
	run_ok keyturn secret get web/OLD
	assert_output second
	keyturn secret delete web/YOUNG --confirm YOUNG
	assert_equal "$(outside_check)" "$all"
	keyturn secret delete web/OLD --confirm OLD
	run_ok keyturn rotation show last
	assert_line --regexp 'Encrypted again +82$'
	assert_line --regexp 'Exposes nothing +20'
	run_ok keyturn audit list
	assert_line --regexp 'project.reencrypted +web '
	# nothing is left to do, and nothing is done
	run_ok keyturn project compromise web 1 --reencrypt --yes
	refute_output --partial 'encrypted again:'
	refute_line --partial 'exposed:'
}

@test "--reencrypt of a master key rotates the project keys it exposed" {
	keyturn access issue web --output "$PLACE/token"
	run_ok keyturn master compromise 1 --reason theft --reencrypt --yes
	assert_line '110 values are encrypted again'
	run_ok keyturn project list
	assert_line --regexp '^api +30 +0 +2 '
	assert_line --regexp '^web +80 +0 +2 '
	run_fails 4 keyturn secret get web/KEY_1 --access-token-file \
		"$PLACE/token"
	assert_equal "$(sql "SELECT count(*) FROM keys WHERE role = 3
		AND compromised IS NOT NULL AND destroyed IS NOT NULL")" 2
	assert_equal "$(sql "SELECT count(*) FROM keys d WHERE role = 4
		AND destroyed IS NULL AND created <= (SELECT max(deactivated)
		FROM keys WHERE role = 3)")" 0
	assert_equal "$(outside_check)" "$before"
}

@test "killed while it encrypts again, the same command goes on" {
	local left
	run_ok keyturn project compromise web --reason theft --yes
	go_until "(SELECT max(values_reencrypted) FROM rotations) > 0" KILL \
		project compromise web 1 --reencrypt --yes
	assert_equal "$(outside_check)" "$before"
	left=$((80 - $(sql 'SELECT max(values_reencrypted) FROM rotations')))
	run_ok keyturn project compromise web 1 --reencrypt --yes
	if [ "$left" -gt 0 ]; then
		assert_line "$left values are encrypted again"
	fi
	run_ok keyturn rotation show last
	assert_line --regexp 'Encrypted again +80$'
	assert_equal "$(outside_check)" "$before"
}

@test "a value that does not open is named, the others are encrypted again" {
	local dek recovery blob
	recovery=$(serving 2)
	dek=$(deks_of web | head -n 1)
	blob=$(blob_of "$recovery" "$dek")
	run_ok keyturn project compromise web --reason theft --yes
	wrap_put "$recovery" "$dek" "$(printf '5a%.0s' {1..40})"
	run_fails 9 keyturn project compromise web 1 --reencrypt --yes
	assert_line --regexp "not encrypted again: secret 'KEY_[0-9]+' version 1"
	assert_line '79 values are encrypted again'
	wrap_put "$recovery" "$dek" "$blob"
	run_ok keyturn project compromise web 1 --reencrypt --yes
	assert_line '1 values are encrypted again'
	assert_equal "$(outside_check)" "$before"
}

@test "a key that was retired long ago can still be marked" {
	run_ok keyturn master rotate --yes --grace 0
	run_ok keyturn master compromise 1 --reason 'found out later' --yes
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 1
	assert_line --partial 'exposed: 110 secrets (110 values)'
	run_ok keyturn master compromise 1 --reencrypt --yes
	assert_equal "$(outside_check)" "$before"
}
