#!/usr/bin/env bats
# I17: every security operation has its entry, and no writer of the database
# can change, take away or add one without being found out by number.
#
# shellcheck disable=SC2030,SC2031 # by run, in the same subshell

load helper

setup() {
	vault_setup
}

entries() {
	sql 'SELECT count(*) FROM audit'
}

# recorded ACTION OBJECT COMMAND...: the command succeeds and its entries are
# the trail's newest: at least one has this action and object (a pattern).
recorded() {
	local action=$1 object=$2 before

	shift 2
	before=$(entries)
	run_ok "$@"
	keyturn audit list --first $((before + 1)) >"$PLACE/new"
	run grep -cE "^ *[0-9]+ +[0-9TZ:-]+ +tester +$action +$object( |\$)" \
		"$PLACE/new"
	assert_output 1
}

# unrecorded COMMAND...: whatever comes of it, no entry does.
unrecorded() {
	local before
	before=$(entries)
	run "$@"
	assert_equal "$(entries)" "$before"
}

UUID='[0-9a-f-]{36}'

@test "I17: init writes its intent, its outcome, and a signed checkpoint" {
	run_ok keyturn audit list
	assert_equal "${#lines[@]}" 3
	assert_line --regexp '^ +1 .* init\.intent +test '
	assert_line --regexp '^ +2 .* init +test +mechanism AES-KW'
	run_ok keyturn audit verify
	assert_line --regexp '^Entries +2$'
	assert_line --regexp '^Checkpoints +1$'
}

@test "I17: every operation has its entry with who, what and on what" {
	local id last
	export LOGNAME=nobody
	keyturn() { command keyturn "$@" --operator tester; }
	recorded project.create web keyturn project create web
	recorded secret.set A keyturn secret set web/A <<<1
	recorded secret.set A keyturn secret set web/A <<<2
	recorded secret.import web keyturn secret import web - \
		--format dotenv <<<$'B=1\nC=2'
	recorded secret.delete B keyturn secret delete web/B --confirm B
	recorded access.issue '[0-9A-Za-z]{12}' keyturn access issue web
	id=$(sql 'SELECT id FROM access')
	recorded access.revoke "$id" keyturn access revoke "$id"
	recorded backup.create "$UUID" keyturn backup create "$PLACE/b.db"
	id=$(awk 'END { print $5 }' "$PLACE/new")
	recorded backup.forget "$id" keyturn backup forget "$id" --confirm "$id"
	recorded rotation.planned "$UUID" keyturn project rotate web --yes \
		--no-token
	for last in keyed staged verified activated contracted; do
		run grep -cE "tester +rotation\.$last +$UUID" "$PLACE/new"
		assert_output 1
	done
	recorded rotation.planned "$UUID" keyturn master rotate --yes --grace 1h
	recorded 'rotation\.rolled-back' "$UUID" keyturn master rollback --yes
	recorded rotation.planned "$UUID" keyturn master rotate --yes --grace 1h
	recorded rotation.contracted "$UUID" keyturn master finish --now --yes
	before=$(entries)
	run_ok keyturn master destroy 1 --confirm 1
	keyturn audit list --first $((before + 1)) >"$PLACE/new"
	# the intent of each of its keys before the outcome of any
	run awk '{ print $4 }' "$PLACE/new"
	assert_output --regexp \
		'master.destroy.intent.*master.destroy.intent.*master.destroyed'
	recorded project.compromise web keyturn project compromise web --yes \
		--reason lost
	recorded master.compromise '.*' keyturn master compromise 3 --yes \
		--reason lost
	recorded project.delete web keyturn project delete web --confirm web
	run_ok keyturn audit verify
}

@test "what did not happen has no entry" {
	keyturn project create web
	secret_put web/A 1
	keyturn access issue web >"$PLACE/token" 2>/dev/null
	unrecorded keyturn project create web
	unrecorded keyturn project create Web
	unrecorded keyturn project delete web
	unrecorded keyturn secret set nope/A <<<v
	unrecorded keyturn secret set web/-A <<<v
	unrecorded keyturn secret delete web/NOPE --confirm NOPE
	unrecorded keyturn secret import web - --format dotenv <<<'bad'
	unrecorded keyturn secret set web/A <<<v \
		--access-token-file "$PLACE/token"
	unrecorded keyturn access revoke nope
	unrecorded keyturn access issue nope
	unrecorded keyturn backup create "$PLACE/no/such/place"
	unrecorded keyturn master destroy 1 --confirm 1
	unrecorded keyturn master rotate -n
	unrecorded keyturn status
}

