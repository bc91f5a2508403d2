#!/usr/bin/env bats
# Access tokens: what their holder may do, that every refusal is the same one,
# and that they work by the project key alone.

load helper

DIGITS=0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz
DENIED='keyturn: secret get: access denied'
DENIED_HINT='keyturn: hint: the access token is wrong, expired or revoked, '\
'or not for this project, scope or command'

seed() {
	local project
	for project in web api; do
		keyturn project create "$project"
		secret_put "$project/A" "value of $project"
		token_new_for "$project" read "$project-read"
		token_new_for "$project" write "$project-write"
	done
}

setup() {
	vault_setup seed
}

# token_new_for PROJECT SCOPE FILE [LIFETIME]
token_new_for() {
	keyturn access issue "$1" --scope "$2" --expires "${4:-1h}" \
		>"$PLACE/$3" 2>"$PLACE/issued"
}

# as FILE COMMAND...: keyturn with the token of this file only.
as() {
	local file=$1

	shift
	keyturn "$@" --access-token-file "$PLACE/$file"
}

id_of() {
	cut -d _ -f 2 "$PLACE/$1"
}

# token_text ID SECRET: a token as docs/formats.md describes it.
token_text() {
	local front=kvt1_$1_$2 crc digits='' i

	crc=$(printf %s "$front" | gzip -c | tail -c 8 | od -An -tu4 -N4)
	for ((i = 0; i < 6; i++)); do
		digits=${DIGITS:crc % 62:1}$digits
		crc=$((crc / 62))
	done
	echo "${front}_$digits"
}

# other_digit C: a digit that is not C.
other_digit() {
	[ "$1" = 0 ] && echo 1 || echo 0
}

# denied FILE [REF]: exit 4, nothing on stdout, and stderr byte for byte.
denied() {
	local status=0
	as "$1" secret get "${2:-web/A}" >"$PLACE/stdout" 2>"$PLACE/stderr" ||
		status=$?
	assert_equal "$status" 4
	assert_equal "$(wc -c <"$PLACE/stdout")" 0
	printf '%s\n' "$DENIED" "$DENIED_HINT" | cmp - "$PLACE/stderr"
}

# What a token that lost its rights must not have changed.
state() {
	sha256sum <"$STORE"
	token_objects | grep -c Object
}

@test "issue prints the token once, alone, and keeps a MAC of it only" {
	run grep -cE '^kvt1_[0-9A-Za-z]{12}_[0-9A-Za-z]{43}_[0-9A-Za-z]{6}$' \
		"$PLACE/web-read"
	assert_output 1
	assert_equal "$(wc -c <"$PLACE/web-read")" 69
	run cat "$PLACE/issued"
	refute_output --partial "$(cut -d _ -f 3 "$PLACE/api-write")"
	refute_found "$(cut -d _ -f 3 "$PLACE/web-read")" "$PLACE/data" \
		"$PLACE/tokens"
	# what formats.md says of the text is so
	run token_text "$(id_of web-read)" "$(cut -d _ -f 3 "$PLACE/web-read")"
	assert_output "$(cat "$PLACE/web-read")"
}

@test "issue -o makes a new private file" {
	run_ok keyturn access issue web -o "$PLACE/token"
	refute_output --partial kvt1_
	assert_equal "$(stat -c %a "$PLACE/token")" 600
	run_ok as token secret get web/A
	local issued
	issued=$(sql 'SELECT count(*) FROM access')
	run_fails 5 keyturn access issue web -o "$PLACE/token"
	ln -s "$PLACE/elsewhere" "$PLACE/link"
	run_fails 5 keyturn access issue web -o "$PLACE/link"
	assert_not_exist "$PLACE/elsewhere"
	assert_equal "$(sql 'SELECT count(*) FROM access')" "$issued"
}

@test "a token that could not be handed over is revoked" {
	run_fails 3 keyturn access issue web -o "$PLACE/no/such/place"
	assert_output --partial 'was revoked'
	run_fails 1 bash -c 'keyturn access issue web >/dev/full'
	assert_output --partial 'was revoked'
	assert_equal "$(sql 'SELECT count(*) FROM access
	                     WHERE revoked IS NOT NULL')" 2
}

@test "issue: what it takes and what it refuses" {
	run_ok keyturn access issue web --expires 366d --label 'CI of shop, #1'
	run_ok keyturn access issue web --expires 1s --label ''
	run_fails 2 keyturn access issue web --expires 367d
	run_fails 2 keyturn access issue web --expires 0
	run_fails 2 keyturn access issue web --expires -1d
	run_fails 2 keyturn access issue web --expires tomorrow
	run_fails 2 keyturn access issue web --expires 99999999999999999999d
	run_fails 2 keyturn access issue web --scope admin
	run_fails 2 keyturn access issue web --label $'two\nlines'
	run_fails 2 keyturn access issue web --label für
	run_fails 2 keyturn access issue web --label "$(printf '%0256d' 0)"
	run_ok keyturn access issue web --label "$(printf '%0255d' 0)"
	run_fails 3 keyturn access issue nope
	run_fails 2 keyturn access issue
	run_fails 2 keyturn access issue web api
	assert_equal "$(sql 'SELECT count(*) FROM access')" 7
}

