#!/usr/bin/env bats
# Rotations as their operator sees them: what a dry run leaves alone, what a
# rollback gives back, what is covered while one runs, who is refused.

load helper
load proxy

setup() {
	vault_setup projects_new web 40 api 30
}

# Everything of a table, one row a line, blobs in hexadecimal.
dump() {
	sqlite3 -batch -cmd '.mode quote' "$STORE" \
		"SELECT * FROM $1 ORDER BY 1, 2"
}

objects_of_token() {
	token_objects | grep -c 'Object' || true
}

# Rotates, gives it a Ctrl-C in the middle, and says its exit status.
rotate_and_interrupt() {
	local status=0 pid
	stopped_between_batches "$@"
	kill -INT "$pid"
	kill -CONT "$pid"
	wait "$pid" || status=$?
	echo "$status"
}

@test "I10: a dry run does the work and changes no byte and no object" {
	local file objects
	file=$(sha256sum "$STORE")
	objects=$(objects_of_token)
	run_ok keyturn master rotate -n
	assert_line '72 rows would be rewrapped; 0 would fail'
	run_ok keyturn project rotate web -n
	assert_line '40 rows would be rewrapped; 0 would fail'
	assert_equal "$(sha256sum "$STORE")" "$file"
	assert_equal "$(objects_of_token)" "$objects"
}

@test "I10: a dry run names a row that would fail" {
	sql "UPDATE wraps SET blob = zeroblob(40)
	     WHERE wrapping_key = (SELECT id FROM keys WHERE role = 2)
	     AND subject = (SELECT min(subject) FROM wraps WHERE
	     wrapping_key = (SELECT id FROM keys WHERE role = 2))"
	run_fails 9 keyturn master rotate -n
	assert_line '71 rows would be rewrapped; 1 would fail'
	assert_output --partial 'wraps '
}

# dry_run PROJECT RULE: a project's dry run, behind p11fault by this rule.
dry_run() {
	proxy_setup
	proxy_plan "$2"
	run keyturn --module "$PROXY" project rotate "$1" -n
}

@test "I10: a dry run wraps every row and proves one in sixteen" {
	local wraps
	dry_run web ''
	assert_success
	wraps=$(calls_of C_WrapKey)
	dry_run api ''
	assert_success
	# of 40 and of 30 rows 3 and 2 are proven
	assert_equal $((wraps - $(calls_of C_WrapKey))) $((40 + 3 - 30 - 2))
}

@test "I10: a dry run finds a token whose wraps do not open" {
	local rule
	# what is wrapped from the second row on; of the 17th row, once
	for rule in 'C_WrapKey 12+ after corrupt' 'C_WrapKey 27 after corrupt'; do
		dry_run web "$rule"
		assert_equal "$status" 6
		refute_output --partial 'would be rewrapped'
	done
	assert_output --partial '1 row failed once and not again'
}

@test "I5: a master rotation changes no value and no ciphertext" {
	local versions
	versions=$(dump versions | sha256sum)
	run_ok keyturn master rotate --yes --grace 0
	values_are_whole web api
	run_ok keyturn project rotate web --yes --no-token
	values_are_whole web api
	assert_equal "$(dump versions | sha256sum)" "$versions"
	run_ok keyturn audit verify
}

@test "I11: a rollback gives back exactly the rows of before" {
	local wraps objects
	wraps=$(dump wraps | sha256sum)
	run_ok keyturn master rotate --yes --grace 1h
	assert_not_equal "$(dump wraps | sha256sum)" "$wraps"
	run_ok keyturn master rollback --yes
	assert_equal "$(dump wraps | sha256sum)" "$wraps"
	values_are_whole web api
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +active'
	assert_line --regexp '^ *2 +master +deactivated'
	run_ok keyturn rotation show last
	assert_output --partial rolled-back
	# the new key lies inert on the token and can be taken away
	run_ok keyturn master destroy 2 --confirm 2
	run_ok keyturn doctor
}