@test "list: from an entry on, so many, as JSON" {
	local i
	for i in 1 2 3 4 5; do keyturn project create "p$i"; done 2>/dev/null
	run_ok keyturn audit list
	assert_equal "${#lines[@]}" 8
	run_ok keyturn audit list --first 4 --limit 2
	assert_equal "${#lines[@]}" 3
	assert_line --regexp '^ +4 .* p2 '
	assert_line --regexp '^ +5 .* p3 '
	run_ok keyturn audit list --first 7
	assert_equal "${#lines[@]}" 2
	run_ok keyturn audit list --first 8 --json
	assert_equal "$(tr -d ' \n' <<<"$output")" '[]'
	run_ok keyturn audit list --limit 1 --json
	assert_output --partial '"seq": 1,'
	refute_output --partial '"seq": 2,'
	run_ok keyturn audit list --json
	assert_equal "$(grep -cE '"hash": "[0-9a-f]{64}"' <<<"$output")" 7
	run_fails 2 keyturn audit list --first 0
	run_fails 2 keyturn audit list --limit 0
	run_fails 2 keyturn audit list --limit -1
	run_fails 2 keyturn audit list --first x
	run_fails 2 keyturn audit list p1
	run_fails 2 keyturn audit verify p1
}

@test "the list is whole beyond one page" {
	local entries=0
	keyturn project create web
	# a page has 256 entries, a rotation makes several
	while [ "$entries" -lt 260 ]; do
		keyturn project rotate web --yes --no-token --quiet
		entries=$(sql 'SELECT count(*) FROM audit')
	done
	keyturn audit list --json >"$PLACE/json"
	assert_equal "$(grep -c '"seq": ' "$PLACE/json")" "$entries"
	assert_equal "$(grep -o '"seq": [0-9]*' "$PLACE/json" |
		uniq -d | wc -l)" 0
	keyturn audit list --limit 258 --json >"$PLACE/json"
	assert_equal "$(grep -c '"seq": ' "$PLACE/json")" 258
}

# Ten entries: init's two, five projects, three secrets.
ten_entries() {
	local i
	for i in 1 2 3 4 5; do keyturn project create "p$i"; done 2>/dev/null
	for i in 1 2 3; do secret_put "p$i/A" v; done 2>/dev/null
	assert_equal "$(entries)" 10
	run_ok keyturn audit verify
	assert_output --partial 'The audit trail is whole.'
}

# found ENTRY [WORD]: verify says 9 and names this entry, in one line; what is
# not the trail's matter still works.
found() {
	run_fails 9 keyturn audit verify
	assert_equal "${#lines[@]}" 1
	assert_output --partial "audit entry $1: ${2:-}"
	run_ok keyturn secret get p1/A
}

@test "verify names the first entry of which a byte was changed" {
	local column
	ten_entries
	cp "$STORE" "$PLACE/whole.db"
	for column in time actor action object detail prev hash mac; do
		cp "$PLACE/whole.db" "$STORE"
		case $column in
		time) sql 'UPDATE audit SET time = time + 1 WHERE seq = 6' ;;
		prev | hash | mac)
			sql "UPDATE audit SET $column = randomblob(32)
			     WHERE seq IN (6, 8)"
			;;
		*) sql "UPDATE audit SET $column = $column || 'x'
		        WHERE seq IN (6, 8)" ;;
		esac
		found 6
	done
	cp "$PLACE/whole.db" "$STORE"
	run_ok keyturn audit verify
}

@test "verify names the first and the last entry when it is they" {
	ten_entries
	cp "$STORE" "$PLACE/whole.db"
	sql "UPDATE audit SET detail = '' WHERE seq = 1"
	found 1
	cp "$PLACE/whole.db" "$STORE"
	sql "UPDATE audit SET actor = 'mallory' WHERE seq = 10"
	found 10
}

@test "verify names a deleted entry: in the middle, at the ends, many" {
	ten_entries
	cp "$STORE" "$PLACE/whole.db"
	sql 'DELETE FROM audit WHERE seq = 5'
	found 5
	cp "$PLACE/whole.db" "$STORE"
	sql 'DELETE FROM audit WHERE seq = 1'
	found 1
	cp "$PLACE/whole.db" "$STORE"
	sql 'DELETE FROM audit WHERE seq = 10'
	found 10
	cp "$PLACE/whole.db" "$STORE"
	sql 'DELETE FROM audit WHERE seq >= 7'
	found 7
	cp "$PLACE/whole.db" "$STORE"
	sql 'DELETE FROM audit WHERE seq = 5;
	     UPDATE audit SET seq = seq - 1 WHERE seq > 5'
	found 5
	cp "$PLACE/whole.db" "$STORE"
	sql 'DELETE FROM audit'
	run_fails 9 keyturn audit verify
	assert_output --partial 'audit entry 1:'
}

@test "verify finds a trail cut off together with its head" {
	ten_entries
	sql 'DELETE FROM audit WHERE seq > 7;
	     UPDATE audit_head SET seq = 7,
	     hash = (SELECT hash FROM audit WHERE seq = 7)'
	run_fails 9 keyturn audit verify
	assert_output --partial 'head of the audit chain'
	sql 'DELETE FROM audit_head'
	run_fails 9 keyturn audit verify
	assert_output --partial head
}

