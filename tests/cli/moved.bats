#!/usr/bin/env bats
# I13: rows and parts of rows that were right where they stood are moved to
# where they do not belong: another row, another project, another version,
# another vault. It fails closed, and never with another project's plaintext.
# Forged states of keys and rotations destroy nothing.

load helper
load forge
load proxy

setup() {
	vault_setup small_vault
	proxy_setup
}

# refused COMMAND...: an integrity error, with no value in it.
refused() {
	run_fails 9 "$@"
	refute_output --regexp ' of (web|api|the other vault)'
}

others_open() {
	run_ok get web/B
	assert_output 'value B of web'
}

doctor_finds() {
	run_fails 10 keyturn doctor
	assert_output --partial "$1"
}

objects_of_token() {
	token_objects | grep -c Object
}

@test "I13: the blobs of two wraps, swapped" {
	local columns
	for columns in blob mac 'blob, mac'; do
		exchange wraps "$columns" "($(recovery_wrap_of web/A 2))
			OR ($(recovery_wrap_of api/A 1))"
		refused get web/A
		refused get api/A
		others_open
		doctor_finds 'wraps '
		exchange wraps "$columns" "($(recovery_wrap_of web/A 2))
			OR ($(recovery_wrap_of api/A 1))"
		run_ok keyturn doctor
	done
}

@test "I13: a wrap, copied to another secret or another project" {
	local from to
	to=$(recovery_wrap_of web/A 2)
	for from in "$(recovery_wrap_of web/B 1)" \
		"$(recovery_wrap_of api/A 1)" "$(project_wrap_of api/A 1)"; do
		forge "UPDATE wraps SET (blob, mac) = (SELECT blob, mac
			FROM wraps WHERE $from) WHERE $to"
		refused get web/A
		others_open
	done
	doctor_finds 'wraps '
}

@test "I13: a version that names another secret's data key" {
	forge "UPDATE versions SET dek = (SELECT dek FROM versions
		WHERE secret = $(secret_of api/A))
		WHERE secret = $(secret_of web/B)" 2>/dev/null && return 1
	exchange wraps 'blob, mac' "($(project_wrap_of web/A 1))
		OR ($(project_wrap_of web/A 2))"
	refused hold web/A
	run_ok hold web/B
}

@test "I13: the ids of two secrets, swapped" {
	exchange secrets 'name, version, created, updated, mac' \
		"name = 'A'"
	refused get web/A
	refused get api/A
	others_open
}

@test "I13: a secret that claims to belong to another project" {
	forge "UPDATE secrets SET project = $(project_of web), name = 'STOLEN'
		WHERE id = $(secret_of api/A)"
	refused hold web/STOLEN
	refused get web/STOLEN
	others_open
	run_fails 9 keyturn secret list web
	doctor_finds 'secrets '
}

@test "I13: two projects that swapped names" {
	forge "UPDATE projects SET name = '-' WHERE name = 'web';
		UPDATE projects SET name = 'web' WHERE name = 'api';
		UPDATE projects SET name = 'api' WHERE name = '-'"
	refused get web/A
	refused get api/A
	refused hold web/A
	refused hold api/A
}

@test "I13: a whole value, moved to another secret" {
	exchange versions 'algorithm, nonce, ciphertext, created, mac' \
		"dek IN ($(dek_of web/B 1), $(dek_of api/A 1))"
	refused get web/B
	refused get api/A
	run_ok get web/A
	doctor_finds 'versions '
}

@test "I13: an old value under the number of the new one" {
	forge "UPDATE versions SET (nonce, ciphertext) = (SELECT nonce,
		ciphertext FROM versions WHERE secret = $(secret_of web/A)
		AND version = 1)
		WHERE secret = $(secret_of web/A) AND version = 2"
	refused get web/A
	run_ok keyturn secret get web/A --version 1
	assert_output 'first A of web'
}