@test "I11: an interrupted rotation can be rolled back" {
	local wraps
	wraps=$(dump wraps | sha256sum)
	assert_equal "$(rotate_and_interrupt master rotate --yes)" 130
	run_ok keyturn master rollback --yes
	assert_equal "$(dump wraps | sha256sum)" "$wraps"
	values_are_whole web api
}

@test "I7: Ctrl-C ends at a batch edge with 130, and resume goes on" {
	assert_equal "$(rotate_and_interrupt master rotate --yes --grace 0)" 130
	run cat "$PLACE/out"
	assert_output --partial 'resume'
	# the edge of a batch of one row, not the end of all 72
	[ "$(sql 'SELECT sum(rows_rewrapped) FROM legs')" -lt 20 ]
	values_are_whole web api
	run_ok keyturn master resume
	values_are_whole web api
	run_ok keyturn rotation show last
	assert_output --partial contracted
	assert_line --regexp 'Resumed +1$'
	run_fails 3 keyturn master resume
}

@test "I7: without a grace time a rotation is resumed behind its cut-over, too" {
	KEYTURN_CRASH=old-key.retired:1:KILL run -137 keyturn master rotate \
		--yes --grace 0
	run_ok keyturn rotation show last
	assert_line --regexp '^Phase +draining$'
	values_are_whole web api
	run_ok keyturn master resume
	values_are_whole web api
	run_ok keyturn rotation show last
	assert_line --regexp '^Phase +contracted$'
	# what was given a time is not interrupted in it
	run_ok keyturn master rotate --yes --grace 1h
	run_fails 3 keyturn master resume
	run_ok keyturn master rollback --yes
}

@test "I12: what is written during a rotation is covered by it" {
	assert_equal "$(rotate_and_interrupt master rotate --yes --grace 0)" 130
	secret_put web/LATE 'written while rotating'
	keyturn project create late
	secret_put late/ONE 'in a late project'
	secret_put web/KEY_1 'changed while rotating'
	keyturn secret delete web/KEY_2 --confirm KEY_2
	run_ok keyturn master resume
	run_ok keyturn master destroy 1 --confirm 1
	run_ok keyturn secret get web/LATE
	assert_output 'written while rotating'
	run_ok keyturn secret get late/ONE
	assert_output 'in a late project'
	run_ok keyturn secret get web/KEY_1
	assert_output 'changed while rotating'
	run_ok keyturn secret get web/KEY_1 --version 1
	assert_output 'value 1 of web'
	run_fails 3 keyturn secret get web/KEY_2
	run_ok keyturn secret verify api "$PLACE/api.env"
	run_ok keyturn doctor
}

@test "I9: a second operator is refused with the first one's name and time" {
	assert_equal "$(rotate_and_interrupt master rotate --yes \
		--operator alice@there)" 130
	run_fails 5 keyturn master rotate --yes --operator bob@here
	assert_output --partial alice@there
	assert_output --regexp '20[0-9]{2}-[0-9]{2}-[0-9]{2}T'
	run_fails 5 keyturn project rotate web --yes
	assert_output --partial alice@there
	values_are_whole web api
}

@test "I9: while its process lives, a rotation cannot be resumed by another" {
	local pid
	stopped_between_batches master rotate --yes --operator alice@there
	run keyturn master resume
	kill -CONT "$pid"
	assert_equal "$status" 5
	assert_output --partial alice@there
	wait "$pid"
	values_are_whole web api
}

@test "the grace time keeps the way back open, finish ends it" {
	run_ok keyturn master rotate --yes --grace 1h
	run_ok keyturn status
	assert_output --partial draining
	run_fails 5 keyturn master finish --yes
	run_fails 5 keyturn master destroy 1 --confirm 1
	assert_output --partial 'rows need'
	run_ok keyturn master finish --now --yes
	run_fails 5 keyturn master rollback --yes ||
		run_fails 3 keyturn master rollback --yes
	run_ok keyturn master destroy 1 --confirm 1
	values_are_whole web api
	run_ok keyturn master list
	assert_line --regexp '^ *1 +master +destroyed'
	run_ok keyturn rotation show last
	assert_output --partial destroyed
}

