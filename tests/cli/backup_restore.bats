#!/usr/bin/env bats
# Backups on record, proven, and restored: which keys they keep, what a proof
# finds, what a restore refuses, carries over and leaves behind when it dies.

load helper
load proxy

setup() {
	vault_setup projects_new web 20
	COPY=$PLACE/copy.db
}

# vault_is_sound: reads, audit trail and doctor find nothing wrong.
vault_is_sound() {
	values_are_whole web
	run_ok keyturn audit verify
	run_ok keyturn doctor
	assert_equal "$(sqlite3 "$STORE" 'PRAGMA integrity_check')" ok
}

# Everything in a database, one row a line.
dump() {
	sqlite3 -batch -cmd '.mode quote' "$1" .dump
}

# tamper FILE STATEMENT: a writer that knows no key.
tamper() {
	sqlite3 -batch -cmd 'PRAGMA ignore_check_constraints = ON' "$1" "$2"
}

backup_ids() {
	keyturn backup list | awk 'NR > 1 { print $1 }'
}

# leave_hot_journal FILE: a writer that was killed in its transaction, after it
# wrote into the database itself.
leave_hot_journal() {
	{
		echo 'PRAGMA cache_size = 1; BEGIN IMMEDIATE;'
		echo 'UPDATE versions SET ciphertext = zeroblob(20000);'
		# shellcheck disable=SC2016 # for the shell of sqlite3
		echo '.shell kill -9 $PPID'
	} | sqlite3 -batch "$1" || true
	assert_exist "$1-journal"
}

# wait_for_row QUERY: until the database answers 1, while PID lives.
wait_for_row() {
	while [ "$(sql "$1")" = 0 ]; do
		kill -0 "$2"
	done
}

@test "a backup is on record until it is forgotten" {
	keyturn backup create "$COPY" --expires 90d
	run_ok keyturn backup list --json
	assert_output --partial \
		"\"sha256\": \"$(sha256sum "$COPY" | cut -d ' ' -f 1)\""
	assert_output --partial "\"file\": \"$COPY\""
	assert_output --partial '"versions": "1"'
	assert_equal "$(sql 'SELECT expires - created FROM backups')" \
		$((90 * 86400))
	local id
	id=$(backup_ids)
	run_fails 2 keyturn backup forget "$id" </dev/null
	run_fails 2 keyturn backup forget "$id" --confirm "${id%?}x"
	run_fails 3 keyturn backup forget "${id%????}0000" \
		--confirm "${id%????}0000"
	assert_equal "$(backup_ids)" "$id"
	run_ok keyturn backup forget "$id" --confirm "$id"
	assert_equal "$(backup_ids)" ''
	assert_exist "$COPY"
	run_ok keyturn audit list
	assert_line --regexp "backup\.forget +$id"
}

@test "I2: a master key that a backup needs is not destroyed" {
	keyturn backup create "$COPY" --expires 1h
	keyturn master rotate --yes --grace 0
	run_fails 5 keyturn master destroy 1 --confirm 1
	assert_output --partial "$(backup_ids) ($COPY, until "
	# to ignore it takes a second answer
	run_fails 2 keyturn master destroy 1 --confirm 1 --ignore-backups \
		</dev/null
	assert_output --partial "$COPY"
	run_ok keyturn backup verify "$COPY"
	run_ok keyturn master destroy 1 --confirm 1 --ignore-backups --yes
	run_ok keyturn audit list
	assert_line --regexp "backup\.ignored +$(backup_ids) .*version 1"
	run_fails 6 keyturn backup verify "$COPY"
	assert_output --partial 'master key version 1'
	vault_is_sound
}

@test "I2: once the backup is forgotten its key may go" {
	keyturn master rotate --yes --grace 0 --backup "$COPY"
	assert_equal "$(sql 'SELECT versions FROM backups')" 1
	run_fails 5 keyturn master destroy 1 --confirm 1
	keyturn backup forget "$(backup_ids)" --confirm "$(backup_ids)"
	run_ok keyturn master destroy 1 --confirm 1
}

@test "a backup inside a rotation keeps both versions" {
	keyturn master rotate --yes --grace 1h
	keyturn backup create "$COPY"
	assert_equal "$(sql 'SELECT versions FROM backups')" '1 2'
	keyturn master rollback --yes
	run_fails 5 keyturn master destroy 2 --confirm 2
	run_ok keyturn backup verify "$COPY"
}