@test "list shows scope, state and label, never the token" {
	keyturn access issue web --label 'for ci' >"$PLACE/ci" 2>/dev/null
	keyturn access revoke "$(id_of web-write)"
	run_ok keyturn access list web
	assert_equal "${#lines[@]}" 4
	assert_line --regexp "^$(id_of web-read) +web +read +usable "
	assert_line --regexp "^$(id_of web-write) +web +write +revoked "
	assert_line --regexp "^$(id_of ci) .* for ci\$"
	refute_output --partial "$(cut -d _ -f 3 "$PLACE/ci")"
	run_ok keyturn access list
	assert_equal "${#lines[@]}" 6
	run_ok keyturn access list api --json
	assert_output --partial "\"id\": \"$(id_of api-read)\", \
\"project\": \"api\", \"scope\": \"read\", \"state\": \"usable\""
	refute_output --partial "$(id_of web-read)"
	run_fails 3 keyturn access list nope
	run_fails 2 keyturn access list web api
}

@test "a read token reads its project and writes nothing" {
	local before
	run_ok as web-read secret get web/A
	assert_output 'value of web'
	run_ok as web-read secret list web
	run_ok as web-read secret verify web - --format dotenv \
		<<<"A='value of web'"
	run_ok as web-read project show web
	run_ok as web-read secret import web - --format dotenv -n <<<'A=1'
	before=$(state)
	run_fails 4 as web-read secret set web/A <<<v
	run_fails 4 as web-read secret set web/NEW <<<v
	run_fails 4 as web-read secret delete web/A --confirm A
	run_fails 4 as web-read secret import web - --format dotenv <<<'A=1'
	assert_equal "$(state)" "$before"
}

@test "a write token writes, and the audit trail has its name" {
	run_ok as web-write secret set web/A <<<'by token'
	run_ok as web-write secret get web/A
	assert_output 'by token'
	run_ok as web-write secret import web - --format dotenv <<<'B=2'
	run_ok as web-write secret delete web/B --confirm B
	run_fails 3 as web-write secret get web/B
	# an operator's name is no use to it
	run_ok as web-write secret set web/A --operator root@there <<<'again'
	keyturn audit list >"$PLACE/trail"
	run grep -c "access:$(id_of web-write)" "$PLACE/trail"
	assert_output 4
	run grep -c 'root@there' "$PLACE/trail"
	assert_output 0
}

@test "a token comes by descriptor too, with or without its newline" {
	run_ok keyturn secret get web/A --access-token-fd 7 7<"$PLACE/web-read"
	assert_output 'value of web'
	run_ok keyturn secret get web/A --access-token-fd 7 \
		7< <(tr -d '\n' <"$PLACE/web-read")
	assert_output 'value of web'
	run_fails 2 keyturn secret get web/A --access-token-fd 7 \
		--access-token-file "$PLACE/web-read" 7<"$PLACE/web-write"
	run_fails 1 keyturn secret get web/A --access-token-fd 7 7>&-
	run_fails 3 keyturn secret get web/A --access-token-file "$PLACE/nope"
	refute_output --partial 'value of web'
}

@test "every text that is no token of this vault has one answer" {
	local good id secret crc i
	good=$(cat "$PLACE/web-read")
	IFS=_ read -r _ id secret crc <<<"$good"
	printf '%s\n' \
		"$(token_text "$id" "$(other_digit "${secret:0:1}")${secret:1}")" \
		"$(token_text "$id" "${secret:0:42}$(other_digit "${secret:42}")")" \
		"$(token_text "$(other_digit "${id:0:1}")${id:1}" "$secret")" \
		"$(token_text "$(id_of api-read)" "$secret")" \
		"$(token_text ------------ "$(printf '%043d' 0)")" \
		"${good:0:62}$(other_digit "${crc:0:1}")${crc:1}" \
		"${good:0:67}" "${good:0:61}" "${good:0:18}" "${good:0:5}" \
		"${good}0" " $good" "$good " "kvt2${good:4}" "KVT1${good:4}" \
		"${good//_/-}" "$id" "$secret" '' '%s%n' >"$PLACE/bad"
	assert_equal "$(wc -l <"$PLACE/bad")" 20
	i=0
	while IFS= read -r text; do
		printf '%s\n' "$text" >"$PLACE/forged"
		denied forged
		i=$((i + 1))
	done <"$PLACE/bad"
	assert_equal "$i" 20
	printf '%s\0' "$good" >"$PLACE/forged"
	denied forged
	printf '%s\n%s\n' "$good" "$good" >"$PLACE/forged"
	denied forged
	head -c 68 /dev/urandom >"$PLACE/forged"
	denied forged
	head -c 600 /dev/zero >"$PLACE/forged"
	run_fails 2 as forged secret get web/A
	run_ok as web-read secret get web/A
}

