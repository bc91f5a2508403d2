#!/usr/bin/env bats
# I19: a database that is missing, foreign, newer, damaged, read-only, locked,
# replaced or on a full disk, and a token whose disk is full: a clear error with
# its own exit status, nothing lost, and afterwards the same command works.

# Each test is a subshell of bats.
# shellcheck disable=SC2030,SC2031
load helper

seed() {
	projects_new web 200
	head -c 100000 /dev/urandom >"$PLACE/large"
}

setup() {
	vault_setup seed
}

teardown() {
	local disk
	for disk in "$PLACE"/{data,tokens}; do
		! mountpoint -q "$disk" || umount "$disk"
	done
}

# Root may write where nobody may, but for this.
without_override() {
	if [ "$(id -u)" = 0 ]; then
		setpriv --bounding-set -dac_override,-dac_read_search "$@"
	else
		"$@"
	fi
}

# refused STATUS TEXT: what reads and what writes ends so, and leaves the file
# as it was.
refused() {
	local before command
	before=$(cat "$STORE"* 2>/dev/null | sha256sum)
	for command in 'secret get web/KEY_1' 'secret set web/NEW' \
		'master rotate --yes' 'project list' status \
		"backup create $PLACE/backup"; do
		# shellcheck disable=SC2086 # words
		run_fails "$1" without_override keyturn $command <<<new
		assert_output --partial "$2"
	done
	run_fails 10 without_override keyturn doctor
	assert_output --partial "$2"
	assert_equal "$(cat "$STORE"* 2>/dev/null | sha256sum)" "$before"
	assert_not_exist "$PLACE/backup"
}

@test "a database that is not there" {
	mv "$STORE" "$PLACE/away"
	refused 8 'there is no database'
	assert_not_exist "$STORE"
	mv "$PLACE/away" "$STORE"
	values_are_whole web
}

@test "an empty file, a text, another program's database, a folder" {
	mv "$STORE" "$PLACE/away"
	: >"$STORE"
	refused 8 'not a keyturn database'
	seq 1 1000 >"$STORE"
	refused 8 'not a database'
	rm "$STORE"
	sql 'CREATE TABLE notes (text)'
	refused 8 'not a keyturn database'
	rm "$STORE"
	mkdir "$STORE"
	run_fails 8 keyturn secret get web/KEY_1
	rmdir "$STORE"
	mv "$PLACE/away" "$STORE"
	values_are_whole web
}

@test "another application_id, and a schema from the future" {
	local ours
	ours=$(sql 'PRAGMA application_id')
	sql 'PRAGMA application_id = 1'
	refused 8 'not a keyturn database'
	sql "PRAGMA application_id = $ours; PRAGMA user_version = 99"
	refused 8 'made by a newer keyturn'
	sql 'PRAGMA user_version = 1'
	values_are_whole web
}

@test "a database with torn pages" {
	cp "$STORE" "$PLACE/whole"
	dd if=/dev/urandom of="$STORE" bs=4096 seek=2 count=40 conv=notrunc \
		status=none
	run_fails 9 keyturn secret list web
	run_fails 9 keyturn master rotate --yes
	cp "$PLACE/whole" "$STORE"
	values_are_whole web
}

@test "a database that may not be written" {
	chmod 0400 "$STORE"
	refused 8 'read-only'
	chmod 0600 "$STORE"
	chmod 0500 "$PLACE/data"
	refused 8 'Permission denied'
	chmod 0700 "$PLACE/data"
	values_are_whole web
	run_ok keyturn master rotate --yes --grace 0
	values_are_whole web
}

# Another process takes the database for itself, until unlock.
lock() {
	mkfifo "$PLACE/orders"
	sqlite3 -batch "$STORE" <"$PLACE/orders" 3>&- &
	holder=$!
	exec 9>"$PLACE/orders"
	printf 'BEGIN EXCLUSIVE;\n.shell touch %s\n' "$PLACE/locked" >&9
	until [ -e "$PLACE/locked" ]; do
		kill -0 "$holder"
	done
}

unlock() {
	exec 9>&-
	wait "$holder"
	rm "$PLACE/orders" "$PLACE/locked"
}

@test "a locked database is waited for" {
	local pid
	lock
	keyturn secret set web/LATE 3>&- 9>&- <<<late &
	pid=$!
	sleep 0.3
	kill -0 "$pid"
	unlock
	wait "$pid"
	run_ok keyturn secret get web/LATE
	values_are_whole web
}

# Ten seconds of pauses of two milliseconds, none of which is slept.
impatiently() {
	ASAN_OPTIONS=${ASAN_OPTIONS:+$ASAN_OPTIONS:}detect_leaks=0 \
		strace -f -qq -o "$PLACE/trace" -e trace=clock_nanosleep \
		-e inject=clock_nanosleep:retval=0 "$@"
}

@test "a locked database is not waited for without end" {
	local command
	lock
	for command in 'secret get web/KEY_1' 'secret set web/NEW' \
		'project list' 'master rotate --yes'; do
		# shellcheck disable=SC2086 # words
		run_fails 5 impatiently keyturn $command <<<new 9>&-
		assert_output --partial 'database is locked'
		# the wait was the documented one
		run grep -c clock_nanosleep "$PLACE/trace"
		[ "$output" -ge 1000 ]
	done
	unlock
	values_are_whole web
	run_fails 3 keyturn secret get web/NEW
	assert_equal "$(sql 'SELECT count(*) FROM rotations')" 0
}