@test "a proof changes neither the backup nor the vault" {
	local before
	keyturn backup create "$COPY"
	chmod 0400 "$COPY"
	before=$(sha256sum "$COPY" "$STORE"; find "$PLACE/data" "$COPY"*)
	run_ok keyturn backup verify "$COPY"
	assert_line --regexp "^Recorded as +$(backup_ids)\$"
	assert_line --regexp '^Wraps proven +41$'
	assert_line --regexp '^Faults +0$'
	assert_equal "$(sha256sum "$COPY" "$STORE"
		find "$PLACE/data" "$COPY"*)" "$before"
	# nor does it need the vault
	mv "$STORE" "$PLACE/elsewhere.db"
	run_ok keyturn backup verify "$COPY" --json
	assert_output --partial '"recorded": null'
	assert_not_exist "$STORE"
}

@test "I14: a proof names each bad row and goes on" {
	keyturn backup create "$COPY"
	keyturn backup forget "$(backup_ids)" --confirm "$(backup_ids)"
	tamper "$COPY" "UPDATE projects SET created = created + 1;
		UPDATE wraps SET blob = zeroblob(40) WHERE
		wrapping_key = (SELECT id FROM keys WHERE role = 2)
		AND subject IN (SELECT dek FROM versions
		ORDER BY dek LIMIT 2)"
	run_fails 9 keyturn backup verify "$COPY"
	assert_equal "$(grep -c '^bad: wraps' <<<"$output")" 2
	assert_equal "$(grep -c '^bad: projects' <<<"$output")" 1
	assert_line --regexp '^Faults +3$'
	run_fails 9 keyturn backup restore "$COPY" --yes --replace-newer
	vault_is_sound
}

@test "a proof misses what was taken away" {
	local statement
	for statement in \
		"DELETE FROM wraps WHERE subject = (SELECT min(dek)
		 FROM versions)" \
		'DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)' \
		'DELETE FROM audit WHERE seq = 2' \
		'UPDATE audit_head SET seq = seq - 1' \
		"UPDATE vault SET gate_report = ''"; do
		rm -f "$COPY"
		sql ".backup '$COPY'"
		run_ok keyturn backup verify "$COPY"
		tamper "$COPY" "$statement"
		run_fails 9 keyturn backup verify "$COPY"
	done
}

@test "a backup that is not what was recorded is refused" {
	keyturn backup create "$COPY"
	tamper "$COPY" 'UPDATE lease SET fence = fence + 1'
	run_fails 9 keyturn backup verify "$COPY"
	assert_output --partial "recorded as backup $(backup_ids)"
	run_fails 9 keyturn backup restore "$COPY" --yes --replace-newer
}

@test "a backup whose key the token lost is refused by its version" {
	keyturn backup create "$COPY"
	local id
	id=$(sql 'SELECT hex(cka_id) FROM keys WHERE role = 2')
	pkcs11-tool --module "$MODULE" --token-label test --login --pin "$PIN" \
		--delete-object --type secrkey --id "$id"
	run_fails 6 keyturn backup verify "$COPY"
	assert_output --partial 'recovery key version 1'
	run_fails 6 keyturn backup restore "$COPY" --yes --replace-newer
	assert_equal "$(find "$PLACE/data" -type f)" "$STORE"
}

@test "a key in use is needed before there is a row under it" {
	keyturn project delete web --confirm web
	keyturn backup create "$COPY"
	run_ok keyturn backup verify "$COPY"
	pkcs11-tool --module "$MODULE" --token-label test --login --pin "$PIN" \
		--delete-object --type secrkey \
		--id "$(sql 'SELECT hex(cka_id) FROM keys WHERE role = 2')"
	run_fails 6 keyturn backup verify "$COPY"
	assert_output --partial 'recovery key version 1'
}

@test "files that are no whole copy are refused" {
	echo 'not a database' >"$PLACE/text"
	sqlite3 "$PLACE/foreign.db" 'CREATE TABLE t (x)'
	keyturn backup create "$COPY"
	cp "$COPY" "$PLACE/wal.db"
	sqlite3 "$PLACE/wal.db" 'PRAGMA journal_mode = WAL' >/dev/null
	cp "$COPY" "$PLACE/torn.db"
	leave_hot_journal "$PLACE/torn.db"
	local file
	for file in text foreign.db wal.db torn.db; do
		run_fails 8 keyturn backup verify "$PLACE/$file"
		assert_not_exist "$PLACE/$file-wal"
	done
	for file in text foreign.db torn.db; do
		run_fails 8 keyturn backup restore "$PLACE/$file" --yes \
			--replace-newer
	done
	run keyturn backup verify "$PLACE/nothing"
	assert_failure
	run_fails 2 keyturn backup restore "$STORE" --yes --replace-newer
	assert_equal "$(find "$PLACE/data" -type f)" "$STORE"
}