@test "what was a token once has the same answer" {
	keyturn access revoke "$(id_of web-read)"
	denied web-read
	keyturn project delete api --confirm api
	denied api-read api/A
	denied api-read web/A
	keyturn project rotate web --yes --no-token
	denied web-write
}

@test "a token expires" {
	local status=0 tries=0
	token_new_for web read short 1s
	while [ "$status" = 0 ] && [ $((tries += 1)) -lt 1000 ]; do
		status=0
		as short secret get web/A >/dev/null 2>&1 || status=$?
	done
	assert_equal "$status" 4
	denied short
	run_ok keyturn access list web
	assert_line --regexp "^$(id_of short) +web +read +expired "
	run_ok keyturn project show web
	assert_line --regexp '^Access tokens +2$'
}

@test "a token's time cannot be lengthened in the database" {
	token_new_for web read short 1s
	sql "UPDATE access SET expires = expires + 3600
	     WHERE id = '$(id_of short)'"
	run_fails 9 as short secret get web/A
	sql "UPDATE access SET scope = 2 WHERE id = '$(id_of web-read)'"
	run_fails 9 as web-read secret set web/A <<<v
	run_ok as web-write secret get web/A
	assert_output 'value of web'
}

@test "another project, known or not, is denied with the same words" {
	denied web-read api/A
	denied web-read api/NOPE
	denied web-read nope/A
	denied web-read web2/A
	# but in its own a missing secret is just missing
	run_fails 3 as web-read secret get web/NOPE
	run_fails 4 as web-write secret set api/A <<<v
	run_fails 4 as web-write secret delete api/A --confirm A
	run_fails 4 as web-write secret import api - --format dotenv <<<A=1
	run_fails 4 as web-read secret list api
	run_fails 4 as web-read secret verify api - --format dotenv <<<A=1
	refute_output --partial equal
	run_fails 4 as web-read project show api
	run_fails 4 as web-read project list
	refute_output --partial api
	run_fails 4 as web-write access list web
	run_fails 4 as web-write access list
	run_ok keyturn secret get api/A
	assert_output 'value of api'
}

# What to say after each command so that nothing but the rights can fail. The
# commands a token's holder has (tested above) and those that open no vault are
# "free".
arguments_of() {
	case $1 in
	'secret '* | 'project show') echo free ;;
	completion | help | version) echo free ;;
	init) echo "--store $PLACE/other.db --config $PLACE/other.yaml \
		--token pkcs11:token=test --module $MODULE" ;;
	status | doctor | 'project list' | 'access list' | 'token bench') ;;
	'master list' | 'rotation list' | 'audit list' | 'audit verify') ;;
	'master verify' | 'master resume' | 'backup list') ;;
	'project create') echo new ;;
	'project rotate' | 'project compromise') echo web --yes ;;
	'project verify') echo web ;;
	'project delete') echo web --confirm web ;;
	'access issue') echo web ;;
	'access revoke') id_of web-read ;;
	'master show') echo 1 ;;
	'master rotate') echo --yes ;;
	'master rollback') echo --yes ;;
	'master finish') echo --now --yes ;;
	'master destroy') echo 1 --confirm 1 ;;
	'master compromise') echo 1 --yes ;;
	'rotation show') echo last ;;
	'rotation resume') sql 'SELECT lower(hex(id)) FROM rotations' | dashed ;;
	'rotation rollback' | 'rotation finish')
		echo "$(sql 'SELECT lower(hex(id)) FROM rotations' | dashed) --yes"
		;;
	'backup create') echo "$PLACE/backup.db" ;;
	'backup verify') echo "$PLACE/copy.db" ;;
	'backup restore') echo "$PLACE/copy.db" --yes ;;
	'token init') echo "--tpm --state $PLACE/state \
		--so-pin-file $PLACE/credentials/pin" ;;
	'token attest') echo "master --output $PLACE/evidence" ;;
	'backup forget') echo "$(backup_id) --confirm $(backup_id)" ;;
	*) echo "no arguments are known for '$1'" >&2 && return 1 ;;
	esac
}

backup_id() {
	sql 'SELECT lower(hex(id)) FROM backups' | dashed
}

dashed() {
	sed -E 's/^(.{8})(.{4})(.{4})(.{4})/\1-\2-\3-\4-/'
}