@test "a database replaced while a rotation runs is not written to" {
	local pid other ended=0
	sqlite3 "$STORE" ".backup $PLACE/other"
	other=$(sha256sum <"$PLACE/other")
	keyturn master rotate --yes --grace 0 --batch-size 1 --jobs 1 \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	until [ "$(sql 'SELECT count(*) FROM rotations
	                WHERE keyed IS NOT NULL')" = 1 ]; do
		kill -0 "$pid"
	done
	mv "$STORE" "$PLACE/away"
	mv "$PLACE/other" "$STORE"
	wait "$pid" || ended=$?
	run cat "$PLACE/out"
	assert_output --partial 'removed or replaced'
	assert_equal "$ended" 8
	assert_equal "$(sha256sum <"$STORE")" "$other"
	mv "$PLACE/away" "$STORE"
	values_are_whole web
	run_ok keyturn master resume
	values_are_whole web
	run_ok keyturn doctor
}

# small_disk FOLDER KIB: puts the folder on a disk of its own.
small_disk() {
	mv "$1" "$1.big"
	mkdir -m 0700 "$1"
	mount -t tmpfs -o "size=${2}k,mode=0700" tmpfs "$1" 2>"$PLACE/mount" ||
		skip "cannot mount a small disk: $(cat "$PLACE/mount")"
	cp -a "$1.big/." "$1"
}

# fill FOLDER KIB: leaves this much room on it.
fill() {
	rm -f "$1/filler"
	fallocate -l "$(($(df --output=avail -k "$1" | tail -n 1) - $2))k" \
		"$1/filler"
}

@test "a full disk under the database: writes fail, all stays readable" {
	small_disk "$PLACE/data" 2048
	for room in 0 8 40 80; do
		fill "$PLACE/data" "$room"
		run_fails 8 keyturn secret set web/LARGE <"$PLACE/large"
		assert_output --regexp 'disk is full|No space left'
		values_are_whole web
	done
	fill "$PLACE/data" 12
	run_fails 8 keyturn secret import web "$PLACE/web.env"
	assert_output --regexp 'disk is full|No space left'
	values_are_whole web
	run_fails 3 keyturn secret get web/LARGE
	assert_equal "$(sql 'SELECT max(version) FROM secrets')" 1
	rm "$PLACE/data/filler"
	run_ok keyturn secret set web/LARGE <"$PLACE/large"
	keyturn secret get web/LARGE | cmp - "$PLACE/large"
	run_ok keyturn secret import web "$PLACE/web.env"
	run_ok keyturn doctor
}

# A rotation that hit the end of the disk at some point goes on from there.
full_disk_rotation() {
	local room=$1
	sql VACUUM # what the rotation before left free is no room for this one
	fill "$PLACE/data" "$room"
	run keyturn master rotate --yes --grace 0 --jobs 1
	if [ "$status" = 0 ]; then
		return 1
	fi
	assert_equal "$status" 8
	assert_output --regexp 'disk is full|No space left'
	values_are_whole web
	rm "$PLACE/data/filler"
	values_are_whole web
	if [ "$(sql 'SELECT count(*) FROM rotations
	             WHERE contracted IS NULL')" = 1 ]; then
		run_ok keyturn master resume
		resumed=$((resumed + 1))
	fi
	values_are_whole web
}

@test "a full disk under the database: a rotation resumes with space again" {
	local room resumed=0
	keyturn project create more
	seq 1 600 | sed 's/.*/KEY_&=more/' >"$PLACE/more.env"
	keyturn secret import more "$PLACE/more.env"
	small_disk "$PLACE/data" 8192
	for ((room = 0; room < 1000; room += 48)); do
		full_disk_rotation "$room" || break
	done
	# it was stopped at several points, and once it had room enough
	[ "$resumed" -ge 3 ]
	assert_equal "$status" 0
	rm "$PLACE/data/filler"
	values_are_whole web
	run_ok keyturn audit verify
	run_ok keyturn doctor
}

rotation_waits_for_its_key() {
	run_fails 6 "$@" keyturn master rotate --yes --grace 0
	assert_output --partial C_GenerateKey
	assert_output --partial 'keyturn master resume'
	values_are_whole web
	run_ok keyturn rotation show last
	assert_line --regexp '^Phase +planned$'
}

then_it_goes_on() {
	run_ok keyturn master resume
	values_are_whole web
	run_ok keyturn master destroy 1 --confirm 1
	run_ok keyturn doctor
}

@test "a full disk under the token: the rotation waits for its key" {
	small_disk "$PLACE/tokens" 256
	fill "$PLACE/tokens" 0
	rotation_waits_for_its_key
	rm "$PLACE/tokens/filler"
	then_it_goes_on
}

@test "a token folder that takes no new file: the rotation waits" {
	chmod 0500 "$PLACE"/tokens/*-*
	rotation_waits_for_its_key without_override
	chmod 0700 "$PLACE"/tokens/*-*
	then_it_goes_on
}