@test "two restores within a second keep both databases of before" {
	local -x TZ=UTC
	local now=$EPOCHSECONDS taken name
	keyturn backup create "$COPY"
	secret_put web/LATER new
	for ((taken = 0; taken < 60; taken++)); do
		printf -v name '%(%FT%TZ)T' $((now + taken))
		echo precious >"$STORE.before-restore-$name"
	done
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	assert_equal "$(cat "$STORE".before-restore-*Z | sort | uniq -c |
		xargs)" '60 precious'
	run_ok keyturn backup verify "$STORE".before-restore-*Z-2
}

@test "a newer database is replaced only when that is asked for" {
	local kept before
	keyturn backup create "$COPY"
	keyturn backup create "$PLACE/another.db"
	secret_put web/LATER new
	keyturn secret delete web/KEY_2 --confirm KEY_2
	before=$(sha256sum <"$STORE")
	run_fails 5 keyturn backup restore "$COPY" --yes
	assert_output --partial newer
	run_fails 2 keyturn backup restore "$COPY" --replace-newer </dev/null
	assert_output --partial 'needs --yes'
	assert_equal "$(sha256sum <"$STORE")" "$before"
	assert_equal "$(find "$PLACE/data" -type f)" "$STORE"
	before=$(dump "$STORE")
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	vault_is_sound
	run_fails 3 keyturn secret get web/LATER
	run_ok keyturn audit list
	assert_output --partial backup.restore
	assert_output --partial "file=$COPY kept=$STORE.before-restore-"
	# what was replaced is kept, on record, and can be gone back to
	kept=$(find "$PLACE/data" -name '*.before-restore-*')
	assert_equal "$(dump "$kept")" "$before"
	assert_equal "$(stat -c %a "$kept" "$STORE" | sort -u)" 600
	run_ok keyturn backup list
	assert_output --partial "$kept"
	assert_output --partial "$PLACE/another.db"
	assert_equal "$(backup_ids | wc -l)" 3
	run_ok keyturn backup verify "$kept"
	run_ok keyturn backup restore "$kept" --yes --replace-newer
	run_ok keyturn secret get web/LATER
	assert_output new
	run_fails 3 keyturn secret get web/KEY_2
	run_ok keyturn doctor
}

@test "a database with another history is never taken for an older one" {
	sql ".backup '$COPY'"
	secret_put web/A a
	cp "$STORE" "$PLACE/a.db"
	secret_put web/A again
	cp "$STORE" "$PLACE/longer.db"
	cp "$COPY" "$STORE"
	secret_put web/B b
	# as many entries, more, and fewer: other ones in any case
	run_fails 5 keyturn backup restore "$PLACE/a.db" --yes
	run_fails 5 keyturn backup restore "$PLACE/longer.db" --yes
	secret_put web/C c
	run_fails 5 keyturn backup restore "$PLACE/a.db" --yes
	# its own beginning
	cp "$STORE" "$PLACE/c.db"
	cp "$COPY" "$STORE"
	run_ok keyturn backup restore "$PLACE/c.db" --yes
	run_ok keyturn secret get web/C
}

@test "a row that only the present database has keeps it" {
	keyturn access issue web --label x >/dev/null
	keyturn access revoke "$(sql 'SELECT id FROM access')"
	sql ".backup '$COPY'"
	tamper "$COPY" 'DELETE FROM access'
	run_fails 5 keyturn backup restore "$COPY" --yes
	assert_output --partial 'lacks: access '
	sql ".backup '$PLACE/same.db'"
	run_ok keyturn backup restore "$PLACE/same.db" --yes
}

@test "a revoked access token stays revoked" {
	keyturn access issue web >"$PLACE/token"
	keyturn backup create "$COPY"
	run_ok keyturn secret get web/KEY_1 --access-token-file "$PLACE/token"
	keyturn access revoke "$(sql 'SELECT id FROM access')"
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	run_fails 4 keyturn secret get web/KEY_1 \
		--access-token-file "$PLACE/token"
	vault_is_sound
	run_fails 4 keyturn backup verify "$COPY" \
		--access-token-file "$PLACE/token"
	run_fails 4 keyturn backup restore "$COPY" --yes --replace-newer \
		--access-token-file "$PLACE/token"
}