@test "every command of the operator is denied to a token" {
	local before command arguments status tried=0
	keyturn master rotate --yes --grace 1h 2>/dev/null
	keyturn backup create "$PLACE/copy.db"
	before=$(state)
	keyturn __commands | grep -v -- -- >"$PLACE/commands"
	while read -r command; do
		arguments=$(arguments_of "$command")
		[ "$arguments" != free ] || continue
		status=0
		# shellcheck disable=SC2086 # words
		as web-write $command $arguments >"$PLACE/stdout" \
			2>"$PLACE/stderr" </dev/null || status=$?
		echo "$command: $status, $(cat "$PLACE/stderr")"
		assert_equal "$status" 4
		assert_equal "$(tail -n 2 "$PLACE/stderr")" \
			"keyturn: $command: access denied
$DENIED_HINT"
		assert_equal "$(wc -c <"$PLACE/stdout")" 0
		tried=$((tried + 1))
	done <"$PLACE/commands"
	assert [ "$tried" -ge 30 ]
	assert_equal "$(state)" "$before"
	assert_not_exist "$PLACE/backup.db"
	assert_not_exist "$PLACE/other.db"
	run_fails 4 as web-write master rotate -n
	run_fails 4 as web-write project rotate web -n
	# and to a wrong one too
	echo kvt1_nothing >"$PLACE/forged"
	run_fails 4 as forged doctor
	run_fails 4 as forged status
}

@test "revoke: at once, more than once, and only what there is" {
	run_ok as web-read secret get web/A
	run_ok keyturn access revoke "$(id_of web-read)"
	denied web-read
	run_ok keyturn access revoke "$(id_of web-read)"
	run_fails 3 keyturn access revoke 000000000000
	run_fails 3 keyturn access revoke ''
	run_fails 3 keyturn access revoke "$(cat "$PLACE/web-write")"
	refute_output --partial "$(cut -d _ -f 3 "$PLACE/web-write")"
	run_ok as web-write secret get web/A
	run_ok as api-read secret get api/A
}

# wraps_under ROLE: the condition for rows wrapped by keys of this role.
wraps_under() {
	echo "wrapping_key IN (SELECT id FROM keys WHERE role = $1)"
}

@test "a token reads without the recovery wraps, an operator does not" {
	sql "DELETE FROM wraps WHERE $(wraps_under 2)"
	run_ok as web-read secret get web/A
	assert_output 'value of web'
	run_ok as web-read secret verify web - --format dotenv \
		<<<"A='value of web'"
	run_fails 9 keyturn secret get web/A
	assert_output --partial "secret 'A'"
	refute_output --partial 'value of web'
}

@test "a token reads with corrupt recovery wraps, an operator does not" {
	sql "UPDATE wraps SET blob = randomblob(length(blob))
	     WHERE $(wraps_under 2)"
	run_ok as web-read secret get web/A
	assert_output 'value of web'
	run_fails 9 keyturn secret get web/A
	run_fails 9 keyturn secret verify web - --format dotenv \
		<<<"A='value of web'"
}

@test "without the project key's wraps a token reads nothing" {
	sql "UPDATE wraps SET blob = randomblob(length(blob))
	     WHERE $(wraps_under 3)"
	run_fails 9 as web-read secret get web/A
	refute_output --partial 'value of web'
	run_ok keyturn secret get web/A
	assert_output 'value of web'
	sql "DELETE FROM wraps WHERE $(wraps_under 3)"
	run_fails 9 as web-read secret get web/A
	run_fails 9 as web-read secret verify web - --format dotenv \
		<<<"A='value of web'"
	run_ok keyturn secret get web/A
	assert_output 'value of web'
}

@test "without the wrap of its project key a token reads nothing" {
	sql "DELETE FROM wraps WHERE $(wraps_under 1) AND subject =
	     (SELECT keys.id FROM keys JOIN projects
	      ON owner = projects.id WHERE name = 'web')"
	run_fails 9 as web-read secret get web/A
	refute_output --partial 'value of web'
	run_ok as api-read secret get api/A
	assert_output 'value of api'
	run_ok keyturn secret get web/A
	assert_output 'value of web'
}

@test "where recovery wraps are off, both go by the project key" {
	rm -rf "$PLACE/data" "$KEYTURN_CONFIG"
	mkdir -m 0700 "$PLACE/data"
	vault_new --recovery-wraps off
	keyturn project create web
	secret_put web/A 'one way'
	token_new_for web read off-read
	assert_equal "$(sql "SELECT count(*) FROM wraps
	                     WHERE $(wraps_under 2)")" 0
	run_ok keyturn secret get web/A
	assert_output 'one way'
	run_ok as off-read secret get web/A
	assert_output 'one way'
	# a token of another vault on this very token is none here
	denied web-read
}
