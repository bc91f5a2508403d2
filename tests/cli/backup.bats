#!/usr/bin/env bats
# Backups: a copy made at any time opens with the token it belongs to, and
# never takes the place of a file.

load helper

setup() {
	vault_setup projects_new web 60
}

# restored FILE: this copy, on its own, is the vault it was made of.
restored() {
	run_ok keyturn secret verify web "$PLACE/web.env" --store "$1"
	assert_line --partial '60 equal, 0 different, 0 missing'
	run_ok keyturn audit verify --store "$1"
	run_ok sqlite3 "$1" 'PRAGMA integrity_check'
	assert_output ok
}

@test "a backup is a private file, whole and self-contained" {
	run_ok keyturn backup create "$PLACE/copy.db"
	assert_line --regexp "^Bytes +$(stat -c %s "$PLACE/copy.db")\$"
	assert_line --partial "$(sha256sum "$PLACE/copy.db" | cut -d ' ' -f 1)"
	assert_equal "$(stat -c %a "$PLACE/copy.db")" 600
	assert_equal "$(find "$PLACE" -maxdepth 1 -name 'copy.db?*')" ''
	refute_found 'of web' "$PLACE/copy.db"
	restored "$PLACE/copy.db"
}

@test "the description can be had as JSON, and stands in the audit trail" {
	keyturn backup create "$PLACE/copy.db" --json >"$PLACE/json"
	sum=$(sha256sum "$PLACE/copy.db" | cut -d ' ' -f 1)
	run grep -c "\"sha256\": \"$sum\"" "$PLACE/json"
	assert_output 1
	run_ok keyturn audit list
	assert_output --partial "sha256=$sum"
	assert_output --partial "file=$PLACE/copy.db"
}

@test "a file that exists is refused, whatever it is" {
	echo precious >"$PLACE/there"
	mkdir "$PLACE/folder"
	ln -s "$PLACE/there" "$PLACE/link"
	ln -s "$PLACE/elsewhere" "$PLACE/dangling"
	mkfifo "$PLACE/fifo"
	local file
	for file in there folder link dangling fifo data/keyturn.db; do
		run_fails 5 keyturn backup create "$PLACE/$file"
	done
	assert_equal "$(cat "$PLACE/there")" precious
	assert_not_exist "$PLACE/elsewhere"
	run_ok keyturn secret verify web "$PLACE/web.env"
	run_fails 2 keyturn backup create
	run_fails 2 keyturn backup create "$PLACE/a" "$PLACE/b"
	run keyturn backup create "$PLACE/no/such/place"
	assert_failure
	run keyturn backup create ''
	assert_failure
	assert_equal "$(sql "SELECT count(*) FROM audit
	                     WHERE action = 'backup.create'")" 0
}

@test "a restored copy is the vault of the moment it was made" {
	keyturn backup create "$PLACE/copy.db"
	secret_put web/KEY_1 changed
	secret_put web/LATER new
	keyturn secret delete web/KEY_2 --confirm KEY_2
	mv "$PLACE/copy.db" "$STORE"
	restored "$STORE"
	run_fails 3 keyturn secret get web/LATER
	secret_put web/LATER 'goes on'
	run_ok keyturn secret get web/LATER
	assert_output 'goes on'
	run_ok keyturn doctor
}

@test "a copy needs its own token" {
	keyturn backup create "$PLACE/copy.db"
	token_new other
	run keyturn secret get web/KEY_1 --store "$PLACE/copy.db" \
		--token 'pkcs11:token=other'
	assert_failure
	refute_output --partial 'of web'
	restored "$PLACE/copy.db"
}

@test "a backup while a rotation runs holds every secret" {
	local pid
	stopped_between_batches master rotate --yes --grace 0
	run_ok keyturn backup create "$PLACE/running.db"
	kill -CONT "$pid"
	wait "$pid"
	restored "$STORE"
	# the copy was taken inside the rotation, so that nothing is taken for
	# granted: before its cut-over, with rows of both keys
	run sqlite3 "$PLACE/running.db" 'SELECT count(*) FROM rotations
		WHERE keyed IS NOT NULL AND activated IS NULL'
	assert_output 1
	restored "$PLACE/running.db"
	# and can be taken up from there
	run_ok keyturn master resume --store "$PLACE/running.db"
	restored "$PLACE/running.db"
}

@test "a full disk leaves no half copy and no audit entry" {
	run bash -c 'trap "" XFSZ; ulimit -f 8
		exec keyturn backup create "$1"' - \
		"$PLACE/copy.db"
	assert_failure
	assert_not_exist "$PLACE/copy.db"
	run_ok keyturn backup create "$PLACE/copy.db"
	restored "$PLACE/copy.db"
}

@test "a backup that is killed leaves nothing under its name" {
	KEYTURN_CRASH=backup.written:1:KILL \
		run -137 keyturn backup create "$PLACE/copy.db"
	assert_not_exist "$PLACE/copy.db"
	[ -n "$(find "$PLACE" -name 'copy.db.partial-*')" ]
	run_ok keyturn backup create "$PLACE/copy.db"
	restored "$PLACE/copy.db"
}

@test "a file that comes while a backup is made stays what it is" {
	KEYTURN_CRASH=backup.written:1:STOP \
		keyturn backup create "$PLACE/copy.db" >"$PLACE/out" 2>&1 3>&- &
	local pid=$! ended=0
	until grep -q '^State:.T' "/proc/$pid/status"; do
		kill -0 "$pid"
	done
	echo precious >"$PLACE/copy.db"
	kill -CONT "$pid"
	wait "$pid" || ended=$?
	assert_equal "$ended" 5
	assert_equal "$(cat "$PLACE/copy.db")" precious
	assert_equal "$(find "$PLACE" -name 'copy.db?*')" ''
	run_ok keyturn backup list --json
	assert_output '[]'
}