@test "I2: a key is not destroyed while a row needs it, whatever flags say" {
	run_fails 5 keyturn master destroy 1 --confirm 1
	assert_output --partial 'rows need'
	sql "UPDATE keys SET deactivated = created WHERE role IN (1, 2)"
	run_fails 9 keyturn master destroy 1 --confirm 1
	assert_equal "$(sql 'SELECT count(*) FROM keys
	                     WHERE destroyed IS NOT NULL')" 0
}

@test "a project rotates while the master drains, and both end well" {
	run_ok keyturn master rotate --yes --grace 1h
	run_ok keyturn project rotate web --yes --no-token
	values_are_whole web api
	run_ok keyturn master rollback --yes
	values_are_whole web api
	run_ok keyturn project rotate api --yes --no-token
	run_ok keyturn master rotate --yes --grace 0
	values_are_whole web api
	run_ok keyturn doctor
}

@test "I16: a project rotation revokes the access tokens and prints one" {
	keyturn access issue web --scope read >"$PLACE/old" 2>/dev/null
	chmod 600 "$PLACE/old"
	run_ok keyturn secret get web/KEY_3 --access-token-file "$PLACE/old"
	keyturn project rotate web --yes >"$PLACE/new" 2>"$PLACE/err"
	chmod 600 "$PLACE/new"
	run grep -cE '^kvt1_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$' \
		"$PLACE/new"
	assert_output 1
	run_fails 4 keyturn secret get web/KEY_3 --access-token-file "$PLACE/old"
	run_ok keyturn secret get web/KEY_3 --access-token-file "$PLACE/new"
	assert_output 'value 3 of web'
	run grep -F "$(cat "$PLACE/new")" "$PLACE/err" "$STORE"
	assert_output ''
}

@test "without recovery wraps a rotation covers the project keys" {
	rm -rf "$PLACE/data" "$KEYTURN_CONFIG"
	mkdir -m 0700 "$PLACE/data"
	vault_new --recovery-wraps off
	keyturn project create web
	keyturn secret import web "$PLACE/web.env"
	run_ok keyturn master rotate -n
	assert_line '1 row would be rewrapped; 0 would fail'
	run_ok keyturn master rotate --yes --grace 0
	run_ok keyturn master destroy 1 --confirm 1
	run_ok keyturn secret verify web "$PLACE/web.env"
}

@test "a rotation says who, when, why and with what" {
	run_ok keyturn master rotate --yes --reason 'yearly, ticket 17' \
		--operator carol@ops
	keyturn rotation show last --json >"$PLACE/record.json"
	run grep -c 'yearly, ticket 17' "$PLACE/record.json"
	assert_output 1
	for word in carol@ops sensitive=true extractable=false "$MECHANISM"; do
		run grep -c "$word" "$PLACE/record.json"
		refute_output 0
	done
}

@test "a rotation without a terminal needs --yes" {
	run_fails 2 keyturn master rotate </dev/null
	assert_output --partial -- --yes
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 0
}

@test "a rotation whose old key is gone makes no new key and no record" {
	local id objects
	id=$(sql 'SELECT lower(hex(cka_id)) FROM keys WHERE role = 2')
	pkcs11-tool --module "$MODULE" --token-label test --login --pin "$PIN" \
		--delete-object --type secrkey --id "$id" >/dev/null 2>&1
	objects=$(objects_of_token)
	run_fails 6 keyturn master rotate --yes
	assert_output --partial 'recovery key version 1'
	assert_equal "$(objects_of_token)" "$objects"
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 0
}