@test "I13: old rows of another moment do not fit the ones of now" {
	cp "$STORE" "$PLACE/old"
	run_ok keyturn project rotate web --yes --no-token
	run_ok keyturn master rotate --yes --grace 0
	# the wraps of then, whose MACs are right, under keys that have ended
	forge "ATTACH '$PLACE/old' AS old;
		INSERT OR IGNORE INTO wraps SELECT * FROM old.wraps"
	run_ok get web/A
	assert_output 'second A of web'
	run_fails 4 hold web/A
	# of no use to a key's destruction, which counts the rows again
	run_fails 5 keyturn master destroy 2 --confirm 2
	assert_output --partial 'rows need'
	doctor_finds 'destroyed'
}

@test "I13: a wrap, a value, a token from another vault on the same token" {
	local first=$STORE second=$PLACE/other/keyturn.db
	mkdir -m 0700 "$PLACE/other"
	KEYTURN_CONFIG=$PLACE/other.yaml KEYTURN_STORE=$second \
		STORE=$second vault_new
	export KEYTURN_STORE=$second
	keyturn project create web
	secret_put web/B 'from the other vault of web'
	keyturn access issue web --output "$PLACE/token.other"
	export KEYTURN_STORE=$first
	forge "ATTACH '$second' AS other;
		UPDATE versions SET (algorithm, nonce, ciphertext, created,
			mac) = (SELECT algorithm, nonce, ciphertext, created,
			mac FROM other.versions)
			WHERE secret = $(secret_of web/B);
		INSERT INTO access SELECT * FROM other.access"
	refused get web/B
	run_ok get web/A
	run_fails 9 keyturn secret get web/A \
		--access-token-file "$PLACE/token.other"
	assert_output --partial 'access '
	forge "ATTACH '$second' AS other; DELETE FROM access
		WHERE id IN (SELECT id FROM other.access);
		UPDATE wraps SET (blob, mac) = (SELECT blob, mac
			FROM other.wraps WHERE subject IN (SELECT dek
			FROM other.versions) LIMIT 1)
			WHERE $(recovery_wrap_of web/A 2)"
	refused get web/A
	refused keyturn secret list web
}

@test "I13: blobs and texts of impossible sizes" {
	local size
	for size in 0 1 16 39 41 512 513 100000; do
		forge "UPDATE wraps SET blob = zeroblob($size)
			WHERE $(recovery_wrap_of web/A 2)"
		refused get web/A
		others_open
	done
	for size in 0 15 16 17 1048592 1048593 3000000; do
		forge "UPDATE versions SET ciphertext = zeroblob($size)
			WHERE dek = $(dek_of api/A 1)"
		refused get api/A
		others_open
	done
	for size in 0 11 13 600; do
		forge "UPDATE versions SET nonce = zeroblob($size)
			WHERE dek = $(dek_of api/A 1)"
		refused get api/A
	done
	forge "UPDATE secrets SET name = printf('%.*c', 70000, 'n')
		WHERE id = $(secret_of api/A)"
	refused keyturn secret list api
	forge "UPDATE projects SET name = CAST(X'770065' AS TEXT)
		WHERE name = 'api'"
	run_fails 9 keyturn project list
	doctor_finds 'FAIL'
	others_open
}

@test "I2: no forged state of a rotation destroys anything" {
	local objects wraps stamps
	forge "UPDATE wraps SET blob = zeroblob(40)
		WHERE $(recovery_wrap_of web/A 2)"
	run_fails 9 keyturn master rotate --yes
	objects=$(objects_of_token)
	wraps=$(sql 'SELECT count(*) FROM wraps')
	for stamps in 'staged = 2' 'staged = 2, verified = 2' \
		'staged = 2, verified = 2, activated = 2' \
		'staged = 2, verified = 2, activated = 2, contracting = 2' \
		'staged = 2, verified = 2, activated = 2, contracting = 2,
			contracted = 2' \
		'rollback_started = 2' 'rollback_started = 2, rolled_back = 2'; do
		forge "UPDATE rotations SET $stamps
			WHERE id = (SELECT max(id) FROM rotations)"
		run_fails 9 keyturn master resume
		run_fails 9 keyturn master finish --now --yes
		run_fails 9 keyturn master rollback --yes
		run_fails 9 keyturn master rotate --yes
		run_fails 5 keyturn master destroy 2 --confirm 2
		assert_equal "$(sql 'SELECT count(*) FROM wraps')" "$wraps"
		forge "UPDATE rotations SET staged = NULL, verified = NULL,
			activated = NULL, contracting = NULL, contracted = NULL,
			rollback_started = NULL, rolled_back = NULL
			WHERE id = (SELECT max(id) FROM rotations)"
	done
	assert_equal "$(objects_of_token)" "$objects"
	run_ok keyturn master rollback --yes
	others_open
}