@test "a lost database comes back with token and PIN alone" {
	keyturn backup create "$COPY"
	rm -r "$PLACE/data"
	run_ok keyturn backup restore "$COPY"
	vault_is_sound
	# and the backup is on record again
	run_ok keyturn backup list
	assert_output --partial "$COPY"
	assert_equal "$(find "$PLACE/data" -type f)" "$STORE"
}

@test "the journal of a lost database does not get into the restored one" {
	keyturn backup create "$COPY"
	leave_hot_journal "$STORE"
	rm "$STORE"
	run_ok keyturn backup restore "$COPY"
	assert_not_exist "$STORE-journal"
	assert_equal "$(find "$PLACE/data" -name '*before-restore*-journal' |
		wc -l)" 1
	vault_is_sound
}

@test "a transaction that was cut off is undone before its database is kept" {
	local before kept
	keyturn backup create "$COPY"
	before=$(dump "$STORE")
	leave_hot_journal "$STORE"
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	kept=$(find "$PLACE/data" -name '*.before-restore-*')
	assert_equal "$(dump "$kept")" "$before"
	assert_not_exist "$STORE-journal"
	vault_is_sound
}

@test "a damaged database is kept as it is" {
	local kept
	keyturn backup create "$COPY"
	head -c 50000 /dev/urandom >"$STORE"
	cp "$STORE" "$PLACE/damaged"
	run_fails 5 keyturn backup restore "$COPY" --yes
	assert_output --partial 'cannot be compared'
	cmp "$STORE" "$PLACE/damaged"
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	kept=$(find "$PLACE/data" -name '*.before-restore-*')
	cmp "$kept" "$PLACE/damaged"
	vault_is_sound
}

@test "a database with a tampered row is replaced and kept" {
	keyturn backup create "$COPY"
	tamper "$STORE" "UPDATE vault SET gate_report = ''"
	run_fails 9 keyturn secret list web
	run_fails 5 keyturn backup restore "$COPY" --yes
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	vault_is_sound
}

@test "a rotation at work keeps its database" {
	local pid fence
	keyturn backup create "$COPY"
	keyturn master rotate --yes --batch-size 1 --jobs 1 --operator olga \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	wait_for_row 'SELECT count(*) FROM rotations
		WHERE keyed IS NOT NULL AND staged IS NULL' $pid
	run_fails 5 keyturn backup restore "$COPY" --yes --replace-newer
	assert_output --partial 'olga is rotating'
	kill -9 $pid
	wait $pid || true
	fence=$(sql 'SELECT fence FROM lease')
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	values_are_whole web
	# fenced off, should it only have been thought dead
	assert_equal "$(sql 'SELECT fence FROM lease')" $((fence + 1))
	run_fails 3 keyturn master resume
	run_ok keyturn doctor
}

@test "a backup inside a rotation is restored to where it was" {
	local pid
	keyturn master rotate --yes --batch-size 1 --jobs 1 \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	wait_for_row 'SELECT count(*) FROM rotations
		WHERE keyed IS NOT NULL AND staged IS NULL' $pid
	keyturn backup create "$COPY"
	wait $pid
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	values_are_whole web
	run_ok keyturn master resume
	run_ok keyturn master finish --now --yes
	vault_is_sound
}

# For the restored rotation its new key is not proven yet; for the database that
# was replaced it is the master key.
@test "I2: a resume after a restore destroys no key of the database it replaced" {
	local pid kept
	KEYTURN_CRASH=key.generate:1:STOP keyturn master rotate --yes --grace 0 \
		>"$PLACE/out" 2>&1 3>&- &
	pid=$!
	until grep -q '^State:.T' "/proc/$pid/status"; do
		kill -0 "$pid"
	done
	keyturn backup create "$COPY"
	kill -CONT "$pid"
	wait "$pid"
	secret_put web/NEW 'under the new key'
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	kept=$(find "$PLACE/data" -name '*.before-restore-*')
	proxy_setup
	proxy_plan 'C_WrapKey 1 before rv CKR_DEVICE_ERROR'
	run_fails 5 keyturn --module "$PROXY" master resume
	assert_output --partial "1 backup needs master key version 2"
	proxy_plan ''
	values_are_whole
	run_ok keyturn backup restore "$kept" --yes --replace-newer
	run_ok keyturn secret get web/NEW
	assert_output 'under the new key'
}

