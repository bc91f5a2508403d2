#!/usr/bin/env bats
# The proof of rows at any time: `master verify`, `project verify`, and what a
# rotation does that goes on beside quarantined rows.

load helper
load pinholder

setup() {
	vault_setup projects_new web 30 api 20
	RECOVERY=$(serving 2)
	before=$(outside_check)
}

# What any test here did was undone or was no harm.
teardown() {
	assert_equal "$(outside_check)" "$before"
}

rows_of() {
	sql "SELECT count(*) FROM wraps WHERE wrapping_key =
	     (SELECT id FROM keys WHERE role = $1 AND version = $2)"
}

@test "every row under both keys of a version is counted and compared" {
	run_ok keyturn master verify
	assert_line --regexp '^master +1 +active +2 +0 +0$'
	assert_line --regexp '^recovery +1 +active +50 +50 +0$'
	run_ok keyturn project verify web
	assert_line --regexp '^project +1 +active +30 +30 +0$'
	run --separate-stderr keyturn master verify 1 --json
	assert_success
	assert_output --partial '"compared": 50'
}

@test "a verification changes no byte and no object" {
	local file objects
	file=$(sha256sum "$STORE")
	objects=$(token_objects | sha256sum)
	run_ok keyturn master verify
	run_ok keyturn project verify api
	assert_equal "$(sha256sum "$STORE")" "$file"
	assert_equal "$(token_objects | sha256sum)" "$objects"
}

@test "in the grace time both versions hold, and are compared with each other" {
	run_ok keyturn master rotate --yes --grace 1h
	run_ok keyturn master verify 1
	assert_line --regexp '^master +1 +active +2 +2 +0$'
	assert_line --regexp '^recovery +1 +active +50 +100 +0$'
	run_ok keyturn master verify
	assert_line --regexp '^recovery +2 +active +50 +100 +0$'
	run_ok keyturn master finish --now --yes
	run_ok keyturn master verify 1
	assert_line --regexp '^recovery +1 +deactivated +0 +0 +0$'
}

@test "a version that never was is not found" {
	run_fails 3 keyturn master verify 7
	run_fails 3 keyturn project verify nobody
}

@test "worker processes find the same" {
	run_ok keyturn master verify --jobs 2 --batch-size 7
	assert_line --regexp '^recovery +1 +active +50 +50 +0$'
}

@test "I14: a row with a wrong MAC is named" {
	local subject blob
	subject=$(nth_subject "$RECOVERY" 3)
	blob=$(blob_of "$RECOVERY" "$subject")
	sql "UPDATE wraps SET blob = zeroblob(40) WHERE subject = X'$subject'
	     AND wrapping_key = X'$RECOVERY'"
	run_fails 9 keyturn master verify
	assert_line --regexp '^recovery +1 +active +50 +49 +1$'
	assert_line --partial 'bad: wraps '
	assert_line --partial '1 row does not hold'
	sql "UPDATE wraps SET blob = X'$blob' WHERE subject = X'$subject'
	     AND wrapping_key = X'$RECOVERY'"
	run_ok keyturn master verify
}

@test "a row with a right MAC that does not unwrap is named" {
	local subject blob
	subject=$(nth_subject "$RECOVERY" 5)
	blob=$(blob_of "$RECOVERY" "$subject")
	wrap_put "$RECOVERY" "$subject" "$(printf '5a%.0s' {1..40})"
	run_ok keyturn doctor --quiet # D30 sees nothing: the MAC is right
	run_fails 9 keyturn master verify
	assert_line --regexp '^recovery +1 +active +50 +50 +1$'
	assert_line --partial 'bad: wraps '
	run_fails 9 keyturn master verify --jobs 2 --batch-size 7
	wrap_put "$RECOVERY" "$subject" "$blob"
	run_ok keyturn master verify
}

@test "a row that unwraps to another row's key is named" {
	local one two blob
	one=$(nth_subject "$RECOVERY" 1)
	two=$(nth_subject "$RECOVERY" 2)
	blob=$(blob_of "$RECOVERY" "$one")
	wrap_put "$RECOVERY" "$one" "$(blob_of "$RECOVERY" "$two")"
	run_fails 9 keyturn master verify
	assert_line --regexp '^recovery +1 +active +50 +50 +1$'
	wrap_put "$RECOVERY" "$one" "$blob"
	run_ok keyturn master verify
}

@test "a project key that does not unwrap is named, the rest is still proven" {
	local master subject blob
	master=$(serving 1)
	subject=$(nth_subject "$master" 0)
	blob=$(blob_of "$master" "$subject")
	wrap_put "$master" "$subject" "$(printf '5a%.0s' {1..40})"
	run_fails 9 keyturn master verify
	assert_line --regexp '^master +1 +active +2 +0 +1$'
	assert_line --regexp '^recovery +1 +active +50 +[23]0 +1$'
	wrap_put "$master" "$subject" "$blob"
}

@test "I14: beside a bad row the others are staged, with --skip-quarantined proven" {
	local subject blob
	subject=$(nth_subject "$RECOVERY" 3)
	blob=$(blob_of "$RECOVERY" "$subject")
	wrap_put "$RECOVERY" "$subject" "$(printf '5a%.0s' {1..40})"

	run_fails 9 keyturn master rotate --yes --grace 0
	assert_equal "$(rows_of 2 2)" 49
	run_ok keyturn rotation show last
	assert_line --regexp 'Phase +staging$'
	assert_equal "$(sql 'SELECT sum(rows_verified) FROM legs')" 0

	run_fails 9 keyturn master resume --skip-quarantined
	assert_equal "$(rows_of 2 2)" 49
	assert_equal "$(sql 'SELECT sum(rows_verified) FROM legs')" 51
	run_ok keyturn rotation show last
	assert_line --regexp 'Phase +staging$'
	assert_line --regexp 'Rows failed +1$'
	assert_output --partial 'wraps '
	assert_equal "$(sql 'SELECT count(*) FROM rotations
	                     WHERE verified IS NOT NULL')" 0

	wrap_put "$RECOVERY" "$subject" "$blob"
	run_ok keyturn master resume
	assert_equal "$(sql 'SELECT sum(rows_verified) FROM legs')" 52
	run_ok keyturn secret verify web "$PLACE/web.env"
	run_ok keyturn secret verify api "$PLACE/api.env"
	run_ok keyturn master verify
}
