#!/usr/bin/env bats
# A key in other hands: the mark, the way off the key, and encrypting again
# what it exposed. After each test the checker looks from outside.

load helper
load pinholder

setup() {
	vault_setup projects_new web 80 api 30
	before=$(outside_check)
}

# No test changes a value that is in the two files.
teardown() {
	outside_check >/dev/null
	values_are_whole web api
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

# cut_between_batches SIGNAL COMMAND...: sends it between two batches; the exit
# status is in $ended.
cut_between_batches() {
	local signal=$1 pid
	shift
	stopped_between_batches "$@"
	kill "-$signal" "$pid"
	kill -CONT "$pid" 2>/dev/null || true
	ended=0
	wait "$pid" || ended=$?
}

# As if another operator's process, on another machine, were at a rotation: a
# mark is made all the same, but what follows it is not.
hold_lease() {
	sql "UPDATE lease SET fence = fence + 1, operator_name = 'alice@there',
		rotation = (SELECT id FROM rotations LIMIT 1),
		process = 'elsewhere 0-0 1 1', taken = unixepoch(),
		renewed = unixepoch()"
}

free_lease() {
	sql 'UPDATE lease SET rotation = NULL'
}

# mark_only VERSION
mark_only() {
	hold_lease
	run_fails 5 keyturn master compromise "$1" --reason theft --yes
	assert_output --partial 'is marked as compromised'
	assert_output --partial 'alice@there'
	free_lease
}

# wrapped_while_marked NAME: wraps of a secret's key under a marked key.
wrapped_while_marked() {
	sql "SELECT count(*) FROM wraps w
	     JOIN versions v ON v.dek = w.subject
	     JOIN secrets s ON s.id = v.secret AND s.name = '$1'
	     JOIN keys k ON k.id = w.wrapping_key
	     WHERE k.compromised IS NOT NULL"
}

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
	cut_between_batches INT master compromise 1 --reason theft --yes
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
	cut_between_batches KILL master compromise 1 --reason theft --yes
	assert_equal "$ended" 137
	outside_check
	run_ok keyturn master compromise 1 --yes --reencrypt
	assert_line --partial '110 values are encrypted again'
	assert_equal "$(outside_check)" "$before"
}

@test "the running rotation of a key that is marked has no grace time" {
	cut_between_batches INT master rotate --yes --grace 1d
	assert_equal "$ended" 130
	mark_only 1
	run_ok keyturn master resume
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
	local rows
	cut_between_batches INT master rotate --yes --grace 0
	assert_equal "$ended" 130
	mark_only 2
	rows=$(sql 'SELECT count(*) FROM wraps')
	run_fails 5 keyturn master resume
	assert_output --partial 'version 2, is compromised'
	assert_equal "$(sql 'SELECT count(*) FROM wraps')" "$rows"
	secret_put web/NOW 'under the old key alone'
	assert_equal "$(wrapped_while_marked NOW)" 0
	run_ok keyturn secret get web/NOW
	keyturn secret delete web/NOW --confirm NOW
	run_ok keyturn master compromise 2 --yes
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +active +2 '
	assert_line --regexp '^ *2 +master +compromised +0 '
}

@test "a process that fills a key stops where another one marks it" {
	local pid rows ended=0
	stopped_between_batches master rotate --yes --grace 0
	run keyturn master compromise 2 --reason theft --yes
	rows=$(sql 'SELECT count(*) FROM wraps')
	kill -CONT "$pid"
	assert_equal "$status" 5
	assert_output --partial 'is marked as compromised'
	wait "$pid" || ended=$?
	assert_equal "$ended" 5
	assert_equal "$(sql 'SELECT count(*) FROM wraps')" "$rows"
	run_ok keyturn master compromise 2 --yes
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +active +2 '
}

@test "there is no way back to a compromised key after the cut-over" {
	run_ok keyturn master rotate --yes --grace 1d
	mark_only 1
	secret_put web/NOW 'between mark and contraction'
	assert_equal "$(wrapped_while_marked NOW)" 0
	run_ok keyturn secret get web/NOW
	keyturn secret delete web/NOW --confirm NOW
	run_fails 5 keyturn master rollback --yes
	assert_output --partial 'no way back'
	run_ok keyturn master resume
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +compromised +0 '
	assert_line --regexp '^ *2 +master +active +2 '
}

@test "a key that serves is not destroyed, marked and without a row or not" {
	for project in web api; do
		keyturn project delete "$project" --confirm "$project"
	done
	run_ok keyturn master rotate --yes --grace 0
	hold_lease
	run_fails 5 keyturn master compromise 2 --reason theft --yes
	free_lease
	run_fails 5 keyturn master destroy 2 --confirm 2
	run_ok keyturn master compromise 2 --yes
	run_ok keyturn master destroy 2 --confirm 2
	for project in web api; do
		keyturn project create "$project"
		keyturn secret import "$project" "$PLACE/$project.env"
	done
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
	# no data key is as old as the mark of its own project's key
	assert_equal "$(sql "SELECT count(*) FROM keys d
		JOIN secrets s ON s.id = d.owner
		JOIN keys p ON p.owner = s.project AND p.role = 3
		WHERE d.role = 4 AND d.destroyed IS NULL
		AND d.created <= p.compromised")" 0
	assert_equal "$(sql "SELECT count(*) FROM keys WHERE role = 4
		AND destroyed IS NULL")" 110
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
		assert_line --regexp "^$left values? (is|are) encrypted again\$"
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
	assert_line '1 value is encrypted again'
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