@test "I2: no forged state of a key destroys anything" {
	local objects stamps
	objects=$(objects_of_token)
	for stamps in 'deactivated = 2' 'destroying = 2' \
		'destroying = 2, destroyed = 2' 'compromised = 2' \
		'version = 7'; do
		forge "UPDATE keys SET $stamps WHERE role < 3 AND version = 2"
		run_fails 9 keyturn master destroy 2 --confirm 2 ||
			run_fails 3 keyturn master destroy 2 --confirm 2
		run_fails 9 keyturn master rotate --yes
		assert_equal "$(objects_of_token)" "$objects"
		forge "UPDATE keys SET deactivated = NULL, destroying = NULL,
			destroyed = NULL, compromised = NULL, version = 2
			WHERE role < 3 AND version IN (2, 7)"
	done
	run_ok keyturn doctor
	run_ok get web/A
}

@test "a rotation that lost a leg does not go on without it" {
	local blob leg
	blob=$(sql "SELECT quote(blob) FROM wraps
		WHERE $(recovery_wrap_of web/A 2)")
	forge "UPDATE wraps SET blob = zeroblob(40)
		WHERE $(recovery_wrap_of web/A 2)"
	run_fails 9 keyturn master rotate --yes
	forge "UPDATE wraps SET blob = $blob WHERE $(recovery_wrap_of web/A 2)"
	for leg in 0 1; do
		cp "$STORE" "$PLACE/whole"
		forge "DELETE FROM legs WHERE leg = $leg AND rotation =
			(SELECT max(id) FROM rotations)"
		run_fails 9 keyturn master resume
		assert_output --partial leg
		others_open
		cp "$PLACE/whole" "$STORE"
	done
	run_ok keyturn master resume
	others_open
}

@test "I14: a corrupt row is named, the others are staged, resume ends it" {
	local blob subject
	blob=$(sql "SELECT quote(blob) FROM wraps
		WHERE $(recovery_wrap_of web/A 2)")
	subject=$(sql "SELECT lower(hex($(dek_of web/A 2)))")
	forge "UPDATE wraps SET blob = zeroblob(40)
		WHERE $(recovery_wrap_of web/A 2)"
	for again in 1 2; do
		if [ "$again" = 1 ]; then
			run_fails 9 keyturn master rotate --yes --grace 0
		else
			run_fails 9 keyturn master resume
		fi
		run keyturn rotation show last
		assert_line --regexp '^Verified +-$'
		assert_line --regexp '^Rows failed +1$'
		assert_equal "$(tr -d - <<<"$output" | grep -c "$subject")" 1
		assert_equal "$(sql "SELECT count(*) FROM wraps
			WHERE wrapping_key = $(key_of 2 3)")" 3
	done
	run_ok hold web/A
	others_open
	forge "UPDATE wraps SET blob = $blob WHERE $(recovery_wrap_of web/A 2)"
	run_ok keyturn master resume
	run_ok get web/A
	assert_output 'second A of web'
	run_ok keyturn doctor
	run_ok keyturn master destroy 2 --confirm 2
}

@test "I14: a new row that went bad before it was proven is made again" {
	local blob
	blob=$(sql "SELECT quote(blob) FROM wraps
		WHERE $(recovery_wrap_of web/A 2)")
	forge "UPDATE wraps SET blob = zeroblob(40)
		WHERE $(recovery_wrap_of web/A 2)"
	run_fails 9 keyturn master rotate --yes --grace 0
	forge "UPDATE wraps SET blob = zeroblob(40)
		WHERE wrapping_key = $(key_of 1 3)
		AND subject = $(project_key_of web);
		UPDATE wraps SET blob = $blob WHERE $(recovery_wrap_of web/A 2)"
	run_fails 9 keyturn master resume
	assert_equal "$(sql 'SELECT count(*) FROM rotations
		WHERE verified IS NULL')" 1
	run_ok keyturn master resume
	# all rows, not only the one that was made again
	assert_equal "$(sql 'SELECT sum(rows_total - rows_verified) FROM legs
		JOIN rotations ON id = rotation WHERE kind = 1')" 0
	run_ok keyturn doctor
	run_ok hold web/A
	assert_output 'second A of web'
}

# One bit of what C_WrapKey gives is wrong when the lost row is made again.
@test "I1: a proven row that is lost and made again is proven again" {
	local pid
	# two project keys and four data keys: staged, then proven, not stamped
	stopped_at sweep.committed:11 master rotate --yes --grace 0 --jobs 1 \
		--batch-size 1
	kill -INT "$pid"
	goes_on 130
	assert_equal "$(sql 'SELECT sum(rows_verified) FROM legs
		JOIN rotations ON id = rotation WHERE verified IS NULL')" 6
	forge "DELETE FROM wraps WHERE wrapping_key = $(key_of 2 3)
		AND subject = $(dek_of web/A 2)"
	proxy_plan 'C_WrapKey 1 after corrupt'
	run_fails 9 keyturn --module "$PROXY" master resume
	assert_output --partial '1 row is quarantined'
	proxy_plan ''
	run_ok keyturn master resume
	all_open
}

@test "I1: contraction keeps the old row where the new one went bad" {
	local blob new
	run_ok keyturn master rotate --yes --grace 1h
	new="wrapping_key = $(key_of 2 3) AND subject = $(dek_of web/A 2)"
	blob=$(sql "SELECT quote(blob) FROM wraps WHERE $new")
	forge "UPDATE wraps SET blob = zeroblob(40) WHERE $new"
	refused get web/A
	run_fails 9 keyturn master finish --now --yes
	assert_output --partial 'row under recovery key version 2'
	assert_equal "$(sql "SELECT count(*) FROM wraps
		WHERE $(recovery_wrap_of web/A 2)")" 1
	run_fails 5 keyturn master destroy 2 --confirm 2
	others_open
	forge "UPDATE wraps SET blob = $blob WHERE $new"
	run_ok keyturn master resume
	run_ok keyturn master destroy 2 --confirm 2
	run_ok get web/A
	assert_output 'second A of web'
}

@test "I1: a rollback keeps the new row where the old one went bad" {
	local blob old
	run_ok keyturn master rotate --yes --grace 1h
	old=$(recovery_wrap_of web/A 2)
	blob=$(sql "SELECT quote(blob) FROM wraps WHERE $old")
	forge "UPDATE wraps SET blob = zeroblob(40) WHERE $old"
	run_fails 9 keyturn master rollback --yes
	assert_equal "$(sql "SELECT count(*) FROM wraps WHERE wrapping_key =
		$(key_of 2 3) AND subject = $(dek_of web/A 2)")" 1
	forge "UPDATE wraps SET blob = $blob WHERE $old"
	run_ok keyturn master rollback --yes
	run_ok keyturn doctor
	run_ok get web/A
	assert_output 'second A of web'
}

# stopped_at POINT COMMAND...: keyturn stops itself there; its process is $pid,
# the caller's variable.
stopped_at() {
	KEYTURN_CRASH=$1:STOP keyturn "${@:2}" >"$PLACE/out" 2>&1 3>&- &
	pid=$!
	until grep -q '^State:.T' "/proc/$pid/status"; do
		kill -0 "$pid"
	done
}

# goes_on STATUS: it goes on and ends like this.
goes_on() {
	local ended=0

	kill -CONT "$pid"
	wait "$pid" || ended=$?
	assert_equal "$ended" "$1"
}

all_open() {
	run_ok get web/A
	assert_output 'second A of web'
	run_ok hold web/A
	assert_output 'second A of web'
	run_ok keyturn doctor
}

@test "I12: a row that lost its twin is found before each stamp and the cut-over" {
	local pid point phase
	lose_twin() {
		forge "DELETE FROM wraps WHERE subject = $(dek_of web/A 2)
			AND wrapping_key = (SELECT max(id) FROM keys
			WHERE role = 2)"
	}
	# before anything is said of it, it is staged again
	stopped_at complete.begin:1 master rotate --yes --grace 1h
	lose_twin
	goes_on 0
	all_open
	run_ok keyturn master rollback --yes
	while read -r point status phase; do
		stopped_at "$point" master rotate --yes --grace 0
		lose_twin
		goes_on "$status"
		run grep -F 'not under the new key' "$PLACE/out"
		assert_success
		run_ok keyturn rotation show last
		assert_line --regexp "^Phase +$phase\$"
		run_ok keyturn master rollback --yes
		all_open
	done <<-END
		complete.begin:2 5 staged
		cut-over.begin:1 9 verified
	END
}

@test "I12: what is written before the cut-over is under both keys" {
	local pid
	stopped_at cut-over.begin:1 master rotate --yes --grace 0
	secret_put web/NEW 'between verified and cut-over'
	goes_on 0
	run_ok get web/NEW
	assert_output 'between verified and cut-over'
	all_open
}

@test "I1: an old key is not retired while a row has no twin" {
	run_ok keyturn master rotate --yes --grace 1h
	forge "DELETE FROM wraps WHERE subject = $(dek_of web/A 2)
		AND wrapping_key = $(key_of 2 3)"
	run_fails 9 keyturn master finish --now --yes
	assert_output --partial 'not under the new key'
	run_ok keyturn rotation show last
	assert_line --regexp '^Phase +draining$'
	run_ok keyturn master rollback --yes
	all_open
}

@test "I12: a row that comes before the cursor is staged" {
	local pid
	stopped_at sweep.committed:5 master rotate --yes --grace 0 --jobs 1 \
		--batch-size 1
	forge "DELETE FROM wraps WHERE wrapping_key = $(key_of 2 3) AND subject =
		(SELECT min(subject) FROM wraps WHERE wrapping_key = $(key_of 2 3))"
	goes_on 0
	all_open
}

@test "I5: a secret that is deleted while its row is rewrapped stays deleted" {
	local pid dek
	dek=$(sql "SELECT quote($(dek_of web/A 1))")
	# two project keys, then the oldest data key
	stopped_at sweep.collected:3 master rotate --yes --grace 0 --jobs 1 \
		--batch-size 1
	run_ok keyturn secret delete web/A --confirm A
	goes_on 0
	assert_equal "$(sql "SELECT count(*) FROM wraps
		WHERE subject = $dek")" 0
	run_fails 3 get web/A
	others_open
	run_ok keyturn doctor
}

@test "I2: a row that came back under a retired key keeps it" {
	local objects
	run_ok keyturn master rotate --yes --grace 0
	objects=$(objects_of_token)
	forge "INSERT INTO wraps SELECT $(key_of 2 2), subject, blob, mac
		FROM wraps WHERE wrapping_key = $(key_of 2 3) LIMIT 1"
	run_fails 5 keyturn master destroy 2 --confirm 2
	assert_output --regexp '1 rows? needs? recovery key version 2'
	assert_equal "$(objects_of_token)" "$objects"
	forge "DELETE FROM wraps WHERE wrapping_key = $(key_of 2 2)"
	run_ok keyturn master destroy 2 --confirm 2
	all_open
}

@test "I2: a key that an unfinished rotation names is not destroyed" {
	local objects
	KEYTURN_CRASH=contracted.stamped:1:KILL \
		run keyturn master rotate --yes --grace 0
	assert_equal "$status" 137
	assert_equal "$(sql "SELECT count(*) FROM wraps
		WHERE wrapping_key IN ($(key_of 1 2), $(key_of 2 2))")" 0
	objects=$(objects_of_token)
	run_fails 5 keyturn master destroy 2 --confirm 2
	assert_output --partial 'unfinished rotation'
	assert_equal "$(objects_of_token)" "$objects"
	run_ok keyturn master resume
	run_ok keyturn master destroy 2 --confirm 2
	all_open
}

@test "I7: a project whose rotation is unfinished is not deleted" {
	run_ok keyturn project rotate web --yes --no-token --grace 1h
	run_fails 5 keyturn project delete web --confirm web
	assert_output --partial 'unfinished rotation'
	run_ok get web/A
	run_ok keyturn rotation finish --now --yes
	run_ok keyturn project delete web --confirm web
	run_ok keyturn doctor
}