@test "a restored database knows which keys are gone" {
	keyturn master rotate --yes --grace 0
	keyturn backup create "$COPY"
	keyturn master destroy 1 --confirm 1
	run_ok keyturn backup restore "$COPY" --yes --replace-newer
	vault_is_sound
	run_ok keyturn master list
	assert_equal "$(grep -c '^ *1 .*destroyed' <<<"$output")" 2
}

@test "a backup of another vault or token is refused" {
	keyturn init --token 'pkcs11:token=test' --module "$MODULE" \
		--store "$PLACE/data/other.db" --config "$PLACE/other.yaml" \
		>"$PLACE/out" 2>&1
	local before
	before=$(sha256sum <"$STORE")
	run_fails 5 keyturn backup verify "$PLACE/data/other.db"
	assert_output --partial 'of vault'
	run_fails 5 keyturn backup restore "$PLACE/data/other.db" --yes \
		--replace-newer
	keyturn backup create "$COPY"
	token_new another
	run_fails 6 keyturn backup verify "$COPY" --token 'pkcs11:token=another'
	run_fails 6 keyturn backup restore "$COPY" --yes --replace-newer \
		--token 'pkcs11:token=another'
	rm "$STORE"
	run_fails 6 keyturn backup restore "$COPY" \
		--token 'pkcs11:token=another'
	assert_not_exist "$STORE"
}

@test "two restores at once leave one whole database" {
	local pids=() pid
	keyturn backup create "$COPY"
	for _ in 1 2 3; do
		keyturn backup restore "$COPY" --yes --replace-newer \
			>>"$PLACE/out" 2>&1 3>&- &
		pids+=($!)
	done
	local done_well=0
	for pid in "${pids[@]}"; do
		wait "$pid" && done_well=$((done_well + 1))
	done
	assert [ "$done_well" -ge 1 ]
	vault_is_sound
	assert_equal "$(find "$PLACE/data" -name '*restoring*')" ''
}

# restore_killed_at CALL NTH: a restore that is killed before its nth system
# call of this name; fails when it has fewer.
restore_killed_at() {
	local status=0

	rm -f "$PLACE"/data/*restor*
	strace -f -qq -o /dev/null -e trace="$1" \
		-e inject="$1":signal=KILL:when="$2" \
		keyturn backup restore "$COPY" --yes --replace-newer \
		>"$PLACE/out" 2>&1 3>&- || status=$?
	[ "$status" -eq 137 ]
}

@test "a restore that is killed leaves the old database or the new one" {
	local call nth kills=0
	declare -A step=([pwrite64]=7)
	keyturn backup create "$COPY"
	secret_put web/LATER new
	cp "$STORE" "$PLACE/newer.db"
	for call in fsync fdatasync rename unlink pwrite64; do
		nth=1
		while restore_killed_at "$call" "$nth"; do
			kills=$((kills + 1))
			vault_is_sound
			if keyturn secret get web/LATER >"$PLACE/got"; then
				# the old one: nothing of the restore is in it
				run sql "SELECT count(*) FROM audit
					WHERE action = 'backup.restore'"
				assert_output 0
			fi
			cp "$PLACE/newer.db" "$STORE"
			nth=$((nth + ${step[$call]:-1}))
		done
		run_ok keyturn audit list
		assert_output --partial backup.restore
		cp "$PLACE/newer.db" "$STORE"
	done
	assert [ "$kills" -gt 20 ]
}

@test "a restore that is killed where nothing was can be run again" {
	local call nth kills=0
	keyturn backup create "$COPY"
	leave_hot_journal "$STORE"
	cp "$STORE-journal" "$PLACE/journal"
	for call in fsync link unlink rename; do
		nth=1
		while rm -f "$STORE"; cp "$PLACE/journal" "$STORE-journal"
			restore_killed_at "$call" "$nth"; do
			kills=$((kills + 1))
			if [ ! -e "$STORE" ]; then
				run_fails 8 keyturn secret list web
				run_ok keyturn backup restore "$COPY"
			fi
			vault_is_sound
			nth=$((nth + 1))
		done
		vault_is_sound
	done
	assert [ "$kills" -gt 5 ]
}