@test "verify names the first of two swapped entries" {
	ten_entries
	sql 'UPDATE audit SET seq = 1004 WHERE seq = 4;
	     UPDATE audit SET seq = 4 WHERE seq = 7;
	     UPDATE audit SET seq = 7 WHERE seq = 1004'
	assert_equal "$(sql 'SELECT object FROM audit WHERE seq = 4')" p5
	found 4
}

@test "verify names the first of two entries whose contents were swapped" {
	ten_entries
	sql "CREATE TEMP TABLE was AS SELECT * FROM audit WHERE seq IN (4, 7);
	     UPDATE audit SET (time, actor, action, object, detail, mac) =
	     (SELECT time, actor, action, object, detail, mac FROM was
	      WHERE was.seq = 11 - audit.seq) WHERE seq IN (4, 7)"
	assert_equal "$(sql 'SELECT object FROM audit WHERE seq = 4')" p5
	found 4
}

# The bytes of a column as docs/formats.md encodes them, in hexadecimal.
sized() {
	printf '%08x%s' $((${#1} / 2)) "$1"
}

# hash_of SEQ: what formats.md says an entry's hash is, over what it holds now.
hash_of() {
	local row bytes
	row=$(sql "SELECT printf('%016x %016x ', seq, time) || hex(actor) ||
	           ' ' || hex(action) || ' ' || hex(object) || ' ' ||
	           hex(detail) || ' ' || hex(prev) FROM audit WHERE seq = $1")
	bytes=$(printf kvL1 | od -An -tx1 | tr -d ' ')
	for column in $row; do
		bytes+=$(sized "$column")
	done
	# shellcheck disable=SC2001 # a pattern
	printf '%b' "$(sed 's/../\\x&/g' <<<"$bytes")" | sha256sum |
		cut -c 1-64
}

@test "verify names the entry from which a trail was hashed anew" {
	local seq
	ten_entries
	# a forger knows the format: it is ours
	assert_equal "$(hash_of 6)" \
		"$(sql 'SELECT lower(hex(hash)) FROM audit WHERE seq = 6')"
	sql "UPDATE audit SET actor = 'mallory' WHERE seq = 6"
	for seq in 6 7 8 9 10; do
		sql "UPDATE audit SET hash = x'$(hash_of $seq)' WHERE seq = $seq;
		     UPDATE audit SET prev = (SELECT hash FROM audit
		     WHERE seq = $seq) WHERE seq = $seq + 1"
	done
	sql 'UPDATE audit_head
	     SET hash = (SELECT hash FROM audit WHERE seq = 10)'
	found 6
}

@test "verify names the entry whose checkpoint is not the token's signature" {
	local key
	ten_entries
	keyturn project create p6
	keyturn master rotate --yes --grace 0
	assert [ "$(sql 'SELECT count(*) FROM checkpoints')" -ge 2 ]
	cp "$STORE" "$PLACE/whole.db"
	# by the key of somebody else
	openssl ecparam -genkey -name prime256v1 -noout -out "$PLACE/ec.pem"
	key=$(openssl pkeyutl -sign -inkey "$PLACE/ec.pem" \
		-in <(head -c 32 /dev/zero) | od -An -tx1 | tr -d ' \n')
	sql "UPDATE checkpoints SET signature = x'${key:0:128}' WHERE seq = 2"
	found 2 checkpoint
	# by the right key, for another entry
	cp "$PLACE/whole.db" "$STORE"
	sql 'UPDATE checkpoints SET (signature, hash) =
	     (SELECT signature, hash FROM checkpoints WHERE seq > 2)
	     WHERE seq = 2'
	found 2 checkpoint
}

@test "a checkpoint outlives a trail that was put back to an earlier state" {
	ten_entries
	sql 'SELECT quote(seq), quote(hash), quote(mac) FROM audit_head' \
		>"$PLACE/head"
	keyturn master rotate --yes --grace 0
	IFS='|' read -r seq hash mac <"$PLACE/head"
	# the earlier head is authentic, and so is each entry left
	sql "DELETE FROM audit WHERE seq > 10;
	     UPDATE audit_head SET seq = $seq, hash = $hash, mac = $mac"
	run_fails 9 keyturn audit verify
	assert_output --partial checkpoint
}

@test "an entry that somebody added is named" {
	ten_entries
	sql "INSERT INTO audit SELECT 11, time, actor, action, object, detail,
	     hash, randomblob(32), mac FROM audit WHERE seq = 10"
	found 11
}

@test "no audit entry, no operation" {
	ten_entries
	sql 'UPDATE audit_head SET mac = randomblob(32)'
	run_fails 9 keyturn project create p6
	run_fails 3 keyturn project show p6
	run_fails 9 keyturn secret set p1/A <<<w
	run_ok keyturn secret get p1/A
	assert_output v
	printf 'B=1\nC=2\n' >"$PLACE/two.env"
	run_fails 9 keyturn secret import p1 "$PLACE/two.env"
	run_fails 3 keyturn secret get p1/B
	run_fails 9 keyturn access issue p1
	refute_output --partial kvt1_
	run_fails 9 keyturn backup create "$PLACE/b.db"
	assert_not_exist "$PLACE/b.db"
}
